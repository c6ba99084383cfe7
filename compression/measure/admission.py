"""Which ONNX files of strangers come into this process: those that were loaded, and ran, in one with limits first."""

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from compression.data import Dataset
from compression.errors import InvalidFile
from compression.measure.accuracy import BATCH, WORKERS
from compression.measure.assembly import MAX_BYTES

ROOT = Path(__file__).parents[2]

SECONDS = 10
"""Of computing, for reading a small file, loading it and answering one image, or as many as it takes at once."""

MEMORY = 4 << 30
"""Bytes of address space for the same, beside five times the file's own."""

WAIT = 300
"""Seconds by the clock for the same, however busy the machine is."""

RUNNING = 4 << 30
"""Bytes that files may take for the images that are answered side by side."""


@dataclass(frozen=True)
class Admitted:
    """An ONNX file that may be loaded. `content` needs no other file; size and hash are those of `assembly.Assembled`.

    `batch` images at once, at most, keep its run within `RUNNING`; it takes images of so many `channels`.
    """

    content: bytes
    size_bytes: int
    file_hash: str
    batch: int
    channels: int


def admit(given: bytes | str | Path, data: Dataset) -> Admitted:
    """The ONNX file of a path, or its bytes, after a trial in a process of its own.

    Raises `InvalidFile` where it cannot be read, is not a classifier of `data`'s images (in grey or in colours), lies
    partly outside its folder, or takes more than `SECONDS` or `MEMORY` to load and answer.
    """
    content, folder = (given, None) if isinstance(given, bytes) else (_read(Path(given)), Path(given).absolute().parent)
    numbers = [*data.input_shape, len(data.classes), SECONDS, MEMORY]
    command = [
        sys.executable,
        "-m",
        "compression.measure.trial",
        *map(str, numbers),
        *([str(folder)] if folder else []),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, input=content, capture_output=True, check=False, timeout=WAIT
        )
    except subprocess.TimeoutExpired:
        raise InvalidFile(f"The file did not answer an image within {WAIT} seconds.") from None
    answer, _, whole = ended.stdout.partition(b"\n")
    if ended.returncode or not answer:
        raise InvalidFile(_death(ended.returncode, ended.stderr))
    found = json.loads(answer)
    if refused := found.get("refused"):
        raise InvalidFile(refused)
    batch = RUNNING // WORKERS // max(1, found["grown_bytes"])
    batch = max(1, min(BATCH, batch))
    return Admitted(whole or content, found["size_bytes"], found["file_hash"], batch, found["channels"])


def _death(code: int, said: bytes) -> str:
    """What to say of a trial that gave no answer."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"The file takes more than {SECONDS} seconds of computing to load and answer an image; that is the most."
    if code < 0:
        return f"ONNX Runtime breaks down on the file ({signal.Signals(-code).name})."
    last = said.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
    return f"The file cannot be read: {last[0][:200]}."


def _read(path: Path) -> bytes:
    """Raises `InvalidFile` for what is no plain file (a device or a pipe has no end), or is too long."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidFile(f"{str(path)!r} is not a file but a folder, a device or a pipe; name an .onnx file.")
        if status.st_size > MAX_BYTES:
            raise InvalidFile(f"{str(path)!r} has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"The file {str(path)!r} cannot be read: {getattr(error, 'strerror', error)}.") from None
