"""The page Layers as a person sees it: one layer gets bits of its own, and the recipe carries them to Explore."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compression.recipe import Recipe
from compression.records.analysis import Operator, Structure
from compression.steps import Prune, Quantize
from pages.ui.charts import network_graph
from pages.ui.charts.network_graph import Side, View, side_of
from pages.ui.model.layer_paint import PAINTS, painted
from pages.ui.model.network_blocks import blocks_of
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
    for view, drawn in (("Rank", "Singular value"), ("Feature maps", ", compressed:")):
        page.get_by_role("radio", name=view, exact=True).click()
        expect(page.get_by_text(drawn).first).to_be_visible()
    page.get_by_test_id("stTopNavSection").filter(has_text="Lab").click()
    page.get_by_test_id("stTopNavDropdownLink").filter(has_text="Explore").click()
    expect(page).to_have_url(re.compile(r"/explore\?.*quantize\.layer_bits=1%3D32"))
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")


@pytest.mark.slow
def test_the_sweep_goes_on_when_the_page_is_left(server: str, page: Page) -> None:
    page.goto(link(server, "layers", RECIPE))
    page.get_by_role("button", name="Run sensitivity analysis").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.goto(f"{server}/jobs")
    job = page.locator("[class*='st-key-job']").filter(has_text="LeNet-300-100 on Digits: sensitivity of every layer")
    job.get_by_role("link", name="Open result").click()
    expect(page.get_by_text("Simulated in PyTorch on validation images").last).to_be_visible()
    expect(page.get_by_text("Rank, share of full").last).to_be_visible()


def test_a_layer_is_picked_in_the_graph_and_excluded_from_quantization(server: str, page: Page) -> None:
    page.goto(link(server, "layers", Recipe(steps=(Prune(), Quantize(weight_bits=4)), quality="fast")))
    after = page.locator(".net-side").nth(1)
    expect(after.locator(".net-chosen")).to_have_attribute("aria-label", re.compile("^Layer 1, 300 × 64, "))
    after.get_by_role("button", name=re.compile("^Layer 3,")).click()
    expect(page.get_by_role("heading", name="Layer 3", exact=True)).to_be_visible()
    expect(page.locator(".net-chosen")).to_have_count(2)  # on both sides
    expect(after.locator(".net-chosen")).to_be_focused()
    pruning = page.get_by_text("Exclude this layer from pruning")
    expect(pruning).to_have_count(1)  # that of the layer before is gone
    pruning.click()
    expect(page).to_have_url(re.compile(r"prune\.exclude=3"))
    expect(page.get_by_label("Exclude this layer from pruning")).to_be_focused()  # the graph does not take it away
    expect(after.locator(".net-own")).to_have_attribute("aria-label", re.compile("excluded from pruning"))
    exclude = page.get_by_text("Exclude this layer from quantization")
    expect(exclude).to_have_count(1)  # that of the layer before is gone
    exclude.click()
    expect(page).to_have_url(re.compile(r"quantize\.layer_bits=3%3D32"))
    expect(after.locator(".net-own")).to_have_attribute("aria-label", re.compile("excluded from pruning, quantization"))
    after.locator(".net-chosen").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Layer 5", exact=True)).to_be_visible()
    expect(after.locator(".net-chosen")).to_be_focused()
    page.get_by_role("radio", name="Milliseconds").click()
    expect(page.get_by_text("Conversions of types and layouts")).to_be_visible()
    expect(after.locator(".net-chosen .net-value")).to_have_text(re.compile("ms|µs"))


HOSTILE = "<img src=x onerror=window.harmed=1>"


@pytest.fixture
def graph(page: Page) -> Page:
    """The picture alone, of a network whose names are hostile; `sent` has what it tells the app."""
    operators = (
        Operator("x", "image"),
        Operator(f"{HOSTILE}.a", "8 × 8", HOSTILE, 64),
        Operator(f"{HOSTILE}.b", "8 × 8", HOSTILE, 64),
        Operator(f"fc{HOSTILE}", "10 × 8", "", 80),
    )
    structure = Structure(operators, tuple(each.name for each in operators[1:]), ((0, 1), (1, 2), (2, 3)))
    colours = painted(PAINTS[0], {each.name: 4.0 * each.weights for each in operators[1:]}, {})
    sides: tuple[Side, ...] = ("before", "after")
    network, opened = blocks_of(operators), frozenset({""})
    views = [View(each, HOSTILE, network, structure, opened, colours.before, {}) for each in sides]
    data: dict[str, Any] = {
        "sides": [side_of(view, colours, f"fc{HOSTILE}", {}) for view in views], "low": HOSTILE, "high": HOSTILE,
        "words": network_graph.WORDS | {"fit": "Fit", "about": HOSTILE},
    }  # fmt: skip
    page.set_content(f"<style>{network_graph.CSS}</style><div id=root>{network_graph.HTML}</div>")
    script = network_graph.SCRIPT.replace("export default function", "window.draw = function")
    page.add_script_tag(content=script, type="module")
    page.wait_for_function("() => window.draw !== undefined")
    page.evaluate(
        "data => { window.sent = []; window.data = data; window.again = changes => {"
        " window.draw({ data: { ...data, ...changes }, parentElement: document.querySelector('#root'),"
        " setTriggerValue: (name, value) => window.sent.push([name, value.id]) }) }; window.again({}) }", data,
    )  # fmt: skip
    return page


def test_names_are_text_whatever_is_in_them(graph: Page) -> None:
    expect(graph.locator(".net-label", has_text="<img")).to_have_count(4)
    expect(graph.locator("figcaption").first).to_have_text(HOSTILE)
    assert graph.locator("#root img").count() == 0 and graph.evaluate("window.harmed") is None


def test_the_picture_is_zoomed_dragged_and_clicked(graph: Page) -> None:
    view, all_of_it = graph.locator(".net-view").first, graph.locator(".net-view > g")
    start = all_of_it.first.get_attribute("transform")
    graph.get_by_role("button", name="Zoom in").click()
    zoomed = all_of_it.first.get_attribute("transform")
    assert zoomed != start and all_of_it.nth(1).get_attribute("transform") == zoomed
    box = view.bounding_box()
    assert box is not None
    graph.mouse.move(box["x"] + 15, box["y"] + 15)
    graph.mouse.down()
    graph.mouse.move(box["x"] + 75, box["y"] + 45)
    graph.mouse.up()
    assert all_of_it.first.get_attribute("transform") not in (start, zoomed)
    assert graph.evaluate("window.sent") == []  # what is dragged is not clicked
    graph.locator(".net-block").first.click()
    graph.locator(".net-layer").first.click()
    graph.locator(".net-operator").first.click()
    assert graph.evaluate("window.sent") == [["toggled", "1-3"], ["picked", "3-4"]]
    graph.get_by_role("button", name="Fit").click()
    graph.locator(".net-block").first.focus()
    graph.keyboard.press("+")
    graph.keyboard.press("Enter")
    assert graph.evaluate("window.sent")[-1] == ["toggled", "1-3"]


def test_the_place_of_the_keyboard_outlives_a_new_picture(graph: Page) -> None:
    """Whatever redraws it: the same part has the focus, or what it has gone into."""
    focus = "document.activeElement.dataset.id"
    graph.locator(".net-side").nth(1).locator(".net-layer").first.focus()
    graph.evaluate("window.again({ low: '0' })")
    assert graph.evaluate(focus) == "3-4"
    graph.evaluate("window.data.sides.forEach(side => side.nodes.find(n => n.id === '3-4').id = '0-9')")
    graph.evaluate("window.again({ low: '1' })")
    assert graph.evaluate(focus) == "0-9"
    assert graph.evaluate("document.querySelectorAll('.net-view')[1].contains(document.activeElement)")
    graph.evaluate("document.activeElement.blur()")
    graph.evaluate("window.again({ low: '2' })")
    assert graph.evaluate("document.activeElement === document.body")
