"""Downloads that torchvision makes by urllib: told how far they are, and stopped, between two pieces.

torchvision offers neither. What it opens goes through urllib's opener, which gets a handler here that hands over each
answer of the thread that watches with a `read` that looks first; answers to others stay as they are.
"""

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from compression.errors import Cancelled
from compression.host.interruption import only_waiting

TIMEOUT_S = 8.0

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]

_heard: ContextVar[tuple[str, Progress, Stop] | None] = ContextVar("heard", default=None)


class _Heard(urllib.request.BaseHandler):
    """Counts what is read of answers with content, where somebody watches."""

    handler_order = 2000  # behind those that follow redirections

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        """The answer, whose `read` raises `Cancelled` once it is no longer wanted."""
        if (watching := _heard.get()) and request.get_method() == "GET":
            response.read = _counted(response, urlsplit(request.full_url).hostname or "", *watching)
        return response

    https_response = http_response


def _counted(response: Any, host: str, title: str, progress: Progress, stop: Stop) -> Callable[..., bytes]:
    plain, whole, have = response.read, response.length, 0

    def read(*amount: int) -> bytes:
        nonlocal have
        if stop():
            raise Cancelled(f"The download of {title} was stopped.")
        piece: bytes = plain(*amount)
        have += len(piece)
        of = f" of {whole / 1e6:,.0f}" if whole else ""
        progress(f"Downloading {title} from {host}: {have / 1e6:,.0f}{of} MB", min(have / whole, 1.0) if whole else 0.0)
        return piece

    return read


@cache
def _install() -> None:
    urllib.request.install_opener(urllib.request.build_opener(_Heard()))


@contextmanager
def heard(title: str, progress: Progress, stop: Stop) -> Iterator[None]:
    """Inside, this thread's downloads are told, stopped, and given up after `TIMEOUT_S` seconds without an answer.

    Other tasks of a worker may compute meanwhile. Raises `Cancelled`.
    """
    _install()
    before, token = socket.getdefaulttimeout(), _heard.set((title, progress, stop))
    socket.setdefaulttimeout(TIMEOUT_S)  # torchvision itself would wait for ever
    try:
        with only_waiting():
            yield
    finally:
        socket.setdefaulttimeout(before)
        _heard.reset(token)
