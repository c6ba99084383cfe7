"""Messages in the language that is spoken."""

from typing import Any, TypeVar

from compression.language.catalog import CONTEXT, catalog
from compression.language.sentences import shown
from compression.language.spoken import current

S = TypeVar("S", bound=str)


def N_(message: S) -> S:
    """The same message, marked for the catalogue."""
    return message


def _(message: str, /, **values: Any) -> str:
    """A message in the language spoken here, with `values` in the places that it names; errors speak it too."""
    said = catalog(current()).words.get(message, message)
    return said.format(**{name: _spoken(value) for name, value in values.items()}) if values else said


def p_(context: str, message: str) -> str:
    """A short message whose translation depends on where it stands; without one of its own, the general one."""
    words = catalog(current()).words
    return words.get(f"{context}{CONTEXT}{message}") or words.get(message, message)


def n_(one: str, many: str, n: float, /, **values: Any) -> str:
    """The same for a count, which the messages call `n`: English has a form of its own for one."""
    said = catalog(current()).words.get(one) or (one if n == 1 else many)
    return said.format(n=n, **values)


def _spoken(value: Any) -> Any:
    return shown(str(value)) if isinstance(value, Exception) else value


WORDS = (
    N_("a number"), N_("text"), N_("dataset"), N_("device"), N_("format"), N_("job"), N_("language"), N_("layer"),
    N_("model"), N_("network"), N_("run"), N_("step"), N_("none"),
)  # fmt: skip
"""Single words that the engine puts into its sentences."""
