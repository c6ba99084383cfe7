"""What every registered technique must keep, checked over the whole table."""

import copy

import pytest
import torch
from torch.nn.utils import parametrize

from compression.calibration import calibrate
from compression.data import load
from compression.network.graph import layers
from compression.network.parametrizations import original
from compression.network.tracing import trace
from compression.recipe import Recipe
from compression.steps import STEPS, Channels, Factorize
from compression.techniques import METHODS
from compression.techniques.reconstruction import reconstruct_
from tests.networks import OnMaps, tiny

SETTINGS = {"channels": Channels(amount=0.05, part="all", round_to=4), "factorize": Factorize(amount=0.1, round_to=1)}
"""Where the defaults ask for more than the tiny network can give."""


@pytest.fixture(scope="module")
def dense():
    graph = trace(tiny(), (1, 8, 8))
    return graph, calibrate(graph, load("digits"), images=64, seed=0)


def test_every_step_has_a_method_and_every_method_a_step():
    assert list(METHODS) == list(STEPS)


def compressed(graph, kind, calibration):
    changed, recipe = copy.deepcopy(graph), Recipe(steps=(SETTINGS.get(kind) or STEPS[kind](),))
    if METHODS[kind].apply_:
        METHODS[kind].apply_(changed, recipe.steps[0], calibration)
    reference_for = METHODS[kind].reference_for
    reference = reference_for(graph, changed) if reference_for else graph
    reconstruct_(changed, reference, recipe, calibration)
    return changed


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind != "recover"])  # it trains what the others changed
def test_technique(kind, dense):
    """Changes the copy and not the dense network; its state round-trips; gradients reach the stored weights."""
    graph, calibration = dense
    before = {k: v.clone() for k, v in graph.state_dict().items()}
    changed, again = compressed(graph, kind, calibration), compressed(graph, kind, calibration)
    assert all(torch.equal(v, before[k]) for k, v in graph.state_dict().items())
    old, new = layers(graph), layers(changed)
    assert any(not torch.equal(old[name].weight, layer.weight) for name, layer in new.items() if name in old)

    for layer in layers(again).values():
        with torch.no_grad():
            original(layer).zero_()
    again.load_state_dict(changed.state_dict())
    torch.testing.assert_close(again(calibration.images), changed(calibration.images))

    changed(calibration.images).sum().backward()
    for name, layer in layers(changed).items():
        if parametrize.is_parametrized(layer):
            assert original(layer).grad is not None, name


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind != "recover"])
def test_linear_layers_on_feature_maps(kind):
    """Their channels are last: mixed up with places, nothing would fit."""
    torch.manual_seed(0)
    graph = trace(OnMaps().eval(), (1, 8, 8))
    calibration = calibrate(graph, load("digits"), images=64, seed=0)
    with torch.no_grad():
        wanted, answers = graph(calibration.images), compressed(graph, kind, calibration)(calibration.images)
    assert (answers - wanted).norm() < 0.2 * (wanted - wanted.mean(0)).norm()
