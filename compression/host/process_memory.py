"""Memory of this process: what is said where it runs out, and how what was freed goes back to the system."""

import ctypes
import errno
import gc
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from google.protobuf.message import EncodeError

from compression.errors import OutOfMemory

log = logging.getLogger(__name__)

SHORT = re.compile(
    r"can't allocate memory|not enough memory|out of memory|unable to allocate|bad[_ ]alloc|failed to serialize proto",
    re.IGNORECASE,
)
"""By which PyTorch, NumPy and Protobuf say that memory is short."""

ASKED = re.compile(r"(\d+) bytes|([\d.]+) ([KMGTPE]iB)")
"""How PyTorch and NumPy say what they asked for."""

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises `OutOfMemory`, in one sentence, where PyTorch, NumPy, Protobuf, Python or the system has none left.

    Other errors pass. What ONNX Runtime says of it is told where its sessions are made.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, EncodeError) as error:
        if not is_short_of_memory(error):
            raise
        log.warning("memory ran out", exc_info=error)
        raise OutOfMemory(_sentence(str(error))) from None


def is_short_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, OSError):  # its text has a file's name, which a stranger may have chosen
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(SHORT.search(str(error)))


def _sentence(said: str) -> str:
    used, asked = resident_bytes(), ASKED.search(said)
    if used is None or asked is None:
        return (
            "There is not enough memory for this network and recipe; what helps is quality 'fast', fewer calibration "
            "images, a smaller network, or a machine (or a limit) with more memory."
        )
    return (
        f"There is not enough memory for this network and recipe: {_written(_bytes(asked))} more was needed, beside "
        f"{_written(used)} that this process has; what helps is quality 'fast', fewer calibration images, a smaller "
        "network, or a machine (or a limit) with more memory."
    )


def _bytes(asked: re.Match[str]) -> float:
    plain, number, unit = asked.groups()
    return float(plain) if plain else float(number) * UNITS[unit]


def _written(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def resident_bytes() -> int | None:
    """Bytes that the process has in memory; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS")), None)


KEPT, MAPPED = 256 << 20, 32 << 20
"""Freed bytes that the C library keeps for what is asked for next, and sizes from which memory is the system's again.

It begins with 128 KiB of both and learns: until then, and whenever more than 64 MiB lie free at the end, the system
clears the same pages again for each feature map. A pass over images of 240×240 took 51 ms each, 18 of them for that.
"""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two, malloc.h."""


@cache
def keep_freed() -> None:
    """Has glibc keep more of what this process frees, see `KEPT`; once, and not where the environment says how much."""
    told = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    if sys.platform == "linux" and not told and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, MAPPED)
        mallopt(M_TRIM_THRESHOLD, KEPT)


MODEST = 1 << 30
"""Bytes of a process that gives nothing back: to look for what is unreachable takes tenths of a second."""


def give_back(*, unreachable: bool = False) -> None:
    """Freed memory goes back to the system, where the C library keeps it (glibc): gigabytes after large networks.

    `unreachable` objects are freed first: a copied graph refers to itself, so that it stays until somebody looks.
    """
    if (resident_bytes() or MODEST) < MODEST:
        return
    if unreachable:
        gc.collect()
    if trim := _trim():
        trim(0)


@contextmanager
def importing() -> Iterator[None]:
    """Inside, modules are imported: no garbage is looked for, and later collections pass over what is there by then.

    Modules stay for good. To go through those of PyTorch takes a quarter of a second, each time somebody looks.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@cache
def _trim() -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
