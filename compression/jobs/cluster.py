"""Where jobs run: a Dask cluster of our own on this machine, or one that is there already.

Our own is a scheduler, a nanny and one worker with one thread, for what users wait for; the first training
starts another nanny with a worker of its own. They listen on 127.0.0.1 only, have no dashboard, and each process ends
by itself when the program that started it is gone. What survives all the same (on a machine that was suspended, for
example) is ended at the next start, by the id and start time that were written down.
"""

import atexit
import copy
import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from distributed import Client, Future
from distributed.deploy.subprocess import SubprocessCluster
from distributed.security import Security

from compression.data import user_folder
from compression.errors import Unsupported
from compression.host.atomic_files import atomic_write
from compression.jobs.joined import ADDRESS, GPU, LONG, QUICK, JoinedWorkers, join
from compression.jobs.processes import Identity, identity, runs
from compression.jobs.sending import send

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
LOCALHOST = "127.0.0.1"
COMM = "DASK_DISTRIBUTED__COMM__"
"""How Dask's processes are told, by their environment, how they talk to each other."""

START_S = 60

WORKER_BYTES = 2 * 2**30
"""Of the machine's memory, for each worker for long jobs: PyTorch, a network and its images."""

PRELOAD = """
import sys; sys.path.insert(0, {root!r})
import before_compression
from compression.jobs import processes, worker
{watch}
dask_setup = {setup}
"""


@dataclass
class ClusterConnection:
    """A connected client; `own` is the cluster that we started; of one that was there already, `joined` its workers."""

    client: Client
    own: Any = None
    joined: JoinedWorkers | None = None
    _hiring: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _searches: int = 0

    def is_connected(self) -> bool:
        """Whether work can be sent. A worker that died is not counted against it: its nanny brings up another."""
        if self.client.status != "running":
            return False
        return self.own is None or all(process.returncode is None for process in _processes(self.own))

    def workers(self, name: str, count: int = 1, about: Iterable[Any] = (), device: str = "") -> list[str] | None:
        """Which workers carry out jobs of this kind, as `Client.submit` takes it: None is any worker.

        The worker for trainings, or `count` of them, are started when they are asked for. Workers elsewhere get the
        networks that the job is `about`. Raises `Unsupported` where nobody can do it, or nobody on the `device`.
        """
        if self.own is None and self.joined:
            return self.joined.provide(self.joined.of(name, device), about)
        if device:
            raise Unsupported(f"No worker offers the device {device!r}: {ADDRESS} names no scheduler to find it by.")
        if self.own is None:
            return None
        if name not in (LONG, GPU):
            return [name]
        count = min(count, most_workers())
        with self._hiring:
            while len(self.own.workers) <= count:
                self._start_long_worker()
        return [LONG, *(f"{LONG}-{number}" for number in range(1, count))]

    def side_by_side(self, count: int, device: str = "") -> int:
        """How many of the `count` workers of a search work on one machine, at most.

        Raises `Unsupported` as `workers` does.
        """
        if self.joined:
            hosts = Counter(urlsplit(address).hostname for address in self.joined.of(LONG, device))
            return min(count, max(hosts.values()))
        return min(count, most_workers())

    def devices(self) -> tuple[str, ...]:
        """Names of the devices that workers elsewhere offer, as far as they are known; waits for nothing."""
        return self.joined.devices() if self.joined else ()

    def send(self, run: Callable[..., Any], *about: Any, workers: list[str] | None = None, **how: Any) -> Future:
        """`run(*about)` on its way to one of the workers; `how` is what `Client.submit` takes."""
        if self.joined is None:
            return send(self.client, run, *about, workers=workers, **how)
        return self.joined.send(run, *about, workers=workers, **how)

    @contextmanager
    def searching(self, count: int) -> Iterator[int]:
        """How many workers a search has of those it asks for; those of our own that only searches need end with it."""
        with self._hiring:
            self._searches += 1
        try:
            yield count if self.own is None else min(count, most_workers())
        finally:
            with self._hiring:
                self._searches -= 1
                if self.own is not None and not self._searches and len(self.own.workers) > 2:
                    with suppress(OSError, RuntimeError, TimeoutError):  # the program is ending
                        self._end_others()

    def _start_long_worker(self) -> None:
        """One more of our own: the first is called `long`, the others `long-1`, `long-2`, …"""
        at = len(self.own.workers)
        self.own.new_spec = copy.deepcopy(self.own.new_spec)
        self.own.new_spec["options"]["worker_kwargs"]["name"] = LONG if at == 1 else f"{LONG}-{at - 1}"
        self.own.scale(at + 1)
        self.client.wait_for_workers(at + 1, timeout=START_S)
        _write_down(_alive(self.own))

    def _end_others(self) -> None:
        """Ends all of our own but for the first two; returns when the scheduler knows of it: nothing is sent to them.

        Dask's `scale` would end any of those that have names.
        """
        self.own.sync(self.own.scale_down, list(self.own.worker_spec)[2:])
        end = time.monotonic() + START_S
        while len(self.client.scheduler_info(n_workers=-1)["workers"]) > 2 and time.monotonic() < end:
            time.sleep(0.1)
        _write_down(_alive(self.own))

    def close(self) -> None:
        """Disconnects, and ends the cluster if it is ours."""
        atexit.unregister(self.close)
        with suppress(OSError, RuntimeError, TimeoutError):  # it may be dead already
            self.client.close(timeout=2)
        if self.own is not None:
            identities = list(_alive(self.own))
            with suppress(OSError, RuntimeError, TimeoutError):
                self.own.close(timeout=5)
            _end(identities)
            _record().unlink(missing_ok=True)
            shutil.rmtree(_keys(), ignore_errors=True)


def most_workers() -> int:
    """How many workers for long jobs this machine has cores and memory for."""
    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().total // WORKER_BYTES))


def connect() -> ClusterConnection:
    """The cluster named by COMPRESSION_SCHEDULER, else one of our own.

    Raises `Unsupported`: see `joined.join`, and where the user's folder cannot be written to.
    """
    if os.environ.get(ADDRESS):
        client, workers = join()
        connection = ClusterConnection(client, joined=workers)
    else:
        try:
            connection = _start()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unsupported(f"The engine cannot start, as it needs files in {user_folder()}: {why}.") from error
    atexit.register(connection.close)
    return connection


def _start() -> ClusterConnection:
    end_stale()
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # for the new processes: they print to our terminal
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")  # interrupts it
    security = _secured()
    cluster = SubprocessCluster(
        host=LOCALHOST,
        dashboard_address=None,  # type: ignore[arg-type] # documented to mean: none
        n_workers=1,
        threads_per_worker=1,
        silence_logs=logging.ERROR,
        security=security,
        scheduler_kwargs={
            "preload": [_preload("processes.quiet")],
            "allowed_failures": 0,
            "protocol": "tls",
            "dashboard_address": f"{LOCALHOST}:0",
        },
        worker_kwargs={
            "preload": [_preload("worker.warm_up")],
            "preload_nanny": [_preload("processes.at_ease")],
            "local_directory": str(_folder()),
            "dashboard": False,
            "name": QUICK,
        },
    )
    _write_down(_alive(cluster))
    return ClusterConnection(Client(cluster, security=security, set_as_default=False), cluster)


def _secured() -> Security:
    """A key of this cluster's own, in files that only this user can read: who reaches a scheduler can run code there.

    The scheduler and the workers find the files by their environment.
    """
    security, folder = Security.temporary(), _keys()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    files = {"KEY": security.tls_client_key, "CERT": security.tls_client_cert}
    for name, content in files.items():
        with open(folder / name, "x", opener=partial(os.open, mode=0o600)) as file:
            file.write(content)
    os.environ[f"{COMM}REQUIRE_ENCRYPTION"], os.environ[f"{COMM}TLS__CA_FILE"] = "True", str(folder / "CERT")
    for role, name in product(("CLIENT", "SCHEDULER", "WORKER"), files):
        os.environ[f"{COMM}TLS__{role}__{name}"] = str(folder / name)
    return security


def preload(setup: str, watch: str = "") -> str:
    """What a process of Dask's runs first: our package comes from here, and `setup` is called when it is up."""
    return PRELOAD.format(root=str(ROOT), watch=watch, setup=setup)


def _preload(setup: str) -> str:
    """The same for a process that ends with this one."""
    return preload(setup, f"processes.end_with({tuple(identity(os.getpid()))!r})")


def _processes(cluster: Any) -> list[Any]:
    """The scheduler's and the nannies' processes, but for those that are being ended."""
    members = (cluster.scheduler, *(each for name, each in cluster.workers.items() if name in cluster.worker_spec))
    return [member.process for member in members if member.process is not None]


def _alive(cluster: Any) -> Iterator[Identity]:
    for process in _processes(cluster):
        if process.returncode is None:
            with suppress(psutil.NoSuchProcess):  # it has ended, and nobody has looked yet
                yield identity(process.pid)


def _folder() -> Path:
    folder = user_folder() / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _keys() -> Path:
    return _folder() / f"tls-{os.getpid()}"


def _record() -> Path:
    return _folder() / f"{os.getpid()}.json"


def _write_down(members: Iterable[Identity]) -> None:
    with atomic_write(_record()) as partial:
        partial.write_text(json.dumps({"app": identity(os.getpid()), "members": list(members)}))


def end_stale() -> None:
    """Ends what is left of clusters whose program is gone."""
    for path in _folder().glob("*.json"):
        try:
            record = json.loads(path.read_text())
            app, members = Identity(*record["app"]), [Identity(*member) for member in record["members"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            log.warning("%s does not tell which processes a cluster had; it is deleted", path)
            with suppress(OSError):
                path.unlink()
            continue
        if not runs(app) or app.pid == os.getpid():
            _end(members)
            path.unlink(missing_ok=True)


def _end(members: Iterable[Identity]) -> None:
    for member in members:
        if runs(member):
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(member.pid)
                for process in (*parent.children(recursive=True), parent):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
