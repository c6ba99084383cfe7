"""Folders of pictures that came from another machine, under the hash of what is in them.

A folder's *list* names its pictures and tables of labels, each with its bytes and SHA-256; the SHA-256 of the list is
the folder's key. A list is data of a stranger's: no name in it leads out of the folder, nothing but pictures and tables
is written, and no content that is not the one that the list names.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from compression.data import folder as pictures
from compression.data.archives import LONGEST_TITLE
from compression.data.cache_limit import KEEP_FREE
from compression.data.decoding import MAX_FILE_BYTES, without_waiting
from compression.data.folder import Walk, is_picture, named
from compression.data.label_files import ENDINGS
from compression.errors import InvalidData, Unsupported, shown
from compression.host.folders import user_folder
from compression.records.documents import read_json

MOST_FILES, MOST_BYTES = 200_000, 4 << 30
"""Of one folder that travels."""

MOST_KEPT = 32 << 30
"""Bytes of all folders that were sent here; beyond, what was not used for longest is removed."""

MOST_FILE = MAX_FILE_BYTES + 1
"""A larger file is sent up to here: it is left out when pictures are decoded, there as here."""

PIECE_BYTES, PIECE_FILES = 16 << 20, 2_000
"""Of files that are sent together, but for one that is larger."""

MOST_NAME, MOST_DEPTH = 1_000, 32
LIST_CHARACTERS = MOST_FILES * 250
STATE, PARTIAL, STALE_S = ".state", ".partial-", 24 * 3600.0
KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Listed:
    """What a list says: the folder's title, folders in it, and (path, bytes, SHA-256) of each file."""

    title: str
    folders: tuple[str, ...]
    files: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class Standing:
    """A folder that stands for the one that a dataset names: where it is, and the edition of the named one."""

    folder: Path
    edition: str


_standing: ContextVar[Mapping[str, Standing]] = ContextVar("standing", default=MappingProxyType({}))


@contextmanager
def standing(by_name: Mapping[str, Standing]) -> Iterator[None]:
    """Inside, in this thread, datasets of these names are those folders."""
    before = _standing.set(by_name)
    try:
        yield
    finally:
        _standing.reset(before)


def standing_for(name: str) -> Standing | None:
    """What stands for the dataset of that name in this thread; None where it is what it names."""
    return _standing.get().get(name)


# --- where a folder is ---


def packed(folder: Path, title: str) -> bytes:
    """The list of a folder. Raises `Unsupported` where it is too large to be sent, and `InvalidData`."""
    folders, files, total = list[str](), list[tuple[str, int, str]](), 0
    for path, is_folder in _walked(folder):
        relative = os.path.relpath(path, folder)
        if is_folder:
            folders.append(relative)
            continue
        content = content_of(path)
        total += len(content)
        files.append((relative, len(content), hashlib.sha256(content).hexdigest()))
        if total > MOST_BYTES or len(files) > MOST_FILES:
            raise Unsupported(
                f"{named(folder)} has more than {MOST_FILES:,} files or {MOST_BYTES >> 30} GiB, so it is not sent to "
                "workers; copy it to their machines, under the same path."
            )
    return json.dumps({"title": title, "folders": sorted(folders), "files": sorted(files)}).encode()


def key_of(listed: bytes) -> str:
    """The key of the folder with that list."""
    return hashlib.sha256(listed).hexdigest()


def content_of(path: str | Path) -> bytes:
    """What of a file is sent; nothing of a pipe, or of one that cannot be read, which is left out there as here."""
    try:
        with open(path, "rb", opener=without_waiting) as file:
            return file.read(MOST_FILE) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def pieces(folder: Path, listed: bytes, missing: list[int]) -> Iterator[dict[int, bytes]]:
    """The contents of the files that are missing, some at a time, by their place in the list."""
    files, piece, size = read_list(listed).files, dict[int, bytes](), 0
    for place in missing:
        content = content_of(folder / files[place][0])
        if piece and (size + len(content) > PIECE_BYTES or len(piece) == PIECE_FILES):
            yield piece
            piece, size = {}, 0
        piece[place] = content
        size += len(content)
    if piece:
        yield piece


def _walked(folder: Path) -> Iterator[tuple[str, bool]]:
    """(path, whether it is a folder) of all that counts in a folder. Raises `InvalidData`.

    Tables of labels count where they are looked for: in the folder, and below it where that holds one folder alone.
    """
    walk, pending = Walk(folder), [(str(folder), frozenset[tuple[int, int]](), True)]
    try:
        while pending:
            place, above, has_tables = pending.pop()
            status = os.stat(place)
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise InvalidData(f"{named(place)} is a link that leads back to a folder above it.")
            found = [(entry, entry.is_dir()) for entry in pictures.entries(place)]
            alone = has_tables and sum(is_folder for _, is_folder in found) == 1
            for entry, is_folder in found:
                walk.meet()
                if is_folder:
                    pending.append((entry.path, above | {here}, alone))
                if is_folder or is_picture(entry.name) or (has_tables and _is_table(entry.name)):
                    yield entry.path, is_folder
    except OSError as error:
        raise InvalidData(f"{named(error.filename or folder)} cannot be read: {error.strerror}.") from None


def _is_table(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


# --- where it is sent ---


def place_of(key: str) -> Path | None:
    """Where the folder with that key lies, whole and as it came; None where it does not. Raises `Unsupported`."""
    home = _home(key)
    try:
        [inner] = [path for path in home.iterdir() if not path.name.startswith(".")]
        if (home / STATE).read_text() != _state(inner):
            return None
        os.utime(home)  # used now
        return inner
    except (OSError, ValueError, InvalidData):
        return None


def begin(listed: bytes) -> list[int]:
    """Makes room for the folder with that list, and says which of its files are missing; none where it is there.

    Raises `Unsupported` for a list that is none, and where the disk is too full.
    """
    found, key = read_list(listed), key_of(listed)
    if place_of(key):
        return []
    try:
        _make_room(sum(size for _, size, _ in found.files), key)
        folder = _partial(key) / _title(found.title)
        folder.mkdir(parents=True, exist_ok=True)
        (_partial(key) / ".list").write_bytes(listed)
        for name in found.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        return [at for at, (name, size, _) in enumerate(found.files) if _size(folder / name) != size]
    except OSError as error:
        raise _refusal(error) from None


def put(key: str, contents: Mapping[int, bytes]) -> None:
    """Keeps some of the files of a folder that was begun. Raises `Unsupported` for what its list does not name."""
    partial = _partial(key)
    if place_of(key):  # somebody else has sent it meanwhile
        return
    try:
        found = read_list((partial / ".list").read_bytes())
        folder = partial / _title(found.title)
        for at, content in contents.items():
            if not 0 <= at < len(found.files):
                raise Unsupported(f"The list of images has no file {at}.")
            name, size, digest = found.files[at]
            if (len(content), hashlib.sha256(content).hexdigest()) != (size, digest):
                raise Unsupported(f"The image {shown(name)} changed while it was sent; try again.")
            _write(folder / name, content)
    except OSError as error:
        raise _refusal(error) from None


def finish(key: str) -> None:
    """The folder is whole: from here on it is found. Raises `Unsupported` where it is not."""
    partial = _partial(key)
    if place_of(key):
        shutil.rmtree(partial, ignore_errors=True)
        return
    try:
        found = read_list((partial / ".list").read_bytes())
        folder = partial / _title(found.title)
        if any(_size(folder / name) != size for name, size, _ in found.files) or len(found.files) != sum(
            not is_folder for _, is_folder in _walked(folder)
        ):
            raise Unsupported("The images are not whole, or two names differ only by case; try again.")
        shutil.rmtree(_home(key), ignore_errors=True)
        os.rename(partial, _home(key))
        (_home(key) / STATE).write_text(_state(_home(key) / folder.name))
    except OSError as error:
        raise _refusal(error) from None


def read_list(listed: bytes) -> Listed:
    """What a list says. Raises `Unsupported` for one that this program does not write."""
    try:
        told = read_json(listed.decode("ascii"), LIST_CHARACTERS)
        title, folders, files = told["title"], told["folders"], [(str(n), s, str(d)) for n, s, d in told["files"]]
        if not isinstance(title, str) or not isinstance(folders, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unsupported("The list of images that was sent cannot be read.") from None
    if len(files) > MOST_FILES:
        raise Unsupported(f"The list of images that was sent has {len(files):,} files; at most {MOST_FILES:,} may be.")
    for name in (*folders, *(name for name, _, _ in files)):
        _check_name(name)
    for name, size, digest in files:
        fits = type(size) is int and 0 <= size <= MOST_FILE and KEY.fullmatch(digest)
        if not fits or not (is_picture(name) or _is_table(name)):
            raise Unsupported(f"The list of images names {shown(name)}, which is no image or table of labels.")
    if (total := sum(size for _, size, _ in files)) > MOST_BYTES:
        raise Unsupported(f"The images take {total / 2**30:.1f} GiB; at most {MOST_BYTES >> 30} may be sent.")
    return Listed(title, tuple(folders), tuple(files))


def _check_name(name: object) -> None:
    """Raises `Unsupported` for what is no plain path within a folder."""
    parts = name.split("/") if isinstance(name, str) else []
    fits = 0 < len(parts) <= MOST_DEPTH and len(str(name)) <= MOST_NAME and "\0" not in str(name)
    if not fits or any(not part or part.startswith(".") for part in parts):
        raise Unsupported(f"The list of images names {shown(name)}, which is no path within a folder.")
    try:
        os.fsencode(str(name))
    except UnicodeEncodeError:
        raise Unsupported(f"The list of images names {shown(name)}, which is no path within a folder.") from None


def _make_room(size: int, key: str) -> None:
    """Removes what was not used for longest, and what was begun and left. Raises `Unsupported` for a full disk."""
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    for partial in root.glob(f"{PARTIAL}*"):
        if time.time() - partial.stat().st_mtime > STALE_S:
            shutil.rmtree(partial, ignore_errors=True)
    kept = sorted((path.stat().st_mtime, path) for path in root.iterdir() if KEY.fullmatch(path.name))
    sizes = {path: sum(_size(file) for file in path.rglob("[!.]*") if file.is_file()) for _, path in kept}
    total = sum(sizes.values())
    for _, path in kept:
        if total + size > MOST_KEPT and path.name != key:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]
    if shutil.disk_usage(root).free - size < KEEP_FREE:
        raise Unsupported(f"The images take {size / 2**20:,.0f} MiB, for which the worker's disk is too full.")


def _write(path: Path, content: bytes) -> None:
    """A file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Bytes of a plain file; -1 where there is none."""
    with suppress(OSError):
        return path.stat().st_size if path.is_file() else -1
    return -1


def _state(folder: Path) -> str:
    """Changes when a file in a folder is added, removed or written anew."""
    digest = hashlib.sha256()
    for path, is_folder in sorted(_walked(folder)):
        status = os.stat(path)
        about = "" if is_folder else f"{status.st_size}\0{status.st_mtime_ns}"
        digest.update(os.fsencode(os.path.relpath(path, folder)) + f"\0{about}\0".encode())
    return digest.hexdigest()


def _title(title: str) -> str:
    """A name for the folder itself, by which its images are called."""
    plain = "".join(letter for letter in title if letter.isprintable() and letter not in "/\\").strip(". ")
    return plain[:LONGEST_TITLE] or "images"


def _refusal(error: OSError) -> Unsupported:
    return Unsupported(f"The worker cannot keep the images: {error.strerror or error}.")


def _root() -> Path:
    return user_folder() / "datasets" / "sent"


def _home(key: str) -> Path:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise Unsupported(f"No images are kept under the key {shown(key)}.")
    return _root() / key


def _partial(key: str) -> Path:
    return _home(key).with_name(f"{PARTIAL}{key}")
