"""The zoo's small networks run in NumPy on a few images, with a look at what each layer reads and says."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from compression.lessons.networks import Weights

EPSILON = 1e-5  # of batch norm

Maps = np.ndarray
"""Float32 [n, C, H, W]."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a layer read, and what left it after batch norm and activation."""

    inputs: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores [n, classes], and what the watched layers saw, by name."""

    scores: np.ndarray
    seen: dict[str, Seen]


def run(model: str, weights: Weights, x: Maps, watch: Collection[str] = ()) -> Answer:
    """Scores of normalised images [n, C, H, W] under `weights`; any tensor in them may be one's own."""
    seen: dict[str, Seen] = {}
    scores = {"resnet20": _resnet20, "lenet5": _lenet5, "lenet300": _lenet300}[model](weights, x, watch, seen)
    return Answer(scores, seen)


def replaced(weights: Weights, changes: Mapping[str, np.ndarray]) -> Weights:
    """The same weights with some tensors changed."""
    return {**weights, **changes}


def patches(x: Maps, side: int, *, stride: int = 1, padding: int = 0) -> np.ndarray:
    """All patches of x that a convolution of `side` × `side` looks at: [n, rows, columns, C·side·side]."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))[:, :, ::stride, ::stride]
    n, channels, rows, columns = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, rows, columns, channels * side * side)


def convolve(x: Maps, w: np.ndarray, *, stride: int = 1, padding: int = 0) -> Maps:
    """Convolution of x [n, C, H, W] with w [out, C, k, k], without a bias: [n, out, H', W']."""
    flat = patches(x, w.shape[2], stride=stride, padding=padding) @ w.reshape(len(w), -1).T  # [n, H', W', out]
    return flat.transpose(0, 3, 1, 2)


def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """exp(z/T) / Σ exp(z/T) over the last axis (Hinton et al. 2015, eq. 1)."""
    z = scores / temperature
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _resnet20(w: Weights, x: Maps, watch: Collection[str], seen: dict[str, Seen]) -> np.ndarray:
    def layer(name: str, norm: str, x: Maps, *, stride: int = 1, relu: bool = True) -> Maps:
        kernel = w[f"{name}.weight"]
        y = _norm(convolve(x, kernel, stride=stride, padding=kernel.shape[2] // 2), w, norm)
        y = np.maximum(y, 0) if relu else y
        if name in watch:
            seen[name] = Seen(x, y)
        return y

    x = layer("0", "1", x)
    for block in range(3, 12):
        stride = 2 if block in (6, 9) else 1
        inner = layer(f"{block}.conv1", f"{block}.bn1", x, stride=stride)
        inner = layer(f"{block}.conv2", f"{block}.bn2", inner, relu=False)
        if stride == 2:
            x = layer(f"{block}.shortcut.0", f"{block}.shortcut.1", x, stride=stride, relu=False)
        x = np.maximum(inner + x, 0)
    return _linear(w, "14", x.mean((2, 3)), watch, seen)


def _lenet5(w: Weights, x: Maps, watch: Collection[str], seen: dict[str, Seen]) -> np.ndarray:
    padding = 2 if x.shape[2] < 16 else 0
    for name in ("0", "2"):
        y = convolve(x, w[f"{name}.weight"], padding=padding) + w[f"{name}.bias"][:, None, None]
        if name in watch:
            seen[name] = Seen(x, y)
        x = _pool(y)
    x = np.maximum(_linear(w, "5", x.reshape(len(x), -1), watch, seen), 0)
    return _linear(w, "7", x, watch, seen)


def _lenet300(w: Weights, x: Maps, watch: Collection[str], seen: dict[str, Seen]) -> np.ndarray:
    x = x.reshape(len(x), -1)
    for name in ("1", "3"):
        x = np.maximum(_linear(w, name, x, watch, seen), 0)
    return _linear(w, "5", x, watch, seen)


def _linear(w: Weights, name: str, x: np.ndarray, watch: Collection[str], seen: dict[str, Seen]) -> np.ndarray:
    y = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    if name in watch:
        seen[name] = Seen(x, y)
    return y


def _norm(x: Maps, w: Weights, name: str) -> Maps:
    scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + EPSILON)
    shift = w[f"{name}.bias"] - scale * w[f"{name}.running_mean"]
    return x * scale[:, None, None] + shift[:, None, None]


def _pool(x: Maps) -> Maps:
    """The largest of every 2 × 2; an odd last row or column is left out."""
    n, channels, height, width = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2].reshape(n, channels, height // 2, 2, width // 2, 2)
    return x.max((3, 5))
