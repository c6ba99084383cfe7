"""A cluster that was there already: which of its workers can do our work, and why others cannot."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.security import Security

from compression.errors import InvalidFile, Unsupported
from compression.host.engine_version import engine_hash
from compression.host.folders import user_folder
from compression.jobs import image_parcels, parcels
from compression.jobs.daemon_thread import in_daemon_thread
from compression.jobs.sending import packed, send, unpacked
from compression.searching.settings import DEVICE

ADDRESS, TRUSTED, CERTIFICATES = "COMPRESSION_SCHEDULER", "COMPRESSION_TRUSTED_NETWORK", "COMPRESSION_CERTIFICATES"
CERTIFICATE, KEY = "certificate.pem", "key.pem"
"""The two files in a folder of certificates: every part of a cluster has the same, and trusts only it."""

QUICK, LONG, GPU = "quick", "long", "gpu"
"""Kinds of jobs, and the resources of workers for them: what users wait for, searches, and trainings."""

PATIENCE_S = 10
"""So long a cluster without workers is waited for: they may be starting."""

WATCH_S = 2.0
"""How often it is looked whether the workers of what is under way are there."""

RESTART_S = 60.0
"""So long the last worker's nanny has for starting another."""

DEVICES_S, MOST_DEVICES = 5.0, 50
"""How old what is known of devices may be when it is asked for, and how many names are told."""

FAILURES = (OSError, RuntimeError, TimeoutError, ValueError)


@dataclass
class JoinedWorkers:
    """The workers of somebody's cluster. `engines` has by address what each said of its engine."""

    client: Client
    address: str
    engines: dict[str, str] = field(default_factory=dict)
    _pending: list[tuple[Future, set[str]]] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _watching: bool = False
    _empty_since: float | None = None
    _devices: tuple[str, ...] = ()
    _looked: float = float("-inf")

    def of(self, kind: str, device: str = "") -> list[str]:
        """Addresses of the workers for a kind of job, on a device if one is named, that have this very engine.

        A worker that names no kinds does all of them. Jobs of the kind `GPU` go to workers that have one; where none
        has, to those for long jobs. Raises `Unsupported` where there is none, and says why.
        """
        about = self._about() or self._awaited()
        if not about:
            raise Unsupported(
                f"No worker is connected to the scheduler at {self.address}; start one anywhere this project is "
                f"installed: python -m compression worker {self.address}"
            )
        self._learn(list(about))
        same = [address for address in about if self.engines.get(address) == engine_hash()]
        if device and not (same := [each for each in same if device_resource(device) in _resources(about[each])]):
            raise Unsupported(f"No worker at {self.address} offers the device {device!r}; start one there by --device.")
        offered = {address: _resources(about[address]) for address in same}
        fit = [address for address in same if _does(LONG if kind == GPU else kind, offered[address])]
        if kind == GPU:
            fit = [address for address in fit if GPU in offered[address]] or fit
        if not same:
            raise Unsupported(f"No worker at {self.address} can be used: {self._refused(about)}.")
        return fit or same

    def devices(self) -> tuple[str, ...]:
        """Names of the devices that workers offered when it was last looked; after `DEVICES_S` another look begins."""
        with self._lock:
            due = time.monotonic() - self._looked > DEVICES_S
            if due:
                self._looked = time.monotonic()
        if due:
            in_daemon_thread(self._look_for_devices)
        return self._devices

    def _look_for_devices(self) -> None:
        with suppress(Unsupported):  # the connection is lost, maybe for a moment
            offered = {name for about in self._about().values() for name in _resources(about)}
            named = {name.removeprefix(DEVICE_PREFIX) for name in offered if name.startswith(DEVICE_PREFIX)}
            self._devices = tuple(sorted(name for name in named if name and DEVICE.fullmatch(name))[:MOST_DEVICES])

    def _about(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(self.client.scheduler_info(n_workers=-1)["workers"])
        except FAILURES as error:
            raise Unsupported(f"The scheduler at {self.address} does not answer: {error}.") from error

    def _awaited(self) -> dict[str, dict[str, Any]]:
        """The workers, when the first is there; none after `PATIENCE_S` seconds."""
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            return {}
        return self._about()

    def _learn(self, addresses: list[str]) -> None:
        """Asks those that were not asked yet for their engine."""
        if new := [address for address in addresses if address not in self.engines]:
            told = self._asked(new, engine_hash)
            self.engines |= {address: found for address, found in told.items() if isinstance(found, str)}

    def provide(self, workers: list[str], about: Iterable[Any]) -> list[str]:
        """Sends the networks and the folders of images that a task is about to the workers that lack them.

        The workers that have them then; raises `Unsupported` where none has.
        """
        about = list(about)
        ready = self._with_networks(workers, about)
        for folder in image_parcels.folders_of(about):
            ready = self._with_images(ready, folder)
        return ready

    def _with_images(self, workers: list[str], folder: image_parcels.Folder) -> list[str]:
        """The workers that have a folder of images, or have been sent it; see `image_parcels`."""
        has = self._asked(workers, image_parcels.has, folder.name, folder.edition, folder.key)
        return self._supplied(
            {address: image_parcels.sent(folder, partial(self._ask, address)) if found is False else found
             for address, found in has.items()}, f"No worker at {self.address} took the images.",
        )  # fmt: skip

    def _with_networks(self, workers: list[str], about: Iterable[Any]) -> list[str]:
        """Sends the networks that a task is about to the workers that lack them; the workers that have them then.

        Raises `Unsupported` where none has: each may have another network of its own by the same name.
        """
        if not (files := parcels.contents_of(about)):
            return workers
        answers = self._asked(workers, parcels.lacking, parcels.hashes_of(files))
        for address, found in answers.items():
            if isinstance(found, list) and found:
                contents = {name: path.read_bytes() for name, path in files.items() if name in found}
                answers[address] = self._ask(address, parcels.take, contents)
        return self._supplied(answers, f"No worker at {self.address} took the network.")

    @staticmethod
    def _supplied(answers: dict[str, Any], otherwise: str) -> list[str]:
        """The workers whose answer is no error.

        Raises `Unsupported` where there is none, with the last error; with the sentence `otherwise` without answers.
        """
        if ready := [address for address, found in answers.items() if not isinstance(found, BaseException)]:
            return ready
        refused = [f"{address}: {found}" for address, found in answers.items()]
        raise Unsupported(refused[-1] if refused else otherwise)

    def send(self, run: Callable[..., Any], *about: Any, workers: list[str] | None, **how: Any) -> Future:
        """`run(*about)` on its way to one of the workers, for these very networks and images; see `sending.send`.

        It is cancelled where all of them are gone: a worker that is started anew has another address.
        """
        call: tuple[Any, ...] = (run, *about)
        if images := {each.name: (each.edition, each.key) for each in image_parcels.folders_of(about)}:
            call = (image_parcels.with_images, images, *call)
        if hashes := parcels.hashes_of(parcels.contents_of(about)):
            call = (parcels.with_networks, hashes, *call)
        future = send(self.client, *call, workers=workers, **how)
        with self._lock:
            self._pending.append((future, set(workers or ())))
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="watch-workers", daemon=True).start()
        return future

    def _watch(self) -> None:
        while self.cancel_forsaken():
            time.sleep(WATCH_S)

    def cancel_forsaken(self) -> bool:
        """Cancels what can be carried out nowhere any more; whether anything is under way."""
        with self._lock:
            known = self.client.futures
            self._pending = [each for each in self._pending if each[0].key in known and not each[0].done()]
            self._watching = bool(self._pending)
            pending = list(self._pending)
        if pending and self.client.status == "running":
            try:
                there = set(self._about())
            except Unsupported:  # the connection is lost, maybe for a moment
                return True
            for future, workers in pending if self._is_settled(there) else ():
                if workers and not workers & there:
                    future.cancel()
        return bool(pending) and self.client.status != "closed"

    def _is_settled(self, there: set[str]) -> bool:
        """Whether what is sent again would find workers, or none is waited for any longer."""
        now = time.monotonic()
        self._empty_since = None if there else self._empty_since or now
        return self._empty_since is None or now - self._empty_since > RESTART_S

    def _asked(self, workers: list[str], ask: Callable[..., Any], *about: Any) -> dict[str, Any]:
        """What each worker answers, beside what it is doing; an error in place of an answer."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.client.run(unpacked, packed(ask, *about), workers=workers, on_error="return")

    def _ask(self, address: str, ask: Callable[..., Any], *about: Any) -> Any:
        """What one worker answers; an error in place of an answer."""
        return self._asked([address], ask, *about).get(address)

    def _refused(self, about: dict[str, dict[str, Any]]) -> str:
        """'box1 has the engine 12ab…, not 34cd…; box2 does not have this project'."""
        told = []
        for address, each in about.items():
            engine, name = self.engines.get(address, ""), each.get("name") or address
            told.append(
                f"{name} has the engine {engine}, not {engine_hash()}" if engine else f"{name} lacks this project"
            )
        return "; ".join(told[:5]) + (f"; and {len(told) - 5} others" if len(told) > 5 else "")


def _resources(about: dict[str, Any]) -> dict[str, float]:
    return about.get("resources") or {}


DEVICE_PREFIX = "device-"


def device_resource(device: str) -> str:
    """The resource of workers that offer a device."""
    return f"{DEVICE_PREFIX}{device}"


def _does(kind: str, resources: dict[str, float]) -> bool:
    kinds = {QUICK, LONG} & set(resources)
    return not kinds or kind in kinds


def join() -> tuple[Client, JoinedWorkers]:
    """A client of the cluster named by COMPRESSION_SCHEDULER, and its workers.

    Raises `Unsupported` for an address that is not encrypted, unless COMPRESSION_TRUSTED_NETWORK=1 says that nobody
    else can reach it: whoever can connect to a Dask scheduler can run code there.
    """
    address = os.environ[ADDRESS]
    check_trusted(address, ADDRESS)
    try:
        client = Client(address, timeout=10, set_as_default=False, security=security(address))
    except FAILURES as error:
        raise Unsupported(f"The scheduler at {ADDRESS}={address!r} does not answer: {error}.") from error
    workers = JoinedWorkers(client, address)
    workers.devices()  # known when a page first asks
    return client, workers


def check_trusted(address: str, named: str) -> None:
    """Raises `Unsupported` for an address that is not encrypted, unless the network is said to be trusted."""
    if not address.startswith("tls://") and os.environ.get(TRUSTED) != "1":
        raise Unsupported(
            f"{named} is {address!r}, which is not encrypted; use a tls:// address with the folder that `python -m "
            f"compression certificates` makes, or set {TRUSTED}=1 if nobody else can reach it."
        )


def security(address: str, folder: Path | None = None) -> Security | None:
    """The keys for a tls:// address, from a folder of certificates where there is one; else as Dask's settings say."""
    if not address.startswith("tls://"):
        return None
    place = folder or certificates()
    if folder is None and not (place / KEY).is_file():
        return None
    files = check_certificates(place)
    told = {f"tls_{role}_{name}": str(path) for role in ("client", "worker", "scheduler")
            for name, path in zip(("cert", "key"), files, strict=True)}  # fmt: skip
    return Security(tls_ca_file=str(files[0]), require_encryption=True, **told)


def certificates() -> Path:
    """The folder of certificates: COMPRESSION_CERTIFICATES, else one in the user's folder."""
    return Path(os.environ.get(CERTIFICATES) or user_folder() / "certificates")


def check_certificates(folder: Path) -> tuple[Path, Path]:
    """Certificate and key in a folder. Raises `InvalidFile` where they are not there."""
    files = folder / CERTIFICATE, folder / KEY
    for path in files:
        if not path.is_file():
            raise InvalidFile(
                f"There is no {path.name} in {str(folder)!r}; `python -m compression certificates` makes a folder of "
                "them, of which every machine of the cluster needs the same copy."
            )
    return files


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """Writes a new certificate and a key that only this user can read. Raises `InvalidFile` where there are some."""
    made = Security.temporary()
    contents = {CERTIFICATE: made.tls_client_cert, KEY: made.tls_client_key}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in contents.items():
            with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(str(content))
    except FileExistsError:
        raise InvalidFile(f"{str(folder)!r} already has certificates; name another folder.") from None
    except OSError as error:
        raise InvalidFile(f"Certificates cannot be written to {str(folder)!r}: {error.strerror}.") from None
    return check_certificates(folder)
