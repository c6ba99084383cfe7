"""Images without labels: no page speaks of accuracy, or of what is right."""

import re
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from compression.analysis.comparison import compare
from compression.data import load
from compression.data.test_samples import TestSample
from compression.jobs import Baseline
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Interval, Predictions, wilson
from compression.steps import STEPS, Quantize, Settings
from pages.ui import state
from pages.ui.charts import budget_handles, layer_figures, scatter_figure, tables
from pages.ui.charts.scatter_data import chart
from pages.ui.compare import two_runs
from pages.ui.explore import figures_of_merit, toolbar
from pages.ui.model.axes import AXES
from pages.ui.model.budget import WISHES, Budget, advise, called, usual
from pages.ui.model.points import Point, Trail
from pages.ui.model.view import labels
from pages.ui.model.words import WORDS
from pages.ui.ship import report, report_html
from tests.pages.points import measurement
from tests.pages.points import point as labelled_point
from tests.pages.running_app import opened, stored

FORBIDDEN = re.compile(r"accura|\bright(ly)?\b|\bwrong\b|correct|mistake", re.IGNORECASE)


def alike(count: int, n: int = 200) -> Accuracy:
    return Accuracy(count / n, wilson(count, n), n, 1.0, 1 - count / n, None, "fp32")


def point(sparsity: float, count: int, size_bytes: int) -> Point:
    found = labelled_point(sparsity, 0.9, size_bytes, 0.8)
    measured = measurement(0.9, size_bytes, 0.8)
    values = {f.name: getattr(measured, f.name) for f in fields(measured)} | {"accuracy": alike(count), "n_test": 200}
    return Point(found.recipe, type(measured)(**values), full=True)


@pytest.fixture
def trail() -> Trail:
    made = Trail(baseline=Baseline(replace(alike(200), interval=Interval(1.0, 1.0)), 1_095_000, 40_000_000, 270_000))
    for each in (point(0.5, 199, 400_000), point(0.7, 197, 250_000), point(0.9, 150, 90_000)):
        made.add(each)
    return made


def refuse(*texts: object) -> None:
    for text in texts:
        assert not FORBIDDEN.search(str(text)), text


def test_the_pattern_finds_what_pages_say_of_labelled_images() -> None:
    words = WORDS["labels"]
    assert all(FORBIDDEN.search(text) for text in (words.measure, words.title, words.short, words.about, words.lost))


def test_words_for_images_without_labels(trail: Trail) -> None:
    assert trail.words is WORDS["fp32"] and Trail().words is WORDS["labels"]
    refuse(*(getattr(trail.words, f.name) for f in fields(trail.words)), usual(trail.words))
    refuse(*(called(wish, trail.words) for wish in WISHES), *labels(trail.words).values())
    assert labels(WORDS["labels"])["drop"][0] == "Accuracy drop, points"


def test_help_in_the_sidebar_is_for_images_of_both_kinds() -> None:
    every: tuple[type[Settings], ...] = (*STEPS.values(), Recipe)
    for settings in every:
        refuse(settings.__doc__, *(field.description for field in settings.model_fields.values()))


def test_figures_of_merit_say_agreement_with_its_interval(trail: Trail) -> None:
    told = figures_of_merit.figures(point(0.5, 199, 400_000).measurement)
    share = told[0]
    assert (share.label, share.value, share.small) == ("Agreement", "99.5%", "± 1.4")
    assert (share.change, share.remark, share.colour) == ("-0.5 points", "with fp32, 200 images", "normal")
    nothing = figures_of_merit.figures(None, trail.words)
    refuse(*(getattr(each, f.name) for each in (*told, *nothing) for f in fields(each)))


def test_charts_name_agreement_on_axes_and_hovers(trail: Trail) -> None:
    drawn = chart(trail, trail.last, "size", "accuracy", budget=Budget(drop=1.0))
    assert drawn.y.title == "Agreement with fp32, %" and drawn.limits[1] == pytest.approx(99.0)
    assert "75.0% agreement with fp32 (68.6 to 80.5%)" in drawn.marks[-1].text
    refuse(drawn.alt, drawn.y.title, *(mark.text for mark in drawn.marks))
    refuse(
        re.sub(
            r'"textposition":"[a-z ]*"|"side":"right"|"uirevision":"[a-z ]*"',
            "",
            scatter_figure.figure(drawn).to_json(),
        )
    )
    assert AXES["accuracy"].called(WORDS["labels"]).title == "Accuracy, %"
    refuse(budget_handles.handles(Budget(drop=1.0), "size", "accuracy", trail.baseline)[0]["label"])


def test_advice_tables_and_the_selected_point(trail: Trail) -> None:
    for budget in (Budget(), Budget(drop=1.0), Budget(size=1), Budget(wish="most accurate")):
        refuse(advise(budget, trail.points).reason)
    (row, *_) = tables.points(trail, None)
    assert row["Agreement"] == pytest.approx(75.0)
    refuse(*row, toolbar.described(trail.points[0]))


def test_the_report_in_every_form(trail: Trail) -> None:
    for budget in (Budget(), Budget(drop=2.0), Budget(size=1.0), Budget(wish="most accurate")):
        told = report.report("Small", trail, budget, datetime(2026, 1, 2))
        assert told is not None
        html = report_html.to_html(told)
        refuse(report.to_markdown(told), report.to_csv(told), report.to_json(told))
        refuse(re.sub(r"text-align: \w+|<style>.*?</style>", "", html, flags=re.DOTALL))
        assert "Agreement against size and latency" in html and "Agreement, 95% interval" in html
    assert "agreement with fp32 98.5% (95.7 to 99.5%)" in told_of(trail, Budget(drop=2.0))
    assert "disagreement with fp32 ≤ 2 points" in told_of(trail, Budget(drop=2.0))


def told_of(trail: Trail, budget: Budget) -> str:
    found = report.report("Small", trail, budget, datetime(2026, 1, 2))
    assert found is not None
    return report.to_markdown(found)


def test_two_runs_side_by_side() -> None:
    data = load("digits")
    data = replace(data, labelled=False)
    images = np.arange(50)
    fp32 = Predictions(images, (images % 10).astype(np.uint16), np.full(50, 0.9, np.float16))
    other = replace(fp32, classes=np.where(images < 5, 0, fp32.classes).astype(np.uint16))
    found = compare(fp32, other, data, fp32)
    refuse(two_runs.summary(found))
    assert two_runs.summary(found).startswith("Of 50 test images both agree with fp32 on 46, only A on 4")
    for figure in (two_runs.by_class(found), two_runs.confusion(found), two_runs.reliability(found)):
        refuse(re.sub(r'"side":"right"', "", figure.to_json()))
    refuse(layer_figures.COLUMNS["Worst drop"])


# --- pages on a folder of pictures without labels ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of digits side by side, without a class."""
    place = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(load("digits").test.images[:40]):
        Image.fromarray(image[0].numpy()).save(place / f"{i}.png")
    return place


def shown(page: AppTest) -> list[str]:
    """Every text that a page shows outside the sidebar and its figures, and the words on these."""
    main: Any = page.main
    texts = [each.value for kind in ("markdown", "caption", "info", "warning", "subheader") for each in main.get(kind)]
    texts += [f"{each.label} {each.value} {each.delta} {each.help}" for each in main.get("metric")]
    for kind in ("selectbox", "toggle", "number_input", "segmented_control", "button"):
        texts += [f"{each.label} {getattr(each, 'options', '')} {each.help}" for each in main.get(kind)]
    return texts + [str(list(table.value.columns)) for table in main.get("dataframe")]


def test_explore_compare_and_report_on_pictures_without_labels(folder: Path) -> None:
    link = {"model": "lenet300", "weights": "digits", "dataset": f"folder:{folder}::test=15", "steps": "quantize"}
    page = opened(link | {"quality": "fast", "quantize.weight_bits": "2"})
    assert not page.error
    assert page.metric[0].label == "Agreement" and page.metric[0].value.split("%")[0] not in ("", "–")
    refuse(*shown(page))
    said = " ".join(c.value for c in page.caption)
    assert "With 15 test images, agreement of 100% only says that it is above 80%" in said
    assert "Measured on 15 of the 20 test images, drawn by seed 0" in said
    assert page.selectbox(key="test_images").value == TestSample(15)
    assert page.text_input(key="folder").value == str(folder)
    for name in ("Points", "Layers", "Learning", "Recipe", "Files"):
        page.segmented_control(key="panel").set_value(name).run()
        assert not page.exception and not page.error
        refuse(*shown(page))
    told = opened(link | {"quality": "fast", "quantize.weight_bits": "2"}, page="ship/report")
    refuse(*shown(told))
    run = stored("lenet300", Recipe(steps=(Quantize(weight_bits=2),), quality="fast"))
    base = state.store().baseline(run.subject)
    assert run.accuracy.reference == "fp32" and base is not None
    compare_page = opened({"a": base.id, "b": run.id}, page="lab/compare")
    for section in ("Measures", "Classes", "Changed predictions", "Confidence"):
        compare_page.segmented_control(key="compare.section").set_value(section).run()
        assert not compare_page.exception and not compare_page.error
        refuse(*(text.replace("'Accuracy'", "''") for text in shown(compare_page)))  # a column for other runs
