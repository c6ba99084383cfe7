"""Who makes a file: the engine, and the networks that teach. The same maker writes the same bytes for a recipe."""

import hashlib

from compression import models
from compression.host.engine_version import engine_hash
from compression.recipe import Recipe
from compression.steps import Recover


def producer_id(recipe: Recipe, dataset: str) -> str:
    """12 hex digits: the engine's version, and the weights of the networks of the zoo that teach in the recipe.

    Raises what `zoo.card` raises where there is no such teacher for `dataset`.
    """
    step = recipe.get("recover")
    if not isinstance(step, Recover) or not step.teachers:
        return engine_hash()
    weights = (models.card(name, dataset).sha256 for name in step.teachers)
    return hashlib.sha256(" ".join((engine_hash(), *weights)).encode()).hexdigest()[:12]
