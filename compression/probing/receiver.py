"""A door for one report: a port on the network that takes one by a link, and closes.

The link is http://ADDRESS:PORT/#KEY. Its key never travels: `probe.py` signs the report with it (HMAC-SHA256), so
whoever listens on the network can read the report, but neither change it nor send another. Nothing here is served.
"""

import asyncio
import hashlib
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

import psutil
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from compression.errors import InvalidSetting, UserError, shown
from compression.records.probe import MOST_CHARACTERS

T = TypeVar("T")
State = Literal["open", "received", "expired", "stopped"]

SCHEME = "HMAC-SHA256"
KEY_BYTES = 16
LONGEST_S = 3600.0
PATIENCE_S = 30.0
"""How long a request may take to send its headers, and its body."""

MOST_CONNECTIONS, MOST_HEADERS = 16, 16_384
LOOPBACK = "127.0.0.1"
ELSEWHERE = ("192.0.2.1", 9)  # an address of no machine; nothing is sent to it


def addresses() -> list[str]:
    """This machine's IPv4 addresses in networks, the one that leads out first; `LOOPBACK` where there are none."""
    named = (address for each in psutil.net_if_addrs().values() for address in each)
    found = [each.address for each in named if each.family == socket.AF_INET and not each.address.startswith("127.")]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(ELSEWHERE)
        found.sort(key=lambda address: address != out.getsockname()[0])
    return found or [LOOPBACK]


class Receiver(Generic[T]):
    """Listens on one address until a report has come, or `seconds` have passed; `take` reads and keeps the report.

    `state` says how it stands; `found` is what `take` gave, `refused` the sentence on the last report that was refused.
    `take` is called in a thread of the receiver's own, and what it refuses, by `UserError`, the sender may send again.
    """

    def __init__(self, take: Callable[[bytes], T], address: str, seconds: float) -> None:
        """Opens the port. Raises `InvalidSetting` for an address that is none of this machine's."""
        if not 0 < seconds <= LONGEST_S:
            raise InvalidSetting(f"A receiver is open for at most {LONGEST_S / 60:g} minutes, not {seconds / 60:g}.")
        if address not in (*addresses(), LOOPBACK):
            raise InvalidSetting(f"{shown(address)} is no address of this machine; it has {', '.join(addresses())}.")
        try:
            sockets = bind_sockets(0, address, socket.AF_INET)
        except OSError as error:
            raise InvalidSetting(f"No port can be opened on {address}: {error.strerror}.") from None
        self.state: State = "open"
        self.found: T | None = None
        self.refused = ""
        self.ends = datetime.now(UTC) + timedelta(seconds=seconds)
        self.address, self.port = sockets[0].getsockname()[:2]
        self._take, self._seconds = take, seconds
        self._key = secrets.token_urlsafe(KEY_BYTES)
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._listen, args=(sockets,), name="receiver", daemon=True)
        self._thread.start()

    @property
    def link(self) -> str:
        """What the sender is given."""
        return f"http://{self.host}/#{self._key}"

    @property
    def host(self) -> str:
        """The one `Host` that requests may name, which keeps web pages out that reach this port by a name of theirs."""
        return f"{self.address}:{self.port}"

    def stop(self) -> None:
        """Closes the port, if it is open, and waits until it is closed."""
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._end, "stopped")
        self._thread.join(PATIENCE_S)

    def wait(self, seconds: float) -> bool:
        """Waits so long for the port to close; whether it is closed."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def signed(self, content: bytes, signature: str) -> bool:
        """Whether a report was signed with the link's key; takes as long for any signature."""
        ours = hmac.new(self._key.encode(), content, hashlib.sha256).hexdigest()
        return hmac.compare_digest(f"{SCHEME} {ours}".encode(), signature.encode("utf-8", "replace"))

    def receive(self, content: bytes) -> tuple[int, str]:
        """The status and the sentence with which a signed report is answered."""
        if self.state != "open":
            return 410, "This link has been used or has expired."
        try:
            self.found = self._take(content)
        except UserError as error:
            self.refused = str(error)
            return 422, str(error)
        self._end("received")
        return 200, "The report was received; this link is closed."

    def _end(self, state: State) -> None:
        if self.state == "open":
            self.state = state
            self._ended.set()

    def _listen(self, sockets: list[socket.socket]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(sockets))

    async def _serve(self, sockets: list[socket.socket]) -> None:
        server = _Server(
            Application([(r"/", _Handler, {"receiver": self})], default_handler_class=_Elsewhere, log_function=_silent),
            no_keep_alive=True, idle_connection_timeout=PATIENCE_S, body_timeout=PATIENCE_S,
            max_header_size=MOST_HEADERS, max_body_size=MOST_CHARACTERS,
        )  # fmt: skip
        server.add_sockets(sockets)
        try:
            await asyncio.wait_for(self._ended.wait(), self._seconds)
        except TimeoutError:
            self._end("expired")
        server.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.drained(), 1.0)  # the answer to the sender is on its way
        await server.close_all_connections()


def _silent(handler: RequestHandler) -> None:
    """Strangers' requests are not logged."""


class _Server(HTTPServer):
    """Takes so many connections at a time, and closes others at once."""

    def initialize(self, *about: Any, **how: Any) -> None:
        super().initialize(*about, **how)
        self._open = 0
        self._none = asyncio.Event()
        self._none.set()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        if self._open >= MOST_CONNECTIONS:
            stream.close()
            return
        self._open += 1
        self._none.clear()
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self._open -= 1
        if not self._open:
            self._none.set()

    async def drained(self) -> None:
        """Waits until no connection is open."""
        await self._none.wait()


class _Answering(RequestHandler):
    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("X-Content-Type-Options", "nosniff")

    def answer(self, status: int, sentence: str) -> None:
        """Ends the request with a sentence."""
        self.set_status(status)
        self.finish(f"{sentence}\n")

    def write_error(self, status_code: int, **how: Any) -> None:
        self.answer(status_code, "The request cannot be answered.")


class _Elsewhere(_Answering):
    def prepare(self) -> None:
        self.answer(404, "There is nothing at this address; use the link as it was given.")


@stream_request_body
class _Handler(_Answering):
    """The one address: POST a signed report."""

    def initialize(self, receiver: Receiver[Any]) -> None:
        self._receiver, self._body = receiver, bytearray()

    def prepare(self) -> None:
        length, opened = self.request.headers.get("Content-Length", ""), self._receiver.host
        if self.request.headers.get("Host") != opened:
            self.answer(421, f"This port takes requests for {opened} alone; use the link as it was given.")
        elif self.request.method != "POST":
            self.set_header("Allow", "POST")
            self.answer(405, "This link takes a report: python probe.py --send LINK.")
        elif not length.isascii() or not length.isdigit():
            self.answer(411, "The request must tell the length of the report.")
        elif len(length) > 15 or int(length) > MOST_CHARACTERS:
            self.answer(413, f"The report has more than {MOST_CHARACTERS:,} bytes.")

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def post(self) -> None:
        """Takes the report in where its signature is the link's."""
        content = bytes(self._body)
        if self._receiver.signed(content, self.request.headers.get("Authorization", "")):
            self.answer(*self._receiver.receive(content))
        else:
            self.answer(403, "The report was not signed with the key of this link; use the link as it was given.")
