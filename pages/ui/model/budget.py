"""What the user can afford, and the best measured point within it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from compression.jobs import Baseline
from compression.language import N_, _, n_
from compression.records.measurement import Measurement
from pages.ui.model import wording
from pages.ui.model.axes import Name
from pages.ui.model.points import Point
from pages.ui.model.words import WORDS, Words
from pages.ui.model.words import of as words_of

Wish = Literal["smallest", "fastest", "most accurate"]
WISHES: tuple[Wish, ...] = (N_("smallest"), N_("fastest"), N_("most accurate"))


USUAL_DROP = 1.0
"""Points below fp32 that are asked for where nobody sets a limit of accuracy."""


@dataclass(frozen=True)
class Budget:
    """Limits, None where there is none: points of accuracy lost, KB of the file, latency as a share of fp32's."""

    drop: float | None = None
    size: float | None = None
    latency: float | None = None
    wish: Wish = "smallest"

    @property
    def asked(self) -> Self:
        """The same with a limit of accuracy: nobody asks for the smallest or fastest file whatever it answers."""
        return self if self.drop is not None or self.wish == "most accurate" else replace(self, drop=USUAL_DROP)

    @property
    def limits(self) -> list[str]:
        """The limits in words."""
        return self.limits_in(WORDS["labels"])

    def limits_in(self, words: Words) -> list[str]:
        """The limits in the words for these images."""
        return [
            *([f"{_(words.lost)} ≤ {n_('{n:g} point', '{n:g} points', self.drop)}"] if self.drop is not None else []),
            *([_("size ≤ {size:g} KB", size=self.size)] if self.size is not None else []),
            *([_("latency ≤ {latency:g} of fp32", latency=self.latency)] if self.latency is not None else []),
        ]

    def edges(self, x: Name, y: Name, baseline: Baseline | None) -> tuple[float | None, float | None]:
        """Where the limits lie on a chart's axes."""
        return self._edge(x, baseline), self._edge(y, baseline)

    def _edge(self, name: Name, baseline: Baseline | None) -> float | None:
        if name == "accuracy" and self.drop is not None and baseline is not None:
            return 100 * baseline.accuracy.value - self.drop
        return {"size": self.size, "latency": self.latency}.get(name)

    def allows(self, measured: Measurement) -> bool:
        """Whether a measurement keeps every limit; what was not measured keeps none."""
        latency = measured.latency
        return (
            (self.drop is None or 100 * measured.accuracy.drop <= self.drop + 1e-9)
            and (self.size is None or measured.size_bytes <= 1000 * self.size)
            and (self.latency is None or (latency is not None and latency.ratio <= self.latency))
        )


@dataclass(frozen=True)
class Advice:
    """The point that a budget names, if there is one, and why."""

    point: Point | None
    reason: str


def advise(budget: Budget, points: Sequence[Point]) -> Advice:
    """The best point within the budget as it is `asked`, by what the user wishes most, then by accuracy."""
    asked, words = budget.asked, words_of(point.measurement.accuracy for point in points)
    unasked = "" if asked == budget else usual(words)
    measured = [point for point in points if point.full and point.recipe.steps]
    within = [point for point in measured if asked.allows(point.measurement)]
    if not within:
        return Advice(None, wording.in_a_row(_nothing(asked, measured, words), unasked if measured else ""))
    best = min(within, key=lambda point: (_rank(point.measurement, asked.wish), -point.measurement.accuracy.value))
    count = _("{count} of {count_2} measured points", count=len(within), count_2=len(measured))
    keep = _("are within the budget") if len(within) != 1 else _("is within the budget")
    flattered = _(words.flattered) if len(within) > 1 else ""  # choosing among many test results flatters
    found = _("{count} {keep}; this one is the {called}.", count=count, keep=keep, called=called(asked.wish, words))
    return Advice(best, wording.in_a_row(found, flattered, unasked))


def usual(words: Words) -> str:
    """What is said where nobody sets a limit of accuracy."""
    return _(
        "No limit on {short} is set; the default is a drop of at most {USUAL_DROP:g} point.",
        short=_(words.short),
        USUAL_DROP=USUAL_DROP,
    )


def called(wish: Wish, words: Words) -> str:
    """What a wish is called for these images."""
    return _(words.best if wish == "most accurate" else wish)


def _rank(measured: Measurement, wish: Wish) -> float:
    if wish == "smallest":
        return measured.size_bytes
    if wish == "fastest":
        return measured.latency.ratio if measured.latency else float("inf")
    return -measured.accuracy.value


def _nothing(budget: Budget, measured: Sequence[Point], words: Words) -> str:
    if not measured:
        return _("Nothing measured yet.")
    closest = {
        "accuracy": min(100 * p.measurement.accuracy.drop for p in measured),
        "size": min(p.measurement.size_bytes for p in measured),
    }
    return _(
        "None of the {count} measured points meets {limits_in}. The smallest drop is {max:.2f} "
        "points, the smallest file {size}.",
        count=len(measured),
        limits_in=_(" and ").join(budget.limits_in(words)),
        max=max(0.0, closest["accuracy"]),
        size=wording.size(int(closest["size"])),
    )
