"""Classifiers: small ones by name with stored weights, those of libraries and files, and the cards that describe them.

Importing this package is cheap: torch is loaded when a model is built, not when names or cards are listed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compression.models.catalog import ARCHITECTURES, OWN, Architecture, title
from compression.models.model_cards import Card, brought, card, cards, dismiss, preprocess_of

if TYPE_CHECKING:
    from compression.models.additions import add, correct
    from compression.models.imported import bring
    from compression.models.loading import build, load, load_model, network
    from compression.models.opening import open_source
    from compression.models.trainer import Distillation, train
    from compression.models.training_recipes import recipe

__all__ = [
    "ARCHITECTURES", "OWN", "Architecture", "Card", "Distillation", "add", "bring", "brought", "build", "card", "cards",
    "correct", "dismiss", "load", "load_model", "network", "open_source", "preprocess_of",
    "recipe", "title", "train",
]  # fmt: skip

_HOMES = {
    "add": "additions", "bring": "imported", "build": "loading", "correct": "additions", "load_model": "loading",
    "open_source": "opening", "load": "loading", "network": "loading", "recipe": "training_recipes",
    "train": "trainer", "Distillation": "trainer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
