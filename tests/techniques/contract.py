"""What every technique must keep; for all of the table, and for one that a test adds to it."""

import copy

import torch
from torch import fx
from torch.nn.utils import parametrize

from compression.calibration import Calibration, calibrate
from compression.data import load
from compression.network.graph import layers
from compression.network.parametrizations import original
from compression.network.tracing import trace
from compression.recipe import Recipe
from compression.steps import STEPS, Channels, Factorize
from compression.techniques import TECHNIQUES
from compression.techniques.reconstruction import reconstruct_
from tests.networks import OnMaps, tiny

SETTINGS = {"channels": Channels(amount=0.05, part="all", round_to=4), "factorize": Factorize(amount=0.1, round_to=1)}
"""Where the defaults ask for more than the tiny network can give."""


def tiny_and_calibrated() -> tuple[fx.GraphModule, Calibration]:
    graph = trace(tiny(), (1, 8, 8))
    return graph, calibrate(graph, load("digits"), images=64, seed=0)


def compressed(graph: fx.GraphModule, kind: str, calibration: Calibration) -> fx.GraphModule:
    """A copy of `graph` on which the technique alone was carried out, but for training and rounded activations."""
    technique, settings = TECHNIQUES[kind], SETTINGS.get(kind) or STEPS[kind]()
    changed = copy.deepcopy(graph)
    if technique.apply_:
        technique.apply_(changed, settings, calibration)
    reference = technique.reference_for(graph, changed) if technique.reference_for else graph
    reference = copy.deepcopy(changed) if technique.reshapes and not technique.reference_for else reference
    reconstruct_(changed, reference, Recipe(steps=(settings,)), calibration)
    return changed


def changes_a_copy_and_keeps_its_state(graph: fx.GraphModule, kind: str, calibration: Calibration) -> None:
    """Changes the copy and not the dense network; its state round-trips; gradients reach the stored weights."""
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


def answers_nearly_alike_on_maps(kind: str) -> None:
    """Layers on feature maps whose channels are last: mixed up with places, nothing would fit."""
    torch.manual_seed(0)
    graph = trace(OnMaps().eval(), (1, 8, 8))
    calibration = calibrate(graph, load("digits"), images=64, seed=0)
    with torch.no_grad():
        wanted, answers = graph(calibration.images), compressed(graph, kind, calibration)(calibration.images)
    assert (answers - wanted).norm() < 0.2 * (wanted - wanted.mean(0)).norm()
