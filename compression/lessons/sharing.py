"""Lesson 5: few values for many weights, codes for the values, and fewer bits for frequent codes."""

import heapq
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.language import N_
from compression.lessons import forward, networks
from compression.lessons.curves import Bars
from compression.lessons.distillation import digits
from compression.lessons.networks import LENET300, RESNET
from compression.network.decisions import classes

LAYERS = {
    "resnet 3.conv1": (*RESNET, "3.conv1"),
    "resnet 11.conv2": (*RESNET, "11.conv2"),
    "lenet 1": (*LENET300, "1"),
}
STUDIED = "resnet 11.conv2"
STARTS = {"linear": "Evenly spaced", "density": "Equal shares of the weights", "random": "Random weights"}
WEIGHTS, POSITIONS, CODEBOOKS, BIASES = N_("Weights"), N_("Positions"), N_("Codebooks"), N_("Biases")
"""What the bytes of a stage are for."""

ROUNDS = 30
BINS = 120
GAP_BITS = 5
"""Of a stored distance between two weights that are left; longer ones need a filler in between (Han et al. 2016)."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """k-means of a layer's weights: `centres` [k] ascending, how many weights each has, and what the codes take.

    `history` is the mean squared error over the weights' mean square after each round. Bits are per weight:
    `plain_bits` of codes of equal length, `huffman_bits` of Huffman's, `entropy_bits` the least possible mean.
    """

    centres: np.ndarray
    counts: np.ndarray
    bins: np.ndarray
    shares: np.ndarray
    history: np.ndarray
    plain_bits: int
    huffman_bits: float
    entropy_bits: float


@dataclass(frozen=True)
class Stage:
    """After one of Deep Compression's stages: bytes of what is stored, and accuracy of the weights it stands for."""

    name: str
    parts: dict[str, float]
    accuracy: float

    @property
    def size_bytes(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def title(name: str) -> str:
    """The layer in words."""
    model, dataset, layer = LAYERS[name]
    return f"{'ResNet-20' if model == 'resnet20' else 'LeNet-300-100'}: {networks.layer(model, dataset, layer).title}"


@lru_cache(maxsize=64)
def codebook(name: str, entries: int, start: str) -> Codebook:
    """The layer's weights in `entries` groups (Han et al. 2016, eq. 2), from one of three starts (section 3.2)."""
    w = np.sort(networks.layer(*LAYERS[name]).weight.ravel().astype(np.float64))
    centres, history = k_means(w, _start(w, entries, start))
    counts = np.diff(np.searchsorted(w, (centres[1:] + centres[:-1]) / 2), prepend=0, append=len(w))
    shown, edges = np.histogram(w, BINS)
    return Codebook(
        centres, counts, (edges[1:] + edges[:-1]) / 2, shown, history, max(int(np.ceil(np.log2(entries))), 1),
        float((huffman(counts) * counts).sum() / len(w)), entropy(counts),
    )  # fmt: skip


def k_means(w: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's rounds on ascending w [n] from ascending `centres`: where they end, and the error after each round.

    Each weight goes to the nearest centre, each centre to the mean of its weights; a centre without weights stays.
    """
    sums, power, history = np.concatenate([[0.0], np.cumsum(w)]), np.square(w).sum(), []
    for number in range(ROUNDS + 1):
        ends = np.concatenate([[0], np.searchsorted(w, (centres[1:] + centres[:-1]) / 2), [len(w)]])
        counts = np.diff(ends)
        totals = np.diff(sums[ends])
        error = power - 2 * (centres * totals).sum() + (counts * np.square(centres)).sum()
        history.append(error / power)
        if number < ROUNDS:
            centres = np.where(counts > 0, totals / np.maximum(counts, 1), centres)
    return centres, np.array(history)


def huffman(counts: np.ndarray) -> np.ndarray:
    """Length in bits of each symbol's code (Huffman 1952); 0 for one that never occurs, 1 for the only one."""
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (int(count), number, (number,)) for number, count in enumerate(counts) if count
    ]
    lengths = np.zeros(len(counts), int)
    if len(heap) == 1:
        lengths[heap[0][2][0]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, _, left), (b, number, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[[*left, *right]] += 1
        heapq.heappush(heap, (a + b, number, left + right))
    return lengths


def entropy(counts: np.ndarray) -> float:
    """-Σ p·log₂ p of the symbols' shares, in bits."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


@lru_cache(maxsize=64)
def stages(sparsity: float, bits: int) -> tuple[Stage, ...]:
    """Deep Compression on LeNet-300-100 and Digits: dense, pruned, shared, Huffman coded. Nothing is retrained.

    Sizes count what each stage stores; accuracies are those of the resulting weights in NumPy on the test images.
    """
    dense, layers = networks.weights(*LENET300), networks.layers(*LENET300)
    magnitudes = np.abs(np.concatenate([layer.weight.ravel() for layer in layers]))
    threshold = np.sort(magnitudes)[round(sparsity * magnitudes.size) - 1] if sparsity else -1.0
    biases = sum(4.0 * len(layer.weight) for layer in layers)
    pruned, shared = {}, {}
    sums = dict.fromkeys(("weights", "kept", "gaps", "codes", "books", "codes huffman", "gaps huffman"), 0.0)
    for layer in layers:
        kept = np.abs(layer.weight) > threshold
        codes, books = _shared(layer.weight[kept], bits)
        gaps = zeros_between(kept.ravel())
        name = f"{layer.name}.weight"
        pruned[name], shared[name] = layer.weight * kept, np.zeros_like(layer.weight)
        shared[name][kept] = books[codes]
        counts = np.bincount(codes, minlength=len(books))
        # Fillers are stored as weights too: zeros, with a code of their own.
        fillers = len(gaps) - int(kept.sum())
        sums["weights"] += 4 * layer.weight.size
        sums["kept"] += 4 * len(gaps)
        sums["gaps"] += len(gaps) * GAP_BITS / 8
        sums["codes"] += len(gaps) * bits / 8
        sums["books"] += 4 * len(books)
        sums["codes huffman"] += _coded_bytes(np.append(counts, fillers))
        sums["gaps huffman"] += _coded_bytes(np.bincount(gaps))
    accuracies = [_accuracy(dense), _accuracy({**dense, **pruned}), _accuracy({**dense, **shared})]
    return (
        Stage("Dense, fp32", {WEIGHTS: sums["weights"], BIASES: biases}, accuracies[0]),
        Stage(N_("Pruned"), {WEIGHTS: sums["kept"], POSITIONS: sums["gaps"], BIASES: biases}, accuracies[1]),
        Stage(N_("Shared"), {WEIGHTS: sums["codes"], POSITIONS: sums["gaps"], CODEBOOKS: sums["books"],
                         BIASES: biases}, accuracies[2]),
        Stage("Huffman coded", {WEIGHTS: sums["codes huffman"], POSITIONS: sums["gaps huffman"],
                                CODEBOOKS: sums["books"], BIASES: biases}, accuracies[2]),
    )  # fmt: skip


def accuracies(found: tuple[Stage, ...]) -> Bars:
    """The stages' accuracies."""
    return Bars("Accuracy, simulated", tuple(s.name for s in found), np.array([s.accuracy for s in found]))


def code_lengths(found: Codebook) -> Bars:
    """Huffman's code length by value of the codebook."""
    return Bars(N_("Bits"), tuple(f"{centre:.4f}" for centre in found.centres), huffman(found.counts).astype(float))


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    sixteen, steps = codebook(STUDIED, 16, "linear"), stages(0.8, 4)
    return {
        "entries_error": float(sixteen.history[-1]),
        "density_error": float(codebook(STUDIED, 16, "density").history[-1]),
        "random_error": float(codebook(STUDIED, 16, "random").history[-1]),
        "top_linear": float(sixteen.centres[-1]),
        "top_density": float(codebook(STUDIED, 16, "density").centres[-1]),
        "weights": int(sixteen.counts.sum()),
        "huffman": sixteen.huffman_bits,
        "entropy": sixteen.entropy_bits,
        "middle": float(sixteen.counts.max() / sixteen.counts.sum()),
        "longest": int(huffman(sixteen.counts).max()),
        "shortest": int(huffman(sixteen.counts)[sixteen.counts > 0].min()),
        "book_bytes": 64,
        "pruned_ratio": steps[0].size_bytes / steps[1].size_bytes,
        "shared_ratio": steps[0].size_bytes / steps[2].size_bytes,
        "coded_ratio": steps[0].size_bytes / steps[3].size_bytes,
        "dense_accuracy": steps[0].accuracy,
        "shared_accuracy": steps[2].accuracy,
        "positions_share": steps[2].parts[POSITIONS] / steps[2].size_bytes,
    }


def _start(w: np.ndarray, entries: int, start: str) -> np.ndarray:
    if start == "linear":
        return np.linspace(w[0], w[-1], entries)
    if start == "density":
        return np.quantile(w, (np.arange(entries) + 0.5) / entries)
    return np.sort(np.random.default_rng(0).choice(np.unique(w), entries, replace=False))


def _shared(kept: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes [n] and the codebook of the weights that are left."""
    if not kept.size:
        return np.zeros(0, int), np.zeros(2**bits)
    ordered = np.sort(kept.astype(np.float64))
    centres, _ = k_means(ordered, _start(ordered, 2**bits, "linear"))
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, kept), centres


def zeros_between(kept: np.ndarray) -> np.ndarray:
    """Zeros before each weight that is left; where there are more than fit into GAP_BITS, fillers stand in between."""
    most = 2**GAP_BITS - 1
    zeros = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    fillers, rest = np.divmod(zeros, most + 1)
    found = np.full(int((fillers + 1).sum()), most)
    found[np.cumsum(fillers + 1) - 1] = rest
    return found


def _coded_bytes(counts: np.ndarray) -> float:
    """All symbols in Huffman's code, and a byte for each code's length."""
    return float((huffman(counts) * counts).sum()) / 8 + np.count_nonzero(counts)


def _accuracy(weights: networks.Weights) -> float:
    test = digits("test")
    return float((classes(forward.run("lenet300", weights, test.inputs).scores) == test.labels).mean())
