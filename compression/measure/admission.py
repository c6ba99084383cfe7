"""Untrusted ONNX files are loaded here only after they have been loaded, and have run, in a confined process."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from compression import confined
from compression.confined import Ending
from compression.confined.limits import OUT_OF_MEMORY, Limits
from compression.data import Dataset, for_outputs
from compression.errors import InvalidFile
from compression.host.onnx_assembly import MAX_BYTES
from compression.measure.accuracy import BATCH, WORKERS
from compression.measure.intake import check_scores
from compression.measure.trial import COPIES

BYTES_A_SECOND = 50_000_000
"""Bytes of a file for each further second that it may compute beyond `SECONDS`."""

SECONDS = 10
"""CPU seconds for reading a small file, loading it and answering one image, or as many as it takes at once."""

MEMORY = 4 << 30
"""Bytes of memory for the same, beside `trial.COPIES` times the file's own."""

WAIT = 300
"""Seconds by the clock for the same, however busy the machine is."""

RUNNING = 4 << 30
"""Bytes that files may take for the images that are answered side by side."""


@dataclass(frozen=True)
class Admitted:
    """An ONNX file that may be loaded. `content` needs no other file; size and hash are `Assembled`'s.

    `batch` images at once, at most, keep its run within `RUNNING`; it takes images of so many `channels`, and answers
    with so many `classes`.
    """

    content: bytes
    size_bytes: int
    file_hash: str
    batch: int
    channels: int
    classes: int


def admit(given: bytes | str | Path, data: Dataset) -> Admitted:
    """The ONNX file of a path, or its bytes, after a trial in a process of its own.

    Raises `InvalidFile` where it cannot be read, is not a classifier of `data`'s images (in grey or in colours), lies
    partly outside its folder, or takes more than `SECONDS` or `MEMORY` to load and answer.
    """
    content = given if isinstance(given, bytes) else file_content(Path(given))
    folder = None if isinstance(given, bytes) else Path(given).absolute().parent
    about = {
        "shape": list(data.input_shape), "folder": str(folder) if folder else None, "memory_bytes": MEMORY,
    }  # fmt: skip
    with opened(content) as file:
        found, whole = confined.read("onnx", file, _limits(content, folder), about, refusal)
    size, digest, grown = (found.get(name) for name in ("size_bytes", "file_hash", "grown_bytes"))
    channels, classes = found.get("channels"), found.get("classes")
    if not (isinstance(size, int) and isinstance(digest, str) and isinstance(grown, int)):
        raise InvalidFile(refusal(Ending(0)))
    if not (isinstance(channels, int) and isinstance(classes, int)):
        raise InvalidFile(refusal(Ending(0)))
    check_scores((1, classes), 1, max(2, len(for_outputs(data, classes).classes)))
    batch = max(1, min(BATCH, RUNNING // WORKERS // max(1, grown)))
    return Admitted(whole or content, size, digest, batch, channels, classes)


def _limits(content: bytes, folder: Path | None) -> Limits:
    """Limits of the trial, which writes the assembled file where weights may lie in other files of `folder`."""
    answer = MAX_BYTES if folder else 0
    return Limits(
        cpu_s=SECONDS + len(content) // BYTES_A_SECOND, wall_s=WAIT, memory_bytes=MEMORY + COPIES * MAX_BYTES,
        answer_bytes=answer + 100_000,
    )  # fmt: skip


@contextmanager
def opened(content: bytes) -> Iterator[BinaryIO]:
    """An unnamed file that holds `content`, open at its beginning: in memory where the system has such files."""
    try:
        with open(os.memfd_create("onnx"), "w+b") if hasattr(os, "memfd_create") else TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            yield file
    except OSError as error:
        raise InvalidFile(f"The file cannot be read: {error.strerror}.") from None


def refusal(ending: Ending) -> str:
    """The sentence about a file whose trial did not answer."""
    code = ending.status
    if ending.failed:
        return f"The file cannot be read: {': '.join(filter(None, ending.failed))}."
    if code is None or code == -signal.SIGALRM:
        return f"The file did not process an image within {WAIT} seconds."
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"The file takes more than {SECONDS} seconds to load and classify an image."
    if code == OUT_OF_MEMORY:
        return f"The file takes more than {MEMORY >> 30} GiB of memory to load."
    if code < 0:
        return f"ONNX Runtime crashes on the file ({signal.Signals(-code).name})."
    return "The file cannot be read: no reason given."


def file_content(path: Path, ending: str = ".onnx", most: int = MAX_BYTES) -> bytes:
    """What is in a file.

    Raises `InvalidFile` for what is no plain file (a device or a pipe has no end), or has more than `most` bytes.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidFile(f"{str(path)!r} is not a file but a folder, a device or a pipe; name an {ending} file.")
        if status.st_size > most:
            raise InvalidFile(f"{str(path)!r} has {status.st_size:,} bytes; at most {most:,} are read.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"The file {str(path)!r} cannot be read: {getattr(error, 'strerror', error)}.") from None
