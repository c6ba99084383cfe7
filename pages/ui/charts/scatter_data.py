"""What a chart of points shows: computed here, drawn in `scatter_figure`."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compression.host.machine import this_machine
from compression.language import N_, _, n_, shown
from compression.records.measurement import Accuracy, Interval, LearningPoint
from pages.ui.model import wording
from pages.ui.model.axes import AXES, Axis, Name
from pages.ui.model.budget import Budget
from pages.ui.model.pareto import Spot, Standing, stand
from pages.ui.model.points import Point, Trail

Role = Literal["baseline", "reference", "neighbour", "visited", "now"]


ROLES: dict[str, Role] = {"visit": "visited", "neighbour": "neighbour"}
MEASURED = N_("measured")
"""The provenance of what this machine has just measured."""


@dataclass(frozen=True)
class Mark:
    """One point of a chart in the units of its axes. `key` finds the point again; the baseline has none."""

    role: Role
    standing: Standing
    spot: Spot
    text: str
    key: str = ""
    technique: tuple[str, ...] = ()
    pinned: bool = False
    selected: bool = False

    @property
    def x_arms(self) -> tuple[float, float]:
        """How far the interval reaches to the left and to the right."""
        return self.spot.x - self.spot.x_interval.low, self.spot.x_interval.high - self.spot.x

    @property
    def y_arms(self) -> tuple[float, float]:
        """How far the interval reaches down and up."""
        return self.spot.y - self.spot.y_interval.low, self.spot.y_interval.high - self.spot.y


@dataclass(frozen=True)
class Chart:
    """Marks with the visit in its order, the Pareto front's corners from left to right, and the budget's edges.

    `limits` are the edges in the axes' units, None where the budget does not speak of an axis; `ghost` is where the
    current recipe is expected while it is not measured; `course` is where its training has led so far, not on the test
    images.
    """

    x: Axis
    y: Axis
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]
    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    way: tuple[tuple[float, float], ...]
    limits: tuple[float | None, float | None]
    alt: str
    ghost: tuple[float, float] | None = None
    course: tuple["Stage", ...] = ()

    def of(self, role: Role) -> list[Mark]:
        """The marks with that role."""
        return [mark for mark in self.marks if mark.role == role]


@dataclass(frozen=True)
class Stage:
    """Where an evaluation of a training stands on a chart."""

    x: float
    y: float
    step: int
    text: str


def course(start: Point, curve: Sequence[LearningPoint], x_name: Name, y_name: Name) -> tuple[Stage, ...]:
    """The evaluations of a training: accuracies on validation images, all else as its start has it; () without both."""
    if (x_name == "accuracy") == (y_name == "accuracy"):
        return ()
    other = AXES[y_name if x_name == "accuracy" else x_name].of_point(start)
    if other is None:
        return ()
    stages = []
    for point in (p for p in curve if p.accuracy is not None):
        percent = 100 * float(point.accuracy or 0)
        x, y = (percent, other[0]) if x_name == "accuracy" else (other[0], percent)
        stages.append(
            Stage(
                x,
                y,
                point.step,
                _(
                    "Step {step:,}: validation {percent:.2f}%<br>simulated during training; the file is measured "
                    "at the end",
                    step=point.step,
                    percent=percent,
                ),
            )
        )
    return tuple(stages)


def chart(
    trail: Trail, now: Point | None, x_name: Name, y_name: Name, *, budget: Budget | None = None, selected: str = ""
) -> Chart:
    """What the chart of `y_name` against `x_name` shows."""
    x, y = (AXES[name].called(trail.words) for name in (x_name, y_name))
    placed = [(role, point, spot) for role, point in _all(trail, now) if (spot := _spot(point, x, y))]
    base = None if trail.baseline is None else _pair(x.of_baseline(trail.baseline), y.of_baseline(trail.baseline), True)
    spots = [*(spot for *_, spot in placed), *([base] if base else [])]
    standings = stand(spots, x.better, y.better)
    marks = [
        Mark(role, standing, spot, text(point), point.key, point.technique, point.key in trail.pinned,
             point.key == selected)
        for (role, point, spot), standing in zip(placed, standings, strict=False)
    ]  # fmt: skip
    if trail.baseline is not None and base is not None:
        at = len(marks) - (bool(marks) and marks[-1].role == "now")
        marks.insert(at, Mark("baseline", standings[-1], base, baseline_text(trail)))
    front = sorted({(m.spot.x, m.spot.y) for m in marks if m.standing == "front" and m.spot.full})
    way = tuple((m.spot.x, m.spot.y) for m in marks if m.role in ("visited", "now"))
    ticks = [decades(values) if axis.logarithmic else () for axis, values in _values(x, y, marks)]
    limits = (None, None) if budget is None else budget.edges(x_name, y_name, trail.baseline)
    return Chart(x, y, ticks[0], ticks[1], tuple(marks), tuple(front), way, limits, _alt(marks, x, y))


def _all(trail: Trail, now: Point | None) -> list[tuple[Role, Point]]:
    """Every point with its role; the current one comes last."""
    elsewhere = [point for point in trail.points if now is None or point.key != now.key]
    roles: list[tuple[Role, Point]] = [(ROLES.get(p.source, "reference"), p) for p in elsewhere]
    return [*roles, *([("now", now)] if now is not None else [])]  # type: ignore[list-item]


def _spot(point: Point, x: Axis, y: Axis) -> Spot | None:
    return _pair(x.of_point(point), y.of_point(point), point.full)


def _pair(x: tuple[float, Interval] | None, y: tuple[float, Interval] | None, full: bool) -> Spot | None:
    return None if x is None or y is None else Spot(*x, *y, full)


def _values(x: Axis, y: Axis, marks: Sequence[Mark]) -> list[tuple[Axis, list[float]]]:
    return [(x, [mark.spot.x for mark in marks]), (y, [mark.spot.y for mark in marks])]


def decades(values: Sequence[float]) -> tuple[float, ...]:
    """The numbers 1, 2, 5, 10, 20, … that span `values` (positive), for a logarithmic axis."""
    if not values:
        return ()
    steps = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
    low = max(step for step in steps if step <= max(min(values), steps[0]))
    high = min(step for step in steps if step >= min(max(values), steps[-1]))
    return tuple(step for step in steps if low <= step <= high)


def text(point: Point) -> str:
    """What a hover tells: the recipe in words and the three figures."""
    measured = point.measurement
    accuracy, latency = measured.accuracy, measured.latency
    told = [f"<b>{line}</b>" for line in wording.recipe_lines(point.recipe)]
    told += [_accuracy(accuracy), wording.size(measured.size_bytes)]
    if latency:
        told.append(
            _("{p50_ms}, {ratio:.2f} of fp32", p50_ms=wording.milliseconds(latency.p50_ms), ratio=latency.ratio)
        )
    told.append(f"{html.escape(shown(measured.provenance))}, {_images(point)}")
    if point.source != "visit":
        told.append(html.escape(where(point)))
    return "<br>".join(told)


def _images(point: Point) -> str:
    """'all 10,000 test images', or which others."""
    found = point.measurement.accuracy
    if found.split == "validation":
        return _("{n:,} validation images", n=found.n)
    told = n_("all {n:,} test image", "all {n:,} test images", found.n)
    return told if point.full else n_("first {n:,} test image", "first {n:,} test images", found.n)


def where(point: Point) -> str:
    """'this machine', 'reference machine (AMD EPYC)', or the processor of another one that shares the store."""
    machine = point.measurement.machine
    if point.source == "reference":
        return _("reference machine ({cpu})", cpu=machine.cpu)
    return _("this machine") if machine.id == this_machine().id else _("another machine ({cpu})", cpu=machine.cpu)


def baseline_text(trail: Trail) -> str:
    """What a hover tells of the fp32 file."""
    assert trail.baseline is not None
    accuracy = trail.baseline.accuracy
    told = _("the reference for agreement") if accuracy.reference == "fp32" else _accuracy(accuracy)
    return f"<b>{_(wording.BASELINE)}</b><br>{told}<br>{wording.size(trail.baseline.size_bytes)}"


def _accuracy(found: Accuracy) -> str:
    bounds, n = found.interval, found.n
    alike = _(" agreement with fp32") if found.reference == "fp32" else ""
    return f"{wording.percent(found.value, n)}{alike} ({wording.interval(bounds.low, bounds.high, n)})"


def _alt(marks: Sequence[Mark], x: Axis, y: Axis) -> str:
    """The chart in a sentence, for those who hear it."""
    what = _("{upper}{short} against {short_2}", upper=y.short[:1].upper(), short=y.short[1:], short_2=x.short)
    now = next((mark for mark in marks if mark.role == "now"), None)
    if now is None:
        return (
            _("{what}, {count} points.", what=what, count=len(marks))
            if marks
            else _("{what}; nothing measured yet.", what=what)
        )
    current = now.text.replace("<br>", ", ").replace("<b>", "").replace("</b>", "")
    return _("{what}, {count} points. Current: {current}.", what=what, count=len(marks), current=current)
