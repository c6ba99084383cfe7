"""Lesson 6: a layer as the product of two thin ones, by singular values."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.lessons import measured, networks
from compression.lessons.curves import Line
from compression.lessons.networks import RESNET
from compression.lessons.pictures import Picture, mosaic
from compression.lessons.pruning import output_error

LAYERS = ("3.conv1", "6.conv1", "11.conv1", "11.conv2")
STUDIED = "11.conv1"
FORMS = {"channel": "A k×k, then a 1×1 convolution", "spatial": "A column, then a row"}
COLUMNS = ROWS = 10


@dataclass(frozen=True, eq=False)
class Product:
    """A layer at a rank: what is left of its weights and output, and what it costs.

    `error` is ‖W - W_r‖² / ‖W‖², `output_error` the same of its output on the sample images; `macs` and `dense_macs`
    are multiply-accumulates for one output position.
    """

    rank: int
    full_rank: int
    error: float
    output_error: float
    macs: int
    dense_macs: int
    break_even: float
    dense: Picture
    product: Picture

    @property
    def share(self) -> float:
        """Of the dense layer's work."""
        return self.macs / self.dense_macs


def title(name: str) -> str:
    """The layer in words."""
    return networks.layer(*RESNET, name).title


def full_rank(name: str, form: str) -> int:
    """How many singular values the layer's matrix has."""
    return len(decompose(name, form)[1])


@lru_cache(maxsize=16)
def decompose(name: str, form: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U [m, r], the singular values [r] descending, and Vᵀ [r, n] of the layer's matrix."""
    return np.linalg.svd(as_matrix(networks.layer(*RESNET, name).weight, form), full_matrices=False)


@lru_cache(maxsize=64)
def product(name: str, form: str, rank: int) -> Product:
    """The layer as the product of its `rank` largest parts."""
    weight = networks.layer(*RESNET, name).weight
    u, s, vt = decompose(name, form)
    low = as_kernel((u[:, :rank] * s[:rank]) @ vt[:rank], weight.shape, form)
    cost = _cost(weight.shape, form)
    return Product(
        rank, len(s), float(np.square(s[rank:]).sum() / np.square(s).sum()), output_error(name, low),
        rank * cost, weight.size, weight.size / cost,
        mosaic(weight, columns=COLUMNS, limit=ROWS), mosaic(low, columns=COLUMNS, limit=ROWS),
    )  # fmt: skip


@lru_cache(maxsize=16)
def spectrum(name: str, form: str) -> tuple[Line, Line]:
    """Singular values over the largest one, and the share of the sum of squares that the first r hold."""
    s = decompose(name, form)[1]
    ranks = np.arange(1, len(s) + 1)
    held = np.cumsum(np.square(s)) / np.square(s).sum()
    return Line("Singular value, relative to the largest", ranks, s / s[0]), Line("Cumulative energy", ranks, held)


@lru_cache(maxsize=16)
def trade(name: str) -> tuple[Line, ...]:
    """Output error by multiply-accumulates, as a share of the dense layer's, for each form."""
    found = []
    for form, text in FORMS.items():
        ranks = np.unique(np.linspace(1, full_rank(name, form) - 1, 12).astype(int))
        products = [product(name, form, int(rank)) for rank in ranks]
        shares = np.array([p.macs / p.dense_macs for p in products])
        found.append(Line(text, shares, np.array([p.output_error for p in products])))
    return tuple(found)


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    s, weight = decompose(STUDIED, "channel")[1], networks.layer(*RESNET, STUDIED).weight
    held = np.cumsum(np.square(s)) / np.square(s).sum()
    first, full = decompose("3.conv1", "channel")[1], product(STUDIED, "channel", len(s))
    held_first = np.cumsum(np.square(first)) / np.square(first).sum()
    half = product(STUDIED, "channel", len(s) // 2)
    spatial = product(STUDIED, "spatial", max(int(half.macs / _cost(weight.shape, "spatial")), 1))
    return {
        "outs": weight.shape[0],
        "ins": weight[0].size,
        "full": len(s),
        "ninety": int(np.searchsorted(held, 0.9)) + 1,
        "ninety_first": int(np.searchsorted(held_first, 0.9)) + 1,
        "full_first": len(first),
        "break_even": full.break_even,
        "full_cost": full.macs / full.dense_macs,
        "half": half.rank,
        "half_cost": half.macs / half.dense_macs,
        "half_error": half.error,
        "half_output": half.output_error,
        "spatial_output": spatial.output_error,
        "low_accuracy": measured.row("lowrank", "Low rank, a third of the MACs").accuracy,
        "low_latency": measured.row("lowrank", "Low rank, a third of the MACs").latency_ratio,
        "channel_accuracy": measured.row("lowrank", "Channels, a third of the MACs").accuracy,
        "channel_latency": measured.row("lowrank", "Channels, a third of the MACs").latency_ratio,
    }


def as_matrix(weight: np.ndarray, form: str) -> np.ndarray:
    """[out, in·kh·kw], or for the spatial form [kh·in, kw·out]: a column of the kernel, then a row."""
    if form == "channel":
        return weight.reshape(len(weight), -1)
    out, inputs, kh, kw = weight.shape
    return weight.transpose(2, 1, 3, 0).reshape(kh * inputs, kw * out)


def as_kernel(matrix: np.ndarray, shape: tuple[int, ...], form: str) -> np.ndarray:
    """The inverse of `as_matrix`."""
    if form == "channel":
        return matrix.reshape(shape)
    out, inputs, kh, kw = shape
    return matrix.reshape(kh, inputs, kw, out).transpose(3, 1, 0, 2)


def _cost(shape: tuple[int, ...], form: str) -> int:
    """Multiply-accumulates for one output position and one rank, where both parts run at every position."""
    out, inputs, kh, kw = shape
    return inputs * kh * kw + out if form == "channel" else kh * inputs + kw * out
