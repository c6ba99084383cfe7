"""The page Search: a search is begun, watched and cancelled; its files are points, rows and sentences."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from compression.host.machine import this_machine
from compression.jobs import Lab, SearchView, search_of, search_view
from compression.recipe import Recipe
from compression.records.measurement import Interval, Latency
from compression.records.search import Found, Trial
from compression.searching import objectives
from compression.searching.settings import SearchSettings
from compression.store.records import StoredLatency
from pages.ui import state
from pages.ui.model import links, search_points, subject
from pages.ui.model.points import Point
from tests.pages.points import DIGITS
from tests.pages.running_app import PATIENCE_S, opened

NOW = datetime.now(UTC)


def trial(number: int, size: int, drop: float, **more: object) -> Trial:
    made = Recipe().with_setting("prune.sparsity", 0.5 + number / 100)
    found = Found(
        drop=drop, agreement=0.95, worst_class=0.8, size_bytes=size, macs=1_000_000, divergence=0.1, images=500,
        latency_ratio=0.5, latency_ms=0.2, memory_bytes=2_000, accuracy=0.9 - drop,
    )  # fmt: skip
    state: dict = {"state": "complete", "stage": "all images", **more}
    return Trial(number, recipe=made.to_json(), params={}, found=found, ended=10.0 * number, **state)


def view(*trials: Trial, **settings: Any) -> SearchView:
    baseline = {"size_bytes": 1_000_000, "accuracy": 0.9, "images": 500, "reference": "labels"}
    return SearchView("j", SearchSettings(**settings), trials, baseline, 60.0)


TRIALS = (
    trial(1, 90_000, 0.0), trial(2, 60_000, 0.008, run="r", test_accuracy=0.91, test_drop=0.01), trial(3, 30_000, 0.01),
    trial(4, 29_000, 0.5), trial(5, 10, 0.0, state="cut", stage="simulated"),
)  # fmt: skip


def test_a_search_in_words_and_points() -> None:
    seen = view(*TRIALS, drop=0.008, minimise="size")
    assert [row["Size"] for row in search_points.rows(seen)] == [30, 60, 90]
    assert [row[""] for row in search_points.rows(seen)] == ["", "★ best", ""]
    assert [row["Drop on test"] for row in search_points.rows(seen)] == [None, 1.0, None]
    assert search_points.offers(seen) == ["Another 0.20 points of drop save 30.0 KB: 30.0 KB instead of 60.0 KB."]
    assert search_points.count(seen) == "5 trials: 4 complete, 1 stopped early"
    assert search_points.rate(seen) == 5.0
    assert search_points.asked(seen) == "accuracy drop ≤ 0.8 points"
    assert search_points.asked(SearchSettings(device="pi4")) == "whole Pareto front, on pi4"
    trail = search_points.trail(seen)
    assert len(trail.points) == 4 and trail.baseline is not None
    assert {point.measurement.accuracy.split for point in trail.points} == {"validation"}
    first: Point = trail.points[0]
    assert search_points.find(seen, first.key) == TRIALS[0]
    assert links.RUN in search_points.link(TRIALS[1], DIGITS)
    assert links.RUN not in search_points.link(TRIALS[0], DIGITS)  # measured when it is opened
    swept = view(*(replace(t, params={"bits": 2.0 + t.number, "zeros": "free"}) for t in TRIALS))
    assert search_points.settings_of(swept) == ["bits"]
    assert search_points.along(swept, "bits", "size_bytes") == [(3.0, 90.0), (4.0, 60.0), (5.0, 30.0), (6.0, 29.0)]
    assert search_points.along(swept, "zeros", "drop")[0] == ("free", 0.0)
    assert view(*TRIALS, size_bytes=5).reason.startswith("No file is within these limits; the closest has")
    assert view().reason == "No trial is complete yet."
    assert TRIALS[3].found is not None
    untimed = replace(TRIALS[3], found=replace(TRIALS[3].found, latency_ratio=None))
    assert view(untimed, size_bytes=5).reason == "No trial is complete yet."


def button(page: AppTest) -> Any:
    return next(each for each in page.button if each.label == "Search")


def form(page: AppTest) -> Any:
    return next(each for each in page.expander if each.label == "New search")


@pytest.mark.usefixtures("engine")
def test_a_search_is_begun_watched_cancelled_and_resumed() -> None:
    page = opened(links.link_of(DIGITS, links.START), "lab/search")
    page.number_input(key="search.drop").set_value(50.0)
    page.number_input(key="search.size_bytes").set_value(300.0)
    next(each for each in page.number_input if each.label == "Trials").set_value(4)
    page.button_group(key="search.techniques").set_value(["quantize"])
    button(page).click().run()
    assert not page.exception and not page.error
    [job] = [job for job in state.lab().store.jobs.all() if job.kind == "search"]
    settings = SearchSettings.from_json(job.request["settings"])
    assert (settings.drop, settings.size_bytes, settings.trials) == (0.5, 300_000, 4)
    assert settings.techniques == ("quantize",)
    page.button(key=f"search.cancel.{job.id}").click().run()
    assert state.lab().store.jobs.get(job.id).state == "cancelled"
    page.run().button(key=f"search.resume.{job.id}").click().run()
    end = time.monotonic() + PATIENCE_S
    while state.lab().store.jobs.get(job.id).open and time.monotonic() < end:
        time.sleep(0.1)
    page.run()
    assert not page.exception and not page.error
    assert any("trials: " in each.value for each in page.caption)
    assert {"Size", "Drop on test"} <= set(page.dataframe[0].value.columns)
    assert any("Selected" in each.value for each in page.markdown)
    linked = page.switch_page("pages/lab/jobs.py").run()
    assert any("search" in each.value for each in linked.markdown)


@pytest.mark.usefixtures("engine")
def test_a_device_is_offered_where_workers_have_told_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(links.link_of(DIGITS, links.START), "lab/search")
    assert "Device" not in [each.label for each in page.selectbox]
    told = ["pi4", "pi5"]
    monkeypatch.setattr(Lab, "devices", property(lambda lab: tuple(told)))
    chosen = page.run().selectbox(key="search.device")
    assert (chosen.options, chosen.value) == (["any", "pi4", "pi5"], "")
    chosen.set_value("pi5").run()
    told.clear()  # its workers are gone: the choice stays, and the search says so
    assert page.run().selectbox(key="search.device").options == ["any", "pi5"]
    before = [job.id for job in state.lab().store.jobs.all()]
    button(page).click().run()
    [job] = [job for job in state.lab().store.jobs.all() if job.id not in before]
    assert SearchSettings.from_json(job.request["settings"]).device == "pi5"
    end = time.monotonic() + PATIENCE_S
    while (ended := state.lab().store.jobs.get(job.id)).open and time.monotonic() < end:
        time.sleep(0.1)
    assert ended.state == "refused" and "No worker offers the device 'pi5'" in ended.sentence
    page.run()
    page.selectbox(key="search.device").set_value("").run()
    assert "Device" not in [each.label for each in page.run().selectbox]


@pytest.mark.usefixtures("engine")
def test_a_click_is_heard_although_its_run_ends_early_and_others_fold_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened(links.link_of(DIGITS, links.START), "lab/search")
    page.button_group(key="search.techniques").set_value([]).run()
    page.number_input(key="search.trials").set_value(1)
    before = [job.id for job in state.lab().store.jobs.all()]
    button(page).click().run()
    assert "techniques" in page.toast[0].value and not page.exception
    assert [job.id for job in state.lab().store.jobs.all()] == before
    page.button_group(key="search.techniques").set_value(["quantize"]).run()
    with monkeypatch.context() as now:
        now.setattr("compression.jobs.end_orphans", lambda store: st.stop())
        button(page).click().run()
    [job] = [job for job in state.lab().store.jobs.all() if job.id not in before]
    state.lab().long.cancel(job.id)
    folded = form(page.run())
    assert not folded.proto.expanded
    page.selectbox(key="network.digits").set_value(("vgg11", "digits")).run()
    assert form(page).proto.expanded and form(page).key != folded.key  # of a network without searches
    other = opened(links.link_of(DIGITS, links.START), "lab/search")
    before_others = form(other).key
    others = state.lab().long.start(search_of(DIGITS.model, DIGITS.dataset, SearchSettings(trials=2)))
    state.lab().long.cancel(others.id)
    assert form(other.run()).key == before_others


def test_times_are_those_of_the_machine_of_the_trial_and_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here, box = this_machine(), replace(this_machine(), cpu="box", id="box")
    took = [Latency(ms, ms, 2 * ms, 0.5, Interval(0.4, 0.6), 9, 1, 1, 1, 0.0, 0.0) for ms in (1.0, 7.0)]
    stored = {"r": [StoredLatency(took[0], here, True, NOW), StoredLatency(took[1], box, False, NOW)]}
    asked: list[str] = []
    foreign = replace(TRIALS[0], recipe='{"steps": [{"kind": "magic"}]}', run="x")
    trials = [foreign, replace(TRIALS[1], machine="box"), TRIALS[2]]
    study: Any = SimpleNamespace(trials=trials, spent=1.0, kept=lambda name: view().baseline)
    record: Any = SimpleNamespace(kind="search", request={"settings": SearchSettings().to_json()})
    store: Any = SimpleNamespace(
        place=object(), studies=lambda: None, jobs=SimpleNamespace(get=lambda job: record),
        latencies=lambda run: stored[asked.append(run) or run],  # type: ignore[func-returns-value]
    )  # fmt: skip
    monkeypatch.setattr("compression.jobs.search.Study", lambda *about: study)
    monkeypatch.setattr("compression.jobs.search.is_there", lambda *about: True)
    first = search_view(store, "j")
    assert first is not None
    points = search_points.trail(first).points
    assert [point.measurement.latency for point in points] == [took[1], None]
    assert points[0].measurement.machine == box
    assert [t.state for t in first.trials] == ["failed", "complete", "complete"]
    assert search_points.rows(first) and search_points.find(first, "nonsense") is None
    monkeypatch.setattr(objectives, "volumes", lambda *about: ["new"])
    assert first.volumes == ["new"]
    study.spent = 2.0
    monkeypatch.setattr(objectives, "volumes", None)  # nothing is found out again
    again = search_view(store, "j")
    assert again is not None and (again.seconds, again.volumes, again.front) == (2.0, ["new"], first.front)
    trials.append(trial(9, 20_000, 0.0, run="r"))
    changed = search_view(store, "j")
    assert changed is not None and len(changed.trials) == 4 and asked == ["r"]


def test_a_run_whose_images_are_named_wrong_is_told_by_that_name() -> None:
    assert subject.dataset_title("folder:/a/some images::test=y") == "folder:/a/some images::test=y"
    assert subject.dataset_title("digits::test=100").endswith("100 test images")
