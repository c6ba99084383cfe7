"""Classifiers of torchvision and timm by name: what there is, how it is built, what its images are made by.

Nothing is built or downloaded to list or search them; the libraries themselves take seconds to import.
"""

import difflib
from functools import cache
from importlib import import_module
from types import ModuleType

from compression.errors import UnknownName, Unsupported
from compression.models.libraries.entry import Entry, Remote
from compression.models.sources import LIBRARIES, Source
from compression.records.preprocess import Preprocess

__all__ = ["Entry", "Remote", "entries", "entry", "library", "search"]

_MODULES = {"torchvision": "torchvision_models", "timm": "timm_models"}
NEAREST = 5
"""Names that a sentence about an unknown one offers."""


def library(name: str) -> ModuleType:
    """The module that knows a library: `entries`, `build`, `with_weights`."""
    return import_module(f"{__name__}.{_MODULES[name]}")


@cache
def entries() -> tuple[Entry, ...]:
    """Every classifier with weights, by library and name."""
    return tuple(found for name in LIBRARIES for found in library(name).entries())


def search(text: str, limit: int | None = None) -> tuple[Entry, ...]:
    """The entries in whose source each word of `text` stands, whatever its case; all for an empty text."""
    words = text.lower().split()
    found = [each for each in entries() if all(word in each.source.lower() for word in words)]
    return tuple(found[:limit])


def entry(source: Source) -> Entry:
    """The entry of a source with a library's name; without a tag, that of the library's default weights.

    Raises `UnknownName` with the nearest names, and `Unsupported` for a network without weights for classification.
    """
    of_library = [each for each in entries() if each.library == source.library]
    same = [each for each in of_library if each.name == source.name]
    if not same:
        if source.name in library(source.library).architectures():
            raise Unsupported(
                f"{source.library} has no weights that classify images for {source.name!r}; search for others, or give "
                "a file of weights."
            )
        raise UnknownName(f"network of {source.library}", source.name, nearest(source.name, source.library))
    if not source.tag:
        return next((each for each in same if each.is_default), same[0])
    tags = {each.tag: each for each in same}
    if source.tag not in tags:
        raise UnknownName(f"weights of {source.name}", source.tag, tags)
    return tags[source.tag]


def nearest(name: str, library: str | None = None) -> list[str]:
    """A few names of networks that look like `name`, then "…"."""
    names = sorted({each.name for each in entries() if library in (None, each.library)})
    return [*(difflib.get_close_matches(name, names, NEAREST, 0.5) or names[:NEAREST]), "…"]


def check_architecture(source: Source) -> None:
    """Raises `UnknownName` where a library cannot build a network of that name."""
    if source.name not in library(source.library).architectures():
        raise UnknownName(f"network of {source.library}", source.name, nearest(source.name, source.library))


def preprocess_of(source: Source) -> Preprocess | None:
    """What a library does with images for its own weights of this architecture; None where it has none."""
    known = [each for each in entries() if each.library == source.library and each.name == source.name]
    wanted = [each for each in known if each.tag == source.tag] or [each for each in known if each.is_default] or known
    return wanted[0].preprocess if wanted else library(source.library).usual_preprocess(source.name)


def shape_of(preprocess: Preprocess | None) -> tuple[int, int, int] | None:
    """Channels, height and width of what is made by `preprocess`."""
    if preprocess is None:
        return None
    return 1 if preprocess.channels == "grey" else 3, preprocess.height, preprocess.width
