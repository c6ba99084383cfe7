"""Rules between the steps of a recipe: their order, and which settings exclude each other.

What is said of single steps stands with their settings (`Step.goes_first`, `Step.check_beside`).
"""

from itertools import pairwise

from compression.errors import InvalidRecipe
from compression.steps import STEPS, Step


def _in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Refuses a technique that stands twice or after one that it cannot follow, and settings that exclude others."""
    kinds = [s.kind for s in steps]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InvalidRecipe(f"The step {kind!r} stands {kinds.count(kind)} times; once is allowed.")
    for before, after in pairwise(steps):
        if _rank(before.kind) > _rank(after.kind):
            raise InvalidRecipe(f"The step {after.kind!r} cannot follow {before.kind!r}: {after.goes_first}.")
    for s in steps:
        s.check_beside(dict(zip(kinds, steps, strict=True)))
    return steps


def _rank(kind: str) -> int:
    return list(STEPS).index(kind)
