"""The page Compare on a store with three files of LeNet-300-100 on Digits."""

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from compression import models
from compression.analysis.comparison import Comparison, compare
from compression.data import load
from compression.host import engine_version
from compression.jobs import small_networks
from compression.jobs.messages import Outcome
from compression.jobs.small_networks import SmallNetwork
from compression.models import model_cards
from compression.pipeline import compress, measuring
from compression.recipe import Recipe
from compression.records.measurement import Interval
from compression.steps import Prune, Quantize
from compression.store import Run, Store, Subject
from compression.store.files import write_file
from pages.ui import state
from pages.ui.charts.scatter_data import where
from pages.ui.compare import run_rows, sections, two_runs, ways_to_a_size
from pages.ui.compare.run_rows import Filter
from pages.ui.model import subject as pages_subject
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.ship import run_story
from tests.pages import running_app
from tests.pages.test_demo import headline

RECIPES = (
    Recipe(steps=(Quantize(weight_bits=8),), quality="fast"),
    Recipe(steps=(Quantize(weight_bits=2),), quality="fast"),
    Recipe(steps=(Prune(sparsity=0.9), Quantize(weight_bits=4)), quality="fast"),
)


@pytest.fixture(scope="module")
def stored(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of this module's own, with one run for each recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSION_DATABASE", f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.sqlite'}")
        data, card = load("digits"), models.card("lenet300", "digits")
        prepared = compress.prepare(models.load("lenet300", "digits"), data, calibration_images=64)
        subject = Subject("lenet300", "digits", "digits", card.sha256, data.fingerprint)
        made = Store.open()
        for recipe in RECIPES:
            file = compress.compress_prepared(prepared, recipe)
            measured = measuring.measure(file, prepared)
            write_file(file.onnx, measured)
            made.add(
                subject,
                recipe,
                measured,
                engine=engine_version.engine_hash(),
                layers=file.layers,
                ledger=file.ledger,
            )
        yield made
        state.lab().close()
        state.lab.clear()


def opened(**link: str) -> AppTest:
    return running_app.opened(link, page="lab/compare")


def compared(stored: Store, a: Run, b: Run) -> Comparison:
    ours, theirs = stored.predictions(a.id), stored.predictions(b.id)
    assert ours is not None and theirs is not None
    return compare(ours, theirs, load("digits"))


def newest(stored: Store) -> list[Run]:
    return stored.runs()


def test_the_table_lists_what_is_stored_and_filters_it(stored: Store) -> None:
    page = opened()
    rows = page.dataframe[0].value
    assert len(rows) == len(RECIPES)
    assert next(iter(rows["Recipe"])).startswith("Prune weights: sparsity 90%")
    page.text_input(key="runs.text").set_value("sparsity 90%").run()
    assert list(page.dataframe[0].value["Recipe"]) == [run_rows.recipe_line(newest(stored)[0])]
    page.text_input(key="runs.text").set_value("no such thing").run()
    assert "No runs match" in page.info[0].value


def test_two_runs_side_by_side_with_every_section(stored: Store) -> None:
    _sparse, two, eight = newest(stored)
    page = opened(a=eight.id, b=two.id)
    assert not page.warning
    settings, changed = (table.value for table in page.dataframe[1:3])
    assert list(settings["Setting"]) == ["Quantize: weight bits"]
    assert list(settings.iloc[0][["A", "B"]]) == ["8 bits", "2 bits"]
    found = compared(stored, eight, two)
    assert f"McNemar p = {found.p_value:.2g}" in changed.iloc[0]["Significance"]
    for section in ("Classes", "Changed predictions", "Confidence", "Bytes", "Operators"):
        page.segmented_control(key="compare.section").set_value(section).run()
        assert not page.exception
        assert not page.error
    assert len(page.dataframe[1].value) and page.dataframe[1].value["ms"].max() > 0  # the operators of A
    page.segmented_control(key="compare.section").set_value("Changed predictions").run()
    assert f"only A on {found.a_only:,}" in " ".join(caption.value for caption in page.caption)


def test_a_link_to_a_run_that_is_not_there_says_so(stored: Store) -> None:
    page = opened(a="0123456789abcdef")
    assert "This link cannot be opened" in page.warning[0].value
    assert page.selectbox(key="compare.b").value == newest(stored)[0].id


def test_a_link_to_a_deleted_run_says_so(stored: Store) -> None:
    here, chosen = state.Table(), newest(stored)[:1]
    here.delete(chosen)
    page = opened(a=chosen[0].id)
    assert f"The run {chosen[0].id} was deleted" in page.warning[0].value
    here.restore()


def test_runs_of_other_weights_are_not_on_the_charts(stored: Store) -> None:
    subject = pages_subject.Subject("lenet300", "digits", "digits")
    recipe = Recipe(steps=(Quantize(weight_bits=7),), quality="fast")
    run = newest(stored)[0]
    other = replace(run.subject, weights_hash="f" * 64)
    old = stored.add(other, recipe, replace(run.measurement, file_hash="1" * 64), engine="e")
    found = {point.run for point in state.known(subject).points}
    assert {run.id for run in newest(stored)} - {old} <= found
    assert old not in found
    weights = two_runs.settings(stored.run(old), run)[0]
    assert (weights["Setting"], weights["A"]) == ("Weights", "f" * 8)
    stored.erase(old)


def test_a_run_whose_recipe_cannot_be_read_is_left_out_of_the_charts(stored: Store) -> None:
    run = newest(stored)[0]
    own = stored.add(run.subject, Recipe(seed=9), replace(run.measurement, file_hash="2" * 64), engine="e")
    with sqlite3.connect(stored.place) as raw:
        raw.execute("UPDATE compression_files SET recipe = '{\"schema\": 99}' WHERE id = ?", [own])
    found = {point.run for point in state.known(pages_subject.Subject("lenet300", "digits", "digits")).points}
    assert run.id in found
    assert own not in found
    stored.erase(own)


def test_beside_a_run_that_is_deleted_another_one_is_chosen(stored: Store) -> None:
    sparse, two, eight = newest(stored)
    here = state.Table()
    for side, gone in (("b", sparse), ("a", two)):
        page = opened(a=two.id, b=sparse.id)
        assert (page.selectbox(key="compare.a").value, page.selectbox(key="compare.b").value) == (two.id, sparse.id)
        here.delete([gone])
        page.run()
        assert page.selectbox(key=f"compare.{side}").value == eight.id
        here.restore()


def test_the_only_file_is_compared_with_the_one_that_it_was_made_from(stored: Store) -> None:
    *others, first = newest(stored)
    prepared = compress.prepare(models.load("lenet300", "digits"), load("digits"), calibration_images=64)
    measured = measuring.measure(prepared.baseline, prepared)
    write_file(prepared.baseline.onnx, measured)
    made = {
        "layers": prepared.baseline.layers,
        "ledger": prepared.baseline.ledger,
        "engine": engine_version.engine_hash(),
    }
    fp32 = stored.add(first.subject, Recipe(), measured, role="baseline", **made)  # type: ignore[arg-type]
    here = state.Table()
    here.delete(others)
    page = opened()
    assert (page.selectbox(key="compare.a").value, page.selectbox(key="compare.b").value) == (fp32, first.id)
    assert "1 run, 0 selected" in " ".join(caption.value for caption in page.caption)
    for section in sections.SECTIONS:
        page.segmented_control(key="compare.section").set_value(section).run()
        assert not page.exception
        assert not page.error
    here.restore()
    stored.erase(fp32)


def test_what_is_deleted_in_two_steps_comes_back_in_one(stored: Store) -> None:
    here, everything = state.Table(), newest(stored)
    here.delete(everything[:1])
    here.delete(everything[1:2])
    here.restore()
    assert newest(stored) == everything


def test_runs_of_another_machine_have_no_time_and_say_where_they_are_from(stored: Store) -> None:
    run = newest(stored)[0]
    untimed = replace(run, latency=None)
    lines = run_rows.parallel([untimed, *newest(stored)[1:]]).data[0]
    assert {len(dimension["values"]) for dimension in lines.dimensions} == {len(RECIPES) - 1}
    assert run_rows.untimed([untimed, *newest(stored)[1:]]).startswith("Left out: 1 run ")
    assert run_rows.untimed(newest(stored)) == ""
    there = replace(run.measurement, machine=replace(run.measurement.machine, cpu="Theirs", id="theirs"))
    assert where(Point(run.recipe, there, True)) == "another machine (Theirs)"
    assert where(Point(run.recipe, run.measurement, True)) == "this machine"


def test_a_brought_network_stands_among_the_ways(stored: Store) -> None:
    run = newest(stored)[0]
    brought = replace(run, subject=replace(run.subject, model="visitor", weights="own"))
    unreadable = replace(run, recipe_json='{"schema": 99}')
    [way] = [way for way in ways_to_a_size.ways("digits", [brought, unreadable]) if "reference" not in way.label]
    assert way.label.startswith("visitor: ")


def test_marks_and_deletions_and_their_undoing(stored: Store) -> None:
    here, chosen = state.Table(), newest(stored)[:1]
    here.favour(chosen, True)
    here.annotate(chosen, "the smallest")
    marked = stored.run(chosen[0].id)
    assert marked.favourite
    assert Filter(text="smallest", favourites=True).keeps(marked)
    assert not Filter(favourites=True).keeps(newest(stored)[1])
    here.delete(chosen)
    assert chosen[0].id not in {run.id for run in newest(stored)}
    page = opened()
    assert len(page.dataframe[0].value) == len(RECIPES) - 1
    here.restore()
    assert chosen[0].id in {run.id for run in newest(stored)}


def test_what_is_told_of_two_runs(stored: Store) -> None:
    _sparse, two, eight = newest(stored)
    assert two_runs.settings(two, two) == []
    elsewhere = replace(two, subject=replace(two.subject, model="lenet5"))
    assert [row["Setting"] for row in two_runs.settings(two, elsewhere)] == ["Network and dataset"]
    assert all(label.startswith("LeNet") for label in run_rows.labels([two, elsewhere]).values())
    assert not run_rows.labels([two, eight])[two.id].startswith("LeNet")
    unreadable = replace(two, recipe_json='{"schema": 99}')
    assert two_runs.settings(two, unreadable)[0]["B"].endswith("(written by another version)")
    told = {delta.measure: delta for delta in two_runs.deltas(eight, two, None)}
    assert told["File size"].change.startswith("-")
    assert told["Accuracy"].verdict == "predictions were not stored"
    found = compared(stored, eight, two)
    assert two_runs.rows(two_runs.deltas(eight, two, found))[0]["Significance"].startswith(
        ("significant", "within noise")
    )
    assert two.latency
    threaded = replace(two, latency=replace(two.latency, threads=8, ratio_interval=Interval(0.01, 0.02)))
    told = {delta.measure: delta for delta in two_runs.deltas(two, threaded, None)}
    assert (told[two_runs.LATENCY].change, told[two_runs.LATENCY].verdict) == (
        "",
        "not comparable: on 1 thread and on 8",
    )
    assert len(two_runs.confusion(found).data[0].z) == 10
    lines = run_rows.parallel(newest(stored)).data[0]
    assert [dimension.label for dimension in lines.dimensions][:2] == ["Sparsity, %", "Weight bits"]
    assert list(lines.dimensions[0]["values"]) == [90.0, 0.0, 0.0]


def test_small_networks_students_and_compressed_ones_stand_on_the_same_axes(stored: Store) -> None:
    folder = model_cards.user_weights() / "from-lenet5"
    folder.mkdir(parents=True)
    for file in model_cards.WEIGHTS.glob("lenet300-digits.*"):
        shutil.copy(file, folder)
    try:
        student_of = SmallNetwork("lenet300", "lenet5", models.card("lenet300", "digits").sha256)
        assert student_of in ways_to_a_size.missing("digits", [])
        outcome = small_networks.measured("lenet300", "digits", "lenet5")
        assert isinstance(outcome, Outcome)
        recipe, measured = Recipe.from_json(outcome.recipe), outcome.measurement
        run = stored.add(outcome.subject, recipe, measured, engine=outcome.maker, role="baseline")
        everything = stored.runs(role=None, dataset="digits")
        found = ways_to_a_size.ways("digits", everything)
        [student] = [way for way in found if way.kind == "taught"]
        assert student.label == "LeNet-300-100, distilled from LeNet-5 (Caffe)"
        assert student.spot.x == measured.size_bytes / 1000
        assert student.spot.y == 100 * measured.accuracy.value
        assert sum(way.kind == "compressed" and "reference" not in way.label for way in found) == len(RECIPES)
        assert "lenet5" not in [small.teacher for small in ways_to_a_size.missing("digits", everything)]
        names = [trace.name for trace in ways_to_a_size.figure(found).data if trace.showlegend is None]
        assert names == ["Compressed", "Small network, distilled"]
        page = opened()
        assert all(frame.value.get("File") is None for frame in page.dataframe)  # nothing is computed while it is shut
        page.session_state["ways.shown"] = True
        page.run()
        assert any(frame.value.get("File") is not None for frame in page.dataframe)
        stored.erase(run)
    finally:
        shutil.rmtree(folder)


def slides(page: AppTest) -> list[str]:
    """The words on the slides of the demo, one after the other."""
    found = []
    while True:
        assert not page.exception
        found.append(headline(page))
        onward = next(b for b in page.button if b.label == "Next")
        if onward.disabled:
            return found
        onward.click().run()


def test_chosen_runs_become_a_story_with_their_own_numbers(stored):
    runs = sorted(newest(stored), key=lambda run: -run.size_bytes)
    page = running_app.opened({"runs": ",".join(run.id for run in runs)}, page="ship/demo")
    original, *steps = slides(page)
    assert wording.size(runs[0].baseline_size_bytes) in original
    for run, step in zip(runs, steps, strict=False):
        assert f"{run.size_ratio:.1f}×" in step and run_rows.recipe_line(run) in step
        assert wording.percent(run.accuracy.value, run.accuracy.n) in step
    cost, changed = steps[len(runs)], steps[len(runs) + 1]
    assert wording.points(-runs[-1].accuracy.drop, runs[-1].accuracy.n) in cost
    assert "predictions are not stored" in changed  # of the fp32 file, which nobody has measured here
    page.multiselect(key="demo.runs").set_value([runs[0].id]).run()
    assert [info.value for info in page.info] == ["A story needs 2 to 5 runs; 1 selected."]


def test_a_story_link_that_cannot_be_opened_says_so(stored):
    page = running_app.opened({"runs": "nothing,of,this"}, page="ship/demo")
    assert not page.exception and "Unknown run 'nothing'" in page.warning[0].value
    assert headline(page)


def test_runs_of_several_networks_make_no_story(stored):
    a, b = newest(stored)[:2]
    other = replace(b, subject=replace(b.subject, model="lenet5"))
    assert run_story.refusal([a, other]) == "A story needs runs of one network on the same images."
    assert run_story.refusal([a, b]) == ""
    assert run_story.refusal([a]) == "A story needs 2 to 5 runs; 1 selected."


@pytest.mark.parametrize("why", [run_story.NOT_STORED, run_story.COMPARING])
def test_the_slide_of_changed_images_says_why_it_has_none(stored, why):
    told = run_story.story(newest(stored)[:2], "A network", ["one", "two"], [], lambda run: why)
    shown = next(s for i in range(len(told.slides)) if (s := told.slide(i)).headline == "Which images changed")
    assert (shown.figure, shown.unit) == ("–", why)
    assert ("Measure the recipe" in shown.text) == (why == run_story.NOT_STORED)


def test_changed_images_are_those_that_only_fp32_answers_rightly(stored):
    a, b = newest(stored)[:2]
    found = compared(stored, a, b)
    told = run_story.story([a, b], "A network", ["one", "two"], [], lambda run: found)
    shown = next(s for i in range(len(told.slides)) if (s := told.slide(i)).headline == "Which images changed")
    assert shown.figure == f"{found.a_only:,}" and f"{found.b_only:,} images went the other way" in shown.text
    assert [png for png, _ in shown.pictures] == [flip.png for flip in found.lost[: run_story.PICTURES]]
