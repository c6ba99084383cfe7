"""Inside a layer: counts and norms against NumPy, pictures of the right layer, and layers that are gone."""

import numpy as np
import pytest
import torch

from compression import models
from compression.analysis.layer_inspection import feature_maps, inspect, structure
from compression.analysis.operator_times import operator_times
from compression.data import load
from compression.errors import UnknownName
from compression.measure.outputs import IMAGES
from compression.network.graph import layers
from compression.network.parametrizations import ActivationQuantizer
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from tests.networks import Again, OnMaps


@pytest.fixture(scope="module")
def both():
    prepared = prepare(models.load("lenet5", "digits"), load("digits"), calibration_images=64)
    steps = (Prune(sparsity=0.5), Quantize(weight_bits=3, activation_bits=32))
    return prepared, simulate(prepared, Recipe(steps=steps, quality="fast", calibration_images=64))


def test_histograms_count_every_weight_once(both):
    for name, layer in layers(both[1]).items():
        view = inspect(*both, name)
        assert view.after is not None
        assert sum(view.before.counts) == sum(view.after.counts) == layer.weight.numel()
        assert view.after.zeros == int((layer.weight == 0).sum()) > view.before.zeros


def test_the_grid_is_what_the_weights_take(both):
    name = next(iter(layers(both[1])))
    view, weight = inspect(*both, name), layers(both[1])[name].weight
    assert set(view.grid) == set(weight[0].flatten().tolist()) and len(view.grid) <= 2**3 + 1


def test_singular_values_and_errors_are_numpys(both):
    prepared, graph = both
    name = list(layers(graph))[1]
    old, new = (layers(g)[name].weight.detach().flatten(1).numpy() for g in (prepared.dense, graph))
    view = inspect(*both, name)
    np.testing.assert_allclose(view.singular, np.linalg.svd(old, compute_uv=False), rtol=1e-4, atol=1e-5)
    assert view.weight_error == pytest.approx(np.linalg.norm(new - old) / np.linalg.norm(old), rel=1e-4)
    assert 0 < view.output_error < 1
    assert inspect(prepared, prepared.dense, name).output_error == 0


def test_the_output_error_is_the_reports_also_where_channels_are_last():
    torch.manual_seed(0)
    prepared = prepare(OnMaps().eval(), load("digits"), calibration_images=64)
    recipe = Recipe(steps=(Quantize(weight_bits=2, activation_bits=32),), quality="fast", calibration_images=64)
    reports, graph = compress_prepared(prepared, recipe).layers, simulate(prepared, recipe)
    assert {report.name for report in reports} == {"stem", "wide", "narrow", "head"}
    for report in reports:
        assert inspect(prepared, graph, report.name).output_error == pytest.approx(report.output_error, rel=1e-5)
    images, answers = prepared.calibration.images[:IMAGES], list[np.ndarray]()
    for network in (prepared.dense, graph):
        handle = network.get_submodule("wide").register_forward_hook(lambda m, i, y: answers.append(y.numpy()))
        with torch.no_grad():
            network(images)
        handle.remove()
    wanted, got = (y - y.mean((0, 1, 2)) for y in answers)  # [n, H, W, C]: the channels are last
    expected = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert inspect(prepared, graph, "wide").output_error == pytest.approx(expected, rel=1e-4)


def test_feature_maps_are_those_of_the_layer_and_the_image(both):
    prepared, _ = both
    name = next(iter(layers(prepared.dense)))
    found = feature_maps(*both, name, 5)
    layer = layers(prepared.dense)[name]
    with torch.no_grad():
        expected = layer(prepared.data.normalize(prepared.data.test.images[5:6]))[0]
    np.testing.assert_allclose(found.before, expected[: len(found.before)].numpy(), atol=1e-5)
    assert np.array(found.image).shape == (8, 8, 1)
    assert found.label == prepared.data.classes[int(prepared.data.test.labels[5])]


def test_a_layer_that_is_gone_has_no_after(both):
    prepared, _ = both
    names = list(layers(prepared.dense))
    network = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)))
    view = inspect(prepared, network, names[0])
    assert view.after is None and view.output_error is None and view.kernels
    assert feature_maps(prepared, network, names[0], 0).after is None


def test_unknown_names_are_refused(both):
    with pytest.raises(UnknownName, match="layer"):
        inspect(*both, "nowhere")
    with pytest.raises(UnknownName, match="0 to"):
        feature_maps(*both, next(iter(layers(both[1]))), 10_000)


def test_the_structure_has_every_layer_and_leads_from_image_to_scores():
    graph = prepare(models.load("resnet20", "digits"), load("digits"), calibration_images=16).dense
    found = structure(graph)
    names = [each.name for each in found.operators]
    assert set(found.layers) == {each.name for each in found.operators if each.weights} == set(layers(graph))
    read = {a for a, _ in found.edges}
    assert [name for i, name in enumerate(names) if i not in read] == [found.layers[-1]]
    assert sum(each.text == "add" for each in found.operators) == 9
    assert all(a < b for a, b in found.edges) and len(names) == len(set(names))
    blocks = {each.name: each.block for each in found.operators}
    assert blocks["3.conv1"] == "3" and blocks[names[names.index("3.conv1") + 1]] == "3"  # the ReLU after it


def test_each_operator_of_the_structure_has_a_name_of_its_own():
    found = structure(trace(Again().eval(), (1, 8, 8)))  # one of its layers is called twice
    names = [each.name for each in found.operators]
    assert len(set(names)) == len(names) and set(found.layers) <= set(names)
    assert all(a < b for a, b in found.edges)


def test_the_compressed_structure_is_the_dense_ones_without_quantizers(both):
    prepared, _ = both
    recipe = Recipe(steps=(Quantize(weight_bits=4),), quality="fast", calibration_images=64)
    graph = simulate(prepared, recipe)
    assert any(isinstance(module, ActivationQuantizer) for module in graph.modules())
    assert structure(graph) == structure(prepared.dense)


def test_the_times_of_operators_are_those_of_all_kernels(both):
    """Every layer has its time, the sum is the kernels', and nothing has a name that is not in the picture."""
    prepared, _ = both
    recipe = Recipe(steps=(Quantize(weight_bits=4),), quality="fast", calibration_images=64)
    for graph in (prepared.dense, simulate(prepared, recipe)):
        found, shown = operator_times(prepared, graph), structure(graph)
        assert set(shown.layers) <= set(found.ms) <= {each.name for each in shown.operators}
        assert all(ms > 0 for ms in found.ms.values()) and found.conversions_ms >= 0
