"""The demo's stories: their claims hold for the stored results, and the page turns with Next and Back."""

import re

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Element

from compression.lessons import distillation, measured
from pages.ui.ship import photographs, stories
from tests.pages.running_app import opened


def measurements(table: str, *, timed: bool = False):
    found = [row.measurement for row in measured.rows(table)]
    if any(m is None or (timed and m.latency is None) for m in found):
        pytest.skip("not measured yet; `python -m benchmarks lessons` does")
    return found


def test_the_first_story_keeps_its_word():
    """At most a point is lost; the file is many times smaller; the title says both."""
    last, story = measurements("story-bytes")[-1], stories.stories()[0]
    assert last.accuracy.drop <= 0.01 and last.size_ratio >= 10
    assert story.title == f"{last.size_ratio:.0f}× smaller, {100 * last.accuracy.drop:.1f} points less accurate"


def test_the_second_story_keeps_its_word():
    half, most, channels, integer = (m.latency.ratio for m in measurements("story-zeros", timed=True))
    assert 0.93 < half < 1.07 and 0.93 < most < 1.07
    assert channels < 0.85 and integer < 0.7


def test_the_third_story_keeps_its_word():
    found = distillation.grid()
    assert found is not None
    alone, soft = found[1.0, 0.0], found[stories.TEMPERATURE, stories.TAUGHT]
    assert soft.mean > alone.mean + 0.05
    assert soft.mean > found[1.0, stories.TAUGHT].mean


def test_every_slide_has_a_figure_and_its_bars_end_with_it():
    for story in stories.stories():
        assert len(story.slides) == 4 and story.measured.startswith("Measured on")
        for number in range(len(story.slides)):
            slide = story.slide(number)
            assert slide.notes and slide.headline and re.search(r"\d", slide.figure) and slide.bars
            assert len(slide.bars.names) == len(slide.bars.values) == len(slide.bars.texts)


def test_the_story_of_photographs_says_on_which_images_and_asks_for_those_that_are_missing():
    asked = []
    story = photographs.story(asked.append)
    assert story is not None and "JPEG copy" in story.measured and not asked
    told = [story.slide(number) for number in range(len(story.slides))]
    assert asked[0].steps == photographs.STEPS[-1] and "do not come with the app" in told[-1].unit
    assert "on 10,000 images" in told[0].text and "ResNet-20 on CIFAR-10" in told[0].text
    assert [len(slide.bars.names) for slide in told[:5] if slide.bars] == [1, 2, 3, 4, 4]


@pytest.fixture(scope="module")
def page() -> AppTest:
    return opened(page="ship/demo")


def headline(page: AppTest) -> str:
    return next(m.value for m in page.get("html") if isinstance(m, Element) and "demo-headline" in m.value)


def test_next_and_back_turn_the_page(page):
    first = headline(page)
    back, onward = (next(b for b in page.button if b.label == label) for label in ("Back", "Next"))
    assert back.disabled
    onward.click().run()
    second = headline(page)
    assert second != first
    next(b for b in page.button if b.label == "Back").click().run()
    assert headline(page) == first
    next(b for b in page.button if b.key == "demo.story.1").click().run()
    assert headline(page) not in (first, second)


def test_the_link_with_demo_leads_there():
    assert headline(opened({"demo": "1"})) == headline(opened(page="ship/demo"))
