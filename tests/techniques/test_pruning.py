"""Which weights go: patterns by counting, importance by brute force, the joint choice by what it costs."""

import copy
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression.calibration import Calibration, calibrate, collect, divergence
from compression.data import load
from compression.errors import InvalidSetting
from compression.models import load as load_model
from compression.network.graph import layers
from compression.network.parametrizations import Mask, find
from compression.network.tracing import trace
from compression.recipe import Recipe
from compression.solvers import moments
from compression.steps import Prune, Quantize, Share
from compression.techniques.pruning import joint_masks as joint
from compression.techniques.pruning.importance import second_order, sensitivity, taylor
from compression.techniques.pruning.joint_masks import joint_masks
from compression.techniques.pruning.patterns import kept
from compression.techniques.pruning.prune import prune_
from compression.techniques.reconstruction import reconstruct_

CRITERIA = ("error", "magnitude", "activation", "taylor", "second-order")
SHAPES = ((3, 5, 3, 3), (6, 2, 1, 1), (7, 9), (8, 1, 3, 3))


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    graph = trace(load_model("resnet20", "digits"), data.input_shape)
    return graph, calibrate(graph, data, images=128, seed=0)


def random_scores(seed):
    generator = torch.Generator().manual_seed(seed)
    return {str(i): torch.rand(shape, generator=generator) for i, shape in enumerate(SHAPES)}


def test_a_kernel_as_large_as_an_image_is_a_block() -> None:
    """Its weights, 40,000, are more than 16 bits count."""
    scores = {
        "large": torch.stack((torch.ones(1, 200, 200), torch.zeros(1, 200, 200))),
        "small": torch.ones(4, 1, 3, 3),
    }
    mask = kept(scores, Prune(pattern="kernel", sparsity=0.5))
    assert mask["large"].flatten(1).all(1).tolist() == [True, False]
    assert mask["small"].all()


@given(scores=st.lists(st.integers(0, 5), min_size=1, max_size=40), sparsity=st.floats(0, 1))
def test_among_equals_the_first_goes_first(scores, sparsity):
    score = torch.tensor([scores], dtype=torch.float32)
    keep = kept({"layer": score}, Prune(sparsity=min(sparsity, 0.99)))["layer"][0]
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    gone = order[: round(min(sparsity, 0.99) * len(scores))]
    assert [i for i in range(len(scores)) if not keep[i]] == sorted(gone)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99), sparsity=st.floats(0, 0.99), scope=st.sampled_from(["global", "layer"]),
    pattern=st.sampled_from(["free", "1x4", "4x1", "kernel"]),
)  # fmt: skip
def test_blocks_go_as_a_whole_and_as_many_as_asked_for(seed, sparsity, scope, pattern):
    masks = kept(random_scores(seed), Prune(sparsity=sparsity, scope=scope, pattern=pattern))
    sets = [masks.values()] if scope == "global" else [[mask] for mask in masks.values()]
    for together in sets:
        gone, weights = (sum(int(part) for part in parts) for parts in zip(
            *((int((~m).sum()), m.numel()) for m in together), strict=True))  # fmt: skip
        slack = {"free": 0, "kernel": 8}.get(pattern, 3)
        assert round(sparsity * weights) - slack <= gone <= round(sparsity * weights)
    for mask in masks.values():
        rows = mask.flatten(1).T if pattern == "4x1" else mask.flatten(1)
        length = {"free": 1, "kernel": mask[0, 0].numel()}.get(pattern, 4)
        assert all(part.all(1).logical_or(~part.any(1)).all() for part in rows.split(length, 1))


def test_the_blocks_that_go_are_the_least_ones():
    scores = {"a": torch.arange(24.0).reshape(2, 12), "b": torch.arange(24.0, 0, -1).reshape(2, 12)}
    masks = kept(scores, Prune(sparsity=0.5, pattern="1x4"))
    assert masks["a"].flatten()[::4].tolist() == [False] * 3 + [True] * 3
    assert masks["b"].flatten()[::4].tolist() == [True] * 3 + [False] * 3
    masks = kept({"a": torch.tensor([[1.0, 4, 3, 2], [4, 1, 2, 3]])}, Prune(pattern="2:4"))
    assert masks["a"].tolist() == [[False, True, True, False], [True, False, False, True]]


@pytest.mark.parametrize(
    ("channels", "pattern", "left"), [(1, "2:4", 1), (3, "2:4", 1), (4, "2:4", 0.5), (4, "4:8", 1)]
)
def test_filters_of_few_channels_stay_whole_beside_a_pattern(channels, pattern, left):
    scores = {"filters": torch.rand(6, channels, 4, 4)}
    assert float(kept(scores, Prune(pattern=pattern))["filters"].float().mean()) == left


def test_outputs_that_few_images_tell_apart_count_alike():
    """A network with more classes than images has no class that counts for nothing; many images tell them apart."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 40))
    nn.init.constant_(network[3].bias[:20], 9.0)  # the others are never answered
    graph = trace(network, (1, 4, 4))
    for images, alike in ((20, True), (256, False)):
        x = torch.randn(images, 1, 4, 4)
        found = sensitivity(graph, Calibration(x, x, None, {}, network=graph))[next(reversed(layers(graph)))]
        assert (float(found[20:].mean() / found[:20].mean()) > 0.99) == alike


def test_a_threshold_is_compared_with_magnitudes(digits):
    graph, calibration = copy.deepcopy(digits[0]), digits[1]
    weights = {name: layer.weight.detach().clone() for name, layer in layers(graph).items()}
    prune_(graph, Prune(by="threshold", threshold=0.03, criterion="magnitude"), calibration)
    for name, layer in layers(graph).items():
        assert torch.equal(find(layer, Mask).keep, weights[name].abs() >= 0.03)
    with pytest.raises(InvalidSetting, match="criterion must be magnitude"):
        Prune(by="threshold")
    with pytest.raises(InvalidSetting, match="pattern is 2:4"):
        Prune(by="threshold", criterion="magnitude", pattern="2:4")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("pattern", ["free", "4x1", "2:4"])
def test_every_criterion_gives_what_is_asked_for(digits, criterion, pattern):
    graph, calibration = copy.deepcopy(digits[0]), digits[1]
    chosen = Prune(sparsity=0.7, criterion=criterion, pattern=pattern)
    before = {name: layer.weight.detach().clone() for name, layer in layers(graph).items()}
    prune_(graph, chosen, calibration)
    masks = {name: find(layer, Mask).keep for name, layer in layers(graph).items()}
    share = sum(int((~m).sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    assert share == pytest.approx(0.5 if pattern == "2:4" else 0.7, abs=2e-3)
    for name, layer in layers(graph).items():
        assert torch.equal(layer.weight, before[name] * masks[name])
        assert layer.parametrizations.weight.original.grad is None


def linear(inputs, seed=0):
    torch.manual_seed(seed)
    graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(inputs.shape[1], 3)), (inputs.shape[1], 1, 1))
    images = inputs[:, :, None, None]
    return graph, Calibration(images, images, graph(images).detach(), collect(graph, images)[0])


def test_first_order_and_sensitivity_are_the_fisher_information():
    graph, calibration = linear(torch.randn(200, 4, generator=torch.Generator().manual_seed(1)))
    layer, x = next(iter(layers(graph).values())), calibration.images.flatten(1)
    p = (x @ layer.weight.T + layer.bias).softmax(1).detach()
    fisher = torch.einsum("nc,ncd->nd", p, (torch.eye(3) - p[:, None]).square())  # E over classes of (∂ log p / ∂y)²
    torch.testing.assert_close(sensitivity(graph, calibration)["1"], fisher.mean(0), rtol=0.3, atol=0.02)
    expected = layer.weight.detach().square() * torch.einsum("no,nd->od", fisher, x.square())
    found = taylor(graph, calibration)["1"]
    assert float(torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1]) > 0.8
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.4)


def test_second_order_is_the_loss_after_the_refit():
    inputs = torch.randn(300, 5, generator=torch.Generator().manual_seed(2)) @ torch.randn(5, 5)
    graph, calibration = linear(inputs)
    layer, m, f = graph.get_submodule("1"), calibration.dense_moments["1"], sensitivity(graph, calibration)["1"]
    h = m.h[0] + moments.DAMP * m.h[0].diagonal().mean() * torch.eye(5)
    for o, q in ((0, 1), (2, 4)):
        rest, w = [i for i in range(5) if i != q], layer.weight.detach()[o]
        fitted = torch.zeros(5)
        fitted[rest] = torch.linalg.solve(h[rest][:, rest], (h @ w)[rest])
        loss = 0.5 * f[o] * (fitted - w) @ h @ (fitted - w)
        assert float(second_order(graph, calibration)["1"][o, q]) == pytest.approx(float(loss), rel=1e-3)


def test_the_joint_choice_is_close_to_the_best_of_all_masks():
    """Against brute force over all ways to keep 3 of 8 correlated inputs; magnitude is far off."""
    worse, best = [], []
    for seed in range(8):
        mixing = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed)) / 2 + torch.eye(8)
        inputs = torch.randn(500, 8, generator=torch.Generator().manual_seed(99)) @ mixing
        graph, calibration = linear(inputs, seed)
        w, m = graph.get_submodule("1").weight.detach(), calibration.dense_moments["1"]

        def loss(row, keep, w=w, m=m):
            h, rest = m.h[0], keep.nonzero()[:, 0]
            fitted = torch.zeros(8)
            fitted[rest] = torch.linalg.solve(h[rest][:, rest], (h @ w[row])[rest])
            return float((fitted - w[row]) @ h @ (fitted - w[row]))

        every = [torch.isin(torch.arange(8), torch.tensor(c)) for c in combinations(range(8), 3)]
        one_row = torch.zeros(3)
        one_row[0] = 1  # the other rows are worth nothing: the mask is the first row's alone
        problem = joint._Problem.of(graph.get_submodule("1"), m.h, one_row)
        state, chosen = joint._State.of(problem), None
        for i in range(joint.ROUNDS):
            penalty = joint.SOFTEST * (joint.HARDEST / joint.SOFTEST) ** (i / (joint.ROUNDS - 1))
            wished = state.fit(problem, penalty)
            chosen = kept({"1": state.losses(wished)}, Prune(sparsity=21 / 24))["1"]
            state.settle_(wished, state.rows(chosen))
        least = min(loss(0, keep) for keep in every)
        best.append(loss(0, chosen[0]) / least)
        worse.append(loss(0, torch.isin(torch.arange(8), w[0].abs().topk(3).indices)) / least)
    assert sum(best) / len(best) < 1.5 < sum(worse) / len(worse)


def test_wide_layers_are_cut_into_parts_that_fit_together(monkeypatch):
    monkeypatch.setattr(joint, "WIDEST", 4)
    inputs = torch.randn(300, 10, generator=torch.Generator().manual_seed(2)) @ torch.randn(10, 10)
    graph, calibration = linear(inputs)
    layer, h = graph.get_submodule("1"), calibration.dense_moments["1"].h
    problem = joint._Problem.of(layer, h, torch.ones(3))
    state = joint._State.of(problem)
    assert state.masked.shape == (3, 3, 4)
    expected = layer.weight.detach().square() * h[0].diagonal()
    torch.testing.assert_close(state.losses(state.masked), expected)
    assert torch.equal(state.rows(expected > 1)[0], (expected > 1)[:, :4])
    assert int(joint_masks(graph, Prune(sparsity=0.5), calibration)["1"].sum()) == 15


@pytest.mark.parametrize(
    "later",
    [
        Quantize(weight_bits=8, activation_bits=32, rounding="nearest"),
        Quantize(weight_bits=16, activation_bits=32, rounding="nearest"),
        Share(entries=128, assignment="nearest"),
    ],
    ids=["8 bits", "16 bits", "share"],
)
def test_what_stays_is_refitted_however_it_is_rounded(digits, later):
    graph, calibration = digits
    moved = []
    for refit in (True, False):
        recipe = Recipe(steps=(Prune(sparsity=0.6, criterion="magnitude", refit=refit), later), quality="fast")
        changed = copy.deepcopy(graph)
        prune_(changed, recipe.steps[0], calibration)
        reconstruct_(changed, graph, recipe, calibration)
        moved.append(divergence(changed, calibration))
    assert moved[0] < 0.8 * moved[1]


def test_choosing_together_costs_least(digits):
    graph, calibration = digits
    moved = {}
    for criterion in ("error", "magnitude", "second-order"):
        changed, recipe = copy.deepcopy(graph), Recipe(steps=(Prune(sparsity=0.9, criterion=criterion),))
        prune_(changed, recipe.steps[0], calibration)
        reconstruct_(changed, graph, recipe, calibration)
        moved[criterion] = divergence(changed, calibration)
    assert moved["error"] < 0.9 * min(moved["magnitude"], moved["second-order"])
