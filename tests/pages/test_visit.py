"""What a visit remembers: recipes to go back to, and neighbours that are measured meanwhile."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import streamlit as st

from compression.jobs.lab import Job, Request
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS
from pages.ui import state
from pages.ui.model import links
from pages.ui.state import neighbours
from tests.pages.points import DIGITS, measurement, point, trail


def test_undo_and_redo_walk_through_the_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    here = state.Visit(DIGITS)
    here.load(Recipe())
    here.load(PRESETS["8-bit"].recipe)
    here.undo()
    here.undo()
    assert here.recipe == links.START
    here.redo()
    assert here.recipe == Recipe()
    assert st.session_state["prune.on"] is False
    here.load(links.START)
    assert not here.history.undone


def test_neighbours_are_measured_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Job] = []
    resting = [False]

    def submit_idle(request: Request) -> Job | None:
        asked.extend([Job(request)] if resting[0] else [])
        return asked[-1] if resting[0] else None

    lab = SimpleNamespace(submit_idle=submit_idle, long=SimpleNamespace(working=[]))
    monkeypatch.setattr(neighbours, "lab", lambda: lab)
    here = state.Visit(DIGITS, point(0.5, 0.93, 90_000).recipe)
    here.trails[DIGITS] = trail(point(0.5, 0.93, 90_000))
    assert not here.neighbours.measure_next(here.choice, here.trails)
    assert here.neighbours.current is None  # somebody has just asked for something
    resting[0] = True
    for _ in range(2):
        assert not here.neighbours.measure_next(here.choice, here.trails)
    [job] = asked  # the second waits for the first
    found = Recipe.from_json(job.request.recipe)  # type: ignore[union-attr]
    job.end(state="done", measurement=replace(measurement(0.92, 80_000), recipe_hash=found.hash), full=True)
    assert here.neighbours.measure_next(here.choice, here.trails)
    assert found.hash in {known.key for known in here.trail.points}
    assert len(asked) == 2
