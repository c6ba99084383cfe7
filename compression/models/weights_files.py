"""Tensors by name out of a user's file, and into the network that they are of; nothing is unpickled but tensors."""

import pickle
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from compression import confined
from compression.errors import InvalidFile, InvalidModel, shown
from compression.models.downloads import LARGEST
from compression.models.foreign_files import PICKLED, format_of

Tensors = dict[str, torch.Tensor]

WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model_state", "model",
    "net", "network", "weights", "params",
)  # fmt: skip
"""Keys of a checkpoint under which the weights lie, averaged ones first, as timm reads them."""

MOST_WRAPPERS = 4
MOST_TENSORS = 100_000
FALSE_READS = (
    pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, OSError,
    AssertionError, NotImplementedError, UnicodeError, ArithmeticError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What torch.load raises for files that torch.save has not written."""

COUNTED = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
"""Last parts of names of what is counted in training, which nothing reads afterwards."""

COMPUTED = ("relative_position_index", "relative_coords_table", "attn_mask", "attention_bias_idxs", "rel_pos_idx")
"""Last parts of names of what a network computes when it is built."""

NAMED = 4
"""Tensors of each kind that a sentence about misfits names."""


def read_tensors(path: Path) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors in a `.safetensors` file, or in one of `torch.save`, and sentences on what was left aside.

    Raises `InvalidFile` for a file of anything else, and `Unsupported` where it is another program's network.
    """
    form = format_of(path)
    if path.stat().st_size > LARGEST:
        raise InvalidFile(f"{path.name} has {path.stat().st_size / 1e9:.1f} GB; at most {LARGEST / 1e9:.1f} are read.")
    if form == "safetensors":
        return _safetensors(path), ()
    if form == "torch":
        confined.attempt("weights", path, name=path.name)
        return saved_tensors(path, path.name)
    raise InvalidFile(f"{path.name} holds a whole network, not weights; give it as the source.")


def saved_tensors(path: Path, name: str) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors that torch.save has put into a file called `name`, and what is to say about them."""
    return _unwrapped(_saved(path, name), name)


def _safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InvalidFile(f"{path.name} cannot be read as a safetensors file: {error}.") from None


def _saved(path: Path, name: str) -> Any:
    """What torch.save has written of tensors, numbers and texts; entries of archives must be stored as they are."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise InvalidFile(f"{name} is a compressed archive, which torch.save does not write.")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FALSE_READS as error:
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower():
            raise InvalidFile(PICKLED.format(name=name)) from None
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise InvalidFile(f"{name} cannot be read as a file of torch.save: {reason}.") from None


def _unwrapped(found: Any, file: str) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors of a checkpoint, which lie in it under one of `WRAPPERS`."""
    taken: list[str] = []
    for _ in range(MOST_WRAPPERS):
        if not isinstance(found, Mapping):
            break
        inner = next((key for key in WRAPPERS if isinstance(found.get(key), Mapping) and found[key]), None)
        if inner is None:
            break
        taken.append(inner)
        found = found[inner]
    tensors = {key: value for key, value in found.items() if _is_plain(value)} if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        raise InvalidFile(f"{file} has no named tensors, as the weights of a network are.")
    if len(tensors) > MOST_TENSORS:
        raise InvalidFile(f"{file} holds {len(tensors):,} tensors; at most {MOST_TENSORS:,} are read.")
    return tensors, (f"The weights were taken from {'.'.join(taken)!r} in the file.",) if taken else ()


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor all of whose numbers lie in the file."""
    if type(value) not in (torch.Tensor, nn.Parameter) or value.layout != torch.strided or value.is_meta:
        return False
    return not value.is_quantized and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


class Head(NamedTuple):
    """A tensor whose axis `axis` has one entry for each class times `factor`."""

    name: str
    axis: int


def head_of(build: Callable[[int], nn.Module]) -> tuple[Head, ...]:
    """The tensors of a network that grow with its number of classes, found by building it for 2 and for 3."""
    few, more = ({name: tensor.shape for name, tensor in build(n).state_dict().items()} for n in (2, 3))
    return tuple(
        Head(name, axis)
        for name, shape in few.items() for axis, (a, b) in enumerate(zip(shape, more[name], strict=True))
        if (a, b) == (2, 3)
    )  # fmt: skip


def classes_of(tensors: Tensors, head: Iterable[Head]) -> int | None:
    """How many classes the weights tell apart; None where none of the classifier's tensors is among them."""
    for name, axis in head:
        if name in tensors and tensors[name].dim() > axis:
            return tensors[name].shape[axis]
    return None


def renamed(tensors: Tensors, names: Iterable[str]) -> Tensors:
    """The tensors under the names of the network that they are of, with what was put in front of them taken away.

    Programs that train put `module.`, `model.`, `backbone.`, `_orig_mod.` or a name of their own in front; what is in
    front of most of the names that the network has is taken away, and what has another beginning is left aside.
    """
    clean = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    wanted = set(names)
    clean = {_inside(name, wanted): tensor for name, tensor in clean.items()}
    found: Counter[str] = Counter()
    for name in clean:
        parts = name.split(".")
        found.update(".".join(parts[:i]) for i in range(len(parts)) if ".".join(parts[i:]) in wanted)
    front = found.most_common(1)[0][0] if found else ""
    if not front:
        return clean
    return {name.removeprefix(f"{front}."): tensor for name, tensor in clean.items() if name.startswith(f"{front}.")}


def _inside(name: str, wanted: set[str]) -> str:
    """A name without the `module` that a part of a network got which ran on several devices alone."""
    return name if name in wanted or ".module." not in name else name.replace(".module.", ".")


def put_(model: nn.Module, tensors: Tensors, file: str) -> nn.Module:
    """Puts `tensors` into `model`, which is returned, as float32. Each must find its place, and each place its tensor.

    What only training reads, and what the network computes for itself, may be missing or too much. Raises
    `InvalidModel` with the names of what does not fit.
    """
    places = model.state_dict()
    missing = [name for name in places if name not in tensors and not _dispensable(name)]
    unknown = [name for name in tensors if name not in places and not _dispensable(name)]
    both = [name for name in places if name in tensors]
    others = [name for name in both if places[name].shape != tensors[name].shape and not _is_computed(name)]
    if missing or unknown or others:
        told = [f"{name} is {_shape(tensors[name])} instead of {_shape(places[name])}" for name in others]
        parts = [("missing", missing), ("not of this network", unknown), ("of another shape", told)]
        said = "; ".join(f"{title}: {_few(names)}" for title, names in parts if names)
        raise InvalidModel(f"The weights in {file} do not fit: {said}.")
    for name in both:
        if places[name].is_floating_point() and not (tensors[name].is_floating_point() and _is_finite(tensors[name])):
            raise InvalidModel(f"The weights in {file} do not fit: {name} holds no finite floating-point numbers.")
    kept = {n: tensors[n].to(places[n].dtype) for n in both if places[n].shape == tensors[n].shape}
    model.load_state_dict(places | kept)
    return model.eval()


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.float().isfinite().all())


def _dispensable(name: str) -> bool:
    return name.rpartition(".")[2] in COUNTED or _is_computed(name)


def _is_computed(name: str) -> bool:
    return name.rpartition(".")[2] in COMPUTED


def _few(names: list[str]) -> str:
    some = ", ".join(name if len(name) <= 100 else shown(name) for name in names[:NAMED])
    return some + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
