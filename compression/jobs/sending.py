"""How a task is sent so that a scheduler needs nothing of ours: it sees bytes and a function of Dask's own.

A plain `dask scheduler` reads the functions and arguments that a client submits, and knows no `compression`. So what is
submitted is Dask's reader, and the task as bytes that only a worker reads. Whoever can reach a scheduler can run code
on its workers, with this as without it: that is why addresses must be encrypted, see `cluster.connect`. Nothing else in
the project pickles.
"""

import warnings
from collections.abc import Callable
from typing import Any

from distributed import Client, Future
from distributed.protocol.pickle import dumps
from distributed.protocol.pickle import loads as unpacked

__all__ = ["packed", "send", "unpacked"]


class _Call:
    """What becomes the result of `run(*about)` where it is read."""

    def __init__(self, run: Callable[..., Any], about: tuple[Any, ...]):
        self._run, self._about = run, about

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._run, self._about


def packed(run: Callable[..., Any], *about: Any) -> bytes:
    """What `unpacked` turns into the result of `run(*about)`."""
    return dumps(_Call(run, about))


def send(client: Client, run: Callable[..., Any], *about: Any, **how: Any) -> Future:
    """`run(*about)` on its way to a worker; `how` is what `Client.submit` takes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # a file that is uploaded is sent once
        return client.submit(unpacked, packed(run, *about), pure=False, **how)
