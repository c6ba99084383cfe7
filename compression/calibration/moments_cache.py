"""What one pass over calibration images found, kept on disk: a worker that is started again does not look again.

One safetensors file for each network and images, named by a hash of everything that the numbers depend on: the graph
and its weights, the images themselves, the engine, and the number of threads. What cannot be read is found out again.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import fx

from compression.host.atomic_files import atomic_write
from compression.host.engine_version import engine_hash
from compression.host.folders import user_folder
from compression.network.graph import digest
from compression.network.spilled import Spilled
from compression.solvers.moments import Moments

log = logging.getLogger(__name__)

Found = tuple[Mapping[str, Moments], Mapping[str, torch.Tensor]]
"""Moments and targets of each layer, by name."""

LARGEST, ALL = 200_000_000, 600_000_000
"""Bytes that one network's numbers may take, and all of them together; the ones that were read longest ago go first."""

FIELDS = ("h", "g", "mean_x", "mean_y", "var_y")
TARGET = "target"


def key(graph: fx.GraphModule, images: torch.Tensor) -> str:
    """64 hex digits over all that the numbers of `graph` on `images` [n, C, H, W] depend on."""
    seen = f"{tuple(images.shape)} {images.dtype}"
    found = hashlib.sha256(f"{engine_hash()} {torch.get_num_threads()} {digest(graph)} {seen}".encode())
    found.update(images.contiguous().numpy().data)
    return found.hexdigest()


def read(key: str) -> Found | None:
    """What is kept under `key`; None where nothing is, or nothing that can be read."""
    path = _folder() / f"{key}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}  # where linear algebra rounds as usual
        found = _found(tensors)
        os.utime(path)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError) as error:
        log.warning("the moments kept in %s cannot be read (%s) and are found out again", path, error)
        return None
    return found


def save(key: str, found: Found) -> Found:
    """Keeps what was found, unless it is too large or the disk is full; returns it laid out as `read` would."""
    moments, targets = found
    if any(isinstance(numbers, Spilled) and not numbers.in_memory for numbers in found):
        return found
    tensors = {f"{layer}/{TARGET}": target.contiguous() for layer, target in targets.items()}
    for layer, of in moments.items():
        values = {name: getattr(of, name) for name in FIELDS}
        tensors |= {f"{layer}/{name}": value.contiguous() for name, value in values.items() if value is not None}
    if sum(tensor.nbytes for tensor in tensors.values()) <= LARGEST:
        _write(_folder() / f"{key}.safetensors", tensors)
    return _found(tensors)


def _found(tensors: dict[str, torch.Tensor]) -> Found:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition("/")
        parts.setdefault(layer, {})[part] = tensor
    moments = {
        layer: Moments(of["h"], of["g"], of["mean_x"], of["mean_y"], of.get("var_y")) for layer, of in parts.items()
    }
    return moments, {layer: of[TARGET] for layer, of in parts.items()}


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    try:
        with atomic_write(path) as partial:
            save_file(tensors, partial)
        _make_room(path.parent)
    except (OSError, SafetensorError) as error:
        log.warning("the moments could not be kept in %s (%s)", path, error)


def _make_room(folder: Path) -> None:
    """Deletes the files that were read longest ago, until the others take no more than `ALL`."""
    files = [(path.lstat(), path) for path in folder.glob("*.safetensors")]
    total = 0
    for status, path in sorted(files, key=lambda found: found[0].st_mtime, reverse=True):
        total += status.st_size
        if total > ALL:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return user_folder() / "calibration"
