"""How a task is sent so that a scheduler needs nothing of ours: it sees bytes and a function of Dask's own.

A plain `dask scheduler` reads the functions and arguments that a client submits, and knows no `compression`. So what is
submitted is Dask's reader, and the task as bytes that only a worker reads. Whoever can reach a scheduler can run code
on its workers, with this as without it: that is why addresses must be encrypted, see `cluster.connect`. Nothing else in
the project pickles.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client, Future
from distributed.protocol.pickle import dumps
from distributed.protocol.pickle import loads as unpacked

LOG_LENGTH = 10
"""So much Dask keeps of what it did, here and in processes that start from here.

Of itself each connection keeps its last 1,000 messages, with recipes and whatever else they carry, and each worker as
many events.
"""

os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH", str(LOG_LENGTH))
dask.config.set({"distributed.admin.low-level-log-length": LOG_LENGTH})

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
