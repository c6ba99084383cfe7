"""The page Compare on a store with three files of LeNet-300-100 on Digits."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from compression import engine, pipeline, students, zoo
from compression.cluster import ROOT
from compression.compare import Comparison, compare
from compression.data import load
from compression.jobs import keep
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from compression.store import Run, Store, Subject
from compression.students import Small
from compression.worker import Outcome
from compression.zoo import model_cards
from pages.ui import duel, runs, state, ways
from pages.ui.runs import Filter

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
        state.store.clear()
        data, card = load("digits"), zoo.card("lenet300", "digits")
        prepared = pipeline.prepare(zoo.load("lenet300", "digits"), data, calibration_images=64)
        subject = Subject("lenet300", "digits", "digits", card.sha256, data.fingerprint)
        made = Store.open()
        for recipe in RECIPES:
            file = pipeline.compress_prepared(prepared, recipe)
            measured = pipeline.measure(file, prepared)
            keep(file.onnx, measured)
            made.add(subject, recipe, measured, engine=engine.engine_version(), layers=file.layers, ledger=file.ledger)
        yield made
        state.store.clear()
        state.lab().close()
        state.lab.clear()


def opened(**link: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    page.switch_page("pages/lab/compare.py")
    for name, value in link.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def by_label(page: AppTest, label: str):
    return next(button for button in page.button if button.label == label)


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
    assert list(page.dataframe[0].value["Recipe"]) == [runs.recipe_line(newest(stored)[0])]
    page.text_input(key="runs.text").set_value("no such thing").run()
    assert "No run fits" in page.info[0].value


def test_two_runs_side_by_side_with_every_section(stored: Store) -> None:
    _sparse, two, eight = newest(stored)
    page = opened(a=eight.id, b=two.id)
    assert not page.warning
    settings, changed = (table.value for table in page.dataframe[1:3])
    assert list(settings["Setting"]) == ["Quantize: weight bits"]
    assert list(settings.iloc[0][["A", "B"]]) == ["8 bit", "2 bit"]
    found = compared(stored, eight, two)
    assert f"McNemar p = {found.p_value:.2g}" in changed.iloc[0]["How sure"]
    for section in ("Classes", "Images that flipped", "Confidence", "Bytes", "Operators"):
        page.segmented_control(key="compare.section").set_value(section).run()
        assert not page.exception
        assert not page.error
    assert len(page.dataframe[1].value) and page.dataframe[1].value["ms"].max() > 0  # the operators of A
    page.segmented_control(key="compare.section").set_value("Images that flipped").run()
    assert f"only A on {found.a_only:,}" in " ".join(caption.value for caption in page.caption)


def test_a_link_to_a_run_that_is_not_there_says_so(stored: Store) -> None:
    page = opened(a="0123456789abcdef")
    assert "This link cannot be opened" in page.warning[0].value
    assert page.selectbox(key="compare.b").value == newest(stored)[0].id


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
    assert duel.settings(two, two) == []
    told = {delta.measure: delta for delta in duel.deltas(eight, two, None)}
    assert told["File size"].change.startswith("-")
    assert told["Accuracy"].verdict == "the answers for each image were not kept"
    found = compared(stored, eight, two)
    assert duel.rows(duel.deltas(eight, two, found))[0]["How sure"].startswith(("significant", "within noise"))
    assert len(duel.confusion(found).data[0].z) == 10
    lines = runs.parallel(newest(stored)).data[0]
    assert [dimension.label for dimension in lines.dimensions][:2] == ["Sparsity, %", "Weight bits"]
    assert list(lines.dimensions[0]["values"]) == [90.0, 0.0, 0.0]


def test_small_networks_students_and_compressed_ones_stand_on_the_same_axes(stored: Store) -> None:
    folder = model_cards.user_weights() / "from-lenet5"
    folder.mkdir(parents=True)
    for file in model_cards.WEIGHTS.glob("lenet300-digits.*"):
        shutil.copy(file, folder)
    try:
        assert Small("lenet300", "lenet5", zoo.card("lenet300", "digits").sha256) in ways.missing("digits", [])
        outcome = students.measured("lenet300", "digits", "lenet5")
        assert isinstance(outcome, Outcome)
        recipe, measured = Recipe.from_json(outcome.recipe), outcome.measurement
        run = stored.add(outcome.subject, recipe, measured, engine=outcome.engine, role="baseline")
        everything = stored.runs(role=None, dataset="digits")
        found = ways.ways("digits", everything)
        [student] = [way for way in found if way.kind == "taught"]
        assert student.label == "LeNet-300-100, taught by LeNet-5 (Caffe)"
        assert student.spot.x == measured.size_bytes / 1000
        assert student.spot.y == 100 * measured.accuracy.value
        assert sum(way.kind == "compressed" and "reference" not in way.label for way in found) == len(RECIPES)
        assert "lenet5" not in [small.teacher for small in ways.missing("digits", everything)]
        names = [trace.name for trace in ways.figure(found).data if trace.showlegend is None]
        assert names == ["Compressed", "Taught by a bigger one"]
        page = opened()
        assert all(frame.value.get("File") is None for frame in page.dataframe)  # nothing is computed while it is shut
        page.session_state["ways.shown"] = True
        page.run()
        assert any(frame.value.get("File") is not None for frame in page.dataframe)
        stored.erase(run)
    finally:
        shutil.rmtree(folder)
