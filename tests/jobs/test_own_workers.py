"""How many workers our own cluster has: no more than the machine carries, and no longer than a search needs them."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compression.errors import Unsupported
from compression.jobs import cluster
from compression.jobs.cluster import ClusterConnection
from compression.jobs.joined import LONG, QUICK
from compression.jobs.worker import sharing_cores


class Own:
    """What Dask's cluster is to a connection."""

    def __init__(self) -> None:
        self.worker_spec: dict[int, dict[str, Any]] = {0: {}}
        self.new_spec: dict[str, Any] = {"options": {"worker_kwargs": {"name": QUICK}}}
        self.made = 1

    @property
    def workers(self) -> dict[int, dict[str, Any]]:
        return self.worker_spec

    def scale(self, count: int) -> None:
        while len(self.worker_spec) < count:
            self.worker_spec[self.made] = self.new_spec
            self.made += 1

    def sync(self, act: Any, names: list[int]) -> None:
        assert act == self.scale_down
        self.worker_spec = {name: spec for name, spec in self.worker_spec.items() if name not in names}

    def scale_down(self, names: list[int]) -> None: ...


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> ClusterConnection:
    monkeypatch.setattr(cluster, "_write_down", lambda members: None)
    monkeypatch.setattr(cluster, "_alive", lambda own: ())
    monkeypatch.setattr(cluster.os, "cpu_count", lambda: 3)
    monkeypatch.setattr(cluster.psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * 2**30))
    own = Own()
    client: Any = SimpleNamespace(
        wait_for_workers=lambda count, timeout: None, scheduler_info=lambda n_workers: {"workers": own.workers}
    )
    return ClusterConnection(client, own)


def names(connection: ClusterConnection) -> list[str]:
    return [spec["options"]["worker_kwargs"]["name"] for spec in list(connection.own.worker_spec.values())[1:]]


def test_a_search_has_no_more_workers_than_cores_and_they_end_with_the_last_search(
    connection: ClusterConnection,
) -> None:
    with connection.searching(64) as most:
        assert most == 3
        assert connection.workers(LONG, 64) == names(connection) == [LONG, "long-1", "long-2"]
        with connection.searching(2) as second:
            assert second == 2
        assert len(names(connection)) == 3
    assert names(connection) == [LONG]
    with connection.searching(2):
        assert connection.workers(LONG, 2) == names(connection) == [LONG, "long-1"]


def test_workers_of_one_machine_share_its_cores(connection: ClusterConnection) -> None:
    assert [connection.side_by_side(count) for count in (1, 2, 64)] == [1, 2, 3]
    there = SimpleNamespace(of=lambda kind, device: ["tls://a:1", "tls://a:2", "tls://[::1]:3"])
    joined: Any = ClusterConnection(connection.client, joined=there)  # type: ignore[arg-type]
    assert [joined.side_by_side(count) for count in (1, 64)] == [1, 2]
    whole = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        for workers, threads in ((1, 5), (2, 2), (64, 1)):
            with suppress(KeyError), sharing_cores(workers):
                assert torch.get_num_threads() == threads
                raise KeyError
            assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(whole)


def test_workers_are_no_more_than_there_is_memory_for(
    connection: ClusterConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gigabytes, most in ((1, 1), (5, 2), (64, 3)):
        total = gigabytes * 2**30
        monkeypatch.setattr(cluster.psutil, "virtual_memory", lambda total=total: SimpleNamespace(total=total))
        assert cluster.most_workers() == most


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workers").write_text("no folder")
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    monkeypatch.delenv("COMPRESSION_SCHEDULER", raising=False)
    with pytest.raises(
        Unsupported, match=r"^The engine cannot start, as it needs files in .*: (File exists|Not a .*)\.$"
    ):
        cluster.connect()
