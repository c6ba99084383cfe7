"""In a real browser: the app speaks the browser's language, the link's if it names one, and keeps what is chosen."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def chinese(browser: Browser) -> Iterator[Page]:
    """A page of a browser whose user reads Chinese."""
    with browser.new_context(locale="zh-CN") as context:
        expect.set_options(timeout=60_000)
        yield context.new_page()


def test_the_language_is_the_browsers_unless_the_link_names_another(chinese: Page, server: str) -> None:
    chinese.goto(f"{server}/sharing")
    expect(chinese.get_by_role("button", name="English")).to_be_visible()
    expect(chinese.get_by_test_id("stSelectbox").first).to_contain_text("层")
    chinese.goto(f"{server}/sharing?lang=en")
    expect(chinese.get_by_role("button", name="简体中文")).to_be_visible()
    expect(chinese.get_by_test_id("stSelectbox").first).to_contain_text("Layer")


@pytest.mark.slow
def test_a_choice_outlives_changes_of_the_language(page: Page, server: str) -> None:
    page.goto(f"{server}/quantization?lang=en")
    page.get_by_role("combobox", name="Scheme").click()
    page.get_by_role("option", name="Ternary").click()
    expect(page.get_by_test_id("stMetric").filter(has_text="Levels")).to_contain_text("3")
    page.get_by_role("button", name="简体中文").click()
    scheme = page.get_by_role("combobox", name="方案")
    expect(scheme).to_have_value("三值")
    slider = page.get_by_role("slider").last
    slider.focus()
    slider.press("ArrowLeft")
    expect(scheme).to_have_value("三值")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("combobox", name="Scheme")).to_have_value("Ternary")
    expect(page.get_by_test_id("stMetric").filter(has_text="Levels")).to_contain_text("3")
