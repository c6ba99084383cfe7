"""The app in Chinese: each page opens and says nothing in English, and the language follows the link."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from compression.data import DATASETS
from compression.jobs.cluster import ROOT
from compression.language import speak
from compression.models import ARCHITECTURES
from pages.ui import state
from pages.ui.page import uploader
from tests.pages.english_words import english, english_of
from tests.pages.running_app import PATIENCE_S, opened

PAGES = sorted(
    path.relative_to(ROOT / "pages").with_suffix("").as_posix()
    for folder in ("lab", "ship", "learn") for path in (ROOT / "pages" / folder).glob("*.py")
)  # fmt: skip
LINK = {"model": "lenet5", "dataset": "digits", "quality": "fast"}
LONG = ("lab/explore", "lab/layers", "ship/deploy")
"""They measure a file first; a browser changes the language on Explore (tests/browser/test_language.py)."""


def switched(shown: AppTest, language: str) -> AppTest:
    """The page after a click on the button that changes the language."""
    next(button for button in shown.button if button.label == language).click().run()
    assert not shown.exception
    return shown


def choices(shown: AppTest) -> dict[str, object]:
    """What each widget shows that has a value, by its key."""
    kinds = (
        "selectbox", "select_slider", "button_group", "radio", "multiselect", "number_input", "slider", "text_input",
        "text_area", "toggle", "checkbox",
    )  # fmt: skip
    widgets: list[Any] = [widget for kind in kinds for widget in shown.get(kind)]
    return {widget.key: widget.value for widget in widgets}


SUBJECT = ("images", "network.", "images.", "train.")
"""Keys of the widgets that choose networks and images: another choice would be measured first."""


def by_text(shown: AppTest) -> list[Any]:
    """The widgets whose choice the browser names by its text."""
    return [*shown.selectbox, *shown.get("button_group"), *shown.select_slider, *shown.radio, *shown.multiselect]


def offered(shown: AppTest) -> dict[str, list[str]]:
    """The texts of each."""
    return {widget.key: widget.options for widget in by_text(shown)}


def choose_others(shown: AppTest) -> None:
    """Chooses another of the offered texts, where the page offers some."""
    for widget in by_text(shown):
        if not widget.disabled and not widget.key.startswith(SUBJECT) and not isinstance(widget.value, list):
            other = next(filter(partial(fits, widget), (widget.options[-1], 0, 1)), None)
            if other is not None:
                widget.set_value(other)


def fits(widget: Any, choice: object) -> bool:
    """Whether a widget can be told this choice, or the text that it shows for it."""
    try:
        return widget.format_func(choice) in widget.options
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return widget.type != "select_slider" and choice in widget.options


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in PAGES]
)
def test_each_page_in_chinese_shows_what_was_chosen_in_english_and_no_english(page: str, own_home: Path) -> None:
    for run in state.store().runs(role=None):  # of other tests, who gave their networks and images English names
        if run.subject.dataset not in DATASETS or run.subject.model not in ARCHITECTURES:
            state.store().delete(run.id)
    shown = opened({} if page.startswith("learn") else LINK, page)
    choose_others(shown)
    before, texts = choices(shown.run()), offered(shown)
    assert choices(switched(shown, "简体中文")) == before
    others = {key for key, options in offered(shown).items() if options != texts[key] and before[key] not in (None, [])}
    assert others <= {widget.key for widget in by_text(shown) if widget.proto.set_value}, "the browser has to be told"
    assert "Something went wrong" not in str([each.value for each in shown.error])
    assert "English" in [button.label for button in shown.button]
    assert english_of(shown) == {}


def test_english_is_found() -> None:
    said = "ONNX Runtime: see `code`, **the Report** of fp32"
    assert english(said) == ["see", "the", "Report", "of"]
    assert english("把 k-means 用于 <b>ResNet-20</b>") == []


@pytest.mark.usefixtures("engine")
def test_of_several_languages_in_a_link_the_last_is_spoken(own_home: Path) -> None:
    shown = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S).switch_page("pages/learn/sharing.py")
    shown.query_params["lang"] = ["en", "zh-CN"]
    assert "English" in [button.label for button in shown.run().button]
    shown = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S).switch_page("pages/learn/sharing.py")
    shown.query_params["lang"] = ["zh-CN", "en"]
    assert "简体中文" in [button.label for button in shown.run().button]


def test_file_uploaders_speak_chinese_by_streamlits_own_marks() -> None:
    """Streamlit's texts are English alone; its scripts must have the marks by which they are replaced."""
    speak("zh-CN")
    style = uploader.words("probe.report", ["json"], 4)
    speak("")
    assert style.count(".st-key-probe-report ") == 4
    assert 'content: "上传"' in style and 'content: "每个文件不超过 4 MB · JSON"' in style
    scripts = (Path(streamlit.__file__).parent / "static" / "static" / "js").glob("FileUploader*.js")
    script = "".join(path.read_text(encoding="utf-8") for path in scripts)
    for part in (uploader.BUTTON, uploader.INSTRUCTIONS):
        [mark] = re.findall(r'"(\w+)"', part)
        assert mark in script
    using = [path.name for path in (ROOT / "pages").rglob("*.py") if "st.file_uploader(" in path.read_text()]
    assert using == ["uploader.py"]
