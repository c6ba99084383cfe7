"""The settings of every technique: bounds, unit, default and help stand here once.

The validator, the sliders, the command line and the documentation read them from these fields. Nothing in this package
imports torch, so a page can draw its controls before the engine is loaded. What a step does is in
`compression.techniques`, under the same name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from compression.errors import UnknownName
from compression.steps.channels import Channels
from compression.steps.factorize import Factorize
from compression.steps.prune import Prune
from compression.steps.quantize import SCHEME_BITS, Quantize
from compression.steps.recover import Recover, steps_for
from compression.steps.settings import Settings, Step, allowed, bounds_of, choices_of, parse
from compression.steps.share import Share

__all__ = [
    "SCHEME_BITS", "STEPS", "Channels", "Factorize", "Prune", "Quantize", "Recover", "Settings", "Share", "Step",
    "allowed", "bounds_of", "choices_of", "inserted", "parse", "registered", "step", "steps_for",
]  # fmt: skip

V = TypeVar("V")

STEPS: dict[str, type[Step]] = {s.kind: s for s in (Channels, Factorize, Prune, Share, Quantize, Recover)}
"""Every step by name, in the order in which the techniques are applied: the only place that says it."""


def step(kind: str, /, **values: Any) -> Step:
    """The settings of technique `kind`; raises `UnknownName` or `InvalidSetting`."""
    if kind not in STEPS:
        raise UnknownName("step", kind, STEPS)
    return STEPS[kind](**values)


@contextmanager
def registered(settings: type[Step], *, after: str) -> Iterator[None]:
    """One step more, with a rank behind that of `after`, for as long as the context lasts; of this process alone."""
    with inserted(STEPS, settings.kind, settings, after=after):
        yield


@contextmanager
def inserted(table: dict[str, V], kind: str, value: V, *, after: str) -> Iterator[None]:
    """`table` with `value` in the place behind `after`, and in the end as it was. Raises `UnknownName` for `after`."""
    if after not in table:
        raise UnknownName("step", after, table)
    before, place = list(table.items()), list(table).index(after) + 1
    try:
        _fill(table, [*before[:place], (kind, value), *before[place:]])
        yield
    finally:
        _fill(table, before)


def _fill(table: dict[str, V], items: list[tuple[str, V]]) -> None:
    table.clear()
    table.update(items)
