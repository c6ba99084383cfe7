"""Models built by name, and their weights to and from half-precision safetensors files."""

import hashlib
import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from compression.data import Dataset
from compression.errors import InvalidFile, InvalidModel, InvalidSetting, UnknownName
from compression.host.atomic_files import atomic_write
from compression.models.catalog import ARCHITECTURES, OWN
from compression.models.model_cards import WEIGHTS, Card, card, card_path, weights_path
from compression.models.opening import open_source, rebuilt
from compression.models.sources import parse
from compression.network.pt2 import load_pt2

__all__ = ["WEIGHTS", "build", "load", "network", "read_fitting", "read_weights", "write_weights"]

MIN_SIDE = 8  # pixels


def build(name: str, *, input_shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Module:
    """The untrained network for images of `input_shape` (C, H, W), in eval mode; `seed` decides its first weights.

    Raises UnknownName, and InvalidSetting for shapes and numbers of classes that no network here can have.
    """
    if name not in ARCHITECTURES:
        raise UnknownName("model", name, ARCHITECTURES)
    if len(input_shape) != 3 or input_shape[0] < 1 or min(input_shape[1:]) < MIN_SIDE:
        raise InvalidSetting(
            f"The input shape is {tuple(input_shape)}; (channels, height, width) with sides from 8 up."
        )
    if classes < 2:
        raise InvalidSetting(f"The number of classes is {classes}; at least 2 are needed.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[name].build(input_shape, classes).eval()


def network(name: str, weights: str) -> nn.Module:
    """What is compressed: the zoo's network with the weights of that name; where that is `OWN`, the one brought.

    Raises what `load` and `load_pt2` raise, and UnknownName for one that is removed meanwhile.
    """
    if weights != OWN:
        return load(name, weights)
    known, path = card(name, OWN), card_path(name, OWN)
    if path is None or not weights_path(path).exists():
        raise UnknownName("model", name, ARCHITECTURES)
    if not _is_described(weights_path(path), known):
        raise InvalidFile(f"The file of {name!r} has changed since the import; import the network again.")
    kept = weights_path(path)
    if kept.suffix == ".pt2":
        return load_pt2(kept)
    if kept.suffix == ".onnx":
        from compression.network.onnx_reader import load_onnx

        return load_onnx(kept)
    return rebuilt(known.architecture, known.arguments, known.classes, kept)


def load_model(source: str, dataset: str | None = None, *, weights: Path | None = None) -> nn.Module:
    """The network of any source, in float32 and eval mode: one of the zoo with the weights stored for `dataset`, one of
    the user's by its name, `torchvision:NAME`, `timm:NAME`, `timm:hf_hub:OWNER/REPOSITORY`, a path to an .onnx or .pt2
    file. `weights` is a file of weights for a library's network.

    Raises what `load` and `open_source` raise.
    """
    if dataset is not None:
        return load(source, dataset)
    known = parse(source)
    if known.kind != "name":
        return open_source(source, weights=weights).network
    if source in ARCHITECTURES:
        raise InvalidModel(f"{source!r} is a network of the zoo; say on which dataset it was trained.")
    return network(source, OWN)


def load(name: str, dataset_name: str) -> nn.Module:
    """The network with the weights stored for the dataset, in float32 and eval mode.

    Raises UnknownName for either name, Unsupported where no weights are stored, InvalidFile for a damaged file.
    """
    known = card(name, dataset_name)
    path = card_path(name, dataset_name)
    assert path is not None
    model = build(name, input_shape=known.input_shape, classes=known.classes)
    if not _is_described(path.with_suffix(".safetensors"), known):
        raise InvalidFile(f"The weights beside {path} are not those that this card describes; train {name} again.")
    return read_weights(model, path.with_suffix(".safetensors"))


def _is_described(path: Path, known: Card) -> bool:
    """Whether a file is the very one that its card describes."""
    return hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256


def read_weights(model: nn.Module, path: Path) -> nn.Module:
    """Puts the tensors in a safetensors file into `model`, which is returned; every tensor must find its place.

    Raises InvalidFile for a file that is no safetensors file, InvalidModel for tensors that do not fit.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidFile(f"{path} cannot be read as a safetensors file: {error}.") from error
    expected = {name: tensor.shape for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    found = {name: tensor.shape for name, tensor in tensors.items() if tensor.is_floating_point()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise InvalidModel(
                f"The weights in {path} do not fit: {name!r} has shape {_shape(found.get(name))}, and the model needs"
                f" {_shape(expected.get(name))}."
            )
    floats = {name: tensors[name].float() for name in expected}
    model.load_state_dict(model.state_dict() | floats)
    return model


def read_fitting(name: str, path: Path, data: Dataset) -> nn.Module:
    """The network with the tensors of a safetensors file, for `data`'s images in grey or in colours, whichever fits.

    Raises what `build` and `read_weights` raise.
    """
    channels, *sides = data.input_shape

    def of(channels: int) -> nn.Module:
        blank = build(name, input_shape=(channels, sides[0], sides[1]), classes=len(data.classes))
        return read_weights(blank, path)

    try:
        return of(channels)
    except InvalidModel as refusal:
        try:
            return of(1 if channels == 3 else 3)
        except InvalidModel:
            raise refusal from None


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def write_weights(model: nn.Module, path: Path) -> str:
    """Stores the floating-point tensors of `model` as fp16, replacing the file whole; returns its SHA-256.

    Counters of batch norm are left out: nothing reads them in eval mode.
    """
    state = {
        name: t.detach().cpu().half().contiguous() for name, t in model.state_dict().items() if t.is_floating_point()
    }
    if not all(math.isfinite(tensor.float().abs().sum()) for tensor in state.values()):
        raise InvalidModel("There are weights that are not finite in half precision: the training has diverged.")
    with atomic_write(path) as partial:
        save_file(state, partial)
    return hashlib.sha256(path.read_bytes()).hexdigest()
