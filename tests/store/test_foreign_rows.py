"""Rows that another program wrote, or damaged: what can be read is shown, and what cannot is left out and logged."""

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from compression.errors import StoreUnavailable
from compression.jobs.result_recorder import end_orphans
from compression.recipe import Recipe
from compression.steps import Prune
from compression.store import Store, reading
from compression.store.reading import Unreadable, load
from pages.ui.model import job_rows
from tests.store.test_store import HERE, add, measured

OTHER = Recipe(steps=(Prune(sparsity=0.3),))


@pytest.fixture
def store(tmp_path: Path):
    reading._told.clear()
    opened = Store.open(f"sqlite:///{tmp_path}/store.sqlite", machine=HERE)
    yield opened
    opened.close()


def change(store: Store, table: str, where: str, column: str, value: object) -> None:
    with closing(sqlite3.connect(store.place)) as raw, raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        assert raw.execute(f"UPDATE compression_{table} SET {column} = ? WHERE {where}", [value]).rowcount


def put(store: Store, table: str, where: str, path: str, value: str) -> None:
    """Another value at one place of a row's record."""
    with closing(sqlite3.connect(store.place)) as raw, raw:
        changed = f"UPDATE compression_{table} SET record = json_set(record, ?, json(?)) WHERE {where}"
        assert raw.execute(changed, [path, value]).rowcount


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("files", "size_bytes", "many"), ("files", "size_bytes", 0), ("files", "baseline_size_bytes", -1),
        ("files", "seconds", b"\x00"), ("files", "macs", "true"), ("files", "n_test", 1.5),
        ("files", "created", "yesterday"), ("files", "created", 7), ("files", "reached", "[1]"),
        ("files", "reached", "{"), ("files", "reached", '[{"step": "prune", "measure": "x", "reached": 1e999}]'),
        ("accuracies", "record", "not JSON"), ("accuracies", "record", "[]"), ("accuracies", "record", "[" * 100_000),
        ("accuracies", "measured", "2026-13-40"), ("accuracies", "machine_id", "gone"),
        ("latencies", "record", "{}"), ("latencies", "measured", ""),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_read_is_left_out_and_all_others_stay(
    store: Store, table: str, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = add(store), add(store, measured(OTHER, size=90_000), OTHER)
    change(store, table, f"{'id' if table == 'files' else 'file_id'} = '{bad}'", column, value)
    with caplog.at_level(logging.WARNING):
        assert [run.id for run in store.runs()] == [good]
        store.runs()
    assert caplog.text.count("a run is left out") == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.value", "1.5"), ("$.value", "null"), ("$.value", '"0.9"'), ("$.n", "true"), ("$.interval", "[0, 1]"),
        ("$.interval.low", "{}"), ("$.baseline", "-0.1"), ("$.drop", "1e999"), ("$.reference", '"odd"'),
        ("$.n", str(10**30)),
    ],
)  # fmt: skip
def test_an_accuracy_is_a_share_of_images_or_left_out(store: Store, path: str, value: str) -> None:
    bad, good = add(store), add(store, measured(OTHER, size=90_000), OTHER)
    put(store, "accuracies", f"file_id = '{bad}'", path, value)
    assert [run.id for run in store.runs()] == [good]


def test_what_belongs_to_a_run_is_missing_where_it_cannot_be_read(store: Store) -> None:
    run = add(store)
    put(store, "layers", "position = 1", "$.bits", '"few"')
    change(store, "files", f"id = '{run}'", "ledger", "{")
    for column in ("classes", "confidences", "images"):
        change(store, "predictions", f"file_id = '{run}'", column, "text")
        assert store.predictions(run) is None
    assert (store.layers(run), store.ledger(run), store.run(run).id) == ((), None, run)
    put(store, "latencies", f"file_id = '{run}'", "$.ratio", "[]")
    assert store.latencies(run) == []


@pytest.mark.parametrize(("n_test", "images"), [(2**31, None), (9_999, None), (10_000, b"\xff" * 40_000), (-1, None)])
def test_predictions_are_of_images_that_there_are(store: Store, n_test: int, images: bytes | None) -> None:
    run = add(store)
    change(store, "predictions", f"file_id = '{run}'", "images", images)
    change(store, "files", f"id = '{run}'", "n_test", n_test)
    assert store.predictions(run) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "asleep"), ("request", "[]"), ("request", "{"), ("share", "half"), ("share", b"x"), ("app", "7"),
        ("created", "never"), ("heard", "[1]"), ("title", b"\x00"), ("priority", "x"), ("progress", "3"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_be_read_is_left_out_and_refused_by_name(store: Store, column: str, value: object) -> None:
    for job in ("a", "b"):
        store.jobs.add(job, kind="train", title="A on B: c", request={}, app={})
    change(store, "jobs", "id = 'a'", column, value)
    assert [job.id for job in store.jobs.all()] == ["b"]
    with pytest.raises(StoreUnavailable, match=r"cannot read: .*\.$"):
        store.jobs.get("a")


@pytest.mark.parametrize("app", [{}, {"pid": "x"}, {"pid": -1, "started": 1.0}, {"pid": 2**40, "started": 1.0}])
def test_a_job_of_a_program_that_names_no_process_is_an_orphan_or_waited_for(store: Store, app: dict) -> None:
    from compression.host.machine import this_machine

    store.jobs.add("a", kind="train", title="A on B: c", request={}, app={"machine": this_machine().id, **app})
    end_orphans(store)
    assert store.jobs.get("a").state == ("interrupted" if type(app.get("pid")) is int else "waiting")


@pytest.mark.parametrize("progress", [{"step": "x", "steps": 3}, {"loss": []}, {"seconds_left": [1]}])
def test_progress_is_told_as_far_as_it_is_known(store: Store, progress: dict) -> None:
    store.jobs.add("a", kind="train", title="A on B: c", request={}, app={})
    store.jobs.put("a", state="working", share=-3.0, progress=progress)
    row = job_rows.row(store.jobs.get("a"), "here")
    assert (row.share, row.line) == (0.0, "")


def test_a_record_is_read_with_its_types() -> None:
    from compression.records.measurement import LearningPoint

    point: dict[str, Any] = {
        "step": 1,
        "steps": 2,
        "epoch": 0,
        "loss": float("inf"),
        "accuracy": None,
        "seconds_left": 3,
    }
    assert load(LearningPoint, json.dumps(point)) == LearningPoint(**point)
    for name, value in (("step", 1.0), ("step", None), ("accuracy", "x"), ("epoch", True)):
        with pytest.raises(Unreadable, match=name):
            load(LearningPoint, json.dumps({**point, name: value}))


def test_a_usage_that_is_no_number_is_a_sentence(store: Store) -> None:
    from compression.team import Member, Role, Usage

    store.usage.take(Member("ann", Role.USER), Usage(uploads=1))
    change(store, "usage", "member = 'ann'", "uploads", "many")
    with pytest.raises(StoreUnavailable, match="uploads is 'many'"):
        store.usage.of("ann")


def test_time_without_end_is_told_as_such(store: Store) -> None:
    store.jobs.add("a", kind="train", title="A on B: c", request={}, app={})
    for left in (float("inf"), float("nan")):
        store.jobs.put("a", state="working", progress={"seconds_left": left})
        assert job_rows.row(store.jobs.get("a"), "here").line == "∞ left"
