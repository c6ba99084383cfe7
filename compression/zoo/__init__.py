"""Small classifiers by name: their architectures, their stored weights, and the cards that say what the weights are.

Importing this package is cheap: torch is loaded when a model is built, not when names or cards are listed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compression.zoo.catalog import ARCHITECTURES, OWN, Architecture, title
from compression.zoo.model_cards import Card, brought, card, cards, dismiss

if TYPE_CHECKING:
    from compression.zoo.recipes import recipe
    from compression.zoo.stored import build, load, network
    from compression.zoo.trainer import Lesson, train
    from compression.zoo.visitors import bring

__all__ = [
    "ARCHITECTURES", "OWN", "Architecture", "Card", "Lesson", "bring", "brought", "build", "card", "cards", "dismiss",
    "load", "network", "recipe", "title", "train",
]  # fmt: skip

_HOMES = {
    "bring": "visitors", "build": "stored", "load": "stored", "network": "stored", "recipe": "recipes",
    "train": "trainer", "Lesson": "trainer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
