"""The store: what comes out is what went in, for several programs at once, and failures are sentences."""

import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError

from compression.errors import StoreUnavailable, UnknownName
from compression.host.engine_version import engine_hash
from compression.host.machine import this_machine
from compression.jobs.cluster import ROOT
from compression.recipe import Recipe
from compression.records.measurement import (
    Accuracy,
    Interval,
    Latency,
    LayerBytes,
    LayerReport,
    LearningPoint,
    Ledger,
    Machine,
    Measurement,
    Predictions,
    order,
)
from compression.steps import Prune, Quantize
from compression.store import Store, Subject, database, export, frame, studies
from compression.store.tables import VERSION_TABLE, Base
from tests.postgres import needs_postgres

HERE = Machine("A CPU", 2, True, "Linux x86_64", "3.11", "2.15", "1.32", id="here")
THERE = replace(HERE, cpu="Another CPU", id="there")
SUBJECT = Subject("resnet20", "fashion-mnist", "fashion-mnist", "a" * 64, "b" * 64)
RECIPE = Recipe(steps=(Prune(sparsity=0.8), Quantize(weight_bits=4)))
LAYERS = (
    LayerReport("conv1", "Conv2d", (16, 1, 3, 3), 144, 4, 0.25, 112_896, 90, 21.5, "mask"),
    LayerReport("fc", "Linear", (10, 64), 640, 32, 0.0, 640, 2560, None, "raw"),
)
LEDGER = Ledger(300, 100, 20, 0, 30, 40, 60, 50, (LayerBytes("conv1", 144, 100, 20, 0, 30, 40, 3.5),))
N = 10_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/store.sqlite", machine=HERE)
    yield opened
    opened.close()


def predictions(n: int = N, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    classes = draw.integers(0, 10, n).astype(np.uint16)
    return Predictions(order(N)[:n], classes, draw.random(n).astype(np.float16))


def measured(
    recipe: Recipe = RECIPE, *, n: int = N, machine: Machine = HERE, ms: float | None = 0.25, size: int = 87_000
) -> Measurement:
    took = Latency(ms, 0.3, 0.5, ms / 0.5, Interval(0.49, 0.52), 100, 10, 1, 1, 0.01, 0.5) if ms else None
    found = Accuracy(0.94, Interval(0.935, 0.944), n, 0.945, 0.005, 0.03)
    return Measurement(
        recipe.hash, "f" * 64, found, size, 1_095_000, took, 31_000_000, 270_000, n, 2.5, machine, predictions(n)
    )


def add(store: Store, measurement: Measurement | None = None, recipe: Recipe = RECIPE, **more: object) -> str:
    known = {"engine": "e1", "layers": LAYERS, "ledger": LEDGER} | more
    return store.add(SUBJECT, recipe, measurement or measured(recipe), **known)  # type: ignore[arg-type]


def test_a_run_comes_out_as_it_went_in(store: Store) -> None:
    measurement = measured()
    run = store.run(add(store, measurement))
    assert run.subject == SUBJECT
    assert run.recipe == RECIPE
    assert (run.engine, run.role, run.full, run.accuracy_machine) == ("e1", "candidate", True, HERE)
    again = run.measurement
    assert again.provenance.startswith("from the store, measured 20")
    plain = replace(again, provenance="measured", predictions=measurement.predictions)
    assert plain.to_plain() == measurement.to_plain()
    kept = store.predictions(run.id)
    assert kept is not None
    for name in ("images", "classes", "confidences"):
        mine, theirs = getattr(measurement.predictions, name), getattr(kept, name)
        assert np.array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert store.layers(run.id) == LAYERS
    assert store.ledger(run.id) == LEDGER


def test_ten_thousand_answers_take_forty_kilobytes(store: Store) -> None:
    add(store)
    with sqlite3.connect(store.place) as raw:
        [(took, images)] = raw.execute(
            "SELECT length(classes) + length(confidences), images FROM compression_predictions"
        )
    assert (took, images) == (40_000, None)


def test_answers_for_other_images_keep_which(store: Store) -> None:
    some = Predictions(np.array([7, 3, 5]), np.array([1, 2, 3], np.uint16), np.array([0.5, 0.25, 1], np.float16))
    run = add(store, replace(measured(n=3), predictions=some), n_test=N)
    kept = store.predictions(run)
    assert kept is not None
    assert kept.images.tolist() == [7, 3, 5]
    assert not store.run(run).full


def test_the_id_tells_what_a_run_is_and_nothing_else(store: Store) -> None:
    first = add(store)
    assert add(store, measured(ms=0.3)) == first  # measured again: the same run
    assert len(store.runs()) == 1
    assert len(store.latencies(first)) == 2
    assert store.run(first).latency == measured(ms=0.3).latency
    others = {
        add(store, engine="e2"), add(store, replace(measured(), file_hash="0" * 64)),
        add(store, recipe=Recipe()), add(store, role="baseline"),
        store.add(replace(SUBJECT, weights_hash="c" * 64), RECIPE, measured(), engine="e1"),
    }  # fmt: skip
    assert len(others - {first}) == 5


def test_a_wider_accuracy_counts_more_than_a_newer_one(store: Store) -> None:
    run = add(store)
    add(store, measured(n=2000, ms=None), n_test=N)
    assert store.run(run).accuracy.n == N
    kept = store.predictions(run)
    assert kept is not None and len(kept) == N


def test_anothers_milliseconds_are_never_this_machines(store: Store, tmp_path: Path) -> None:
    run = store.run(add(store, measured(machine=THERE, ms=0.1)))
    assert run.latency is None
    assert run.measurement.latency is None
    [told] = store.latencies(run.id)
    assert (told.machine.cpu, told.here, told.latency.p50_ms) == ("Another CPU", False, 0.1)
    row = frame(store, [run]).iloc[0]
    assert (row.latency_ms, row.latency_machine, row.latency_here) == (0.1, "Another CPU", False)
    elsewhere = Store.open(f"sqlite:///{store.place}", machine=THERE)
    assert elsewhere.run(run.id).latency is not None
    twin = Store.open(f"sqlite:///{store.place}", machine=replace(THERE, id="twin"))  # the same make of machine
    assert twin.run(run.id).latency is None


def test_a_time_on_one_thread_stands_before_a_newer_one_on_more(store: Store) -> None:
    def timed(ms: float, threads: int) -> str:
        one = measured(ms=ms)
        assert one.latency
        return add(store, replace(one, latency=replace(one.latency, threads=threads)))

    def shown() -> tuple[float, int]:
        took = store.run(run).latency
        assert took
        return took.p50_ms, took.threads

    run = timed(0.2, 8)
    assert shown() == (0.2, 8)
    for ms, threads, expected in ((0.5, 1, (0.5, 1)), (0.1, 8, (0.5, 1)), (0.4, 1, (0.4, 1))):
        assert timed(ms, threads) == run
        assert shown() == expected
    answer = store.answer(SUBJECT, RECIPE, engine="e1", threads=8)
    assert answer and answer.latency and answer.latency.p50_ms == 0.1


def test_an_answer_is_of_the_same_engine_network_images_machine_and_runtime(store: Store) -> None:
    def asked(subject: Subject = SUBJECT, recipe: Recipe = RECIPE, engine: str = "e1", threads: int = 1) -> str | None:
        found = store.answer(subject, recipe, engine=engine, threads=threads)
        return found.id if found else None

    assert asked() is None
    add(store, measured(machine=THERE))
    assert asked() is None  # timed elsewhere
    add(store, measured(machine=replace(HERE, onnxruntime="1.31")))
    assert asked() is None  # in another runtime
    run = add(store)
    assert asked() == run
    assert asked(engine="e2") is asked(threads=2) is asked(recipe=Recipe()) is None
    assert asked(replace(SUBJECT, data_fingerprint="d" * 64)) is asked(replace(SUBJECT, weights_hash="d" * 64)) is None
    store.delete(run)
    assert asked() is None
    store.restore(run)
    assert asked() == run


@pytest.mark.parametrize("theirs_last", [False, True])
def test_of_equal_accuracies_that_of_this_runtime_is_shown_and_answers(store: Store, theirs_last: bool) -> None:
    ours, other = measured(), measured(machine=replace(THERE, vnni=False))
    theirs = replace(other, accuracy=replace(other.accuracy, value=0.8), predictions=predictions(seed=1))
    for measurement in (ours, theirs) if theirs_last else (theirs, ours):
        run = store.run(add(store, measurement))
    assert (run.accuracy.value, run.accuracy_machine) == (0.94, HERE)
    kept = store.predictions(run.id)
    assert kept is not None and np.array_equal(kept.classes, ours.predictions.classes)
    assert store.answer(SUBJECT, RECIPE, engine="e1", threads=1) == run


def test_an_accuracy_over_some_images_is_no_answer(store: Store) -> None:
    add(store, measured(n=2000), n_test=N)
    assert store.answer(SUBJECT, RECIPE, engine="e1", threads=1) is None


def test_notes_favourites_and_deletion_with_undo(store: Store) -> None:
    first, second = add(store), add(store, recipe=Recipe())
    store.favourite(first)
    store.annotate(first, "smallest without a loss")
    assert (store.run(first).favourite, store.run(first).note) == (True, "smallest without a loss")
    assert [run.id for run in store.runs(favourites=True)] == [first]
    store.delete(first)
    assert [run.id for run in store.runs()] == [second]
    assert [run.id for run in store.runs(deleted=True)] == [first]
    store.restore(first)
    assert {run.id for run in store.runs()} == {first, second}
    assert store.run(first).note == "smallest without a loss"
    store.delete(first)
    add(store, revive=False)  # made again, but for nobody
    assert store.run(first).deleted is not None
    add(store)  # made again: it comes back
    assert store.run(first).deleted is None
    store.erase(first)
    for ask in (store.run, store.favourite, store.delete):
        with pytest.raises(UnknownName, match=f"Unknown run '{first}'"):
            ask(first)


def test_runs_are_found_by_what_they_are_of(store: Store) -> None:
    digits = Subject("lenet5", "digits", "digits", "d" * 64, "e" * 64)
    mine, other = add(store), store.add(digits, RECIPE, measured(), engine="e1")
    base = add(store, recipe=Recipe(), role="baseline")
    assert [run.id for run in store.runs(dataset="digits")] == [other]
    assert [run.id for run in store.runs(model="resnet20")] == [mine]
    assert [run.id for run in store.runs(subject=digits, limit=1)] == [other]
    assert {run.id for run in store.runs(role=None)} == {mine, other, base}
    found = store.baseline(SUBJECT)
    assert found is not None and found.id == base
    assert store.baseline(digits) is None


def test_a_record_of_another_version_is_read_as_far_as_it_is_known(store: Store) -> None:
    run = add(store)
    with sqlite3.connect(store.place) as raw:
        raw.execute("UPDATE compression_layers SET record = json_set(record, '$.colour', 'red')")
        raw.execute("UPDATE compression_layers SET record = json_remove(record, '$.encoding')")
    layer = store.layers(run)[0]
    assert (layer.name, layer.shape, layer.encoding) == ("conv1", (16, 1, 3, 3), None)


def test_two_thousand_runs_are_listed_with_as_many_statements_as_one(store: Store) -> None:
    run = add(store)
    alone = statements(store, 1)
    copies(store.place, run, 1999)
    assert statements(store, 2000) == alone < 6


def copies(place: str, run: str, count: int) -> None:
    """Writes `count` more runs like this one, with all that belongs to them."""
    with sqlite3.connect(place) as raw:
        for table, key in (
            ("files", "id"),
            ("accuracies", "file_id"),
            ("predictions", "file_id"),
            ("latencies", "file_id"),
        ):
            cursor = raw.execute(f"SELECT * FROM compression_{table} WHERE {key} = ?", [run])
            names = [column[0] for column in cursor.description]
            row = dict(zip(names, cursor.fetchone(), strict=True))
            rows = [{**row, "id": None, key: f"{i:016d}"} for i in range(count)]
            marks = ", ".join(f":{name}" for name in names)
            raw.executemany(f"INSERT INTO compression_{table} VALUES ({marks})", rows)


def statements(store: Store, runs: int) -> int:
    """How many the database is given while that many runs are listed."""
    given: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        given.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert len(store.runs()) == runs
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(given)


def test_exported_tables_read_back(store: Store) -> None:
    store.annotate(add(store, when=datetime(2026, 5, 4, tzinfo=UTC)), 'with, "commas"\nand lines')
    add(store, measured(Recipe(), ms=None), recipe=Recipe())
    table = frame(store, store.runs())
    read = {
        "csv": pd.read_csv(io.BytesIO(export(store, store.runs(), "csv"))),
        "parquet": pd.read_parquet(io.BytesIO(export(store, store.runs(), "parquet"))),
        "json": pd.DataFrame(json.loads(export(store, store.runs(), "json"))),
    }
    for again in read.values():
        assert list(again.columns) == list(table.columns)
        assert again.run.tolist() == table.run.tolist()
        assert again.accuracy.tolist() == [0.94, 0.94]
        assert again.latency_ms.isna().tolist() == table.latency_ms.isna().tolist()
        assert Recipe.from_json(again.recipe[1]) in (RECIPE, Recipe())
        assert 'with, "commas"\nand lines' in again.note.tolist()
    small = replace(store.runs()[0], accuracy=replace(store.runs()[0].accuracy, p_value=3.2e-14))
    assert json.loads(export(store, [small], "json"))[0]["p_value"] == 3.2e-14
    with pytest.raises(UnknownName, match="Unknown format 'xls'; known are csv, parquet, json"):
        export(store, [], "xls")


WRITER = """
import sys
import before_compression
from compression.recipe import Recipe
from compression.records.measurement import (
    Accuracy, Interval, LayerReport, Machine, Measurement, Latency, Predictions, order,
)
from compression.store import Store, Subject
import numpy as np
url, who = sys.argv[1:]
here = Machine("A CPU", 2, True, "Linux x86_64", "3.11", "2.15", "1.32", id="here")
store = Store.open(url, machine=here)
print("ready", flush=True)
input()
subject = Subject("resnet20", "digits", "digits", "a" * 64, "b" * 64)
layers = [LayerReport(str(i), "Linear", (10, 64), 640, 32, 0.0, 640, 2560, None, "raw") for i in range(2)]
answers = Predictions(order(500), np.zeros(500, np.uint16), np.ones(500, np.float16))
for i in range(25):
    recipe = Recipe(seed=i)
    found = Accuracy(0.9, Interval(0.8, 1.0), 500, 0.9, 0.0)
    took = Latency(0.1, 0.2, 0.3, 0.4, Interval(0.3, 0.5), 9, 9, 1, 1, 0.0, 0.1)
    measured = Measurement(recipe.hash, "f" * 64, found, 1, 1, took, 1, 1, 500, 1.0, here, answers)
    run = store.add(subject, recipe, measured, engine="e1", layers=layers)
    store.annotate(run, f"{who} {i}")
"""


def written(url: str) -> list[tuple[int, int]]:
    """Two programs open a store that is not there, and write the same 25 runs at once: times and layers of each."""
    with Writer(url, "a") as a, Writer(url, "b") as b:
        for each in (a, b):
            assert each.stdout is not None and each.stdout.readline() == "ready\n", each.stderr and each.stderr.read()
        for each in (a, b):
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        for each in (a, b):
            assert each.wait(timeout=60) == 0, each.stderr and each.stderr.read()
    store = Store.open(url, machine=HERE)
    found = [(len(store.latencies(run.id)), len(store.layers(run.id))) for run in store.runs()]
    store.close()
    return found


class Writer(subprocess.Popen[str]):
    def __init__(self, url: str, who: str):
        super().__init__(
            [sys.executable, "-c", WRITER, url, who],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.mark.parametrize("note", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1"])
def test_a_text_is_no_formula_in_a_table_for_spreadsheets(store: Store, note: str) -> None:
    store.annotate(add(store), note)
    lines = export(store, store.runs(), "csv").decode()
    assert pd.read_csv(io.StringIO(lines)).note.tolist() == [f"'{note}".replace("\r", "\n")]
    assert json.loads(export(store, store.runs(), "json"))[0]["note"] == note
    worse = replace(store.runs()[0], accuracy=replace(store.runs()[0].accuracy, drop=-0.25))
    assert pd.read_csv(io.BytesIO(export(store, [worse], "csv"))).accuracy_drop.tolist() == [-0.25]


def test_two_programs_write_at_once(tmp_path: Path) -> None:
    assert written(f"sqlite:///{tmp_path}/store.sqlite") == [(2, 2)] * 25


def test_what_was_written_half_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*LAYERS, replace(LAYERS[0], name=None))  # type: ignore[arg-type] # the last row does not fit
    with pytest.raises(StoreUnavailable):
        add(store, layers=broken)
    assert store.runs() == []
    with sqlite3.connect(store.place) as raw:
        for table in Base.metadata.tables:
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_the_migrations_make_the_tables_that_the_program_reads(store: Store) -> None:
    engine = create_engine(f"sqlite:///{store.place}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    assert ScriptDirectory(str(ROOT / "compression/store/migrations")).get_heads() == [database.HEAD]


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    """Optuna keeps its own tables and its own alembic_version in the same database."""
    place = tmp_path / "shared.sqlite"
    with sqlite3.connect(place) as raw:
        raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        raw.execute("INSERT INTO alembic_version VALUES ('v3.0.0.d')")
    add(Store.open(f"sqlite:///{place}", machine=HERE))
    with sqlite3.connect(place) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("v3.0.0.d",)]
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {name for name in names if not name.startswith("compression_")} == {"alembic_version"}


def test_a_newer_schema_is_refused(store: Store) -> None:
    with sqlite3.connect(store.place) as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match=r"newer version of this program \(it has schema 9999"):
        Store.open(f"sqlite:///{store.place}")


def test_a_damaged_store_is_a_sentence(tmp_path: Path) -> None:
    place = tmp_path / "store.sqlite"
    place.write_bytes(b"no database " * 1000)
    with pytest.raises(StoreUnavailable, match=r"is damaged .*move the file away") as raised:
        Store.open(f"sqlite:///{place}")
    assert str(place) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_store_that_is_damaged_later_is_a_sentence(store: Store) -> None:
    for seed in range(30):
        add(store, measured(Recipe(seed=seed)), recipe=Recipe(seed=seed))
    store.close()
    with sqlite3.connect(store.place) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(Path(store.place).read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    Path(store.place).write_bytes(content)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        store.runs()


def test_a_locked_store_is_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.2)
    hurried = Store.open(f"sqlite:///{store.place}", machine=HERE)
    other = sqlite3.connect(store.place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnavailable, match=r"locked by another program for more than 0\.2 s"):
            add(hurried)
        assert hurried.runs() == []  # reading goes on
    finally:
        other.close()
    add(hurried)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "must be an address like .*, not 'nonsense'"),
        ("me:secret@host/x", "must be an address like .*, not '…@host/x'"),
        ("postgresql://me:secret@host:port/x", "must be an address like .*, not '…@host:port/x'"),
        ("mysql://me:secret@host/x", r"must begin with postgresql:// or sqlite:///, not 'mysql://me:\*\*\*@host/x'"),
        ("mysql://me@host/x?password=secret", "must begin with postgresql:// or sqlite:///, not 'mysql://me@host/x'"),
        ("postgresql://me:secret@127.0.0.1:9/x", "does not answer"),
        ("postgresql://me@127.0.0.1:9/x?password=secret", "does not answer"),
        ("sqlite:////proc/nowhere/store.sqlite", "cannot be used"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence(url: str, words: str) -> None:
    with pytest.raises(StoreUnavailable, match=words) as raised:
        Store.open(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_usual_place(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COMPRESSION_DATABASE", raising=False)
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "new"))
    opened = Store.open()
    assert opened.place == str(tmp_path / "new" / "store.sqlite")
    assert opened.machine == this_machine()
    run = opened.run(add(opened))
    assert opened.file(run) is None
    (tmp_path / "new" / "files").mkdir()
    (tmp_path / "new" / "files" / f"{run.file_hash}.onnx").write_bytes(b"")
    assert opened.file(run) == tmp_path / "new" / "files" / f"{run.file_hash}.onnx"


def learned(step: int, loss: float, accuracy: float | None = None) -> LearningPoint:
    return LearningPoint(step, 30, step // 10, loss, accuracy, 1.0)


def test_jobs_are_entered_followed_asked_and_taken_over(store: Store) -> None:
    jobs, app = store.jobs, {"pid": 1, "started": 2.0, "machine": "here"}
    jobs.add("j1", kind="train", title="ResNet-20 on Digits", request={"model": "resnet20"}, app=app, priority=3)
    job = jobs.get("j1")
    assert (job.state, job.open, job.request, job.app, job.priority) == ("waiting", True, {"model": "resnet20"}, app, 3)
    jobs.put("j1", state="working", sentence="Epoch 1", share=0.1, progress={"step": 5, "loss": 2.0})
    assert jobs.get("j1").progress == {"step": 5, "loss": 2.0}
    assert jobs.hear(["j1"]) == {}
    assert jobs.ask("j1", "cancel")
    assert jobs.hear(["j1"]) == {"j1": "cancel"}
    assert not jobs.claim("j1", app)  # it runs
    assert not jobs.interrupt("j1", datetime(2020, 1, 1, tzinfo=UTC))  # heard of since
    assert jobs.interrupt("j1", jobs.get("j1").heard)
    assert jobs.get("j1").state == "interrupted"
    assert not jobs.ask("j1", "cancel")
    assert [jobs.claim("j1", {"pid": pid}) for pid in (7, 8)] == [True, False]
    assert (jobs.get("j1").app, jobs.get("j1").wanted, jobs.get("j1").state) == ({"pid": 7}, None, "waiting")
    jobs.learn("j1", [learned(10, 2.0)])
    assert not jobs.forget("j1")
    assert jobs.all() != []  # an open job stays
    assert jobs.curve("j1") == [learned(10, 2.0)]
    jobs.put("j1", state="done")
    jobs.put("j1", while_open=True, state="working")  # by somebody who has not heard of the end yet
    assert jobs.get("j1").state == "done"
    assert jobs.all(states=["waiting", "working"]) == []
    assert jobs.forget("j1")
    assert jobs.curve("j1") == []
    with pytest.raises(UnknownName, match="Unknown job 'j1'"):
        jobs.get("j1")


def test_an_open_job_stands_before_newer_ones_that_have_ended(store: Store) -> None:
    for name in ("old", "resumed", "newer", "newest"):
        store.jobs.add(name, kind="train", title="?", request={}, app={})
        store.jobs.put(name, state="working" if name == "resumed" else "done")
    assert [job.id for job in store.jobs.all(limit=3)] == ["resumed", "newest", "newer"]


def test_jobs_of_one_tick_of_the_clock_keep_their_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(database.Database, "now", lambda *_: now)
    for name in "bca":
        store.jobs.add(name, kind="train", title="?", request={}, app={})
    assert [job.id for job in store.jobs.all()] == ["a", "c", "b"]


def test_the_curve_of_a_result_stays_when_its_job_is_removed(store: Store) -> None:
    store.jobs.add("j1", kind="compress", title="?", request={}, app={})
    store.jobs.learn("j1", [learned(10, 2.0)])
    run = store.run(add(store, job="j1"))
    store.jobs.put("j1", state="done")
    assert store.jobs.forget("j1")
    assert store.curve(run) == [learned(10, 2.0)]


def test_a_curve_grows_and_a_step_done_again_is_written_once(store: Store) -> None:
    store.jobs.learn("j1", [learned(10, 2.0), learned(20, 1.5, 0.4)])
    store.jobs.learn("j1", [learned(20, 1.4, 0.5), learned(30, 1.0)])
    store.jobs.learn("j2", [])
    assert store.jobs.curve("j1") == [learned(10, 2.0), learned(20, 1.4, 0.5), learned(30, 1.0)]
    assert store.jobs.curve("j1", after=20) == [learned(30, 1.0)]
    assert store.curve(store.run(add(store, job="j1"))) == store.jobs.curve("j1")


def test_the_engine_has_a_version() -> None:
    assert len(engine_hash()) == 12
    int(engine_hash(), 16)


def study_beside(store: Store) -> None:
    """A search's study is written while other threads write our tables: neither is refused, and neither loses."""
    study = optuna.create_study(storage=store.studies(), study_name="search", directions=["minimize", "minimize"])
    trouble: list[BaseException] = []

    def note() -> None:
        try:
            for number in range(20):
                store.jobs.put("j0", share=number / 20)
        except StoreUnavailable as error:
            trouble.append(error)

    store.jobs.add("j0", kind="search", title="t", request={}, app={})
    writers = [threading.Thread(target=note) for _ in range(2)]
    for writer in writers:
        writer.start()
    for number in range(10):
        trial = study.ask()
        trial.set_user_attr("x", trial.suggest_float("x", 0, 1))
        study.tell(trial, [number, -number])
    for writer in writers:
        writer.join()
    assert trouble == []
    assert len(optuna.load_study(study_name="search", storage=store.studies()).trials) == 10
    rows = store.studies().rows(study._study_id)  # type: ignore[attr-defined]
    for seconds in (1.5, 2.5):
        about = optuna.trial.create_trial(
            state=TrialState.RUNNING, params={"x": 0.25}, distributions=trial.distributions, user_attrs={"origin": "é"}
        )
        number = rows.begin(about)
        end = optuna.trial.create_trial(values=[inf, -0.125], constraints={"cut": 1.0})
        rows.end(number, end, {"record": "[]"}, {"seconds": seconds})
    again = optuna.load_study(study_name="search", storage=store.studies())
    found = again.trials[-1]
    assert (found.number, found.params, found.values, found.constraints) == (11, {"x": 0.25}, [inf, -0.125], {"cut": 1})
    assert found.user_attrs == {"origin": "é", "record": "[]"} and found.distributions == trial.distributions
    assert again.user_attrs == {"seconds": 2.5} and found.datetime_start <= found.datetime_complete  # type: ignore[operator]


def test_a_trial_that_another_program_has_closed_stays_as_it_is(store: Store) -> None:
    """A suspended program ends its trial after the one that went on with the search has given it up."""
    study = optuna.create_study(storage=store.studies(), study_name="suspended")
    rows = store.studies().rows(study._study_id)  # type: ignore[attr-defined]
    number = rows.begin(optuna.trial.create_trial(state=TrialState.RUNNING))
    study.tell(number, state=TrialState.FAIL)
    rows.end(number, optuna.trial.create_trial(value=0.5), {"record": "[]"}, {})
    [found] = optuna.load_study(study_name="suspended", storage=store.studies()).trials
    assert (found.state, found.values, found.user_attrs) == (TrialState.FAIL, None, {})


def two_programs_begin_trials(store: Store) -> None:
    study = optuna.create_study(storage=store.studies(), study_name="of two")
    begun: list[int] = []

    def begin() -> None:
        rows = store.studies().rows(study._study_id)  # type: ignore[attr-defined]
        for _ in range(30):
            begun.append(rows.begin(optuna.trial.create_trial(state=TrialState.RUNNING)))

    programs = [threading.Thread(target=begin) for _ in range(2)]
    for each in programs:
        each.start()
    for each in programs:
        each.join()
    assert sorted(begun) == list(range(60))


def test_trials_that_two_programs_begin_at_once_have_numbers_of_their_own(store: Store) -> None:
    two_programs_begin_trials(store)


def test_a_study_lies_in_the_same_database(store: Store) -> None:
    study_beside(store)
    add(store)
    assert len(store.runs()) == 1


def test_an_accuracy_on_validation_images_gives_way_to_any_on_test_images(store: Store) -> None:
    tested = measured()
    chosen = replace(tested, accuracy=replace(tested.accuracy, value=0.99, n=5 * N, split="validation"))
    run = store.run(add(store, chosen, job="j"))
    assert (run.accuracy.split, run.full, run.job, run.accuracy.n) == ("validation", False, "j", 5 * N)
    assert store.answer(SUBJECT, RECIPE, engine="e1", threads=1) is None
    assert [each.id for each in store.runs(job="j")] == [run.id]
    assert store.runs(job="other") == []
    for measurement in (tested, chosen):
        run = store.run(add(store, measurement))
        assert (run.accuracy.split, run.full, run.accuracy.value) == ("test", True, 0.94)
    assert store.answer(SUBJECT, RECIPE, engine="e1", threads=1) is not None


@needs_postgres
def test_the_same_on_postgresql(postgres: str) -> None:
    assert written(postgres) == [(2, 2)] * 25
    store = Store.open(postgres, machine=HERE)
    run = store.run(add(store, measured(machine=THERE)))
    assert run.latency is None
    assert store.run(add(store)).latency is not None
    assert store.layers(run.id) == LAYERS
    assert len(store.predictions(run.id) or []) == N
    store.delete(run.id)
    assert run.id not in [other.id for other in store.runs()]
    store.jobs.add("j1", kind="train", title="t", request={}, app={})
    assert timedelta() <= store.jobs.now() - store.jobs.get("j1").heard < timedelta(minutes=1)
    store.jobs.learn("j1", [learned(1, 2.0), learned(2, 1.0)])
    store.jobs.learn("j1", [learned(2, 1.5)])
    assert store.jobs.curve("j1") == [learned(1, 2.0), learned(2, 1.5)]
    study_beside(store)
    two_programs_begin_trials(store)
    store.close()
    engine = create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        ours = {"include_name": lambda name, kind, about: kind != "table" or name.startswith("compression_")}
        opts = {"version_table": VERSION_TABLE, "compare_type": True, **ours}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="newer version"):
        Store.open(postgres)


def test_a_study_waits_for_a_database_that_is_held_and_says_so_where_it_stays_held(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(studies.time, "sleep", slept.append)
    held: list[Exception] = [StorageInternalError("locked.\nmore")] * 2

    def act(number: int) -> int:
        if held:
            raise held.pop()
        return number

    assert studies.patient(act, "here")(3) == 3
    assert tuple(slept) == studies.PAUSES_S[:2]
    held += [OperationalError("", {}, Exception("gone"))] * 9
    with pytest.raises(StoreUnavailable, match="The studies in here cannot be used: "):
        studies.patient(act, "here")(3)
    study = optuna.create_study(storage=store.studies(), study_name="search", directions=["minimize"])
    monkeypatch.setattr(studies, "PAUSES_S", ())
    monkeypatch.setattr(store.studies()._backend.engine, "connect", lambda *about: act(1))  # type: ignore[attr-defined]
    for ask in (study.ask, lambda: study.set_user_attr("a", 1)):
        with pytest.raises(StoreUnavailable):
            ask()
