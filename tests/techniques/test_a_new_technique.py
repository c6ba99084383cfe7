"""A technique is settings, a function and a row: one that is written here is everywhere at once, and gone again."""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from compression import techniques
from compression.cli import app, settings_help
from compression.cli.inputs import read_recipe
from compression.data import load
from compression.errors import InvalidRecipe, InvalidSetting, UnknownName
from compression.host.onnx_runtime import session
from compression.models import load as load_model
from compression.network.graph import layers
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.pipeline.measuring import measure
from compression.recipe import Recipe, interpolation
from compression.recipe.difference import differences
from compression.steps import STEPS, Prune, Quantize, Step, step
from compression.techniques import TECHNIQUES, Technique
from compression.techniques.layer_weights import LayerFit
from pages.ui.model import expected, links, widget_values, wording
from pages.ui.model.subject import default
from tests.techniques import contract


class Toy(Step):
    """Round weights to multiples of one number."""

    kind: ClassVar[str] = "toy"
    title: ClassVar[str] = "Round to multiples"
    goes_first: ClassVar[str] = "toys come before real work"

    amount: Annotated[
        float,
        Field(
            ge=0.01, le=0.5, title="Multiple", json_schema_extra={"unit": "%", "step": 0.01},
            description="Of which number weights are multiples, as a share of the layer's largest.",
        ),
    ] = 0.05  # fmt: skip


def round_layer_(fit: LayerFit, settings: Toy) -> None:
    multiple = settings.amount * fit.w.abs().max()
    fit.choose((fit.w / multiple).round() * multiple)


ROW = Technique(settings=Toy, solve_layer_=round_layer_)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with techniques.registered(ROW, after="share"):
        yield


@pytest.fixture(scope="module")
def prepared():
    return prepare(load_model("lenet5", "digits"), load("digits"), calibration_images=64)


def toyed(amount: float = 0.25) -> Recipe:
    return Recipe(steps=(Toy(amount=amount),), quality="fast", calibration_images=64)


def test_it_is_there_as_long_as_it_is_registered_and_in_its_place():
    assert list(STEPS) == list(TECHNIQUES) == ["channels", "factorize", "prune", "share", "toy", "quantize", "recover"]
    with (
        pytest.raises(UnknownName, match="nonsense"),
        techniques.registered(Technique(settings=Prune), after="nonsense"),
    ):
        pass
    assert list(STEPS)[4] == "toy"


def test_nothing_of_it_stays():
    with techniques.registered(Technique(settings=type("Other", (Toy,), {"kind": "other"})), after="toy"):
        assert step("other").title == Toy.title
        assert "other.amount" in settings_help()
    with pytest.raises(UnknownName, match="other"):
        step("other")
    assert "other" not in TECHNIQUES


@pytest.mark.parametrize("how", ["dict", "json", "yaml", "query"])
def test_recipes_and_links_have_it(how):
    recipe = toyed(0.3).with_setting("quantize.weight_bits", 4)
    assert [s.kind for s in recipe.steps] == ["toy", "quantize"]
    assert getattr(Recipe, f"from_{how}")(getattr(recipe, f"to_{how}")()) == recipe
    assert recipe.hash != toyed(0.31).with_setting("quantize.weight_bits", 4).hash


def test_links_of_pages_have_it():
    link = links.link_of(default(), toyed(0.3))
    assert link["toy.amount"] == "0.3"
    assert links.read_link(link)[1] == toyed(0.3)


def test_the_validator_knows_its_bounds_and_its_rank():
    with pytest.raises(InvalidSetting, match=r"^toy\.amount must be a number from 0\.01 to 0\.5, not 0\.7\.$"):
        Toy(amount=0.7)
    with pytest.raises(InvalidRecipe, match="'toy' cannot follow 'quantize': toys come before real work"):
        Recipe(steps=(Quantize(), Toy()))


def test_the_form_draws_it_and_says_what_it_shows():
    def page() -> None:
        import streamlit as st

        from pages.ui.explore import forms

        st.session_state["recipe"] = forms.recipe(lambda: None, {}, {}, lambda key: st.session_state[key])

    test = AppTest.from_function(page, default_timeout=60)
    for key, value in widget_values.fill(default(), toyed()).items():
        test.session_state[key] = value
    test.run()
    assert not test.exception
    assert "**Round to multiples**" in [toggle.label for toggle in test.toggle]
    assert test.slider(key="toy.amount").value == 0.25
    test.slider(key="toy.amount").set_value(0.4).run()
    assert test.session_state["recipe"] == toyed(0.4)


def test_texts_name_it():
    assert wording.recipe_lines(toyed())[0] == "Round to multiples: multiple 25%"
    assert [(found.path, found.a, found.b) for found in differences(toyed(), toyed(0.5))] == [("toy.amount", 0.25, 0.5)]


def test_the_command_line_takes_it_and_tells_of_it():
    """With a mean of its own, so that nothing comes into the store."""
    command = "compress --model lenet5 --dataset digits --mean 0.3 --std 0.4 --set quality=fast --json --set"
    ran = CliRunner().invoke(app, [*command.split(), "toy.amount=0.25"])
    assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout)["recipe_hash"] == read_recipe(None, ["toy.amount=0.25", "quality=fast"], None).hash
    refused = CliRunner().invoke(app, [*command.split(), "toy.amount=2"])
    assert refused.exit_code == 2
    assert refused.stderr == "Error: toy.amount must be a number from 0.01 to 0.5, not '2'.\n"
    assert "toy.amount  a number from 0.01 to 0.5 [default: 0.05]" in settings_help()


def test_recipes_between_measured_ones_are_interpolated_and_its_slider_has_a_way():
    known = interpolation.known([(toyed(0.1), {"size": 500.0}), (toyed(0.3), {"size": 300.0})], ["size"])
    assert interpolation.predict(toyed(0.2), known)["size"] == pytest.approx(400, rel=1e-6)
    assert "st-key-toy-amount" in expected.ways(toyed(0.2), known, {})
    assert all(found.get("toy") for found in interpolation.around(toyed(0.2)))


def test_the_file_has_what_it_chose_and_is_measured(prepared):
    first, second = (compress_prepared(prepared, toyed(amount)) for amount in (0.25, 0.5))
    assert len({hashlib.sha256(c.onnx).digest() for c in (first, second, prepared.baseline)}) == 3
    for layer in layers(first.books.graph).values():
        steps = layer.weight / layer.weight.abs().max() / 0.25
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    images = prepared.data.normalize(prepared.data.test.images)
    answers = session(first.onnx).run(None, {"image": images.numpy()})[0]
    simulated = simulate(prepared, toyed())(images).detach().numpy()
    np.testing.assert_allclose(answers, simulated, atol=1e-3)
    found = measure(first, prepared)
    assert found.recipe_hash == toyed().hash
    assert found.accuracy.value > 0.5
    assert [layer.name for layer in first.layers] == list(layers(prepared.dense))


def test_it_goes_with_the_others(prepared):
    """Rounded weights are quantized on; the file holds codes."""
    recipe = Recipe(steps=(Prune(), Toy(), Quantize(weight_bits=4)), quality="fast", calibration_images=64)
    found = compress_prepared(prepared, recipe)
    assert {layer.bits for layer in found.layers} == {4}
    assert [reached.step for reached in found.reached] == ["prune"]


def test_it_keeps_the_contract_of_techniques():
    graph, calibration = contract.tiny_and_calibrated()
    contract.changes_a_copy_and_keeps_its_state(graph, "toy", calibration)
    contract.answers_nearly_alike_on_maps("toy")
