"""Lesson 1: what a weight costs, how many are needed, and why accuracy, size and time are three things."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.analysis.energy import PICOJOULES_PER_BYTE, PICOJOULES_PER_MAC
from compression.language import N_
from compression.lessons import forward, measured, networks
from compression.lessons.curves import Line
from compression.lessons.distillation import digits
from compression.lessons.networks import LENET, LENET300, RESNET, Layer
from compression.lessons.pruning import LayerShare
from compression.network.decisions import classes

NETWORKS = {"ResNet-20": RESNET, "LeNet-5": LENET, "LeNet-300-100": LENET300}
BITS = (32, 16, 8, 4, 2)
LINKS = {
    "Mobile network, 10 Mbit/s": 10e6, N_("Bluetooth, 1 Mbit/s"): 1e6, "Low-power radio, 50 kbit/s": 50e3,
}  # fmt: skip
SHARES = np.linspace(0, 0.9, 10)


@dataclass(frozen=True)
class Bill:
    """What a network costs at a number of bits: computed, but for the energies, which are estimated."""

    size_bytes: float
    seconds: float
    macs: int
    compute_uj: float
    memory_uj: float

    @property
    def million_macs(self) -> float:
        """Multiply-accumulates in millions."""
        return self.macs / 1e6


def bill(name: str, bits: int, link: str) -> Bill:
    """Bytes of the weights, seconds to send them, work for one image, energy of that and of reading each weight."""
    layers = networks.layers(*NETWORKS[name])
    size = sum(layer.weight.size for layer in layers) * bits / 8
    macs = sum(layer.macs for layer in layers)
    each = PICOJOULES_PER_MAC[max(bits, 8)]  # nothing computes in fewer bits here
    return Bill(size, 8 * size / LINKS[link], macs, macs * each / 1e6, size * PICOJOULES_PER_BYTE / 1e6)


@lru_cache(maxsize=8)
def shares(name: str) -> tuple[LayerShare, ...]:
    """Layer by layer the share of the network's weights (`together`) and of its multiply-accumulates (`each`)."""
    layers = networks.layers(*NETWORKS[name])
    weights, macs = sum(layer.weight.size for layer in layers), sum(layer.macs for layer in layers)
    return tuple(
        LayerShare(layer.title, layer.weight.size, layer.weight.size / weights, layer.macs / macs) for layer in layers
    )


@lru_cache(maxsize=8)
def removal(seed: int) -> tuple[Line, Line]:
    """Accuracy of LeNet-300-100 on Digits without the smallest weights, and without as many drawn at random.

    Simulated in NumPy on the 359 test images.
    """
    layers = networks.layers(*LENET300)
    smallest = [np.abs(layer.weight) for layer in layers]
    draw = np.random.default_rng(seed)
    random = [draw.random(layer.weight.shape) for layer in layers]
    lines = {"The smallest": smallest, "At random": random}
    return tuple(  # type: ignore[return-value]
        Line(name, SHARES, np.array([_without(layers, scores, float(share)) for share in SHARES]))
        for name, scores in lines.items()
    )


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    resnet, lenet = shares("ResNet-20"), shares("LeNet-5")
    smallest, random = removal(0)
    sparse = measured.row("axes", "80% sparsity").measurement
    narrow = measured.row("axes", "Half the MACs, channels").measurement
    small = measured.row("axes", "8 bits").measurement
    return {
        "weights": sum(share.weights for share in resnet),
        "kilobytes": sum(share.weights for share in resnet) * 4 / 1000,
        "macs": bill("ResNet-20", 32, "Bluetooth, 1 Mbit/s").macs,
        "stage_weights": sum(share.together for share in resnet[1:7]),
        "stage_macs": sum(share.each for share in resnet[1:7]),
        "hidden_weights": lenet[2].together,
        "hidden_macs": lenet[2].each,
        "intact": float(smallest.y[0]),
        "smallest_half": float(smallest.y[5]),
        "random_half": float(random.y[5]),
        "dram_pj": PICOJOULES_PER_BYTE * 4,
        "dram_ratio": PICOJOULES_PER_BYTE * 4 / 3.7,
        "sparse_size": sparse.size_ratio if sparse else None,
        "sparse_latency": sparse.latency.ratio if sparse and sparse.latency else None,
        "narrow_size": narrow.size_ratio if narrow else None,
        "narrow_latency": narrow.latency.ratio if narrow and narrow.latency else None,
        "small_size": small.size_ratio if small else None,
        "small_latency": small.latency.ratio if small and small.latency else None,
    }


def _without(layers: tuple[Layer, ...], scores: list[np.ndarray], share: float) -> float:
    """Accuracy when `share` of all weights, those with the lowest scores, are zero."""
    flat = np.concatenate([s.ravel() for s in scores])
    gone = round(share * flat.size)
    threshold = np.sort(flat)[gone - 1] if gone else -np.inf
    left = {f"{layer.name}.weight": layer.weight * (s > threshold) for layer, s in zip(layers, scores, strict=True)}
    test = digits("test")
    answers = forward.run("lenet300", forward.replaced(networks.weights(*LENET300), left), test.inputs).scores
    return float((classes(answers) == test.labels).mean())
