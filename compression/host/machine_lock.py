"""Turns on this machine, whoever works on it: what is timed runs alone, and a training waits while a user does.

Three files that every process of the machine locks (flock(2), so that a process that dies lets go):

- *stopwatch*, by one alone: somebody takes the time;
- *work*, shared by all who compute, and taken alone by whoever takes the time: so that waits for all others to pause;
- *quick*, shared by jobs that a user waits for: a training pauses meanwhile.

Whoever computes says so by `computing`, and calls `give_way` every batch.

The files lie where every user may write, so whatever lies there under their names may be somebody's trap: no link is
followed, and rights are given only to a file that was just made. Nothing is read from them or written to them. That
somebody holds a lock for ever cannot be helped where all may lock.
"""

import errno
import fcntl
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from compression.errors import InvalidFile

FOLDER = Path(tempfile.gettempdir())
STOPWATCH, WORK, QUICK = (FOLDER / f"compression-lab{suffix}.lock" for suffix in ("", "-work", "-quick"))
LOOK_S = 0.02
"""How often one who waits looks whether it is over."""

_UNFIT = "The file {path} cannot be used to take turns on this machine: {what}; remove it, or set TMPDIR."

_thread = threading.local()


@contextmanager
def machine_lock() -> Iterator[None]:
    """Held while milliseconds are measured; blocks until nobody else takes the time or computes."""
    share: _Share | None = getattr(_thread, "share", None)
    if share:
        share.leave()
    try:
        with _locked(STOPWATCH, fcntl.LOCK_EX), _locked(WORK, fcntl.LOCK_EX):
            yield
    finally:
        if share:
            share.enter()


@contextmanager
def work_turn(*, quick: bool = False) -> Iterator[None]:
    """Says that this thread computes, and with `quick` that a user waits for it. It must call `give_way` often."""
    if getattr(_thread, "share", None):
        yield
        return
    with ExitStack() as held:
        if quick:
            held.enter_context(_locked(QUICK, fcntl.LOCK_SH))
        _thread.share = share = _Share(patient=not quick)
        held.callback(setattr, _thread, "share", None)
        held.callback(share.leave)
        share.enter()
        yield


def yield_turn(stop: Callable[[], bool] | None = None, *, pausing: Callable[[], None] | None = None) -> None:
    """Pauses while somebody takes the time and, in a job that is not quick, while a quick one works.

    `stop` ends the waiting; `pausing` is called once if there is any. Does nothing outside `computing`.
    """
    share: _Share | None = getattr(_thread, "share", None)
    if share is None or not share.must_pause():
        return
    share.leave()
    if pausing:
        pausing()
    try:
        while share.must_pause() and not (stop and stop()):
            time.sleep(LOOK_S)
    finally:
        share.enter()


class _Share:
    """One thread's part in the lock *work*. A `patient` one lets quick ones pass."""

    def __init__(self, *, patient: bool):
        self._patient = patient
        self._work: int | None = None

    def enter(self) -> None:
        """Takes part. Passing by the stopwatch on the way, one never slips in before somebody who waits to time."""
        with _locked(STOPWATCH, fcntl.LOCK_SH):
            self._work = _lock(WORK, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Takes no part any more."""
        if self._work is not None:
            os.close(self._work)
            self._work = None

    def must_pause(self) -> bool:
        """Whether somebody wants the machine for himself."""
        return not _free(STOPWATCH, fcntl.LOCK_SH) or (self._patient and not _free(QUICK, fcntl.LOCK_EX))


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    held = _lock(path, how)
    try:
        yield
    finally:
        os.close(held)


def _lock(path: Path, how: int) -> int:
    """An open file with the lock on it; closing it lets go."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, how)
    except OSError:
        os.close(handle)
        raise
    return handle


def _opened(path: Path) -> int:
    """The file, made for everybody where it is not there. Raises `InvalidFile` for anything but a plain file."""
    try:
        handle = _open(path)
    except FileNotFoundError:
        _make(path)
        handle = _open(path)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidFile(_UNFIT.format(path=path, what="it is not a plain file"))
    return handle


def _open(path: Path) -> int:
    """Follows no link and waits for nobody."""
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise InvalidFile(_UNFIT.format(path=path, what=what)) from None


def _make(path: Path) -> None:
    """A new file that every user may lock, there at once with its rights; one that is there already is left as it is.

    Linux forbids O_CREAT on another user's file in a shared folder, so it is made elsewhere and linked.
    """
    try:
        handle, made = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            os.fchmod(handle, 0o666)
            with suppress(FileExistsError):  # somebody else was quicker
                os.link(made, path)
        finally:
            os.close(handle)
            os.unlink(made)
    except OSError as error:
        raise InvalidFile(_UNFIT.format(path=path, what=error.strerror)) from None


def _free(path: Path, how: int) -> bool:
    try:
        os.close(_lock(path, how | fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
