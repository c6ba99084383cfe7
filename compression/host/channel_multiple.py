"""Of how many channels layers keep a multiple on this machine: what was measured here once, or eight until then.

The measuring is done by `measure.channel_multiple`; recipes read its result here, without an engine. The number stands
in every recipe that is made, so that a recipe means the same on every machine.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from compression.errors import UserError
from compression.host.atomic_files import atomic_write
from compression.host.cpu import machine_id
from compression.host.folders import user_folder

Multiple = Literal[1, 4, 8, 16]
USUAL: Multiple = 8
"""Until a machine has been measured."""


@dataclass(frozen=True)
class Timed:
    """A layer of `narrow` channels against one of `wide`: ratios of latency and of multiply-accumulates."""

    kernel: str
    narrow: int
    wide: int
    ratio: float
    low: float
    high: float
    work: float


@dataclass(frozen=True)
class Rounding:
    """The multiple that was chosen on this machine, why, in a sentence, and what was measured."""

    multiple: Multiple
    reason: str
    runtime: str
    timed: tuple[Timed, ...] = ()


_ROUNDING = TypeAdapter(Rounding)


def known() -> Rounding | None:
    """What was measured on this machine; None where nothing was, or where it cannot be read.

    Every recipe asks: the file is read again only when it is another one.
    """
    try:
        path = _path()
        about = path.stat()
    except (OSError, UserError):
        return None
    return _read(path, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=4)
def _read(path: Path, written: int, size: int, number: int) -> Rounding | None:
    try:
        return _ROUNDING.validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def multiple() -> Multiple:
    """The multiple that new recipes get here."""
    found = known()
    return found.multiple if found else USUAL


def why(multiple: int) -> str:
    """In a sentence, where layers' multiple of so many channels comes from."""
    found = known()
    if found and found.multiple == multiple:
        return found.reason
    return f"Multiples of {multiple}, which nothing was measured for on this machine."


def save(rounding: Rounding) -> None:
    """Stores what was measured for this machine, by an atomic write. Raises `OSError`."""
    with atomic_write(_path()) as partial:
        partial.write_text(json.dumps(asdict(rounding), indent=1), encoding="utf-8")


def _path() -> Path:
    return user_folder() / "machine" / f"rounding-{machine_id()}.json"
