"""Calls that wait in a thread of their own, and that do not hold up the end of the program."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_daemon_thread(call: Callable[[], T]) -> Future[T]:
    """What `call` returns or raises. The program can end meanwhile: it joins only the threads of an executor."""
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()

    def act() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # whoever reads the answer gets it
            answer.set_exception(error)

    threading.Thread(target=act, name="answer", daemon=True).start()
    return answer
