"""Networks with weights, biases and values of extreme sizes: right answers, or one sentence, and never NaN."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compression import calibration
from compression.data import load
from compression.errors import Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.tracing import trace
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.solvers import least_squares, moments
from compression.solvers.moments import Moments
from compression.techniques.quantization.equalization import equalized

IMAGES = 64
SOME, ALL = slice(0, 4), slice(None)


class Plain(nn.Module):
    """Convolutions with a batch norm and without, one of them depthwise, and linear layers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.deep, self.norm2 = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.wide, self.bare = nn.Conv2d(12, 24, 3, 2, padding=1), nn.Conv2d(24, 16, 3, padding=1, bias=False)
        self.hidden, self.head = nn.Linear(256, 24), nn.Linear(24, 10)

    def forward(self, x):
        x = torch.relu(self.norm1(self.first(x)))
        x = torch.relu(self.norm2(self.deep(x)))
        x = torch.relu(self.bare(torch.relu(self.wide(x))))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


@pytest.fixture(scope="module")
def learned():
    torch.manual_seed(0)
    data, network = load("digits"), Plain()
    images, labels = data.normalize(data.train.images), data.train.labels
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(300):
        chosen = torch.randint(len(images), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


def silent(network):
    for norm in (network.norm1, network.norm2):
        norm.weight[SOME], norm.bias[SOME] = 1e-8, 0.3


def constant(network):
    network.first.weight.zero_()


def dead(network):
    network.norm1.weight.zero_()
    network.norm1.bias.fill_(-9)


def times(factor, rows, *names):
    def change(network):
        for name in names:
            network.get_submodule(name).weight[rows] *= factor

    return change


def balanced(factor):
    """The same answers by values that are `factor` times as large in between."""

    def change(network):
        network.wide.weight.mul_(factor)
        network.wide.bias.mul_(factor)
        network.bare.weight.div_(factor)

    return change


CHANGES = {
    "silent": silent, "constant": constant, "dead": dead, "zero": times(0.0, SOME, "first", "deep", "wide", "hidden"),
    "all zero": times(0.0, ALL, "bare"), "tiny": times(1e-30, SOME, "first", "deep", "wide", "bare", "hidden"),
    "all tiny": times(1e-30, ALL, "first", "deep", "wide", "bare", "hidden", "head"), "huge": times(1e10, SOME, "wide"),
    "all huge": times(1e10, ALL, "first"), "huge values": balanced(1e10), "tiny values": balanced(1e-10),
    "denormal": times(1e-42, SOME, "first", "wide", "bare"),
}  # fmt: skip
USUAL = {"dead", "huge values", "denormal"}
"""Those that run always; the others by -m slow."""

SAME_AS_FP32 = {"silent", "constant", "dead", "zero", "all zero", "tiny", "huge values", "tiny values", "denormal"}
"""Where eight bits must answer as before."""

TECHNIQUES = {
    "eight bits": {"quantize.weight_bits": 8},
    "equalized": {"quantize.weight_bits": 8, "quantize.equalize": True},
    "one scale": {"quantize.weight_bits": 8, "quantize.granularity": "tensor", "quantize.equalize": True},
    "channels": {"channels.amount": 0.2, "channels.round_to": 1},
    "factorize": {"factorize.rank": "energy", "factorize.energy": 0.9, "factorize.round_to": 1},
    "prune": {"prune.sparsity": 0.5}, "second order": {"prune.sparsity": 0.5, "prune.criterion": "second-order"},
    "share": {"share.entries": 16}, "recover": {"prune.sparsity": 0.5, "quantize.weight_bits": 4, "recover.steps": 2},
}  # fmt: skip


def changed(network, change):
    network = copy.deepcopy(network)
    with torch.no_grad():
        CHANGES.get(change, change)(network)
    return compress.prepare(network, load("digits"), calibration_images=IMAGES)


def right(answers, labels):
    return float((answers.argmax(1) == labels).mean())


@pytest.mark.parametrize(
    "change", [change if change in USUAL else pytest.param(change, marks=pytest.mark.slow) for change in CHANGES]
)
def test_no_technique_makes_nan_of_extreme_sizes(learned, change):
    known = changed(learned, change)
    images, labels = known.data.normalize(known.data.test.images), known.data.test.labels.numpy()
    dense = right(known.baseline_session.run(None, {"image": images.numpy()})[0], labels)
    for technique, settings in TECHNIQUES.items():
        for quality in ("fast", "best"):
            chosen = Recipe(calibration_images=IMAGES, quality=quality).with_settings(settings)
            try:
                graph = compress.simulate(known, chosen)
            except Unsupported:
                assert change in ("all tiny", "all huge", "huge"), (technique, quality)
                continue
            found = session(export(graph, (1, 8, 8)).onnx).run(None, {"image": images.numpy()})[0]
            assert np.isfinite(found).all(), (technique, quality)
            assert all(t.isfinite().all() for t in graph.state_dict().values()), (technique, quality)
            if change in SAME_AS_FP32 and technique in ("eight bits", "equalized", "one scale"):
                assert right(found, labels) >= dense - 0.03, (technique, quality)


@torch.no_grad()
@pytest.mark.parametrize("change", ["silent", "tiny", "constant", "huge values"])
def test_equalized_layers_answer_as_before_and_no_bias_sets_the_range(learned, change):
    """A channel without weights reaches no further than the one that its weights take furthest."""
    known = changed(learned, change)
    even = equalized(known.dense, known.calibration.images)
    torch.testing.assert_close(
        even(known.calibration.images), known.dense(known.calibration.images), rtol=1e-3, atol=1e-3
    )
    ranges = calibration.observe(even, known.calibration.images)
    before = calibration.observe(known.dense, known.calibration.images)
    assert all(np.isfinite(r.high) and r.high <= 1e4 * max(before[name].high, 1) for name, r in ranges.items())


@pytest.mark.parametrize(("layer", "factor", "sentence"), [("wide", 1e20, "'wide' has weights of up to"),
                                                           ("first", 1e10, None)])  # fmt: skip
def test_what_no_square_fits_is_refused_by_name(learned, layer, factor, sentence):
    change = times(factor, ALL, layer)
    if sentence is None:
        assert changed(learned, change)
        return
    with pytest.raises(Unsupported, match=sentence):
        changed(learned, change)


def test_values_too_large_to_square_are_refused_by_name():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[0].weight.mul_(1e11)
        network[1].weight.mul_(1e11)
    with pytest.raises(Unsupported, match="'1' reads or gives numbers too large to be squared"):
        compress.prepare(network.eval(), load("digits"), calibration_images=IMAGES)
    assert trace(network, (1, 8, 8))


def test_a_triangular_root_is_found_where_rounding_left_no_definite_matrix():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    square = (x.T @ x)[None] - 1e-6 * torch.eye(8)
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(square)
    lower = moments.cholesky(square)
    torch.testing.assert_close(
        lower @ lower.mT, square, rtol=0, atol=1e-3 * float(square.diagonal(dim1=1, dim2=2).mean())
    )
    with pytest.raises(Unsupported, match="too large to be squared"):
        moments.cholesky(torch.full((1, 2, 2), float("nan")))


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e10])
def test_kept_weights_are_fitted_whatever_size_the_inputs_have(size):
    """The same weights as for inputs of size one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    w, keep = torch.randn(1, 5, 12, generator=generator), torch.rand(1, 5, 12, generator=generator) < 0.5
    h = (x.T @ x / len(x))[None].double()

    def fitted(scale):
        scaled = (h * scale**2).float()
        return least_squares.refit(w * keep, keep, Moments(scaled, w @ scaled, torch.zeros(1, 12), torch.zeros(5)))

    torch.testing.assert_close(fitted(size), fitted(1.0), rtol=1e-3, atol=1e-4)
