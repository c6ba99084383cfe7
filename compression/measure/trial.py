"""The first load of an untrusted ONNX file, in the process that `compression.confined` starts for it.

No torch in here: the process must start within about a second.
"""

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from compression.confined.limits import data_bytes, limit_data
from compression.errors import InvalidFile
from compression.host.onnx_assembly import MAX_BYTES, assemble, checked
from compression.host.onnx_runtime import session
from compression.measure.growth import resident
from compression.measure.intake import answered, intake, of_channels

COPIES = 5
"""Of a file's bytes that are in memory while it is loaded."""

_high_water_mark: list[int] = []
"""A descriptor of /proc/self/clear_refs, which resets VmHWM; opened before the limits forbid to write to files."""


def ready() -> None:
    """Opens the one file that is written to under the limits."""
    with suppress(OSError):
        _high_water_mark.append(os.open("/proc/self/clear_refs", os.O_WRONLY))


def read(path: Path, *, shape: list[int], folder: str | None, memory_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Loads the ONNX file and answers one image of `shape` (C, H, W), or as many as it takes at once.

    It may take `memory_bytes`, and `COPIES` times its own bytes. Returns size, hash, the bytes by which the process
    grew in the run, the channels that the file takes and its number of classes, and, where it has weights in other
    files of `folder`, the file in one piece. Raises `InvalidFile` as `assemble`, `onnx_runtime` and `intake` do, and
    for a lack of memory.
    """
    begun = data_bytes()
    channels, height, width = shape

    def limit_memory(size: int) -> None:
        limit_data(begun + memory_bytes + COPIES * size)

    try:
        limit_memory(MAX_BYTES)
        content = path.read_bytes()
        limit_memory(len(content))
        model = checked(content)
        limit_memory(MAX_BYTES)
        whole = assemble(content, model, Path(folder) if folder else None)
        limit_memory(len(whole.content))
        data = _tried(whole.content, (channels, height, width))
    except MemoryError:
        limit_memory(MAX_BYTES)
        raise InvalidFile(f"The file takes more than {memory_bytes >> 30} GiB of memory to load.") from None
    limit_memory(MAX_BYTES)
    found = {"size_bytes": whole.size_bytes, "file_hash": whole.file_hash, **data}
    return found, b"" if whole.content is content else whole.content


def _tried(content: bytes, shape: tuple[int, int, int]) -> dict[str, int]:
    runner = session(content)
    shape = of_channels(runner, shape)
    takes = intake(runner, shape)
    before = _most_from_here()
    scores = answered(runner, takes, takes.blank(shape), None)
    return {"grown_bytes": _most() - before, "channels": shape[0], "classes": scores.shape[1]}


def _most_from_here() -> int:
    """Resets the peak of resident bytes to those of now, where the system can do that, and returns the peak."""
    with suppress(OSError):
        for descriptor in _high_water_mark:
            os.write(descriptor, b"5")
    return _most()


def _most() -> int:
    """Peak of this process's resident bytes."""
    if Path("/proc/self/status").exists():
        return resident("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
