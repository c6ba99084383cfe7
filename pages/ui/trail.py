"""The points that were visited, and what a chart of them shows: computed here, drawn in `charts`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from compression.recipe import Recipe
from compression.results import Interval, Measurement
from compression.worker import Baseline
from pages.ui import words

Cost = Literal["size", "latency"]
Role = Literal["baseline", "visited", "now"]
Standing = Literal["front", "tie", "behind"]


@dataclass(frozen=True)
class Point:
    """One measured recipe; `full` if over the whole test split; `file` is where the compressed network lies."""

    recipe: Recipe
    measurement: Measurement
    full: bool
    file: Path | None = None


@dataclass
class Trail:
    """What was visited of one network and dataset, in order, each recipe once."""

    visited: dict[str, Point] = field(default_factory=dict)
    baseline: Baseline | None = None

    @property
    def last(self) -> Point | None:
        """The point that was added last."""
        return next(reversed(self.visited.values()), None)

    def add(self, point: Point) -> None:
        """Keeps a point; the last visit of a recipe counts."""
        self.visited.pop(point.recipe.hash, None)
        self.visited[point.recipe.hash] = point


@dataclass(frozen=True)
class Mark:
    """One point of a chart, in the units of its axes: KB or times the baseline, and percent."""

    role: Role
    standing: Standing
    full: bool
    x: float
    x_interval: Interval
    y: float
    y_interval: Interval
    text: str

    @property
    def x_arms(self) -> tuple[float, float]:
        """How far the interval reaches to the left and to the right."""
        return self.x - self.x_interval.low, self.x_interval.high - self.x

    @property
    def y_arms(self) -> tuple[float, float]:
        """How far the interval reaches down and up."""
        return self.y - self.y_interval.low, self.y_interval.high - self.y


@dataclass(frozen=True)
class Chart:
    """Marks in the order of the visit, and the Pareto front's corners from cheap to dear."""

    cost: Cost
    x_title: str
    x_ticks: tuple[float, ...]
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    alt: str

    def of(self, role: Role) -> list[Mark]:
        """The marks with that role."""
        return [mark for mark in self.marks if mark.role == role]


COSTS: tuple[Cost, ...] = ("size", "latency")
TITLES: dict[Cost, str] = {"size": "File size, KB (logarithmic)", "latency": "Latency (fp32 = 1)"}


def chart(trail: Trail, now: Point | None, cost: Cost) -> Chart:
    """What the chart of accuracy against `cost` shows."""
    elsewhere = [point for point in trail.visited.values() if now is None or point.recipe != now.recipe]
    marks = [_mark(point, "visited", cost) for point in elsewhere]
    if trail.baseline is not None:
        marks.append(_baseline(trail.baseline, cost))
    if now is not None:
        marks.append(_mark(now, "now", cost))
    found = [mark for mark in marks if mark is not None]
    standings = stand(found)
    placed = tuple(replace(mark, standing=standing) for mark, standing in zip(found, standings, strict=True))
    front = sorted({(mark.x, mark.y) for mark in placed if mark.standing == "front" and mark.full})
    ticks = decades([mark.x for mark in placed]) if cost == "size" else ()
    return Chart(cost, TITLES[cost], ticks, placed, tuple(front), _alt(placed, cost))


def decades(values: Sequence[float]) -> tuple[float, ...]:
    """The numbers 1, 2, 5, 10, 20, … that span `values` (positive), for a logarithmic axis."""
    if not values:
        return ()
    steps = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
    low = max(step for step in steps if step <= max(min(values), steps[0]))
    high = min(step for step in steps if step >= min(max(values), steps[-1]))
    return tuple(step for step in steps if low <= step <= high)


def stand(marks: Sequence[Mark]) -> list[Standing]:
    """Where each mark stands among all that were measured in full.

    'front': nothing is both cheaper and more accurate. 'tie': something is, but each of the two lies inside the other's
    intervals, so the measurement cannot tell them apart. 'behind': the rest.
    """
    rivals = [mark for mark in marks if mark.full]
    return [_stand(mark, rivals) for mark in marks]


def _stand(mark: Mark, rivals: Sequence[Mark]) -> Standing:
    better = [rival for rival in rivals if _dominates(rival, mark)]
    if not better:
        return "front"
    return "tie" if all(_indistinct(rival, mark) for rival in better) else "behind"


def _dominates(a: Mark, b: Mark) -> bool:
    return a.x <= b.x and a.y >= b.y and (a.x, a.y) != (b.x, b.y)


def _indistinct(a: Mark, b: Mark) -> bool:
    return all(
        _inside(a_value, b_interval) and _inside(b_value, a_interval)
        for a_value, a_interval, b_value, b_interval in (
            (a.x, a.x_interval, b.x, b.x_interval),
            (a.y, a.y_interval, b.y, b.y_interval),
        )
    )


def _inside(value: float, interval: Interval) -> bool:
    return interval.low <= value <= interval.high


def _mark(point: Point, role: Role, cost: Cost) -> Mark | None:
    """The point on the chart; None where its cost was not measured."""
    measured = point.measurement
    x = _cost(measured, cost)
    if x is None:
        return None
    accuracy = measured.accuracy
    y_interval = Interval(100 * accuracy.interval.low, 100 * accuracy.interval.high)
    return Mark(role, "front", point.full, *x, 100 * accuracy.value, y_interval, _text(point))


def _cost(measured: Measurement, cost: Cost) -> tuple[float, Interval] | None:
    if cost == "size":
        kilobytes = measured.size_bytes / 1000
        return kilobytes, Interval(kilobytes, kilobytes)
    latency = measured.latency
    return None if latency is None else (latency.ratio, latency.ratio_interval)


def _baseline(baseline: Baseline, cost: Cost) -> Mark:
    """The fp32 file, which every latency is a ratio to."""
    x = baseline.size_bytes / 1000 if cost == "size" else 1.0
    accuracy = baseline.accuracy
    y_interval = Interval(100 * accuracy.interval.low, 100 * accuracy.interval.high)
    told = _accuracy(accuracy.value, accuracy.interval, accuracy.n)
    text = f"<b>{words.BASELINE}</b><br>{told}<br>{words.size(baseline.size_bytes)}"
    return Mark("baseline", "front", True, x, Interval(x, x), 100 * accuracy.value, y_interval, text)


def _text(point: Point) -> str:
    """What a hover tells: the recipe in words and the three figures."""
    measured = point.measurement
    accuracy, latency = measured.accuracy, measured.latency
    text = [f"<b>{line}</b>" for line in words.recipe_lines(point.recipe)]
    text += [_accuracy(accuracy.value, accuracy.interval, accuracy.n), words.size(measured.size_bytes)]
    if latency:
        text.append(f"{words.milliseconds(latency.p50_ms)}, {latency.ratio:.2f} of fp32")
    text.append(f"{measured.provenance}, {'all' if point.full else 'first'} {accuracy.n:,} test images")
    return "<br>".join(text)


def _accuracy(value: float, bounds: Interval, n: int) -> str:
    return f"{words.percent(value, n)} ({words.interval(bounds.low, bounds.high, n)})"


def _alt(marks: Sequence[Mark], cost: Cost) -> str:
    """The chart in a sentence, for those who hear it."""
    what = "file size" if cost == "size" else "latency"
    now = next((mark for mark in marks if mark.role == "now"), None)
    if now is None:
        return f"Accuracy against {what}; nothing is measured yet."
    current = now.text.replace("<br>", ", ").replace("<b>", "").replace("</b>", "")
    return f"Accuracy against {what}, {len(marks)} points. The current one: {current}."
