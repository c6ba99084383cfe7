"""The settings in which two recipes differ."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compression.recipe import Recipe
from compression.steps import STEPS

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Difference:
    """One setting that two recipes do not share: its path, and its values. A path without a dot is a whole step."""

    path: str
    a: object
    b: object


def differences(a: Recipe, b: Recipe) -> list[Difference]:
    """Only what differs; a step that only one recipe has stands there whole, and as None for the other.

    What is not a step changes nothing of a file without steps, the fp32 one.
    """
    found: list[Difference] = []
    for kind, settings in STEPS.items():
        ours, theirs = a.get(kind), b.get(kind)
        if ours is None or theirs is None:
            found += [Difference(kind, ours, theirs)] if ours is not theirs else []
            continue
        found += _changed(ours, theirs, settings.model_fields, f"{kind}.")
    others = [name for name in Recipe.model_fields if name != "steps"] if a.steps and b.steps else []
    return found + _changed(a, b, others, "")


def _changed(a: object, b: object, names: Iterable[str], prefix: str) -> list[Difference]:
    values = [(name, getattr(a, name), getattr(b, name)) for name in names]
    return [Difference(prefix + name, ours, theirs) for name, ours, theirs in values if ours != theirs]
