"""What a recipe will probably give, interpolated between recipes that were measured. Never a measurement: say so.

Recipes are points in a space with one coordinate for each setting that is measured in a unit; a step that is off stands
at its neutral value. A plane is laid through the values of the nearest ones, with weights 1/d³ (McLain 1974).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import log2
from typing import Any

import numpy as np
from pydantic.fields import FieldInfo

from compression.errors import UserError
from compression.recipe import Recipe
from compression.steps import STEPS, Step, bounds_of, choices_of

NEIGHBOURS = 8
RIDGE = 1e-4
REACH = 0.35
"""How far away the nearest neighbour may be; beyond, nothing is said."""


@dataclass(frozen=True)
class Known:
    """Measured recipes [n] as coordinates [n, d], and their values by name, each [n] with NaN where not measured."""

    places: np.ndarray
    values: Mapping[str, np.ndarray]


def known(measured: Sequence[tuple[Recipe, Mapping[str, float | None]]], names: Sequence[str]) -> Known:
    """Recipes with what was measured of them."""
    places = np.array([place(recipe) for recipe, _ in measured]).reshape(len(measured), len(_coordinates()))
    values = {
        name: np.array([np.nan if (v := found.get(name)) is None else v for _, found in measured]) for name in names
    }
    return Known(places, values)


def predict(recipe: Recipe, among: Known) -> dict[str, float]:
    """Interpolated values by name; without those that no neighbour within reach has."""
    return predict_at(np.array([place(recipe)]), among)[0]


def predict_at(here: np.ndarray, among: Known, reach: float = REACH) -> list[dict[str, float]]:
    """The same at coordinates [k, d], which may be others than those of `place`, with their own reach."""
    if not len(among.places):
        return [{} for _ in here]
    nearest = _nearest(here, among.places)  # [k, n]
    offsets = among.places[nearest] - here[:, None]  # [k, n, d]
    distances = np.sqrt((offsets**2).sum(2))
    weights = 1 / np.maximum(distances, 1e-3) ** 3
    found: list[dict[str, float]] = [{} for _ in here]
    near = distances.min(1) <= reach
    for name, values in among.values.items():
        there = ~np.isnan(values[nearest])
        heights = _planes(offsets, np.where(there, values[nearest], 0.0), np.where(there, weights, 0.0))
        for at in np.flatnonzero(near & there.any(1)):
            found[at][name] = float(heights[at])
    return found


def _nearest(here: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Indices [k, n] of the places [m, d] that are nearest to each of `here` [k, d], of equally near ones any."""
    squares = (places**2).sum(1) - 2 * here @ places.T  # less |here|², which orders nothing
    count = min(NEIGHBOURS, len(places))
    return np.argpartition(squares, count - 1, axis=1)[:, :count]


def _planes(offsets: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Heights [k] at the origin of weighted least-squares planes; never beyond what the neighbours have.

    offsets [k, n, d], values [k, n], weights [k, n], 0 of those that do not count. Ridge regression keeps a plane flat
    where the neighbours do not tell; it is solved in its dual form, as neighbours are fewer than coordinates.
    """
    total = np.where((weights > 0).any(1), weights.sum(1), 1.0)[:, None]
    mean = (weights * values).sum(1, keepdims=True) / total
    centre = (weights[..., None] * offsets).sum(1, keepdims=True) / total[..., None]  # [k, 1, d]
    scaled = np.sqrt(weights)[..., None] * (offsets - centre)  # [k, n, d]
    kernel = scaled @ scaled.transpose(0, 2, 1) + RIDGE * total[..., None] * np.eye(weights.shape[1])
    dual = np.linalg.solve(kernel, (np.sqrt(weights) * (values - mean))[..., None])  # [k, n, 1]
    heights = mean[:, 0] - (centre @ scaled.transpose(0, 2, 1) @ dual)[:, 0, 0]
    low, high = (np.where(weights > 0, values, beyond) for beyond in (np.inf, -np.inf))
    return np.minimum(np.maximum(heights, low.min(1)), high.max(1))


def around(recipe: Recipe, stops: int = 9) -> list[Recipe]:
    """A coarse grid: recipes that differ in one slider, which stands at one of `stops` positions; the nearest first."""
    here, found = np.array(place(recipe)), []
    for step in recipe.steps:
        for name, field in STEPS[step.kind].model_fields.items():
            for value in _positions(field, stops):
                with suppress(UserError):  # settings that do not go together
                    found.append(recipe.with_setting(f"{step.kind}.{name}", value))
    others = {other.hash: other for other in found if other != recipe}
    return sorted(others.values(), key=lambda other: float(((np.array(place(other)) - here) ** 2).sum()))


def _positions(field: FieldInfo, stops: int) -> list[Any]:
    """Where a slider over a measured quantity may stand, coarsely; nothing for other settings."""
    if not isinstance(field.json_schema_extra, dict) or "unit" not in field.json_schema_extra:
        return []
    if choices := choices_of(field):
        return list(choices)
    low, high = bounds_of(field)
    if field.annotation is not float or low is None or high is None:
        return []
    return [round(low + (high - low) * i / (stops - 1), 2) for i in range(stops)]


def place(recipe: Recipe) -> tuple[float, ...]:
    """Coordinates of a recipe, each about 0 to 1."""
    return _place(recipe, _coordinates())


@lru_cache(maxsize=4096)
def _place(recipe: Recipe, coordinates: tuple[tuple[type[Step], str], ...]) -> tuple[float, ...]:
    return tuple(_coordinate(recipe, settings, name) for settings, name in coordinates)


def _coordinates() -> tuple[tuple[type[Step], str], ...]:
    return _measured_in_units(tuple(STEPS.values()))


@lru_cache(maxsize=4)
def _measured_in_units(steps: tuple[type[Step], ...]) -> tuple[tuple[type[Step], str], ...]:
    return tuple(
        (settings, name)
        for settings in steps
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "unit" in field.json_schema_extra
    )


def _coordinate(recipe: Recipe, settings: type[Step], name: str) -> float:
    """Bits on a logarithmic scale with 32 as neutral, all else as a share of its highest value with 0 as neutral."""
    field, step = settings.model_fields[name], recipe.get(settings.kind)
    extra = field.json_schema_extra
    value = getattr(step, name, None)
    if isinstance(extra, dict) and extra["unit"] == "bit":
        return log2(value if isinstance(value, int | float) and value else 32) / 5
    if not isinstance(value, int | float):
        return 0.0
    numbers = [choice for choice in choices_of(field) if isinstance(choice, int | float)]
    high = max(numbers) if numbers else bounds_of(field)[1]
    return float(value) / float(high or 1)
