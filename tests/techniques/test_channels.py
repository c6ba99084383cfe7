"""Structured pruning: the smaller network is the dense one with its channels masked, and costs what is said."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torchvision import models

from compression.calibration import Calibration, calibrate, divergence
from compression.data import load
from compression.errors import Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.models import ARCHITECTURES, build
from compression.models import load as load_model
from compression.network import batches
from compression.network.graph import layers, macs, operator_name
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.pipeline.measuring import measure
from compression.recipe import Recipe
from compression.solvers import moments
from compression.steps import Channels, Quantize
from compression.techniques.channels import elimination, refit
from compression.techniques.channels.allocation import Budget, Order, allocate, reachable
from compression.techniques.channels.coupling import Group, Member, groups
from compression.techniques.channels.lengths import Masked
from compression.techniques.channels.refit import Rows, fit_, inputs_at, outputs_at, rows_of
from compression.techniques.channels.remove_channels import cut_, flatten_, reachable_amounts, remove_channels_
from compression.techniques.channels.scores import by_error, taylor
from tests.networks import Again, tiny

SHAPE = (1, 16, 16)
ATTENTION = "scaled_dot_product_attention"


class Views(nn.Module):
    """Flattens with a length written out, as many networks from the wild do."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv2d(1, 12, 3), nn.Linear(12 * 7 * 7, 20), nn.Linear(20, 10)

    def forward(self, x):
        x = torch.max_pool2d(self.conv(x).relu(), 2)
        return self.head(self.hidden(x.view(-1, 12 * 7 * 7)).tanh())


def small_vit():
    return models.VisionTransformer(16, 4, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10)


def small_convnext():
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(16, 32, 2), block(32, None, 1)], num_classes=10)


def small_densenet():
    return models.DenseNet(8, (2, 2), 16, num_classes=10)


class Heads(nn.Module):
    """Attention as many write it themselves: one layer for queries, keys and values, cut in another order."""

    def __init__(self):
        super().__init__()
        self.patches, self.qkv, self.out = nn.Conv2d(1, 24, 4, 4), nn.Linear(24, 72), nn.Linear(24, 24)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        images, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(images, tokens, 3, 3, width // 3).permute(2, 0, 3, 1, 4).unbind(0)
        answers = nn.functional.scaled_dot_product_attention(q, k, v)
        x = self.norm(x + self.out(answers.transpose(1, 2).reshape(images, tokens, width)))
        return self.head(x[:, 0])


class Grouped(nn.Module):
    """A residual block in groups, a convolution that doubles each channel, norms of groups alone, over two branches (a
    group of which has channels of both) and in the residual stream.
    """

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 24, 3, padding=1), nn.GroupNorm(6, 24)
        self.narrow, self.bn1 = nn.Conv2d(24, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.grouped, self.bn2 = nn.Conv2d(16, 32, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(32)
        self.wide, self.twice = nn.Conv2d(32, 24, 1), nn.Conv2d(24, 48, 3, 2, padding=1, groups=24)
        self.left, self.right, self.both = nn.Conv2d(48, 12, 1), nn.Conv2d(48, 12, 1), nn.GroupNorm(6, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.wide(self.bn2(self.grouped(self.bn1(self.narrow(x)).relu())).relu())
        x = self.twice(x.relu()).relu()
        x = self.both(torch.cat([self.left(x), self.right(x).sigmoid()], 1))
        return self.head(x.mean((2, 3)))


class Widened(nn.Module):
    """A shortcut that is widened by channels of zeros (ResNet's option A), and a normed response as ConvNeXtV2 has."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 20, 3, 2, padding=1)
        self.up, self.down, self.head = nn.Conv2d(20, 32, 1), nn.Conv2d(32, 20, 1), nn.Linear(20, 10)
        self.scale, self.shift = (nn.Parameter(torch.randn(1, 32, 1, 1)) for _ in range(2))

    def forward(self, x):
        x = self.stem(x).relu()
        x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 5)) + self.wide(x)
        y = self.up(x.relu()).relu()
        power = y.norm(dim=(2, 3), keepdim=True)
        y = y + self.shift + self.scale * y * (power / (power.mean(1, keepdim=True) + 1e-6))
        return self.head((x + self.down(y)).mean((2, 3)))


class Places(nn.Module):
    """Two convolutions, a linear layer that reads their tokens, and a learned value that is added to its answers."""

    def __init__(self, *shape: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 2, 2))
        self.tokens, self.head = nn.Linear(12, 16), nn.Linear(16, 10)
        self.place = nn.Parameter(torch.randn(shape))

    def forward(self, x):
        x = self.stem(x).relu().flatten(2).transpose(1, 2)
        return self.head((self.tokens(x) + self.place).relu().mean(1))


ZOO = {name: (lambda n=name: build(n, input_shape=SHAPE, classes=10), SHAPE) for name in ARCHITECTURES}
STRANGERS = {
    "tiny": (tiny, (1, 8, 8)), "views": (Views, SHAPE), "vit": (small_vit, (3, 16, 16)), "heads": (Heads, (1, 8, 8)),
    "convnext": (small_convnext, (3, 32, 32)), "densenet": (small_densenet, (3, 32, 32)), "grouped": (Grouped, SHAPE),
    "widened": (Widened, SHAPE),
}  # fmt: skip
TORCHVISION = {
    name: (lambda n=name: models.get_model(n, weights=None), (3, side, side))
    for name, side in {
        "resnet18": 64, "resnet50": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "mobilenet_v3_large": 64,
        "efficientnet_b0": 64, "shufflenet_v2_x1_0": 64, "densenet121": 64, "convnext_tiny": 64, "vit_b_16": 224,
        "resnext50_32x4d": 64, "regnet_y_400mf": 64,
    }.items()
}  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in TORCHVISION]
NETWORKS = ZOO | STRANGERS | TORCHVISION


def randomised(network: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that nothing agrees by chance."""
    torch.manual_seed(0)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.get_buffer("running_mean"), 0, 0.3)
        nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2)
    for values in network.parameters():
        if float(values.detach().abs().max()) < 1e-3:  # heads and layer scales that start at nothing
            nn.init.normal_(values, 0, 0.3)
    return network.eval()


def traced(name):
    make, shape = NETWORKS[name]
    graph = trace(randomised(make()), shape)
    flatten_(graph, shape)
    return graph, shape


@torch.no_grad()
def check_removal(graph: fx.GraphModule, shape: tuple[int, int, int]) -> float:
    """A third of each group goes; asserts what every removal owes. Returns the share of the MACs that is left."""
    found = tuple(group for group in groups(graph, shape) if group.units > 1)
    assert found
    removed = tuple(torch.randperm(group.units)[: -(-group.units // 3)] for group in found)
    images = torch.randn(3, *shape)
    expected = Masked(graph, found, removed).run(images)
    smaller = copy.deepcopy(graph)
    cut_(smaller, found, removed)
    answers = smaller(images)
    scale = float(expected.abs().max()) + 1e-6
    assert float((answers - expected).abs().max()) <= 1e-4 * max(scale, 1)
    assert float((expected - graph(images)).abs().max()) > 1e-6 * scale

    budget = Budget(layers(graph), macs(graph, shape), found, count_macs=True)
    left = sum(macs(smaller, shape).values())
    assert budget.macs([len(gone) for gone in removed]) == pytest.approx(left)
    assert left < budget.all_macs

    file = session(export(smaller, shape).onnx).run(None, {"image": images.numpy()})[0]
    np.testing.assert_allclose(file, answers.numpy(), atol=1e-3 * max(scale, 1), rtol=1e-3)
    return left / budget.all_macs


@pytest.mark.parametrize("name", [*ZOO, *STRANGERS, *SLOW])
def test_smaller_network_is_the_masked_one_and_costs_what_is_said(name):
    check_removal(*traced(name))


def heads_of(graph, shape):
    """The groups of attentions: those whose units are read by one."""
    read = {n.name for node in graph.graph.nodes if operator_name(node) == ATTENTION for n in node.all_input_nodes}
    return tuple(group for group in groups(graph, shape) if read & {span.node for span in group.spans})


class Silent(fx.Interpreter):
    """Runs a graph whose attentions answer zeros in place of some heads: `gone` for each attention in turn."""

    def __init__(self, graph, gone):
        super().__init__(graph)
        self.gone = iter(gone)

    def run_node(self, n):
        value = super().run_node(n)
        return value.index_fill(1, next(self.gone), 0.0) if operator_name(n) == ATTENTION else value


@pytest.mark.parametrize("name", ["vit", "heads"])
@torch.no_grad()
def test_network_without_heads_is_the_one_whose_heads_are_silent(name):
    graph, shape = traced(name)
    found = heads_of(graph, shape)
    assert [group.units for group in found] == {"vit": [4, 4], "heads": [3]}[name]
    gone = tuple(torch.randperm(group.units)[: 1 + i] for i, group in enumerate(found))
    images = torch.randn(5, *shape)
    expected = Silent(graph, gone).run(images)
    smaller = copy.deepcopy(graph)
    cut_(smaller, found, gone)
    torch.testing.assert_close(smaller(images), expected, atol=1e-5, rtol=1e-4)
    assert float((expected - graph(images)).abs().max()) > 1e-3
    for some in (images, images[:1]):
        file = session(export(smaller, shape).onnx).run(None, {"image": some.numpy()})[0]
        np.testing.assert_allclose(file, smaller(some).numpy(), atol=1e-3, rtol=1e-3)


def test_what_is_counted_together_goes_together():
    graph, shape = traced("grouped")
    found = {group.name: (group.units, group.width, group.inner) for group in groups(graph, shape)}
    assert found == {
        "stem": (6, 4, False), "narrow": (4, 4, True), "left": (3, 4, False), "right": (3, 4, False),
    }  # fmt: skip


def test_a_norm_over_a_channel_that_must_stay_keeps_all():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 7, 3, padding=1), nn.GroupNorm(2, 8), nn.Linear(8, 10)

        def forward(self, x):
            return self.head(self.norm(torch.cat([self.conv(x), x], 1)).mean((2, 3)))

    assert groups(trace(Beside(), SHAPE), SHAPE) == ()


@pytest.mark.parametrize("criterion", ["error", "taylor", "activation", "l2", "geometric_median"])
def test_heads_go_with_neurons_by_every_criterion(criterion):
    graph, shape = traced("vit")
    smaller = copy.deepcopy(graph)
    settings = Channels(amount=0.5, criterion=criterion, scope="uniform", compensate=False)
    remove_channels_(smaller, settings, calibrated(graph, shape))
    kept = smaller.meta["channels"].kept
    heads = [n for name, n in kept.items() if name.endswith("self_attention.in_proj")]
    assert len(heads) == 2 and all(1 <= n < 4 for n in heads)
    assert all(n % 8 == 0 and n < 64 for name, n in kept.items() if "mlp" in name)
    assert smaller.meta["channels"].macs == sum(macs(smaller, shape).values()) / sum(macs(graph, shape).values())


def test_worth_of_a_head_is_that_of_a_gate_on_it():
    """Taylor's criterion against the derivative by a factor that each head's answers are multiplied with."""
    graph, shape = traced("vit")
    calibration = calibrated(graph, shape)
    found = heads_of(graph, shape)
    gates = [torch.ones(32, 4, 1, 1, requires_grad=True) for _ in found]

    class Gated(Silent):
        def run_node(self, n):
            value = fx.Interpreter.run_node(self, n)
            return value * next(self.gone) if operator_name(n) == ATTENTION else value

    scores = Gated(graph, gates).run(calibration.images)
    labels = torch.multinomial(scores.softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
    for worth, slope in zip(taylor(graph, found, calibration), torch.autograd.grad(loss, gates), strict=True):
        torch.testing.assert_close(worth, slope[:, :, 0, 0].square().mean(0), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("criterion", ["error", "taylor", "activation", "l1", "l2", "bn_scale", "geometric_median"])
@pytest.mark.parametrize("scope", ["global", pytest.param("uniform", marks=pytest.mark.slow)])
def test_every_criterion_reaches_the_budget(criterion, scope):
    data = load("digits")
    graph = trace(load_model("resnet20", "digits"), data.input_shape)
    calibration = calibrate(graph, data, images=64, seed=0)
    before = {k: v.clone() for k, v in graph.state_dict().items()}
    whole = sum(macs(graph, data.input_shape).values())
    smaller = copy.deepcopy(graph)
    remove_channels_(smaller, Channels(amount=0.4, criterion=criterion, scope=scope, round_to=4), calibration)
    found = smaller.meta["channels"]
    assert found.requested == 0.4 <= found.reached < 0.5
    assert found.macs == pytest.approx(1 - found.reached) == sum(macs(smaller, data.input_shape).values()) / whole
    assert all(kept % 4 == 0 for kept in found.kept.values())
    assert all(torch.equal(v, before[k]) for k, v in graph.state_dict().items())


@pytest.mark.parametrize("name", ["lenet300", "lenet5", pytest.param("resnet20", marks=pytest.mark.slow)])
def test_half_the_work_costs_little(name):
    prepared = prepare(load_model(name, "digits"), load("digits"))
    for steps in ((Channels(amount=0.5),), (Channels(amount=0.5), Quantize())):
        candidate = compress_prepared(prepared, Recipe(steps=steps))
        assert candidate.macs <= 0.5 * prepared.baseline.macs
        assert measure(candidate, prepared).accuracy.drop <= 0.015


def calibrated(graph, shape):
    images = torch.randn(32, *shape, generator=torch.Generator().manual_seed(0))
    return Calibration(images, images, graph(images).detach(), {})


def test_in_a_hurry_least_squares_on_the_dense_moments_helps_too():
    data = load("digits")
    graph = trace(load_model("resnet20", "digits"), data.input_shape)
    known = calibrate(graph, data, images=256, seed=0).fast_variant
    moved = {}
    for compensate in (True, False):
        smaller = copy.deepcopy(graph)
        remove_channels_(smaller, Channels(amount=0.3, compensate=compensate), known)
        moved[compensate] = divergence(smaller, known)
    assert moved[True] < 0.5 * moved[False]


@pytest.mark.parametrize(
    "make", [lambda: Places(1, 16, 16), lambda: Places(1, 16, 1), lambda: Places(16), Again],
    ids=["each token", "each place", "each channel", "called twice"],
)  # fmt: skip
def test_least_squares_helps_beside_constants_and_shared_layers(make):
    torch.manual_seed(0)
    graph = trace(make().eval(), (1, 8, 8))
    known = calibrated(graph, (1, 8, 8))
    moved = {}
    for compensate in (True, False):
        smaller = copy.deepcopy(graph)
        remove_channels_(smaller, Channels(amount=0.3, round_to=1, compensate=compensate), known)
        moved[compensate] = divergence(smaller, known)
    assert moved[True] < moved[False]


@pytest.fixture
def as_seen(monkeypatch: pytest.MonkeyPatch):
    """What rows say of how inputs hang together is taken as it is."""
    monkeypatch.setattr(refit, "shrunk", lambda h, g, w, share: (h, g))


@pytest.mark.usefixtures("as_seen")
def test_moments_of_a_thinner_layer_are_those_of_what_is_left():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 6, 9, 9, generator=generator)
    dense = nn.Conv2d(6, 5, 3, padding=1, bias=False)
    known = moments.moments(dense, [x], [dense(x).detach()])
    inputs, outputs = torch.tensor([1, 0, 1, 1, 0, 1]).bool(), torch.tensor([1, 1, 0, 1, 1]).bool()
    thin = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    found = moments.thinned(thin, known, inputs, outputs)
    wanted = moments.moments(thin, [x[:, inputs]], [dense(x).detach()[:, outputs]])
    torch.testing.assert_close(found.h, wanted.h)
    torch.testing.assert_close(found.g, wanted.g)
    torch.testing.assert_close(found.mean_x, wanted.mean_x)


def test_what_cannot_be_removed_is_refused_with_what_can():
    graph = trace(build("resnet20", input_shape=SHAPE, classes=10), SHAPE)
    with pytest.raises(Unsupported, match=r"At most \d+\.\d% .* not 90.0%"):
        remove_channels_(copy.deepcopy(graph), Channels(amount=0.9), calibrated(graph, SHAPE))
    small = trace(tiny(), (1, 8, 8))
    with pytest.raises(Unsupported, match="widest removable layer of this network has 8 channels"):
        remove_channels_(copy.deepcopy(small), Channels(part="all"), calibrated(small, (1, 8, 8)))
    before = copy.deepcopy(small)
    remove_channels_(small, Channels(amount=0), calibrated(small, (1, 8, 8)))
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in small.state_dict().items())


def test_slider_positions_are_reached_exactly():
    graph = trace(build("lenet5", input_shape=SHAPE, classes=10), SHAPE)
    calibration = calibrated(graph, SHAPE)
    amounts = [a for a in reachable_amounts(graph, Channels(criterion="l1"), calibration) if a <= 0.9]
    assert amounts == sorted(amounts) and len(amounts) > 10
    for amount in amounts[:: len(amounts) // 3]:
        smaller = copy.deepcopy(graph)
        remove_channels_(smaller, Channels(criterion="l1", amount=amount), calibration)
        assert smaller.meta["channels"].reached == pytest.approx(amount)


def chain(units):
    """Linear layers 8 → units → 3: the layers, their MACs, and one group between each two."""
    network = nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise([8, *units, 3])])
    named = dict(network.named_children())

    def group(i, n):
        every = torch.arange(n)
        return Group(str(i), n, (Member(str(i), "out", every, every), Member(str(i + 1), "in", every, every)), True)

    return named, {k: m.weight.numel() for k, m in named.items()}, tuple(group(i, n) for i, n in enumerate(units))


@settings(max_examples=50)
@given(
    units=st.lists(st.integers(9, 40), min_size=1, max_size=5), amount=st.floats(0.05, 0.6),
    round_to=st.sampled_from([1, 4, 8]), uniform=st.booleans(),
)  # fmt: skip
def test_allocation_meets_the_budget_in_whole_chunks(units, amount, round_to, uniform):
    budget = Budget(*chain(units), count_macs=True)
    orders = [Order(torch.randperm(n), torch.rand(n).sort().values) for n in units]
    plan = allocate(budget, orders, amount, uniform=uniform, round_to=round_to)
    kept = [n - len(gone) for n, gone in zip(units, plan.removed, strict=True)]
    assert all(k == n or (k % round_to == 0 and k >= round_to) for k, n in zip(kept, units, strict=True))
    sizes = [8, *kept, 3]
    left = sum(a * b for a, b in pairwise(sizes))
    assert plan.macs == pytest.approx(left / budget.all_macs)
    most = max(reachable(budget, orders, uniform=uniform, round_to=round_to), default=0)
    assert plan.reached >= min(amount, most) - 1e-9


@pytest.mark.parametrize("pending", [1, 128])  # columns of updates: applied after each unit, or never
@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.usefixtures("as_seen")
@torch.no_grad()
def test_backward_elimination_is_the_brute_force_one(taps, pending, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elimination, "PENDING", pending)
    torch.manual_seed(0)
    inputs = torch.randn(400, 6 * taps) @ torch.randn(6 * taps, 6 * taps)
    outputs = inputs @ torch.randn(6 * taps, 4)
    layer = nn.Conv2d(6, 4, (taps, 1))
    member = Member("next", "in", torch.arange(6), torch.arange(6))
    group, rows = Group("this", 6, (member,), True), {"next": Rows.of(layer, inputs, outputs)}
    order = by_error(group, rows, {"next": torch.ones(4)}, damping=1e-7)
    x, y, left = (inputs - inputs.mean(0)).double(), (outputs - outputs.mean(0)).double(), list(range(6))
    lost = 0.0
    for unit, cost in zip(order.units.tolist()[:4], order.costs.tolist(), strict=False):
        errors = []
        for gone in left:
            rest = [u * taps + tap for u in left if u != gone for tap in range(taps)]
            fitted = x[:, rest] @ torch.linalg.lstsq(x[:, rest], y).solution
            error, variance = (fitted - y).square().mean(0).sum(), y.square().mean(0).sum()
            errors.append(float(error / variance.sqrt()))
        assert left[int(np.argmin(errors))] == unit
        assert min(errors) - lost == pytest.approx(cost, rel=1e-2)
        lost = min(errors)
        left.remove(unit)


@torch.no_grad()
def test_of_large_images_first_layers_see_some_and_later_ones_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "BUDGET", 16 << 20)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    graph = trace(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), *head), (3, 224, 224))
    images = torch.randn(48, 3, 224, 224) + torch.linspace(-1, 1, 48)[:, None, None, None]
    read = layers(graph)["0"](images).relu().mean((2, 3))
    found = rows_of(graph, {"0", "4"}, images)
    torch.testing.assert_close(found["4"].mean, read.mean(0), rtol=1e-4, atol=1e-5)
    targets = refit.targets_of(graph, images)
    assert 4 <= targets.counts["_0"] * targets.batch < 48 == len(targets.layers["4"].outputs)
    torch.testing.assert_close(targets.layers["4"].outputs, graph(images), rtol=1e-4, atol=1e-5)
    weight = layers(graph)["4"].weight.clone()
    refit.refit_(graph, targets, images, {"0": torch.ones(3, dtype=torch.bool)}, {})
    torch.testing.assert_close(layers(graph)["4"].weight, weight, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_one_pass_finds_what_two_do_and_other_amounts_need_none(monkeypatch: pytest.MonkeyPatch):
    graph, shape = traced("resnet20")
    known = calibrated(graph, shape)
    passes, once = list[fx.GraphModule](), refit.Batches

    def counted(graph, *about):
        passes.append(graph)
        return once(graph, *about)

    monkeypatch.setattr(refit, "Batches", counted)
    readers = {name for name, layer in layers(graph).items() if layer.weight.shape[1] > 1}
    rows, targets = refit.rows_and_targets_of(graph, readers, known.images)
    alone, last = rows_of(graph, readers, known.images), refit.targets_of(graph, known.images)
    assert rows.keys() == readers and targets.counts == last.counts and len(passes) == 3
    assert all(torch.equal(rows[name].gram, alone[name].gram) for name in readers)
    for name, target in last.layers.items():
        found = targets.layers[name]
        assert torch.equal(found.outputs, target.outputs)
        if found.residual is None or target.residual is None:
            assert found.residual is target.residual
        else:
            assert torch.equal(found.residual, target.residual)
    assert any(target.residual is not None for target in last.layers.values())
    for amount in (0.2, 0.3):
        passes.clear()
        smaller = copy.deepcopy(graph)
        remove_channels_(smaller, Channels(amount=amount), known)
        assert len(passes) == (2 if amount == 0.2 else 1) and passes[-1] is smaller


@pytest.mark.usefixtures("as_seen")
@torch.no_grad()
def test_rows_are_what_the_layer_multiplies():
    same, wide = nn.Conv2d(3, 5, (1, 3), padding="same", dilation=2), nn.Conv2d(3, 5, 2, padding=(0, 1))
    for conv in (nn.Conv2d(3, 5, 3, 2, 1), same, wide):
        graph = trace(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 9, 8))
        layer, images = graph.get_submodule("0"), torch.randn(6, 3, 9, 8)
        inputs, outputs = inputs_at(layer, [images], 500), outputs_at(layer, [layer(images)], 500)
        rows = Rows.of(layer, inputs, outputs)
        torch.testing.assert_close(inputs @ conv.weight.flatten(1).T + conv.bias, outputs)
        assert torch.equal(rows_of(graph, {"0"}, images)["0"].gram, rows.gram)
        weight = layer.weight.clone()
        layer.weight += torch.randn_like(weight)
        fit_(layer, inputs, outputs, None, damping=1e-9)
        torch.testing.assert_close(layer.weight, weight, atol=1e-3, rtol=1e-3)
