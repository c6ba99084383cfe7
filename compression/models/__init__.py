"""Small classifiers by name: their architectures, their stored weights, and the cards that say what the weights are.

Importing this package is cheap: torch is loaded when a model is built, not when names or cards are listed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compression.models.catalog import ARCHITECTURES, OWN, Architecture, title
from compression.models.model_cards import Card, brought, card, cards, dismiss, preprocess_of

if TYPE_CHECKING:
    from compression.models.imported import bring
    from compression.models.loading import build, load, network
    from compression.models.trainer import Distillation, train
    from compression.models.training_recipes import recipe

__all__ = [
    "ARCHITECTURES", "OWN", "Architecture", "Card", "Distillation", "bring", "brought", "build", "card", "cards",
    "dismiss", "load", "network", "preprocess_of", "recipe", "title", "train",
]  # fmt: skip

_HOMES = {
    "bring": "imported", "build": "loading", "load": "loading", "network": "loading", "recipe": "training_recipes",
    "train": "trainer", "Distillation": "trainer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
