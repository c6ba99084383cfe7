"""Where networks compute in integers: the rule for a placement, what a file computes, how the placement is found."""

import collections
import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression.data import load
from compression.errors import Cancelled, InvalidSetting
from compression.export import export, with_node_names
from compression.host import placements
from compression.host.interruption import interruptible
from compression.host.onnx_runtime import optimized, session
from compression.lessons import own
from compression.measure.profile import kernels
from compression.network.parametrizations import HardSigmoidQuantizer
from compression.network.placement import PLACEMENT, place_, placeable
from compression.network.quantized_values import quantized_values
from compression.network.tracing import trace
from compression.pipeline import placing
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.solvers.placing import OUTSIDE, Flow, cheapest
from compression.steps import Factorize, Quantize

SHAPE = (1, 8, 8)


class Gated(nn.Module):
    """Gates of both kinds, squeeze-and-excite, a leaky one, and GELU, which has no integer kernel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.squeeze, self.excite, self.last = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.first(x))
        x = nn.functional.hardswish(self.second(x))
        x = x * nn.functional.hardsigmoid(self.excite(nn.functional.leaky_relu(self.squeeze(x.mean((2, 3), True)))))
        x = nn.functional.gelu(self.third(x))
        return self.last(x.mean((2, 3)))


@pytest.fixture(scope="module")
def prepared():
    return prepare(Gated().eval(), load("digits"), calibration_images=64)


def test_a_placement_names_the_operators_that_compute_on_codes():
    graph = trace(Gated().eval(), SHAPE)
    able = {node.name for node in placeable(graph)}
    assert {
        "first",
        "silu",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "mul",
        "adaptive_avg_pool2d_default",
        "last",
    } <= able
    assert not any("gelu" in name for name in able)
    place_(graph, {"silu", "third", "no such operator"})
    assert {"silu_gate", "silu_product", "third"} <= graph.meta[PLACEMENT]
    carried = set(quantized_values(graph))
    assert {"first", "silu_gate", "silu_product", "hardswish", "mul", "third"} >= carried >= {"first", "mul", "third"}
    assert "second" not in carried and "x" not in carried  # nobody reads or gives them as codes


def operators(model: bytes, tmp_path) -> collections.Counter:
    optimized(model, str(tmp_path / "optimized.onnx"))
    return collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)


def test_all_operators_placed_in_integers_run_as_integer_kernels(prepared, tmp_path):
    able = tuple(node.name for node in placeable(prepared.dense))
    recipe = Recipe(steps=(Quantize(),), quality="fast").placing(able)
    found = operators(compress_prepared(prepared, recipe).onnx, tmp_path)
    assert found["QLinearConv"] == 5 and found["QLinearSigmoid"] == 1 and found["QLinearLeakyRelu"] == 1
    assert found["QLinearMul"] == 5  # two gates' products, two hard sigmoids, squeeze-and-excite
    assert found["QLinearGlobalAveragePool"] == 2
    assert not {"Conv", "FusedConv", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "ReduceMean"} & set(found)


def test_layers_of_a_product_are_placed_as_the_layer_was(prepared, tmp_path):
    able = tuple(node.name for node in placeable(prepared.dense))
    steps = (Factorize(amount=0.5, round_to=1), Quantize())
    made = compress_prepared(prepared, Recipe(steps=steps, quality="fast").placing(able))
    assert any(layer.name.endswith("_first") for layer in made.layers)
    found = operators(made.onnx, tmp_path)
    assert found["QLinearConv"] > 5 and not {"Conv", "FusedConv"} & set(found)


def test_no_operator_placed_in_integers_leaves_a_network_of_floats(prepared, tmp_path):
    recipe = Recipe(steps=(Quantize(),), quality="fast").placing(())
    found = operators(compress_prepared(prepared, recipe).onnx, tmp_path)
    assert not any(name.startswith("QLinear") or "quantizeLinear" in name for name in found), found


@pytest.mark.parametrize("names", ["all", "some", "everywhere"])
def test_file_and_simulation_agree(prepared, names):
    able = [node.name for node in placeable(prepared.dense)]
    listed = {"all": tuple(able), "some": tuple(able[1::2]), "everywhere": None}[names]
    recipe = Recipe(steps=(Quantize(),), quality="fast").placing(listed)
    graph = simulate(prepared, recipe)
    images = prepared.data.normalize(prepared.data.test.images[:200])
    runner = session(export(graph, SHAPE).onnx)
    with torch.inference_mode():
        wanted = graph(images).numpy()
    found = runner.run(None, {"image": images.numpy()})[0]
    dense = prepared.baseline_session.run(None, {"image": images.numpy()})[0]
    noise = np.abs(wanted - dense).mean()
    assert np.abs(found - wanted).mean() <= 0.35 * noise
    assert (found.argmax(1) == wanted.argmax(1)).mean() >= 0.98


def test_a_hard_sigmoid_on_codes_is_one_to_half_a_code():
    x = torch.linspace(-6, 6, 4001)
    wanted = nn.functional.hardsigmoid(x)
    assert float((HardSigmoidQuantizer()(x) - wanted).abs().max()) <= 1 / 256 + 1e-6
    assert float(HardSigmoidQuantizer()(torch.zeros(1))) == 0.5


def test_kernels_are_named_by_the_operators_of_the_graph():
    graph = trace(Gated().eval(), SHAPE)
    found = {
        kernel.name.split("/")[0]
        for kernel in kernels(with_node_names(graph, SHAPE), np.zeros((1, *SHAPE), np.float32), runs=2)
    }
    names = {node.name for node in graph.graph.nodes}
    assert len(found & names) >= 8


def test_a_fused_gemm_is_its_layers_kernel():
    graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).eval(), (1, 8, 8))
    heads, targets = placing.kernel_heads(graph), {node.name: node.target for node in graph.graph.nodes}
    found = kernels(with_node_names(graph, (1, 8, 8)), np.zeros((1, 1, 8, 8), np.float32), runs=2)
    fused = [targets[placing.head_of(kernel, heads)] for kernel in found if kernel.operator == "FusedGemm"]
    assert fused == ["1"]


def test_what_is_measured_is_kept_told_and_can_be_spelled_out(prepared, monkeypatch):
    monkeypatch.setattr(placing, "FEW", 0.0)
    prepared.dense.meta.pop(placing.FOUND, None)
    recipe = Recipe(steps=(Quantize(),), quality="fast")
    candidate = compress_prepared(prepared, recipe)
    found = placing.placement_of(prepared, print)
    assert set(found.ratios) >= {"everywhere", "all", "none"} and min(found.ratios.values()) > 0
    assert found.operators is None or found.operators == tuple(sorted(found.operators))
    (reached,) = (each for each in candidate.reached if each.step == "quantize")
    assert reached.note == found.told and f"of {found.of} operators" in reached.note
    spelled = recipe.as_made(candidate.reached)
    assert spelled != recipe
    assert compress_prepared(prepared, spelled).onnx == candidate.onnx

    prepared.dense.meta.pop(placing.FOUND)
    monkeypatch.setattr(placing, "measured", None)  # what is kept is read
    assert placing.placement_of(prepared, print) == found


@pytest.mark.parametrize(
    ("ratios", "chosen"),
    [
        ({"everywhere": 0.60, "few borders": 0.59, "none": 1.0}, "everywhere"),  # hardly faster, no reason to change
        ({"everywhere": 1.90, "few borders": 0.93, "all": 1.8, "none": 1.0}, "few borders"),
        ({"everywhere": 1.30, "few borders": 1.2, "all": 1.1, "none": 1.0}, "none"),
    ],
)
def test_the_fastest_that_was_tried_is_taken(prepared, monkeypatch, ratios, chosen):
    monkeypatch.setattr(placing, "_ratios", lambda runners, *_: {name: ratios.get(name, 2.0) for name in runners})
    monkeypatch.setattr(placing, "cheapest", lambda costs, flows: {"second", "mul"})
    found = placing.measured(prepared.dense, SHAPE, prepared.baseline_session)
    assert found.chosen == chosen and found.ratios["none"] == 1.0
    assert found.operators == {"everywhere": None, "few borders": ("mul", "second"), "none": ()}[chosen]


def test_a_deep_network_with_long_names_can_be_spelled_out():
    names = tuple(f"stages_{i}_blocks_token_mixer_reparametrized_convolution" for i in range(2_000))
    recipe = Recipe(steps=(Quantize(),)).placing(names)
    assert Recipe.from_yaml(recipe.to_yaml()).get("quantize").placed == set(names)


def test_a_list_that_no_recipe_could_hold_is_not_tried(prepared, monkeypatch):
    monkeypatch.setattr(placing, "LIST_LENGTH", 5)
    assert set(placing.measured(prepared.dense, SHAPE, prepared.baseline_session).ratios) <= {"everywhere", "none"}
    with pytest.raises(InvalidSetting, match="must be text of at most 150,000 characters"):
        Quantize(placement="listed", integer_operators="x" * 150_001)


def test_placing_ends_when_it_is_not_wanted_any_more(prepared):
    with interruptible(lambda: True), pytest.raises(Cancelled):
        placing.measured(prepared.dense, SHAPE, prepared.baseline_session)


def test_what_cannot_be_read_is_measured_again(prepared, monkeypatch):
    monkeypatch.setattr(placing, "FEW", 0.0)
    key = placing._key(prepared.dense, SHAPE)
    placements.save(key, placing.measured(prepared.dense, SHAPE, prepared.baseline_session))
    assert placements.known(key) is not None
    for text in ("", "[]", "{}", '{"operators": 3}', "\0"):
        placements._path(key).write_text(text)
        assert placements.known(key) is None


def test_networks_without_islands_are_not_measured():
    plain = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10)
    )
    graph = trace(plain.eval(), SHAPE)
    assert placing._islands(graph, SHAPE) == 0
    assert placing._islands(trace(Gated().eval(), SHAPE), SHAPE) > placing.FEW


costs_of = st.tuples(st.integers(0, 9), st.integers(0, 9))


@st.composite
def problems(draw):
    names = [f"o{i}" for i in range(draw(st.integers(1, 7)))]
    flows = []
    for i, giver in enumerate([OUTSIDE, *names]):
        readers = draw(st.sets(st.sampled_from([OUTSIDE, *names[i:]]), min_size=1))
        flows.append(Flow(giver, tuple(readers), draw(st.integers(0, 9)), draw(st.integers(0, 9))))
    return {name: draw(costs_of) for name in names}, flows


def cost_of(inside: set, costs: dict, flows: list) -> float:
    total = sum(first if name in inside else second for name, (first, second) in costs.items())
    for flow in flows:
        given = flow.giver in inside
        read = {reader in inside for reader in flow.readers}
        total += (flow.out_of if given and False in read else 0) + (flow.into if not given and True in read else 0)
    return total


@given(problems())
@settings(max_examples=150)
def test_the_cut_is_the_cheapest_of_all_placements(problem):
    costs, flows = problem
    everything = [set(chosen) for n in range(len(costs) + 1) for chosen in itertools.combinations(costs, n)]
    best = min(cost_of(inside, costs, flows) for inside in everything)
    assert cost_of(cheapest(costs, flows), costs, flows) == best


def test_fractions_of_milliseconds_are_cut_alike_whatever_the_names() -> None:
    """Times that were measured, as lesson 9 shows them: what is rounded in their sums depends on the order of names."""
    found = []
    for other in range(30):
        costs = {f"{other} {each.name}": (each.integer_ms, each.float_ms) for each in own._operators()}
        flows = [
            replace(flow, giver=f"{other} {flow.giver}" if flow.giver else OUTSIDE,
                    readers=tuple(f"{other} {each}" if each else OUTSIDE for each in flow.readers))
            for flow in own._flows()
        ]  # fmt: skip
        found.append(cost_of(cheapest(costs, flows), costs, flows))
    assert max(found) - min(found) < 1e-7
