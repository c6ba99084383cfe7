"""Pools, written as ONNX nodes: what windows that slide over maps make of the numbers in them."""

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from compression.export.context import Context, Translation
from compression.network.graph import operator_name


def lengths(value: Any, rank: int) -> list[int]:
    """One number for each spatial dimension."""
    return [value] * rank if isinstance(value, int) else list(value) * (rank // len(value))


def _window(c: Context, node: fx.Node, a: dict[str, Any]) -> dict[str, Any]:
    """Kernel, strides and padding of a pool as ONNX's attributes.

    PyTorch rounds the number of windows up only where the last one begins inside the image or the padding before it.
    Its reach beyond the padding is written as padding, because ONNX Runtime counts windows in another way.
    """
    rank = int(operator_name(node)[-2])  # …_pool2d
    before, after = c.shape(a["self"])[2:], c.shape(node)[2:]
    if len(after) != rank or c.dtype(node) != torch.float32:
        raise c.refusal(node, f"of {len(after) + 2} dimensions of {c.dtype(node)}")
    kernel, pads = lengths(a["kernel_size"], rank), lengths(a["padding"], rank)
    strides = lengths(a["stride"], rank) if a["stride"] else kernel
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, lengths(a.get("dilation", 1), rank), strict=True)]
    exact = [(n + 2 * p - r) // s + 1 == m for n, m, p, r, s in zip(before, after, pads, reach, strides, strict=True)]
    needed = [s * (m - 1) + r - n - p for n, m, p, r, s in zip(before, after, pads, reach, strides, strict=True)]
    ends = [p if fits else more for p, fits, more in zip(pads, exact, needed, strict=True)]
    return {"kernel_shape": kernel, "strides": strides, "pads": [*pads, *ends], "ceil_mode": 0}


def _max_pool(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    window, value = _window(c, node, a), c.value(a["self"])
    rank = len(window["kernel_shape"])
    if any(pad >= kernel for pad, kernel in zip(window["pads"], window["kernel_shape"] * 2, strict=True)):
        value = _padded(c, value, window["pads"], -math.inf)  # ONNX Runtime pads by less than a kernel
        window["pads"] = [0] * (2 * rank)
    return c.writer.node("MaxPool", [value], **window, dilations=lengths(a["dilation"], rank))


def _avg_pool(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    """Padding counts as zeros where it is asked for; what lies beyond it never counts."""
    window, value = _window(c, node, a), c.value(a["self"])
    rank, pads, divisor = len(window["kernel_shape"]), window["pads"], a.get("divisor_override")
    begins, ends = pads[:rank], pads[rank:]
    counts = divisor is not None or (a["count_include_pad"] and any(begins))  # with none, it counts what lies beyond
    if counts and divisor is None and begins != ends:
        value = _padded(c, value, begins * 2, 0.0)
        window["pads"] = [0] * rank + [max(end - begin, 0) for begin, end in zip(begins, ends, strict=True)]
        counts = False
    mean = c.writer.node("AveragePool", [value], **window, count_include_pad=int(counts))
    if divisor is None:
        return mean
    return c.writer.node("Mul", [mean, c.value(math.prod(window["kernel_shape"]) / divisor)])


def _padded(c: Context, value: str, pads: list[int], number: float) -> str:
    rank = len(pads) // 2
    everywhere = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    return c.writer.node("Pad", [value, c.whole(everywhere), c.value(number)], mode="constant")


def _adaptive_avg_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    _check_maps(c, node, a)
    (height, width), (rows, columns) = c.shape(a["self"])[2:], c.shape(node)[2:]
    if not rows * columns:
        raise c.refusal(node, f"to {rows}×{columns}")
    if (rows, columns) == (1, 1):
        return c.writer.node("GlobalAveragePool", [c.value(a["self"])])
    if (rows, columns) == (height, width):
        return c.value(a["self"])
    if height % rows or width % columns:  # no operator has windows of different sizes
        over = c.writer.node("MatMul", [c.writer.constant(_means(height, rows)), c.value(a["self"])])
        return c.writer.node("MatMul", [over, c.writer.constant(_means(width, columns).T)])
    kernel = [height // rows, width // columns]
    return c.writer.node("AveragePool", [c.value(a["self"])], kernel_shape=kernel, strides=kernel)


def _means(length: int, count: int) -> np.ndarray:
    """The mean of each of `count` windows that cover `length` places as PyTorch lays them: [count, length]."""
    begin = np.arange(count) * length // count
    end = -(-(np.arange(count) + 1) * length // count)
    places = np.arange(length)
    inside = (places >= begin[:, None]) & (places < end[:, None])
    return (inside / (end - begin)[:, None]).astype(np.float32)


def _adaptive_avg_pool1d(c: Context, node: fx.Node, a: dict[str, Any]) -> str:
    before, after = c.shape(a["self"])[-1], c.shape(node)[-1]
    return c.writer.node("MatMul", [c.value(a["self"]), c.writer.constant(_means(before, after).T)])


def _adaptive_max_pool2d(c: Context, node: fx.Node, a: dict[str, Any]) -> list[str | None]:
    _check_maps(c, node, a)
    (height, width), (rows, columns) = c.shape(a["self"])[2:], lengths(a["output_size"], 2)
    if (rows, columns) == (1, 1):
        return [c.writer.node("GlobalMaxPool", [c.value(a["self"])]), None]
    if height % rows or width % columns:
        raise c.refusal(node, f"from {height}×{width} to {rows}×{columns}")
    kernel = [height // rows, width // columns]
    return [c.writer.node("MaxPool", [c.value(a["self"])], kernel_shape=kernel, strides=kernel), None]


def _check_maps(c: Context, node: fx.Node, a: dict[str, Any]) -> None:
    rank, dtype = len(c.shape(a["self"])), c.dtype(a["self"])
    if rank != 4 or dtype != torch.float32:
        raise c.refusal(node, f"of {rank} dimensions of {dtype}")


WINDOWS: dict[str, Translation] = {
    "max_pool1d": _max_pool, "max_pool2d": _max_pool, "avg_pool1d": _avg_pool, "avg_pool2d": _avg_pool,
    "avg_pool3d": _avg_pool, "adaptive_avg_pool1d": _adaptive_avg_pool1d, "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_max_pool2d": _adaptive_max_pool2d,
}  # fmt: skip
