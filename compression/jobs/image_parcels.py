"""A user's folders of images travel to the workers of a cluster by the hash of their content, each once.

A worker that has the very folder, path by path as a folder that is shared, uses that. On any other, what was sent
stands for it in the tasks that come from here. Datasets by name are obtained by each machine itself.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from compression.data.archives import title_of
from compression.data.folder import FOLDER_PREFIX, named
from compression.data.sent_folders import Standing, begin, finish, key_of, packed, pieces, place_of, put
from compression.data.sent_folders import standing as _standing
from compression.data.test_samples import base_of
from compression.errors import InvalidData, Unsupported
from compression.jobs.lru_cache import LruCache

__all__ = ["Folder", "folders_of", "has", "sent", "with_images"]

T = TypeVar("T")

FRESH_S = 3.0
"""So long what was found out of a folder is not looked at again: a search sends several trials a second."""


MOST_KNOWN = 100
"""So many folders are remembered."""


class Folder(NamedTuple):
    """A folder of images here: the dataset's name, where it is, and its edition."""

    name: str
    path: Path
    edition: str

    @property
    def listed(self) -> bytes:
        """The list of what is in it, read once. Raises `Unsupported` and `InvalidData`."""
        found = _lists.get(self, lambda: packed(self.path, title_of(self.path)))
        _keys[self] = key_of(found)
        for old in list(_keys)[:-MOST_KNOWN]:
            _keys.pop(old, None)
        return found

    @property
    def key(self) -> str:
        """The key of its content; '' until it is asked for by a worker that lacks the folder."""
        return _keys.get(self, "")


_lists: LruCache[bytes] = LruCache(4)
_keys: dict[Folder, str] = {}
_looked: dict[str, tuple[float, Folder | None]] = {}


def folders_of(about: Iterable[Any]) -> list[Folder]:
    """The folders of images that a task is about. What is none here is left to the worker, which says so."""
    return [found for name in dict.fromkeys(_names(about)) if (found := _folder(name))]


def _names(about: Iterable[Any]) -> Iterator[str]:
    for each in about:
        name = getattr(each, "dataset", each)
        if isinstance(name, str) and name.startswith(FOLDER_PREFIX):
            yield base_of(name)


def _folder(name: str) -> Folder | None:
    from compression.data.loading import edition, path_of

    looked, found = _looked.get(name, (float("-inf"), None))
    if time.monotonic() - looked > FRESH_S:
        try:
            found = Folder(name, path_of(name), edition(name))
        except InvalidData:
            found = None
        _looked.pop(name, None)
        _looked[name] = time.monotonic(), found
        for old in list(_looked)[:-MOST_KNOWN]:
            _looked.pop(old, None)
    return found


def sent(folder: Folder, ask: Callable[..., Any]) -> Any:
    """Sends a worker what it lacks of a folder; an error where it does not take it. `ask` has it do something."""
    listed = folder.listed
    found = ask(begin, listed)
    for piece in pieces(folder.path, listed, found) if isinstance(found, list) else ():
        if isinstance(taken := ask(put, folder.key, piece), BaseException):
            return taken
    return found if isinstance(found, BaseException) else ask(finish, folder.key)


def has(name: str, edition: str, key: str) -> bool:
    """On a worker: whether it has the images of that name, as a folder of its own or as one that was sent."""
    return bool(key and place_of(key)) or _is_own(name, edition)


def with_images(wanted: Mapping[str, tuple[str, str]], run: Callable[..., T], *about: Any) -> T:
    """On a worker: `run(*about)` with the images of these names, each with its edition and key."""
    found = dict[str, Standing]()
    for name, (edition, key) in wanted.items():
        if folder := place_of(key) if key else None:
            found[name] = Standing(folder, edition)
        elif not _is_own(name, edition):
            path = named(name.removeprefix(FOLDER_PREFIX))
            raise Unsupported(f"The worker no longer has the images of {path!r}; try again.")
    with _standing(found):
        return run(*about)


def _is_own(name: str, edition: str) -> bool:
    from compression.data import loading

    try:
        return loading.edition(name) == edition
    except InvalidData:
        return False
