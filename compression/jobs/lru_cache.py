"""A cache of a few large values, such as prepared networks, for several threads."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

V = TypeVar("V")

ASK_S = 0.1

Wait = Callable[[Callable[[], bool]], None]
"""Waits for a value that another thread makes: calls what it is given, which waits for `ASK_S` seconds, until that is
true. May raise instead."""


def _wait(is_made: Callable[[], bool]) -> None:
    while not is_made():
        pass


class LruCache(Generic[V]):
    """The `size` values that were used last; of threads that want the same one, one makes it and the others wait.

    `functools.lru_cache` would let each of them make it.
    """

    def __init__(self, size: int):
        self._size = size
        self._values: OrderedDict[Any, V] = OrderedDict()
        self._makers: dict[Any, threading.Lock] = {}
        self._waiting: Counter[Any] = Counter()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], V], *, wait: Wait = _wait) -> V:
        """The value kept for `key`, or a new one; `wait` is called where another thread makes it."""
        with self._lock:
            maker = self._makers.setdefault(key, threading.Lock())
        with self._held(maker, key, wait):
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            try:
                value = make()
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._size:
                        self._values.popitem(last=False)
                return value
            finally:
                with self._lock:
                    self._makers.pop(key, None)  # who comes now finds the value, or makes it

    def is_awaited(self, key: Any) -> bool:
        """Whether another thread waits for the value that is being made."""
        return self._waiting[key] > 0

    @contextmanager
    def _held(self, maker: threading.Lock, key: Any, wait: Wait) -> Iterator[None]:
        if not maker.acquire(blocking=False):
            with self._lock:
                self._waiting[key] += 1
            try:
                wait(lambda: maker.acquire(timeout=ASK_S))
            finally:
                with self._lock:
                    self._waiting[key] -= 1
                    if not self._waiting[key]:
                        del self._waiting[key]
        try:
            yield
        finally:
            maker.release()
