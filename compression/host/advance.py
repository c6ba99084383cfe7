"""How far is the work? What runs a network node by node tells, however deep it lies.

with advancing(tell):
    …                  # anywhere below, in the same thread:
    advanced(0.25)     # calls tell(0.25)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_tell: ContextVar[Callable[[float], None] | None] = ContextVar("tell", default=None)


@contextmanager
def advancing(tell: Callable[[float], None]) -> Iterator[None]:
    """Inside, `advanced` calls `tell`."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def advanced(share: float) -> None:
    """Tells that `share` in [0, 1] of a pass over the network is done, to whoever is told inside `advancing`."""
    if tell := _tell.get():
        tell(share)
