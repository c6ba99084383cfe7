"""The lessons' pages: their texts are whole, a prediction reveals, an interaction changes what it should."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from compression.data import cache
from compression.jobs.cluster import ROOT
from compression.recipe import Recipe
from pages.ui import state
from pages.ui.lessons import lesson as lessons
from pages.ui.lessons.lesson import LESSONS, TEXTS, read
from pages.ui.model import links
from pages.ui.model.subject import from_query
from tests.lessons.test_photographs import colours
from tests.pages.running_app import opened


def facts(name: str) -> dict[str, object]:
    return import_module(f"compression.lessons.{name.replace('-', '_')}").facts()


def lesson(name: str, **session: object) -> AppTest:
    page = opened(page=lessons.page_of(name).removeprefix("pages/").removesuffix(".py"), session=session)
    assert not page.error, page.error[0].value
    return page


def answer(page: AppTest, name: str, key: str, option: int) -> AppTest:
    page.radio(key=f"pick-{name}-{key}").set_value(option).run()
    page.button(key=f"reveal-{name}-{key}").click().run()
    assert not page.exception
    assert not page.error
    return page


@pytest.mark.parametrize("name", LESSONS)
def test_every_figure_in_a_text_comes_from_the_engine_and_none_is_left_over(name: str) -> None:
    assert lessons.figures_in(name) == set(facts(name))
    whole = read(name, facts(name))
    assert "<<" not in str(whole)
    assert "[[" not in str(whole)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_questions_with_one_right_answer_and_a_reason_for_each(name: str) -> None:
    found = read(name, facts(name))
    assert 4 <= len(found.questions) <= 7
    for question in found.questions.values():
        assert [option.right for option in question.options].count(True) == 1
        assert all(len(option.says) > 20 for option in question.options)


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_are_recipes_that_explore_opens(name: str) -> None:
    sheet = read(name, facts(name)).teacher
    assert sheet.objectives and sheet.timing and sheet.discussion and sheet.exercises
    for exercise in sheet.exercises:
        if exercise.recipe is not None:
            recipe = Recipe.from_dict(exercise.recipe)
            subject = from_query({"model": exercise.model, "dataset": exercise.dataset})
            assert links.read_link(links.link_of(subject, recipe))[:2] == (subject, recipe)


@pytest.mark.parametrize("name", LESSONS)
def test_a_missing_figure_is_said_to_be_missing(name: str) -> None:
    nothing = read(name, dict.fromkeys(facts(name)))
    used = bool(facts(name))
    assert (lessons.MISSING in str(nothing)) == used


def test_an_unknown_figure_or_term_is_an_error() -> None:
    with pytest.raises(KeyError):
        lessons.with_figures("<<nonsense:.1%>>", {})
    with pytest.raises(KeyError):
        lessons.with_figures("[[nonsense]]", {})
    explained = lessons.with_figures("[[sparsity|zeros]] of <<n:,>>", {"n": 1234})
    assert explained.endswith(">zeros</span> of 1,234")
    assert "Share of the weights" in explained


def test_each_text_has_its_lesson() -> None:
    assert {path.stem for path in TEXTS.glob("*.yaml")} == {*LESSONS, "glossary"}


@pytest.mark.parametrize("name", LESSONS)
def test_pages_are_short(name: str) -> None:
    assert len((ROOT / lessons.page_of(name)).read_text().splitlines()) < 120


def test_a_prediction_is_revealed_explained_and_kept() -> None:
    page = lesson("pruning")
    question = read("pruning", facts("pruning")).questions["layer"]
    charts = len(page.get("plotly_chart"))
    answer(page, "pruning", "layer", 0)
    assert page.radio(key="pick-pruning-layer").disabled
    assert page.warning[0].value.startswith("**Not quite.**")
    assert question.options[question.right].text in page.info[0].value
    assert len(page.get("plotly_chart")) > charts
    answer(page, "pruning", "energy", read("pruning", facts("pruning")).questions["energy"].right)
    assert page.success[0].value.startswith("**Correct.**")
    page.switch_page("pages/learn/teacher.py").run()
    page.switch_page("pages/learn/pruning.py").run()
    assert (len(page.success), len(page.warning)) == (1, 1)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_with_everything_revealed(name: str) -> None:
    whole = read(name, facts(name))
    here = state.Learning()
    for key, question in whole.questions.items():
        here.answer(name, key, question.right, right=True)
    page = lesson(name, learning=here)
    assert page.title[0].value == whole.title
    assert sum(box.value.startswith("**Correct.**") for box in page.success) == len(whole.questions)
    text = " ".join(block.value for block in page.markdown)
    for section in whole.sections.values():
        assert section.strip() in text


def test_the_pruning_sliders_change_the_figures() -> None:
    page = lesson("pruning")
    before = [metric.value for metric in page.metric]
    assert before[0] == "50.0%"
    page.slider(key="share").set_value(0.9).run()
    after = [metric.value for metric in page.metric]
    assert after[0] == "90.0%"
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_the_number_line_follows_bits_and_levels() -> None:
    page = lesson("quantization")
    assert [metric.value for metric in page.metric][:2] == ["7", "0.0%"]
    page.slider(key="bits").set_value(4).run()
    assert page.metric[0].value == "15"
    page.slider(key="clip").set_value(0.5).run()
    assert page.metric[1].value != "0.0%"
    page.selectbox(key="scheme").set_value("ternary").run()
    assert page.metric[0].value == "3"
    assert page.slider(key="bits").disabled


def test_a_student_learns_on_the_spot() -> None:
    page = lesson("distillation")
    charts = len(page.get("plotly_chart"))
    page.button(key="teach").click().run()
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == charts + 1
    assert any(block.value.startswith("Test accuracy: distilled **9") for block in page.markdown)


def test_more_values_take_longer_codes() -> None:
    page = lesson("sharing")
    before = [metric.value for metric in page.metric]
    page.select_slider(key="entries").set_value(64).run()
    assert (before[0], page.metric[0].value) == ("4 bits", "6 bits")
    assert page.metric[3].value < before[3]


def test_a_higher_rank_costs_more_and_errs_less() -> None:
    page = lesson("lowrank")
    before = [float(metric.value.strip("%")) for metric in page.metric]
    page.slider(key="rank-64").set_value(48).run()
    after = [float(metric.value.strip("%")) for metric in page.metric]
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert after[2] < before[2]


def test_fewer_bits_cost_less_to_send() -> None:
    page = lesson("why")
    before = [metric.value for metric in page.metric]
    page.select_slider(key="bill-bits").set_value(8).run()
    after = [metric.value for metric in page.metric]
    assert (before[0], after[0]) == ("1.08 MB", "270.6 KB")
    assert before[2] == after[2]


def test_more_groups_are_less_work_and_a_shuffle_reaches_all() -> None:
    page = lesson("architectures")
    before = page.markdown
    page.select_slider(key="outputs").set_value(256).run()
    assert [block.value for block in page.markdown] != [block.value for block in before]
    assert any("11.5%" in block.value for block in page.markdown)


def test_a_budget_that_nothing_keeps_says_so() -> None:
    page = lesson("together")
    page.slider(key="budget-time").set_value(0.3).run()
    assert page.warning[0].value == "No measured file is within this budget."


def test_a_dearer_border_leaves_fewer_conversions() -> None:
    page = lesson("own")
    before = {metric.label: metric.value for metric in page.metric}
    page.select_slider(key="border").set_value(16).run()
    after = {metric.label: metric.value for metric in page.metric}
    assert int(after["Conversions"]) < int(before["Conversions"])
    assert before["Latency, fp32 = 1"] == after["Latency, fp32 = 1"] == "0.58"  # the zoo's ResNet-20 stands in


@pytest.mark.parametrize("name", ["pruning", "together"])
def test_the_teachers_sheet_has_it_all(name: str) -> None:
    page = opened({"lesson": name}, page="learn/teacher")
    assert page.title[0].value.startswith(read(name, facts(name)).title)
    text = " ".join(block.value for block in page.markdown)
    assert "Objectives" in text and "Timing" in text and "Solution" in text
    assert page.code


def test_the_pruning_lesson_shows_the_users_colour_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("data fetch cifar10" in caption.value for caption in grey_or_colour(tmp_path, monkeypatch).caption)
    cache.write("cifar10", colours())
    page = grey_or_colour(tmp_path, monkeypatch)
    told = [caption.value for caption in page.caption]
    assert not any("data fetch cifar10" in each for each in told)
    assert any(each.startswith("Photographs of CIFAR-10") for each in told)
    assert "class 1 (test image 11)" in page.select_slider(key="sight").options
    pictures = [trace for chart in page.get("plotly_chart") for trace in json.loads(chart.proto.spec)["data"]]
    assert any(trace["type"] == "image" for trace in pictures)
    page.segmented_control(key="pattern").set_value("filters").run()
    page.slider(key="share").set_value(0.95).run()
    assert any(caption.value.startswith("Changed predictions: ") for caption in page.caption)


def grey_or_colour(home: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The lesson for a user with that home."""
    monkeypatch.setenv("COMPRESSION_HOME", str(home))
    return lesson("pruning")
