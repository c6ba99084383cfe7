"""Links: written, read, refused in a sentence, and opened with a real worker on Digits."""

from dataclasses import replace
from pathlib import Path

import pytest

from compression.data import archives
from compression.data.test_samples import ALL, TestSample
from compression.errors import InvalidSetting, UserError
from compression.models.provenance import producer_id
from compression.recipe import Recipe
from compression.recipe.presets import PRESETS
from compression.records.measurement import (
    Measurement,
)
from compression.steps import Prune, Quantize
from pages.ui import state
from pages.ui.explore import panels
from pages.ui.model import links, subject, widget_values, wording
from pages.ui.model.budget import Budget
from pages.ui.model.view import View
from tests.pages.points import DIGITS
from tests.pages.running_app import opened, recipe_on, stored, values


def test_presets_are_recipes_and_a_view_comes_back_from_its_link() -> None:
    assert {preset.title for preset in PRESETS.values()} >= {"8-bit everywhere", "Fast on CPU"}
    view = View(
        (("macs", "accuracy"), ("latency", "energy"), ("size", "latency")), "Bytes", Budget(drop=0.5, wish="fastest")
    )
    assert View.from_query(view.to_query()) == view
    assert View().to_query() == {}


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


def test_pictures_that_were_handed_over_are_shown_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    folder = archives.uploads() / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / archives.TITLE).write_text("holidays")
    found = subject.from_query({"model": "lenet300", "weights": "digits", "dataset": f"folder:{folder}"})
    shown = widget_values.fill(found, Recipe())
    assert (shown["images"], shown["folder"]) == (f"folder:{folder}", "")
    assert found.title.endswith("on holidays")


def test_what_is_shown_first_of_a_network_of_ones_own() -> None:
    assert links.first_of_own(links.START) == links.OWN_START
    chosen = Recipe(steps=(Quantize(weight_bits=4),))
    assert links.first_of_own(chosen) is chosen


def test_a_folder_takes_any_trained_network() -> None:
    assert len(subject.fitting("folder:/images")) == len(subject.cards())
    link = {"model": "lenet300", "weights": "digits", "dataset": "folder:/some images"}
    found = subject.from_query(link)
    assert found.to_query() == link
    assert found.title.endswith("on some images")
    assert "'folder:/some images'" in wording.command(found, Recipe())
    fewer = subject.from_query(link | {"dataset": "folder:/some images::test=1000"})
    assert fewer.title.endswith("on some images, 1,000 test images")
    shown = widget_values.fill(fewer, Recipe())
    assert (shown["folder"], shown["test_images"]) == ("/some images", TestSample(1000))
    with pytest.raises(InvalidSetting, match="not a sample of test images"):
        subject.from_query(link | {"dataset": "folder:/some images::test=few"})
    assert dict(found.options())["--weights"].endswith("lenet300-digits.safetensors")


@pytest.mark.parametrize(
    ("origin", "said"),
    [("My Net.onnx", "My Net.onnx"), ("-x.PT2", "./-x.PT2"), ("timm:resnet18.a1_in1k", "mine"),
     ("torchvision:resnet18 with weights.pt2", "mine")],
)  # fmt: skip
def test_a_command_names_the_users_own_file_and_no_copy_of_it(
    origin: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(subject.card("lenet300", "digits"), model="mine", dataset="own", origin=origin)
    monkeypatch.setattr(subject, "card", lambda model, weights: mine)
    found = subject.Subject("mine", "own", "digits")
    assert dict(found.options())["--model"] == said
    assert "weights/" not in wording.command(found, Recipe())


def test_a_link_names_a_sample_of_a_dataset_with_a_name() -> None:
    recipe, name = Recipe(), "digits::test=100,seed=7"
    found, _, _ = links.read_link({"model": "lenet300", "dataset": name})
    assert (found.weights, found.dataset, found.is_trained) == ("digits", name, True)
    assert found.title == "LeNet-300-100 on Digits, 100 test images, seed 7"
    assert links.link_of(found, recipe) == links.link_of(DIGITS, recipe) | {"dataset": name}
    assert found.options() == [("--model", "lenet300"), ("--dataset", name)]
    assert ("lenet300", "digits") in subject.fitting(name) and subject.reference_sweep(found) is None
    shown = widget_values.fill(found, recipe)
    assert (shown["images"], shown["test_images"]) == ("digits", TestSample(100, 7))
    taught = Recipe().with_setting("recover.teacher", "lenet5")
    assert producer_id(taught, name) == producer_id(taught, "digits")
    for written in ("few", "0", "5,seed=-1"):
        with pytest.raises(InvalidSetting):
            links.read_link({"dataset": f"digits::test={written}"})


@pytest.mark.usefixtures("engine")
def test_a_link_to_a_sample_measures_on_so_many_test_images() -> None:
    page = opened({"model": "lenet300", "dataset": "digits::test=100", "steps": "quantize"})
    assert not page.exception and not page.warning and not page.error
    assert page.subheader[0].value == "LeNet-300-100 on Digits, 100 test images"
    assert page.selectbox(key="test_images").value == TestSample(100)
    assert page.query_params["dataset"] == "digits::test=100" and "weights" not in page.query_params
    assert any("Measured on 100 of the 359 test images" in each.value for each in page.caption)
    page.selectbox(key="test_images").set_value(ALL).run()
    assert page.query_params["dataset"] == "digits" and page.subheader[0].value == DIGITS.title


@pytest.mark.usefixtures("engine")
def test_a_bad_link_says_so_and_opens_the_usual_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FAVOURITES", [("lenet300", "digits")])
    page = opened(links.link_of(DIGITS, Recipe()) | {"panel": "recipe"} | {"steps": "prune", "prune.sparsity": "2"})
    assert "prune.sparsity must be a number from 0 to 0.99" in page.warning[0].value
    assert page.subheader[0].value == DIGITS.title
    page.segmented_control(key="panel").set_value("Recipe").run()
    assert recipe_on(page) == links.START


@pytest.mark.usefixtures("engine")
def test_an_error_of_the_engine_is_one_sentence_on_the_page() -> None:
    page = opened({"model": "lenet300", "weights": "digits", "dataset": "folder:/nowhere"})
    assert len(page.error) == 1
    assert "/nowhere" in page.error[0].value
    assert "\n" not in page.error[0].value


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
    assert "another version of the engine" in page.info[0].value
    assert page.query_params["run"] == old
    page.slider[0].set_value(0.5).run()
    assert "run" not in page.query_params
    assert not page.info
    gone = opened(links.link_of(DIGITS, recipe, run="feedfeedfeedfeed"))
    assert "The run feedfeedfeedfeed is not in the store here" in gone.info[0].value
    assert not values(gone)[0].startswith("12.3%")
    state.store().erase(old)


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
    here = opened(link | {"run": run.id}, page={"deploy": "ship/deploy", "layers": "lab/layers"}[page])
    assert [each.value for each in here.warning] == [panels.GONE]
    next(button for button in here.button if button.label == "Measure again").click().run()
    assert not here.exception and not here.warning
    assert file.exists()
