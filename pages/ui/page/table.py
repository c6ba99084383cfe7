"""Tables whose columns are named in the visitor's language."""

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from compression.language import ENGLISH, _, current


def columns(rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configuration of the columns that `rows` have and of others, with labels and help translated."""
    if current() == ENGLISH:
        return dict(config or {})
    given = config or {}
    names = dict.fromkeys([*given, *(name for row in rows for name in row)])
    return {name: _named(name, given.get(name, "")) for name in names}


def _named(name: str, given: Any) -> Any:
    if given is None or (given and isinstance(given, str)):  # a column that is not shown; one that has its label
        return given
    column = dict(given or st.column_config.Column())
    column["label"] = _(column.get("label") or name) if column.get("label") or name else None
    column["help"] = _(column["help"]) if column.get("help") else None
    return column
