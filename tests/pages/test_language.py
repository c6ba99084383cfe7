"""The app in Chinese: each page opens, and the language follows the link."""

from pathlib import Path

import pytest

from compression.jobs.cluster import ROOT
from tests.pages.running_app import opened

CHINESE = {"lang": "zh-CN"}
PAGES = sorted(
    path.relative_to(ROOT / "pages").with_suffix("").as_posix()
    for folder in ("lab", "ship", "learn") for path in (ROOT / "pages" / folder).glob("*.py")
)  # fmt: skip


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_in_chinese(page: str, own_home: Path) -> None:
    shown = opened(CHINESE, page)
    assert not shown.exception
    assert "Something went wrong" not in str([each.value for each in shown.error])
    assert "English" in [button.label for button in shown.button]
