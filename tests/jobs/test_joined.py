"""Somebody else's cluster: a plain scheduler that knows nothing of ours, workers by our command, certificates."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client

from compression.errors import InvalidFile, Unsupported
from compression.host.engine_version import engine_hash
from compression.jobs import joined, parcels
from compression.jobs.cluster import COMM, ROOT
from compression.jobs.joined import JoinedWorkers
from compression.jobs.lab import Lab

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
            "-m", "compression", "worker", address, "--long", "0", "--resource", "gpu=1", "--name", "box"
        ):  # fmt: skip
            client.wait_for_workers(1, timeout=STARTED_S)
            [about] = client.scheduler_info(n_workers=-1)["workers"].values()
            assert (about["name"], about["resources"]) == ("box-quick", {"quick": 1.0, "gpu": 1.0})
            lab = Lab()
            try:
                assert lab.ask(os.getpid).result(STARTED_S) != os.getpid()
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
    with running("-m", "compression", "scheduler", "--port", str(port), "--certificates", str(folder)):
        unset.setenv("COMPRESSION_SCHEDULER", address)
        unset.setenv("COMPRESSION_CERTIFICATES", str(folder))
        client, workers = until_joined()
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
    (theirs / "zoo" / f"mine-own.onnx{parcels.MARK}").unlink()
    (theirs / "zoo" / "mine-own.onnx").write_bytes(b"another")
    with pytest.raises(Unsupported, match="another network of its own by the name 'mine-own'"):
        JoinedWorkers(client, "tls://box").provide(["a"], [work])
    assert (theirs / "zoo" / "mine-own.onnx").read_bytes() == b"another"
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
