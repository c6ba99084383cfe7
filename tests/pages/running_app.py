"""Boots the app and reads what a page shows."""

import time
from collections.abc import Mapping

import pytest
from streamlit.testing.v1 import AppTest

from compression.jobs.cluster import ROOT
from compression.recipe import Recipe
from compression.store import Run
from pages.ui import state

PATIENCE_S = 180


def opened(
    link: Mapping[str, str] | None = None, page: str = "", session: Mapping[str, object] | None = None
) -> AppTest:
    """The app as it first draws a page of pages/, such as "lab/layers" ("" is the one that opens), from a link."""
    shown = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S)
    if page:
        shown.switch_page(f"pages/{page}.py")
    for name, value in (link or {}).items():
        shown.query_params[name] = value
    for name, kept in (session or {}).items():
        shown.session_state[name] = kept
    shown.run()
    assert not shown.exception
    return shown


def stored(model: str, recipe: Recipe) -> Run:
    """The run of a recipe; a page hears of it before the store does."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := [run for run in state.store().runs(model=model) if run.recipe == recipe]:
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"{recipe} is not stored.")


def recipe_on(page: AppTest) -> Recipe:
    """What the panel with the recipe says."""
    return Recipe.from_yaml(next(code.value for code in page.code if code.language == "yaml"))


def values(page: AppTest) -> list[str]:
    return [metric.value for metric in page.metric]
