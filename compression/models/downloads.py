"""One file from elsewhere into the user's folder: with progress, stopped and resumed, and checked by its SHA-256."""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from compression.errors import Cancelled, InvalidFile, WeightsUnavailable
from compression.host.folders import user_folder
from compression.host.interruption import only_waiting
from compression.models.libraries.entry import Remote

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]

CHUNK = 1 << 20
LARGEST = 4 << 30
"""Bytes of a file of weights; networks of a billion parameters are beyond what is compressed here."""

TIMEOUT_S = 15.0
"""Seconds without an answer or a byte after which a host cannot be reached."""

PART = ".part"
LINKED_DIGEST = "X-Linked-Etag"
"""The header in which repositories of models tell a file's SHA-256, with the redirection to where it lies."""


def folder() -> Path:
    """Where downloads are kept."""
    return user_folder() / "downloads"


def download(remote: Remote, *, progress: Progress | None = None, stop: Stop | None = None) -> Path:
    """The file of `remote` in the user's folder, downloaded where it is not there yet.

    A download that was stopped or cut off goes on where it ended. Raises `WeightsUnavailable` where the host cannot be
    reached or does not have the file, `InvalidFile` where what came is not what was promised, and `Cancelled`.
    """
    target = folder() / remote.name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    try:
        with only_waiting():
            promised = _receive(remote, part, progress, stop) or remote.sha256
            _check(remote, part, promised)
        part.replace(target)
    except OSError as error:  # urllib's are among them
        raise WeightsUnavailable(_unreachable(remote, error)) from None
    except (http.client.HTTPException, ValueError) as error:
        raise WeightsUnavailable(_unreachable(remote, error)) from None
    return target


def host(remote: Remote) -> str:
    """The host of a file, for a sentence."""
    return urlsplit(remote.url).hostname or remote.url


def _unreachable(remote: Remote, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        missing = error.code in (401, 403, 404, 410)
        reason = f"{host(remote)} {'does not give' if missing else 'failed on'} {remote.name} (HTTP {error.code})"
    else:
        told = getattr(error, "reason", None) or error
        reason = f"{host(remote)} cannot be reached: {getattr(told, 'strerror', None) or told or type(error).__name__}"
    return reason


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections to http and https, and keeps what the first answers tell of the file."""

    def __init__(self) -> None:
        self.digest = ""

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request that follows one that was answered with another place."""
        self.digest = self.digest or headers.get(LINKED_DIGEST, "").strip('"')
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"it leads to {newurl[:80]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(remote: Remote, part: Path, progress: Progress | None, stop: Stop | None) -> str:
    """Writes what is missing of the file behind what is in `part`; returns the SHA-256 that the host tells, or ''."""
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise ValueError(f"{remote.url[:80]!r} is not a file address")
    redirections = _Redirections()
    opener = urllib.request.build_opener(redirections)
    have = part.stat().st_size if part.is_file() else 0
    asked = urllib.request.Request(remote.url, headers={"User-Agent": "compression-lab"})
    if have:
        asked.add_header("Range", f"bytes={have}-")
    try:
        with opener.open(asked, timeout=TIMEOUT_S) as answer:
            resumed = have > 0 and answer.status == http.HTTPStatus.PARTIAL_CONTENT
            _write(answer, part, have if resumed else 0, remote, progress, stop)
            linked = answer.headers.get(LINKED_DIGEST, "").strip('"')
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        linked = ""  # all of it is there: its digest tells whether it is right
    digest = redirections.digest or linked
    return digest if len(digest) == 64 else ""


def _write(answer: Any, part: Path, have: int, remote: Remote, progress: Progress | None, stop: Stop | None) -> None:
    length = answer.headers.get("Content-Length")
    whole = have + int(length) if length else None
    if whole is not None and whole > LARGEST:
        raise ValueError(f"the file has {whole / 1e9:.1f} GB, and at most {LARGEST / 1e9:.1f} GB are read")
    free = shutil.disk_usage(part.parent).free
    if whole is not None and whole - have > free:
        raise ValueError(f"the file has {whole / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free on the disk here")
    with part.open("ab" if have else "wb") as file:
        for chunk in _chunks(answer):
            if stop and stop():
                raise Cancelled("The download was stopped; it resumes when requested again.")
            file.write(chunk)
            have += len(chunk)
            if have > LARGEST:
                raise ValueError(f"the file has more than {LARGEST / 1e9:.1f} GB")
            if progress:
                of = f" of {whole / 1e6:,.0f}" if whole else ""
                progress(f"Downloading from {host(remote)}: {have / 1e6:,.0f}{of} MB", have / whole if whole else 0.0)
    if whole is not None and have < whole:
        raise http.client.IncompleteRead(b"", whole - have)


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


def _check(remote: Remote, part: Path, promised: str) -> None:
    """Raises `InvalidFile`, and removes the file, where its SHA-256 does not begin as promised."""
    if promised and not digest_of(part).startswith(promised):
        part.unlink()
        raise InvalidFile(
            f"What {host(remote)} sent is not {remote.name}: its SHA-256 is not the promised {promised[:16]}; nothing "
            "of it was kept, so ask again."
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
