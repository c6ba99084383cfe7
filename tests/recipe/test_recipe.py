"""Recipes: validation, round trips, hash, order."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from compression.errors import InvalidRecipe, InvalidSetting, UnknownName, UserError
from compression.recipe import Recipe
from compression.recipe.link_defaults import DEFAULTS, NEWEST, left_out
from compression.recipe.machine_defaults import is_measured
from compression.steps import STEPS, Channels, Prune, Quantize, Recover, Share, allowed, bounds_of, choices_of, step

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


def values(settings):
    """Random values of some of the fields of a step, or of a recipe."""
    fields = {}
    for name, field in settings.model_fields.items():
        low, high = bounds_of(field)
        if choices := choices_of(field):
            fields[name] = st.sampled_from(choices)
        elif field.annotation is bool:
            fields[name] = st.booleans()
        elif low is not None:
            fields[name] = (st.integers if field.annotation is int else st.floats)(low, high)
        elif name == "layer_bits":
            names = st.text("ab.1=&?% é", min_size=1, max_size=5).map(str.strip).filter(bool)
            fields[name] = st.dictionaries(names, st.sampled_from([8, 16, 32]), max_size=3)
        elif name == "exclude":
            fields[name] = st.lists(st.text("ab.1=&?% é", max_size=5), max_size=3)
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def any_recipes(draw):
    """Every kind of recipe; combinations that are refused are not drawn."""
    kinds = sorted(draw(st.sets(st.sampled_from(list(STEPS)), max_size=3)), key=list(STEPS).index)
    try:
        steps = tuple(step(kind, **draw(values(STEPS[kind]))) for kind in kinds)
        return Recipe(steps=steps, **draw(values(Recipe)))
    except UserError:
        return None


@given(any_recipes().filter(bool))
@examples(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_every_recipe_comes_back_out_of_its_link(recipe):
    query = recipe.to_query()
    again = Recipe.from_query(query)
    assert again == recipe and again.hash == recipe.hash and again.to_query() == query


EVERY_VALUE = (
    "v=1&steps=channels,prune,quantize,recover&channels.amount=0.3&channels.measure=macs&channels.criterion=error&"
    "channels.scope=global&channels.part=inner&channels.round_to=4&channels.compensate=True&prune.sparsity=0.8&"
    "prune.criterion=error&prune.scope=global&prune.pattern=free&prune.refit=True&prune.by=sparsity&"
    "prune.threshold=0.05&quantize.weight_bits=4&quantize.activation_bits=32&quantize.scheme=linear&"
    "quantize.granularity=channel&quantize.group_size=32&quantize.scale=mse&quantize.rounding=second-order&"
    "quantize.activation_range=minmax&quantize.exempt_ends=False&quantize.allocation=even&"
    "quantize.layer_bits=conv1%3D8,fc%3D2&quantize.equalize=True&quantize.bias_correction=True&"
    "quantize.reduce_range=auto&recover.steps=300&recover.method=distill&recover.temperature=4.0&recover.alpha=0.9&"
    "recover.labels=False&recover.images=training&recover.teacher=resnet56&recover.assistant=none&"
    "recover.batch_size=128&recover.learning_rate=0.001&recover.schedule=none&recover.freeze_batch_norm=off&"
    "recover.learned_steps=True&recover.until=0&seed=7&calibration_images=512&quality=fast&batch_norm=auto"
)
"""A link as it was written when links named every value."""


def test_a_link_names_what_differs_and_older_links_open():
    recipe = Recipe.from_query(EVERY_VALUE)
    assert recipe == Recipe(
        steps=(
            Channels(amount=0.3, round_to=4),
            Prune(sparsity=0.8),
            Quantize(weight_bits=4, activation_bits=32, layer_bits="conv1=8,fc=2", equalize=True),
            Recover(steps=300, teacher="resnet56", labels=False),
        ),
        seed=7,
        quality="fast",
    )
    assert recipe.to_query() == (
        "v=1&steps=channels,prune,quantize,recover&channels.amount=0.3&channels.round_to=4&prune.sparsity=0.8&"
        "quantize.weight_bits=4&quantize.activation_bits=32&quantize.layer_bits=conv1%3D8,fc%3D2&"
        "quantize.equalize=True&recover.steps=300&recover.labels=False&recover.teacher=resnet56&seed=7&quality=fast"
    )
    assert Recipe(steps=(Prune(), Quantize())).to_query() == "v=1&steps=prune,quantize"
    assert Recipe.from_query("v=1&steps=prune,quantize") == Recipe(steps=(Prune(), Quantize()))


def test_what_links_leave_out_is_the_default_and_nothing_that_a_machine_decides():
    """A changed default needs a new version in `link_defaults`, so that older links mean what they meant."""
    for kind, settings in {"recipe": Recipe, **STEPS}.items():
        fields = {n: f for n, f in settings.model_fields.items() if (kind, n) != ("recipe", "steps")}
        constant = {name: field.default for name, field in fields.items() if not is_measured(field)}
        assert left_out(kind, NEWEST) == constant
    assert "channels.round_to=" in Recipe(steps=(Channels(),)).to_query()


def test_a_default_that_changes_changes_no_older_link(monkeypatch):
    newer = {**DEFAULTS[1], "prune": {**DEFAULTS[1]["prune"], "sparsity": 0.7}}
    monkeypatch.setitem(DEFAULTS, 2, newer)
    monkeypatch.setattr("compression.recipe.NEWEST", 2)
    assert Recipe.from_query("v=1&steps=prune") == Recipe(steps=(Prune(sparsity=0.5),))
    assert Recipe.from_query("v=2&steps=prune") == Recipe(steps=(Prune(sparsity=0.7),))
    assert Recipe(steps=(Prune(sparsity=0.7),)).to_query() == "v=2&steps=prune"
    assert Recipe(steps=(Prune(sparsity=0.5),)).to_query() == "v=2&steps=prune&prune.sparsity=0.5"


def test_hash_depends_on_content_alone():
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
