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
    return predict_at(np.array(place(recipe)), among)


def predict_at(here: np.ndarray, among: Known, reach: float = REACH) -> dict[str, float]:
    """The same at coordinates [d], which may be others than those of `place`, with their own reach."""
    if not len(among.places):
        return {}
    distances = np.sqrt(((among.places - here) ** 2).sum(1))
    nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
    if distances[nearest[0]] > reach:
        return {}
    weights, offsets = 1 / np.maximum(distances[nearest], 1e-3) ** 3, among.places[nearest] - here
    found = {}
    for name, values in among.values.items():
        there = ~np.isnan(values[nearest])
        if there.any():
            found[name] = _plane(offsets[there], values[nearest][there], weights[there])
    return found


def _plane(offsets: np.ndarray, values: np.ndarray, weights: np.ndarray) -> float:
    """Height at the origin of the weighted least-squares plane; never beyond what the neighbours have.

    offsets [n, d], values [n], weights [n]. Ridge regression keeps the plane flat where the neighbours do not tell.
    """
    mean, centre = np.average(values, weights=weights), np.average(offsets, axis=0, weights=weights)
    scatter = (offsets - centre).T * weights
    ridge = RIDGE * weights.sum() * np.eye(offsets.shape[1])
    slope = np.linalg.solve(scatter @ (offsets - centre) + ridge, scatter @ (values - mean))
    return float(np.clip(mean - centre @ slope, values.min(), values.max()))


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
