"""Measured points: what was visited of a network and dataset, what was measured earlier, and what came with the app."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from compression.jobs import Baseline
from compression.recipe import Recipe
from compression.records.measurement import LayerReport, Ledger, Measurement
from pages.ui.model import words
from pages.ui.model.words import Words

Source = Literal["visit", "neighbour", "earlier", "reference"]
"""Measured for this visit, beside it while nobody waited, here before, or where the sweep in the app comes from."""


@dataclass(frozen=True)
class Point:
    """One measured recipe; `full` if over the whole test split; `file` is where the compressed network lies.

    `run` is its id in the store, once it is kept there.
    """

    recipe: Recipe
    measurement: Measurement
    full: bool
    file: Path | None = None
    source: Source = "visit"
    layers: tuple[LayerReport, ...] = ()
    ledger: Ledger | None = None
    run: str = ""

    @property
    def key(self) -> str:
        """The recipe's content hash: what a point is known by."""
        return self.recipe.hash

    @property
    def technique(self) -> tuple[str, ...]:
        """The steps that it was made with."""
        return tuple(step.kind for step in self.recipe.steps)


@dataclass
class Trail:
    """What was visited of one network and dataset, in order, each recipe once; `others` were measured elsewhere.

    `labelled` says whether the images have labels, as far as that is known before anything is measured.
    """

    visited: dict[str, Point] = field(default_factory=dict)
    others: dict[str, Point] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    baseline: Baseline | None = None
    labelled: bool = True

    @property
    def words(self) -> Words:
        """Whether accuracy is spoken of, or agreement with fp32."""
        base = [self.baseline.accuracy] if self.baseline else []
        known = [*base, *(point.measurement.accuracy for point in self.points)]
        return words.of(known) if known or self.labelled else words.WORDS["fp32"]

    @property
    def last(self) -> Point | None:
        """The point that was added last."""
        return next(reversed(self.visited.values()), None)

    def add(self, point: Point) -> None:
        """Keeps a point of this visit; the last visit of a recipe counts."""
        self.visited.pop(point.key, None)
        self.visited[point.key] = point

    def know(self, points: Iterable[Point]) -> None:
        """Takes in points from elsewhere; what this machine measured replaces what the reference machine did."""
        for point in points:
            known = self.others.get(point.key)
            if known is None or known.source == "reference":
                self.others[point.key] = point

    def toggle_pin(self, key: str) -> None:
        """Marks a point, or takes the mark off."""
        self.pinned ^= {key}

    def find(self, key: str) -> Point | None:
        """The point known by that key, this visit's first."""
        return self.visited.get(key) or self.others.get(key)

    @property
    def points(self) -> list[Point]:
        """Everything that is known, each recipe once: elsewhere first, then the visit in its order."""
        return [*(p for key, p in self.others.items() if key not in self.visited), *self.visited.values()]
