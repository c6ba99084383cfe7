"""Many images through a graph in bounded memory: what is computed, and how much is there at once."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import fx, nn

from compression import calibration
from compression.network import batches
from compression.network.batches import Batches, Plan, batch_of, plan
from compression.network.quantized_values import quantized_values
from compression.network.spilled import Spilled
from compression.network.tracing import trace

SHAPE = (3, 16, 16)
IMAGES = 40


@pytest.fixture
def graph() -> fx.GraphModule:
    torch.manual_seed(0)
    return trace(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 8, 3, stride=4, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        ).eval(),
        SHAPE,
    )  # fmt: skip


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> int:
    """Batches of 4 images, and room for two of them at the widest place: 16 channels of 16×16, read and written."""
    room = 2 * 4 * 2 * 16 * 16 * 16 * 4
    monkeypatch.setattr(batches, "BATCH_VALUES", 4 * 3 * 16 * 16)
    monkeypatch.setattr(batches, "SMALL", 0)
    monkeypatch.setattr(batches, "BUDGET", room)
    return room


def test_small_images_go_128_at_a_time_and_all_at_once() -> None:
    assert [batch_of(torch.empty(1, *shape)) for shape in ((1, 28, 28), (3, 32, 32), (3, 224, 224), (3, 2000, 2000))] \
        == [128, 128, 4, 1]  # fmt: skip


@torch.no_grad()
def test_as_many_batches_as_fit_are_there_at_each_node(
    graph: fx.GraphModule, images: torch.Tensor, little_memory: int
) -> None:
    found, seen = Batches(graph, images), list[int]()
    for node in found.nodes:
        values = found.run(node)
        held = {id(v): v for run in found._runs for v in run.env.values()} | {id(v): v for v in values}
        assert sum(v.nbytes for v in held.values()) <= little_memory
        seen.append(len(values))
    assert seen == list(plan(graph, images).batches)
    assert seen == sorted(seen)
    assert seen[:3] == [2, 2, 2]
    assert seen[-1] == 10
    torch.testing.assert_close(torch.cat(values), graph(images))


@torch.no_grad()
def test_nothing_is_computed_twice(
    graph: fx.GraphModule, images: torch.Tensor, little_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, call = Counter[str](), fx.Interpreter.call_module

    def counted(self: fx.Interpreter, target: Any, args: Any, kwargs: Any) -> Any:
        calls[str(target)] += len(args[0])
        return call(self, target, args, kwargs)

    by = plan(graph, images)
    monkeypatch.setattr(fx.Interpreter, "call_module", counted)
    found = Batches(graph, images, by)
    for node in found.nodes:
        found.run(node)
    assert set(calls.values()) == {IMAGES}


@torch.no_grad()
def test_what_is_there_of_the_network_by_then_is_what_later_batches_run_through(
    graph: fx.GraphModule, images: torch.Tensor, little_memory: int
) -> None:
    found = Batches(graph, images)
    for node in found.nodes:
        if str(node.target) == "3":
            graph.get_submodule("0").weight.mul_(0.5)  # type: ignore[operator] # behind the first: batches came already
        values = found.run(node)
    whole = torch.cat(values)
    assert not torch.allclose(whole[:8], graph(images)[:8])
    torch.testing.assert_close(whole[8:], graph(images)[8:])


def test_two_graphs_side_by_side_share_the_room() -> None:
    assert Plan(4, (2, 3, 9)).beside(Plan(4, (3, 1, 9))) == Plan(4, (2, 1, 9))


@torch.no_grad()
def test_moments_of_later_layers_are_those_of_all_images(
    graph: fx.GraphModule, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_VALUES", 4 * 3 * 16 * 16)
    wide, answers = calibration.collect(graph, images)
    monkeypatch.setattr(batches, "SMALL", 0)
    monkeypatch.setattr(batches, "BUDGET", 2 * 4 * 2 * 16 * 16 * 16 * 4)
    monkeypatch.setattr(calibration, "TARGETS", 0)
    narrow, few = calibration.collect(graph, images)
    assert isinstance(few, Spilled)
    assert not few.in_memory
    torch.testing.assert_close(narrow["7"].h, wide["7"].h)
    assert torch.equal(few["7"], answers["7"])
    assert len(few["0"]) == pytest.approx(len(answers["0"]), abs=16)  # as many places of fewer images
    assert set(few) == set(answers)


@torch.no_grad()
@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_ranges_are_taken_batch_by_batch(graph: fx.GraphModule, images: torch.Tensor, method: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    whole = calibration.observe(graph, images, method)
    monkeypatch.setattr(batches, "BATCH_VALUES", 4 * 3 * 16 * 16)
    parts = calibration.observe(graph, images, method)
    assert list(parts) == list(whole)
    assert set(parts) == set(quantized_values(graph).values())
    for name, found in whole.items():
        assert parts[name].low == pytest.approx(found.low, rel=1e-4, abs=1e-5)
        assert parts[name].high == pytest.approx(found.high, rel=1e-4)
    first = next(iter(whole.values()))
    if method == "minmax":
        assert (first.low, first.high) == (float(images.min()), float(images.max()))
