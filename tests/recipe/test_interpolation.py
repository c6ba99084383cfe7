"""What is interpolated lies between what was measured, and nothing is said where nothing is near."""

import pytest

from compression.recipe import Recipe, interpolation
from compression.steps import Prune, Quantize
from pages.ui.model import expected as shown


def pruned(sparsity: float) -> Recipe:
    return Recipe(steps=(Prune(sparsity=sparsity),))


KNOWN = interpolation.known([(pruned(0.5), {"size": 500.0}), (pruned(0.7), {"size": 300.0})], ["size", "latency"])


def test_a_measured_recipe_is_expected_as_measured_and_others_lie_between():
    assert interpolation.predict(pruned(0.5), KNOWN)["size"] == pytest.approx(500, rel=1e-3)
    assert interpolation.predict(pruned(0.6), KNOWN)["size"] == pytest.approx(400, rel=1e-6)
    nearer = interpolation.predict(pruned(0.65), KNOWN)["size"]
    assert 300 < nearer < 400
    assert "latency" not in interpolation.predict(pruned(0.6), KNOWN)


def test_nothing_is_said_of_what_is_far_from_everything_measured():
    assert interpolation.predict(Recipe(steps=(Quantize(weight_bits=2),)), KNOWN) == {}
    assert interpolation.predict(pruned(0.5), interpolation.known([], ["size"])) == {}


def test_a_slider_has_a_way_and_a_choice_counts_its_places():
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)))
    measured = [
        (Recipe(steps=(Prune(sparsity=s), Quantize(weight_bits=b))), {"size": 1000 * (1 - s) * b, "accuracy": 90.0})
        for s in (0.3, 0.5, 0.7, 0.9)
        for b in (2, 4, 8)
    ]
    ways = shown.ways(recipe, interpolation.known(measured, ["size", "accuracy"]), {})
    drawn = shown.on_axes(ways, "size", "accuracy")
    along = drawn["st-key-prune-sparsity"]
    assert along["x"] == sorted(along["x"], reverse=True)
    bits = drawn["st-key-quantize-weight_bits"]
    assert all(at == int(at) for at in bits["positions"])
    assert bits["x"][0] < bits["x"][-1]


def test_the_grid_around_a_recipe_moves_one_slider_at_a_time_and_begins_with_the_nearest():
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)))
    found = interpolation.around(recipe)
    here = interpolation.place(recipe)
    moved = [
        [at for at, (a, b) in enumerate(zip(here, interpolation.place(other), strict=True)) if a != b]
        for other in found
    ]
    assert all(len(coordinates) == 1 for coordinates in moved)
    assert len({coordinates[0] for coordinates in moved}) >= 2
    ways = [sum((a - b) ** 2 for a, b in zip(here, interpolation.place(other), strict=True)) for other in found]
    assert ways == sorted(ways)
    assert len({other.hash for other in found} | {recipe.hash}) == len(found) + 1
