"""Networks that people bring: one by one the operators they are made of, and a few small ones under every technique."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.utils.prune
from torch import nn
from torch.nn import functional as F

from compression.data import load
from compression.errors import InvalidModel, Unsupported
from compression.export import export
from compression.host.onnx_runtime import optimized, session
from compression.network.graph import layers
from compression.network.tracing import trace
from compression.pipeline import candidate, compress, measuring
from compression.pipeline.placing import trial
from compression.recipe import Recipe
from tests import visitors

SHAPE = (1, 6, 6)


class Through(nn.Module):
    """A convolution, what is tried out on its maps [n, 8, 6, 6], and a linear layer."""

    def __init__(self, tried):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.LazyLinear(10)
        self.module = tried if isinstance(tried, nn.Module) else None
        self.tried = tried

    def forward(self, x):
        return self.last(self.tried(self.conv(x)).flatten(1))


class Standardized(nn.Module):
    """Qiao et al. 2019: weights that are normalised whenever they are used."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), padding=1)


class StandardizedByNorm(Standardized):
    """The same as timm writes it: by a batch norm over the weights, without running statistics."""

    def forward(self, x):
        w = F.batch_norm(self.weight.reshape(1, 8, -1), None, None, training=True, momentum=0.0)
        return F.conv2d(x, w.reshape_as(self.weight), padding=1)


class Stored(nn.Module):
    """What is done with maps and a tensor that the network keeps."""

    def __init__(self, tensor, work):
        super().__init__()
        self.work = work
        if isinstance(tensor, nn.Parameter):
            self.kept = tensor
        else:
            self.register_buffer("kept", tensor)

    def forward(self, x):
        return self.work(x, self.kept)


class TwoWeights(nn.Module):
    """Products with two weights of one module, and one more with the first."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(6, 5))

    def forward(self, x):
        return F.linear(F.linear(F.linear(x, self.a).relu(), self.b), self.a, torch.ones(5))


def channel_attention(x):
    """Wang et al. 2020, "ECA-Net"."""
    each = F.conv1d(x.mean((2, 3)).unsqueeze(1), torch.full((1, 1, 3), 1 / 3), padding=1)
    return x * each.sigmoid().squeeze(1)[:, :, None, None]


ACTIVATIONS = {
    "elu": lambda x: F.elu(x, 0.5), "selu": F.selu, "celu": lambda x: F.celu(x, 0.7), "mish": F.mish,
    "softplus": F.softplus, "softplus of 2": lambda x: F.softplus(x, 2.0), "softsign": F.softsign,
    "softplus up to 1": lambda x: F.softplus(5 * x, 3.0, 1.0), "softplus up to 0": lambda x: F.softplus(x, 1.0, 0.0),
    "hardshrink": F.hardshrink, "log sigmoid": F.logsigmoid, "relu6": F.relu6, "relu6_": lambda x: F.relu6(x * 9, True),
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"), "threshold": nn.Threshold(0.1, 0.2),
    "glu": lambda x: F.glu(x, 1), "prelu": nn.PReLU(), "prelu by channel": nn.PReLU(8, 0.1), "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink, "rrelu": nn.RReLU(),
}  # fmt: skip
ARITHMETIC = {
    "exp": torch.exp, "log": lambda x: torch.log(x.abs() + 1), "log1p": lambda x: torch.log1p(x.abs()),
    "erf": torch.erf, "negative": lambda x: -x, "one minus": lambda x: 1 - x, "one by": lambda x: 1 / (x.abs() + 1),
    "square": torch.square, "root": lambda x: torch.sqrt(x.abs()), "root of": lambda x: torch.rsqrt(x.abs() + 1),
    "sine": torch.sin, "clamp": lambda x: x.clamp(-0.5, 0.5), "from 0": lambda x: x.clamp(min=0),
    "to 6": lambda x: (9 * x).clamp(0, 6), "up to": lambda x: torch.clip(x, max=0.3),
    "larger": lambda x: torch.maximum(x, 0.1 * x), "smaller": lambda x: torch.minimum(x, 0.1 * x),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x), "not where": lambda x: torch.where(~(x > 0), x, 2 * x),
    "filled": lambda x: x.masked_fill(x < 0, 0.1), "three": lambda x: torch.addcmul(x, x, x, value=0.5),
    "generalized mean": lambda x: F.avg_pool2d(x.clamp(min=1e-6).pow(3), 3).pow(1 / 3),
    "zeros beside": lambda x: torch.cat([x, torch.zeros_like(x)], 1), "ones": lambda x: x + torch.ones_like(x),
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x), "bmm": lambda x: torch.bmm(x.flatten(2), x.flatten(2).mT),
    "baddbmm": lambda x: torch.baddbmm(torch.ones(1), x.flatten(2), x.flatten(2).transpose(1, 2), alpha=0.5),
    "float": lambda x: x.float(), "positive": lambda x: x * (x > 0), "positive counted": lambda x: (x > 0).float() + x,
    "like": lambda x: (x > 0).type_as(x) - x, "whole": lambda x: x - (3 * x).to(torch.int64),
}  # fmt: skip
REDUCTIONS = {
    "sum": lambda x: x.sum(3, keepdim=True) + x, "largest": lambda x: x.amax((2, 3)), "smallest": lambda x: x.amin(1),
    "max": lambda x: x.max(dim=1, keepdim=True)[0] + x, "product": lambda x: x.prod(1),
    "length": lambda x: F.normalize(x, dim=1), "length of 1": lambda x: x / x.norm(p=1, dim=1, keepdim=True),
    "log sum exp": lambda x: x.logsumexp(1), "variance": lambda x: x / x.var((2, 3), keepdim=True, unbiased=False),
    "deviation": lambda x: x / x.std((2, 3), keepdim=True), "log softmax": lambda x: F.log_softmax(x, 1),
    "global max pool": lambda x: F.adaptive_max_pool2d(x, 1), "max pool to 2": lambda x: F.adaptive_max_pool2d(x, 2),
    "pool to 4": lambda x: F.adaptive_avg_pool2d(x, (4, 3)), "pool to 7": lambda x: F.adaptive_avg_pool2d(x, 7),
    "pool of rows": nn.Sequential(nn.Flatten(2), nn.AvgPool1d(2), nn.MaxPool1d(2), nn.AdaptiveAvgPool1d(4)),
    "between channels": nn.LocalResponseNorm(2), "root mean square": nn.RMSNorm(6),
}  # fmt: skip
NORMS = {
    "group norm": nn.GroupNorm(2, 8), "group norm without weights": nn.GroupNorm(4, 8, affine=False),
    "instance norm": nn.InstanceNorm2d(8, affine=True), "instance norm without weights": nn.InstanceNorm2d(8),
    "layer norm without weights": nn.LayerNorm([6, 6], elementwise_affine=False),
    "batch norm of rows": nn.Sequential(nn.Flatten(), nn.Linear(288, 16), nn.BatchNorm1d(16), nn.ReLU()),
    "batch norm of pixels": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(288)), "dropped maps": nn.Dropout2d(0.2),
    "alpha dropout": nn.AlphaDropout(0.1),
}  # fmt: skip
MOVES = {
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=-2.0), "cut": lambda x: F.pad(x, (-1, 0)),
    "reflect": nn.ReflectionPad2d(1), "replicate": nn.ReplicationPad2d(2), "around": nn.CircularPad2d(1),
    "shortcut": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)),
    "split": lambda x: torch.cat(x.split(3, 1)[::-1], 1),
    "split in two": lambda x: torch.cat(torch.split(x, [2, 6], 1)[::-1], 1),
    "stack": lambda x: torch.stack([x, 2 * x], 2).flatten(1, 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, size=(9, 11), mode="bilinear"),
    "bilinear, corners": lambda x: F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, size=(9, 9), mode="bicubic"), "pixel shuffle": nn.PixelShuffle(2),
    "pixel unshuffle": nn.PixelUnshuffle(2), "channel shuffle": nn.ChannelShuffle(4),
    "roll": lambda x: x.roll((1, -2), (2, 3)), "flip": lambda x: x.flip(3), "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "tile": lambda x: x.tile(1, 2, 1, 1), "shape of another": lambda x: x.flatten(2).softmax(2).view_as(x),
    "dimensions": lambda x: x.movedim(1, 3), "swapped": lambda x: x.swapaxes(1, 2),
    "narrow": lambda x: x.narrow(1, 2, 4), "picked": lambda x: x[:, [0, 5, 2]],
    "picked by a mask": lambda x: x[:, torch.arange(8) % 3 == 0], "squeezed": lambda x: x.mean((2, 3), True).squeeze(),
    "squeezed where one": lambda x: x.mean((2, 3), True).squeeze(1).squeeze((2, -1)),
    "expanded": lambda x: torch.cat([x, x.amax(1, keepdim=True).expand(-1, 3, -1, -1)], 1),
    "expanded as": lambda x: torch.cat([x, x.amax(1, keepdim=True).expand_as(x)], 1),
    "stacked in front": lambda x: torch.stack([x, 2 * x]).mean(0), "joined": lambda x: x.flatten(0, 1).unflatten(0,
        (-1, 8)),
    "taken apart": lambda x: x.flatten(0, 1).unsqueeze(0).relu().squeeze(0).reshape(-1, 8, 6, 6),
    "expanded for arithmetic": lambda x: torch.cat([x.mean(1, True).expand_as(x) + x, 2 * x.mean(1,
        True).expand_as(x)], 1),
    "twice expanded": lambda x: x.mean(1, True).expand_as(x) + x.mean(2, True).expand_as(x.mean(1, True).expand_as(x)),
    "repeated, stored": Stored(torch.randn(1, 2, 1, 6), lambda x, kept: torch.cat([x, kept.repeat(x.size(0), 1, 6, 1)],
        1)),
    "numbers, stored": Stored(torch.arange(6), lambda x, kept: torch.cat([x, kept.expand(x.size(0), 2, 6, -1)], 1)),
    "smaller than a window": lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True),
    "places": lambda x: torch.cat([x, x.max(1, True)[1], x.argmin(1, True)], 1),
    "expanded, stored": Stored(torch.randn(1, 6), lambda x, kept: torch.cat([x, kept.expand(x.size(0), 2, 6, -1)], 1)),
}  # fmt: skip
LAYERS = {
    "blur": lambda x: F.conv2d(x, torch.ones(8, 1, 3, 3) / 9, padding=1, groups=8),
    "channel attention": channel_attention, "standardized": Standardized(),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
    "transposed": nn.ConvTranspose2d(8, 4, 3, 2, 1, 1),
    "rows": nn.Sequential(nn.Flatten(2), nn.Conv1d(8, 4, 3, padding=1)),
    "volumes": nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv3d(1, 2, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.Flatten(1, 2)
    ),
    "reflecting": nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "same": nn.Conv2d(8, 8, (2, 4), padding="same"), "dilated same": nn.Conv2d(8, 8, 3, dilation=2, padding="same"),
    "pruned by torch": nn.utils.prune.random_unstructured(nn.Conv2d(8, 8, 3), "weight", 0.5),
    "truth values": Stored(torch.arange(6) > 2, lambda x, kept: x * kept.float()), "two weights": TwoWeights(),
    "truth of parameters": Stored(nn.Parameter(torch.arange(6.0)), lambda x, kept: x * (kept > 2)),
}  # fmt: skip
TRIED = ACTIVATIONS | ARITHMETIC | REDUCTIONS | NORMS | MOVES | LAYERS


@pytest.mark.parametrize("name", TRIED)
def test_the_file_answers_as_the_network(name: str) -> None:
    torch.manual_seed(0)
    model, images = Through(TRIED[name]), torch.randn(3, *SHAPE)
    with torch.no_grad():
        model(images)  # batch norms have seen something
        expected = model.eval()(images).numpy()
    file = export(trace(model, SHAPE), SHAPE)
    answers = session(file.onnx).run(None, {"image": images.numpy()})[0]
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("tried", "error", "sentence"), [
    (lambda x: x.cumprod(1), Unsupported, "The operator 'cumprod' of this network has no ONNX translation here yet."),
    (lambda x: x * x.sum(), Unsupported, "The network computes 'sum' over all images of a batch."),
    (lambda x: F.adaptive_max_pool2d(x, 1, True)[1] * 1.0, Unsupported,
     "The places that 'adaptive_max_pool2d' returns have no ONNX translation here yet."),
    (lambda x: x.view(torch.int32) * 1e-9, Unsupported,
     "The operator 'view' of this network has no ONNX translation here yet."),
    (lambda x: F.dropout(x, training=True), InvalidModel,
     "The operator 'dropout' of this network works as in training, at random or on the whole batch; networks in "
     "evaluation mode are possible."),
    (lambda x: F.batch_norm(x, torch.zeros(8), torch.ones(8), training=True), InvalidModel,
     "The operator 'batch_norm' of this network works as in training, at random or on the whole batch; networks in "
     "evaluation mode are possible."),
    (nn.BatchNorm2d(8, track_running_stats=False), InvalidModel,
     "A batch norm keeps no running statistics, so its network has no fixed answer per image."),
    (lambda x: x + torch.rand_like(x), Unsupported,
     "The network draws random numbers by 'rand_like'; a fixed answer for each image is needed."),
    (lambda x: (x.double() + 1e10).sub(1e10).float(), InvalidModel,
     "The traced network gives different outputs from the original, first at 'sub' (sub), so it cannot be compressed "
     "safely."),
    (lambda x: (x * 1e6).half().float() * 1e-6, InvalidModel,
     "The traced network gives different outputs from the original, first at 'mul' (mul_1), so it cannot be compressed "
     "safely."),
    (lambda x: x - x.mean(0), Unsupported, "The network computes 'mean' over all images of a batch."),
    (lambda x: F.softmax(x, 0), Unsupported, "The network computes 'softmax' over all images of a batch."),
    (lambda x: x.roll(1), Unsupported, "The network computes 'roll' over all images of a batch."),
    (lambda x: x.long() // x.abs().add(1).long() * 1.0, Unsupported,
     "The operator 'floor_divide' of whole numbers by computed whole numbers has no ONNX translation here yet."),
    (lambda x: F.pixel_shuffle(x.unflatten(1, (2, 4)), 2), Unsupported,
     "The operator 'pixel_shuffle' of values of 5 dimensions has no ONNX translation here yet."),
    (lambda x: nn.functional.batch_norm(x.flatten(2), torch.zeros(8), torch.ones(8)), InvalidModel,
     "A batch norm reads values of 3 dimensions; rows (2) and maps (4) are possible."),
    (lambda x: nn.functional.batch_norm(x, torch.zeros(8), torch.ones(8), x.mean((0, 2, 3))), InvalidModel,
      "The weight of a batch norm is computed from the image; stored ones are possible."),
    (lambda x: torch.cat([x, x.to(torch.int16).float()], 1), Unsupported,
     "The operator 'to' of this network gives numbers of the type int16; possible are float32, bool, int32, int64."),
])  # fmt: skip
def test_what_cannot_be_written_is_refused_with_a_sentence(tried, error, sentence: str) -> None:
    model = Through(tried)
    model(torch.zeros(2, *SHAPE))
    with pytest.raises(error) as refused:
        export(trace(model, SHAPE), SHAPE)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("tried", [Standardized(), StandardizedByNorm(), LAYERS["weight norm"]])
def test_computed_weights_are_those_of_a_layer(tried) -> None:
    model = Through(tried)
    model(torch.zeros(2, *SHAPE))
    assert len(layers(trace(model, SHAPE))) == 3


class Counting(nn.Module):
    """Changes a tensor of its own whenever it is used."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.ones(1))

    def forward(self, x):
        self.steps.mul_(2)
        return x * self.steps


def test_tracing_leaves_what_a_network_stores_as_it_was() -> None:
    model = Through(Counting())
    model(torch.zeros(2, *SHAPE))
    program = torch.export.export(model.eval(), (torch.zeros(2, *SHAPE),))
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    trace(program, SHAPE)
    assert all(torch.equal(program.state_dict[name], tensor) for name, tensor in before.items())


RECIPES = [
    {"quantize.weight_bits": 4}, {"quantize.weight_bits": 8, "quantize.equalize": True}, {"prune.sparsity": 0.5},
    {"channels.amount": 0.3, "channels.part": "all", "quantize.weight_bits": 8}, {"factorize.amount": 0.2},
    {"prune.sparsity": 0.5, "share.entries": 16, "quantize.weight_bits": 8},
]  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        visitors.Rows,
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in (visitors.Example, visitors.Residual)),
        visitors.Mobile,
    ],
)
def visitor(request: pytest.FixtureRequest) -> candidate.Prepared:
    """A network outside the zoo that has learned Digits."""
    return compress.prepare(visitors.learned(request.param), load("digits"))


@pytest.mark.parametrize("settings", RECIPES, ids=str)
def test_every_technique_keeps_a_network_of_somebody_elses(visitor: candidate.Prepared, settings) -> None:
    recipe = Recipe(quality="fast").with_settings(settings)
    made = compress.compress_prepared(visitor, recipe)
    found = measuring.measure(made, visitor)
    assert found.accuracy.drop < 0.1
    assert found.size_bytes < found.baseline_size_bytes
    simulated = compress.simulate(visitor, recipe)(visitor.data.normalize(visitor.data.test.images)).argmax(1).numpy()
    assert found.predictions is not None
    assert np.mean(simulated[found.predictions.images] == found.predictions.classes) > 0.99


@pytest.mark.parametrize(
    ("operator", "kernel"),
    [(nn.GELU(), "Gelu"), (nn.GELU(approximate="tanh"), "FastGelu"), (nn.SiLU(), "QuickGelu")],
)
def test_what_one_kernel_computes_is_written_so_that_it_does(operator, kernel, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 8, 3), operator, nn.Flatten(), nn.Linear(288, 10)).eval()
    shape = (1, 8, 8)
    graph = trace(network, shape)
    for written in (graph, trial(graph, shape, {"0", "_0", "3", "_3"})):
        optimized(export(written, shape).onnx, str(tmp_path / "run.onnx"))
        found = {node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node}
        assert kernel in found and not {"Erf", "Tanh", "Sigmoid", "Mul"} & found
    assert "QLinearConv" in found


class Enlarged(nn.Module):
    """Gates of half the size, made as large as the maps between two convolutions."""

    def __init__(self, size, mode):
        super().__init__()
        self.before, self.after = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.gate = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid())
        self.last = nn.LazyLinear(10)
        self.size, self.mode = size, mode

    def forward(self, x):
        x = F.interpolate(x, self.size)
        gates = self.gate(F.avg_pool2d(x, 2))
        maps = self.before(x) * F.interpolate(gates, size=self.size, mode=self.mode)
        return self.last(F.relu(self.after(maps)).flatten(1))


@pytest.mark.parametrize(("size", "mode"), [((16, 16), "nearest"), ((16, 24), "bilinear"), ((9, 11), "bilinear")])
def test_maps_are_enlarged_in_integers(size, mode):
    torch.manual_seed(0)
    network, shape = Enlarged(size, mode), (1, 8, 8)
    images = torch.randn(4, *shape)
    network(images)
    graph = trace(network.eval(), shape)
    written = trial(graph, shape, {node.name for node in graph.graph.nodes})
    answers = session(export(written, shape).onnx).run(None, {"image": images.numpy()})[0]
    assert np.abs(answers - written(images).detach().numpy()).max() < 2 * 8 / 255  # two of the answers' steps
