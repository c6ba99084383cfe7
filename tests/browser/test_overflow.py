"""In a real browser: no page is wider than its window, and no text is cut off, at 1280 and at 768 pixels."""

from collections.abc import Iterable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from pages.ui.explore import tour
from pages.ui.lessons.lesson import LESSONS
from tests.browser.conftest import PATIENCE_S
from tests.browser.links import link

pytestmark = pytest.mark.browser

WIDTHS = (1280, 768)
RECIPE = Recipe(steps=(Prune(sparsity=0.8), Quantize(weight_bits=4)), quality="fast")
PAGES = ("explore", "layers", "deploy", "report", "browser", "search", "jobs", "compare", "bring", "demo", "teacher")

CUT_OFF = """() => {
  const found = new Set()
  for (const name of ["stMain", "stSidebarContent"]) {
    const box = document.querySelector(`[data-testid=${name}]`)
    if (box && box.scrollWidth > box.clientWidth + 1) found.add(`${name} is wider than its window`)
  }
  const tell = (text, from, to, start, end, more) => {
    if (to > end + more || from < start - more) found.add(`cut off: ${text.trim().slice(0, 80)}`)
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const range = document.createRange()
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const parent = node.parentElement
    if (!node.data.trim() || !parent.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue
    range.selectNodeContents(node)
    const {left, right, top, bottom, width, height} = range.getBoundingClientRect()
    if (width <= 1 || height <= 1) continue
    for (let box = parent; box; box = box.parentElement) {
      const style = getComputedStyle(box), rect = box.getBoundingClientRect()
      if (rect.width <= 1 || rect.height <= 1) break  // for screen readers only
      const [x, y] = style.display === "inline" ? ["visible", "visible"] : [style.overflowX, style.overflowY]
      if (["hidden", "clip"].includes(y)) tell(node.data, top, bottom, rect.top, rect.bottom, height / 4)
      if (["auto", "scroll"].includes(x)) break
      if (x !== "visible") tell(node.data, left, right, rect.left, rect.right, 1.5)
      if (style.position === "fixed" || box === document.body) {
        tell(node.data, left, right, 0, innerWidth, 1.5)
        break
      }
    }
  }
  return [...found]
}"""
"""What a reader cannot see: text beyond the nearest box that hides what leaves it, and pages that scroll sideways."""


@pytest.mark.parametrize(
    ("locale", "paths"),
    [
        pytest.param("en-US", ("explore",), id="one page"),
        pytest.param("en-US", PAGES, id="pages", marks=pytest.mark.slow),
        pytest.param("en-US", LESSONS, id="lessons", marks=pytest.mark.slow),
        pytest.param("zh-CN", (*PAGES, *LESSONS), id="chinese", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_cut_off(browser: Browser, server: str, locale: str, paths: Iterable[str]) -> None:
    with browser.new_context(locale=locale, reduced_motion="reduce") as context:
        context.add_init_script(tour.SEEN)
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        found = {(path, width): cut for path in paths for width, cut in _cut_off(page, server, path)}
    assert not {where: cut for where, cut in found.items() if cut}


def _cut_off(page: Page, server: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """For each width what cannot be seen."""
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(link(server, path, RECIPE))
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        for _ in range(20):  # charts fit themselves to the new size
            page.wait_for_timeout(100)
            if not (cut := page.evaluate(CUT_OFF)):
                break
        yield width, cut


def test_what_is_cut_off_is_found(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 300})
    page.set_content("""
        <div style="width: 50px; overflow: hidden; white-space: nowrap">too long for its box</div>
        <div style="height: 12px; overflow: hidden"><p style="margin: 20px 0 0">below its box</p></div>
        <div style="margin-left: 380px; white-space: nowrap">beyond the window</div>
        <div style="width: 50px; overflow: auto; white-space: nowrap">this can be scrolled</div>
        <div style="width: 200px; overflow: hidden">this fits</div>
        <div data-testid="stMain" style="width: 300px; overflow: auto"><p style="width: 301.6px">wide</p></div>
    """)
    found = page.evaluate(CUT_OFF)
    page.close()
    assert found == [
        "stMain is wider than its window", "cut off: too long for its box", "cut off: below its box",
        "cut off: beyond the window",
    ]  # fmt: skip
