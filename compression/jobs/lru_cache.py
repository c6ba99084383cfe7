"""A cache of a few large values, such as prepared networks, for several threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class LruCache(Generic[V]):
    """The `size` values that were used last; of threads that want the same one, one makes it and the others wait.

    `functools.lru_cache` would let each of them make it.
    """

    def __init__(self, size: int):
        self._size = size
        self._values: OrderedDict[Any, V] = OrderedDict()
        self._makers: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], V]) -> V:
        """The value kept for `key`, or a new one."""
        with self._lock:
            maker = self._makers.setdefault(key, threading.Lock())
        with maker:
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
