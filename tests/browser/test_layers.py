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
    expect(page.get_by_text("the layer's answers by")).to_be_visible()
    expect(page.get_by_role("heading", name="Layer 1", exact=True)).to_be_visible()
    page.get_by_role("slider", name="Bits of this layer").press("End")
    expect(page).to_have_url(re.compile(r"quantize\.layer_bits=1%3D8"))
    expect(page.get_by_text("bits of single layers 1=8")).to_be_visible()
    for view, drawn in (("Rank", "Singular value"), ("Feature maps", "fp32 says")):
        page.get_by_role("radio", name=view, exact=True).click()
        expect(page.get_by_text(drawn).first).to_be_visible()
    page.get_by_test_id("stTopNavSection").filter(has_text="Lab").click()
    page.get_by_test_id("stTopNavDropdownLink").filter(has_text="Explore").click()
    expect(page).to_have_url(re.compile(r"/explore\?.*quantize\.layer_bits=1%3D8"))
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
