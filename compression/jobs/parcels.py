"""A user's networks travel to the workers of a cluster by the hash of their content, each once; workers keep them.

What comes with the project is on every machine that has it. A worker's own network of the same name stays: only what
was sent before, and is still as it was sent, is replaced.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from compression.errors import Unsupported, UserError
from compression.host.atomic_files import atomic_write
from compression.jobs.messages import Request
from compression.models.model_cards import FORMATS, card_path, user_weights, weights_path
from compression.recipe import Recipe

T = TypeVar("T")

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.(json|safetensors|pt2|onnx)")
MARK = ".sent"
"""Ends the name of what lies beside a file that came from elsewhere, and holds the hash that it came with."""


def contents_of(about: Iterable[Any]) -> dict[str, Path]:
    """The files of the networks that a task is about, by name: those that do not come with the project."""
    found: dict[str, Path] = {}
    for model, weights in (pair for each in about for pair in _networks(each)):
        card = card_path(model, weights)
        if card is not None and card.parent == user_weights():
            found |= {path.name: path for path in (weights_path(card), card)}  # the card comes last: it names the rest
    return found


def _networks(about: Any) -> Iterator[tuple[str, str]]:
    """The networks that a part of a task names: what is compressed, and who teaches it."""
    model, weights = getattr(about, "model", None), getattr(about, "weights", None)
    if isinstance(model, str) and isinstance(weights, str):
        yield model, weights
    if isinstance(about, Request):
        with suppress(UserError):  # the worker refuses a recipe that cannot be read
            recover = Recipe.from_json(about.recipe).get("recover")
            yield from ((name, about.dataset) for name in getattr(recover, "teachers", ()))


def hashes_of(files: dict[str, Path]) -> dict[str, str]:
    """The hash of each file's content, by name."""
    return {name: hash_of(path) for name, path in files.items()}


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    about = path.stat()
    return _hash(path, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=256)
def _hash(path: Path, written: int, size: int, number: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lacking(hashes: dict[str, str]) -> list[str]:
    """On a worker: names of the files that it does not have. Raises `Unsupported` for another file of its own."""
    missing = []
    for name, wanted in hashes.items():
        path = _place(name)
        same = path.is_file() and hash_of(path) == wanted
        if any(not _was_sent(each) for each in ([] if same else [path]) + _others(path) if each.is_file()):
            raise Unsupported(f"The worker has another network of its own by the name {path.stem!r}; rename one.")
        if not same or _others(path):
            missing.append(name)
    return missing


def take(contents: dict[str, bytes]) -> None:
    """On a worker: keeps the files that were sent, in place of those that were sent before by that name."""
    for name, content in contents.items():
        path = _place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in _others(path):
            other.unlink(missing_ok=True)
            _mark(other).unlink(missing_ok=True)
        _mark(path).write_text(hashlib.sha256(content).hexdigest(), encoding="ascii")
        with atomic_write(path) as partial:
            partial.write_bytes(content)


def with_networks(hashes: dict[str, str], run: Callable[..., T], *about: Any) -> T:
    """On a worker: `run(*about)`, unless another program has replaced a network that the task is about meanwhile."""
    if changed := lacking(hashes):
        raise Unsupported(f"Another program sent the worker a network of the same name {_place(changed[0]).stem!r}.")
    return run(*about)


def _others(path: Path) -> list[Path]:
    """What there is of the same network in other formats: only one of them would be read."""
    if path.suffix not in FORMATS:
        return []
    return [other for other in map(path.with_suffix, FORMATS) if other != path and other.is_file()]


def _was_sent(path: Path) -> bool:
    """Whether a file came from elsewhere, and nobody has put another in its place."""
    try:
        return _mark(path).read_text(encoding="ascii").strip() == hash_of(path)
    except (OSError, ValueError):
        return False


def _mark(path: Path) -> Path:
    return path.with_name(path.name + MARK)


def _place(name: str) -> Path:
    """Where a file of that name lies. Raises `Unsupported` for what is no plain name."""
    if not FILE_NAME.fullmatch(name):
        raise Unsupported(f"No network is kept under the name {name[:80]!r}.")
    return user_weights() / name
