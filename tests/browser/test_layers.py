"""The page Layers as a person sees it: one layer gets bits of its own, and the recipe carries them to Explore."""

import re

import pytest
from playwright.sync_api import Page, expect

from compression.recipe import Recipe
from compression.steps import Quantize
from tests.browser.links import link

pytestmark = pytest.mark.browser

RECIPE = Recipe(steps=(Quantize(weight_bits=4),), quality="fast")


def test_bits_of_one_layer_land_in_the_recipe_and_follow_to_explore(server: str, page: Page) -> None:
    page.goto(link(server, "layers", RECIPE))
    expect(page.get_by_text("relative output error")).to_be_visible()
    expect(page.get_by_role("heading", name="Layer 1", exact=True)).to_be_visible()
    page.get_by_role("slider", name="Bit width of this layer").press("End")
    expect(page).to_have_url(re.compile(r"quantize\.layer_bits=1%3D32"))
    expect(page.get_by_text("bits per layer 1=32")).to_be_visible()
    for view, drawn in (("Rank", "Singular value"), ("Feature maps", "fp32 says")):
        page.get_by_role("radio", name=view, exact=True).click()
        expect(page.get_by_text(drawn).first).to_be_visible()
    page.get_by_test_id("stTopNavSection").filter(has_text="Lab").click()
    page.get_by_test_id("stTopNavDropdownLink").filter(has_text="Explore").click()
    expect(page).to_have_url(re.compile(r"/explore\?.*quantize\.layer_bits=1%3D32"))
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")


def test_the_sweep_goes_on_when_the_page_is_left(server: str, page: Page) -> None:
    page.goto(link(server, "layers", RECIPE))
    page.get_by_role("button", name="Run sensitivity analysis").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.goto(f"{server}/jobs")
    job = page.locator("[class*='st-key-job']").filter(has_text="LeNet-300-100 on Digits: sensitivity of every layer")
    job.get_by_role("link", name="Open result").click()
    expect(page.get_by_text("Simulated in PyTorch on validation images").last).to_be_visible()
    expect(page.get_by_text("Rank, share of full").last).to_be_visible()
