"""Which language is spoken: by a thread, by a visitor of the app, by a terminal."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar

from compression.language.catalog import ENGLISH, fitting

_spoken: ContextVar[str] = ContextVar("language", default="")
_readers: list[Callable[[], str | None]] = []
"""Who knows the language of whoever is being answered: the app does, for each visitor."""


def ask(reader: Callable[[], str | None]) -> None:
    """Has `current` ask this first; `reader` gives None where it does not know."""
    if reader not in _readers:
        _readers.append(reader)


def speak(tag: str) -> None:
    """Sets the language of this thread, or of this task of an event loop."""
    _spoken.set(tag)


def current() -> str:
    """The tag of the language that is spoken here."""
    return _spoken.get() or next((tag for tag in (reader() for reader in _readers) if tag), ENGLISH)


def of_locale(environment: Mapping[str, str]) -> str:
    """The language of a terminal, by the first of LC_ALL, LC_MESSAGES and LANG that is set (POSIX)."""
    named = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return fitting(named.split(".")[0].split("@")[0]) or ENGLISH
