"""Every grid, alone and in files: codes in range, simulation and file agree, refusals say why."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression.calibration import divergence, observe
from compression.data import load
from compression.errors import InvalidSetting, UnknownName
from compression.export import export, pack
from compression.host.onnx_runtime import session
from compression.models import load as load_model
from compression.network import integer_grids
from compression.network.graph import layers
from compression.network.integer_grids import BYTE, LEAST_BITS, MOST_BITS
from compression.network.parametrizations import Half, WeightQuantizer, find, original
from compression.network.storage import stored
from compression.network.tracing import trace
from compression.pipeline.compress import prepare, simulate
from compression.recipe import Recipe
from compression.solvers import clipping, moments
from compression.solvers.moments import Moments
from compression.steps import SCHEME_BITS, Prune, Quantize
from compression.techniques.lowrank.factorize import Factorized, _insert_
from compression.techniques.quantization import adaround, weight_scales
from compression.techniques.quantization.bit_widths import cheapest, layer_bit_widths
from compression.techniques.quantization.equalization import equalized, pairs
from tests.networks import tiny, trained

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def learned():
    """A network outside the zoo that has learned Digits, traced and calibrated; batch-norm scales of both signs."""
    network = trained(load("digits"))
    conv, norm = network.stem[:2]
    for values in (conv.weight.data, norm.weight.data, norm.running_mean):
        values[:5] *= -1
    return prepare(network, load("digits"))


def answers(model, images):
    return session(model).run(None, {"image": images.numpy()})[0]


def agrees(prepared, *steps):
    """Packed file, unpacked twin and simulation give the same answers; returns the compressed network and its file."""
    graph = simulate(prepared, Recipe(steps=steps))
    images = prepared.data.normalize(prepared.data.test.images)
    packed, twin = export(graph, SHAPE), export(graph, SHAPE, packed=False)
    found = answers(packed.onnx, images)
    assert np.array_equal(found, answers(twin.onnx, images))
    with torch.no_grad():
        simulated = graph(images).numpy()
    top, second = np.sort(simulated, 1)[:, -1], np.sort(simulated, 1)[:, -2]
    near = np.abs(found - simulated).max(1) < 0.03 * np.ptp(simulated)
    assert near.all(), np.abs(found - simulated).max() / np.ptp(simulated)
    same = found.argmax(1) == simulated.argmax(1)
    assert same[top - second > 0.03 * np.ptp(simulated)].all() and same.mean() >= 0.99
    return graph, packed


CASES = [
    pytest.param(scheme, bits, acts, id=f"{scheme}-W{bits}A{acts}")
    for scheme, found in SCHEME_BITS.items()
    for bits in found
    for acts in (8, 32)
    if not (scheme == "linear" and bits >= 2)
]


@pytest.mark.parametrize(("scheme", "bits", "acts"), CASES)
def test_simulation_and_file_agree_for_every_scheme(learned, scheme, bits, acts):
    step = Quantize(scheme=scheme, weight_bits=bits, activation_bits=acts)
    graph, _ = agrees(learned, step)
    for layer in layers(graph).values():
        quantizer = find(layer, WeightQuantizer)
        codes = quantizer.codes(original(layer)).detach()
        assert torch.allclose(codes * quantizer.scale.reshape(-1, *[1] * (codes.dim() - 1)), layer.weight)
        assert all(len(row.unique()) <= 2**bits for row in codes)
        kept = stored(layer)
        least = min(sum(option.payload) for option in pack.options(kept.values, kept.bits, kept.grid))
        assert least <= -(-codes.numel() * bits // 8)


@pytest.mark.parametrize(
    ("sparsity", "step"),
    [
        (0.5, Quantize(scheme="binary")),
        (0.8, Quantize(scheme="ternary")),
        (0.8, Quantize(scheme="asymmetric", weight_bits=4)),
        (0.6, Quantize(scheme="logarithmic", weight_bits=4)),
        (0.6, Quantize(weight_bits=3, granularity="group", group_size=16)),
        (0.6, Quantize(weight_bits=16, activation_bits=32)),
        (0.9, Quantize(weight_bits=4, granularity="tensor", rounding="nearest")),
    ],
    ids=lambda p: f"{p:.0%}" if isinstance(p, float) else f"{p.scheme}-{p.granularity}",
)
def test_masks_stay_under_every_grid(learned, sparsity, step):
    graph, packed = agrees(learned, Prune(sparsity=sparsity), step)
    zeros = sum(float((layer.weight == 0).sum()) for layer in layers(graph).values())
    weights = sum(layer.weight.numel() for layer in layers(graph).values())
    assert zeros >= round(sparsity * weights)
    assert step.scheme != "binary" or zeros == round(sparsity * weights)
    sizes = [layer.weight.numel() for layer in layers(graph).values()]
    assert [int(np.prod(e.shape)) for e in packed.encodings.values()] == sizes


@pytest.mark.parametrize("acts", [8, 32])
@pytest.mark.parametrize(
    "values",
    [
        {"granularity": "group", "group_size": 16, "weight_bits": 4},
        {"granularity": "group", "group_size": 32, "weight_bits": 1},
        {"granularity": "group", "group_size": 64, "scheme": "logarithmic", "weight_bits": 3},
        {"granularity": "group", "group_size": 16, "weight_bits": 6, "reduce_range": "on"},
        {"granularity": "tensor", "weight_bits": 5},
        {"scale": "minmax", "weight_bits": 4},
        {"scale": "percentile", "weight_bits": 4},
        {"scale": "entropy", "weight_bits": 4},
        {"rounding": "adaptive", "weight_bits": 3},
        {"exempt_ends": True, "weight_bits": 2},
        {"allocation": "mixed", "weight_bits": 3},
        {"bias_correction": False, "weight_bits": 4},
        {"reduce_range": "on"},
        {"layer_bits": "head=16,left=32,right=1", "weight_bits": 4},
    ],
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else str(v),
)
def test_simulation_and_file_agree_for_every_option(learned, values, acts):
    graph, _ = agrees(learned, Quantize(activation_bits=acts, **values))
    if values.get("reduce_range") == "on":
        for layer in layers(graph).values():
            q = find(layer, WeightQuantizer)
            codes = (layer.weight / q.scale.reshape(-1, *[1] * (layer.weight.dim() - 1))).abs()
            assert float(codes.max()) <= (64.01 if acts == 8 else BYTE + 0.01)


@pytest.mark.parametrize("bits", [7, 8])
def test_no_two_products_of_asymmetric_weights_are_cut_off(learned, bits):
    for b in (bits, 6):
        graph, _ = agrees(learned, Quantize(scheme="asymmetric", weight_bits=b, reduce_range="on"))
        for layer in layers(graph).values():
            quantizer = find(layer, WeightQuantizer)
            assert float(quantizer.codes(original(layer).detach()).abs().max()) <= integer_grids.SATURATION_FREE
            assert quantizer.kind == ("shifted" if b == 6 else "zero")


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_activation_ranges_leave_out_what_is_rare(learned, method):
    full = observe(learned.dense, learned.calibration.images)
    cut = observe(learned.dense, learned.calibration.images, method)
    assert all(full[k].low <= cut[k].low <= 0 or full[k].low >= 0 for k in full)
    assert all(0 < cut[k].high <= full[k].high * 1.001 for k in full)
    assert any(cut[k].high < 0.999 * full[k].high for k in full)
    agrees(learned, Quantize(activation_range=method))


def test_half_precision_halves_the_file_and_changes_next_to_nothing(learned):
    graph, packed = agrees(learned, Quantize(weight_bits=16, activation_bits=32))
    assert all(e.bits == 16 and e.tensors[-1].dtype == np.float16 for e in packed.encodings.values())
    assert divergence(graph, learned.calibration) < 1e-4
    assert all(find(layer, Half) is not None for layer in layers(graph).values())


def test_batch_norm_scales_of_both_signs_and_zero_fold_into_every_grid(learned):
    strange = dataclasses.replace(learned, dense=trace(tiny(), SHAPE))
    for step in (
        Quantize(scheme="asymmetric", weight_bits=4),
        Quantize(scheme="logarithmic", weight_bits=4, activation_bits=32),
        Quantize(scheme="binary", activation_bits=32),
        Quantize(granularity="group", weight_bits=4, activation_bits=32),
        Quantize(weight_bits=16, activation_bits=32),
    ):
        _, packed = agrees(strange, step)
        assert {e.bits for e in packed.encodings.values()} == {step.bits}


class Separable(nn.Module):
    """Three layers in a row as mobile networks have them, whose channels differ thirtyfold."""

    def __init__(self):
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(1, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12))
        self.project = nn.Sequential(nn.ReLU(), nn.Conv2d(12, 20, 1, groups=2), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(20, 10)
        size = torch.logspace(-1.5, 0, 12)[torch.randperm(12)]
        self.expand[1].weight.data, self.expand[1].bias.data = size, 0.1 * size
        self.depthwise[0].weight.data /= size.reshape(-1, 1, 1, 1)

    def forward(self, x):
        return self.head(self.project(self.depthwise(self.expand(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def uneven():
    torch.manual_seed(0)
    return prepare(Separable().eval(), load("digits"))


@torch.no_grad()
def test_equalization_changes_no_answer_and_evens_out_ranges(uneven):
    images = uneven.calibration.images
    found = pairs(uneven.dense)
    assert [(p.first.weight.shape[0], p.second.weight.shape[0]) for p in found] == [(12, 12), (12, 20), (20, 10)]
    even = equalized(uneven.dense, images)
    torch.testing.assert_close(even(images), uneven.dense(images), rtol=1e-3, atol=1e-4)
    for pair in pairs(even)[1:]:  # no ReLU6 in between
        gain = 1 if pair.norm is None else pair.norm.weight / (pair.norm.running_var + pair.norm.eps).sqrt()
        first = gain * pair.first.weight.abs().flatten(1).amax(1)
        second = torch.stack([pair.second.weight[:, i].abs().amax() for i in range(pair.second.weight.shape[1])])
        if len(second) == len(first):
            torch.testing.assert_close(first, second, rtol=0.05, atol=1e-5)


def test_equalization_helps_where_one_scale_serves_channels_of_all_sizes(uneven):
    rough = {"granularity": "tensor", "rounding": "nearest", "weight_bits": 6}
    images = uneven.calibration.held_out
    lost = {}
    for on in (False, True):
        graph = simulate(uneven, Recipe(steps=(Quantize(equalize=on, **rough),), batch_norm="keep"))
        with torch.no_grad():
            lost[on] = float((graph(images) - uneven.dense(images)).square().mean())
    assert lost[True] < 0.5 * lost[False]
    agrees(uneven, Quantize(equalize=True, weight_bits=4))


@st.composite
def some_grid(draw):
    kind = draw(st.sampled_from(list(MOST_BITS)))
    bits = draw(st.integers(LEAST_BITS[kind], MOST_BITS[kind]))
    zero_point = draw(st.integers(0, 2**bits - 1)) if kind == "shifted" else None
    steps = torch.tensor(draw(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=30)))
    return kind, bits, None if zero_point is None else torch.tensor(float(zero_point)), steps


def levels(kind, bits, zero_point):
    top = integer_grids.largest(bits, kind)
    if kind == "powers":
        return {0, *(s * 2**k for k in range(2 ** (bits - 1) - 1) for s in (-1, 1))}
    if kind == "shifted":
        return {c - int(zero_point) for c in range(top + 1)}
    return set(range(-top, top + 1, 1 if kind == "zero" else 2))


@given(some_grid())
@settings(max_examples=150)
def test_codes_are_the_nearest_levels_idempotent_and_symmetric(case):
    kind, bits, zero_point, steps = case
    codes, allowed = integer_grids.nearest(steps, bits, kind, zero_point), levels(kind, bits, zero_point)
    assert len(allowed) <= 2**bits and set(codes.int().tolist()) <= allowed
    for step, code in zip(steps.tolist(), codes.tolist(), strict=True):
        assert abs(step - code) <= min(abs(step - level) for level in allowed) + 1e-4
    assert torch.equal(integer_grids.nearest(codes, bits, kind, zero_point), codes)
    if kind != "shifted":
        assert {-c for c in allowed} == allowed
    if kind in ("zero", "powers"):
        assert torch.equal(integer_grids.nearest(-steps, bits, kind), -codes)


def problem(rows=4, d=6, seed=0):
    """Weights [1, rows, d] and the moments of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(500, d, generator=generator) @ torch.randn(d, d, generator=generator)
    w = torch.randn(1, rows, d, generator=generator)
    h = (x.T @ x / len(x))[None]
    return w, Moments(h, w @ h, torch.zeros(1, d), torch.zeros(rows))


def excess(q, w, m):
    return float((moments.quadratic_loss(q, m) - moments.quadratic_loss(w, m)).sum())


def test_binary_scale_is_the_mean_magnitude_where_inputs_are_equal():
    """XNOR-Net (Rastegari et al. 2016, eq. 6) is the optimum for white inputs; the search comes within a percent."""
    w = torch.randn(1, 8, 200, generator=torch.Generator().manual_seed(1))
    m = Moments(torch.eye(200)[None], w.clone(), torch.zeros(1, 200), torch.zeros(8))
    found = weight_scales.fit_weight_grid(w, None, m, Quantize(scheme="binary"))
    torch.testing.assert_close(found.points.abs().amax(2), w.abs().mean(2), rtol=0.01, atol=0)
    assert torch.equal(found.points.sign(), w.sign())


def test_ternary_is_close_to_the_best_of_all():
    for seed in range(4):
        w, m = problem(rows=1, d=6, seed=seed)
        found = weight_scales.fit_weight_grid(w, None, m, Quantize(scheme="ternary"))
        best = float("inf")
        for signs in itertools.product((-1.0, 0.0, 1.0), repeat=6):
            code = torch.tensor(signs)[None, None]
            power = float((code @ m.h[0] * code).sum())
            if power > 0:
                scale = float((code * m.g).sum()) / power
                best = min(best, excess(scale * code, w, m))
        assert best <= excess(found.points, w, m) + 1e-4
        nothing = excess(torch.zeros_like(w), w, m)
        assert excess(found.points, w, m) - best < 0.25 * (nothing - best)


@pytest.mark.parametrize("scheme", ["linear", "asymmetric"])
def test_adaptive_rounding_is_close_to_the_best_choice_of_up_and_down(scheme):
    w, m = problem(rows=3, d=6, seed=2)
    step = Quantize(scheme=scheme, weight_bits=3, rounding="nearest", activation_bits=32)
    nearest = weight_scales.fit_weight_grid(w, None, m, step)
    found = adaround.adaptive(nearest.grid, w, m)
    scale = nearest.grid.scale[..., None]
    offset = nearest.grid.offset[..., None]
    best = 0.0
    for row in range(3):
        floor = ((w[0, row] / scale[0, row] - offset[0, row]).floor() + offset[0, row]) * scale[0, row]
        tried = [floor + torch.tensor(up) * scale[0, row] for up in itertools.product((0.0, 1.0), repeat=6)]
        end = nearest.grid.top[0, row] * scale[0, row]
        low = nearest.grid.low[0, row] * scale[0, row]
        best += min(float(((q - w[0, row]) @ m.h[0] * (q - w[0, row])).sum()) for q in
                    [torch.minimum(torch.maximum(q, low), end) for q in tried])  # fmt: skip
    assert excess(found, w, m) >= best - 1e-4
    assert excess(found, w, m) - best <= 0.5 * (excess(nearest.points, w, m) - best) + 1e-6
    assert torch.equal(nearest.grid.round(found), found)


def test_groups_fit_rows_of_mixed_size_better_than_one_scale():
    w, m = problem(rows=4, d=64)
    w = w * torch.cat([torch.ones(32), 0.1 * torch.ones(32)])
    m = dataclasses.replace(m, h=torch.eye(64)[None], g=w.clone())
    one = weight_scales.fit_weight_grid(w, None, m, Quantize(weight_bits=3, rounding="nearest"))
    groups = weight_scales.fit_weight_grid(w, None, m, Quantize(weight_bits=3, rounding="nearest", granularity="group"))
    assert excess(groups.points, w, m) < 0.75 * excess(one.points, w, m)
    multipliers = groups.multipliers(32)
    assert multipliers.shape == (4, 2) and multipliers.min() >= 1
    assert float(multipliers.max()) * integer_grids.largest(3, groups.kind) <= BYTE


def test_better_scales_have_less_error():
    w, m = problem(rows=16, d=40)
    m = dataclasses.replace(m, h=torch.eye(40)[None], g=w.clone())
    grids = {
        s: weight_scales.fit_weight_grid(w, None, m, Quantize(weight_bits=3, scale=s, rounding="nearest"))
        for s in ("mse", "minmax", "percentile", "entropy")
    }
    found = {s: excess(grid.points, w, m) for s, grid in grids.items()}
    assert found["mse"] == min(found.values()) and found["mse"] < 0.9 * found["minmax"]
    tensor = weight_scales.fit_weight_grid(w, None, m, Quantize(weight_bits=3, granularity="tensor"))
    assert len(tensor.step.unique()) == 1


@pytest.mark.parametrize("scale", ["percentile", "entropy"])
@pytest.mark.parametrize(("granularity", "bits"), [("channel", 3), ("tensor", 7), ("group", 3)])
def test_outliers_are_left_out_wherever_scales_stand(scale, granularity, bits):
    """In small layers too, and by entropy whose histogram few weights must fill."""
    normal = torch.randn(4, 4, 512, generator=torch.Generator().manual_seed(0))
    w = (normal[:1] / normal[1:].square().mean(0).sqrt()).detach()  # Student's t, [1, 4, 512]
    m = Moments(torch.eye(512)[None], w.clone(), torch.zeros(1, 512), torch.zeros(4))

    def end(scale):
        values = Quantize(weight_bits=bits, scale=scale, granularity=granularity, group_size=128, rounding="nearest")
        found = weight_scales.fit_weight_grid(w, None, m, values)
        multipliers = found.multipliers(128) if granularity == "group" else torch.ones(4, 1)
        return integer_grids.largest(bits, found.kind) * float((found.step[:, None] * multipliers).mean())

    assert end(scale) < 0.9 * end("minmax")


def test_one_percentile_serves_a_layer_with_one_scale():
    w = torch.randn(1, 4, 512, generator=torch.Generator().manual_seed(0))
    w[0, 1, ::64] = 20.0  # more than one in a hundred of that channel, fewer of the layer
    m = Moments(torch.eye(512)[None], w.clone(), torch.zeros(1, 512), torch.zeros(4))
    found = weight_scales.fit_weight_grid(
        w, None, m, Quantize(weight_bits=7, scale="percentile", granularity="tensor", rounding="nearest")
    )
    torch.testing.assert_close(found.step, (w.abs().quantile(0.99) / 63).expand(4))


def test_shares_of_a_range():
    """A long thin tail is cut off; a flat distribution is not."""
    flat = torch.ones(clipping.BINS)
    assert clipping.mse_share(flat, 255) > 0.97 and clipping.percentile_share(flat, 0.5) == pytest.approx(0.5, abs=0.01)
    tail = torch.exp(-torch.arange(clipping.BINS) / 60.0) * 1e6
    assert clipping.mse_share(tail, 7) < 0.6 and clipping.entropy_share(tail, 128) < 0.9


def test_bits_go_where_they_help_most():
    harm = {"a": {2: 9.0, 3: 1.0, 4: 0.5}, "b": {2: 4.0, 3: 3.9, 4: 3.8}}
    assert cheapest(harm, {"a": 10, "b": 10}, 50) == {"a": 3, "b": 2}
    assert cheapest(harm, {"a": 10, "b": 10}, 1000) == {"a": 4, "b": 4}
    assert cheapest(harm, {"a": 10, "b": 10}, 0) == {"a": 2, "b": 2}


def test_layers_get_the_bits_that_were_asked_for(learned):
    graph, calibration = learned.dense, learned.calibration
    names = list(layers(graph))

    def bits(**values):
        return {name: own.bits for name, own in layer_bit_widths(graph, Quantize(**values), calibration).items()}

    assert set(bits(weight_bits=3, reduce_range="off").values()) == {3}
    ends = bits(weight_bits=2, exempt_ends=True, reduce_range="off")
    assert [ends[n] for n in names] == [8, *[2] * (len(names) - 2), 8]
    own = bits(weight_bits=4, exempt_ends=True, layer_bits={names[0]: 1, names[1]: 6}, reduce_range="off")
    assert (own[names[0]], own[names[1]], own[names[-1]]) == (1, 6, 8)
    mixed = bits(weight_bits=4, allocation="mixed")
    sizes = {name: layer.weight.numel() for name, layer in layers(graph).items()}
    assert sum(mixed[n] * sizes[n] for n in names) <= 4 * sum(sizes.values())
    assert len(set(mixed.values())) > 1
    with pytest.raises(UnknownName, match="'nonsense'"):
        bits(layer_bits="nonsense=4")


def test_mixed_bits_are_allotted_among_the_layers_that_have_none_of_their_own(learned):
    own = {"stem.0": 8, "head": 8, "right": 1}
    settings = Quantize(
        weight_bits=4, allocation="mixed", exempt_ends=True, layer_bits={"right": 1}, reduce_range="off"
    )
    found = {name: s.bits for name, s in layer_bit_widths(learned.dense, settings, learned.calibration).items()}
    free = {name: layer.weight.numel() for name, layer in layers(learned.dense).items() if name not in own}
    spent = sum(found[name] * size for name, size in free.items())
    assert {name: found[name] for name in own} == own
    assert 4 * sum(free.values()) - min(free.values()) < spent <= 4 * sum(free.values())


def test_what_holds_for_a_layer_holds_for_all_layers_of_its_product(learned):
    graph = copy.deepcopy(learned.dense)
    splits = dict.fromkeys(["stem.0", "left"])
    for name in splits:
        layer = graph.get_submodule(name)
        first = nn.Conv2d(layer.in_channels, layer.in_channels, 1)
        _insert_(graph, name, [first, layer])
    graph.meta["factorize"] = Factorized(None, 0.0, splits)
    settings = Quantize(weight_bits=2, exempt_ends=True, layer_bits="left=6,stem.0_first=3", reduce_range="off")
    found = {name: s.bits for name, s in layer_bit_widths(graph, settings, learned.calibration).items()}
    named = {"stem.0_first": 3, "stem.0": 8, "left_first": 6, "left": 6, "right": 2, "head": 8}
    assert {name: found[name] for name in named} == named
    alone = Quantize(weight_bits=2, exempt_ends=True, reduce_range="off")
    assert layer_bit_widths(graph, alone, learned.calibration)["stem.0_first"].bits == 8


def test_layer_bits_are_read_from_tables_and_texts_and_travel_with_the_recipe():
    step = Quantize(layer_bits={"fc": 8, "conv1": 4})
    assert step == Quantize(layer_bits="fc=8, conv1=4") and step.overrides == {"conv1": 4, "fc": 8}
    recipe = Recipe(steps=(step,))
    for there, back in (("to_yaml", "from_yaml"), ("to_query", "from_query"), ("to_json", "from_json")):
        assert getattr(Recipe, back)(getattr(recipe, there)()) == recipe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scheme": "logarithmic"}, ["2, 3, 4", "not 8", "1/64"]),
        ({"scheme": "logarithmic", "weight_bits": 4, "rounding": "adaptive"}, ["adaptive", "equal step"]),
        ({"scheme": "asymmetric", "weight_bits": 1}, ["not 1", "binary"]),
        ({"scheme": "asymmetric", "weight_bits": 4, "granularity": "group"}, ["zero-point"]),
        ({"granularity": "group"}, ["8 bits", "fill the byte"]),
        ({"scheme": "ternary", "allocation": "mixed"}, ["mixed", "ternary"]),
        ({"weight_bits": 16}, ["activation_bits", "32", "no kernel"]),
        ({"layer_bits": "conv1=9"}, ["conv1=9", "LAYER=BITS"]),
        ({"layer_bits": "conv1"}, ["LAYER=BITS"]),
    ],
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else "",
)
def test_settings_that_do_not_go_together_say_why(values, words):
    with pytest.raises(InvalidSetting) as caught:
        Quantize(**values)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def mobile():
    return prepare(load_model("mobilenetv2", "digits"), load("digits"))


@pytest.mark.parametrize("bits", [8, 4])
def test_depthwise_networks_do_not_collapse(mobile, bits):
    """The file of a trained MobileNetV2 answers at most 2 of 359 images worse than the dense network."""
    graph, data = simulate(mobile, Recipe(steps=(Quantize(weight_bits=bits),))), mobile.data
    assert divergence(graph, mobile.calibration) < 0.003
    found = answers(export(graph, SHAPE).onnx, data.normalize(data.test.images)).argmax(1)
    dense = answers(mobile.baseline.onnx, data.normalize(data.test.images)).argmax(1)
    labels = data.test.labels.numpy()
    assert (found == labels).sum() >= (dense == labels).sum() - 2
