"""One thread of a worker computes at a time, and one that prepares a network lets others pass between two batches.

PyTorch keeps some of its state for the whole process (`parametrize.cached`), so tasks never compute side by side, and
none lets another pass while it is kept: the other would be given weights that are no longer so. A
worker has one thread for tasks; one whose task prepares a network leaves Dask's count (`distributed.secede`), and the
next task gets a thread of its own. Those that no user waits for are *patient*: nobody lets them pass.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compression.host.machine_lock import aside as machine_aside
from compression.host.machine_lock import yield_turn


def keeps_weights() -> bool:
    """Whether PyTorch keeps parametrized weights that were computed, for all threads."""
    parametrize = sys.modules.get("torch.nn.utils.parametrize")
    return bool(parametrize and parametrize._cache_enabled)


class Turns:
    """Who computes now, and who comes next: the impatient in the order of their coming, then the patient."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holder: int | None = None
        self._waiting: list[tuple[bool, int]] = []  # (patient, number)
        self._numbers = 0
        self._own = threading.local()

    @contextmanager
    def turn(self, *, patient: bool = False) -> Iterator[None]:
        """Inside, this thread alone computes. A thread that has the turn keeps it."""
        if self._holder == threading.get_ident():
            yield
            return
        self._own.patient, self._own.place = patient, None
        self._acquire()
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, others may compute: this thread only waits. Does nothing where it has no turn, or keeps weights."""
        if self._holder != threading.get_ident() or keeps_weights():
            yield
            return
        with machine_aside():
            self._release()
            try:
                yield
            finally:
                self._acquire()

    def let_pass(self) -> None:
        """Lets those compute first who wait by now and for whom a user waits."""
        if self.is_awaited():
            with self.aside():
                pass

    def pause(self, stop: Callable[[], bool], *, pausing: Callable[[], None] | None = None) -> None:
        """`yield_turn` for jobs that are not quick, which others need the turn of to get done meanwhile."""
        if not keeps_weights():
            yield_turn(stop, pausing=pausing, meanwhile=self.aside)

    def is_awaited(self) -> bool:
        """Whether somebody waits for a turn for whom a user waits."""
        return any(not patient for patient, _ in self._waiting)

    def is_patient(self) -> bool:
        """Whether this thread has its turn for something that no user waits for."""
        return getattr(self._own, "patient", False)

    def _acquire(self) -> None:
        with self._changed:
            if self._own.place is None or not self._own.patient:  # a patient one keeps its place before other such
                self._numbers += 1
                self._own.place = self._own.patient, self._numbers
            place = self._own.place
            self._waiting.append(place)
            try:
                self._changed.wait_for(lambda: self._holder is None and place == min(self._waiting))
                self._holder = threading.get_ident()
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()

    def _release(self) -> None:
        with self._changed:
            self._holder = None
            self._changed.notify_all()
