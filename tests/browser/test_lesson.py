"""Lessons in a real browser: a deep link, a prediction, a moved slider, and the way to Explore with a recipe."""

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_lesson_from_its_link_to_explore(server: str, page: Page, console: list[str]) -> None:
    page.goto(f"{server}/pruning")
    expect(page.get_by_role("heading", name="Pruning: which weights can go")).to_be_visible()
    removed = page.get_by_test_id("stMetric").filter(has_text="Removed")
    expect(removed).to_contain_text("50.0%")
    page.get_by_role("slider", name="Removed").press("ArrowRight")
    expect(removed).to_contain_text("55.0%")

    question = page.locator(".st-key-question-pruning-energy")
    expect(question.get_by_role("button", name="Reveal")).to_be_disabled()
    question.get_by_text("Less than a tenth").click()
    question.get_by_role("button", name="Reveal").click()
    expect(question.get_by_text("As you predicted.")).to_be_visible()
    expect(page.get_by_text("1 of 6 predictions made, 1 of them right")).to_be_visible()
    term = page.locator(".term", has_text="filter").first
    assert "one output channel" in (term.get_attribute("title") or "")

    page.get_by_role("link", name="Open in Explore: 80% of the weights removed").click()
    page.wait_for_url(re.compile(r"/explore\?.*prune\.sparsity=0\.8"))
    expect(page.get_by_role("slider", name="Sparsity")).to_have_value("0.8")
    console[:] = [line for line in console if "does not seem to exist" not in line]  # the first deep link; see app.py
