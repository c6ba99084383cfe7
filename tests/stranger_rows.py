"""Rows of the store that another program has written: one or two cells damaged, behind our back."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.damage import VALUES, WORDS, Rng, damaged_text, damaged_value, spelled

JOBS = (("train", "working"), ("train", "interrupted"), ("compress", "done"), ("sweep", "done"), ("search", "waiting"))


class Rows:
    """A store with a run, its fp32 file, what a probe said of it, and jobs of every kind."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.folder = folder / "whole.sqlite", folder / "case"
        if not self.whole.exists():
            _fill(self.whole)

    def make(self, rng: Rng, folder: Path) -> Path:
        """A copy with damaged cells."""
        path = folder / "store.sqlite"
        shutil.copy(self.whole, path)
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.text_factory = lambda content: content.decode("utf-8", "replace")
            tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                      if name.startswith("compression_") and name != "compression_version"]  # fmt: skip
            for _ in range(rng.choice((1, 1, 2))):
                _damage(rng, raw, rng.choice(tables))
        return path

    def enter(self, path: Path) -> object:
        """As pages and commands read it; each of them alone may refuse, with a sentence."""
        from compression.store import Store

        store = Store.open(f"sqlite:///{path}")
        try:
            return told(store)
        finally:
            store.close()


def told(store: Any) -> list[object]:
    """What pages and commands make of a store."""
    from compression.jobs import end_orphans
    from compression.jobs.search import searches
    from compression.store import FORMS, export
    from pages.ui.compare.run_rows import labels, parallel, untimed
    from tests.strangers import said

    runs: Any = said(lambda: store.runs(role=None))
    runs = [] if isinstance(runs, str) else runs
    found = [each for run in runs for each in _of_run(store, run)]
    found += [said(lambda: (labels(runs), parallel(runs).to_json(), untimed(runs)))]
    found += [said(partial(export, store, runs, form)) for form in FORMS]
    found += [said(lambda: [(m.machine.title, store.probes.times(m.key)) for m in store.probes.machines()])]
    found += [said(lambda: end_orphans(store))]
    jobs: Any = said(store.jobs.all)
    found += [each for job in ([] if isinstance(jobs, str) else jobs) for each in _of_job(store, job)]
    found += [said(lambda: searches(store, "lenet5", "digits"))]
    return [*found, said(store.usage.all), said(lambda: store.usage.of("ann@example.org"))]


def _of_run(store: Any, run: Any) -> list[object]:
    from compression.jobs.result_recorder import _news
    from pages.ui.compare import machines
    from pages.ui.compare.run_rows import Filter, row
    from pages.ui.model import links
    from pages.ui.ship import run_story
    from tests.strangers import said

    acts: tuple[Callable[[], object], ...] = (
        lambda: (row(run), Filter("x").keeps(run), run.measurement.summary(), store.layers(run.id)),
        lambda: _news(store, run, store.baseline(run.subject)), lambda: links.told(run, store.latencies(run.id)),
        lambda: store.predictions(run.id), lambda: machines.rows(run, store.probes.of_run(run.id)),
        lambda: machines.sentences(run, store.predictions(run.id), store.probes.of_run(run.id)),
        lambda: run_story.story([run, run], "A", ["a", "b"], store.probes.of_run(run.id), lambda _: ""),
    )  # fmt: skip
    return [said(act) for act in acts]


def _of_job(store: Any, job: Any) -> list[object]:
    from pages.ui.explore.learning_curve import curve_figure
    from pages.ui.model import job_rows
    from tests.strangers import said

    curve: Any = said(lambda: store.jobs.curve(job.id))
    drawn = [lambda: curve_figure(curve, 300, ended=True).to_json(), lambda: job_rows.alt(curve)]
    return [
        said(act) for act in (lambda: job_rows.row(job, "here"), *(drawn if isinstance(curve, list) and curve else ()))
    ]


def _damage(rng: Rng, raw: sqlite3.Connection, table: str) -> None:
    """Another value in one cell; of a cell with JSON, often one value in it."""
    cells = [(row, name) for (row,) in raw.execute(f"SELECT rowid FROM {table}")
             for _, name, *_ in raw.execute(f"PRAGMA table_info({table})")]  # fmt: skip
    if not cells:
        return
    row, name = rng.choice(cells)
    (value,) = raw.execute(f"SELECT {name} FROM {table} WHERE rowid = ?", [row]).fetchone()
    new = _other(rng, value)
    try:
        raw.execute(f"UPDATE OR IGNORE {table} SET {name} = ? WHERE rowid = ?", [new, row])
    except (OverflowError, UnicodeError, sqlite3.IntegrityError):  # which SQLite does not keep either
        return


def _other(rng: Rng, value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        return spelled(damaged_value(rng, json.loads(value))) if rng.random() < 0.8 else damaged_text(rng, value)
    if rng.random() < 0.3 and isinstance(value, str):
        return damaged_text(rng, value)
    new = rng.choice((*VALUES, *WORDS, b"\xff\x00", value))
    return new if isinstance(new, str | bytes | int | float | None) else spelled(new)


def _fill(path: Path) -> None:
    import numpy as np

    from compression.host.machine import this_machine
    from compression.records.measurement import (
        Accuracy,
        Interval,
        Latency,
        LayerBytes,
        LayerReport,
        LearningPoint,
        Ledger,
        Measurement,
        Predictions,
        Reached,
        wilson,
    )
    from compression.store import Store, Subject
    from compression.team import Member, Role, Usage
    from tests.strangers import _recipe

    store = Store.open(f"sqlite:///{path}")
    answers = Predictions(np.arange(8), np.arange(8, dtype=np.uint16), np.ones(8, np.float16))
    took = Latency(0.2, 0.3, 0.5, 0.4, Interval(0.39, 0.41), 100, 10, 1, 1, 0.01, 0.5)
    right = Accuracy(0.75, wilson(6, 8), 8, 0.875, 0.125, 0.5)
    reached = (Reached("prune", "weights", 0.5, 0.52, "", ("conv1",)),)
    whole = Measurement("", "f" * 64, right, 1000, 4000, took, 9, 9, 8, 1.0, this_machine(), answers, reached=reached)
    subject, recipe = Subject("lenet5", "digits", "digits", "a" * 64, "b" * 64), _recipe()
    layers = [LayerReport("conv1", "Conv2d", (6, 1, 5, 5), 150, 4, 0.5, 9, 90, 21.5, "mask")]
    ledger = Ledger(1000, 500, 20, 0, 30, 40, 360, 50, (LayerBytes("conv1", 150, 500, 20, 0, 30, 40, 3.5),))
    run = store.add(subject, recipe, whole, engine="e", layers=layers, ledger=ledger, job="job0")
    base = replace(whole, file_hash="e" * 64, size_bytes=4000, accuracy=replace(right, value=0.875, drop=0.0))
    store.add(subject, recipe, base, engine="e", role="baseline")
    store.annotate(run, "a note")
    store.probes.add(_report())
    search = {"model": "lenet5", "dataset": "digits", "settings": "{}"}
    sweep = {"model": "lenet5", "weights": "digits", "dataset": "digits"}
    asked: dict[str, dict[str, Any]] = {
        "train": {"model": "lenet5", "dataset": "digits", "seed": 1}, "sweep": sweep, "search": search,
        "compress": sweep | {"recipe": recipe.to_json(), "threads": 1},
    }  # fmt: skip
    for i, (kind, state) in enumerate(JOBS):
        about = {"machine": this_machine().id, "pid": 1, "started": 1.0, "member": "ann@example.org"}
        store.jobs.add(f"job{i}", kind=kind, title="LeNet-5 on Digits: prune", request=asked[kind], app=about)
        point = LearningPoint(5, 10, 1, 0.7, 0.5, 100.0)
        store.jobs.put(f"job{i}", state=state, sentence="Working.", share=0.5, progress=point)
        store.jobs.learn(f"job{i}", [replace(point, step=step) for step in (0, 5)])
    store.usage.take(Member("ann@example.org", Role.USER), Usage(1.0, 1, 100))
    store.usage.made(run, "ann@example.org", 1000)
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")  # one file


def _report() -> Any:
    from compression.records.probe import read_report

    machine = {"kind": "probe", "id": "0" * 12, "name": "A board", "cpu": "A CPU", "cores": 4, "system": "Linux",
               "python": "3.11", "onnxruntime": "1.20"}  # fmt: skip
    took = {
        "threads": 1, "p50_ms": 1.0, "p90_ms": 1.1, "p95_ms": 1.2, "p99_ms": 1.3, "baseline_p50_ms": 2.0, "ratio": 0.5,
        "ratio_low": 0.4, "ratio_high": 0.6, "pairs": 10, "warm_up": 1, "drift": 0.0, "load": 0.0,
    }  # fmt: skip
    file = {"sha256": "f" * 64, "latency": [took], "classes": list(range(8)), "confidences": [0.5] * 8}
    return read_report(json.dumps({
        "format": "compression-lab probe report", "version": 1, "data_fingerprint": "b" * 64, "n_test": 8, "images": 8,
        "machine": machine, "files": [file],
    }).encode())  # fmt: skip
