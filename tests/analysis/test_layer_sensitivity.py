"""Curves of one layer at a time: against networks compressed by hand, kept on disk, and taken up where they stopped."""

import copy

import pytest
import torch

from compression import models
from compression.analysis.layer_sensitivity import Sweep, truncated
from compression.data import load
from compression.errors import Cancelled, UnknownName
from compression.network.graph import layers
from compression.pipeline.compress import prepare
from compression.records.analysis import LEVELS


@pytest.fixture(scope="module")
def sweep():
    return Sweep(prepare(models.load("lenet5", "digits"), load("digits"), calibration_images=64), images=100)


def accuracy(graph, sweep) -> float:
    split = sweep.split
    with torch.inference_mode():
        scores = graph(sweep.prepared.data.normalize(split.images))
    return float((scores.argmax(1) == split.labels).float().mean())


def test_every_layer_has_a_point_at_every_level_and_the_dense_accuracy(sweep):
    found = {curves.name: curves for curves in sweep.all()}
    assert tuple(found) == sweep.names
    for curves in found.values():
        assert [(p.technique, p.level) for p in curves.points] == [(t, v) for t, vs in LEVELS.items() for v in vs]
        assert curves.dense == accuracy(sweep.prepared.dense, sweep)
        assert curves.curve("bits")[0].accuracy >= curves.dense - 0.02  # 8 bits cost next to nothing


def test_a_point_is_the_accuracy_of_the_network_with_that_one_layer_changed(sweep):
    name = sweep.names[1]
    graph = copy.deepcopy(sweep.prepared.dense)
    layer = layers(graph)[name]
    with torch.no_grad():
        layer.weight.copy_(truncated(layer.weight, 0.25))
    assert sweep.layer(name).curve("rank")[-1].accuracy == accuracy(graph, sweep)


def test_truncation_has_the_error_that_theory_says():
    weight = torch.randn(12, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(weight.flatten(1))
    error = (weight - truncated(weight, 0.5)).square().sum()
    torch.testing.assert_close(error, singular[6:].square().sum())


def test_what_is_known_is_not_computed_again_and_a_stop_loses_nothing(sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    calls = []
    measure = sweep.measure
    monkeypatch.setattr(sweep, "measure", lambda name, stop: calls.append(name) or measure(name))
    run = sweep.all(stop=lambda: len(calls) == 2)
    with pytest.raises(Cancelled):
        list(run)
    assert set(sweep.known()) == set(sweep.names[:2])
    list(sweep.all())
    assert calls == list(sweep.names)


def test_a_sweep_stops_in_the_middle_of_a_layer(sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    looks = []
    with pytest.raises(Cancelled):
        sweep.layer(sweep.names[0], stop=lambda: looks.append(1) or len(looks) == 3)
    assert not sweep.known()


def test_the_dense_network_stays_as_it_was(sweep):
    before = {k: v.clone() for k, v in sweep.prepared.dense.state_dict().items()}
    sweep.measure(sweep.names[0])
    assert all(torch.equal(v, before[k]) for k, v in sweep.prepared.dense.state_dict().items())


def test_an_unknown_layer_is_refused(sweep):
    with pytest.raises(UnknownName, match="layer"):
        sweep.layer("nowhere")
