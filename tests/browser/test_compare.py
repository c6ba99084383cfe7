"""The page Compare as a person sees it: two recipes measured on Explore, then side by side."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from compression.recipe import Recipe
from compression.steps import Quantize
from pages.ui.model import links
from pages.ui.model.subject import Subject

pytestmark = pytest.mark.browser

DIGITS = Subject("lenet300", "digits", "digits")


def test_measured_runs_are_compared_and_the_link_brings_them_back(server: str, page: Page) -> None:
    for bits in (8, 2):
        recipe = Recipe(steps=(Quantize(weight_bits=bits),), quality="fast")
        page.goto(f"{server}/?{urlencode(links.link_of(DIGITS, recipe))}")
        expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    page.get_by_test_id("stTopNavSection").filter(has_text="Lab").click()
    page.get_by_test_id("stTopNavDropdownLink").filter(has_text="Compare").click()
    expect(page.get_by_text("Results", exact=True)).to_be_visible()
    page.get_by_text("Changed predictions", exact=True).click()
    expect(page.get_by_text("test images both are correct on", exact=False)).to_be_visible()
    page.get_by_text("Confidence", exact=True).first.click()
    expect(page.locator(".js-plotly-plot .legend").last).to_contain_text("B, calibration error")
    page.get_by_role("button", name="Delete").scroll_into_view_if_needed()
    table = page.get_by_test_id("stDataFrame").first
    table.hover()
    table.click(position={"x": 12, "y": 50})  # the first row's box
    page.get_by_role("button", name="Note").click()
    page.get_by_role("textbox", name="Note").fill("in one breath")
    page.get_by_role("button", name="Save").click()  # without leaving the field before
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Search").fill("breath")
    page.get_by_role("textbox", name="Search").press("Enter")
    expect(page.get_by_text("1 run, 0 selected")).to_be_visible()  # the tick was of a row, which is another run now
    page.get_by_role("textbox", name="Search").fill("")
    page.get_by_role("textbox", name="Search").press("Enter")
    expect(page.get_by_text("1 run, 0 selected")).to_have_count(0)
    expect(page.get_by_text("runs, 0 selected")).to_be_visible()
    link = page.url
    assert "a=" in link and "b=" in link
    page.goto(link)
    expect(page.get_by_text("Results", exact=True)).to_be_visible()
    assert page.url == link
