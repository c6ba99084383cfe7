"""Products of smaller layers: their errors against theory, their answers against the layer, the budget against brute
force."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from compression.calibration import divergence
from compression.data import load
from compression.errors import InvalidRecipe, Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.models import load as load_model
from compression.network.batches import Batches
from compression.network.graph import layers, macs, module_of, parts_of
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.solvers.moments import moments
from compression.steps import Channels, Factorize, Prune, Quantize, Share
from compression.techniques.lowrank import factorize as method
from compression.techniques.lowrank.decompositions import Place, Problem, Split, modules
from compression.techniques.lowrank.factorize import _by_budget, _Option, factorize_, reference_for
from tests.networks import tiny

KINDS = ("output", "input", "spatial", "tucker")


def conv_problem(seed=0, importance=None):
    """A convolution with uneven taps, stride and padding, on inputs whose channels hang together."""
    torch.manual_seed(seed)
    layer = nn.Conv2d(12, 16, (3, 5), stride=(2, 1), padding=(1, 2))
    x = nn.functional.conv2d(torch.randn(24, 12, 14, 14), torch.randn(12, 12, 3, 3) / 10, padding=1)
    with torch.no_grad():
        h = moments(layer, [x], [layer(x)]).h[0]
    place = Place((14, 14), (7, 14))
    return layer, x, Problem(layer, h, torch.ones(16) if importance is None else importance, place)


def lost(problem, weight):
    """Σ importance² · error of the answers over their variance, from the definition."""
    gone = problem.importance[:, None] * (problem.weight - weight).flatten(1)
    return float((gone @ problem.h * gone).sum()) / problem.variance


@torch.no_grad()
def test_without_activations_errors_are_eckart_and_youngs():
    """The best rank-r approximation leaves the squares of the other singular values."""
    layer = nn.Linear(20, 14)
    problem = Problem(layer, torch.eye(20), torch.ones(14), Place((1, 1), (1, 1)))
    u, s, vt = torch.linalg.svd(layer.weight)
    found = problem.splits(1, ("output",))
    assert [split.ranks[0] for split in found] == list(range(1, 1 + len(found)))
    for split in found:
        r = split.ranks[0]
        assert split.error == pytest.approx(float(s[r:].square().sum() / s.square().sum()), rel=1e-3)
        torch.testing.assert_close(problem.product(split)[..., 0, 0], u[:, :r] * s[:r] @ vt[:r], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_with_activations_nothing_of_that_rank_loses_less():
    """Against gradient descent on the answers' error, from several starts; the weights' own SVD loses more."""
    layer, _, problem = conv_problem()
    split = Split("output", (4,), 0, problem.lost(problem.output_axes[0], 4))
    assert lost(problem, problem.product(split)) == pytest.approx(split.error, rel=1e-3)
    u, s, vt = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
    assert lost(problem, (u[:, :4] * s[:4] @ vt[:4]).reshape(layer.weight.shape)) > 1.05 * split.error
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        a, b = torch.randn(16, 4, generator=generator), torch.randn(4, 180, generator=generator)
        w = problem.weight.flatten(1)
        for _ in range(200):  # alternating least squares
            a = w @ problem.h @ b.T @ torch.linalg.pinv(b @ problem.h @ b.T)
            b = torch.linalg.pinv(a) @ w
        assert lost(problem, (a @ b).reshape(layer.weight.shape)) >= split.error * 0.999


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_product_answers_like_its_weights_and_loses_what_it_says(kind):
    layer, x, problem = conv_problem(importance=torch.linspace(0.2, 2, 16))
    found = problem.splits(2, (kind,))
    assert found and all(split.kind == kind for split in found)
    for split in found:
        whole = copy.deepcopy(layer)
        whole.weight.copy_(problem.product(split))
        made = nn.Sequential(*modules(layer, problem.factors(split), kind))
        torch.testing.assert_close(made(x), whole(x), atol=1e-4, rtol=1e-3)
        assert lost(problem, whole.weight) == pytest.approx(split.error, abs=1e-4, rel=0.01)
        assert split.macs < 0.95 * problem.macs
        value, counted = x[:1], 0
        for each in made:
            value = each(value)
            counted += each.weight.numel() * value.shape[2] * value.shape[3]
        assert counted == split.macs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_product_keeps_the_mean_answers(kind, bias):
    """Moments are about the mean: what of it a product does not let through, its bias gives."""
    layer, x, _ = conv_problem()
    layer.bias = layer.bias if bias else None
    x = x + torch.linspace(0.5, 3, 12)[:, None, None]
    m = moments(layer, [x], [layer(x)])
    problem = Problem(layer, m.h[0], torch.ones(16), Place((14, 14), (7, 14)), m.mean_x[0])
    for split in problem.splits(2, (kind,)):
        made = nn.Sequential(*modules(layer, problem.factors(split), kind, problem.bias(split)))
        torch.testing.assert_close(made(x).mean((0, 2, 3)), layer(x).mean((0, 2, 3)), atol=1e-3, rtol=1e-3)
        assert [each.bias is None for each in made] == [True] * (len(made) - 1) + [False]


@pytest.mark.parametrize("kind", KINDS[:3])
@torch.no_grad()
def test_higher_ranks_lose_less_and_full_rank_nothing(kind, monkeypatch):
    monkeypatch.setattr(Problem, "_row_macs", lambda problem, kind: 1)  # also ranks that save nothing
    _, _, problem = conv_problem()
    errors = [split.error for split in problem.splits(1, (kind,))]
    assert errors == sorted(errors, reverse=True)
    if kind != "output":
        full = min(36, 80) if kind == "spatial" else 12
        assert problem.fit(kind, full) < 1e-3


@torch.no_grad()
def test_what_follows_the_first_layer_is_its_least_squares_fit():
    _, _, problem = conv_problem()
    for kind in ("input", "spatial"):
        split = next(s for s in problem.splits(2, (kind,)) if s.ranks[0] >= 4)
        first, rest = problem.factors(split)
        for seed in range(3):
            noise = 0.01 * torch.randn(rest.shape, generator=torch.Generator().manual_seed(seed))
            eq = "orl,rik->oikl" if kind == "spatial" else "orkl,ri->oikl"
            one = (rest + noise)[:, :, 0] if kind == "spatial" else rest + noise
            moved = torch.einsum(eq, one, first[..., 0] if kind == "spatial" else first[..., 0, 0])
            assert lost(problem, moved) > split.error


@pytest.mark.parametrize("amount", [0.2, 0.45, 0.6])
def test_the_budget_is_spent_as_well_as_by_trying_everything(amount):
    rng = np.random.default_rng(0)
    options = {}
    for name in "abcd":
        own = int(rng.integers(500, 2000))
        splits = [Split("output", (r,), int(own * r / 6), float(rng.random() / r)) for r in range(1, 6)]
        options[name] = _Option(own, splits, float(rng.random()))
    counted = {name: option.macs for name, option in options.items()} | {"fixed": 300}
    choices = [[None, *option.splits] for option in options.values()]

    def spent(chosen):
        return 300 + sum(s.macs if s else o.macs for s, o in zip(chosen, options.values(), strict=True))

    def loss(chosen):
        return sum(o.effect * s.error for s, o in zip(chosen, options.values(), strict=True) if s)

    budget = (1 - amount) * sum(counted.values())
    best = min((c for c in itertools.product(*choices) if spent(c) <= budget), key=loss)
    found = _by_budget(options, amount, counted)
    mine = [found.get(name) for name in options]
    assert spent(mine) <= budget
    assert loss(mine) <= loss(best) * 1.01 + 1e-9


def test_what_can_just_be_done_is_done():
    """Each cost is rounded up to a step of the budget: of many layers together that is more than the budget."""
    options = {str(i): _Option(1000, [Split("output", (1,), 192 + i * i, 0.5)], 1.0) for i in range(6)}
    counted = {name: option.macs for name, option in options.items()}
    most = 1 - sum(option.splits[0].macs for option in options.values()) / sum(counted.values())
    for amount in (most, most - 1e-4):
        assert _by_budget(options, amount, counted) == {name: o.splits[0] for name, o in options.items()}
    with pytest.raises(Unsupported, match=r"At most 79\.8% .* not 79\.9%"):
        _by_budget(options, 0.799, counted)


@pytest.fixture(scope="module")
def prepared():
    return prepare(load_model("resnet20", "digits"), load("digits"), calibration_images=64)


@pytest.mark.parametrize("form", ["best", "spatial"])
def test_a_network_does_with_its_budget(prepared, form):
    graph, before = copy.deepcopy(prepared.dense), macs(prepared.dense, (1, 8, 8))
    factorize_(graph, Factorize(amount=1 / 3, form=form, round_to=4), prepared.calibration)
    found, after = graph.meta["factorize"], macs(graph, (1, 8, 8))
    assert found.requested == 1 / 3 <= found.reached < 0.37
    assert found.reached == pytest.approx(1 - sum(after.values()) / sum(before.values()))
    for name, split in found.splits.items():
        assert sum(after[part] for part in (*parts_of(graph, name), name)) == split.macs < before[name]
        assert all(rank % 4 == 0 for rank in split.ranks)
        assert form == "best" or split.kind in ("spatial", "output")
    assert [n for n in layers(graph) if n in before] == list(before)
    called = [
        str(node.target) for node in graph.graph.nodes if isinstance(module_of(graph, node), nn.Conv2d | nn.Linear)
    ]
    assert called[:4] == list(layers(graph))[:4]


def test_reports_name_the_product(prepared):
    candidate = compress_prepared(prepared, Recipe(steps=(Factorize(amount=0.5, form="tucker"),), quality="fast"))
    named = [layer for layer in candidate.layers if layer.product]
    assert named and all(layer.product.split()[0] in ("tucker", "output") for layer in named)
    assert {layer.name for layer in named if layer.name.endswith("_core")}
    ranks = {layer.name: layer.product.split(" ", 1)[1].split(", ") for layer in named}
    assert all(str(layer.shape[0]) == ranks[layer.name][0] for layer in named if layer.name.endswith("_first"))


def test_the_network_beside_has_the_same_nodes_and_the_dense_answers(prepared):
    graph = copy.deepcopy(prepared.dense)
    factorize_(graph, Factorize(amount=0.4), prepared.calibration)
    other, images = reference_for(prepared.dense, graph), prepared.calibration.images[:8]
    with torch.no_grad():
        torch.testing.assert_close(other(images), prepared.dense(images))
        ours, theirs = Batches(graph, images), Batches(other, images)
        for mine, its in zip(ours.nodes, theirs.nodes, strict=True):
            assert mine.target == its.target
            assert ours.run(mine)[0].shape == theirs.run(its)[0].shape


RECIPES = [
    Recipe(steps=(Factorize(),)),
    Recipe(steps=(Factorize(form="tucker", amount=0.3), Prune(sparsity=0.5), Quantize(weight_bits=4))),
    Recipe(steps=(Channels(amount=0.2), Factorize(amount=0.2), Share(), Quantize()), quality="fast"),
    Recipe(steps=(Factorize(rank="energy", energy=0.99), Quantize(weight_bits=32, activation_bits=32)), quality="fast"),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: "+".join(s.kind for s in r.steps))
def test_file_agrees_with_the_simulation(prepared, recipe):
    graph = simulate(prepared, recipe)
    images, labels = prepared.data.normalize(prepared.data.test.images), prepared.data.test.labels
    answers = session(export(graph, (1, 8, 8)).onnx).run(None, {"image": images.numpy()})[0].argmax(1)
    with torch.no_grad():
        simulated, dense = (network(images).argmax(1) for network in (graph, prepared.dense))
    assert (answers == simulated.numpy()).mean() >= 0.995
    assert sum(macs(graph, (1, 8, 8)).values()) < 0.9 * prepared.baseline.macs
    assert float((dense == labels).float().mean()) - (answers == labels.numpy()).mean() <= 0.02


def test_looking_at_activations_and_refitting_pay(prepared):
    def moved(**settings):
        return divergence(simulate(prepared, Recipe(steps=(Factorize(amount=0.5, **settings),))), prepared.calibration)

    assert moved() < moved(refit=False) < moved(refit=False, activation_aware=False)


def test_energy_is_kept_in_every_layer(prepared):
    graph = copy.deepcopy(prepared.dense)
    factorize_(graph, Factorize(rank="energy", energy=0.97), prepared.calibration)
    found = graph.meta["factorize"]
    assert found.splits and found.requested is None
    assert all(split.error <= 0.03 for split in found.splits.values())


def test_what_cannot_be_done_is_refused(prepared, monkeypatch):
    with pytest.raises(Unsupported, match=r"At most \d+\.\d% .* not 90.0%"):
        factorize_(copy.deepcopy(prepared.dense), Factorize(amount=0.9, round_to=16), prepared.calibration)
    monkeypatch.setattr(method, "_by_budget", lambda options, amount, counted: {})
    with pytest.raises(Unsupported, match=r"At most 0\.0% .* not 10\.0%"):
        factorize_(copy.deepcopy(prepared.dense), Factorize(amount=0.1), prepared.calibration)
    with pytest.raises(InvalidRecipe, match=r"factorize.*prune.*split before"):
        Recipe(steps=(Prune(), Factorize()))
    with pytest.raises(InvalidRecipe, match=r"channels.*factorize"):
        Recipe(steps=(Factorize(), Channels()))


def test_layers_that_are_not_split_stay_whole():
    """Depthwise layers, and those that would not get cheaper."""
    dataset = load("digits")
    ready = prepare(tiny(), dataset, calibration_images=32)
    graph = copy.deepcopy(ready.dense)
    factorize_(graph, Factorize(amount=0.05, round_to=1), ready.calibration)
    assert "depthwise.0" not in graph.meta["factorize"].splits
    assert set(method._usable(ready.dense)) == {"stem.0", "left", "right", "head"}


def test_a_step_that_prunes_nothing_leaves_the_refit_as_it_is(prepared):
    def divergent(*steps):
        return divergence(simulate(prepared, Recipe(steps=(Factorize(amount=0.5), *steps))), prepared.calibration)

    assert divergent(Prune(sparsity=0)) == pytest.approx(divergent(), rel=1e-3)
    few = {"sparsity": 0.01, "refit": False, "criterion": "magnitude"}
    assert divergent(Prune(**few)) < 1.1 * divergent()


@pytest.mark.parametrize("step", [Prune(sparsity=0.8), Factorize(amount=0.5)], ids=lambda s: s.kind)
def test_refitting_pays_where_nothing_is_quantized(step, monkeypatch):
    """Against what is not refitted; in products, that keeps the mean answers already, and pays by itself."""
    ready = prepare(load_model("lenet5", "digits"), load("digits"), calibration_images=64)
    steps = (step, type(step)(**{**step.model_dump(), "refit": False}))
    refitted, left = (divergence(simulate(ready, Recipe(steps=(s,))), ready.calibration) for s in steps)
    monkeypatch.setattr(Problem, "bias", lambda problem, split: problem.layer.bias)
    before = divergence(simulate(ready, Recipe(steps=steps[1:])), ready.calibration)
    assert refitted < 0.5 * before
    assert refitted < left and (left < before or step.kind == "prune")
