"""The report as a file in a real browser: it asks for nothing else and prints on four pages."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pages.ui.ship import report_html
from tests.pages.points import point, trail
from tests.pages.test_report import told

pytestmark = pytest.mark.browser


def test_a_full_report_prints_to_at_most_four_pages(browser: Browser, tmp_path: Path) -> None:
    many = trail(*(point(0.01 * i, 0.94 - 0.0005 * i, 400_000 - 3000 * i, 0.9) for i in range(1, 90)))
    path = tmp_path / "report.html"
    path.write_text(report_html.to_html(told(known=many)), encoding="utf-8")
    page, requests = browser.new_page(), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    pdf = page.pdf(format="A4")
    page.close()
    assert requests == [path.as_uri()]
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
