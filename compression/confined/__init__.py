"""Untrusted files are read in a process of their own, under limits of resources and without write access.

    confined.attempt("pt2", path, input_shape=[3, 32, 32])  # raises InvalidFile where that process does not survive
    data, content = confined.read("onnx", file, limits, about, refusal)

What a file makes its reader do - crash, loop, take all memory, run code - it does there first, under limits of memory
and time, where it cannot change a file, start a program or open a connection (`limits`). The answer is a line of
JSON, which is an error's sentence or data, and optionally bytes behind it.

A network that was read there is read again here, by the same reader, which does the same for the same bytes. To hand
over the network instead would protect no better: it is run here for hours, and the readers that build one are plain
Python over tables of what is allowed, so that the remaining risk are kernels that crash or never end. Against a hole
that runs code and can tell where it runs, a second reading does not help: that is kept out by the readers themselves,
which neither unpickle nor evaluate anything.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from compression import errors
from compression.confined.child import PLACE
from compression.confined.limits import OUT_OF_MEMORY, Limits
from compression.errors import InvalidFile, UserError, one_line

READERS = {
    "pt2": "compression.models.attempt", "onnx": "compression.measure.trial",
    "weights": "compression.models.weights_attempt",
    "onnx_network": "compression.network.onnx_reader.attempt", "arena": "compression.measure.arena",
    "litert": "compression.measure.litert",
}  # fmt: skip
"""The module that reads each kind of file: `ready()` is called first, then under limits `read(path, **about)`.

`read` returns None, or data that JSON can hold and bytes. These modules belong to layers above this package; only the
new process imports them.
"""

LIMITS = {
    "pt2": Limits(cpu_s=150, wall_s=300), "weights": Limits(cpu_s=60, wall_s=300, memory_bytes=6 << 30),
    "onnx_network": Limits(cpu_s=300, wall_s=600, memory_bytes=8 << 30),
}  # fmt: skip
PARTING_S = 5.0
"""Seconds that a process may take to end after its answer."""

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); import before_compression; "
    "from compression.confined import child; child.main({arguments!r})"
)


class Ending(NamedTuple):
    """How a process ended without an answer.

    `status` is its exit code, less than 0 for a signal, None where it exceeded `wall_s`. `failed` are the
    type and the text of an exception in the reader, where there was one.
    """

    status: int | None
    failed: tuple[str, str] | None = None


def attempt(kind: str, path: Path, **about: Any) -> None:
    """Reads the file in a process of its own. `about` is plain data for the reader.

    Raises what the reader raises of `UserError`, and `InvalidFile` where the process ends in any other way.
    """
    limits = LIMITS[kind]
    try:
        with path.open("rb") as file:
            read(kind, file, limits, about, lambda ending: f"{path} cannot be read: {_ended(ending, limits)}.", path)
    except OSError as error:
        raise InvalidFile(f"{str(path)!r} cannot be read: {error.strerror}.") from None


def read(
    kind: str, file: BinaryIO, limits: Limits, about: dict[str, Any], refusal: Callable[[Ending], str],
    named: object = PLACE,
) -> tuple[dict[str, Any], bytes]:  # fmt: skip
    """What the reader of `kind` returns for an open file, read in a process of its own: data and bytes.

    Both are untrusted: code that the file smuggled into the reader may have written them. Raises what the reader raises
    of `UserError`, with the file called `named`, and `InvalidFile(refusal(ending))` where the process does not answer.
    """
    answer, status = _run(kind, file, limits, about)
    line, _, content = answer.partition(b"\n")
    header = _parsed(line)
    if "refused" in header:
        raise _error(header, named)
    if isinstance(data := header.get("data"), dict):
        return data, content
    match header.get("failed"):
        case [kind_of_error, text]:
            raise InvalidFile(refusal(Ending(status, (str(kind_of_error), str(text)))))
        case _:
            raise InvalidFile(refusal(Ending(status)))


def _parsed(line: bytes) -> dict[str, Any]:
    """The first line of an answer; empty where that is no JSON object."""
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _error(header: dict[str, Any], named: object) -> UserError:
    """The error that the reader has raised."""
    named_kind = getattr(errors, str(header.get("error")), None)
    kind = named_kind if isinstance(named_kind, type) and issubclass(named_kind, UserError) else InvalidFile
    error = kind.__new__(kind)  # constructors differ
    error.args = (one_line(str(header["refused"]).replace(PLACE, str(named))),)
    return error


def _run(kind: str, file: BinaryIO, limits: Limits, about: dict[str, Any]) -> tuple[bytes, int | None]:
    """What the process wrote, and how it ended: its exit code, or None where it exceeded `wall_s`."""
    arguments = {"reader": READERS[kind], "limits": limits._asdict(), "about": about}
    command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT), arguments=json.dumps(arguments))]
    process = subprocess.Popen(
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(), cwd="/",
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        answer = _read(process.stdout, time.monotonic() + limits.wall_s, limits.answer_bytes)
        if len(answer or b"") > limits.answer_bytes:
            _end(process)
            return b"", process.returncode
        return answer or b"", None if answer is None else process.wait(PARTING_S)
    except subprocess.TimeoutExpired:
        return b"", None
    finally:
        _end(process)


def _read(pipe: IO[bytes], late: float, most: int) -> bytes | None:
    """All bytes up to the end of the stream, or a few more than `most`; None where the clock passes `late` before."""
    answer = bytearray()
    while (left := late - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            part = os.read(pipe.fileno(), 65_536)
            answer += part
            if not part or len(answer) > most:
                return bytes(answer)
    return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _environment() -> dict[str, str]:
    """The variables that Python and its libraries need, without addresses of databases and passwords."""
    needed = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return kept | {"HOME": "/", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _ended(ending: Ending, limits: Limits) -> str:
    """How a process ended that did not answer, for the end of a sentence."""
    status = ending.status
    if ending.failed:
        return f"{ending.failed[0]} in its reader"
    if status is None or -status in (signal.SIGXCPU, signal.SIGALRM):
        return f"that takes more than {limits.cpu_s if status == -signal.SIGXCPU else limits.wall_s} seconds"
    if status == OUT_OF_MEMORY:
        return f"that takes more than {limits.memory_bytes >> 30} GB of memory"
    return f"its reader was ended by signal {-status}" if status < 0 else "its reader failed"
