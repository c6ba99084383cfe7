"""Maps made larger or smaller, written as ONNX nodes that answer as PyTorch does.

ONNX's Resize means the same as PyTorch where lengths are given, or where the scale is their quotient. Another scale is
handed on as it is; where ONNX would round the lengths otherwise, and for averages over many places (antialias), each
axis is a product with the weights that PyTorch itself uses. Nearest places by other than whole factors are a list,
because they would depend on how a quotient is rounded.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from compression.export.context import Context, Translation
from compression.network.graph import operator_name

RESIZE: dict[str, dict[str, Any]] = {
    "nearest": {"nearest_mode": "floor"}, "linear": {}, "cubic": {"cubic_coeff_a": -0.75},
}  # fmt: skip
"""What PyTorch means by each mode, where ONNX has more than one meaning."""

MOST_WEIGHTS = 2**22
"""Of one axis that is resized by a product."""


def _nearest(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    (before, after, scales), value = _lengths(c, node, a), c.value(a["self"])
    if all(m % n == 0 and s in (None, m / n) for n, m, s in zip(before, after, scales, strict=True)):
        return _resize(c, value, "nearest", "asymmetric", before, after)
    for axis, (n, m, scale) in enumerate(zip(before, after, scales, strict=True), 2):
        places = _along_one_axis(node, torch.arange(n)[None, None].float(), m, (scale,))[0, 0].long()
        if n != m or not torch.equal(places, torch.arange(n)):
            value = c.writer.node("Gather", [value, c.whole(places.tolist())], axis=axis)
    return value


def _interpolated(mode: str) -> Translation:
    """Between places that lie evenly, or from corner to corner."""

    def write(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
        (before, after, scales), value = _lengths(c, node, a), c.value(a["self"])
        if a["align_corners"]:
            return _resize(c, value, mode, "align_corners", before, after)
        each = list(zip(before, after, scales, strict=True))
        if all(s is None or n * s == m for n, m, s in each):
            return _resize(c, value, mode, "half_pixel", before, after)
        kept = mode == "linear"  # PyTorch leaves an axis of the same length as it is there, whatever its scale
        asked = [np.float32(m / n if s is None or (kept and n == m) else s) for n, m, s in each]
        copied = not kept and any(n == m for n, m, _ in each)  # ONNX Runtime may look at no scale here
        if copied or [int(np.float32(n) * s) for n, s in zip(before, asked, strict=True)] != list(after):
            return _products(c, node, a)
        return _resize(c, value, mode, "half_pixel", before, np.array(asked))

    return write


def _resize(c: Context, value: str, mode: str, places: str, before: Sequence[int], target: Any) -> str:
    """`target`: the lengths of the last axes as whole numbers, or their scales as an array of floats.

    The attribute `axes` is not used: ONNX Runtime 1.32 misreads it in an 8-bit network whose maps it keeps
    channels-last.
    """
    scales = target if isinstance(target, np.ndarray) else np.array(target, np.float32) / np.array(before, np.float32)
    if scales is target or [int(np.float32(n) * s) for n, s in zip(before, scales, strict=True)] == list(target):
        reads = ["", c.writer.constant(np.concatenate([np.ones(2, np.float32), scales]))]
    else:
        front = c.writer.node("Shape", [value], start=0, end=2)
        reads = ["", "", c.writer.node("Concat", [front, c.whole(target)], axis=0)]
    return c.writer.node("Resize", [value, *reads], mode=mode, coordinate_transformation_mode=places, **RESIZE[mode])


def _products(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Each axis by the weights that PyTorch gives to its places.

    With antialias, PyTorch answers otherwise for maps of one column: it takes them for others in memory.
    """
    (before, after, scales), value = _lengths(c, node, a), c.value(a["self"])
    for axis, (n, m, scale) in enumerate(zip(before, after, scales, strict=True), 2):
        smooth = operator_name(node).endswith("_aa")
        if n * m > MOST_WEIGHTS or len(before) > 2 or (smooth and 1 in (before[-1], after[-1])):
            raise c.refusal(node, f"from {'×'.join(map(str, before))} to {'×'.join(map(str, after))}")
        weights = _along_one_axis(node, torch.eye(n)[None], m, (a["align_corners"], scale))[0].numpy()  # [n, m]
        if axis == len(before) + 1:
            value = c.writer.node("MatMul", [value, c.writer.constant(weights)])
        else:
            value = c.writer.node("MatMul", [c.writer.constant(np.ascontiguousarray(weights.T)), value])
    return value


def _along_one_axis(node: fx.Node, rows: torch.Tensor, length: int, settings: tuple[Any, ...]) -> torch.Tensor:
    """Rows [1, c, n] as PyTorch's operator resizes them, to [1, c, length]."""
    packet = node.target.overloadpacket  # type: ignore[union-attr]
    others = int(operator_name(node).removesuffix("_aa")[-2]) - 1  # …2d
    copies = rows.reshape(*rows.shape, *[1] * others).repeat(1, 1, 1, *[2] * others)
    return packet.default(copies, [length, *[2] * others], *settings)[(..., *[0] * others)]


def _lengths(c: Context, node: fx.Node, a: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], list[Any]]:
    """Lengths of the resized axes before and after, and the scales that were asked for (None: their quotient)."""
    a.setdefault("self", a.get("input"))
    before, after = c.shape(a["self"])[2:], c.shape(node)[2:]
    each = [a[key] for key in ("scales", "scales_d", "scales_h", "scales_w") if key in a]
    scales = list(a.get("scale_factors") or each or [None] * len(after))
    return before, after, scales


RESIZES: dict[str, Translation] = {
    "upsample_nearest1d": _nearest, "upsample_nearest2d": _nearest, "upsample_nearest3d": _nearest,
    "_upsample_nearest_exact1d": _nearest, "_upsample_nearest_exact2d": _nearest, "_upsample_nearest_exact3d": _nearest,
    "upsample_linear1d": _interpolated("linear"), "upsample_bilinear2d": _interpolated("linear"),
    "upsample_trilinear3d": _interpolated("linear"), "upsample_bicubic2d": _interpolated("cubic"),
    "_upsample_bilinear2d_aa": _products, "_upsample_bicubic2d_aa": _products,
}  # fmt: skip
