"""Members of parsed JSON, taken out by name and type: whatever else stands there is `Malformed`."""

import reprlib
from typing import Any, TypeVar

Kind = TypeVar("Kind")

NAMES = {dict: "a record", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


MOST_SHOWN = 120
"""Characters of a value in a message."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = MOST_SHOWN


class Malformed(Exception):
    """What keeps a file from being one that torch.export.save writes, without a full stop."""


def shown(value: Any) -> str:
    """`value` for a message: one short line, whatever it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_a(value: Any, kind: type[Kind]) -> bool:
    """Whether a JSON value is of exactly one of the types in `NAMES`; true and false are no numbers."""
    return type(value) is kind


def expected(value: Any, kind: type[Kind], what: str) -> Kind:
    """`value`, which must be of that type. what: its name in the message."""
    if not is_a(value, kind):
        raise Malformed(f"{what} is {shown(value)}, not {NAMES[kind]}")
    return value


def member(record: Any, name: str, kind: type[Kind]) -> Kind:
    """The member `name` of a record, which must be there and of that type."""
    expected(record, dict, f"what should have a {name!r}")
    if name not in record:
        raise Malformed(f"{name!r} is missing in {shown(record)}")
    return expected(record[name], kind, repr(name))


def variant(record: Any) -> tuple[str, Any]:
    """Tag and value of a union, a record with one member."""
    expected(record, dict, "a tagged value")
    if len(record) != 1:
        raise Malformed(f"{shown(record)} should have one tag, not {len(record)}")
    return next(iter(record.items()))


def whole(value: Any, what: str, *, least: int, most: int) -> int:
    """A whole number within bounds, both included."""
    number = expected(value, int, what)
    if not least <= number <= most:
        raise Malformed(f"{what} is {shown(number)}; {least} to {most} is possible")
    return number
