"""Reasons why a file is not faster, each with its evidence and what to do instead."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from compression.host.onnx_runtime import optimized
from compression.records.analysis import Finding, Profile
from compression.records.measurement import LayerReport, Machine

INTEGER_KERNELS = {"QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"}
WEIGHT_ZERO_POINT = {"QLinearConv": 5, "QGemm": 5, "QLinearMatMul": 5}
"""Which input of an integer kernel is the weights' zero-point."""

LANES = 8
SPARSE = 0.05
OUTSIDE, SMALL = 0.15, 0.3


@dataclass(frozen=True)
class Subject:
    """All that findings are drawn from: the layers, the graph that ONNX Runtime runs, its profile and the machine."""

    layers: tuple[LayerReport, ...]
    graph: onnx.GraphProto
    machine: Machine
    profile: Profile | None
    threads: int

    @property
    def operators(self) -> Counter[str]:
        """How often each operator stands in the optimized graph."""
        return Counter(node.op_type for node in self.graph.node)

    @property
    def integer(self) -> int:
        """Number of 8-bit kernels that multiply weights."""
        return sum(count for name, count in self.operators.items() if name in INTEGER_KERNELS)


def diagnose(
    model: bytes,
    layers: Sequence[LayerReport],
    machine: Machine,
    *,
    profile: Profile | None = None,
    threads: int = 1,
) -> tuple[Finding, ...]:
    """The reasons that hold for this file on this machine; () where none is known.

    `layers` are the candidate's reports, `profile` is its own (without it, overhead is not judged), `threads` are those
    that its latency was measured with. Raises `InvalidFile` where ONNX Runtime does not accept the bytes.
    """
    subject = Subject(tuple(layers), optimized_graph(model, threads=threads), machine, profile, threads)
    return tuple(finding for reason in REASONS if (finding := reason(subject)) is not None)


def optimized_graph(model: bytes, *, threads: int = 1) -> onnx.GraphProto:
    """The graph that ONNX Runtime really runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        optimized(model, str(path), threads=threads)
        return onnx.load(path).graph


def _masked(s: Subject) -> Finding | None:
    sparse = [layer for layer in s.layers if layer.sparsity > SPARSE]
    if not sparse:
        return None
    zeros, weights = sum(round(x.sparsity * x.weights) for x in sparse), sum(x.weights for x in sparse)
    wasted = round(sum(x.sparsity * x.macs for x in sparse))
    return Finding(
        "masked sparsity",
        f"{zeros / weights:.0%} of the weights in {len(sparse)} layers are zero, and ONNX Runtime multiplies "
        "them like any others: it has no kernel for unstructured sparsity.",
        {
            "zero_weights": zeros,
            "layers": len(sparse),
            "macs_with_zeros": wasted,
            "macs": sum(x.macs for x in s.layers),
        },
        "Sparsity makes the file smaller, not faster. Remove whole channels."
        if s.integer
        else "Sparsity makes the file smaller, not faster. Remove whole channels, or use 8-bit activations, for lower"
        " latency.",
    )


def _weight_only(s: Subject) -> Finding | None:
    rounded = [layer for layer in s.layers if layer.bits < 32]
    if not rounded or s.integer or not _float_kernels(s):
        return None
    return Finding(
        "weight-only quantization",
        f"The weights of {len(rounded)} layers are stored in {_bits(rounded)} bits and converted to floats when "
        "the file is loaded: all computation is in fp32.",
        {"layers": len(rounded), "integer_kernels": 0, "float_kernels": _float_kernels(s)},
        "Set the activation bits to 8 to compute in integers.",
    )


def _no_vnni(s: Subject) -> Finding | None:
    if not s.integer or s.machine.vnni:
        return None
    return Finding(
        "no VNNI",
        f"{s.machine.cpu} has no instructions for 8-bit dot products (VNNI); {s.integer} kernels need several "
        "instructions instead.",
        {"cpu": s.machine.cpu, "integer_kernels": s.integer},
        "Measure on the target processor; on this one, removing channels saves more than reducing bits.",
    )


def _odd_channels(s: Subject) -> Finding | None:
    """Channels of images and the number of classes are not ours to choose: ends are left out."""
    odd = [
        (layer, sides)
        for i, layer in enumerate(s.layers)
        if (sides := _odd_sides(layer, i == 0, i == len(s.layers) - 1))
    ]
    if not odd:
        return None
    macs, named = sum(layer.macs for layer, _ in odd), {layer.name: sides for layer, sides in odd}
    return Finding(
        "odd channel counts",
        f"{len(odd)} layers have channel counts that {LANES} does not divide; kernels process {LANES} or 16 at a "
        "time, so the rest of a block is wasted.",
        {"layers": named, "share_of_macs": macs / max(1, sum(x.macs for x in s.layers))},
        f"Keep a multiple of {LANES} channels in every layer.",
    )


def _unfused(s: Subject) -> Finding | None:
    edges = _float_islands(s.graph) if s.integer else []
    if not edges:
        return None
    return Finding(
        "conversions left in the graph",
        f"ONNX Runtime converts between 8 bits and floats {len(edges)} times in the network, because the operators "
        f"in between have no 8-bit kernel or were not fused: {', '.join(_counted(edges))}.",
        {"nodes": edges, "share_of_time": _share(s, {"QuantizeLinear", "DequantizeLinear"})},
        "Choose a network whose activations are ReLU, ReLU6 or none; others are computed in fp32.",
    )


def _asymmetric(s: Subject) -> Finding | None:
    stored = {tensor.name: tensor for tensor in s.graph.initializer}
    shifted = [
        node.output[0]
        for node in s.graph.node
        if (place := WEIGHT_ZERO_POINT.get(node.op_type)) is not None
        and len(node.input) > place
        and node.input[place] in stored
        and np.any(numpy_helper.to_array(stored[node.input[place]]))
    ]
    if not shifted:
        return None
    return Finding(
        "asymmetric weights",
        f"The weights of {len(shifted)} kernels have non-zero zero points, which need a slower kernel that also "
        "sums its inputs.",
        {"nodes": shifted},
        "Quantize weights symmetrically (scheme linear), or asymmetrically with at most 7 bits, where zero points are "
        "folded into the codes.",
    )


def _overhead(s: Subject) -> Finding | None:
    p = s.profile
    if p is None or (p.outside_kernels < OUTSIDE and p.small_kernels < SMALL):
        return None
    calls = sum(operator.calls for operator in p.operators)
    return Finding(
        "overhead",
        f"For one image, {p.outside_kernels:.0%} of {p.run_ms:.3f} ms are outside the {calls} kernels, and "
        f"{p.small_kernels:.0%} of the kernel time is in kernels shorter than 10 µs: launching them "
        "takes as long as the computation.",
        {"outside_kernels": p.outside_kernels, "small_kernels": p.small_kernels, "run_ms": p.run_ms, "kernels": calls},
        "Use a larger batch, or a network with fewer layers; smaller layers hardly help.",
    )


def _threads(s: Subject) -> Finding | None:
    if s.threads > s.machine.cores:
        return Finding(
            "too many threads",
            f"The latency was measured with {s.threads} threads on {s.machine.cores} cores, so threads wait.",
            {"threads": s.threads, "cores": s.machine.cores},
            f"Measure with at most {s.machine.cores} threads.",
        )
    macs = sum(layer.macs for layer in s.layers)
    if s.threads > 1 and macs / s.threads < 1_000_000:
        return Finding(
            "too little work for the threads",
            f"{macs:,} MACs per image leave each of {s.threads} threads less than a million: "
            "distributing the work takes as long as doing it.",
            {"threads": s.threads, "macs": macs},
            "Measure with one thread, or use a larger batch.",
        )
    return None


REASONS: tuple[Callable[[Subject], Finding | None], ...] = (
    _masked, _weight_only, _no_vnni, _unfused, _asymmetric, _odd_channels, _overhead, _threads,
)  # fmt: skip


def _odd_sides(layer: LayerReport, first: bool, last: bool) -> tuple[int, ...]:
    """Those of (in, out) channels that the lanes do not divide. Depthwise layers have one channel a group: fine."""
    into, out = layer.shape[1], layer.shape[0]
    sides = [n for n, ours in ((into, not first and into > 1), (out, not last)) if ours and n % LANES]
    return tuple(sides)


def _float_islands(graph: onnx.GraphProto) -> list[str]:
    """Conversions that are neither of the image nor of the scores: 'DequantizeLinear before HardSwish'."""
    ends = {value.name for value in (*graph.input, *graph.output)}
    found = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] not in ends:
            found += [
                f"DequantizeLinear before {r.op_type}"
                for r in _readers(graph, node.output[0])
                if not _is_last(graph, r)
            ]
        elif node.op_type == "QuantizeLinear" and node.input[0] not in ends:
            found.append(f"QuantizeLinear after {_maker(graph, node.input[0])}")
    return found


def _maker(graph: onnx.GraphProto, name: str) -> str:
    """The operator that computes a value, before it is laid out differently."""
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers and makers[name].op_type in ("ReorderOutput", "Transpose"):
        name = makers[name].input[0]
    return makers[name].op_type if name in makers else "a constant"


def _readers(graph: onnx.GraphProto, name: str) -> list[NodeProto]:
    return [node for node in graph.node if name in node.input]


def _is_last(graph: onnx.GraphProto, node: NodeProto) -> bool:
    return any(value.name in node.output for value in graph.output)


def _counted(edges: Sequence[str]) -> list[str]:
    return [f"{count} × {edge}" for edge, count in Counter(edges).most_common()]


def _float_kernels(s: Subject) -> int:
    return sum(s.operators[name] for name in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"))


def _share(s: Subject, operators: set[str]) -> float | None:
    """Share of the kernels' time that these operators take; None without a profile."""
    if s.profile is None:
        return None
    return sum(found.share for found in s.profile.operators if found.operator in operators)


def _bits(layers: Sequence[LayerReport]) -> str:
    widths = sorted({layer.bits for layer in layers})
    return f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
