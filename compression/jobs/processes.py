"""The processes of the app: who they are, that they end with it, and what Dask's own have to be told."""

import os
import threading
import time
from typing import Any, NamedTuple

import psutil


class Identity(NamedTuple):
    """A process; ids are given out again, so the start time belongs to it.

    In seconds since the machine was started: a clock that is set meanwhile moves times since the epoch.
    """

    pid: int
    started: float


def identity(pid: int) -> Identity:
    """The process that has this id now."""
    return Identity(pid, _started(psutil.Process(pid)))


def runs(process: Identity) -> bool:
    """Whether that very process is still there (a zombie is not)."""
    try:
        found = psutil.Process(process.pid)
        return abs(_started(found) - process.started) < 2 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def end_with(app: tuple[int, float], every: float = 1.0) -> None:
    """From now on this process ends within `every` seconds after `app` has ended, however that ended."""

    def watch() -> None:
        while runs(Identity(*app)):
            time.sleep(every)
        os._exit(0)

    threading.Thread(target=watch, name="end-with-app", daemon=True).start()


def quiet(scheduler: Any) -> None:
    """Dask calls this when the scheduler is up. Nobody reads what it writes to stderr, so it must not fill the pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def at_ease(nanny: Any) -> None:
    """Dask calls this in the nanny. Its settings for a worker's environment are undone: they suit many small tasks.

    It would hold every numeric library to one thread, and the bytes of a file depend on the number of threads, with
    which the command line runs as the libraries choose. And it would have glibc give memory back after every tensor,
    whose pages are faulted in again for the next one: that made everything in torch take twice as long.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"):
        nanny.pre_spawn_env.pop(name, None)
        nanny.env.pop(name, None)
