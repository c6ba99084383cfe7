"""Addresses of the app's pages with a network that is quick on Digits."""

from urllib.parse import urlencode

from compression.recipe import Recipe
from pages.ui.model import links
from pages.ui.model.subject import Subject

DIGITS = Subject("lenet300", "digits", "digits")


def link(server: str, path: str, recipe: Recipe = links.START) -> str:
    """The page at `path`, on a recipe."""
    return f"{server}/{path}?{urlencode(links.link_of(DIGITS, recipe))}"
