"""Decoded datasets on disk: one safetensors file each, written whole or not at all."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder

log = logging.getLogger(__name__)

FORMAT = "3"  # counts up when the meaning of a cached file changes


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels as they came: uint8 [n, C, H, W] and int64 [n] for both parts, class names, and one sentence of origin."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    source: str


_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def path_of(key: str) -> Path:
    """Where the dataset with this key is kept."""
    return user_folder() / "datasets" / "cache" / f"{key}.safetensors"


def read(key: str, state: str = "") -> Decoded | None:
    """The dataset kept under `key` in that `state` of its source, or None where there is none that can be read."""
    path = path_of(key)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("state")) != (FORMAT, state):
                return None
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
            found = Decoded(**tensors, classes=tuple(json.loads(metadata["classes"])), source=metadata["source"])
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("the cached dataset %s cannot be read (%r) and is made again", path, error)
        return None
    if not _is_sound(found):
        log.warning("the cached dataset %s does not hold images and labels that go together, and is made again", path)
        return None
    return found


def _is_sound(found: Decoded) -> bool:
    """Whether this program can have written it: images of one shape, a label for each."""
    parts = ((found.train_images, found.train_labels), (found.test_images, found.test_labels))
    return all(
        images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1:] == found.test_images.shape[1:]
        and labels.dtype == torch.int64 and labels.shape == images.shape[:1]
        and bool((labels >= 0).all())
        for images, labels in parts
    )  # fmt: skip


def write(key: str, decoded: Decoded, state: str = "") -> None:
    """Keeps the dataset; a reader or a second writer never sees half a file. A full disk only costs the speed-up."""
    path = path_of(key)
    metadata = {"format": FORMAT, "state": state, "classes": json.dumps(decoded.classes), "source": decoded.source}
    try:
        with atomic_write(path) as partial:
            save_file({name: getattr(decoded, name).contiguous() for name in _TENSORS}, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        log.warning("the decoded dataset could not be kept in %s (%s)", path, error)
