"""JSON and YAML that somebody else wrote, as plain data: bounded in size and depth, without aliases and tags.

Both readers raise `ValueError` alone, with a reason of one line that a sentence can end with.
"""

import json
from typing import Any

import yaml
from yaml.events import AliasEvent, NodeEvent

MOST_CHARACTERS = 200_000
MOST_DEPTH = 20


def read_json(text: str, most: int = MOST_CHARACTERS) -> Any:
    """What a text in JSON says. Raises `ValueError` where it is none, or has more characters or depth than allowed."""
    try:
        return _shallow(json.loads(_short(text, most)))
    except (ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from None


def read_yaml(text: str) -> Any:
    """What a text in YAML says. Raises `ValueError` for what `read_json` does, and for aliases, anchors and tags.

    A text of 500 bytes with aliases can stand for more values than any memory holds.
    """
    try:
        return _shallow(yaml.load(_short(text), _Plain))  # a SafeLoader
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(_reason(error)) from None


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader for documents in which every value is written out and none names its type."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses the next node where it is, or begins, more than a plain value."""
        event = self.peek_event()
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise ValueError("aliases (& and *) are not allowed; write every value out")
        if getattr(event, "tag", None):
            raise ValueError(f"tags such as {event.tag[:40]} are not allowed")
        return super().compose_node(parent, index)


def _short(text: str, most: int = MOST_CHARACTERS) -> str:
    if len(text) > most:
        raise ValueError(f"it has {len(text):,} characters, and at most {most:,} are allowed")
    return text


def _shallow(values: Any) -> Any:
    """`values`, unless lists and tables in it lie too deep in one another."""
    level = [values]
    for _ in range(MOST_DEPTH + 1):
        level = [inner for value in level for inner in _parts(value)]
        if not level:
            return values
    raise ValueError(f"its lists and tables lie more than {MOST_DEPTH} deep in one another")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _reason(error: Exception) -> str:
    """The first line of what a parser says, without its full stop."""
    if isinstance(error, RecursionError):
        return f"its lists and tables lie more than {MOST_DEPTH} deep in one another"
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
