"""A user's networks travel to the workers of a cluster by the hash of their content, each once; workers keep them.

What comes with the project is on every machine that has it. A worker's own network of the same name stays: it is only
replaced where it was sent before.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compression.errors import Unsupported
from compression.host.atomic_files import atomic_write
from compression.models.model_cards import card_path, user_weights, weights_path

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.(json|safetensors|pt2|onnx)")
MARK = ".sent"
"""Beside a file that came from elsewhere."""


def contents_of(about: Iterable[Any]) -> dict[str, Path]:
    """The files of the networks that a task is about, by name: those that do not come with the project."""
    found: dict[str, Path] = {}
    for each in about:
        model, weights = getattr(each, "model", None), getattr(each, "weights", None)
        card = card_path(model, weights) if isinstance(model, str) and isinstance(weights, str) else None
        if card is not None and card.parent == user_weights():
            found |= {path.name: path for path in (weights_path(card), card)}  # the card comes last: it names the rest
    return found


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lacking(hashes: dict[str, str]) -> list[str]:
    """On a worker: names of the files that it does not have. Raises `Unsupported` for another file of its own."""
    missing = []
    for name, wanted in hashes.items():
        path = _place(name)
        if path.is_file() and hash_of(path) == wanted:
            continue
        if path.is_file() and not path.with_name(name + MARK).is_file():
            raise Unsupported(f"The worker has another network of its own by the name {path.stem!r}; rename one.")
        missing.append(name)
    return missing


def take(contents: dict[str, bytes]) -> None:
    """On a worker: keeps the files that were sent."""
    for name, content in contents.items():
        path = _place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(name + MARK).touch()
        with atomic_write(path) as partial:
            partial.write_bytes(content)


def _place(name: str) -> Path:
    """Where a file of that name lies. Raises `Unsupported` for what is no plain name."""
    if not FILE_NAME.fullmatch(name):
        raise Unsupported(f"No network is kept under the name {name[:80]!r}.")
    return user_weights() / name
