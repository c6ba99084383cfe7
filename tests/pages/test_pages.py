"""The pages: what their charts say, as data; their words; and the page itself with a real worker on Digits."""

import ast
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from compression import models
from compression.data import load
from compression.errors import UserError
from compression.jobs import recipe_search
from compression.jobs.cluster import ROOT
from compression.jobs.lab import Job, Lab, Request
from compression.jobs.messages import Baseline
from compression.jobs.recipe_search import LADDER
from compression.models import model_cards
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS
from compression.records.measurement import (
    Accuracy,
    Interval,
    Latency,
    LearningPoint,
    Machine,
    Measurement,
    Predictions,
)
from compression.steps import STEPS, Prune, Quantize
from compression.store import JobRecord, Run
from pages.ui import state
from pages.ui.charts import scatter_figure
from pages.ui.charts.budget_handles import handles, moved
from pages.ui.charts.scatter_data import chart, course, decades
from pages.ui.explore import figures_of_merit, panels
from pages.ui.explore.learning_curve import curve_figure
from pages.ui.model import axes, job_rows, links, subject, wording
from pages.ui.model.budget import Budget, advise
from pages.ui.model.pareto import Spot, stand
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject
from pages.ui.model.view import PANELS, View
from pages.ui.state import neighbours

PATIENCE_S = 180
EMPTY = Predictions(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float16))
MACHINE = Machine("A CPU", 2, True, "Linux", "3.11", "2.15", "1.32")
DIGITS = Subject("lenet300", "digits", "digits")


def measurement(accuracy: float, size_bytes: int, ratio: float | None = None, n: int = 10_000) -> Measurement:
    found = Accuracy(accuracy, Interval(accuracy - 0.005, accuracy + 0.005), n, 0.94, 0.94 - accuracy, 0.5)
    bounds = Interval(ratio - 0.01, ratio + 0.01) if ratio else Interval(0, 0)
    latency = Latency(0.48 * ratio, 0.6, 0.48, ratio, bounds, 100, 10, 1, 1, 0.0, 0.1) if ratio else None
    return Measurement("r", "f", found, size_bytes, 1_095_000, latency, 1, 1, n, 1.0, MACHINE, EMPTY)


def point(sparsity: float, accuracy: float, size_bytes: int, ratio: float | None = None) -> Point:
    recipe = Recipe().with_setting("prune.sparsity", sparsity)
    return Point(recipe, measurement(accuracy, size_bytes, ratio), full=True)


def trail(*points: Point) -> Trail:
    made = Trail(
        baseline=Baseline(Accuracy(0.94, Interval(0.935, 0.945), 10_000, 0.94, 0.0), 1_095_000, 40_000_000, 270_000)
    )
    for each in points:
        made.add(each)
    return made


def test_budget_edges_are_taken_hold_of_in_the_units_of_their_axes() -> None:
    base, budget = trail().baseline, Budget(drop=1.0, size=100)
    found = {handle["limit"]: handle for handle in handles(budget, "size", "accuracy", base)}
    assert (found["size"]["axis"], found["size"]["value"]) == ("x", 100)
    assert (found["drop"]["axis"], found["drop"]["value"], found["drop"]["high"]) == ("y", 93.0, 94.0)
    assert [handle["limit"] for handle in handles(budget, "macs", "latency", base)] == []
    assert moved(budget, "drop", 91.52, base) == replace(budget, drop=2.5)
    assert moved(budget, "drop", 99.0, base) == replace(budget, drop=0.0)
    assert moved(budget, "size", 12.4, base) == replace(budget, size=12)
    assert moved(budget, "latency", 0.52, base) == replace(budget, latency=0.5)
    assert moved(budget, "weight", 1.0, base) == budget


def mark(x: float, y: float, *, x_arm: float = 0.0, y_arm: float = 0.0, full: bool = True) -> Spot:
    return Spot(x, Interval(x - x_arm, x + x_arm), y, Interval(y - y_arm, y + y_arm), full)


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    marks = [mark(100, 93), mark(50, 90), mark(60, 89), mark(200, 93), mark(300, 94)]
    assert stand(marks) == ["front", "front", "behind", "behind", "front"]


def test_points_inside_each_others_intervals_are_ties() -> None:
    close = [mark(0.50, 93.0, x_arm=0.02, y_arm=0.5), mark(0.51, 92.9, x_arm=0.02, y_arm=0.5)]
    assert stand(close) == ["front", "tie"]
    assert stand([close[0], mark(0.51, 92.9, x_arm=0.02, y_arm=0.05)]) == ["front", "behind"]
    assert stand([close[0], mark(0.60, 93.0, x_arm=0.02, y_arm=0.5)]) == ["front", "behind"]


def test_equal_points_stand_together_and_first_images_beat_nobody() -> None:
    assert stand([mark(1, 2), mark(1, 2)]) == ["front", "front"]
    assert stand([mark(1, 3, full=False), mark(2, 2)]) == ["front", "front"]


def test_the_chart_shows_baseline_trail_and_now_in_its_axes_units() -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    data = chart(trail(point(0.5, 0.93, 200_000, 0.6), now), now, "size", "accuracy")
    assert [m.role for m in data.marks] == ["visited", "baseline", "now"]
    assert [m.spot.x for m in data.marks] == [200.0, 1095.0, 90.0]
    assert [round(m.spot.y, 6) for m in data.marks] == [93.0, 94.0, 90.0]
    assert data.front == ((90.0, 90.0), (200.0, 93.0), (1095.0, 94.0))
    assert "sparsity 90%" in data.of("now")[0].text
    assert "90.00% (89.50 to 90.50%)" in data.alt
    times = chart(trail(now), now, "latency", "accuracy")
    assert [m.spot.x for m in times.marks] == [1.0, 0.5]
    assert times.of("now")[0].x_arms == pytest.approx((0.01, 0.01))


def test_what_others_measured_is_replaced_by_what_this_machine_measures() -> None:
    made, known = trail(), point(0.5, 0.93, 200_000)
    made.know([replace(known, source="reference")])
    assert [m.role for m in chart(made, None, "size", "accuracy").marks] == ["reference", "baseline"]
    assert "reference machine (A CPU)" in chart(made, None, "size", "accuracy").marks[0].text
    made.know([replace(known, source="earlier"), replace(known, source="reference")])
    assert [p.source for p in made.points] == ["earlier"]
    made.add(known)
    assert [p.source for p in made.points] == ["visit"]


def test_the_budget_shades_what_it_allows_and_names_the_best_point_within() -> None:
    small, accurate, slow = point(0.9, 0.91, 60_000, 0.5), point(0.5, 0.938, 90_000, 0.5), point(0.2, 0.94, 95_000, 0.9)
    known = [small, accurate, slow]
    budget = Budget(drop=1.0, size=100, latency=0.6)
    assert advise(budget, known).point is accurate
    assert "1 of 3 measured points keeps these limits" in advise(budget, known).reason
    assert advise(replace(budget, latency=None, wish="most accurate"), known).point is slow
    assert advise(replace(budget, drop=5.0), known).point is small
    nothing = advise(Budget(drop=0.0, size=50), known)
    assert nothing.point is None
    assert "None of the 3" in nothing.reason
    drawn = chart(trail(small), small, "size", "accuracy", budget=budget)
    assert drawn.limits == pytest.approx((100, 93.0))
    assert chart(trail(small), small, "macs", "accuracy", budget=Budget(size=100)).limits == (None, None)
    assert len(scatter_figure.figure(drawn).layout.shapes) == 4


@pytest.mark.parametrize("x", ["macs", "parameters", "energy", "accuracy"])
def test_every_axis_has_the_baseline_and_the_point(x: axes.Name) -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    data = chart(trail(), now, x, "latency")
    assert [m.role for m in data.marks] == ["baseline", "now"]
    assert len(scatter_figure.figure(data).data) > 3
    assert ("estimated" in data.x.title) == (x == "energy")


def test_where_less_is_better_on_both_axes_the_front_runs_down() -> None:
    slow_small, fast_big, bad = mark(50, 0.9), mark(90, 0.5), mark(95, 0.95)
    assert stand([slow_small, fast_big, bad], "less", "less") == ["front", "front", "behind"]


def test_presets_are_recipes_and_a_view_comes_back_from_its_link() -> None:
    assert {preset.title for preset in PRESETS.values()} >= {"8-bit everywhere", "Fast on CPU"}
    view = View(
        (("macs", "accuracy"), ("latency", "energy"), ("size", "latency")), "Bytes", Budget(drop=0.5, wish="fastest")
    )
    assert View.from_query(view.to_query()) == view
    assert View().to_query() == {}


def test_undo_and_redo_walk_through_the_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    here = state.Visit(DIGITS)
    here.load(Recipe())
    here.load(PRESETS["8-bit"].recipe)
    here.undo()
    here.undo()
    assert here.recipe == links.START
    here.redo()
    assert here.recipe == Recipe()
    assert st.session_state["prune.on"] is False
    here.load(links.START)
    assert not here.history.undone


def test_neighbours_are_measured_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Job] = []
    resting = [False]

    def submit_idle(request: Request) -> Job | None:
        asked.extend([Job(request)] if resting[0] else [])
        return asked[-1] if resting[0] else None

    lab = SimpleNamespace(submit_idle=submit_idle, long=SimpleNamespace(working=[]))
    monkeypatch.setattr(neighbours, "lab", lambda: lab)
    here = state.Visit(DIGITS, point(0.5, 0.93, 90_000).recipe)
    here.trails[DIGITS] = trail(point(0.5, 0.93, 90_000))
    assert not here.neighbours.measure_next(here.choice, here.trails)
    assert here.neighbours.current is None  # somebody has just asked for something
    resting[0] = True
    for _ in range(2):
        assert not here.neighbours.measure_next(here.choice, here.trails)
    [job] = asked  # the second waits for the first
    found = Recipe.from_json(job.request.recipe)  # type: ignore[union-attr]
    job.end(state="done", measurement=replace(measurement(0.92, 80_000), recipe_hash=found.hash), full=True)
    assert here.neighbours.measure_next(here.choice, here.trails)
    assert found.hash in {known.key for known in here.trail.points}
    assert len(asked) == 2


def test_a_point_without_a_latency_is_missing_from_that_chart_only() -> None:
    now = point(0.9, 0.90, 90_000)
    assert not chart(trail(), now, "latency", "accuracy").of("now")
    assert chart(trail(), now, "size", "accuracy").of("now")


def test_a_recipe_is_in_the_trail_once_at_its_last_visit() -> None:
    made = trail(point(0.5, 0.93, 1), point(0.6, 0.92, 1), point(0.5, 0.91, 1))
    assert [p.measurement.accuracy.value for p in made.visited.values()] == [0.92, 0.91]
    assert made.last is not None
    assert made.last.measurement.accuracy.value == 0.91


def test_the_figure_draws_what_the_chart_says() -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    drawn = scatter_figure.figure(chart(trail(point(0.5, 0.93, 200_000, 0.6)), now, "size", "accuracy"))
    by_name = {trace.name: trace for trace in drawn.data}
    assert list(by_name["Now"].x) == [90.0]
    assert list(by_name["Pareto front"].x) == [90.0, 200.0, 1095.0]
    assert list(by_name["Now"].error_y.array) == pytest.approx([0.5])
    partly = replace(now, full=False)
    assert by_name["Prune"].marker.color == scatter_figure.colour(("prune",))
    assert scatter_figure.figure(chart(trail(), partly, "size", "accuracy")).data[-1].marker.symbol == ("circle-open",)
    assert (
        scatter_figure.EMPTY
        in scatter_figure.figure(chart(Trail(), None, "size", "accuracy")).layout.annotations[0].text
    )


def test_ticks_span_the_values() -> None:
    assert decades([87.3, 1095.0]) == (50, 100, 200, 500, 1000, 2000)
    assert decades([]) == ()


def test_figures_of_merit_are_told_with_their_changes() -> None:
    accuracy, size, latency = figures_of_merit.figures(measurement(0.9388, 87_300, 0.52))
    assert (accuracy.value, accuracy.small, accuracy.change) == ("93.88%", "± 0.50", "-0.12 points")
    assert (accuracy.colour, accuracy.remark) == ("off", "fp32 94.00%, within noise")
    assert (size.value, size.small, size.change) == ("87.3 KB", "12.5 times smaller", "-92%")
    assert (latency.value, latency.small, latency.change) == ("0.25 ms", "× 0.52 ± 0.01", "-48%")
    assert [figure.value for figure in figures_of_merit.figures(None)] == [figures_of_merit.NOTHING] * 3
    same = figures_of_merit.figures(measurement(0.94, 1_095_000, 1.001))
    assert [figure.change for figure in same] == ["", "", ""]


def test_numbers_have_sensible_units_and_digits() -> None:
    assert wording.percent(0.9402, 10_000) == "94.02%"
    assert wording.plain("my_net*v2 …") == r"my\_net\*v2 …"
    assert wording.place(f"{Path.home()}/data/store.sqlite") == "~/data/store.sqlite"
    assert wording.place("/srv/store.sqlite") == "/srv/store.sqlite"
    assert wording.percent(0.9402, 359) == "94.0%"
    assert wording.size(1_095_000) == "1.09 MB"
    assert [wording.milliseconds(ms) for ms in (0.0087, 0.043, 0.213, 12.3)] == ["8.7 µs", "43 µs", "0.21 ms", "12 ms"]
    assert wording.half_width(0.93, 0.9301, 10_000) == "± 0.01"


def test_a_recipe_in_words_and_as_a_command() -> None:
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)), seed=3)
    told = wording.recipe_line(recipe)
    assert told == "Prune weights: sparsity 50%; Quantize: weight bits 4 bit, activation bits 8 bit; Seed 3"
    assert wording.recipe_line(Recipe()) == wording.BASELINE
    written = wording.command(DIGITS, recipe).replace("\\\n", " ").split()
    assert written[:3] == ["python", "-m", "compression"]
    settings = [b for a, b in pairwise(written) if a == "--set"]
    again = Recipe()
    for setting in settings:
        again = again.with_setting(*setting.split("="))
    assert again == recipe


@pytest.mark.parametrize("recipe", [Recipe(), links.START, Recipe(steps=(Prune(sparsity=0.33),), seed=7)])
def test_a_link_comes_back_as_it_was_written(recipe: Recipe) -> None:
    link = links.link_of(DIGITS, recipe)
    assert links.read_link(link) == (DIGITS, recipe, View())


@pytest.mark.parametrize(
    "link",
    [
        {"model": "lenet9"},
        {"dataset": "letters"},
        {"model": "lenet300", "dataset": "cifar100"},
        {"v": "1", "steps": "melt"},
        {"v": "9"},
        {"steps": "prune", "prune.sparsity": "2"},
        {"colour": "red"},
        {"charts": "size-accuracy"},
        {"charts": "size-size,size-accuracy,size-latency"},
        {"charts": "size-weight,size-accuracy,size-latency"},
        {"panel": "attic"},
        {"budget": "drop:none,smallest"},
        {"budget": "drop:99,smallest"},
        {"budget": "drop:1"},
    ],
)
def test_a_bad_link_is_refused_in_one_sentence(link: dict[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        links.read_link(link)
    assert str(caught.value).endswith((".", ")"))


def test_a_folder_takes_any_trained_network() -> None:
    assert len(subject.fitting("folder:/images")) == len(subject.cards())
    link = {"model": "lenet300", "weights": "digits", "dataset": "folder:/some images"}
    found = subject.from_query(link)
    assert found.to_query() == link
    assert found.title.endswith("on some images")
    assert "'folder:/some images'" in wording.command(found, Recipe())
    assert dict(found.options())["--weights"].endswith("lenet300-digits.safetensors")


def test_the_app_paints_without_torch() -> None:
    code = (
        "import sys, before_compression, pages.ui.state, pages.ui.explore.forms, pages.ui.charts.scatter_figure; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def test_pages_are_short_and_only_state_uses_the_session() -> None:
    for path in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert path.parent.name == "state" or not names & {"session_state", "query_params"} - allowed(path), path
    for path in (ROOT / "pages" / "lab").glob("*.py"):
        assert len(path.read_text().splitlines()) < 120
    assert not list((ROOT / "pages").glob("*.py"))


def allowed(path: Path) -> set[str]:
    """app.py hands the link on from the bare address."""
    return {"query_params"} if path.name == "app.py" else set()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The workers' locks are not those of others on this machine, for whom a training would wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
        yield
        state.lab().close()
        state.lab.clear()


def opened(link: dict[str, str]) -> AppTest:
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S)
    for name, value in link.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def stored(model: str, recipe: Recipe) -> Run:
    """The run of a recipe; a page hears of it before the store does."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := [run for run in state.store().runs(model=model) if run.recipe == recipe]:
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"{recipe} is not stored.")


def recipe_on(page: AppTest) -> Recipe:
    """What the panel with the recipe says."""
    return Recipe.from_yaml(next(code.value for code in page.code if code.language == "yaml"))


def values(page: AppTest) -> list[str]:
    return [metric.value for metric in page.metric]


@pytest.mark.usefixtures("engine")
def test_the_page_measures_what_the_link_says() -> None:
    page = opened(links.link_of(DIGITS, links.START, View(panel="Recipe")))
    assert [metric.label for metric in page.metric] == ["Accuracy", "File size", "Latency"]
    assert figures_of_merit.NOTHING not in values(page)
    assert page.subheader[0].value == "LeNet-300-100 on Digits"
    assert any("on all 359 test images" in caption.value for caption in page.caption)  # now, or for another test
    assert not page.error
    assert not page.warning
    assert recipe_on(page) == links.START
    assert page.code[-1].language == "bash"


@pytest.mark.usefixtures("engine")
def test_a_moved_slider_leads_to_a_new_point_and_a_new_link() -> None:
    page = opened(links.link_of(DIGITS, links.START, View(panel="Recipe")))
    before = values(page)
    page.slider[0].set_value(0.9).run()
    assert not page.exception
    assert values(page) != before
    assert page.query_params["prune.sparsity"] == "0.9"
    assert recipe_on(page).get("prune") == Prune(sparsity=0.9)
    page.slider[0].set_value(0.5).run()
    assert values(page) == before  # visited already: the same point


@pytest.mark.usefixtures("engine")
def test_each_panel_shows_what_it_says() -> None:
    page = opened(links.link_of(DIGITS, links.START))
    for panel in PANELS:
        page.segmented_control(key="panel").set_value(panel).run()
        assert not page.exception
        assert not page.error
        if panel == "Points":
            assert page.dataframe[0].value.iloc[0]["Accuracy"] == pytest.approx(
                100 * float(values(page)[0][:4]) / 100, abs=0.1
            )
        elif panel == "Speed":
            assert any("zero, and ONNX Runtime multiplies" in text.value for text in page.markdown)
            assert page.dataframe[0].value["ms"].max() > 0
        elif panel == "Layers":
            assert list(page.dataframe[0].value["Layer"])
        elif panel == "Files":
            assert any(button.label == "Prepare" for button in page.button)


@pytest.mark.usefixtures("engine")
def test_presets_undo_and_reset_change_the_recipe() -> None:
    page = opened(links.link_of(DIGITS, links.START, View(panel="Recipe")))
    page.button(key="preset.8-bit").click().run()
    assert recipe_on(page) == PRESETS["8-bit"].recipe
    by_label = {button.label: button for button in page.button}
    by_label["Undo"].click().run()
    assert recipe_on(page) == links.START
    {button.label: button for button in page.button}["Redo"].click().run()
    assert recipe_on(page) == PRESETS["8-bit"].recipe


@pytest.mark.usefixtures("engine")
def test_the_smallest_file_is_chosen_on_validation_images_and_says_so() -> None:
    page = opened(links.link_of(DIGITS, links.START, View(panel="Recipe")))
    page.button(key="preset.smallest").click().run()
    assert not page.exception
    assert recipe_on(page).steps in [recipe.steps for recipe in LADDER]
    said = r"Chosen on 143 validation images, where it loses (-?[\d.]+) points; \d of 14 recipes were tried\."
    found = re.fullmatch(said, page.info[0].value)
    assert found
    assert float(found[1]) <= 1.0


def test_the_test_images_have_no_say_in_the_choice_of_the_smallest_file() -> None:
    data = load("digits")
    network = models.load("lenet300", "digits")
    blind = replace(data, test=replace(data.test, labels=(data.test.labels + 1) % 10))
    drops = [recipe_search._drop_on_validation(compress.prepare(network, d))(LADDER[3]) for d in (data, blind)]
    assert drops[0] == drops[1]


@pytest.mark.usefixtures("engine")
def test_options_are_drawn_where_they_are_unfolded_and_count_where_they_are_not() -> None:
    page = opened(links.link_of(DIGITS, Recipe(steps=(Prune(sparsity=0.3, refit=False),), quality="fast")))

    def refits() -> bool:
        return links.read_link(dict(page.query_params))[1].get("prune").refit  # type: ignore[union-attr]

    assert "prune.refit" not in {toggle.key for toggle in page.toggle}
    assert refits() is False
    page.session_state["prune.folded"] = True
    page.run()
    page.toggle(key="prune.refit").set_value(True).run()
    assert refits() is True
    page.session_state["prune.folded"] = False
    page.run()
    assert "prune.refit" not in {toggle.key for toggle in page.toggle}
    assert refits() is True
    assert not page.exception


@pytest.mark.usefixtures("engine")
def test_what_a_slider_says_is_the_same_when_it_is_folded_away() -> None:
    page = opened(links.link_of(DIGITS, Recipe(steps=(Prune(sparsity=0.3),), quality="fast")))
    page.session_state["prune.folded"] = True
    page.session_state["prune.threshold"] = 0.1 + 0.2  # as the browser counts 0.3
    page.run()
    unfolded = dict(page.query_params)
    page.session_state["prune.folded"] = False
    page.run()
    assert dict(page.query_params) == unfolded
    assert unfolded["prune.threshold"] == "0.3"


@pytest.mark.usefixtures("engine")
def test_a_recipe_that_the_engine_refuses_says_why_and_the_next_is_measured() -> None:
    page = opened(links.link_of(DIGITS, Recipe(steps=(Prune(sparsity=0.3),), quality="fast")))
    page.toggle(key="prune.on").set_value(False)
    page.toggle(key="factorize.on").set_value(True).run()
    amount = page.slider(key="factorize.amount")
    amount.set_value(amount.max).run()
    assert not page.exception
    assert "can be removed by factorizing" in page.error[0].value
    assert "Measure again" in {button.label for button in page.button}
    page.toggle(key="factorize.on").set_value(False).run()
    assert not page.exception and not page.error


@pytest.mark.usefixtures("engine")
def test_every_technique_can_be_switched_off() -> None:
    page = opened(links.link_of(DIGITS, Recipe()))
    assert [toggle.value for toggle in page.sidebar.toggle] == [False] * len(STEPS)
    assert not page.slider
    assert [metric.delta for metric in page.metric[:2]] == ["0", "0"]


@pytest.mark.usefixtures("engine")
def test_a_bad_link_says_so_and_opens_the_usual_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FAVOURITES", [("lenet300", "digits")])
    page = opened(links.link_of(DIGITS, Recipe()) | {"panel": "recipe"} | {"steps": "prune", "prune.sparsity": "2"})
    assert "prune.sparsity must be a number from 0 to 0.99" in page.warning[0].value
    assert page.subheader[0].value == DIGITS.title
    page.segmented_control(key="panel").set_value("Recipe").run()
    assert recipe_on(page) == links.START


@pytest.mark.usefixtures("engine")
def test_a_network_without_weights_is_trained_on_the_page_and_then_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in model_cards.WEIGHTS.glob("lenet5-digits.*"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(model_cards, "WEIGHTS", tmp_path)
    page = opened(links.link_of(Subject("lenet5", "digits", "digits"), Recipe()))
    assert ("lenet300", "digits") in subject.trainable("digits")
    page.sidebar.selectbox[1].set_value(("lenet300", "digits")).run()
    assert "Not trained yet" in page.markdown[-1].value
    assert not page.metric
    page.number_input(key="baseline.minutes").set_value(0.01)
    page.button(key="baseline.begin").click().run()
    [job] = state.lab().long.working
    while job.news.state == "working":
        job.wait(after=job.news.number, timeout=PATIENCE_S)
    assert job.news.state == "done", job.news.sentence
    page.run()
    for file in model_cards.user_weights().glob("lenet300-digits.*"):
        file.unlink()
    while state.lab().store.jobs.get(job.id).open:
        time.sleep(0.05)
    state.lab().long.forget(job.id)
    assert page.subheader[0].value == DIGITS.title
    assert figures_of_merit.NOTHING not in values(page)


@pytest.mark.usefixtures("engine")
def test_a_recipe_trains_when_the_user_says_so_and_until_then_shows_its_start() -> None:
    recipe = Recipe(quality="fast").with_settings({"quantize.weight_bits": 2, "recover.steps": 7})
    page = opened(links.link_of(DIGITS, recipe))
    assert not state.lab().long.working
    start = values(page)
    assert figures_of_merit.NOTHING not in start
    assert "before" in next(caption.value for caption in page.caption if "this training" in caption.value)
    page.number_input(key="train.minutes").set_value(0.1)
    page.run()
    page.button(key="train.begin").click().run()
    [job] = state.lab().long.working
    while job.news.state == "working":
        job.wait(after=job.news.number, timeout=PATIENCE_S)
    assert job.news.state == "done", job.news.sentence
    page.run()
    steps = page.sidebar.number_input(key="recover.steps").value
    assert steps != 7
    assert page.query_params["recover.steps"] == str(steps)
    assert any(f"**Trained** · step {steps:,} of {steps:,}" in text.value for text in page.markdown)
    again = opened(page.query_params)
    assert values(again) == values(page)
    assert any(caption.value.startswith("From the store") for caption in again.caption)


@pytest.mark.usefixtures("engine")
def test_the_slider_of_channels_stops_where_something_is_reached() -> None:
    recipe = Recipe(quality="fast").with_setting("channels.amount", 0.5)
    page = opened(links.link_of(Subject("lenet5", "digits", "digits"), recipe))
    [slider] = [each for each in page.select_slider if each.key == "channels.amount"]
    assert slider.value == 0.5
    stops = [float(option.rstrip("%")) / 100 for option in slider.options]
    assert stops == sorted(stops)
    reached = next(c.value for c in page.sidebar.caption if "asked for 50%" in c.value)
    assert re.fullmatch(r"Removed [\d.]+% of the multiply-accumulates, asked for 50%\.", reached)
    near = next(stop for stop in stops if stop > 0.6)
    slider.set_value(near).run()
    assert page.query_params["channels.amount"] == str(near)
    wanted = recipe.with_setting("channels.amount", near)
    found = stored("lenet5", wanted).reached[0]
    assert 0 <= found.reached - near < 0.01


def test_a_training_moves_along_the_chart_by_its_evaluations() -> None:
    start = point(0.9, 0.90, 90_000)
    curve = tuple(LearningPoint(step, 30, 0, 0.5, accuracy, 1.0) for step, accuracy in ((0, 0.5), (5, None), (9, 0.8)))
    stages = course(start, curve, "size", "accuracy")
    assert [(s.x, s.y, s.step) for s in stages] == [(90.0, 50.0, 0), (90.0, 80.0, 9)]
    assert "validation images" in stages[0].text
    assert course(start, curve, "size", "latency") == ()
    drawn = next(trace for trace in scatter_figure.figure(replace(chart(trail(start), start, "size", "accuracy"),
                                                          course=stages)).data if "Training" in trace.name)  # fmt: skip
    assert (list(drawn.y), list(drawn.text)) == ([50.0, 80.0], ["", "step 9"])


@pytest.mark.usefixtures("engine")
def test_settings_that_do_not_go_together_are_a_sentence_and_all_that_was_there_stays() -> None:
    page = opened(links.link_of(DIGITS, links.START))
    controls, figures = len(page.main) + len(page.sidebar.toggle), [figure.value for figure in page.metric]
    page.sidebar.select_slider[0].set_value(32).run()
    assert "quantize.activation_bits must be 32 where weight_bits is 32" in page.warning[0].value
    assert "Below is what was chosen before." in page.warning[0].value
    assert [figure.value for figure in page.metric] == figures
    assert len(page.sidebar.toggle) > 0
    page.select_slider[0].set_value(8).run()
    assert len(page.main) + len(page.sidebar.toggle) == controls
    assert page.metric


@pytest.mark.usefixtures("engine")
def test_an_error_of_the_engine_is_one_sentence_on_the_page() -> None:
    page = opened({"model": "lenet300", "weights": "digits", "dataset": "folder:/nowhere"})
    assert len(page.error) == 1
    assert "/nowhere" in page.error[0].value
    assert "\n" not in page.error[0].value


@pytest.mark.usefixtures("engine")
def test_a_result_that_was_not_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "trouble", "The disk is full.")
    assert "The disk is full." in opened(links.link_of(DIGITS, links.START)).warning[0].value


@pytest.mark.usefixtures("engine")
def test_a_link_with_a_run_shows_that_run_and_says_where_it_was_measured() -> None:
    recipe = Recipe().with_setting("prune.sparsity", 0.71)
    page = opened(links.link_of(DIGITS, recipe))
    run = stored("lenet300", recipe)
    measured = Measurement(**{**vars(run.measurement), "accuracy": replace(run.accuracy, value=0.123)})
    old = state.store().add(run.subject, recipe, replace(measured, file_hash="0" * 64), engine="older")
    page = opened(links.link_of(DIGITS, recipe, run=old))
    assert values(page)[0].startswith("12.3%")
    assert f"This is run {old}" in page.info[0].value
    assert "Another version of the engine" in page.info[0].value
    assert page.query_params["run"] == old
    page.slider[0].set_value(0.5).run()
    assert "run" not in page.query_params
    assert not page.info
    gone = opened(links.link_of(DIGITS, recipe, run="feedfeedfeedfeed"))
    assert "The run feedfeedfeedfeed is not in the store here" in gone.info[0].value
    assert not values(gone)[0].startswith("12.3%")
    state.store().erase(old)


@pytest.mark.usefixtures("engine")
def test_what_comes_from_the_store_says_so_and_is_measured_again() -> None:
    link = links.link_of(DIGITS, Recipe().with_setting("prune.sparsity", 0.77))
    before = opened(link)
    end = time.monotonic() + PATIENCE_S
    while not state.lab().store.runs(role="baseline", model="lenet300") and time.monotonic() < end:
        time.sleep(0.05)  # the fp32 file is kept a moment after the first result
    page = opened(link)
    assert values(page) == values(before)
    assert any(caption.value.startswith("From the store, measured 20") for caption in page.caption)
    page.button(key="anew").click().run()
    assert not page.exception
    assert any(caption.value.startswith("Measured on all 359 test images") for caption in page.caption)


@pytest.mark.usefixtures("engine")
def test_the_jobs_page_trains_lists_and_hands_out_tables() -> None:
    page = opened(links.link_of(DIGITS, links.START))
    page.switch_page("pages/lab/jobs.py").run()
    assert not page.exception
    assert not page.error
    page.selectbox[1].set_value("digits")
    page.number_input[0].set_value(0.01)
    page.button[0].click().run()
    assert not page.exception
    [job] = [job for job in state.lab().store.jobs.all() if job.kind == "train"]
    assert job.title == "LeNet-300-100 on Digits: training from scratch"
    assert any(job.title in each.value for each in page.markdown)
    state.lab().long.cancel(job.id)
    assert state.lab().store.jobs.get(job.id).state == "cancelled"
    page.run()
    assert {f"Resume.{job.id}", f"Remove.{job.id}"} <= {button.key for button in page.button}
    page.button(key=f"Remove.{job.id}").click().run()
    assert job.title not in " ".join(each.value for each in page.markdown)
    assert "store.sqlite" in page.caption[-1].value


def test_a_job_is_told_in_words() -> None:
    when = datetime(2026, 5, 4, 12, tzinfo=UTC)
    progress = {"step": 1200, "steps": 10_000, "epoch": 2, "loss": 0.521, "accuracy": 0.9123, "seconds_left": 200.0}
    request = {"model": "lenet5", "dataset": "digits", "epochs": 3, "seed": 0}
    job = JobRecord(
        "j", "train", "t", request, 2, "working", "Epoch 3 of 40", 0.1, progress, {"machine": "there"}, None, "r", when,
        when, None, when,
    )  # fmt: skip
    told = job_rows.row(job, "here")
    assert told.line == "Epoch 3 of 40 · step 1,200 of 10,000 · loss 0.521 · validation 91.2% · 3 min left"
    assert told.remark.startswith("on another machine · begun ")
    assert told.remark.endswith("priority 2")
    assert (told.can_cancel, told.can_resume, told.share) == (True, False, 0.1)
    assert told.link == links.link_of(Subject("lenet5", "digits", "digits"), Recipe())
    ended = replace(job, state="cancelled", wanted="cancel", ended=when + timedelta(seconds=45))
    assert "took 45 s" in job_rows.row(ended, "there").remark
    assert job_rows.row(ended, "there").share == 0.12  # of the steps, whatever else there was to do
    assert (job_rows.row(ended, "there").can_cancel, job_rows.row(ended, "there").can_resume) == (False, True)
    assert not job_rows.row(ended, "there").can_finish  # a training from scratch goes on, or not
    recovery = replace(ended, kind="compress")
    assert job_rows.row(recovery, "there").can_finish
    assert not job_rows.row(recovery, "here").can_finish  # what it has learned lies there
    for nothing in ({}, progress | {"step": 0}):  # it had not begun to learn
        assert not job_rows.row(replace(recovery, progress=nothing), "there").can_finish
    assert "left" not in job_rows.row(ended, "there").line
    assert [job_rows.duration(s) for s in (45, 200, 7500)] == ["45 s", "3 min", "2 h 05 min"]


def test_a_learning_curve_is_drawn_as_it_was_learned() -> None:
    points = [LearningPoint(s, 30, 0, 3.0 / s, 0.5 if s == 20 else None, 1.0) for s in (10, 20, 30)]
    drawn = curve_figure(points[:2], ended=False)
    assert drawn.layout.xaxis.range == (0, 30)  # room for what is to come
    assert curve_figure(points[:2], ended=True).layout.xaxis.range == (0, 20)
    loss, validation = curve_figure(points, ended=True).data
    assert list(loss.x) == [10, 20, 30]
    assert (list(validation.x), list(validation.y)) == ([20], [50.0])
    assert "after 30 steps the loss is 0.100" in job_rows.alt(points)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("page", ["deploy", "layers"])
def test_a_file_that_is_gone_is_said_to_be_and_made_anew(page: str) -> None:
    recipe = Recipe().with_setting("prune.sparsity", 0.66)
    link = links.link_of(DIGITS, recipe)
    opened(link)
    run = stored("lenet300", recipe)
    file = state.store().file(run)
    assert file is not None
    file.unlink()
    folder = {"deploy": "ship", "layers": "lab"}[page]
    here = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE_S)
    here.switch_page(f"pages/{folder}/{page}.py")
    for name, value in (link | {"run": run.id}).items():
        here.query_params[name] = value
    here.run()
    assert [each.value for each in here.warning] == [panels.GONE]
    next(button for button in here.button if button.label == "Measure again").click().run()
    assert not here.exception and not here.warning
    assert file.exists()
