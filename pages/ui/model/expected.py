"""Where the point will probably go while a slider is dragged: interpolated, for the charts to show at once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compression.errors import UserError
from compression.recipe import Recipe, interpolation
from compression.recipe.interpolation import Known
from compression.steps import STEPS, bounds_of, choices_of
from pages.ui.model import widget_values
from pages.ui.model.axes import AXES, Name
from pages.ui.model.points import Point
from pages.ui.model.widget_values import Positions

STOPS = 9
"""So many positions of a slider are foreseen; the browser draws a line between them."""

Way = list[tuple[float, dict[str, float]]]


def known(points: Sequence[Point]) -> Known:
    """What the measured points say."""
    return interpolation.known([(point.recipe, _values(point)) for point in points if point.full], list(AXES))


def _values(point: Point) -> dict[str, float | None]:
    readings = {name: axis.of_point(point) for name, axis in AXES.items()}
    return {name: reading and reading[0] for name, reading in readings.items()}


@dataclass(frozen=True)
class Foreseen:
    """What is expected of a recipe by axis, and along each of its sliders."""

    values: dict[str, float]
    ways: dict[str, Way]

    def here(self, x: Name, y: Name) -> tuple[float, float] | None:
        """Where the recipe is expected on a chart."""
        return (self.values[x], self.values[y]) if x in self.values and y in self.values else None

    def on(self, x: Name, y: Name) -> dict[str, dict[str, list[float]]]:
        """The ways as a chart needs them."""
        return on_axes(self.ways, x, y)


def foresee(recipe: Recipe, points: Sequence[Point], positions: Positions) -> Foreseen:
    """What the measured points let expect of a recipe and of its neighbours."""
    among = known(points)
    return Foreseen(interpolation.predict(recipe, among), ways(recipe, among, positions))


def ways(recipe: Recipe, among: Known, positions: Positions) -> dict[str, Way]:
    """For the class of each slider that the recipe shows: its positions, and what is expected there."""
    found = {}
    for step in recipe.steps:
        for name in STEPS[step.kind].model_fields:
            path = f"{step.kind}.{name}"
            stops: list[tuple[float, Any]] = [*enumerate(positions[path])] if path in positions else _stops(path)
            if way := _way(recipe, path, stops, among):
                found[css_class(path)] = way
    return found


def _way(recipe: Recipe, path: str, stops: list[tuple[float, Any]], among: Known) -> Way:
    way = []
    for position, value in stops:
        try:
            expected = interpolation.predict(recipe.with_setting(path, value), among)
        except UserError:  # settings that do not go together
            continue
        if expected:
            way.append((position, expected))
    return way if len(way) > 1 else []


def _stops(path: str) -> list[tuple[float, Any]]:
    """Positions as the browser counts them, with the values that they stand for."""
    kind, _, name = path.partition(".")
    field = STEPS[kind].model_fields[name]
    if choices := choices_of(field):
        slides = len(choices) > widget_values.SEGMENTS and not all(isinstance(choice, str) for choice in choices)
        return list(enumerate(choices)) if slides else []
    low, high = bounds_of(field)
    if field.annotation is not float or low is None or high is None:
        return []
    return [(at, at) for at in (round(low + (high - low) * i / (STOPS - 1), 4) for i in range(STOPS))]


def on_axes(found: dict[str, Way], x: Name, y: Name) -> dict[str, dict[str, list[float]]]:
    """The ways as a chart needs them."""
    told = {}
    for name, way in found.items():
        stops = [(at, expected[x], expected[y]) for at, expected in way if x in expected and y in expected]
        if len(stops) > 1:
            positions, xs, ys = (list(column) for column in zip(*stops, strict=True))
            told[name] = {"positions": positions, "x": xs, "y": ys}
    return told


def css_class(key: str) -> str:
    """The class that Streamlit gives a widget with this key."""
    return f"st-key-{re.sub(r'[^a-zA-Z0-9_-]', '-', key)}"
