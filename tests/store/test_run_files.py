"""Files of runs: whole after a power cut, verified when read, and gone when no run names them."""

import hashlib
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder
from compression.host.machine import this_machine
from compression.jobs import result_recorder
from compression.jobs.result_recorder import SILENCE, end_orphans
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Measurement, Predictions, wilson
from compression.store import Store, Subject, files
from compression.store.files import FRESH_S, find_file, read_file, remove_unnamed, write_file

SUBJECT = Subject("lenet5", "digits", "digits", "d" * 64, "e" * 64)
EMPTY = Predictions(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float16))


def measured(content: bytes, recipe: str = "r") -> Measurement:
    accuracy = Accuracy(0.9, wilson(9, 10), 10, 0.9, 1.0)
    digest = hashlib.sha256(content).hexdigest()
    return Measurement(recipe, digest, accuracy, len(content), 1, None, 1, 1, 10, 1.0, this_machine(), EMPTY)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    monkeypatch.delenv("COMPRESSION_DATABASE", raising=False)
    return tmp_path / "files"


def aged(path: Path, seconds: float) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_torn_file_is_not_served_and_is_made_again() -> None:
    found = measured(b"content")
    path = write_file(b"content", found)
    path.write_bytes(b"cont")
    assert read_file(found.file_hash) is None
    assert not path.exists()
    path.write_bytes(b"content" * 2)
    assert write_file(b"content", found) == path
    assert read_file(found.file_hash) == path.read_bytes() == b"content"


def test_a_file_that_moves_while_it_is_read_is_found_where_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(b"content")
    write_file(b"content", found, idle=True)

    def asked_for_meanwhile(file_hash: str) -> Path | None:
        before = find_file(file_hash)
        if before and before.parent.name == "idle":
            before.rename(before.parent.parent / before.name)
        return before

    monkeypatch.setattr(files, "find_file", asked_for_meanwhile)
    assert read_file(found.file_hash) == b"content"


def test_content_reaches_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []
    replace_, fsync = os.replace, os.fsync

    def flushed(handle: int) -> None:
        said.append(("flush", os.readlink(f"/proc/self/fd/{handle}").replace(str(tmp_path), "")[:9]))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flushed)

    def named(*paths: Path) -> None:
        said.append(("name", ""))
        replace_(*paths)

    monkeypatch.setattr(os, "replace", named)
    with atomic_write(tmp_path / "file") as partial:
        partial.write_text("content")
    assert said == [("flush", "/.partial"), ("name", ""), ("flush", "")]


def test_a_file_goes_with_the_last_run_that_names_it() -> None:
    store = Store.open()
    found = measured(b"content")
    path = write_file(b"content", found)
    runs = [store.add(SUBJECT, Recipe(seed=seed), found, engine="e") for seed in (1, 2)]
    store.erase(runs[0])
    assert path.exists()
    store.erase(runs[1])
    assert not path.exists()


def test_files_that_no_run_names_are_removed() -> None:
    store = Store.open()
    named, unnamed, fresh = (write_file(content, measured(content)) for content in (b"named", b"unnamed", b"fresh"))
    idle = write_file(b"idle", measured(b"idle"), idle=True)
    store.add(SUBJECT, Recipe(), measured(b"named"), engine="e")
    for path in (named, unnamed, idle):
        aged(path, FRESH_S + 60)
    store.remove_unnamed_files()
    assert [path.exists() for path in (named, unnamed, idle, fresh)] == [True, False, False, True]


def test_files_stay_where_the_store_lies_elsewhere(tmp_path: Path) -> None:
    """Such a store does not know what this folder's own has kept."""
    path = aged(write_file(b"content", measured(b"content")), FRESH_S + 60)
    Store.open(f"sqlite:///{tmp_path}/elsewhere/store.sqlite").remove_unnamed_files()
    assert path.exists()
    remove_unnamed(())
    assert not path.exists()


def test_idle_measurements_keep_the_files_that_were_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "IDLE_FILES", 2)
    contents = (b"first", b"second", b"third")
    for age, content in zip((300, 200, 100), contents, strict=True):
        aged(write_file(content, measured(content), idle=True), age)
        if content == b"second":
            assert read_file(measured(b"first").file_hash) == b"first"  # it is used once more
    left = [find_file(measured(content).file_hash) is not None for content in contents]
    assert left == [True, False, True]


def test_an_idle_file_that_a_user_asks_for_stays(folder: Path) -> None:
    idle = write_file(b"content", measured(b"content"), idle=True)
    assert idle.parent == folder / "idle"
    assert write_file(b"content", measured(b"content")).parent == folder
    assert not idle.exists()
    assert write_file(b"content", measured(b"content"), idle=True).parent == folder  # and is not taken back


def test_one_program_has_one_store() -> None:
    assert Store.shared() is Store.shared()
    assert result_recorder.ResultRecorder().store is Store.shared()


class AheadByThreeMinutes(datetime):
    """The clock of a machine that goes wrong."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(minutes=3)


def test_another_machines_clock_marks_no_job_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open()
    store.jobs.add("live", kind="train", title="t", request={}, app={"machine": "elsewhere"})
    monkeypatch.setattr(result_recorder, "datetime", AheadByThreeMinutes)
    assert timedelta(minutes=3) > SILENCE
    assert end_orphans(store) == []
    monkeypatch.setattr(result_recorder, "SILENCE", timedelta(seconds=-1))
    assert [job.id for job in end_orphans(store)] == ["live"]


def test_the_databases_clock_is_in_utc() -> None:
    store = Store.open()
    assert abs(store.jobs.now() - datetime.now(UTC)) < timedelta(minutes=1)
    store.jobs.add("job", kind="train", title="t", request={}, app={})
    assert store.jobs.get("job").heard <= store.jobs.now()
    assert replace(store.jobs.get("job")).created.tzinfo is UTC


@pytest.mark.parametrize("name", ["../mine", "{outside}/mine", "", ".", "F" * 64, "f" * 63, "f" * 64 + "\n", "f\0"])
def test_a_hash_of_another_program_names_no_file_but_one_of_ours(name: str) -> None:
    outside = user_folder() / "mine.onnx"
    outside.write_bytes(b"the user's own")
    (user_folder() / "files" / "idle").mkdir(parents=True, exist_ok=True)
    wanted = name.format(outside=outside.parent)
    assert (files.find_file(wanted), files.read_file(wanted)) == (None, None)
    files.remove_file(wanted)
    assert outside.read_bytes() == b"the user's own"
