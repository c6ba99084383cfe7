"""The page Explore as a person sees it, on Digits."""

import re
from urllib.parse import urlencode

import onnx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from pages.ui.model import links, subject
from pages.ui.model.subject import Subject

pytestmark = pytest.mark.browser

DIGITS = Subject("lenet300", "digits", "digits")
MARKS = ".js-plotly-plot .scatterlayer .trace:last-child .point"  # the point of the current recipe

LONELY = """box => {
  const { xaxis, yaxis } = box._fullLayout, { left, top } = box.getBoundingClientRect()
  const points = box._fullData.filter(t => t.mode === "markers" && t.x?.length).flatMap(t => [...t.x].map((x, i) => ({
    x: left + xaxis._offset + xaxis.d2p(x), y: top + yaxis._offset + yaxis.d2p(t.y[i]), said: t.customdata[i][0] })))
  const nearest = p => Math.min(...points.filter(q => q !== p).map(q => Math.hypot(p.x - q.x, p.y - q.y)))
  return points.filter(p => p.said.includes("reference machine")).sort((p, q) => nearest(q) - nearest(p))[0]
}"""
"""Where on the page the reference machine's point is that is farthest from all others."""
NOW = """said => [...document.querySelectorAll(".js-plotly-plot")].every(box => box._fullData.some(
  trace => trace.name.startsWith("Current") && trace.customdata?.[0][0].includes(said)))"""
"""Whether all charts show this of the current recipe."""


def link(server: str, recipe: Recipe = links.START, path: str = "/") -> str:
    return f"{server}{path}?{urlencode(links.link_of(DIGITS, recipe))}"


def measured(page: Page) -> None:
    """Waits until the current recipe is measured in full and drawn."""
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.locator(MARKS)).to_have_count(3)


def figures(page: Page) -> list[str]:
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def test_the_bare_address_shows_points_before_the_charts_library_is_there_then_charts(server: str, page: Page) -> None:
    held: list[Route] = []
    page.route("**/plotly.min.js*", lambda route: held.append(route))
    with page.expect_request("**/plotly.min.js*"):
        page.goto(f"{link(server)}&panel=recipe")
    sketches = page.locator(".plot-sketch")
    expect(sketches.first.locator("circle").nth(3)).to_be_visible()
    expect(sketches.first).to_contain_text("File size")
    expect(page.get_by_text("Loading the chart").first).to_be_hidden()
    assert held
    for route in held:
        route.continue_()
    expect(page.locator(".js-plotly-plot .point").first).to_be_visible()
    expect(sketches).to_have_count(0)
    measured(page)
    assert "/explore?" in page.url
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    for name in ("fp32 baseline", "Current"):
        expect(page.locator(".st-key-legend")).to_contain_text(name)
    assert all(re.search(r"\d", value) for value in figures(page))
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    expect(page.get_by_test_id("stCode").first).to_contain_text("sparsity: 0.5")
    expect(page.get_by_test_id("stCode").last).to_contain_text("--set prune.sparsity=0.5")
    hidden = """() => [...document.querySelectorAll(".js-plotly-plot")].map(
      box => box._fullData.filter(trace => trace.name === "Quantize" && trace.visible === true).length)"""
    assert min(page.evaluate(hidden)) > 0
    entry = page.locator(".st-key-legend").get_by_role("button", name="Quantize", exact=True)
    entry.press("Enter")
    page.wait_for_function(f"!({hidden})().some(Boolean)")
    entry.press("Enter")
    page.wait_for_function(f"({hidden})().every(Boolean)")


@pytest.mark.slow
def test_a_slider_moved_by_keyboard_leads_to_a_new_point(server: str, page: Page) -> None:
    page.goto(link(server))
    measured(page)
    before = figures(page)
    slider = page.get_by_role("slider", name="Sparsity")
    slider.focus()
    page.keyboard.press("End")
    expect(page.get_by_test_id("stMetricValue").nth(1)).not_to_have_text(before[1])
    measured(page)
    assert "prune.sparsity=0.99" in page.url
    assert figures(page) != before
    expect(page.locator(".st-key-legend")).to_contain_text("Prune + quantize")
    page.reload()
    measured(page)
    expect(slider).to_have_value("0.99")


def test_quick_keys_are_all_heard_and_back_undoes(server: str, page: Page) -> None:
    page.goto(link(server))
    measured(page)
    slider = page.get_by_role("slider", name="Sparsity")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(120)  # some fall before, some after the page has heard of the ones before them
    expect(page).to_have_url(re.compile(r"prune\.sparsity=0\.55"))
    measured(page)
    expect(slider).to_have_value("0.55")
    expect(slider).to_be_focused()
    page.keyboard.press("PageUp")
    expect(page).to_have_url(re.compile(r"prune\.sparsity=0\.65"))
    measured(page)
    page.go_back()
    expect(slider).to_have_value("0.55")
    measured(page)
    page.go_forward()
    expect(slider).to_have_value("0.65")
    measured(page)


def test_a_dragged_slider_moves_an_interpolated_point_before_it_is_let_go(server: str, page: Page) -> None:
    page.goto(link(server))
    measured(page)
    slider = page.get_by_role("slider", name="Sparsity")
    box, before = slider.bounding_box(), page.url
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.505, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=5)
    expect(page.locator(".js-plotly-plot").first).to_contain_text("≈")
    expect(page.locator(".js-plotly-plot").first).to_contain_text("interpolated")
    assert page.url == before
    page.mouse.up()
    expect(page).not_to_have_url(before)
    measured(page)


@pytest.mark.slow
def test_two_tabs_explore_for_themselves(server: str, page: Page) -> None:
    page.goto(link(server))
    other = page.context.new_page()
    other.goto(link(server, Recipe(steps=(Quantize(weight_bits=4),), quality="fast")))
    measured(other)
    measured(page)
    page.get_by_role("slider", name="Sparsity").press("PageDown")
    expect(page).to_have_url(re.compile(r"prune\.sparsity=0\.4"))
    measured(page)
    assert "quantize.weight_bits=4" in other.url
    expect(other.get_by_role("slider", name="Sparsity")).to_have_count(0)
    assert figures(other) != figures(page)


@pytest.mark.slow
def test_a_training_outlives_a_reload_and_is_kept_where_it_was_cancelled(server: str, page: Page) -> None:
    recipe = Recipe(quality="fast").with_settings({"quantize.weight_bits": 2, "recover.steps": 200_000})
    page.goto(link(server, recipe))
    measured(page)
    strip = page.locator(".st-key-recovery")
    page.get_by_role("button", name="Train 200,000 steps").click()
    expect(strip).to_contain_text("Training, step")
    expect(page.locator(".st-key-legend")).to_contain_text("Training (validation)")
    page.reload()
    expect(strip).to_contain_text("validation ")
    page.get_by_role("button", name="Cancel").click()
    expect(strip).to_contain_text("Stopped · step")
    expect(page.get_by_role("button", name="Continue to step 200,000")).to_be_visible()
    page.reload()
    expect(strip).to_contain_text("Stopped · step")
    page.get_by_role("button", name="Keep this result").click()
    expect(strip).to_contain_text("Trained · step")
    expect(page).to_have_url(re.compile(r"recover\.until=\d+"))
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")


@pytest.mark.slow
def test_a_row_is_ticked_a_limit_is_dragged_on_the_chart_and_a_link_is_copied(server: str, page: Page) -> None:
    page.goto(f"{link(server)}&panel=points&budget=size:100,smallest")
    measured(page)
    table = page.locator(".st-key-panel-body").get_by_test_id("stDataFrame")
    table.hover()
    table.click(position={"x": 12, "y": 50})  # the first row's box
    selected = page.locator(".st-key-selection")
    expect(selected).to_contain_text("Selected")
    page.get_by_role("button", name="Deselect").click()
    expect(selected).to_have_count(0)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(selected).to_have_count(0)
    limit = page.locator(".st-key-budget-size input")
    expect(limit).to_have_value("100")
    knob = page.get_by_role("slider", name="Limit of File size, KB").first
    knob.scroll_into_view_if_needed()
    box = knob.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"], steps=4)
    page.mouse.up()
    expect(limit).not_to_have_value("100")
    dragged = limit.input_value()
    knob.press("ArrowRight")
    expect(limit).to_have_value(str(int(dragged) + 1))
    page.locator(".st-key-toolbar").get_by_role("button", name="Share link").click()
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".copy")).to_have_text(re.compile("Copied|Press Ctrl"))
    link_text = re.compile(rf"budget=size:{int(dragged) + 1},smallest&run=[0-9a-f]{{16}}$")
    expect(page.locator(".copied")).to_have_value(link_text)


@pytest.mark.slow
def test_a_hover_tells_the_recipe_and_its_file_can_be_downloaded(server: str, page: Page) -> None:
    alone = Recipe(steps=(Prune(sparsity=0.62),), quality="fast")  # no other point is near
    page.goto(f"{link(server, alone)}&panel=files")
    measured(page)
    box = page.locator(MARKS).first.bounding_box()
    assert box
    for x, y in ((5, 5), (box["x"], box["y"]), (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)):
        page.mouse.move(x, y)  # plotly often misses the first move
    expect(page.locator(".hovertext").first).to_contain_text("Prune weights: sparsity 62%")
    with page.expect_download() as started:
        page.get_by_role("button", name=".onnx,").click()
    download = started.value
    assert download.suggested_filename == f"lenet300-digits-{alone.hash[:8]}.onnx"
    onnx.checker.check_model(onnx.load(download.path()))


def test_a_click_selects_a_point_and_zoom_survives_a_new_one(server: str, page: Page) -> None:
    page.goto(link(server))
    measured(page)
    slider = page.get_by_role("slider", name="Sparsity")
    slider.focus()
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"prune\.sparsity=0\.99"))
    measured(page)
    page.wait_for_function(NOW, arg="sparsity 99%")
    chart = page.locator(".js-plotly-plot").first
    chart.evaluate("box => Plotly.relayout(box, {'yaxis.range': [0, 100]})")
    spot = chart.evaluate(LONELY)
    for x, y in ((5, 5), (spot["x"] - 4, spot["y"] - 4), (spot["x"], spot["y"])):
        page.mouse.move(x, y)
    expect(page.locator(".hovertext").first).to_be_visible()
    page.mouse.down()
    chart.evaluate("box => box.on('plotly_afterplot', () => { box.dataset.drawn = 'under the button' })")
    page.emulate_media(color_scheme="dark")  # charts in other colours: not before the button is released
    page.wait_for_timeout(300)
    assert not chart.get_attribute("data-drawn")
    chart.evaluate("box => Object.assign(box.style, { position: 'relative', top: '80px' })")  # the page moves meanwhile
    page.mouse.up()
    expect(page.locator(".st-key-selection")).to_contain_text("reference machine")
    page.get_by_role("button", name="Load this recipe").click()
    expect(page).not_to_have_url(re.compile(r"prune\.sparsity=0\.99"))
    measured(page)
    assert chart.evaluate("box => box.layout.yaxis.range") == [0, 100]


def test_a_bad_link_says_so(server: str, page: Page) -> None:
    page.goto(f"{server}/explore?model=lenet9&dataset=digits")
    expect(page.get_by_test_id("stAlert").first).to_contain_text("Unknown model 'lenet9'")
    expect(page.get_by_role("heading", name=subject.default().title)).to_be_visible()


def test_charts_and_budget_need_no_scrolling_and_the_tour_is_shown_once(server: str, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(link(server))
    tour = page.get_by_role("dialog", name="Tour")
    for step in (1, 2, 3, 4):
        expect(tour).to_contain_text(f"{step} of 4")
        expect(tour).to_be_in_viewport(ratio=1)
        if step < 4:
            tour.get_by_role("button", name="Next").press("Enter")
    expect(tour.get_by_role("button", name="Done")).to_be_focused()
    tour.get_by_role("button", name="Back").click()
    tour.get_by_role("button", name="Skip").click()
    expect(tour).to_have_count(0)
    measured(page)
    for seen in [*page.locator(".js-plotly-plot").all(), page.locator(".st-key-budget-bar")]:
        expect(seen).to_be_in_viewport(ratio=1)
    assert page.get_by_text("Pareto front", exact=True).count() == 1
    assert page.get_by_text("Quantize", exact=True).count() == 2  # the legend's, and the switch's
    page.reload()
    measured(page)
    expect(tour).to_have_count(0)
    page.get_by_role("button", name="Tour").click()
    expect(tour).to_contain_text("1 of 4")
    page.keyboard.press("Escape")
    expect(tour).to_have_count(0)
    context.close()
