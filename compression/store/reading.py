"""Rows that another program may have written, or damaged: every value has the type that its field names.

A list leaves out what cannot be read, and the log tells of each such row once; what was asked for alone is refused.
"""

import json
import logging
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache, lru_cache, partial
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from compression.errors import shown
from compression.records.measurement import Accuracy, Latency, Machine, Reached
from compression.store.records import Run, StoredLatency, Subject

log = logging.getLogger(__name__)

R = TypeVar("R")
S = TypeVar("S")

UNBOUNDED = ("loss", "sqnr_db", "output_error", "seconds_left")
"""Numbers that may be infinite, or none: a training that diverged or stands still, a layer that lost nothing."""

SHARES = {Accuracy: ("value", "baseline"), Reached: ("reached",)}
"""Numbers in [0, 1] that others are computed from."""

_told: set[str] = set()


class Unreadable(ValueError):
    """A row, or a record in it, that is not what it should be; the text says why, without a full stop."""


def readable(rows: Iterable[S], read: Callable[[S], R], what: str) -> list[R]:
    """What `read` makes of each row, without those that it cannot read; `what` names them in the log."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except Unreadable as error:
            reason = f"{what} is left out, as it cannot be read: {error}"
            if reason not in _told:
                _told.add(reason)
                log.warning("%s.", reason)
    return found


def load(kind: type[R], text: Hashable) -> R:
    """A record out of the JSON that `records.dump` made of it.

    Fields that this version does not know are left out; texts that it misses are None. Raises `Unreadable`.
    """
    record: Any = kind  # type[R] is no Hashable to mypy
    found: R = _loaded(record, text)
    return found


@lru_cache(20_000)
def _loaded(kind: Any, text: Any) -> Any:
    """Read once, as a table of thousands of runs is drawn again and again."""
    return _build(kind, parsed(text))


def parsed(text: object) -> dict[str, Any]:
    """A JSON object. Raises `Unreadable`."""
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise Unreadable(f"{shown(text)} is no JSON object")
    return values


def checked(kind: type[R], /, **values: Any) -> R:
    """A record of those values, each of the type that its field names. Raises `Unreadable`."""
    return _build(kind, values)


def fitting(kind: type, text: object) -> dict[str, Any]:
    """Those fields of a record that are there and can be read. Raises `Unreadable` where the text is no object."""
    values, found = parsed(text), dict[str, Any]()
    for name, (read, _) in _plan(kind).items():
        with suppress(Unreadable):
            found |= {name: read(values[name])} if values.get(name) is not None else {}
    return found


def machine_of(row: Any) -> tuple[str, Machine]:
    """A row of machines, by its id. Raises `Unreadable`."""
    return row.id, load(Machine, row.record)


def stored_latency(here: str, row: Any) -> StoredLatency:
    """A row of latencies: record, time, and the machine's hardware and record. Raises `Unreadable`."""
    took, measured, hardware, machine = row
    return checked(StoredLatency, latency=load(Latency, took), machine=load(Machine, machine),
                   here=hardware == here, measured=measured)  # fmt: skip


def run_of(row: Any, found: Any, took: Any, machines: Mapping[str, Machine]) -> Run:
    """A row of files with its rows of accuracies and latencies. Raises `Unreadable`."""
    by, timed_by = machines.get(found.machine_id), machines.get(took.machine_id) if took else None
    if by is None or (took and timed_by is None):
        raise Unreadable(f"the machine of {shown(row.id)} is not known")
    times = [_single("measured", _is_moment, each.measured) for each in (found, took) if each]
    run = checked(
        Run,
        **row._asdict()
        | {
            "subject": checked(Subject, **row._asdict()),
            "recipe_json": row.recipe,
            "job": row.job_id,
            "accuracy": load(Accuracy, found.record),
            "accuracy_machine": by,
            "measured": max(times),
            "latency": load(Latency, took.record) if took else None,
            "latency_machine": timed_by,
            "reached": parsed(f'{{"all": {row.reached}}}')["all"] if row.reached else (),
            "favourite": bool(row.favourite),
            "note": row.note or "",
        },
    )
    if min(run.size_bytes, run.baseline_size_bytes) < 1:
        raise Unreadable(f"the size of {shown(row.id)} is {shown(min(run.size_bytes, run.baseline_size_bytes))}")
    return run


def _build(kind: Any, values: Any) -> Any:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise Unreadable(f"{shown(values)} is no {kind.__name__}")
    found = {}
    for name, (read, default) in _plan(kind).items():
        if (value := values.get(name)) is not None:
            found[name] = read(value)
        elif default is not None:
            default(name)
            found[name] = None
    for name in SHARES.get(kind, ()):
        if not 0 <= found[name] <= 1:
            raise Unreadable(f"{name} is {shown(found[name])}, no share")
    return kind(**found)


@cache
def _plan(kind: type) -> dict[str, tuple[Callable[[Any], Any], Callable[[str], None] | None]]:
    """How to read each field of a record, and what is done where it is missing; None where it has a default."""
    hints = get_type_hints(kind)
    return {
        each.name: (
            _reader(each.name, hints[each.name]),
            None if each.default is not MISSING or each.default_factory is not MISSING else _missing(hints[each.name]),
        )
        for each in fields(kind)
    }


def _missing(hint: Any) -> Callable[[str], None]:
    return _refuse if hint in (int, float, datetime) or is_dataclass(hint) else _accept


def _accept(name: str) -> None:
    """Texts that an older version did not write."""


def _refuse(name: str) -> None:
    raise Unreadable(f"{name} is missing")


def _reader(name: str, hint: Any) -> Callable[[Any], Any]:
    """What gives a value back as one of that type, or raises `Unreadable`."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(choice for choice in get_args(hint) if choice is not type(None))
    if is_dataclass(hint):
        return partial(_build, hint)
    if get_origin(hint) is tuple:
        return partial(_several, name, _reader(name, get_args(hint)[0]))
    return partial(_single, name, _test(name, hint))


def _several(name: str, read: Callable[[Any], Any], values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise Unreadable(f"{name} is {shown(values)}")
    return tuple(map(read, values))


def _single(name: str, fits: Callable[[Any], bool], value: Any) -> Any:
    if not fits(value):
        raise Unreadable(f"{name} is {shown(value)}")
    return value


def _test(name: str, hint: Any) -> Callable[[Any], bool]:
    """Whether a value is one of that type."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return lambda value: isinstance(value, str | int) and value in choices
    if hint is float:
        return _is_number if name in UNBOUNDED else lambda value: _is_number(value) and math.isfinite(value)
    tests: dict[Any, Callable[[Any], bool]] = {int: _is_whole, str: _is_text, Any: lambda value: True}
    return tests.get(hint) or (lambda value: isinstance(value, get_origin(hint) or hint))


def _is_moment(value: Any) -> bool:
    return isinstance(value, datetime)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_whole(value)


def _is_text(value: Any) -> bool:
    """Whether it can be written as UTF-8: half a character cannot."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
