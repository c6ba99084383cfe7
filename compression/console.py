"""How the command line talks: results on stdout, progress and one-sentence errors on stderr, files written whole."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from compression.errors import CompressionError, InvalidFile, UserError

Row = tuple[str, ...]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Sentences(TyperGroup):
    """Commands whose expected errors end as one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; a user's mistake exits with 2, another expected failure with 1."""
        try:
            return super().invoke(ctx)
        except CompressionError as error:
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2 if isinstance(error, UserError) else 1) from None


def group(**settings: Any) -> typer.Typer:
    """A group of commands in our manner."""
    return typer.Typer(
        cls=Sentences, no_args_is_help=True, add_completion=False,
        rich_markup_mode=None, pretty_exceptions_enable=False, **settings,
    )  # fmt: skip


class Progress:
    """What is being done and how far it is, on stderr: one line redrawn on a terminal, else a line a sentence."""

    def __init__(self, stream: TextIO):
        self.live = stream.isatty()
        self._stream, self._last = stream, ""

    def __call__(self, sentence: str, done: float) -> None:
        """`done` is the share of the work in [0, 1]."""
        if self.live:
            bar = "█" * round(20 * done)
            self._stream.write(f"\r\x1b[2K{bar:·<20} {done:4.0%} {sentence}")
        elif sentence != self._last:
            self._stream.write(f"{sentence}\n")
        self._last = sentence
        self._stream.flush()

    def close(self) -> None:
        """Clears the line, so that what follows starts at its beginning."""
        if self.live and self._last:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()


@contextlib.contextmanager
def working() -> Iterator[Progress]:
    """Keeps stdout for the result: what a library prints meanwhile goes to stderr."""
    progress = Progress(sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield progress
    finally:
        progress.close()


def print_json(values: Any) -> None:
    """One line of JSON; NaN and infinity, which JSON has no word for, are null."""
    finite = json.loads(json.dumps(values), parse_constant=lambda constant: None)
    typer.echo(json.dumps(finite, allow_nan=False))


def print_table(rows: Sequence[Row]) -> None:
    """Rows of texts in left-aligned columns; a row may be shorter than others."""
    width = max(map(len, rows))
    padded = [(*row, *[""] * (width - len(row))) for row in rows]
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    for row in padded:
        typer.echo("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip())


def read_bytes(file: Path) -> bytes:
    """What is in a file that the user named. Raises `InvalidFile`."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidFile(f"{str(file)!r} cannot be read: {error.strerror}.") from None


def check_writable(out: Path, *, inputs: Iterable[Path]) -> None:
    """Refuses, before minutes of work, a place that the result cannot or should not be written to."""
    if out.exists() and not out.is_file():
        raise InvalidFile(f"--out {str(out)!r} is not a file but a folder or a device; name a file.")
    if not out.parent.is_dir():
        raise InvalidFile(f"--out {str(out)!r} lies in a folder that does not exist; create {str(out.parent)!r} first.")
    if not os.access(out.parent, os.W_OK):
        raise InvalidFile(f"--out {str(out)!r} lies in a folder that cannot be written to.")
    if out.exists() and any(file.exists() and file.samefile(out) for file in inputs):
        raise InvalidFile(f"--out {str(out)!r} would overwrite what the command reads; name another file.")


def write_atomically(path: Path, content: bytes) -> None:
    """`path` holds all of `content` or what it held before. Raises `InvalidFile` where it cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise InvalidFile(f"{str(path)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
