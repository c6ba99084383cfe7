"""Stored weights as NumPy arrays, and titles of their layers in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from safetensors.numpy import load_file

from compression.errors import InvalidFile
from compression.language import N_
from compression.models.model_cards import card, card_path

Weights = Mapping[str, np.ndarray]

RESNET = ("resnet20", "fashion-mnist")
LENET = ("lenet5", "fashion-mnist")
LENET300 = ("lenet300", "digits")

STAGES = {3: "1.1", 4: "1.2", 5: "1.3", 6: "2.1", 7: "2.2", 8: "2.3", 9: "3.1", 10: "3.2", 11: "3.3"}


@dataclass(frozen=True)
class Layer:
    """A layer whose weights are compressed: `weight` [out, in, kh, kw] or [out, in], applied at `positions` places."""

    name: str
    title: str
    weight: np.ndarray
    positions: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weight.size * self.positions


def weights(model: str, dataset: str) -> Weights:
    """All stored tensors of the pair in float32, read once for each content. Raises `Unsupported` where none are."""
    path = card_path(model, dataset)
    known = card(model, dataset)  # raises where nothing is stored
    return _read(str(path.with_suffix(".safetensors")) if path else "", known.sha256)


@lru_cache(maxsize=8)
def _read(path: str, sha256: str) -> Weights:
    try:
        tensors = load_file(path)
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read as a safetensors file: {error}.") from error
    found = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    for tensor in found.values():
        tensor.flags.writeable = False
    return MappingProxyType(found)


def layers(model: str, dataset: str) -> tuple[Layer, ...]:
    """The layers in order of execution, with how often each weight is used for one image."""
    known, side = weights(model, dataset), card(model, dataset).input_shape[1]
    found = []
    for name in sorted((n.removesuffix(".weight") for n in known if _is_layer(n, known)), key=_place):
        weight = known[f"{name}.weight"]
        found.append(Layer(name, title(model, name), weight, _positions(model, name, side) if weight.ndim == 4 else 1))
    return tuple(found)


def layer(model: str, dataset: str, name: str) -> Layer:
    """The one layer of that name."""
    return next(found for found in layers(model, dataset) if found.name == name)


def title(model: str, name: str) -> str:
    """'Block 2.1, first convolution' of '6.conv1' in a ResNet; LeNets count their layers."""
    first, _, rest = name.partition(".")
    if model.startswith("lenet"):
        return {
            "lenet5": {"0": "First convolution", "2": "Second convolution", "5": "Hidden layer", "7": "Output layer"},
            "lenet300": {"1": "First hidden layer", "3": "Second hidden layer", "5": "Output layer"},
        }[model][first]
    if not rest:
        return "First convolution" if first == "0" else "Output layer"
    which = {"conv1": "first convolution", "conv2": "second convolution", "shortcut.0": N_("shortcut")}[rest]
    return f"Block {STAGES[int(first)]}, {which}"


def _is_layer(name: str, known: Weights) -> bool:
    return name.endswith(".weight") and known[name].ndim > 1


def _place(name: str) -> tuple[int, str]:
    first, _, rest = name.partition(".")
    return int(first), rest


def _positions(model: str, name: str, side: int) -> int:
    """Places at which a convolution is applied to an image of side × side pixels."""
    if model == "lenet5":
        padding = 2 if side < 16 else 0
        first = side + 2 * padding - 4
        return first**2 if name == "0" else (first // 2 + 2 * padding - 4) ** 2
    halvings = (int(name.split(".")[0]) >= 6) + (int(name.split(".")[0]) >= 9)
    for _ in range(halvings):
        side = -(-side // 2)
    return side**2
