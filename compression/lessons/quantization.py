"""Lesson 3: grids for weights and activations, what they cost, and one convolution in whole numbers."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.language import N_
from compression.lessons import forward, measured, networks
from compression.lessons.curves import Bars, Line
from compression.lessons.images import fashion
from compression.lessons.networks import RESNET

LAYERS = ("3.conv1", "6.conv1", "11.conv2", "14")
STUDIED = "3.conv1"
SCHEMES = {
    "symmetric": "Linear, symmetric",
    "asymmetric": "Linear, asymmetric",
    "logarithmic": "Powers of two",
    "ternary": N_("Ternary"),
    "binary": N_("Binary"),
}
CLIPS = np.linspace(0.1, 1.0, 46)
COUNTS = (1, 2, 5, 10, 20)
OUTLIER = 10.0


@dataclass(frozen=True, eq=False)
class NumberLine:
    """Weights [n], the grid's levels [m] and each weight's rounding error; shares and powers over all of them.

    `clipped` is the share of the weights beyond the ends of the grid, `sqnr_db` the signal-to-noise ratio.
    """

    weights: np.ndarray
    levels: np.ndarray
    errors: np.ndarray
    clipped: float
    sqnr_db: float


@dataclass(frozen=True)
class Convolution:
    """One output of the first convolution, in whole numbers.

    pixels [3, 3] uint8 codes with zero point `zero` and scale `pixel_scale`; weights [3, 3] int8 codes with
    `weight_scale`; products [3, 3] and their sum as int32; `result` is the sum times both scales, `exact` in float.
    """

    pixels: np.ndarray
    zero: int
    pixel_scale: float
    weights: np.ndarray
    weight_scale: float
    products: np.ndarray
    total: int
    result: float
    exact: float


def title(name: str) -> str:
    """The layer in words."""
    return networks.layer(*RESNET, name).title


def levels(w: np.ndarray, bits: int, scheme: str, clip: float = 1.0) -> np.ndarray:
    """The values that weights w may take, ascending; `clip` shortens the range to that share of its largest end.

    symmetric: s·{-top … top}, top = 2^(b-1) - 1, s = clip·max|w| / top (Nagel et al. 2021, section 2.2).
    asymmetric: s·{0 … 2^b - 1} shifted by a whole zero point, from clip·min to clip·max (ibid.).
    logarithmic: 0 and ±clip·max|w|·2^-k for k = 0 … 2^(b-1) - 2 (Miyashita et al. 2016).
    ternary: ±a and 0 with the threshold 0.7·mean|w| (Li et al. 2016, version 2).
    binary: ±mean|w| (Rastegari et al. 2016).
    """
    top = clip * float(np.abs(w).max())
    if scheme == "symmetric":
        codes = np.arange(-(2 ** (bits - 1) - 1), 2 ** (bits - 1))
        return top / max(codes.max(), 1) * codes
    if scheme == "asymmetric":
        low, high = clip * min(float(w.min()), 0.0), clip * max(float(w.max()), 0.0)
        scale = (high - low) / (2**bits - 1)
        return scale * (np.arange(2**bits) - round(-low / scale))
    if scheme == "logarithmic":
        powers = top * 2.0 ** -np.arange(2 ** (bits - 1) - 1)
        return np.concatenate([-powers, [0.0], powers[::-1]])
    if scheme == "ternary":
        large = np.abs(w)[np.abs(w) > 0.7 * np.abs(w).mean()]
        return float(large.mean()) * np.array([-1.0, 0.0, 1.0])
    return float(np.abs(w).mean()) * np.array([-1.0, 1.0])


def nearest(w: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Each weight to the nearest level of the ascending `grid`."""
    middles = (grid[1:] + grid[:-1]) / 2
    return grid[np.searchsorted(middles, w)]


def sqnr_db(w: np.ndarray, rounded: np.ndarray) -> float:
    """10·log10(Σ w² / Σ (w' - w)²)."""
    return float(10 * np.log10(np.square(w).sum() / max(np.square(rounded - w).sum(), 1e-30)))


@lru_cache(maxsize=128)
def number_line(name: str, bits: int, scheme: str, clip: float) -> NumberLine:
    """All weights of a layer on one grid."""
    w = weights_of(name).ravel()
    grid = levels(w, bits, scheme, clip)
    rounded = nearest(w, grid)
    beyond = float(((w < grid[0] - 1e-9) | (w > grid[-1] + 1e-9)).mean())
    return NumberLine(w, grid, rounded - w, beyond, sqnr_db(w, rounded))


@lru_cache(maxsize=64)
def clip_curve(name: str, bits: int) -> tuple[Line, ...]:
    """Squared error over the weights' power by the end of a symmetric grid: from rounding, from clipping, the sum."""
    w = weights_of(name).ravel()
    power, tops = np.square(w).sum(), CLIPS[:, None] * np.abs(w).max()  # [clips, 1]
    error, outside = np.square(on_symmetric_grid(w, tops, bits) - w), np.abs(w) > tops  # [clips, n]
    parts = np.stack([np.where(outside, 0, error).sum(1), np.where(outside, error, 0).sum(1)]) / power
    return (
        Line(N_("Rounding"), CLIPS, parts[0]),
        Line(N_("Clipping"), CLIPS, parts[1]),
        Line(N_("Together"), CLIPS, parts.sum(0)),
    )


@lru_cache(maxsize=64)
def best_clip(name: str, bits: int) -> float:
    """The end of the grid, as a share of the largest magnitude, with the least squared error."""
    together = clip_curve(name, bits)[2]
    return float(together.x[together.y.argmin()])


@lru_cache(maxsize=64)
def granularity(name: str, bits: int) -> Bars:
    """Signal-to-noise ratio with one scale for the tensor or one for each output channel, min-max or best."""
    w = weights_of(name)
    rows = w.reshape(len(w), -1)  # [out, d]
    return Bars(
        "Signal to noise, dB",
        ("Tensor, largest weight", "Tensor, least error", "Channel, largest weight", "Channel, least error"),
        np.array([
            sqnr_db(w, nearest(w, levels(w, bits, "symmetric"))),
            sqnr_db(w, nearest(w, levels(w, bits, "symmetric", best_clip(name, bits)))),
            sqnr_db(rows, on_symmetric_grid(rows, np.abs(rows).max(1, keepdims=True), bits)),
            sqnr_db(rows, np.stack([_best(row, bits) for row in rows])),
        ]),
    )  # fmt: skip


@lru_cache(maxsize=64)
def ranges(percentile: float) -> tuple[Line, Line]:
    """Upper end of a layer's input by how many images were looked at: the largest value, and a percentile."""
    seen = studied_inputs()
    found = [seen[:count].ravel() for count in COUNTS]
    return (
        Line("Largest value", np.array(COUNTS), np.array([float(x.max()) for x in found])),
        Line(f"{percentile:g}% of them", np.array(COUNTS), np.array([np.percentile(x, percentile) for x in found])),
    )  # fmt: skip


@lru_cache(maxsize=64)
def outlier(times: float) -> float:
    """Signal-to-noise ratio in dB of the layer's input in 8 bits when one planted value is `times` its largest."""
    x = studied_inputs().ravel().astype(np.float64)
    scale = times * x.max() / 255
    return sqnr_db(x, np.round(x / scale).clip(0, 255) * scale)


@lru_cache(maxsize=256)
def convolution(image: int, channel: int, row: int, column: int) -> Convolution:
    """One output pixel of one channel of the network's first layer."""
    x = fashion().inputs[image]
    low, high = float(x.min()), float(x.max())
    scale = (high - low) / 255
    zero = round(-low / scale)
    kernel = networks.weights(*RESNET)["0.weight"][channel, 0]
    weight_scale = float(np.abs(kernel).max()) / 127
    padded = np.pad(x[0], 1)
    patch = padded[row : row + 3, column : column + 3]
    pixels = np.round(patch / scale + zero).clip(0, 255).astype(np.uint8)
    weights = np.round(kernel / weight_scale).astype(np.int8)
    products = (pixels.astype(np.int32) - zero) * weights.astype(np.int32)
    total = int(products.sum())
    return Convolution(
        pixels, zero, scale, weights, weight_scale, products, total, total * scale * weight_scale,
        float((patch * kernel).sum()),
    )  # fmt: skip


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    w = weights_of(STUDIED)
    coarse = granularity(STUDIED, 4).values
    return {
        "weights": w.size,
        "bit_db": number_line(STUDIED, 8, "symmetric", 1.0).sqnr_db - number_line(STUDIED, 7, "symmetric", 1.0).sqnr_db,
        "clip_8": best_clip(STUDIED, 8),
        "clip_3": best_clip(STUDIED, 3),
        "tensor_db": float(coarse[0]),
        "channel_db": float(coarse[2]),
        "best_db": float(coarse[3]),
        "plain_db": outlier(1.0),
        "outlier_db": outlier(OUTLIER),
        "outlier_bits": float((outlier(1.0) - outlier(OUTLIER)) / (20 * np.log10(2))),
        "products": w[0].size,
        "largest_sum": w[0].size * 255 * 127,
        "sum_bits": int(np.ceil(np.log2(w[0].size * 255 * 127))),
        "log_db": number_line(STUDIED, 4, "logarithmic", 1.0).sqnr_db,
        "linear_db": number_line(STUDIED, 4, "symmetric", 1.0).sqnr_db,
        "log_8_db": number_line(STUDIED, 8, "logarithmic", 1.0).sqnr_db,
        "best_2": measured.row("bits", "2 bits").accuracy,
        "ladder_mse": measured.row("ladder", "Scale of least error").accuracy,
        "ladder_bias": measured.row("ladder", "Biases corrected").accuracy,
        "ladder_qat": measured.row("ladder", "Nearest, then trained in place").accuracy,
        "ladder_norm": measured.row("ladder", "Batch norm re-estimated").accuracy,
        "naive_2": measured.row("bits-naive", "2 bits").accuracy,
        "best_8": measured.row("bits", "8 bits").accuracy,
        "latency_8": measured.row("bits", "8 bits").latency_ratio,
        "latency_2": measured.row("bits", "2 bits").latency_ratio,
    }


def on_symmetric_grid(w: np.ndarray, tops: np.ndarray, bits: int) -> np.ndarray:
    """w on symmetric grids that end at `tops`, which broadcasts: the same as `nearest` on `levels`, at once."""
    codes = 2 ** (bits - 1) - 1
    return np.clip(np.round(w / (tops / codes)), -codes, codes) * (tops / codes)


def _best(w: np.ndarray, bits: int) -> np.ndarray:
    """w [n] on the symmetric grid with the least squared error."""
    tried = on_symmetric_grid(w, CLIPS[:, None] * np.abs(w).max(), bits)  # [clips, n]
    return tried[np.square(tried - w).sum(1).argmin()]


def weights_of(name: str) -> np.ndarray:
    """The weights of a layer of the lesson's ResNet-20: [out, in, kh, kw]."""
    return networks.layer(*RESNET, name).weight


@lru_cache(maxsize=1)
def studied_inputs() -> np.ndarray:
    """What the studied layer reads of the sample images, one class after the other: [n, C, H, W], none negative."""
    photo = fashion().inputs
    mixed = np.concatenate([photo[::2], photo[1::2]])
    return forward.run("resnet20", networks.weights(*RESNET), mixed, (STUDIED,)).seen[STUDIED].inputs
