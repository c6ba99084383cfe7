"""What `python -m benchmarks lessons` measured: rows by table, each with its recipe and everything it was measured on.

A row that was planned with another recipe, or that has not been measured yet, says so instead of showing a number.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from compression.errors import UserError
from compression.lessons.tables import TABLES, Planned
from compression.recipe import Recipe
from compression.records.measurement import Machine, Measurement

FOLDER = Path(__file__).parent
JSON = FOLDER / "measured.json"
SAMPLES = FOLDER / "samples.safetensors"

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """A planned row and what was measured, if it was."""

    planned: Planned
    measurement: Measurement | None

    @property
    def accuracy(self) -> float | None:
        """Share of test images in [0, 1]."""
        return self.measurement.accuracy.value if self.measurement else None

    @property
    def latency_ratio(self) -> float | None:
        """Time for one image over the fp32 file's."""
        return self.measurement.latency.ratio if self.measurement and self.measurement.latency else None

    @property
    def size_share(self) -> float | None:
        """Bytes of the file over the fp32 file's."""
        return self.measurement.size_bytes / self.measurement.baseline_size_bytes if self.measurement else None

    @property
    def recipe(self) -> Recipe | None:
        """The recipe, where this version knows all of its steps."""
        return recipe_of(self.planned)


def recipe_of(planned: Planned) -> Recipe | None:
    """The planned row's recipe, or None where a step or setting in it is not known here."""
    try:
        return Recipe.from_dict(planned.recipe)
    except UserError:
        return None


def rows(table: str) -> tuple[Row, ...]:
    """All planned rows of a table, in order."""
    found = _entries()
    return tuple(Row(planned, _measurement(planned, found.get(key(planned)))) for planned in TABLES[table])


def row(table: str, name: str) -> Row:
    """The one row of that name."""
    return next(found for found in rows(table) if found.planned.name == name)


def key(planned: Planned) -> str:
    """What identifies a row: network, images, and what the plan says of the recipe."""
    return f"{planned.model} {planned.dataset} {json.dumps(planned.recipe, sort_keys=True)}"


def extra(name: str) -> Any:
    """Something measured that is no compressed file: 'students', 'convolutions'; None where it was not measured."""
    return document().get(name)


def machine() -> Machine | None:
    """Where the rows were measured."""
    found = document().get("machine")
    return Machine(**found) if found else None


def measured_at() -> str:
    """Date and time (UTC) of the measurement."""
    return str(document().get("at", ""))


@lru_cache(maxsize=1)
def samples() -> dict[str, np.ndarray]:
    """A few real images and what a pass over training images found for one layer; see benchmarks/lessons.py."""
    return load_file(SAMPLES)


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole file; empty where there is none."""
    return json.loads(JSON.read_text(encoding="utf-8")) if JSON.is_file() else {}


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    return {entry["key"]: entry for entry in document().get("rows", ())}


def _measurement(planned: Planned, entry: dict[str, Any] | None) -> Measurement | None:
    """The entry's measurement, if its recipe is still what the plan means: a default may have changed since."""
    recipe = recipe_of(planned)
    if entry is None or recipe is None or not agree(entry["recipe"], recipe.to_dict()):
        return None
    return Measurement.from_plain(entry["measurement"])


def agree(measured: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two recipes have the same steps, and the same value wherever both have one: a new setting is at rest."""
    before, after = measured["steps"], now["steps"]
    if len(before) != len(after):
        return False
    pairs = [(measured, now), *zip(before, after, strict=True)]
    return all(a[name] == b[name] for a, b in pairs for name in a.keys() & b.keys() - {"steps"})
