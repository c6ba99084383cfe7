"""Downloads of weights, from a server on this machine that breaks off, lies and redirects."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from compression.errors import Cancelled, InvalidFile, UserError, WeightsUnavailable
from compression.host.interruption import letting_others
from compression.models import downloads
from compression.models.libraries import Remote

CONTENT = bytes(range(256)) * 12_000  # 3 MB: three chunks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """`/whole` with ranges, `/cut` that ends in the middle of a first answer, `/linked` that leads to `/whole`."""

    asked: ClassVar[list[str | None]] = []

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is told."""

    def do_GET(self) -> None:
        begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.asked.append(self.headers["Range"])
        if self.path == "/gone":
            return self.send_error(404)
        if self.path == "/linked":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.send_header("X-Linked-Etag", f'"{DIGEST}"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path == "/leads-astray":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if begin >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        length = 1 << 60 if self.path == "/huge" else len(CONTENT) - begin
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(CONTENT[begin:1_500_000] if self.path == "/cut" and not begin else CONTENT[begin:])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server; downloads land in a folder of the test's."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    Server.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once_and_told_of(place: str) -> None:
    told: list[float] = []
    remote = Remote(f"{place}/whole", "a.bin", DIGEST[:8])
    path = downloads.download(remote, progress=lambda sentence, share: told.append(share))
    assert path.read_bytes() == CONTENT
    assert told == sorted(told) and told[-1] == 1.0
    assert downloads.download(remote) == path
    assert len(Server.asked) == 1


def test_others_may_compute_during_a_download(place: str) -> None:
    aside: list[bool] = []

    @contextmanager
    def others() -> Iterator[None]:
        aside.append(True)
        yield
        aside.append(False)

    with letting_others(others):
        downloads.download(Remote(f"{place}/whole", "a.bin", DIGEST), progress=lambda *_: aside.append(aside[-1]))
    assert aside == [True] * 4 + [False]


def test_one_that_is_cut_off_goes_on_where_it_ended(place: str) -> None:
    remote = Remote(f"{place}/cut", "a.bin", DIGEST[:8])
    with pytest.raises(WeightsUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
        downloads.download(remote)
    assert downloads.download(remote).read_bytes() == CONTENT
    assert Server.asked == [None, "bytes=1500000-"]


def test_one_that_is_stopped_goes_on_where_it_ended(place: str) -> None:
    remote = Remote(f"{place}/whole", "a.bin", DIGEST[:8])
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        downloads.download(remote, stop=lambda: next(answers))
    assert not (downloads.folder() / "a.bin").exists()
    assert downloads.download(remote).read_bytes() == CONTENT
    assert Server.asked == [None, f"bytes={downloads.CHUNK}-"]


def test_one_whose_last_byte_was_here_already_is_complete(place: str) -> None:
    downloads.folder().mkdir(parents=True)
    (downloads.folder() / "a.bin.part").write_bytes(CONTENT)
    assert downloads.download(Remote(f"{place}/whole", "a.bin", DIGEST)).read_bytes() == CONTENT


def test_other_bytes_than_promised_are_refused_and_not_kept(place: str) -> None:
    with pytest.raises(InvalidFile, match="not the promised 00000000"):
        downloads.download(Remote(f"{place}/whole", "a.bin", "00000000"))
    assert list(downloads.folder().iterdir()) == []


def test_the_digest_that_a_redirection_tells_is_the_one_that_counts(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert downloads.download(Remote(f"{place}/linked", "a.bin")).read_bytes() == CONTENT
    (downloads.folder() / "b.bin.part").write_bytes(b"another beginning")
    with pytest.raises(InvalidFile, match=f"not the promised {DIGEST[:16]}"):
        downloads.download(Remote(f"{place}/linked", "b.bin"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/gone", "127.0.0.1 does not give a.bin .HTTP 404."),
        ("/huge", "the file has 1152921504.6 GB, and at most 4.3 GB are read"),
        ("/leads-astray", "127.0.0.1 failed on a.bin .HTTP 302."),
    ],
)
def test_what_is_not_there_is_a_sentence(place: str, path: str, said: str) -> None:
    with pytest.raises(WeightsUnavailable, match=said):
        downloads.download(Remote(place + path, "a.bin"))


def test_a_host_that_is_not_there_is_a_sentence(place: str) -> None:
    for url in ("http://127.0.0.1:9/a", "http://no-such-host.invalid/a", "file:///etc/passwd", "nonsense"):
        with pytest.raises(UserError):
            downloads.download(Remote(url, "a.bin"))
