"""Lessons in a real browser: what is moved changes the numbers, a prediction is answered, Explore gets the recipe."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from pages.ui.lessons.lesson import LESSONS, read
from pages.ui.model.links import read_link

pytestmark = pytest.mark.browser


def metric(page: Page, label: str) -> Locator:
    return page.get_by_test_id("stMetric").filter(has_text=label)


@dataclass(frozen=True)
class Try:
    """In a lesson: a slider that is moved by a key, and what it changes; a question; what Explore gets."""

    slider: str
    key: str
    shows: Callable[[Page], Locator]
    question: str
    carried: dict[str, str]


TRIES = {
    "why": Try("Bits per weight", "Home", lambda p: metric(p, "Transfer time"), "energy", {"prune.sparsity": "0.8"}),
    "pruning": Try("Removed", "ArrowRight", lambda p: metric(p, "Output change"), "energy", {"prune.sparsity": "0.8"}),
    "quantization": Try("Bits", "End", lambda p: metric(p, "Levels"), "bit", {"quantize.weight_bits": "3"}),
    "distillation": Try(
        "Temperature", "End", lambda p: p.locator(".js-plotly-plot").nth(1).locator(".barlayer"), "temperature",
        {"quantize.weight_bits": "2", "recover.steps": "100"},
    ),
    "sharing": Try("Values", "End", lambda p: metric(p, "Fixed-length code"), "bits", {"share.entries": "16"}),
    "lowrank": Try("Rank", "End", lambda p: metric(p, "MACs"), "full", {"factorize.amount": "0.33"}),
    "architectures": Try(
        "Output channels", "End", lambda p: p.get_by_text("of the standard MACs."), "pointwise",
        {"quantize.weight_bits": "8"},
    ),
    "together": Try("Latency, fp32 = 1", "Home", lambda p: p.get_by_test_id("stAlert").last, "bits",
                    {"prune.sparsity": "0.8", "quantize.weight_bits": "4"}),
    "own": Try("Price of a border", "End", lambda p: metric(p, "Operators in integers"), "everywhere",
               {"quantize.weight_bits": "8"}),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [name if name == "pruning" else pytest.param(name, marks=pytest.mark.slow) for name in LESSONS],
)
def test_a_lesson_answers_and_leads_to_explore(name: str, server: str, page: Page) -> None:
    told, plan = read(name, import_module(f"compression.lessons.{name}").facts()), TRIES[name]
    page.goto(f"{server}/{name}")
    expect(page.get_by_role("heading", name=told.title)).to_be_visible()
    shown = plan.shows(page)
    before = shown.text_content() or ""
    page.get_by_role("slider", name=plan.slider).first.press(plan.key)
    expect(shown).not_to_have_text(before)

    question = told.questions[plan.question]
    box = page.locator(f".st-key-question-{name}-{plan.question}")
    reveal = box.get_by_role("button", name="Reveal")
    expect(reveal).to_be_disabled()
    box.get_by_text(question.options[question.right].text).click()
    reveal.click()
    expect(box.get_by_text("Correct.")).to_be_visible()
    expect(page.get_by_text(f"1 of {len(told.questions)} predictions made, 1 correct")).to_be_visible()

    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    way = page.get_by_role("link", name=re.compile("^Open in Explore")).first
    address = way.get_attribute("href") or ""
    _, recipe, _ = read_link(dict(parse_qsl(urlsplit(address).query)))
    asked = {f"{s.kind}.{name}": str(value) for s in recipe.steps for name, value in s.model_dump().items()}
    assert {name: asked[name] for name in plan.carried} == plan.carried


def test_explore_opens_with_the_recipe_of_a_lesson_and_a_wrong_prediction_is_told(server: str, page: Page) -> None:
    options = read("pruning", import_module("compression.lessons.pruning").facts()).questions["energy"].options
    page.goto(f"{server}/pruning")
    box = page.locator(".st-key-question-pruning-energy")
    box.get_by_text(next(option.text for option in options if not option.right)).click()
    box.get_by_role("button", name="Reveal").click()
    expect(box.get_by_text("Not quite.")).to_be_visible()
    expect(page.locator(".term", has_text="filter").first).to_have_attribute("title", re.compile("one output channel"))
    page.get_by_role("link", name="Open in Explore: 80% sparsity").click()
    page.wait_for_url(re.compile(r"/explore\?.*prune\.sparsity=0\.8"))
    expect(page.get_by_role("slider", name="Sparsity")).to_have_value("0.8")
