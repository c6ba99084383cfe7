"""Addresses of the app's pages with a network that is quick on Digits."""

from urllib.parse import urlencode

from compression.recipe import Recipe
from pages.ui import state
from pages.ui.subject import Subject

DIGITS = Subject("lenet300", "digits", "digits")


def link(server: str, path: str, recipe: Recipe = state.START) -> str:
    """The page at `path`, on a recipe."""
    return f"{server}/{path}?{urlencode(state.link_of(DIGITS, recipe))}"
