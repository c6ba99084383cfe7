"""Budget edges that can be taken hold of: where they stand on a chart, and what a moved one makes of the budget."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from compression.jobs import Baseline
from compression.language import _
from pages.ui.model.axes import Name
from pages.ui.model.budget import Budget
from pages.ui.model.view import LIMITS, labels
from pages.ui.model.words import of as words_of

LIMIT_OF: dict[Name, str] = {"accuracy": "drop", "size": "size", "latency": "latency"}
"""Which limit of a budget an axis has."""


@dataclass(frozen=True)
class Handle:
    """An edge on an axis of a chart, in its units; `step` is how far a key moves it."""

    limit: str
    axis: Literal["x", "y"]
    label: str
    value: float
    low: float
    high: float
    step: float


def handles(budget: Budget, x: Name, y: Name, baseline: Baseline | None) -> list[dict[str, Any]]:
    """The handles of a chart's edges, as the chart needs them."""
    return [asdict(made) for axis, name in (("x", x), ("y", y)) if (made := _handle(budget, axis, name, baseline))]


def _handle(budget: Budget, axis: Any, name: Name, baseline: Baseline | None) -> Handle | None:
    limit = LIMIT_OF.get(name)
    edge = budget.edges(name, name, baseline)[0]
    if limit is None or edge is None:
        return None
    low, high, step = LIMITS[limit]
    if limit == "drop":
        assert baseline is not None
        best = 100 * baseline.accuracy.value
        low, high = best - high, best - low
    called = labels(words_of([baseline.accuracy] if baseline else []))[limit][0]
    return Handle(limit, axis, _("Limit of {called}", called=called), edge, low, high, step)


def moved(budget: Budget, limit: str, value: float, baseline: Baseline | None) -> Budget:
    """The budget with an edge at `value` on its axis, rounded to what its control can show."""
    if limit not in LIMITS or (limit == "drop" and baseline is None):
        return budget
    if limit == "drop":
        assert baseline is not None
        value = 100 * baseline.accuracy.value - value
    low, high, step = LIMITS[limit]
    rounded: dict[str, Any] = {limit: round(min(max(round(value / step) * step, low), high), 6)}
    return replace(budget, **rounded)
