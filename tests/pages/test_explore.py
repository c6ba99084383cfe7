"""The Explore page with a real worker on Digits."""

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from compression import models
from compression.data import load
from compression.jobs import recipe_search
from compression.jobs.lab import Lab
from compression.jobs.recipe_search import LADDER
from compression.models import model_cards
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS
from compression.steps import STEPS, Prune
from pages.ui import state
from pages.ui.explore import figures_of_merit
from pages.ui.model import links, subject
from pages.ui.model.subject import Subject
from pages.ui.model.view import PANELS, View
from tests.pages.points import DIGITS
from tests.pages.running_app import PATIENCE_S, opened, recipe_on, stored, values


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
    said = r"Chosen on 143 validation images, accuracy drop (-?[\d.]+) points; \d of 14 recipes tried\."
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
@pytest.mark.slow
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
    told = [caption.value for caption in again.caption]
    assert values(again) == values(page), told
    assert any(caption.startswith("From the store") for caption in told)


@pytest.mark.usefixtures("engine")
def test_the_slider_of_channels_stops_where_something_is_reached() -> None:
    recipe = Recipe(quality="fast").with_setting("channels.amount", 0.5)
    page = opened(links.link_of(Subject("lenet5", "digits", "digits"), recipe))
    [slider] = [each for each in page.select_slider if each.key == "channels.amount"]
    assert slider.value == 0.5
    stops = [float(option.rstrip("%")) / 100 for option in slider.options]
    assert stops == sorted(stops)
    reached = next(c.value for c in page.sidebar.caption if "requested: 50%" in c.value)
    assert re.fullmatch(r"Removed [\d.]+% of the MACs \(requested: 50%\)\.", reached)
    near = next(stop for stop in stops if stop > 0.6)
    slider.set_value(near).run()
    assert page.query_params["channels.amount"] == str(near)
    wanted = recipe.with_setting("channels.amount", near)
    found = stored("lenet5", wanted).reached[0]
    assert 0 <= found.reached - near < 0.01


@pytest.mark.usefixtures("engine")
def test_settings_that_do_not_go_together_are_a_sentence_and_all_that_was_there_stays() -> None:
    page = opened(links.link_of(DIGITS, links.START))
    controls, figures = len(page.main) + len(page.sidebar.toggle), [figure.value for figure in page.metric]
    page.sidebar.select_slider[0].set_value(32).run()
    assert "quantize.activation_bits must be 32 where weight_bits is 32" in page.warning[0].value
    assert "The previous selection is shown below." in page.warning[0].value
    assert [figure.value for figure in page.metric] == figures
    assert len(page.sidebar.toggle) > 0
    page.select_slider[0].set_value(8).run()
    assert len(page.main) + len(page.sidebar.toggle) == controls
    assert page.metric


@pytest.mark.usefixtures("engine")
def test_a_result_that_was_not_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "trouble", "The disk is full.")
    assert "The disk is full." in opened(links.link_of(DIGITS, links.START)).warning[0].value


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
