"""Is the work still wanted? Whatever takes long asks, however deep it lies, before each batch and each layer.

with interruptible(stop):
    …                  # anywhere below, in the same thread:
    look()             # raises Cancelled once stop() is true; stop() may also wait

A download computes nothing, so that others may meanwhile:

with letting_others(aside):
    …                  # anywhere below, in the same thread:
    with only_waiting():
        …              # inside aside()
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from compression.errors import Cancelled

_stop: ContextVar[Callable[[], bool] | None] = ContextVar("stop", default=None)
_aside: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("aside", default=nullcontext)


@contextmanager
def interruptible(stop: Callable[[], bool] | None) -> Iterator[None]:
    """Inside, `look` asks `stop`; None leaves it to whoever is asked outside, if anybody is."""
    if stop is None:
        yield
        return
    before = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(before)


def look() -> None:
    """Raises `Cancelled` where the work is no longer wanted."""
    stop = _stop.get()
    if stop and stop():
        raise Cancelled("The work was stopped.")


@contextmanager
def letting_others(aside: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Inside, `only_waiting` gives back what others wait for by `aside()`."""
    before = _aside.set(aside)
    try:
        yield
    finally:
        _aside.reset(before)


@contextmanager
def only_waiting() -> Iterator[None]:
    """Inside, this thread waits for a network or a disk and computes nothing: others may compute."""
    with _aside.get()():
        yield
