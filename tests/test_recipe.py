"""Recipes: validation, round trips, hash, order."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from compression.errors import InvalidRecipe, InvalidSetting, UnknownName, UserError
from compression.recipe import Recipe
from compression.steps import STEPS, Prune, Quantize, Recover, Share, allowed, step

recipes = st.builds(
    Recipe,
    steps=st.tuples(st.builds(Prune, sparsity=st.floats(0, 0.99)), st.builds(Quantize, weight_bits=st.integers(2, 8)))
    | st.tuples(st.builds(Quantize, weight_bits=st.sampled_from([4, 32]), activation_bits=st.just(32)))
    | st.just(()),
    seed=st.integers(0, 2**31 - 1),
    calibration_images=st.integers(16, 1024),
    batch_norm=st.sampled_from(["auto", "keep", "reestimate"]),
)


@given(recipes)
@examples(deadline=None)
def test_round_trips(recipe):
    for there, back in (
        ("to_json", "from_json"),
        ("to_yaml", "from_yaml"),
        ("to_query", "from_query"),
        ("to_dict", "from_dict"),
    ):
        again = getattr(Recipe, back)(getattr(recipe, there)())
        assert again == recipe
        assert again.hash == recipe.hash


@given(recipes, recipes)
def test_hash_tells_recipes_apart(one, other):
    assert (one.hash == other.hash) == (one == other)


def test_hash_is_fixed():
    """A changed hash orphans every stored result: bump SCHEMA when this must change."""
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)), seed=7)
    assert Recipe.from_json(json.dumps(recipe.to_dict(), indent=3)).hash == recipe.hash
    assert recipe.hash != recipe.with_setting("seed", 8).hash


def unchecked(**values: Any) -> Recipe:
    """A recipe of values that no type checker would let through."""
    return Recipe(**values)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Prune(sparsity=1.5), InvalidSetting, ["prune.sparsity", "1.5", "0 to 0.99"]),
        (lambda: Prune(sparsity=float("nan")), InvalidSetting, ["prune.sparsity", "nan"]),
        (lambda: step("quantize", weight_bits=9), InvalidSetting, ["quantize.weight_bits", "9", "2, 3, 4"]),
        (lambda: Quantize(weight_bits=32), InvalidSetting, ["activation_bits", "8"]),
        (lambda: step("prune", sparsty=0.5), UnknownName, ["sparsty", "sparsity"]),
        (lambda: Recipe(steps=(Quantize(), Prune())), InvalidRecipe, ["prune", "quantize"]),
        (lambda: Recipe(steps=(Prune(), Prune())), InvalidRecipe, ["prune", "2 times"]),
        (lambda: Recipe(steps=(Share(), Quantize(rounding="nearest"))), InvalidRecipe, ["quantize.rounding"]),
        (lambda: Recipe(steps=(Share(), Quantize(scheme="asymmetric"))), InvalidRecipe, ["scheme must be linear"]),
        (lambda: Recipe(steps=(Recover(schedule="cubic"),)), InvalidRecipe, ["recover.schedule", "prune", "cubic"]),
        (lambda: unchecked(steps=[{"step": "crush"}]), UnknownName, ["crush", "prune"]),
        (lambda: unchecked(steps="prune"), InvalidRecipe, ["list"]),
        (lambda: Recipe.from_json("{"), InvalidRecipe, ["JSON"]),
        (lambda: Recipe.from_json("[1]"), InvalidRecipe, ["list"]),
        (lambda: Recipe.from_yaml("a: [b"), InvalidRecipe, ["YAML"]),
        (lambda: Recipe.from_dict({"schema": 99}), InvalidRecipe, ["99"]),
        (lambda: Recipe.from_query("v=7"), InvalidRecipe, ["'7'"]),
        (lambda: Recipe.from_query("v=1&prune.sparsity=0.5"), InvalidRecipe, ["prune"]),
        (lambda: Recipe().with_setting("prune.sparsity", "much"), InvalidSetting, ["much"]),
        (lambda: Recipe().with_setting("crush.rate", 1), UnknownName, ["crush"]),
        (lambda: Recipe(seed=-1), InvalidSetting, ["seed", "-1"]),
    ],
)
def test_bad_input_is_one_sentence(make, error, words):
    with pytest.raises(error) as caught:
        make()
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and sentence.endswith(".")


@given(st.text(max_size=60))
def test_no_text_breaks_the_readers(text):
    for read in (Recipe.from_json, Recipe.from_yaml, Recipe.from_query):
        try:
            found = read(text)
        except UserError as error:
            found = str(error)
        assert isinstance(found, Recipe) or found


def test_setting_a_value_adds_the_step_in_its_place():
    recipe = Recipe().with_setting("quantize.weight_bits", "4").with_setting("prune.sparsity", "0.25")
    assert recipe.steps == (Prune(sparsity=0.25), Quantize(weight_bits=4))
    assert recipe.with_setting("seed", "3").seed == 3


def test_values_that_only_go_together_are_set_together():
    changes = {"quantize.scheme": "logarithmic", "quantize.weight_bits": "4", "seed": 3}
    recipe = Recipe().with_settings(changes)
    assert recipe == Recipe(steps=(Quantize(scheme="logarithmic", weight_bits=4),), seed=3)
    assert Recipe().with_settings(dict(reversed(changes.items()))) == recipe
    with pytest.raises(InvalidSetting, match="logarithmic"):
        Recipe().with_setting("quantize.scheme", "logarithmic")


def test_every_field_says_what_it_is():
    for settings in (*STEPS.values(), Recipe):
        for name, field in settings.model_fields.items():
            if name != "steps":
                assert field.title and field.description, name
                assert allowed(field) and not field.is_required()
