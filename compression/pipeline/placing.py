"""Where a network computes in integers on this machine: kernels are timed, the cheapest placement tried beside others.

Neighbouring operators that compute in different types need conversions between them. Where a network has operators
without an integer kernel among the others, all these borders can cost more than integers save.
"""

import copy
import hashlib
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from statistics import median

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from compression.export import export, with_node_names
from compression.host import placements
from compression.host.interruption import look
from compression.host.machine_lock import machine_lock
from compression.host.onnx_runtime import session
from compression.host.placements import EVERYWHERE, Placement
from compression.measure.profile import Kernel, kernels
from compression.network.graph import LAYERS, folded_norm, is_size, layers, module_of, operator_name, shapes
from compression.network.parametrizations import QUANTIZER, ActivationQuantizer, WeightQuantizer, attach
from compression.network.placement import (
    gives_floats_as_readily,
    has_integer_kernel,
    is_value,
    origin,
    place_,
    placeable,
)
from compression.network.quantized_values import clip_of, inside_a_kernel, kernel_of, passes, quantized_values
from compression.pipeline.candidate import Prepared, Progress
from compression.recipe import Recipe
from compression.solvers.placing import OUTSIDE, Flow, cheapest
from compression.steps import Quantize
from compression.steps.quantize import LIST_LENGTH
from compression.techniques.quantization.activations import insert_quantizers_

log = logging.getLogger(__name__)

FEW = 0.02
"""Of all numbers between a network's operators, the share that operators without integer kernels give or read: below
it, integers pay wherever there are kernels, and nothing is measured."""

BORDERS = {"few borders": 4.0, "more borders": 2.0}
"""Placements by cost, and what a border counts in them, in the time of its conversions alone. In whole networks caches
are cold, and kernels of floats have layouts of their own: on networks tried, four times was right more often than not.
"""

ROUNDS, SECONDS, WARM_UP = (9, 25), 5.0, 2
"""Fewest and most runs of each file that is tried, in turns; no more than the fewest after so many seconds."""

SLOWER = 0.98
"""A placement is taken instead of one before it in the list if it takes at most this share of its time."""

FOUND = "placement found"
"""Key of the `meta` of a graph whose placement is known."""

PROFILED = 20
"""Runs under ONNX Runtime's profiler."""


def placed(prepared: Prepared, recipe: Recipe, say: Progress) -> tuple[Recipe, Placement | None]:
    """The recipe with the integer operators listed in it that are the fastest for this network on this machine.

    And that placement, where the recipe leaves it to be measured.
    """
    step = next((step for step in recipe.steps if isinstance(step, Quantize)), None)
    if step is None or step.activation_bits == 32 or step.placement != "measured":
        return recipe, None
    found = placement_of(prepared, say)
    return recipe.placing(found.operators), found


def placement_of(prepared: Prepared, say: Progress) -> Placement:
    """What is kept about the network on this machine, or measured now and kept (seconds)."""
    graph, shape = prepared.dense, prepared.data.input_shape
    if FOUND not in graph.meta:
        graph.meta[FOUND] = _known_or_measured(graph, shape, prepared.baseline_session, say)
    return graph.meta[FOUND]


def _known_or_measured(
    graph: fx.GraphModule, shape: tuple[int, int, int], baseline: ort.InferenceSession, say: Progress
) -> Placement:
    if _islands(graph, shape) < FEW:
        return Placement(None, len(placeable(graph)), EVERYWHERE, {}, ort.__version__)
    key = _key(graph, shape)
    found = placements.known(key)
    if found is None or found.runtime != ort.__version__:
        say("Measuring integer and float operators", 0.1)
        found = measured(graph, shape, baseline)
        try:
            placements.save(key, found)
        except OSError as error:
            log.warning("the placement could not be kept: %s", error)
    return found


def measured(graph: fx.GraphModule, shape: tuple[int, int, int], baseline: ort.InferenceSession) -> Placement:
    """Tries the placements that may be the fastest on real files of this network, and names the best."""
    able = {node.name for node in placeable(graph)}
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    tried = _candidates(graph, shape, image, able)
    runners = {}
    for name, operators in tried.items():
        look()
        runners[name] = session(export(trial(graph, shape, operators), shape, packed=False).onnx)
    ratios = _ratios(runners, baseline, image)
    best = min(ratios, key=lambda name: ratios[name])
    ratios |= _ratios({name: runners[name] for name in dict.fromkeys((EVERYWHERE, "none", best))}, baseline, image)
    chosen = EVERYWHERE
    for name in (name for name in ratios if name in (EVERYWHERE, "none", best)):
        if ratios[name] < SLOWER * ratios[chosen]:
            chosen = name
    found = tried[chosen]
    listed = None if found is None else tuple(sorted(found))
    return Placement(listed, len(able), chosen, ratios, ort.__version__)


def _candidates(
    graph: fx.GraphModule, shape: tuple[int, int, int], image: np.ndarray, able: set[str]
) -> dict[str, frozenset[str] | None]:
    """Placements that differ, by name, the one to be preferred among equals first; those that a recipe can list."""
    costs, flows = kernel_costs(graph, shape, image, able)
    cut = {name: frozenset(cheapest(costs, _dearer(flows, dearness))) for name, dearness in BORDERS.items()}
    found: dict[str, frozenset[str] | None] = {EVERYWHERE: None, "none": frozenset()}
    for name, operators in {**cut, "all": frozenset(able)}.items():
        if operators not in found.values() and len(",".join(operators)) <= LIST_LENGTH:
            found[name] = operators
    return found


@torch.no_grad()
def trial(graph: fx.GraphModule, shape: tuple[int, int, int], operators: Collection[str] | None) -> fx.GraphModule:
    """A copy of the network in 8 bits, with the placement; its numbers are of no use, but take as long as real ones."""
    copied = copy.deepcopy(graph)
    for layer in layers(copied).values():
        attach(layer, WeightQuantizer(layer.weight.detach().flatten(1).abs().amax(1).clamp(min=1e-6) / 127, 8))
    if operators is not None:
        place_(copied, operators)
    carried = quantized_values(copied)
    owners = set(carried.values())
    quantizers = {node.name: _usual(node) for node in copied.graph.nodes if node.name in owners}
    insert_quantizers_(copied, carried, quantizers)
    return copied


def _usual(node: fx.Node) -> ActivationQuantizer:
    """Codes of a value that is never negative, or of one that is as often as not."""
    positive = clip_of(node) is not None or operator_name(node) in ("sigmoid", "hardsigmoid")
    return ActivationQuantizer(6 / 255, 0) if positive else ActivationQuantizer(8 / 255, 128)


def _ratios(
    runners: dict[str, ort.InferenceSession], baseline: ort.InferenceSession, image: np.ndarray
) -> dict[str, float]:
    """Medians of each file's time over the baseline's, in turns under the machine's lock, free between the turns."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    begin = time.perf_counter()
    for i in range(WARM_UP + ROUNDS[1]):
        if i >= WARM_UP + ROUNDS[0] and time.perf_counter() - begin > SECONDS:
            break
        look()
        with machine_lock():
            base = _time(baseline, image)
            taken = {name: _time(runner, image) / base for name, runner in runners.items()}
        if i >= WARM_UP:
            for name, ratio in taken.items():
                times[name].append(ratio)
    return {name: median(found) for name, found in times.items()}


def _time(runner: ort.InferenceSession, image: np.ndarray) -> float:
    feed, begin = {runner.get_inputs()[0].name: image}, time.perf_counter()
    runner.run(None, feed)
    return time.perf_counter() - begin


def _islands(graph: fx.GraphModule, shape: tuple[int, int, int]) -> float:
    """The share of numbers that operators without an integer kernel give, or read, among those of all values."""
    known, total, without = shapes(graph, shape), 0, 0
    for node in graph.graph.nodes:
        if not is_value(node) or node.name not in known:
            continue
        size = int(np.prod(known[node.name]))
        total += size
        if not _stays(graph, node):
            without += size
    return without / total if total else 0.0


def _stays(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value's codes go on as codes through `node` by the rule for networks without a placement."""
    if node.op == "placeholder" or passes(graph, node) or has_integer_kernel(node) or clip_of(node) is not None:
        return True
    module = module_of(graph, node)
    if isinstance(module, LAYERS):
        return True
    source = node.args[0] if node.args else None
    return isinstance(module, nn.BatchNorm2d) and isinstance(source, fx.Node) and folded_norm(graph, source) is module


def kernel_costs(
    graph: fx.GraphModule, shape: tuple[int, int, int], image: np.ndarray, able: set[str]
) -> tuple[dict[str, tuple[float, float]], list[Flow]]:
    """Milliseconds of each operator in integers and in floats, and of each value's conversions."""
    heads = kernel_heads(graph)
    integer = _by_operator(with_node_names(trial(graph, shape, able), shape), image, heads)
    floats = _by_operator(with_node_names(graph, shape), image, heads)
    costs = {name: (integer.get(name, 0.0), floats.get(name, 0.0)) for name in able}
    return costs, list(_flows(graph, shapes(graph, shape), able))


def kernel_heads(graph: fx.GraphModule) -> dict[str, str]:
    """By name of each node, that of the node whose kernel computes it too."""
    return {node.name: kernel_of(graph, _end(graph, node)).name for node in graph.graph.nodes}


def _end(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The last node of the kernel that `node` lies in."""
    while inside_a_kernel(graph, node):
        node = next(iter(node.users))
    return node


def _by_operator(model: bytes, image: np.ndarray, heads: dict[str, str]) -> dict[str, float]:
    """Milliseconds by the operator whose kernels take them; conversions and changes of layout belong to none."""
    found: dict[str, float] = {}
    for kernel in kernels(model, image, runs=PROFILED):
        if kernel.operator in CONVERSIONS:
            continue
        head = head_of(kernel, heads)
        found[head] = found.get(head, 0.0) + kernel.ms
    return found


def head_of(kernel: Kernel, heads: dict[str, str]) -> str:
    """The node whose time a kernel of a file `with_node_names` takes; heads: those of `kernel_heads`."""
    node = origin(kernel.name.removeprefix(FUSED).split("/")[0].removeprefix(QUANTIZER))
    return heads.get(node, node)


FUSED = "fused "
"""What ONNX Runtime puts before the name of a Gemm that takes in the activation after it."""


CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput"}
"""Kernels that a border between the types costs: conversions, and changes of layout, which the types have their own."""


@cache
def _conversion_ms() -> tuple[float, float]:
    """Milliseconds for each number that goes into codes, and out of them, on this machine; layouts change too."""
    shape = (1, 32, 56, 56)
    stored: dict[str, np.ndarray] = {"s": np.array(0.1, np.float32), "z": np.array(128, np.uint8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["codes"]),
        helper.make_node("Transpose", ["codes"], ["moved"], perm=[0, 2, 3, 1]),
        helper.make_node("DequantizeLinear", ["moved", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", shape), ("y", None))]
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    file = helper.make_model(
        helper.make_graph(nodes, "conversions", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=8,
    )  # fmt: skip
    taken = {kernel.operator: kernel.ms for kernel in kernels(file.SerializeToString(), np.zeros(shape, np.float32))}
    each = {name: ms / np.prod(shape) for name, ms in taken.items()}
    layout = each["Transpose"]
    return float(each["QuantizeLinear"] + layout), float(each["DequantizeLinear"] + layout)


def _flows(graph: fx.GraphModule, known: dict[str, tuple[int, ...]], able: set[str]) -> Iterator[Flow]:
    """Each value that goes from one kernel to others, by the operators that give and read it."""
    heads = {node: kernel_of(graph, _end(graph, node)).name for node in graph.graph.nodes}
    into, out_of = _conversion_ms()

    def domain(node: fx.Node) -> str | None:
        name = heads[node]
        return name if name in able or passes(graph, node) else OUTSIDE

    for node in graph.graph.nodes:
        if not is_value(node) or node.name not in known or inside_a_kernel(graph, node) or is_size(node):
            continue
        size = int(np.prod(known[node.name]))
        giver = OUTSIDE if gives_floats_as_readily(module_of(graph, node)) else domain(node)
        readers = tuple({domain(reader) for reader in node.users})
        yield Flow(giver, readers, into * size, out_of * size)


def _dearer(flows: list[Flow], factor: float) -> list[Flow]:
    return [replace(flow, into=flow.into * factor, out_of=flow.out_of * factor) for flow in flows]


def _key(graph: fx.GraphModule, shape: tuple[int, int, int]) -> str:
    """Hex digits over what the times depend on: the operators, their sizes, the images' size."""
    sizes = [f"{name} {tuple(tensor.shape)}" for name, tensor in graph.state_dict().items()]
    return hashlib.sha256(f"{graph} {shape} {sizes}".encode()).hexdigest()
