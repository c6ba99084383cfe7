"""The command line's part that looks into the store."""

import json
import math
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from compression.cli import app
from compression.host.machine import this_machine
from compression.jobs.result_recorder import this_program
from compression.recipe import Recipe
from compression.store import Store
from compression.team import Usage
from tests.store.test_store import SUBJECT, measured


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("COMPRESSION_DATABASE", f"sqlite:///{tmp_path}/store.sqlite")
    return Store.open()


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_runs_are_listed_and_exported(store: Store, tmp_path: Path) -> None:
    runs = [store.add(SUBJECT, r, measured(r, machine=this_machine()), engine="e") for r in map(seeded, range(3))]
    store.favourite(runs[0])
    table = call("runs", "list").splitlines()
    assert len(table) == 4
    assert table[-1].split()[:5] == [runs[0], "resnet20", "fashion-mnist", "94.00%", "87.0"]
    assert "0.250 ms" in table[-1]
    assert [run["id"] for run in json.loads(call("runs", "list", "--favourites", "--json"))] == [runs[0]]
    assert json.loads(call("runs", "list", "--dataset", "digits", "--json")) == []
    for suffix, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet), ("json", pd.read_json)):
        file = tmp_path / f"runs.{suffix}"
        call("runs", "export", file)
        assert set(read(file).run.astype(str)) == set(runs)
    assert "A table ends in .csv, .parquet, .json" in call("runs", "export", "runs.xls", code=2)


def test_a_run_whose_recipe_another_version_wrote_is_listed_too(store: Store) -> None:
    run = store.add(SUBJECT, Recipe(), measured(Recipe(), machine=this_machine()), engine="e")
    with sqlite3.connect(store.place) as raw:
        raw.execute("UPDATE compression_files SET recipe = '{\"schema\": 99}'")
    [_, line] = call("runs", "list").splitlines()
    assert line.startswith(run)
    assert line.endswith("(written by another version)")


def test_a_loss_that_is_no_number_is_null(store: Store) -> None:
    store.jobs.add("a" * 32, kind="train", title="?", request={}, app=this_program())
    store.jobs.put("a" * 32, progress={"loss": math.nan, "seconds_left": math.inf, "step": 3})
    [job] = json.loads(call("jobs", "list", "--json"))
    assert job["progress"] == {"loss": None, "seconds_left": None, "step": 3}


def seeded(seed: int) -> Recipe:
    return Recipe(seed=seed)


def test_jobs_are_listed_and_cancelled(store: Store) -> None:
    dead = {**this_program(), "started": 1.0}
    for name, app_ in (("a" * 32, this_program()), ("b" * 32, dead), ("c" * 32, dead)):
        store.jobs.add(name, kind="train", title=f"job {name[0]}", request={}, app=app_)
    assert "has ended already: it is interrupted" in call("jobs", "cancel", "cc", code=2)  # its program is gone
    states = {job["id"][0]: job["state"] for job in json.loads(call("jobs", "list", "--json"))}
    assert states == {"a": "waiting", "b": "interrupted", "c": "interrupted"}
    assert "interrupted" in call("jobs", "list")
    assert call("jobs", "cancel", "aaaa").split() == ["stopping", "job", "a"]
    assert store.jobs.get("a" * 32).wanted == "cancel"
    assert "has ended already: it is interrupted" in call("jobs", "cancel", "bb", code=2)
    assert "Unknown job 'zz'; known are" in call("jobs", "cancel", "zz", code=2)


def test_an_admin_sees_what_each_member_has_used(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team.yaml").write_text(
        "members: {ann@example.org: admin, una@example.org: user}\nquotas: {user: {minutes: 10, gigabytes: 1}}\n"
    )
    monkeypatch.setenv("COMPRESSION_TEAM", str(tmp_path / "team.yaml"))
    run = store.add(SUBJECT, seeded(1), measured(seeded(1)), engine="e")
    store.usage.made(run, "una@example.org", 250_000_000)
    store.usage.count("una@example.org", Usage(seconds=660, uploads=2))
    store.usage.count("gone@example.org", Usage(seconds=6))
    ann, gone, una = json.loads(call("usage", "--json"))
    assert (ann["member"], ann["role"], ann["runs"], ann["quota"]["minutes"]) == ("ann@example.org", "admin", 0, None)
    assert (gone["member"], gone["role"], gone["used_ever"]["seconds"]) == ("gone@example.org", "none", 6)
    assert (una["runs"], una["used"]) == (1, {"seconds": 660, "uploads": 2, "size_bytes": 250_000_000})
    assert una["left"] == {"minutes": 0, "uploads": None, "gigabytes": 0.75}
    said = call("usage").splitlines()[-1]
    assert "11.0 min (0.0 min left)" in said
    assert "0.250 GB (0.750 GB left)" in said


def test_without_a_team_nobody_has_used_anything(store: Store) -> None:
    assert json.loads(call("usage", "--json")) == []
    assert call("usage").startswith("MEMBER")
