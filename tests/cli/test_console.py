"""How the command line talks: tables that fit the terminal, text that it can show, a progress line of one line."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from compression.cli import console
from compression.cli.console import Progress, narrowed, print_table, printable
from compression.jobs.cluster import ROOT
from compression.language import speak
from compression.language.catalog import ENGLISH

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


def test_where_lines_stay_a_stage_is_one_whatever_is_left_of_it() -> None:
    log = io.StringIO()
    told = Progress(log)
    for sentence in ("Calibrating", "Calibrating, about 12 s left", "Calibrating, about 3 s left", "Epoch 1 of 2"):
        told(sentence, 0.5)
    assert log.getvalue() == "Calibrating\nEpoch 1 of 2\n"


def test_json_keeps_to_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"file": "a\udcff.onnx", "list": ["\udcff", 1, None, float("nan")]})
    assert capsys.readouterr().out == '{"file": "a\\\\xff.onnx", "list": ["\\\\xff", 1, null, null]}\n'


class TestHelp:
    """Typer's own words follow the terminal's language."""

    app = console.group()

    @pytest.fixture(autouse=True)
    def english_after(self) -> Iterator[None]:
        yield
        speak(ENGLISH)

    @staticmethod
    @app.command("measure")
    def _measure(
        file: str,
        model: Annotated[str, typer.Option(help="A network.")],
        limit: Annotated[int, typer.Option(min=1, help="A limit.")] = 3,
    ) -> None: ...

    @staticmethod
    @app.command("other")
    def _other() -> None: ...

    @pytest.mark.parametrize(
        ("locale", "said"),
        [
            ("zh_CN.UTF-8", ("用法：", "参数：", "选项：", "[必填]", "[默认：3；x>=1]", "显示此帮助并退出。")),
            ("C", ("Usage: ", "Arguments:\n", "Options:\n", "[required]", "[default: 3; x>=1]", "Show this message")),
        ],
    )
    def test_of_a_command(self, locale: str, said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LC_ALL", locale)
        shown = CliRunner().invoke(self.app, ["measure", "--help"]).stdout
        assert [text for text in said if text not in shown] == []

    def test_of_a_group_in_chinese(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
        shown = CliRunner().invoke(self.app, ["--help"]).stdout
        assert "命令：\n  measure" in shown and not re.search("Usage|Options:|Commands", shown)


def test_half_a_character_is_an_escape_too() -> None:
    assert printable("a\ud800b\udcffc\x9bd") == "a\\ud800b\\xffc\\x9bd"


def test_a_warning_is_one_line_without_a_traceback_or_orders_to_the_terminal() -> None:
    code = (
        "import logging\nfrom compression.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "logging.getLogger('x').warning('%s', 'a\\x1b[2J\\nb\\ud800', exc_info=ValueError('c'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == "a\\x1b[2J b\\ud800\n"
