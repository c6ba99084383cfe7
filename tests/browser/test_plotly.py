"""Charts' library in a real browser: it comes out of the installed package, once, and nothing is written for it."""

import pytest
from playwright.sync_api import Locator, Page, expect

from compression.jobs.cluster import ROOT
from tests.browser.links import link

pytestmark = pytest.mark.browser


def chart(page: Page) -> Locator:
    return page.locator(".plot.js-plotly-plot .main-svg").first


@pytest.mark.slow
def test_plotly_comes_from_its_package_and_is_fetched_once(server: str, page: Page) -> None:
    fetched = list[str]()
    page.on("request", lambda request: fetched.append(request.url) if "plotly.min.js" in request.url else None)
    for _ in range(2):
        page.goto(link(server, "explore"))
        expect(chart(page)).to_be_visible()
    assert len(fetched) == 1 and "/component/" in fetched[0]
    assert not (ROOT / "static").exists()


@pytest.mark.slow
def test_a_library_that_does_not_come_is_said_in_one_sentence(server: str, page: Page, console: list[str]) -> None:
    page.route("**/plotly.min.js*", lambda route: route.abort())
    page.goto(link(server, "explore"))
    expect(page.get_by_text("The chart library could not be loaded. Reload the page.").first).to_be_visible()
    page.unroute("**/plotly.min.js*")
    page.reload()
    expect(chart(page)).to_be_visible()
    console.clear()
