"""Tensors by name are the same numbers in memory and in the file, whatever holds them."""

import resource
import signal
from dataclasses import dataclass, field

import pytest
import torch

from compression.network.spilled import Spilled


@dataclass(frozen=True)
class Numbers:
    square: torch.Tensor
    flags: torch.Tensor | None
    width: int
    found: dict[str, torch.Tensor] = field(default_factory=dict)


def numbers(seed: int) -> Numbers:
    draw = torch.Generator().manual_seed(seed)
    return Numbers(torch.randn(7, 5, generator=draw).T, torch.rand(9, generator=draw) > 0.5, seed)


def test_what_does_not_fit_lies_in_a_file_and_is_the_same() -> None:
    kept = Spilled[Numbers](in_memory=4 * 35 + 9)
    kept["a"] = numbers(1)
    assert kept.in_memory
    assert kept["a"] is kept["a"]
    kept["b"] = numbers(2)
    assert not kept.in_memory
    for name, seed in (("a", 1), ("b", 2)):
        found, given = kept[name], numbers(seed)
        assert found is not kept[name]
        assert torch.equal(found.square, given.square)
        assert torch.equal(found.flags, given.flags)
        assert found.width == seed
    assert list(kept) == ["a", "b"]
    assert "a" in kept
    del kept["a"]
    assert "a" not in kept


def test_what_was_computed_from_them_lies_there_too() -> None:
    kept = Spilled[Numbers](in_memory=0)
    kept["a"] = numbers(1)
    kept["a"].found["root"] = torch.arange(4)
    assert torch.equal(kept["a"].found["root"], torch.arange(4))
    assert kept["a"].found["root"] is not kept["a"].found["root"]


def test_numbers_that_come_anew_count_once() -> None:
    kept = Spilled[torch.Tensor](in_memory=100)
    for i in range(9):
        kept["b"], kept["a"] = torch.full((10,), i, dtype=torch.float), torch.tensor(0.0)
        del kept["a"]
    assert kept.in_memory
    kept["c"] = torch.zeros(20)
    assert not kept.in_memory
    assert list(kept) == ["b", "c"]
    assert kept["b"].tolist() == [8.0] * 10


def test_plain_and_empty_tensors() -> None:
    kept = Spilled[torch.Tensor](in_memory=0)
    kept["empty"], kept["one"] = torch.zeros(0, 3), torch.tensor(5.0)
    kept["one"] = torch.tensor(6.0)
    assert kept["empty"].shape == (0, 3)
    assert float(kept["one"]) == 6


def test_without_room_on_the_disk_they_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", "/proc/self/none")
    kept = Spilled[torch.Tensor](in_memory=0)
    kept["a"] = torch.arange(3)
    assert kept.in_memory
    assert kept["a"].tolist() == [0, 1, 2]


def test_what_was_written_can_be_read_when_the_disk_is_full() -> None:
    kept = Spilled[torch.Tensor](in_memory=0)
    kept["a"] = torch.arange(20_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        kept["b"], kept["c"] = torch.arange(60_000), torch.arange(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    for name, count in (("a", 20_000), ("b", 60_000), ("c", 1000)):
        assert torch.equal(kept[name], torch.arange(count))


def test_what_replaces_a_value_is_written_over_it() -> None:
    kept = Spilled[torch.Tensor](in_memory=0)
    for i in range(5):
        kept["a"] = torch.full((1000,), float(kept.pop("a", torch.zeros(1))[0] + i))
    assert float(kept["a"][-1]) == 10
    assert kept._places["a"][""].begin == 0
