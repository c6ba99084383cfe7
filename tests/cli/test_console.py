"""How the command line talks: tables that fit the terminal, text that it can show, a progress line of one line."""

import io
import os
import sys

import pytest

from compression.cli import console
from compression.cli.console import Progress, narrowed, print_table, printable

ROWS = [
    ("model", "lenet5"),
    ("quantize", ", ".join(f"setting_{i} {i}" for i in range(20))),
    ("size", "524.9 KB", "baseline 524.9 KB, 1.0× smaller"),
]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(console.shutil, "get_terminal_size", lambda fallback=(80, 24): os.terminal_size(fallback))
    return 80


def test_a_table_fits_a_terminal_and_loses_no_word(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(ROWS)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert terminal.getvalue().split() != []
    assert sorted(terminal.getvalue().split()) == sorted(" ".join(" ".join(row) for row in ROWS).split())
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["model", "quantize", "size"]


def test_elsewhere_a_row_is_a_line(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert ROWS[1][1] in lines[1]


@pytest.mark.parametrize(
    ("widths", "columns", "expected"),
    [
        ([5, 10], 80, [5, 10]),
        ([8, 200, 40], 80, [8, 34, 34]),
        ([8, 200, 20], 80, [8, 48, 20]),
        ([100, 100], 10, [12, 12]),
    ],
)
def test_the_widest_columns_give_way(widths: list[int], columns: int, expected: list[int]) -> None:
    assert narrowed(widths, columns) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [("Größe × 2", "Größe × 2"), ("a\udcffb", "a\\xffb"), ("a\x1b[31mb", "a\\x1b[31mb"), ("a\nb", "a\\nb")],
)
def test_what_a_terminal_does_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_progress_is_one_line_of_the_terminal(columns: int) -> None:
    terminal = Terminal()
    Progress(terminal)("Reading " + "x" * 200, 0.5)
    assert len(terminal.getvalue().removeprefix("\r\x1b[2K")) < columns


def test_json_keeps_to_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"file": "a\udcff.onnx", "list": ["\udcff", 1, None, float("nan")]})
    assert capsys.readouterr().out == '{"file": "a\\\\xff.onnx", "list": ["\\\\xff", 1, null, null]}\n'
