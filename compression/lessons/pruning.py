"""Lesson 2: which weights may go, in which pattern, and what the network still sees."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compression.language import N_
from compression.lessons import forward, measured, networks
from compression.lessons.images import Images, fashion
from compression.lessons.networks import RESNET, Layer
from compression.lessons.pictures import Picture, mosaic, strip
from compression.network.decisions import classes

LAYERS = ("3.conv1", "6.conv1", "11.conv2")
STUDIED = "3.conv1"
"""The layer whose gradients and second moments were collected on training images."""

PATTERNS = {
    "weights": "Single weights",
    "2:4": "2 of every 4",
    "kernels": N_("3×3 kernels"),
    "inputs": "Input channels",
    "filters": N_("Filters"),
}
SPEED = {
    "weights": "No: ONNX Runtime multiplies the zeros too.",
    "2:4": "Not on this CPU; NVIDIA's sparse tensor cores skip them.",
    "kernels": "Not without a special kernel.",
    "inputs": "Yes: the tensor gets smaller.",
    "filters": "Yes: the tensor gets smaller.",
}
BINS = 60
RIDGE = 0.01
"""Added to the diagonal of second moments, as a share of its mean."""

COLUMNS, ROWS = 16, 16


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many weights lie at which value: bin centres [n], counts kept and removed [n], the bins' width."""

    centres: np.ndarray
    kept: np.ndarray
    removed: np.ndarray
    width: float
    threshold: float | None


@dataclass(frozen=True, eq=False)
class Cut:
    """One layer with some weights removed. `error` is the squared change of its output over the output's power."""

    histogram: Histogram
    picture: Picture
    sparsity: float
    error: float
    dense_bytes: int
    stored_bytes: int
    speed: str


@dataclass(frozen=True, eq=False)
class Sight:
    """What the layer says about one image, dense and cut, and what the network then answers."""

    image: np.ndarray
    dense: Picture
    cut: Picture
    dense_answer: str
    cut_answer: str


@dataclass(frozen=True, eq=False)
class Change:
    """An image that gets another class after the cut: number, picture, true class and both predictions."""

    image: int
    picture: np.ndarray
    label: str
    dense: str
    cut: str


@dataclass(frozen=True, eq=False)
class Criterion:
    """Which weights one measure of importance keeps, and what that does to the layer's output."""

    name: str
    formula: str
    picture: Picture
    error: float
    refitted: float
    """The same error when the weights that stay are chosen anew by least squares."""
    shared: float
    """Share of the kept weights that magnitude keeps too."""


@dataclass(frozen=True)
class LayerShare:
    """How much of a layer goes under one threshold for all layers, and with the same share for each."""

    title: str
    weights: int
    together: float
    each: float


def layer(name: str) -> Layer:
    """The layer to look at."""
    return networks.layer(*RESNET, name)


def mask(weight: np.ndarray, share: float, pattern: str) -> np.ndarray:
    """Which entries of weight [out, in, kh, kw] stay when about `share` of them go: bool, the same shape.

    Groups (kernels, channels, filters) go by their mean square; 2:4 keeps the two largest of every four neighbours.
    """
    if pattern == "2:4":
        return _n_of_m(np.abs(weight), 2, 4)
    axes = {"weights": (), "kernels": (2, 3), "inputs": (0, 2, 3), "filters": (1, 2, 3)}[pattern]
    scores = np.square(weight).mean(axes, keepdims=True) if axes else np.abs(weight)
    return np.broadcast_to(_largest(scores, share), weight.shape)


@lru_cache(maxsize=64)
def cut(name: str, share: float, pattern: str) -> Cut:
    """The layer with `share` of its weights removed in that pattern."""
    weight = layer(name).weight
    kept = mask(weight, share, pattern)
    return Cut(
        histogram=_histogram(weight, kept, pattern),
        picture=mosaic(weight, kept, columns=COLUMNS, limit=ROWS),
        sparsity=float(1 - kept.mean()),
        error=output_error(name, weight * kept),
        dense_bytes=4 * weight.size,
        stored_bytes=_stored_bytes(kept, pattern),
        speed=SPEED[pattern],
    )


@lru_cache(maxsize=64)
def sight(name: str, share: float, pattern: str, image: int, photo: Images | None = None) -> Sight:
    """Feature maps of the layer on one image, before and after the cut; the rest of the network stays dense.

    The network is ResNet-20 for the dataset of `photo`, Fashion-MNIST where none is given.
    """
    photo = photo or fashion()
    dense, cut = _run(photo, name), _run_cut(photo, name, share, pattern)
    before, after = (strip(answer.seen[name].outputs[image, :8], columns=4) for answer in (dense, cut))
    told = [_answer(answer.scores[image], photo.classes) for answer in (dense, cut)]
    return Sight(photo.picture(image), before, after, *told)


def changed(name: str, share: float, pattern: str, photo: Images) -> tuple[Change, ...]:
    """The images whose predicted class the cut changes."""
    scores = [answer.scores for answer in (_run(photo, name), _run_cut(photo, name, share, pattern))]
    before, after = (classes(each) for each in scores)
    return tuple(
        Change(i, photo.picture(i), *(photo.classes[each[i]] for each in (photo.labels, before, after)))
        for i in np.flatnonzero(before != after).tolist()
    )


@lru_cache(maxsize=32)
def criteria(share: float) -> tuple[Criterion, ...]:
    """Four measures of importance on the same layer, each removing the same share of single weights."""
    weight, kept = layer(STUDIED).weight, measured.samples()
    h = kept["second_moment"].astype(np.float64)  # [d, d]
    rows = weight.reshape(len(weight), -1).astype(np.float64)  # [out, d]
    inverse = np.linalg.inv(h + RIDGE * np.trace(h) / len(h) * np.eye(len(h)))
    scores = {
        N_("Weight"): (r"|w|", np.abs(rows)),
        N_("Activation"): (r"|w|\,\lVert x\rVert_2", np.abs(rows) * np.sqrt(np.diag(h))),
        N_("Gradient"): (r"\overline{(g\,w)^2}", kept["gradient_square"].reshape(rows.shape) * np.square(rows)),
        N_("Hessian"): (r"w^2 / (2\,[H^{-1}]_{ii})", np.square(rows) / (2 * np.diag(inverse))),
    }
    by_weight = _largest(scores["Weight"][1], share)
    return tuple(_criterion(name, f, _largest(s, share), by_weight) for name, (f, s) in scores.items())


@lru_cache(maxsize=64)
def allocation(share: float) -> tuple[LayerShare, ...]:
    """What goes of each layer of ResNet-20 where all weights are compared, and where each layer gives its share."""
    found = networks.layers(*RESNET)
    kept = _largest(np.concatenate([np.abs(known.weight).ravel() for known in found]), share)
    parts = np.split(kept, np.cumsum([known.weight.size for known in found])[:-1])
    return tuple(
        LayerShare(
            known.title,
            known.weight.size,
            float(1 - part.mean()),
            round(share * known.weight.size) / known.weight.size,
        )
        for known, part in zip(found, parts, strict=True)
    )  # fmt: skip


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """The figures that the lesson's text names."""
    weight = layer(STUDIED).weight
    half = allocation(0.8)
    flat = np.concatenate([known.weight.ravel() for known in networks.layers(*RESNET)]).astype(np.float64)
    squares = np.sort(np.square(flat))[::-1]
    energy = np.cumsum(squares) / squares.sum()
    return {
        "weights": squares.size,
        "half_energy": float(1 - energy[squares.size - squares.size // 2 - 1]),
        "tenth_energy": float(energy[round(0.1 * squares.size) - 1]),
        "layer_weights": weight.size,
        "error_50": cut(STUDIED, 0.5, "weights").error,
        "error_24": cut(STUDIED, 0.5, "2:4").error,
        "error_filters": cut(STUDIED, 0.5, "filters").error,
        "mask_90": cut(STUDIED, 0.9, "weights").dense_bytes / cut(STUDIED, 0.9, "weights").stored_bytes,
        "first_together": half[0].together,
        "most_together": max(part.together for part in half),
        "most_together_layer": max(half, key=lambda part: part.together).title,
        "error_weight": criteria(0.8)[0].error,
        "error_gradient": criteria(0.8)[2].error,
        "shared_gradient": criteria(0.8)[2].shared,
        "first_weights": half[0].weights,
        "naive_90": measured.row("sparsity-naive", "90% of the weights").accuracy,
        "refit_90": measured.row("sparsity", "90% of the weights").accuracy,
        "latency_90": measured.row("patterns", "Single weights, 90%").latency_ratio,
        "latency_channels": measured.row("patterns", "Channels, half the MACs").latency_ratio,
        "together_80": measured.row("allocation", "Together, by magnitude").accuracy,
        "each_80": measured.row("allocation", "Each layer, by magnitude").accuracy,
    }


def _largest(scores: np.ndarray, share: float) -> np.ndarray:
    """Which scores stay when round(share · n) of them go, the first of equals first: bool, the same shape."""
    kept = np.ones(scores.size, bool)
    kept[np.argsort(scores, axis=None, kind="stable")[: round(share * scores.size)]] = False
    return kept.reshape(scores.shape)


def _n_of_m(scores: np.ndarray, n: int, m: int) -> np.ndarray:
    """The n largest of every m neighbours in each filter [out, …], whose length m must divide."""
    groups = scores.reshape(-1, m)
    order = np.argsort(-groups, axis=1, kind="stable")
    kept = np.zeros_like(groups, bool)
    np.put_along_axis(kept, order[:, :n], True, axis=1)
    return kept.reshape(scores.shape)


def _histogram(weight: np.ndarray, kept: np.ndarray, pattern: str) -> Histogram:
    reach = float(np.abs(weight).max())
    edges = np.linspace(-reach, reach, BINS + 1)
    inside, outside = np.histogram(weight[kept], edges)[0], np.histogram(weight[~kept], edges)[0]
    gone = np.abs(weight[~kept])
    threshold = float(gone.max()) if pattern == "weights" and gone.size else None
    return Histogram((edges[1:] + edges[:-1]) / 2, inside, outside, float(edges[1] - edges[0]), threshold)


def _stored_bytes(kept: np.ndarray, pattern: str) -> int:
    """Four bytes for each weight that is left, and where they are: a bit each, two of four places, or nothing."""
    values = 4 * int(kept.sum())
    if pattern in ("inputs", "filters"):
        return values
    if pattern == "kernels":
        return values + -(-kept.shape[0] * kept.shape[1] // 8)
    return values + -(-kept.size // 8)


def output_error(name: str, weight: np.ndarray) -> float:
    """‖(W' - W) x‖² / ‖W x‖² over all positions of the sample images."""
    h = _moments(name)
    dense = layer(name).weight.reshape(len(weight), -1)
    change = weight.reshape(dense.shape) - dense
    return float(((change @ h) * change).sum() / ((dense @ h) * dense).sum())


@lru_cache(maxsize=8)
def _moments(name: str) -> np.ndarray:
    """Σ x xᵀ / n of the layer's patches on the sample images: [d, d]."""
    inputs = forward.run("resnet20", networks.weights(*RESNET), fashion().inputs[::2], (name,)).seen[name].inputs
    stride = 2 if name in ("6.conv1", "9.conv1") else 1
    rows = forward.patches(inputs, 3, stride=stride, padding=1)
    rows = rows.reshape(-1, rows.shape[-1])  # [n, d]
    return rows.T @ rows / len(rows)


@lru_cache(maxsize=8)
def _run(photo: Images, name: str) -> forward.Answer:
    return forward.run("resnet20", networks.weights("resnet20", photo.dataset), photo.inputs, (name,))


@lru_cache(maxsize=8)
def _run_cut(photo: Images, name: str, share: float, pattern: str) -> forward.Answer:
    dense = networks.weights("resnet20", photo.dataset)
    weight = dense[f"{name}.weight"]
    cut = {f"{name}.weight": weight * mask(weight, share, pattern)}
    return forward.run("resnet20", forward.replaced(dense, cut), photo.inputs, (name,))


def _answer(scores: np.ndarray, names: tuple[str, ...]) -> str:
    shares = forward.softmax(scores[None])[0]
    return f"{names[classes(scores[None])[0]]} with {shares.max():.1%} confidence"


def _criterion(name: str, formula: str, kept: np.ndarray, by_weight: np.ndarray) -> Criterion:
    weight = layer(STUDIED).weight
    kept = kept.reshape(weight.shape)
    shared = float((kept & by_weight.reshape(kept.shape)).sum() / max(kept.sum(), 1))
    picture = mosaic(weight, kept, columns=COLUMNS, limit=ROWS)
    errors = output_error(STUDIED, weight * kept), output_error(STUDIED, refit_rows(weight, kept))
    return Criterion(name, formula, picture, *errors, shared)


def refit_rows(weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Row by row (H_KK + λI) w'_K = (H w)_K + λ w_K on the kept entries K, with a little ridge λ: the weight's shape.

    H comes from training images; the error is then judged on the sample images, which are others.
    """
    h = measured.samples()["second_moment"].astype(np.float64)
    ridge = RIDGE * np.trace(h) / len(h)
    rows, keeps = weight.reshape(len(weight), -1).astype(np.float64), kept.reshape(len(weight), -1)
    found = np.zeros_like(rows)
    for row, keep_row, new in zip(rows, keeps, found, strict=True):
        system = h[np.ix_(keep_row, keep_row)] + ridge * np.eye(keep_row.sum())
        new[keep_row] = np.linalg.solve(system, (h @ row + ridge * row)[keep_row])
    return found.reshape(weight.shape)
