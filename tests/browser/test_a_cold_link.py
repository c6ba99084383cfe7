"""A deep link into a server that nobody has opened yet. Its name puts this file before all others here."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.links import link

pytestmark = pytest.mark.browser


def test_a_cold_deep_link_opens_the_page(server: str, page: Page) -> None:
    """Streamlit at first knows no page but app.py, and its client says so once; see there."""
    page.goto(link(server, "explore"))
    expect(page.locator(".st-key-status")).to_contain_text("on all 359 test images")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_title("Explore · Compression Lab")
    expect(page.get_by_role("heading", name="LeNet-300-100 on Digits")).to_be_visible()
