"""A question to the worker whose progress is shown line by line while a user waits, and which can be stopped."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future as Answer
from typing import Any, Generic, TypeVar

from distributed import Future

from compression.jobs.channel import without_numbers

T = TypeVar("T")

LINES = 50
"""Lines that are kept; the first ones go."""


class Watched(Generic[T]):
    """The answer when it comes, as a `concurrent.futures.Future` has it, and what is done until then.

    `lines` says it line by line, the last is being done; `share` in [0, 1] of the whole. All methods may be called from
    any thread. Stopped, the result is a `Refusal` without a sentence.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.lines: tuple[str, ...] = ()
        self.share = 0.0
        self.stopped = False
        self._lock = threading.Lock()
        self._sent: Future | None = None
        self._answer: Answer[T] = Answer()

    def hear(self, event: dict[str, Any]) -> None:
        """Takes an event of the worker. A line that differs from the last one in numbers alone takes its place."""
        if event["kind"] != "progress":
            return
        line, share = str(event["sentence"]), event["share"]
        with self._lock:
            same = bool(self.lines) and without_numbers(self.lines[-1]) == without_numbers(line)
            self.lines = (*(self.lines[:-1] if same else self.lines), line)[-LINES:]
            self.share = self.share if share is None else min(max(float(share), 0.0), 1.0)

    def stop(self) -> None:
        """Ends the work at its next look."""
        with self._lock:
            self.stopped, sent = True, self._sent
        if sent is not None:
            sent.cancel()

    def hold(self, sent: Future) -> None:
        """What was sent to the worker: it is cancelled where this was stopped meanwhile."""
        with self._lock:
            self._sent = sent
        if self.stopped:
            sent.cancel()

    def answer_by(self, submit: Callable[[Callable[[], T]], Answer[T]], answer: Callable[[], T]) -> None:
        """Has `submit` carry out `answer`, which waits for the worker."""
        self._answer = submit(answer)

    def done(self) -> bool:
        """Whether the answer, or an error in its place, is there."""
        return self._answer.done()

    def result(self, timeout: float | None = None) -> T:
        """The answer; raises what the question does."""
        return self._answer.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What was raised instead of an answer."""
        return self._answer.exception(timeout)
