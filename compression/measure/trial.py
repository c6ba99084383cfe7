"""Run as a program, alone in its process: reads an ONNX file from stdin, loads it and answers one image, under limits.

python -m compression.measure.trial C H W CLASSES CPU_SECONDS MEMORY_BYTES [FOLDER]

Writes a line of JSON, which is {"refused": sentence} or what `admission.Admitted` takes; behind it, where the file has
weights in other files of FOLDER, the file in one piece. Whatever a file does to who loads it, it does to this process.
"""

import before_compression  # noqa: F401 - before everything else: see there

# isort: split
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from compression.errors import UserError
from compression.host.onnx_runtime import session
from compression.measure.assembly import MAX_BYTES, assemble, checked
from compression.measure.growth import resident
from compression.measure.intake import answered, intake, of_channels

COPIES = 5
"""Of a file's bytes that are in memory while it is loaded."""

BYTES_A_SECOND = 50_000_000
"""A longer file may take longer to load."""

Shape = tuple[int, int, int]


def limit(seconds: int) -> None:
    """From here on so many seconds of computing, and no byte written to a file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, until + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tried(content: bytes, shape: Shape, classes: int, folder: Path | None, memory: int) -> tuple[dict[str, Any], bytes]:
    """What is found out about the file within so many bytes of memory, and the file in one piece."""
    begun = _address_space()

    def limit_memory(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (begun + memory + COPIES * size, resource.RLIM_INFINITY))

    limit_memory(len(content))
    model = checked(content)
    limit_memory(MAX_BYTES)
    whole = assemble(content, model, folder)
    limit_memory(len(whole.content))
    runner = session(whole.content)
    shape = of_channels(runner, shape)
    takes = intake(runner, shape)
    before = _most_from_here()
    answered(runner, takes, takes.blank(shape), classes)
    found = {
        "size_bytes": whole.size_bytes, "file_hash": whole.file_hash, "grown_bytes": _most() - before,
        "channels": shape[0],
    }  # fmt: skip
    return found, b"" if whole.content is content else whole.content


def _address_space() -> int:
    """Bytes of it that the libraries take; macOS does not hold programs to a limit of it."""
    return resident("VmSize") if Path("/proc/self/status").exists() else 0


def _most_from_here() -> int:
    """The bytes in memory now; what was the most so far is forgotten where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _most()


def _most() -> int:
    """The most bytes that this process has had in memory."""
    if Path("/proc/self/status").exists():
        return resident("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def main(channels: str, height: str, width: str, classes: str, seconds: str, memory: str, *folder: str) -> None:
    """See above."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no part of the answer
    content, place = sys.stdin.buffer.read(), Path(folder[0]) if folder else None
    limit(int(seconds) + len(content) // BYTES_A_SECOND)
    try:
        shape = int(channels), int(height), int(width)
        found, whole = tried(content, shape, int(classes), place, int(memory))
    except UserError as error:
        found, whole = {"refused": str(error)}, b""
    except MemoryError:
        found, whole = {"refused": f"The file takes more than {int(memory) >> 30} GiB of memory to load."}, b""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    out.write(json.dumps(found).encode() + b"\n" + whole)
    out.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
