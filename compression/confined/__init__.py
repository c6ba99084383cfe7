"""Reading of strangers' files in a process of its own, which may use little and change nothing.

    confined.attempt("pt2", path, input_shape=[3, 32, 32])  # raises InvalidFile where that process does not survive

What a file makes its reader do - crash, loop, take all memory, run code - it does there first, under limits of memory
and time, where no file can be changed, no program started and nobody talked to (`limits`). Nothing but a sentence comes
back, as JSON. What was read there is read again here, by the same reader of ours, which does the same for the same
bytes. To hand over what was read instead would protect no better: it is a network, which is run here for hours, and the
readers that build one are plain Python over tables of what is allowed, so that what is left to fear are kernels that
crash or never end. Against a hole that runs code and can tell where it runs, a second reading does not help: that is
kept out by the readers themselves, which neither unpickle nor evaluate anything.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, BinaryIO

from compression import errors
from compression.confined.child import PLACE
from compression.confined.limits import OUT_OF_MEMORY, Limits
from compression.errors import InvalidFile, UserError, one_line

READERS = {"pt2": "compression.models.attempt"}
"""The module that reads each kind of file: `ready()` is called first, then under limits `read(path, **about)`.

Named, as they stand above this package, and loaded in the new process only.
"""

LIMITS = {"pt2": Limits(cpu_s=150, wall_s=300)}
MOST_ANSWER = 100_000  # bytes
PARTING_S = 5.0
"""So long a process may take to end after its answer."""

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); import before_compression; "
    "from compression.confined import child; child.main({arguments!r})"
)


def attempt(kind: str, path: Path, **about: Any) -> None:
    """Reads the file in a process of its own. `about` is plain data for the reader.

    Raises what the reader raises of `UserError`, and `InvalidFile` where the process ends in any other way.
    """
    limits = LIMITS[kind]
    try:
        with path.open("rb") as file:
            answer, status = _run(kind, file, limits, about)
    except OSError as error:
        raise InvalidFile(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    _raise(path, _parsed(answer) or {"refused": f"{PLACE} cannot be read: {_ended(status, limits)}."})


def _parsed(answer: bytes) -> dict[str, Any] | None:
    """What the process has told; None where that is nothing of ours."""
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and "refused" in told else None


def _raise(path: Path, told: dict[str, Any]) -> None:
    """The error that the process has told, if it has one."""
    if told["refused"] is None:
        return
    named = getattr(errors, str(told.get("error")), None)
    kind = named if isinstance(named, type) and issubclass(named, UserError) else InvalidFile
    error = kind.__new__(kind)  # what a kind is made of is not known here
    error.args = (one_line(str(told["refused"]).replace(PLACE, str(path))),)
    raise error


def _run(kind: str, file: BinaryIO, limits: Limits, about: dict[str, Any]) -> tuple[bytes, int | None]:
    """What the process wrote, and how it ended: its exit code, or None where its time was over."""
    arguments = {"reader": READERS[kind], "limits": limits._asdict(), "about": about}
    command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT), arguments=json.dumps(arguments))]
    process = subprocess.Popen(
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(), cwd="/",
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        answer = _read(process.stdout, time.monotonic() + limits.wall_s)
        if len(answer or b"") > MOST_ANSWER:
            _end(process)
        return answer or b"", None if answer is None else process.wait(PARTING_S)
    except subprocess.TimeoutExpired:
        return b"", None
    finally:
        _end(process)


def _read(pipe: IO[bytes], late: float) -> bytes | None:
    """All that comes until the end, or until that is more than any answer has; None where it is `late` before."""
    answer = b""
    while (left := late - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            part = os.read(pipe.fileno(), 65_536)
            answer += part
            if not part or len(answer) > MOST_ANSWER:
                return answer
    return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _environment() -> dict[str, str]:
    """Of our environment only what Python and its libraries need: no addresses of databases, no passwords."""
    needed = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return kept | {"HOME": "/", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _ended(status: int | None, limits: Limits) -> str:
    """How a process ended that told nothing, for the end of a sentence."""
    if status is None or -status in (signal.SIGXCPU, signal.SIGALRM):
        return f"that takes more than {limits.wall_s if status is None else limits.cpu_s} seconds"
    if status == OUT_OF_MEMORY:
        return f"that takes more than {limits.memory_bytes >> 30} GB of memory"
    return f"its reader was ended by signal {-status}" if status < 0 else "its reader failed"
