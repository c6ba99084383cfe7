"""What is said of work under way: what it is, how far, and for how long."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from torch import fx

from compression.calibration import collect
from compression.network.batches import called
from compression.network.tracing import trace
from compression.pipeline import candidate
from tests.networks import tiny

STAGE = "Fitting the weights"


@pytest.fixture
def graph() -> fx.GraphModule:
    return trace(tiny(), (1, 8, 8))


def said_by(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[tuple[str, float]]:
    """What a stage from 0.2 to 0.8 says; each look at the clock finds it `seconds` later."""
    ticks, said = count(), list[tuple[str, float]]()
    monkeypatch.setattr(candidate, "time", SimpleNamespace(perf_counter=lambda: seconds * next(ticks)))
    with candidate.Reporter(lambda *news: said.append(news), None).stage(STAGE, 0.2, 0.8):
        work()
    return said


def test_a_stage_that_takes_long_tells_the_seconds_that_remain(
    graph: fx.GraphModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = said_by(lambda: collect(graph, torch.zeros(4, 1, 8, 8)), monkeypatch, 3.0)
    nodes = len(called(graph))
    assert nodes > 3
    assert said[0] == (STAGE, 0.2)
    for done, (sentence, share) in enumerate(said[1:], start=1):
        assert sentence == f"{STAGE}, about {3 * (nodes - done)} s left"
        assert share == pytest.approx(0.2 + 0.6 * done / nodes)
    assert len(said) == nodes


def test_a_second_pass_over_the_network_takes_back_what_was_said_of_the_first(
    graph: fx.GraphModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        collect(graph, torch.zeros(4, 1, 8, 8))
        collect(graph, torch.zeros(4, 1, 8, 8))

    said = said_by(twice, monkeypatch, 3.0)
    assert said[-1] == (STAGE, 0.8) and len(said) == len(called(graph)) + 1


def test_a_stage_that_soon_ends_says_no_seconds(graph: fx.GraphModule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_by(lambda: collect(graph, torch.zeros(4, 1, 8, 8)), monkeypatch, 1e-3) == [(STAGE, 0.2)]
