"""Somebody else's cluster: a plain scheduler that knows nothing of ours, workers by our command, certificates."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from distributed import Client
from PIL import Image
from sklearn.datasets import load_digits
from typer import Exit

from compression.cli import cluster as command
from compression.data import sent_folders
from compression.errors import InvalidFile, InvalidSetting, Unsupported
from compression.host.engine_version import engine_hash
from compression.jobs import image_parcels, joined, parcels
from compression.jobs.cluster import COMM, ROOT, ClusterConnection
from compression.jobs.joined import JoinedWorkers
from compression.jobs.lab import Lab, News
from compression.jobs.messages import Request
from compression.jobs.requested import images
from compression.recipe import Recipe

STARTED_S = 120


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing in the environment speaks of a cluster."""
    for name in [name for name in os.environ if name.startswith(COMM)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(joined, "PATIENCE_S", 0.1)
    return monkeypatch


@contextmanager
def running(*command: str, cwd: Path | str = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *command], cwd=cwd, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STARTED_S)


def listeners(program: subprocess.Popen[bytes]) -> set[str]:
    """The addresses at which a program and its children listen."""
    members = [psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)]
    open_ = [each for member in members for each in member.net_connections()]
    return {each.laddr.ip for each in open_ if each.status == psutil.CONN_LISTEN}


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def test_a_plain_scheduler_from_elsewhere_and_workers_by_our_command_carry_out_our_work(
    unset: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    unset.setenv("COMPRESSION_SCHEDULER", address)
    plain = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with running(*plain, cwd=tmp_path):  # where no `compression` can be imported
        unset.setenv("COMPRESSION_TRUSTED_NETWORK", "1")
        with Client(address, timeout=STARTED_S, set_as_default=False) as client, running(
            "-m", "compression", "worker", address, "--long", "0", "--name", "box", "--device", "pi4"
        ) as workers:  # fmt: skip
            client.wait_for_workers(1, timeout=STARTED_S)
            [about] = client.scheduler_info(n_workers=-1)["workers"].values()
            assert (about["name"], about["resources"]) == ("box-quick", {"quick": 1.0, "device-pi4": 1.0})
            assert listeners(workers) == {"127.0.0.1"}
            lab = Lab()
            try:
                assert lab.ask(os.getpid).result(STARTED_S) != os.getpid()
                end = time.monotonic() + STARTED_S
                while not lab.devices and time.monotonic() < end:
                    time.sleep(0.1)
                assert lab.devices == ("pi4",)
            finally:
                lab.close()


def test_certificates_are_made_once_and_only_those_who_have_them_reach_the_scheduler(
    unset: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, port = tmp_path / "certificates", free_port()
    made = joined.make_certificates(folder)
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600, 0o600]
    with pytest.raises(InvalidFile, match="already"):
        joined.make_certificates(folder)
    with pytest.raises(InvalidFile, match=r"no certificate\.pem"):
        joined.check_certificates(tmp_path)
    address = f"tls://127.0.0.1:{port}"
    with running("-m", "compression", "scheduler", "--port", str(port), "--certificates", str(folder)) as ours:
        unset.setenv("COMPRESSION_SCHEDULER", address)
        unset.setenv("COMPRESSION_CERTIFICATES", str(folder))
        client, workers = until_joined()
        assert listeners(ours) == {"127.0.0.1"}
        with client, pytest.raises(Unsupported, match=f"No worker is connected .* compression worker {address}"):
            workers.of("quick")
        unset.setenv("COMPRESSION_CERTIFICATES", str(joined.make_certificates(tmp_path / "others")[0].parent))
        with pytest.raises(Unsupported, match="does not answer"):
            joined.join()


def until_joined() -> tuple[Client, JoinedWorkers]:
    for _ in range(12):
        try:
            return joined.join()
        except Unsupported:
            continue
    pytest.fail("The scheduler did not come up.")


def cluster_of(engines: dict[str, Any], resources: dict[str, dict[str, float]] | None = None) -> JoinedWorkers:
    about = {at: {"name": at.upper(), "resources": (resources or {}).get(at, {})} for at in engines}

    def run(act: Callable[..., Any], *given: Any, workers: list[str], on_error: str) -> dict[str, Any]:
        return {at: engines[at] for at in workers}

    client: Any = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": about}, run=run)
    return JoinedWorkers(client, "tls://box:8786")


def test_workers_of_another_engine_are_refused_by_name() -> None:
    ours = engine_hash()
    assert cluster_of({"a": ours, "b": "0" * 12}).of("quick") == ["a"]
    with pytest.raises(Unsupported) as refused:
        cluster_of({"a": ModuleNotFoundError("compression"), "b": "0" * 12}).of("long")
    assert "A lacks this project" in str(refused.value)
    assert f"B has the engine 000000000000, not {ours}" in str(refused.value)
    kinds = {"a": {"quick": 1.0}, "b": {"long": 1.0}, "c": {}}
    mixed = cluster_of(dict.fromkeys("abc", ours), kinds)
    assert (mixed.of("quick"), mixed.of("long")) == (["a", "c"], ["b", "c"])
    assert cluster_of({"a": ours}, kinds).of("long") == ["a"]  # better late than never
    assert mixed.of("gpu") == ["b", "c"]
    fast = cluster_of(dict.fromkeys("abcd", ours), kinds | {"d": {"long": 1.0, "gpu": 1.0}})
    assert (fast.of("gpu"), fast.of("long"), fast.of("quick")) == (["d"], ["b", "c", "d"], ["a", "c"])
    there = cluster_of(dict.fromkeys("abe", ours), kinds | {"e": {"long": 1.0, "device-pi4": 1.0}})
    assert (there.of("long", "pi4"), there.of("quick", "pi4")) == (["e"], ["e"])
    with pytest.raises(Unsupported, match="offers the device 'pi5'"):
        there.of("long", "pi5")
    with pytest.raises(Unsupported, match="offers the device 'pi4'"):
        ClusterConnection(there.client, own=SimpleNamespace()).workers("long", device="pi4")


def test_devices_are_told_without_waiting_and_only_by_names_that_can_be_asked_for(unset: pytest.MonkeyPatch) -> None:
    names = {"pi4": 1.0, "": 1.0, "x" * 65: 1.0, "**a** b": 1.0}
    offered = {"a": {f"device-{name}": at for name, at in names.items()}, "b": {"long": 1.0, "device-pi3": 1.0}}
    there = cluster_of(dict.fromkeys("ab", "0" * 12), offered)
    unset.setattr(joined, "in_daemon_thread", lambda look: None)
    assert there.devices() == ()
    unset.setattr(joined, "in_daemon_thread", lambda look: look())
    assert there.devices() == ()  # it was looked just now
    unset.setattr(joined, "DEVICES_S", 0.0)
    assert there.devices() == ("pi3", "pi4")

    def broken(n_workers: int) -> None:
        raise OSError("The connection is lost.")

    unset.setattr(there, "client", SimpleNamespace(scheduler_info=broken))
    assert there.devices() == ("pi3", "pi4")
    many = {"a": {f"device-{number:03}": 1.0 for number in range(200)}}
    assert len(cluster_of({"a": ""}, many).devices()) == joined.MOST_DEVICES
    assert ClusterConnection(there.client).devices() == ()


@pytest.mark.parametrize(("device", "resources"), [("cpu", "long=1"), ("cuda", "long=1 gpu=1")])
def test_workers_say_that_their_machine_has_a_gpu(device: str, resources: str, unset: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    unset.setattr("compression.training.evaluation.device", lambda: device)
    unset.setattr("subprocess.Popen", started.append)
    unset.setattr(command, "_wait", lambda processes: None)
    unset.setenv("COMPRESSION_TRUSTED_NETWORK", "1")
    command.worker("tcp://127.0.0.1:1", quick=0)
    command.worker("tcp://127.0.0.1:1", quick=0, device="pi4")
    plain, named = (arguments[arguments.index("--resources") + 1] for arguments in started)
    assert (plain, named) == (resources, f"{resources} device-pi4=1")
    with pytest.raises(InvalidSetting, match="--device must be"):
        command.worker("tcp://127.0.0.1:1", device="a=1 b")


def test_a_network_travels_once_by_its_content_and_replaces_nothing_of_the_workers_own(
    unset: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (ours / "zoo").mkdir(parents=True)
    contents = {"mine-own.onnx": b"weights", "mine-own.json": b"{}"}
    for name, content in contents.items():
        (ours / "zoo" / name).write_bytes(content)
    work = SimpleNamespace(model="mine", weights="own")
    unset.setenv("COMPRESSION_HOME", str(ours))
    files = parcels.contents_of([work, SimpleNamespace(model="lenet5", weights="digits"), "nonsense"])
    assert list(files) == list(contents)
    for name in ("resnet56-digits.safetensors", "resnet56-digits.json"):
        (ours / "zoo" / name).write_bytes(b"{}")
    taught = Recipe().with_setting("recover.teacher", "resnet56").to_json()
    assert len(parcels.contents_of([Request("lenet5", "digits", "digits", taught)])) == 2
    assert parcels.contents_of([Request("lenet5", "digits", "digits", "nonsense")]) == {}
    calls: list[str] = []

    def run(read: Callable[..., Any], there: bytes, workers: list[str], on_error: str) -> dict[str, Any]:
        unset.setenv("COMPRESSION_HOME", str(theirs))
        try:
            answer: Any = read(there)
        except Unsupported as error:
            answer = error
        unset.setenv("COMPRESSION_HOME", str(ours))
        calls.append("asked" if isinstance(answer, list) else "sent")
        return dict.fromkeys(workers, answer)

    client: Any = SimpleNamespace(run=run)
    for times in (1, 2):
        JoinedWorkers(client, "tls://box").provide(["a"], [work])
        assert {path.name for path in (theirs / "zoo").iterdir()} >= set(contents)
        assert calls == ["asked", "sent", "asked"][: times + 1]
    (ours / "zoo" / "mine-own.onnx").write_bytes(b"another way")  # replaced, and brought back as it was
    JoinedWorkers(client, "tls://box").provide(["a"], [work])
    assert (theirs / "zoo" / "mine-own.onnx").read_bytes() == b"another way"
    (ours / "zoo" / "mine-own.onnx").rename(ours / "zoo" / "mine-own.pt2")
    JoinedWorkers(client, "tls://box").provide(["a"], [work])
    left = {path.name for path in (theirs / "zoo").iterdir() if path.suffix != ".lock"}
    assert left == {f"mine-own.{kind}" for kind in ("json", "json.sent", "pt2", "pt2.sent")}
    hashes = parcels.hashes_of({"mine-own.pt2": ours / "zoo" / "mine-own.pt2"})
    unset.setenv("COMPRESSION_HOME", str(theirs))
    assert parcels.with_networks(hashes, max, 3, 4) == 4
    with pytest.raises(Unsupported, match="same name 'mine-own'"):
        parcels.with_networks({"mine-own.pt2": "0" * 64}, max, 3, 4)
    unset.setenv("COMPRESSION_HOME", str(ours))
    (theirs / "zoo" / "mine-own.pt2").write_bytes(b"another")  # by its owner: the mark does not hold for it
    with pytest.raises(Unsupported, match="another network of its own by the name 'mine-own'"):
        JoinedWorkers(client, "tls://box").provide(["a"], [work])
    assert (theirs / "zoo" / "mine-own.pt2").read_bytes() == b"another"
    for name in ("../x.json", "a/b.onnx", "x.py", "", "x" * 300 + ".json"):
        with pytest.raises(Unsupported, match="No network is kept"):
            parcels.take({name: b""})


@pytest.mark.parametrize("address", ["tcp://box:8786", "box:8786", "", "ucx://box"])
def test_an_address_that_is_not_encrypted_needs_a_word_of_trust(address: str, unset: pytest.MonkeyPatch) -> None:
    unset.delenv("COMPRESSION_TRUSTED_NETWORK", raising=False)
    with pytest.raises(Unsupported, match="COMPRESSION_TRUSTED_NETWORK=1"):
        joined.check_trusted(address, "The address")
    unset.setenv("COMPRESSION_TRUSTED_NETWORK", "1")
    joined.check_trusted(address, "The address")


def test_workers_with_a_network_of_their_own_are_left_out_and_refuse_for_no_other(
    unset: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "zoo").mkdir()
    for suffix in ("onnx", "json"):
        (tmp_path / "zoo" / f"mine-own.{suffix}").write_bytes(b"{}")
    unset.setenv("COMPRESSION_HOME", str(tmp_path))
    answers: dict[str, Any] = {"a": Unsupported("Its own."), "b": [], "c": OSError("dead")}
    client: Any = SimpleNamespace(run=lambda read, there, workers, on_error: {at: answers[at] for at in workers})
    workers, work = JoinedWorkers(client, "tls://box"), SimpleNamespace(model="mine", weights="own")
    assert workers.provide(["a", "b", "c"], [work]) == ["b"]
    with pytest.raises(Unsupported, match=r"a: Its own\."):
        workers.provide(["a"], [work])


def test_what_waits_for_a_worker_that_is_gone_is_cancelled_once_another_is_there() -> None:
    futures = {name: Waiting(name) for name in ("at a", "at b", "at both", "done")}
    futures["done"].over, there = True, ["a", "b"]
    cluster = cluster_of({})
    cluster.client = client = SimpleNamespace(  # type: ignore[assignment]
        futures=futures, status="running", scheduler_info=lambda n_workers: {"workers": dict.fromkeys(there)}
    )
    at = {"at a": {"a"}, "at b": {"b"}, "at both": {"a", "b"}, "done": {"a"}}
    cluster._pending = [(future, at[name]) for name, future in futures.items()]  # type: ignore[misc]
    assert cluster.cancel_forsaken() and not any(each.cancelled for each in futures.values())
    there.clear()  # the only nanny is starting another worker
    assert cluster.cancel_forsaken() and not any(each.cancelled for each in futures.values())
    there.append("b")
    assert cluster.cancel_forsaken()
    assert [name for name, each in futures.items() if each.cancelled] == ["at a"]
    client.futures = {}
    assert not cluster.cancel_forsaken()


class Waiting:
    def __init__(self, key: str):
        self.key, self.over, self.cancelled = key, False, False

    def done(self) -> bool:
        return self.over or self.cancelled

    def cancel(self) -> None:
        self.cancelled = True


def test_a_folder_of_images_travels_once_to_a_worker_that_lacks_it(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder is named by a path below a home, and the worker has another home."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    digits_in(here / "photos")
    address = f"tcp://127.0.0.1:{(port := free_port())}"
    unset.setenv("COMPRESSION_TRUSTED_NETWORK", "1")
    plain = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with running(*plain, cwd=tmp_path):
        unset.setenv("HOME", str(there))
        unset.setenv("COMPRESSION_HOME", str(there / "lab"))
        with running("-m", "compression", "worker", address, "--long", "0"):
            unset.setenv("HOME", str(here))
            unset.setenv("COMPRESSION_HOME", str(here / "lab"))
            unset.setenv("COMPRESSION_SCHEDULER", address)
            with until_joined()[0] as client:
                client.wait_for_workers(1, timeout=STARTED_S)
            lab = Lab()
            try:
                sent = there / "lab" / "datasets" / "sent"
                first = done(lab, 4)
                assert (first.state, first.sentence) == ("done", "")
                [folder] = sent.iterdir()
                written = {path: path.stat().st_ino for path in folder.rglob("*")}
                assert len(written) == 1 + 10 + 100 + 2  # classes, images, the list and the state
                assert done(lab, 3).state == "done"
                assert {path: path.stat().st_ino for path in folder.rglob("*")} == written
                unset.setattr(image_parcels, "FRESH_S", 0.0)
                (here / "photos" / "0" / "0.png").unlink()
                changed = done(lab, 3)  # not answered by what the store has of the other images
                assert changed.state == "done" and len(list(sent.iterdir())) == 2
                end, kept = time.monotonic() + STARTED_S, set[str]()
                while len(kept) < 2 and time.monotonic() < end:  # a job has ended before its result is kept
                    kept = {run.subject.data_fingerprint for run in lab.store.runs(model="lenet5", dataset=DIGITS)}
                    time.sleep(0.1)
                assert len(kept) == 2 and images(asked(3)).fingerprint in kept
                unset.setattr(sent_folders, "MOST_BYTES", 100)
                (here / "photos" / "1" / "1.png").unlink()
                refused = done(lab, 3)
                assert (refused.state, "it is not sent to workers" in refused.sentence) == ("refused", True)
            finally:
                lab.close()


DIGITS = "folder:~/photos"


def digits_in(folder: Path) -> None:
    """Ten pictures of each digit."""
    drawn = load_digits()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for number, pixels in enumerate(drawn.images[drawn.target == digit][:10]):
            Image.fromarray((pixels * 15.9375).astype("uint8")).save(folder / str(digit) / f"{number}.png")


def asked(bits: int) -> Request:
    recipe = Recipe().with_setting("quantize.weight_bits", bits).with_setting("quality", "fast")
    return Request("lenet5", "digits", DIGITS, recipe.to_json())


def done(lab: Lab, bits: int) -> News:
    job = lab.submit(asked(bits), owner="test")
    while (news := job.news).state == "working":
        job.wait(after=news.number, timeout=STARTED_S)
    return news


@pytest.mark.parametrize(("address", "own"), [
    ("tls://127.0.0.1:8786", "127.0.0.1"), ("tls://localhost", "127.0.0.1"), ("tcp://[::1]:1", "::1"),
])  # fmt: skip
def test_workers_listen_where_the_scheduler_reaches_them_alone(address: str, own: str) -> None:
    assert command._own_address(address) == own
    for wrong in ("", "box:8786", "tls://box:port", "tls://"):
        with pytest.raises(InvalidSetting, match="is one like tls://host:8786"):
            command._own_address(wrong)


def test_a_worker_that_fails_ends_the_others_and_its_code_is_passed_on() -> None:
    code = "import sys, time; sys.argv[1] == '3' and sys.exit(3); time.sleep(600)"
    started = [subprocess.Popen([sys.executable, "-c", code, each]) for each in ("0", "3")]
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Exit) as ended:
            command._wait(started)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.exit_code == 3 and all(each.poll() is not None for each in started)
