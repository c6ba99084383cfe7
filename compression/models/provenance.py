"""What produces a file: the engine and the teacher networks. The same producer writes the same bytes for a recipe."""

import hashlib

from compression import models
from compression.data.test_samples import base_of
from compression.host.engine_version import engine_hash
from compression.recipe import Recipe
from compression.steps import Recover


def producer_id(recipe: Recipe, dataset: str) -> str:
    """12 hex digits over the engine's hash and the weights of the zoo's networks that are teachers in the recipe.

    Raises what `models.card` raises where there is no such teacher for `dataset`.
    """
    step = recipe.get("recover")
    if not isinstance(step, Recover) or not step.teachers:
        return engine_hash()
    weights = (models.card(name, base_of(dataset)).sha256 for name in step.teachers)
    return hashlib.sha256(" ".join((engine_hash(), *weights)).encode()).hexdigest()[:12]
