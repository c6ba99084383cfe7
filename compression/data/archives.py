"""Archives of pictures that somebody hands over: unpacked into the user's folder, under the hash of their content.

A `.zip`, `.tar` or `.tar.gz` is data: nothing in it says where on this machine anything is written. Only pictures and
tables of labels are written at all. Refused as a whole: names that lead out of the folder, links, devices, names that
are the same but for their case, too many entries, and more bytes than such pictures can have.
"""

import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import time
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from compression.data.cache_limit import KEEP_FREE
from compression.data.decoding import MAX_FILE_BYTES
from compression.data.folder import is_picture, named
from compression.data.label_files import ENDINGS
from compression.errors import Cancelled, InvalidFile, shown
from compression.host.folders import user_folder

MAX_ENTRIES = 500_000  # ImageNet's validation photos are 50,000
MAX_BYTES = 200 << 30  # of an archive, and of what is in it
MAX_RATIO = 100  # bytes unpacked for each byte of the archive; photos are compressed already
FREE_BYTES = 256 << 20  # that may come out of a small archive, whatever the ratio
MAX_NAME, MAX_DEPTH = 1_000, 32  # characters of a path and folders in it
TITLE = ".title"  # hidden, so it is no picture and no table
LONGEST_TITLE = 80
_PIECE = 1 << 20  # bytes that are read at once
_DIRECTORY_BYTES = 256 << 20  # of a zip archive's list of entries
_STALE_S = 24 * 3600.0
_PARTIAL = ".partial-"

_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, NotImplementedError, ValueError, OverflowError,
    RuntimeError, LookupError, struct.error, zlib.error,
)  # fmt: skip
"""What the standard library raises for archives that are damaged, or meant to be; RecursionError is a RuntimeError."""

Progress = Callable[[str, float], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Extracted:
    """Where pictures were unpacked, how many, and how many entries are none."""

    folder: Path
    pictures: int
    ignored: int

    @property
    def dataset(self) -> str:
        """The name that `load` takes."""
        return f"folder:{self.folder}"


def uploads() -> Path:
    """Where what is handed over lies."""
    return user_folder() / "datasets" / "uploads"


def added_folders() -> dict[str, str]:
    """What was handed over and lies there still: dataset's name → title, by title.

    No two titles are the same: of those that were called alike, all but the first that came have a number.
    """
    try:
        there = [path for path in uploads().iterdir() if path.is_dir() and not path.name.startswith(".")]
        folders = sorted((title_of(path).lower(), path.stat().st_mtime_ns, path.name, path) for path in there)
    except OSError:
        return {}
    titles: dict[str, str] = {}
    for *_, path in folders:
        title = title_of(path)
        numbered = (title if i == 1 else f"{title} ({i})" for i in count(1))
        titles[f"folder:{path}"] = next(each for each in numbered if each not in titles.values())
    return titles


def title_of(folder: Path) -> str:
    """What the user called the file that was unpacked into a folder here; another folder's own name."""
    try:
        text = (folder / TITLE).read_text("utf-8", "replace") if folder.parent == uploads() else ""
    except OSError:
        text = ""
    return shown_name(text) or named(folder.name)


def shown_name(text: str) -> str:
    """A name in one line of printable characters."""
    return "".join(letter for letter in text[:LONGEST_TITLE] if letter.isprintable()).strip()


def extract(
    archive: Path | IO[bytes], name: str = "", *, progress: Progress | None = None, stop: Stop | None = None
) -> Extracted:
    """Unpacks a file, or what is read from an open one, once. `name` is what the user calls it.

    Raises InvalidFile with what is wrong, and Cancelled; both leave nothing.
    """
    job = _Job(name or (archive.name if isinstance(archive, Path) else "The archive"), progress, stop)
    try:
        uploads().mkdir(parents=True, exist_ok=True)
        _clear()
        if isinstance(archive, Path):
            with archive.open("rb") as file:
                return job.unpacked(file, job.digest(file))
        with _workplace() as place, (place / "archive").open("w+b") as kept:
            return job.unpacked(kept, job.digest(archive, kept))
    except OSError as error:
        raise InvalidFile(f"{named(job.name)} cannot be unpacked: {error.strerror or error}.") from None


def keep_pictures(pictures: Iterable[tuple[str, bytes]]) -> Extracted:
    """Single pictures, (name, content), in a folder of their own, named after what they hold.

    A name that is there already gets a number. Raises InvalidFile for none, or too large ones.
    """
    digest, names, ignored = hashlib.sha256(), set[str](), 0
    try:
        with _workplace() as place:
            for name, content in pictures:
                plain = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1]).replace("\0", "")
                if not is_picture(plain) or plain.startswith(".") or len(content) > MAX_FILE_BYTES:
                    ignored += 1
                    continue
                stem, ending = os.path.splitext(plain[-100:])
                free = next(
                    n for i in range(MAX_ENTRIES) if (n := f"{stem}{f'-{i}' if i else ''}{ending}").lower() not in names
                )
                names.add(free.lower())
                (place / free).write_bytes(content)
                digest.update(hashlib.sha256(content).digest() + free.encode("utf-8", "surrogateescape"))
            if not names:
                raise InvalidFile(f"None of {ignored:,} files is an image of at most {MAX_FILE_BYTES >> 20} MiB.")
            title = next(iter(names)) if len(names) == 1 else f"{len(names):,} pictures"
            return Extracted(_moved(place, digest.hexdigest()[:16], title), len(names), ignored)
    except OSError as error:
        raise InvalidFile(f"The images cannot be stored in {uploads()}: {error.strerror}.") from None


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder that is gone afterwards, unless it was moved."""
    place = uploads() / f"{_PARTIAL}{uuid.uuid4().hex}"
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _moved(place: Path, name: str, title: str) -> Path:
    """The folder under its own name, with its title; that which is there already holds the same."""
    (place / TITLE).write_text(shown_name(title), "utf-8")
    final = uploads() / name
    if not final.is_dir():
        with suppress(FileExistsError):
            os.rename(place, final)
    return final


def _clear() -> None:
    """Removes what a process that was killed left."""
    for partial in uploads().glob(f"{_PARTIAL}*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > _STALE_S:
                shutil.rmtree(partial, ignore_errors=True)


class _Job:
    """One archive on its way: what it is called, and what was met so far."""

    def __init__(self, name: str, progress: Progress | None, stop: Stop | None):
        self.name = name
        self._say, self._stop = progress or (lambda text, share: None), stop or (lambda: False)
        self._names: set[str] = set()
        self._bytes = self._entries = self._pictures = self._ignored = 0
        self._most = 0

    def refuse(self, why: str) -> InvalidFile:
        """The error for what makes the whole archive unfit."""
        return InvalidFile(f"{named(self.name)} is not unpacked: {why}.")

    def tell(self, text: str, share: float) -> None:
        """Progress; raises Cancelled where the user wants no more."""
        if self._stop():
            raise Cancelled("Unpacking was stopped.")
        self._say(text, min(share, 1.0))

    def digest(self, source: IO[bytes], kept: IO[bytes] | None = None) -> str:
        """Reads all of an archive, into `kept` where that is given, and says what it is called here."""
        digest, size = hashlib.sha256(), 0
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > MAX_BYTES:
                raise self.refuse(f"it takes more than {MAX_BYTES >> 30} GiB")
            if kept:
                if shutil.disk_usage(uploads()).free < KEEP_FREE:
                    raise self.refuse(f"the disk of {uploads()} is full")
                kept.write(piece)
            digest.update(piece)
            self.tell(f"Reading {size >> 20:,} MiB", 0.0)
        self._most = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * size))
        return digest.hexdigest()[:16]

    def unpacked(self, file: IO[bytes], name: str) -> Extracted:
        """The folder with an archive's pictures."""
        final = uploads() / name
        if not final.is_dir():
            with _workplace() as place:
                try:
                    file.seek(0)
                    self._unpack(file, place)
                except _DAMAGED as error:
                    raise self.refuse(f"it is damaged or no .zip, .tar or .tar.gz ({_short(error)})") from None
                if not self._pictures:
                    raise self.refuse("it has no images")
                final = _moved(place, name, Path(self.name).name.partition(".")[0])
        counted = sum(is_picture(f) for _, _, files in os.walk(final) for f in files)
        return Extracted(final, counted, self._ignored)

    def _unpack(self, file: IO[bytes], place: Path) -> None:
        start = file.read(4)
        file.seek(0)
        if start[:2] == b"PK":
            self._unzip(file, place)
        else:
            packed = gzip.GzipFile(fileobj=file) if start[:2] == b"\x1f\x8b" else file
            self._untar(_Forward(packed, self), place)

    def _unzip(self, file: IO[bytes], place: Path) -> None:
        _check_directory(file, self)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            for i, entry in enumerate(entries):
                mode = entry.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise self.refuse(f"its entry {shown(entry.filename)} is a link or a device")
                target = self._place_of(entry.filename, place, is_folder=entry.is_dir())
                self.tell(f"Unpacking {i + 1:,} of {len(entries):,}", i / len(entries))
                if target is None:
                    continue
                if entry.flag_bits & 1:
                    raise self.refuse("it is encrypted")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise self.refuse(f"{shown(entry.filename)} is packed in another way than by deflate")
                with archive.open(entry) as content:
                    self._write(target, content)

    def _untar(self, stream: "_Forward", place: Path) -> None:
        with tarfile.TarFile(fileobj=stream, mode="r", errorlevel=2) as archive:  # type: ignore[arg-type]
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else each entry stays in memory
                if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or entry.issparse():
                    raise self.refuse(f"its entry {shown(entry.name)} is a link, a device or a file with holes")
                target = self._place_of(entry.name, place, is_folder=entry.isdir())
                self.tell(f"Unpacking {self._entries:,}", 0.5)
                content = archive.extractfile(entry) if target else None
                if target and content:
                    self._write(target, content)

    def _place_of(self, name: str, place: Path, *, is_folder: bool) -> Path | None:
        """Where an entry is written, None for what is no picture and no table. Refuses names that are none."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise self.refuse(f"it has more than {MAX_ENTRIES:,} entries")
        plain = name.replace("\\", "/").removeprefix("./").rstrip("/")
        parts = [part for part in plain.split("/") if part != "."]
        if plain.startswith("/") or ".." in parts or plain[1:2] == ":" or "\0" in plain:
            raise self.refuse(f"its entry {shown(name)} points outside the folder")
        if len(plain) > MAX_NAME or len(parts) > MAX_DEPTH:
            raise self.refuse(f"its entry {shown(name)} has a path that is too long")
        if is_folder:
            return None
        key = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        if key in self._names:
            raise self.refuse(f"it holds {shown(name)} twice, or two names that differ by case alone")
        self._names.add(key)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if hidden or not (is_picture(plain) or plain.lower().endswith(ENDINGS)):
            self._ignored += 1
            return None
        return place.joinpath(*parts)

    def _write(self, target: Path, content: IO[bytes]) -> None:
        """A picture that is too large to be decoded is cut off: it is listed as such when it is read."""
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with target.open("xb") as file:
            while piece := content.read(_PIECE):
                self.count(len(piece))
                size += len(piece)
                if size <= MAX_FILE_BYTES + _PIECE:
                    file.write(piece)
        self._pictures += is_picture(target.name)

    def count(self, size: int) -> None:
        """Bytes that came out of the archive. Refuses too many."""
        self._bytes += size
        if self._bytes > self._most:
            raise self.refuse(
                f"more than {self._most / 2**20:,.0f} MiB come out of it; {MAX_RATIO} times its size and "
                f"{FREE_BYTES >> 20} MiB are allowed"
            )
        if shutil.disk_usage(uploads()).free < KEEP_FREE:
            raise self.refuse(f"the disk of {uploads()} is full")


def _short(error: BaseException) -> str:
    return str(error).rstrip(".")[:100] or type(error).__name__


def _check_directory(file: IO[bytes], job: _Job) -> None:
    """Counts a zip archive's entries before the standard library makes an object of each."""
    file.seek(0, io.SEEK_END)
    end = file.tell()
    file.seek(max(0, end - 65_557 - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("it has no list of entries")
    size, offset = struct.unpack("<II", tail[at + 12 : at + 20])
    if 0xFFFFFFFF in (size, offset) or tail[at + 10 : at + 12] == b"\xff\xff":
        if at < 20 or tail[at - 20 : at - 16] != b"PK\6\7":
            raise zipfile.BadZipFile("its list of entries is not where it should be")
        file.seek(min(struct.unpack("<Q", tail[at - 12 : at - 4])[0], end))
        record = file.read(56)
        size = struct.unpack("<Q", record[40:48])[0]
    if size > _DIRECTORY_BYTES:
        raise job.refuse("its list of entries is too long")
    if size // 46 > MAX_ENTRIES:
        _count_entries(file, tail, at, end, size, job)
    file.seek(0)


def _count_entries(file: IO[bytes], tail: bytes, at: int, end: int, size: int, job: _Job) -> None:
    """Entries take 46 bytes and their names: only a long list is looked through."""
    file.seek(max(0, end - len(tail) + at - size - 76))
    listed = file.read(size + 76)
    if listed.count(b"PK\1\2") > MAX_ENTRIES:
        raise job.refuse(f"it has more than {MAX_ENTRIES:,} entries")


class _Forward:
    """A stream that tarfile reads from the beginning to the end: bounded in all and at once.

    tarfile reads an extended header whole, however long it says that it is; nothing longer than `_PIECE` is given.
    """

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, job: _Job):
        self._stream, self._job, self._at = stream, job, 0

    def tell(self) -> int:
        """Bytes given so far."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError("a header in it is too long")
        piece = self._stream.read(size)
        self._at += len(piece)
        return piece

    def seek(self, to: int) -> int:
        """Forward alone; what is left out counts too, as it is unpacked."""
        if to < self._at:
            raise tarfile.ReadError("its entries lie across each other")
        while self._at < to:
            piece = self.read(min(_PIECE, to - self._at))
            if not piece:
                break
            self._job.count(len(piece))
        return self._at
