"""Zeros that a network sets beside its maps become the padding of what reads them, where that answers the same."""

from collections import Counter

import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression.data import load
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.graph import PaddedConv2d, layers, macs, operator_name, padded, padding_of
from compression.network.tracing import trace
from compression.network.zero_padding import PADDING
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.solvers import patches
from compression.solvers.moments import moments
from compression.steps import Channels
from compression.techniques.channels.remove_channels import reachable_amounts
from compression.techniques.lowrank.decompositions import Place, Problem, Split, modules

SHAPE = (1, 8, 8)
UNEVEN = (0, 1, 0, 1)


class Block(nn.Module):
    """A mobile block as ports from TensorFlow have it: padding, then a strided depthwise convolution without any."""

    def __init__(self, pads, width=16, stride=2, kernel=3):
        super().__init__()
        self.expand, self.bn1 = nn.Conv2d(1, width, 1, bias=False), nn.BatchNorm2d(width)
        self.pad = nn.ZeroPad2d(pads)
        self.deep = nn.Conv2d(width, width, kernel, stride, groups=width, bias=False)
        self.bn2, self.project = nn.BatchNorm2d(width), nn.Conv2d(width, 8, 1)
        self.last, self.head = nn.Conv2d(8, 24, 3, padding=1), nn.Linear(24, 10)

    def forward(self, x):
        x = self.pad(F.relu6(self.bn1(self.expand(x))))
        x = self.project(F.relu6(self.bn2(self.deep(x))))
        return self.head(F.relu(self.last(x)).mean((2, 3)))


def seeded(network, *, seed=0):
    """`network` in eval mode with random weights and statistics, which a first image has shaped."""
    torch.manual_seed(seed)
    network(torch.zeros(1, *SHAPE))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
    return network.eval()


class Around(nn.Module):
    """`inside` between a convolution and a linear layer."""

    def __init__(self, inside, width=8):
        super().__init__()
        self.stem, self.inside, self.head = nn.Conv2d(1, width, 3, padding=1), inside, nn.LazyLinear(10)

    def forward(self, x):
        return self.head(self.inside(self.stem(x)).flatten(1))


class Does(nn.Module):
    """A function with modules of its own."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.does = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.does(self, x)


def left_over(graph):
    """How many padding operators a graph has."""
    return sum(operator_name(node) in PADDING for node in graph.graph.nodes)


@torch.no_grad()
def folded(inside, *, seed=0):
    """The graph of a network with `inside` in it, which answers as the network does, and so does its file."""
    network = seeded(Around(inside), seed=seed)
    graph, images = trace(network, SHAPE), torch.randn(5, *SHAPE)
    expected = network(images)
    torch.testing.assert_close(graph(images), expected, rtol=1e-4, atol=1e-5)
    answers = session(export(graph, SHAPE).onnx).run(None, {"image": images.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(answers), expected, rtol=1e-3, atol=1e-4)
    return graph


sides = st.tuples(*[st.integers(0, 3)] * 4)
CONVOLUTIONS = st.builds(
    lambda groups, kernel, stride, padding, dilation: nn.Conv2d(8, 8, kernel, stride, padding, dilation, groups),
    st.sampled_from([1, 2, 8]), st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(1, 2),
    st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(1, 2),
)  # fmt: skip
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.PReLU, nn.SiLU, nn.Tanh, nn.Dropout, lambda: nn.Hardtanh(-1, 2))


@settings(max_examples=15)
@given(sides, sides, CONVOLUTIONS, st.sampled_from(ACTIVATIONS), st.integers(0, 9))
def test_zeros_before_any_convolution_become_its_own(first, second, conv, activation, seed):
    pads = [a + b for a, b in zip(first, second, strict=True)]
    across, down = conv.padding[1], conv.padding[0]
    inside = nn.Sequential(nn.ZeroPad2d(first), activation(), nn.ZeroPad2d(second), conv)
    graph = folded(inside, seed=seed)
    assert left_over(graph) == 0
    expected = (pads[0] + across, pads[1] + across, pads[2] + down, pads[3] + down)
    assert padding_of(graph.get_submodule("inside.3")) == expected


@settings(max_examples=15)
@given(sides, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.booleans(), st.integers(1, 2))
def test_pools_answer_as_before(pads, kernel, stride, own, ceil, counts, dilation):
    own = min(own, kernel // 2)
    for pool in (nn.MaxPool2d(kernel, stride, own, dilation, ceil_mode=ceil),
                 nn.AvgPool2d(kernel, stride, own, ceil, counts)):  # fmt: skip
        network = seeded(Around(nn.Sequential(nn.ReLU(), nn.ZeroPad2d(pads), pool)))
        images = torch.randn(5, *SHAPE)
        torch.testing.assert_close(trace(network, SHAPE)(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pads", "pool", "expected"),
    [
        ((0, 1, 0, 1), nn.MaxPool2d(3, 2), {"padding": [0, 0], "ceil_mode": True}),  # TensorFlow's of even maps
        ((1, 1, 1, 1), nn.MaxPool2d(3, 2), {"padding": [1, 1], "ceil_mode": False}),
        ((1, 1, 1, 1), nn.AvgPool2d(3, 2), {"padding": [1, 1], "count_include_pad": True}),
        ((0, 0, 1, 1), nn.AvgPool2d(3, 2, (0, 1)), {"padding": [1, 1], "count_include_pad": True}),
    ],
)
def test_zeros_before_a_pool_become_its_own(pads, pool, expected):
    graph = folded(nn.Sequential(nn.ReLU(), nn.ZeroPad2d(pads), pool))
    assert left_over(graph) == 0
    node = next(n for n in graph.graph.nodes if operator_name(n).endswith("pool2d"))
    named = dict(zip((a.name for a in node.target._schema.arguments), node.args, strict=True))
    assert {name: named[name] for name in expected} == expected


def conv(before=8, **settings):
    return nn.Conv2d(before, 8, 3, **settings)


def uneven(x):
    return F.pad(x, UNEVEN)


def twice(s, x):
    return s.conv(F.pad(x, (1, 1, 1, 1))).mean((2, 3)) + s.conv(x).mean((2, 3))


STAY = {
    "crops": nn.Sequential(nn.ZeroPad2d((-1, 1, 0, 0)), conv()),
    "other values": nn.Sequential(nn.ConstantPad2d(UNEVEN, 0.5), conv()),
    "reflections": nn.Sequential(nn.ReflectionPad2d(UNEVEN), conv()),
    "a norm between": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.BatchNorm2d(8), conv()),
    "a sigmoid between": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.Sigmoid(), conv()),
    "a clip away from zero": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.Hardtanh(0.5, 1), conv()),
    "an added number": Does(lambda s, x: s.conv(uneven(x) + 1), conv=conv()),
    "maxima of negative numbers": nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    "uneven averages": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.AvgPool2d(3, 2)),
    "averages of what is there": nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "averages of all": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.AdaptiveAvgPool2d(1)),
    "windows of zeros alone": nn.Sequential(nn.ReLU(), nn.ZeroPad2d(3), nn.MaxPool2d(2)),
    "only one of two": Does(lambda s, x: s.conv(uneven(x) + x.mean((2, 3), keepdim=True)), conv=conv()),
    "channels": Does(lambda s, x: s.conv(F.pad(x, (0, 1, 0, 1, 2, 2))), conv=conv(12)),
}


@pytest.mark.parametrize("name", STAY)
def test_what_would_answer_differently_stays(name):
    assert left_over(folded(STAY[name])) == 1


def same_as_in_tensorflow(s, x):
    rest = max((-(-x.shape[3] // 2) - 1) * 2 + 3 - x.shape[3], 0)
    return s.conv(F.pad(x, [rest // 2, rest - rest // 2, rest // 2, rest - rest // 2]))


FOLDS = {
    "two readers": Does(lambda s, x: s.a(y := uneven(x)) + s.b(y.relu()), a=conv(stride=2), b=conv(stride=2, groups=8)),
    "in place": Does(lambda s, x: s.conv(uneven(x).relu_()), conv=conv()),
    "sums": Does(lambda s, x: s.conv(uneven(x) + uneven(x.sigmoid())), conv=conv()),
    "joined": Does(lambda s, x: s.conv(torch.cat([uneven(x), uneven(x.tanh())], 1)), conv=conv(16)),
    "called twice alike": Does(lambda s, x: s.conv(uneven(x)) + s.conv(uneven(x.exp())), conv=conv()),
    "on padded maps and on others": Does(twice, conv=conv()),  # a layer that is used twice is two
    "as wide only": Does(lambda s, x: s.conv(F.pad(x, (2, 1))), conv=conv()),
    "nothing": Does(lambda s, x: s.conv(F.pad(F.pad(x, (0, 0, 0, 0)), (0, 0, 0, 0), "reflect")), conv=conv()),
    "sizes computed": Does(same_as_in_tensorflow, conv=conv(stride=2)),
    "same, even taps": nn.Conv2d(8, 8, (2, 4), padding="same"),
    "same, dilated": nn.Conv2d(8, 8, (4, 3), dilation=(1, 2), padding="same"),
    "computed weights": nn.Sequential(nn.ZeroPad2d(UNEVEN), nn.utils.parametrizations.weight_norm(conv())),
}


@pytest.mark.parametrize("name", FOLDS)
def test_what_answers_the_same_is_folded(name):
    graph = folded(FOLDS[name])
    assert left_over(graph) == 0
    assert all(not isinstance(layer.padding, str) for layer in layers(graph).values() if isinstance(layer, nn.Conv2d))


def test_readers_that_cannot_do_without_the_zeros_keep_them():
    both = Does(lambda s, x: torch.cat([s.conv(y := uneven(x)).flatten(1), y.sigmoid().flatten(1)], 1), conv=conv())
    graph = folded(both)
    assert left_over(graph) == 1 and padding_of(graph.get_submodule("inside.conv")) == UNEVEN


def optimized(content, path):
    """How often each operator stands in what ONNX Runtime makes of a file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 3
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(("pads", "kernel"), [(UNEVEN, 3), ((1, 2, 1, 2), 5), ((2, 0, 1, 3), 3)])
def test_in_eight_bits_each_convolution_is_one_integer_kernel(pads, kernel, tmp_path):
    """The same kernels as for the network whose convolution has padding of its own, and nothing else."""
    data, chosen = load("digits"), Recipe(calibration_images=64).with_setting("quantize.weight_bits", 8)
    known = compress.prepare(seeded(Block(pads, kernel=kernel)), data, calibration_images=64)
    found = optimized(compress.compress_prepared(known, chosen).onnx, tmp_path / "found.onnx")
    network = seeded(Block((0, 0, 0, 0), kernel=kernel))
    network.deep.padding = (1, 1)
    twin = compress.compress_prepared(compress.prepare(network, data, calibration_images=64), chosen)
    assert found == optimized(twin.onnx, tmp_path / "twin.onnx")
    assert found["QLinearConv"] == 4 and not found["Pad"] and not found["Conv"]


@pytest.fixture(scope="module")
def known():
    return compress.prepare(seeded(Block(UNEVEN, width=24)), load("digits"), calibration_images=64)


TECHNIQUES = {
    "channels": {"channels.amount": 0.4, "channels.round_to": 1},
    "factorize": {"factorize.amount": 0.3, "factorize.round_to": 1},
    "prune": {"prune.sparsity": 0.6},
    "share": {"share.entries": 16},
    "quantize": {"quantize.weight_bits": 4},
    "equalize": {"quantize.weight_bits": 8, "quantize.equalize": True},
    "all": {"channels.amount": 0.2, "channels.round_to": 1, "prune.sparsity": 0.5, "quantize.weight_bits": 8,
            "recover.steps": 4},
}  # fmt: skip


@pytest.mark.parametrize("quality", ["fast", "best"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_works_on_uneven_padding(known, technique, quality):
    """The file answers as the simulation does, and the padding is still there."""
    chosen = Recipe(calibration_images=64, quality=quality).with_settings(TECHNIQUES[technique])
    graph, images = compress.simulate(known, chosen), known.data.normalize(known.data.test.images[:100])
    deep = next(layer for name, layer in layers(graph).items() if name == "deep")
    assert isinstance(deep, PaddedConv2d) and padding_of(deep) == UNEVEN
    with torch.inference_mode():
        simulated = graph(images)
    answers = torch.from_numpy(session(export(graph, SHAPE).onnx).run(None, {"image": images.numpy()})[0])
    assert float((answers - simulated).abs().max()) <= 0.05 * float(simulated.abs().max())


def test_channels_are_removed_through_padding_as_without_it(known):
    """As many as of the network whose convolution sets its zeros itself, and those of padding that stays as well."""
    twin, settings_ = Block((0, 0, 0, 0), width=24), Channels(amount=0.1, round_to=1)
    twin.deep.padding = (1, 1)
    twin_known = compress.prepare(seeded(twin), known.data, calibration_images=64)
    most = reachable_amounts(twin_known.dense, settings_, twin_known.calibration)[-1]
    assert reachable_amounts(known.dense, settings_, known.calibration)[-1] == pytest.approx(most)
    smaller = compress.simulate(known, Recipe(calibration_images=64).with_settings(TECHNIQUES["channels"]))
    assert sum(macs(smaller, SHAPE).values()) <= 0.6 * sum(macs(known.dense, SHAPE).values())
    assert len(smaller.get_submodule("deep").weight) < 24


def test_channels_are_removed_through_reflections():
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.ReflectionPad2d(UNEVEN), nn.Conv2d(16, 8, 3), nn.ReLU(),
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))  # fmt: skip
    ready = compress.prepare(seeded(network), load("digits"), calibration_images=64)
    chosen = Recipe(calibration_images=64).with_settings({"channels.amount": 0.5, "channels.round_to": 1})
    assert len(compress.simulate(ready, chosen).get_submodule("0").weight) < 16


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, 6])
def test_what_a_padded_layer_multiplies_are_patches_with_the_zeros(groups):
    torch.manual_seed(0)
    layer = PaddedConv2d(6, 6, (3, 2), (2, 1), groups=groups, pads=(2, 0, 1, 3), bias=False)
    x = torch.randn(40, 6, 9, 7)
    torch.testing.assert_close(layer(x), F.conv2d(F.pad(x, (2, 0, 1, 3)), layer.weight, None, (2, 1), groups=groups))
    m, w = moments(layer, [x], [layer(x)]), layer.weight.reshape(groups, 6 // groups, -1)
    torch.testing.assert_close(m.g, w @ m.h, rtol=1e-3, atol=1e-4)
    rows = patches.drawn(layer, x, 10_000)
    assert rows.shape[1] == layer(x)[:, 0].numel()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["output", "input", "spatial", "tucker"])
def test_products_of_a_padded_layer_set_the_zeros_where_its_taps_are(kind):
    torch.manual_seed(0)
    layer = padded(nn.Conv2d(6, 8, (3, 5), (2, 1)), (1, 3, 0, 2))
    x = torch.randn(10, 6, 12, 12)
    problem = Problem(layer, moments(layer, [x], [layer(x)]).h[0], torch.ones(8), Place((12, 12), layer(x).shape[2:]))
    split = Split(kind, (3, 4) if kind == "tucker" else (3,), 0, 0.0)
    whole, y = padded(layer, padding_of(layer)), x
    whole.weight = nn.Parameter(problem.product(split))
    for part in modules(layer, problem.factors(split), kind):
        y = part(y)
    torch.testing.assert_close(y, whole(x), rtol=1e-3, atol=1e-4)
