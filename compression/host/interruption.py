"""Is the work still wanted? Whatever takes long asks, however deep it lies, before each batch and each layer.

with interruptible(stop):
    …                  # anywhere below, in the same thread:
    look()             # raises Cancelled once stop() is true; stop() may also wait
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from compression.errors import Cancelled

_stop: ContextVar[Callable[[], bool] | None] = ContextVar("stop", default=None)


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
