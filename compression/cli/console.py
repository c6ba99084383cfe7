"""Input and output of commands: results on stdout, progress and one-sentence errors on stderr, atomic writes."""

import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup

from compression.errors import CompressionError, InvalidFile, UserError
from compression.host.atomic_files import atomic_write
from compression.language import N_, _, of_locale, shown, speak

Row = tuple[str, ...]
GAP = "  "
NARROWEST = 12
"""Characters of a column."""

MAX_NAME = 200
"""Bytes of a file's name: file systems take 255."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


EXTRA = re.compile(r"\[([^][]+)\]$")
TYPERS = (N_("Arguments"), N_("Commands"), N_("Options"), N_("Show this message and exit."), N_("required"))
"""What Typer itself says in a help text."""


class HelpText(HelpFormatter):
    """A help text in which Typer's own words are in the language that is spoken."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line with the command's form."""
        super().write_usage(prog, args, _("Usage: ") if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        """The title of a list of options or commands."""
        self.write(_("{heading}:", heading=_(heading) if heading in TYPERS else heading) + "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """A list of options or commands with what is said of each."""
        super().write_dl([(name, _typers(said)) for name, said in rows], col_max, col_spacing)


def _typers(said: str) -> str:
    """Help of an option with what Typer put into it or behind it, such as '[default: 3; required]'."""
    if said in TYPERS:
        return _(said)
    return EXTRA.sub(lambda found: f"[{_('; ').join(map(_extra, found[1].split('; ')))}]", said)


def _extra(part: str) -> str:
    if part in TYPERS:
        return _(part)
    before, default, value = part.partition("default: ")
    return _("default: {value}", value=value) if default and not before else part


class Told(typer.Context):
    """A command's context, which writes help by `HelpText`."""

    formatter_class = HelpText


class Line(logging.Formatter):
    """A warning as one line of printable characters: tracebacks are for the log of the app."""

    def format(self, record: logging.LogRecord) -> str:
        """Its text alone."""
        return printable(" ".join(record.getMessage().split()))


class Sentences(TyperGroup):
    """Commands whose expected errors end as one sentence on stderr and an exit code."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Speaks the terminal's language, in help too."""
        speak(of_locale(os.environ))
        if logging.lastResort:
            logging.lastResort.setFormatter(Line())
        _translate(self)
        return super().main(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; a user's mistake exits with 2, another expected failure with 1.

        An argument may hold bytes that are no text: a file's name may be such, nothing else.
        """
        try:
            return super().invoke(ctx)
        except CompressionError as error:
            said = printable(shown(" ".join(str(error).split())))
            typer.echo(_("Error: {said}", said=said), err=True)
            raise typer.Exit(2 if isinstance(error, UserError) else 1) from None
        except UnicodeEncodeError as error:  # what is no text reached the store, or a library that takes text alone
            typer.echo(_("Error: {object!r} is not valid UTF-8 text.", object=str(error.object)[:200]), err=True)
            raise typer.Exit(2) from None


def _translate(command: Any) -> None:
    """Puts the help of a command, of its options and of the commands below it into the language that is spoken."""
    command.context_class = Told
    for said in (command, *command.params):
        if getattr(said, "help", None):
            said.help = shown(said.help)
    for below in getattr(command, "commands", {}).values():
        _translate(below)


def group(**settings: Any) -> typer.Typer:
    """A group of commands whose errors are sentences; see `Sentences`."""
    return typer.Typer(
        cls=Sentences, no_args_is_help=True, add_completion=False,
        rich_markup_mode=None, pretty_exceptions_enable=False, **settings,
    )  # fmt: skip


class Progress:
    """What is being done and how far it is, on stderr: one line redrawn on a terminal, else a line a sentence.

    The lines leave out how many seconds are left, which soon are fewer.
    """

    def __init__(self, stream: TextIO):
        self.live = stream.isatty()
        self._stream, self._last = stream, ""

    def __call__(self, sentence: str, done: float) -> None:
        """`done` is the share of the work in [0, 1]."""
        sentence = shown(sentence if self.live else re.sub(r", about \d+ s left$", "", sentence))
        if self.live:
            bar = "█" * round(20 * done)
            line = f"{bar:·<20} {done:4.0%} {printable(sentence)}"
            self._stream.write(f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}")
        elif sentence != self._last:
            self._stream.write(f"{printable(sentence)}\n")
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
    """One line of JSON; NaN and infinity, which it has no word for, are null, and bytes of no UTF-8 text are \\xff."""
    finite = json.loads(json.dumps(_text_only(values)), parse_constant=lambda constant: None)
    typer.echo(json.dumps(finite, allow_nan=False))


def _text_only(value: Any) -> Any:
    """JSON has words for texts alone; a file's name may hold bytes that are none."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {_text_only(key): _text_only(each) for key, each in value.items()}
    return [_text_only(each) for each in value] if isinstance(value, list | tuple) else value


def printable(text: str) -> str:
    """`text` with what a terminal does not show, or takes for an order, as escapes; bytes of no UTF-8 text as \\xff."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    byte = ord(character) - 0xDC00  # by which Python carries a byte that is no text
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def print_table(rows: Sequence[Row]) -> None:
    """Rows of texts in left-aligned columns, as wide as they are; a row may be shorter than others.

    On a terminal that is narrower, texts go on in further lines of their columns.
    """
    rows = [tuple(map(shown, row)) for row in rows]
    width = max(map(len, rows))
    padded = [tuple(map(printable, (*row, *[""] * (width - len(row))))) for row in rows]
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    if sys.stdout.isatty():
        widths = narrowed(widths, shutil.get_terminal_size().columns)
    for row in padded:
        cells = [[text] if len(text) <= w else textwrap.wrap(text, w) for text, w in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*cells, fillvalue=""):
            typer.echo(GAP.join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip())


def narrowed(widths: Sequence[int], columns: int) -> list[int]:
    """The widths of a table's columns, the widest made narrower until a line of `columns` holds them.

    None gets below `NARROWEST`: what is wider even so is for the terminal to break.
    """
    found, room = list(widths), columns - len(GAP) * (len(widths) - 1)
    while sum(found) > room and max(found) > NARROWEST:
        found[found.index(max(found))] -= 1
    return found


def check_readable(file: Path) -> None:
    """Raises `InvalidFile` for what is no plain file: a folder has no content, a device or a pipe no end."""
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{str(file)!r} cannot be read: {_why(error)}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidFile(f"{str(file)!r} is not a file but a folder, a device or a pipe; name a file.")


def read_bytes(file: Path) -> bytes:
    """What is in a file that the user named. Raises `InvalidFile`."""
    check_readable(file)
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidFile(f"{str(file)!r} cannot be read: {_why(error)}.") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def check_writable(out: Path, *, inputs: Iterable[Path], ending: str = "") -> None:
    """Refuses, before minutes of work, a place that the result cannot or should not be written to.

    A file that says by its ending that it is of another format than `ending` is one.
    """
    if "\0" in str(out) or len(os.fsencode(out.name)) > MAX_NAME:
        raise InvalidFile(f"--out {str(out)[:MAX_NAME]!r} is not a valid file name.")
    if out.exists() and not out.is_file():
        raise InvalidFile(f"--out {str(out)!r} is not a file but a folder or a device; name a file.")
    if not out.parent.is_dir():
        raise InvalidFile(f"--out {str(out)!r} lies in a folder that does not exist; create {str(out.parent)!r} first.")
    if not os.access(out.parent, os.W_OK):
        raise InvalidFile(f"--out {str(out)!r} lies in a folder that cannot be written to.")
    if out.exists() and any(file.exists() and file.samefile(out) for file in inputs):
        raise InvalidFile(f"--out {str(out)!r} would overwrite what the command reads; name another file.")
    if ending and (not out.name.lower().endswith(ending) or out.name.lower().endswith(f".qdq{ending}")):
        raise InvalidFile(
            f"--out {str(out)!r} must end in {ending} (.tflite is possible with compress too). For .qdq.onnx, .ort"
            " and .safetensors, use Deploy in the app."
        )


def write_file(path: Path, content: bytes) -> None:
    """`path` holds all of `content` or what it held before. Raises `InvalidFile` where it cannot be written."""
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InvalidFile(f"{str(path)!r} cannot be written: {error.strerror}.") from None
