"""Scheduling between all processes of this machine: a latency measurement runs alone, and a training pauses while a
job runs that a user waits for.

Three lock files (flock(2): the kernel releases the locks of a process that dies):

- *stopwatch*: held exclusively by the process that measures latency;
- *work*: held shared by all threads that compute, exclusively by a latency measurement, which thereby waits until all
  others have paused;
- *quick*: held shared by jobs that a user waits for; a training pauses meanwhile.

A thread computes inside `work_turn` and calls `yield_turn` every batch.

Every user may write to the folder of the files, so another user may have put something else there under their names: no
link is followed, and permissions are changed only of a file that was just created. Nothing is read from them or written
to them. A process that never releases a lock cannot be prevented where every user may lock.
"""

import errno
import fcntl
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from compression.errors import InvalidFile

FOLDER = Path(tempfile.gettempdir())
STOPWATCH, WORK, QUICK = (FOLDER / f"compression-lab{suffix}.lock" for suffix in ("", "-work", "-quick"))
LOOK_S = 0.02
"""Interval in seconds at which a paused thread checks whether it may go on."""

_UNFIT = "The file {path} cannot be used to take turns on this machine: {what}; remove it, or set TMPDIR."

_thread = threading.local()


@contextmanager
def machine_lock() -> Iterator[None]:
    """Held while milliseconds are measured; blocks until no other thread measures or computes.

    Raises `InvalidFile` where a lock file is no plain file or cannot be opened.
    """
    with aside(), _locked(STOPWATCH, fcntl.LOCK_EX), _locked(WORK, fcntl.LOCK_EX):
        yield


@contextmanager
def work_turn(*, quick: bool = False) -> Iterator[None]:
    """Registers this thread as one that computes, with `quick` as one that a user waits for.

    The thread must call `yield_turn` often. Raises `InvalidFile` as `machine_lock` does.
    """
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


def yield_turn(
    stop: Callable[[], bool] | None = None,
    *,
    pausing: Callable[[], None] | None = None,
    meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Pauses during a latency measurement and, in a job that is not quick, while a quick one runs.

    `stop()` true ends the pause; `pausing` is called once when there is one. It lasts inside `meanwhile()`, where the
    thread gives back what a quick job of its process may wait for. Does nothing outside `work_turn`, nor `aside`, where
    the thread holds nobody up.
    """
    share: _Share | None = getattr(_thread, "share", None)
    if share is None or not share.held or not share.must_pause():
        return
    with aside(), meanwhile():
        if pausing:
            pausing()
        while share.must_pause() and not (stop and stop()):
            time.sleep(LOOK_S)


@contextmanager
def aside() -> Iterator[None]:
    """Inside, this thread only waits and does not count as one that computes; it may not have counted before either."""
    share: _Share | None = getattr(_thread, "share", None)
    if share is None or not share.held:
        yield
        return
    share.leave()
    try:
        yield
    finally:
        share.enter()


class _Share:
    """One thread's shared hold of the lock *work*. A `patient` one pauses for quick jobs."""

    def __init__(self, *, patient: bool):
        self._patient = patient
        self._work: int | None = None

    @property
    def held(self) -> bool:
        """Whether the thread counts as one that computes."""
        return self._work is not None

    def enter(self) -> None:
        """Acquires the lock, after *stopwatch*: so that no thread overtakes a latency measurement that waits."""
        assert not self.held
        with _locked(STOPWATCH, fcntl.LOCK_SH):
            self._work = _lock(WORK, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Releases the lock."""
        if self._work is not None:
            os.close(self._work)
            self._work = None

    def must_pause(self) -> bool:
        """Whether somebody wants the machine for himself."""
        return not is_free(STOPWATCH, fcntl.LOCK_SH) or (self._patient and not is_free(QUICK, fcntl.LOCK_EX))


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    held = _lock(path, how)
    try:
        yield
    finally:
        os.close(held)


def _lock(path: Path, how: int) -> int:
    """A descriptor that holds the lock; closing it releases the lock."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, how)
    except OSError:
        os.close(handle)
        raise
    return handle


def _opened(path: Path) -> int:
    """A descriptor of the file, which is created for all users where it does not exist.

    Raises `InvalidFile` for anything but a plain file.
    """
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
    """Opens the file without following links and without blocking."""
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise InvalidFile(_UNFIT.format(path=path, what=what)) from None


def _make(path: Path) -> None:
    """Creates a file that every user may lock, atomically with its permissions; an existing one is left as it is.

    Linux forbids O_CREAT on another user's file in a shared folder, so it is made elsewhere and linked.
    """
    try:
        handle, made = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            os.fchmod(handle, 0o666)
            with suppress(FileExistsError):  # another process was quicker
                os.link(made, path)
        finally:
            os.close(handle)
            os.unlink(made)
    except OSError as error:
        raise InvalidFile(_UNFIT.format(path=path, what=error.strerror)) from None


def is_free(path: Path, how: int) -> bool:
    """Whether the lock could be taken now, `how` as `fcntl.flock` has it: shared or exclusive."""
    try:
        os.close(_lock(path, how | fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
