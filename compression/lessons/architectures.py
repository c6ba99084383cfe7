"""Lesson 7: convolutions that do less, counted, and their latency."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.language import N_
from compression.lessons import measured
from compression.lessons.curves import Bars
from compression.models.model_cards import card

KINDS = {
    "standard": N_("Standard"),
    "grouped": N_("Grouped"),
    "shuffled": "Grouped 1×1, shuffled, depthwise, grouped 1×1",
    "separable": "Depthwise, then 1×1",
}
WIDTH, SIDE, KERNEL, GROUPS = 64, 14, 3, 4


@dataclass(frozen=True)
class Convolution:
    """What one way to turn `inputs` into `outputs` channels costs for one image."""

    name: str
    weights: int
    macs: int


@dataclass(frozen=True)
class Timed:
    """A block timed in ONNX Runtime: its share of the standard block's multiply-accumulates and of its time."""

    name: str
    macs_share: float
    time_share: float


def convolution(kind: str, inputs: int, outputs: int, kernel: int, side: int, groups: int) -> Convolution:
    """Weights and multiply-accumulates at side × side output positions."""
    weights = {
        "standard": inputs * outputs * kernel**2,
        "grouped": inputs * outputs * kernel**2 // groups,
        "shuffled": inputs * outputs // groups + outputs * kernel**2 + outputs * outputs // groups,
        "separable": inputs * kernel**2 + inputs * outputs,
    }[kind]
    return Convolution(KINDS[kind], weights, weights * side**2)


def work(inputs: int, outputs: int, kernel: int, side: int, groups: int) -> Bars:
    """Multiply-accumulates of all kinds."""
    found = [convolution(kind, inputs, outputs, kernel, side, groups) for kind in KINDS]
    return Bars("MACs", tuple(c.name for c in found), np.array([c.macs for c in found]))


def share_of_standard(kind: str, inputs: int, outputs: int, kernel: int, groups: int) -> float:
    """Work over that of the standard convolution."""
    ours, standard = (convolution(k, inputs, outputs, kernel, 1, groups).macs for k in (kind, "standard"))
    return ours / standard


def shuffle(channels: int, groups: int) -> np.ndarray:
    """Order of the channels after a shuffle: channel j of group i goes to place j·groups + i (Zhang et al. 2018)."""
    return np.arange(channels).reshape(groups, -1).T.ravel()


def mixing(channels: int, groups: int, shuffled: bool) -> np.ndarray:
    """Which inputs (columns) reach which outputs (rows) through two grouped 1×1 convolutions: 0 or 1."""
    group = np.arange(channels) // (channels // groups)
    layer = (group[:, None] == group[None, :]).astype(int)
    order = shuffle(channels, groups) if shuffled else np.arange(channels)
    return np.minimum(layer @ layer[order], 1)


def timed() -> tuple[Timed, ...]:
    """Blocks of each kind, measured; empty where they have not been measured."""
    return tuple(Timed(**block) for block in measured.extra("convolutions") or ())


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    blocks = {block.name: block for block in timed()}
    mobile, resnet = card("mobilenetv2", "digits"), card("resnet20", "digits")
    separable = convolution("separable", WIDTH, WIDTH, KERNEL, SIDE, GROUPS)
    return {
        "standard_width": WIDTH,
        "separable_share": share_of_standard("separable", WIDTH, WIDTH, KERNEL, GROUPS),
        "pointwise_share": WIDTH * WIDTH / separable.weights,
        "plain_reach": float(mixing(16, GROUPS, shuffled=False).mean()),
        "shuffled_reach": float(mixing(16, GROUPS, shuffled=True).mean()),
        "separable_time": blocks[KINDS["separable"]].time_share if blocks else None,
        "mobile_weights": mobile.parameters,
        "resnet_weights": resnet.parameters,
    }
