"""Lesson 8: order, calibration, hardware, and choosing for a device."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.lessons import forward, measured, networks
from compression.lessons.curves import Bars
from compression.lessons.images import fashion
from compression.lessons.measured import Row
from compression.lessons.networks import RESNET
from compression.lessons.pruning import mask, output_error
from compression.lessons.quantization import CLIPS, nearest

LAYER = "6.conv1"
STRIDE = 2
LIMIT = 2**15 - 1
WEIGHT_BITS = (8, 7, 6)


@dataclass(frozen=True)
class Budget:
    """What a device allows: KB of the file, time over the fp32 file's, points of accuracy lost (as a share)."""

    kilobytes: float
    ratio: float
    drop: float


@dataclass(frozen=True)
class Choice:
    """The rows within a budget, and the most accurate of them (the smaller file on a tie), or None."""

    fitting: tuple[Row, ...]
    best: Row | None


@dataclass(frozen=True)
class Saturation:
    """Pairs of byte × signed-byte products summed in 16 bits: the share that overflows, the output's error by it."""

    bits: int
    share: float
    error: float


@lru_cache(maxsize=64)
def orders(sparsity: float, bits: int) -> Bars:
    """Output error of one layer when it is pruned and then rounded, or rounded and then pruned, without a refit."""
    weight = networks.layer(*RESNET, LAYER).weight
    kept = mask(weight, sparsity, "weights")
    pruned_first = np.where(kept, _rounded(weight, bits, kept), 0)
    rounded = _rounded(weight, bits, np.ones_like(kept))
    rounded_first = rounded * mask(rounded, sparsity, "weights")
    return Bars(
        "Output error", ("Prune, then round", "Round, then prune"),
        np.array([output_error(LAYER, pruned_first), output_error(LAYER, rounded_first)]),
    )  # fmt: skip


@lru_cache(maxsize=1)
def saturation() -> tuple[Saturation, ...]:
    """What a processor without VNNI does to the layer: neighbouring products are added in 16 bits, maybe too few.

    Inputs are bytes from the largest value seen, on real images; the sums of pairs stop at ±32,767.
    """
    return tuple(_saturated(bits) for bits in WEIGHT_BITS)


def choose(budget: Budget) -> Choice:
    """The measured rows that keep the budget; a row without a measured time keeps no bound on time below 2."""
    fitting = tuple(row for row in measured.rows("axes") if row.measurement and _fits(row, budget))
    best = max(fitting, key=lambda row: (row.accuracy, -row.measurement.size_bytes), default=None)  # type: ignore[union-attr]
    return Choice(fitting, best)


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    first, second = orders(0.7, 2).values
    overflow = {found.bits: found for found in saturation()}
    return {
        "prune_first": float(first),
        "round_first": float(second),
        "limit": LIMIT,
        "pair": 2 * 255 * 127,
        "overflow_8": overflow[8].share,
        "few_images": measured.row("calibration", "16 images").accuracy,
        "many_images": measured.row("calibration", "1024 images").accuracy,
        "kept_norm": measured.row("batch-norm", "90% sparsity, statistics kept").accuracy,
        "new_norm": measured.row("batch-norm", "90% sparsity, re-estimated").accuracy,
        "float_latency": measured.row("axes", "4 bits, float activations").latency_ratio,
        "byte_latency": measured.row("axes", "4 bits").latency_ratio,
        "both_accuracy": measured.row("axes", "80% sparsity and 4 bits").accuracy,
        "both_latency": measured.row("axes", "80% sparsity and 4 bits").latency_ratio,
    }


def _fits(row: Row, budget: Budget) -> bool:
    found = row.measurement
    assert found is not None
    ratio = found.latency.ratio if found.latency else 2.0
    return found.size_bytes <= 1000 * budget.kilobytes and ratio <= budget.ratio and found.accuracy.drop <= budget.drop


def _rounded(weight: np.ndarray, bits: int, counted: np.ndarray) -> np.ndarray:
    """Rounded filter by filter to the symmetric grid with the least squared error over the counted weights."""
    top = 2 ** (bits - 1) - 1
    found = np.empty_like(weight)
    for row, counts, new in zip(weight, counted, found, strict=True):
        end = float(np.abs(row).max())
        grids = [clip * end / top * np.arange(-top, top + 1) for clip in CLIPS[::3]]
        errors = [np.square(nearest(row[counts], grid) - row[counts]).sum() if counts.any() else 0.0 for grid in grids]
        new[:] = nearest(row, grids[int(np.argmin(errors))])
    return found


def _saturated(bits: int) -> Saturation:
    weight = networks.layer(*RESNET, LAYER).weight
    seen = forward.run("resnet20", networks.weights(*RESNET), fashion().inputs[:4], (LAYER,)).seen[LAYER].inputs
    x = forward.patches(seen, 3, stride=STRIDE, padding=1).reshape(-1, weight[0].size)[::8]  # [n, d]
    codes = np.round(x * (255 / seen.max())).astype(np.int32)
    rows = weight.reshape(len(weight), -1)
    top = 2 ** (bits - 1) - 1
    w = np.round(rows * (top / np.abs(rows).max(1, keepdims=True))).astype(np.int32)  # [out, d]
    pairs = codes[:, None, 0::2] * w[:, 0::2] + codes[:, None, 1::2] * w[:, 1::2]  # [n, out, d/2]
    exact, stopped = pairs.sum(2), np.clip(pairs, -LIMIT - 1, LIMIT).sum(2)
    error = float(np.square((stopped - exact).astype(float)).sum() / np.square(exact.astype(float)).sum())
    return Saturation(bits, float((np.abs(pairs) > LIMIT).mean()), error)
