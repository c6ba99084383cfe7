"""What a stranger's file does to its reader: that costs the process that reads it, and nothing else."""

import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from compression import confined
from compression.confined.limits import FORBIDDEN, MACHINES, Limits, limit_data, rules
from compression.errors import InvalidFile, InvalidModel, UserError

linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS limits neither system calls nor memory")


@pytest.fixture(autouse=True)
def harmful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(confined.READERS, "harmful", "tests.harmful")
    monkeypatch.setitem(confined.LIMITS, "harmful", Limits(cpu_s=2, wall_s=20, memory_bytes=1 << 30))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    path.chmod(0o644)
    return path


def attempt(file: Path, what: str, place: object = "") -> str:
    """The sentence that comes back, or nothing."""
    try:
        confined.attempt("harmful", file, what=what, place=str(place))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", ["nothing", "think"])
def test_who_does_no_harm_is_let_through(file: Path, what: str) -> None:
    assert attempt(file, what) == ""


@linux
@pytest.mark.parametrize("what", [
    "write", "create", "append", "delete", "rename", "link", "folder", "rights", "start", "system", "fork", "become",
])  # fmt: skip
def test_nothing_outside_is_changed_and_nothing_started(file: Path, tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what in ("append", "delete", "rename", "rights"):
        place.write_text("mine")
        place.chmod(0o600)
    before = {path: (path.read_bytes(), path.stat().st_mode) for path in tmp_path.iterdir()}
    assert "cannot be read" in attempt(file, what, place)
    assert {path: (path.read_bytes(), path.stat().st_mode) for path in tmp_path.iterdir()} == before


@linux
def test_nobody_is_called_and_nobody_killed(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        assert "PermissionError" in attempt(file, "call", server.getsockname()[1])
        with pytest.raises(TimeoutError):
            server.accept()
    assert "PermissionError" in attempt(file, "kill")


@pytest.mark.parametrize(("what", "why"), [
    ("print_", "KeyError in its reader"), ("answer", "its reader failed"),
    ("flood", "its reader was ended by signal 9"),
    ("fall", "its reader was ended by signal 11"), ("loop", "that takes more than 2 seconds"),
    pytest.param("grow", "that takes more than 1 GB of memory", marks=linux),
])  # fmt: skip
def test_how_it_ends_is_told_in_a_sentence(file: Path, what: str, why: str) -> None:
    assert attempt(file, what) == f"{file} cannot be read: {why}."


def test_who_sleeps_is_not_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(confined.LIMITS, "harmful", Limits(cpu_s=9, wall_s=1))
    begin = time.monotonic()
    assert attempt(file, "sleep") == f"{file} cannot be read: that takes more than 1 seconds."
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize(("status", "seconds"), [(None, 1), (-signal.SIGALRM, 1), (-signal.SIGXCPU, 9)])
def test_the_limit_that_was_met_is_named(status: int | None, seconds: int) -> None:
    """On a busy machine the process's own alarm comes before the clock of whoever started it."""
    ending = confined._ended(confined.Ending(status, None), Limits(cpu_s=9, wall_s=1))
    assert ending == f"that takes more than {seconds} seconds"


def test_data_and_bytes_come_back(file: Path) -> None:
    limits, about = Limits(cpu_s=2, wall_s=20, answer_bytes=400_000), {"what": "report"}
    with file.open("rb") as opened:
        data, content = confined.read("harmful", opened, limits, about, str)
        assert data == {"size": 300_000, "lines": ["a", "b"]} and content == b"\n{}\x00" * 75_000
        with pytest.raises(InvalidFile, match=r"Ending\(status=-9, failed=None\)"):
            confined.read("harmful", opened, limits._replace(answer_bytes=100_000), about, str)


@pytest.mark.parametrize(("what", "failed"), [("nothing", None), ("print_", ("KeyError", "''"))])
def test_a_caller_words_the_end_itself(file: Path, what: str, failed: tuple[str, str] | None) -> None:
    limits = Limits(cpu_s=2, wall_s=20)
    with file.open("rb") as opened:
        if failed is None:
            assert confined.read("harmful", opened, limits, {"what": what}, str) == ({}, b"")
            return
        with pytest.raises(InvalidFile) as error:
            confined.read("harmful", opened, limits, {"what": what}, str)
    assert str(error.value) == str(confined.Ending(1, failed))


@linux
def test_a_reader_moves_its_limit_of_data_within_the_first_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (50, 90))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: kept.append(pair))
    limit_data(60)
    limit_data(1000)
    assert kept == [(60, 90), (90, 90)]


def test_what_a_reader_refuses_is_refused_here(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    file.write_bytes(b"nonsense")
    with pytest.raises(InvalidFile, match=r"net\.pt2' is not a network saved by torch\.export\.save"):
        confined.attempt("pt2", file, input_shape=[3, 32, 32])
    with pytest.raises(InvalidFile, match="No such file or directory"):
        confined.attempt("pt2", tmp_path / "none.pt2", input_shape=[3, 32, 32])


@pytest.mark.parametrize("told", [
    {"refused": "It is wrong.", "error": "system"}, {"refused": "It is wrong.", "error": "InvalidFile"},
    {"refused": "It is wrong.", "error": "CompressionError"}, {"refused": "It is wrong."},
])  # fmt: skip
def test_an_answer_makes_no_other_error_than_ours(
    file: Path, told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(header: dict[str, object]) -> None:
        monkeypatch.setattr(confined, "_run", lambda *_: (json.dumps(header).encode(), 0))
        confined.attempt("harmful", file)

    with pytest.raises(InvalidFile, match=r"^It is wrong\.$"):
        answer(told)
    with pytest.raises(InvalidModel):
        answer(told | {"error": "InvalidModel"})


def test_the_new_process_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_DATABASE", "postgresql://me:secret@host/name")
    assert "secret" not in str(confined._environment())


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_forbids_the_same_on_every_processor(machine: str) -> None:
    """The filter is interpreted here, as its instructions are defined for the kernel."""

    def answer(number: int, *arguments: int, audit: int = MACHINES[machine][1]) -> int:
        data = {0: number, 4: audit} | {16 + 8 * i: argument for i, argument in enumerate(arguments)}
        at, value, program = 0, 0, rules(machine)
        while True:
            code, yes, no, k = program[at]
            if code == 0x06:
                return k
            if code == 0x20:
                value, jump = data[k], 0
            else:
                holds = {0x15: value == k, 0x45: bool(value & k), 0x35: value >= k}[code]
                jump = yes if holds else no
            at += 1 + jump

    column = MACHINES[machine][0]
    allowed, opens, clone = 0x7FFF0000, (257, 56)[column], (56, 220)[column]
    for numbers in FORBIDDEN.values():
        if (number := numbers[column]) is not None:
            assert answer(number, 0, 0, 0) != allowed
    assert answer((0, 63)[column], 0, 0, 0) == allowed  # read
    assert answer(opens, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == allowed
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        assert answer(opens, 0, 0, flag) != allowed
    assert answer(clone, 0x10000) == allowed and answer(clone, 17) != allowed
    assert answer(1, audit=0x40000003) != allowed  # the calls of 32 bits have other numbers
    assert answer(1 | 0x40000000) != allowed
