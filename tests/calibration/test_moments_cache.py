"""What calibration found is kept on disk under everything that it depends on, and never believed where it is spoilt."""

import copy

import pytest
import torch

from compression import calibration
from compression.calibration import calibrate, moments_cache
from compression.data import load
from compression.network.tracing import trace
from compression.pipeline.compress import compress_prepared, prepare
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from tests.networks import tiny


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    return tmp_path


@pytest.fixture
def looked(monkeypatch):
    """How often images were looked at."""
    calls, collect = [], calibration.collect
    monkeypatch.setattr(calibration, "collect", lambda *given: calls.append(1) or collect(*given))
    return calls


def files(folder):
    return sorted((folder / "calibration").glob("*.safetensors"))


def test_a_second_worker_reads_what_the_first_one_found(fresh_home, looked):
    data, graph = load("digits"), trace(tiny(), (1, 8, 8))
    first = calibrate(graph, data, images=32, seed=0)
    again = calibrate(copy.deepcopy(graph), data, images=32, seed=0)
    assert len(looked) == len(files(fresh_home)) == 1
    assert first.dense_moments.keys() == again.dense_moments.keys()
    for name, found in first.dense_moments.items():
        same = again.dense_moments[name]
        assert all(torch.equal(getattr(found, f), getattr(same, f)) for f in ("h", "g", "mean_x", "mean_y"))
        assert torch.equal(first.targets[name], again.targets[name])
        assert found.h.stride() == same.h.stride() and first.targets[name].stride() == again.targets[name].stride()


def test_the_file_is_the_same_from_found_and_from_kept_numbers(fresh_home, looked):
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=3)), calibration_images=32)
    made = [compress_prepared(prepare(tiny(), load("digits"), calibration_images=32), recipe).onnx for _ in range(2)]
    assert made[0] == made[1] and len(looked) == 1


def test_other_images_other_weights_or_another_engine_are_looked_at(fresh_home, looked, monkeypatch):
    data, graph = load("digits"), trace(tiny(), (1, 8, 8))
    calibrate(graph, data, images=32, seed=0)
    calibrate(graph, data, images=32, seed=1)
    calibrate(graph, data, images=33, seed=0)
    calibrate(trace(tiny(seed=1), (1, 8, 8)), data, images=32, seed=0)
    monkeypatch.setattr(moments_cache, "engine_hash", lambda: "another")
    calibrate(graph, data, images=32, seed=0)
    assert len(looked) == len(files(fresh_home)) == 5


def test_layers_that_differ_in_more_than_their_weights_are_told_apart():
    conv = torch.nn.Conv2d(1, 4, 3, padding=1)
    far = copy.deepcopy(conv)
    far.padding, far.dilation = (2, 2), (2, 2)
    keys = set()
    for layer in (conv, far):
        network = torch.nn.Sequential(layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        keys.add(moments_cache.key(trace(network, (1, 8, 8)), torch.zeros(1, 1, 8, 8)))
    assert len(keys) == 2


def test_spoilt_files_are_ignored_and_replaced(fresh_home, looked):
    data, graph = load("digits"), trace(tiny(), (1, 8, 8))
    first = calibrate(graph, data, images=32, seed=0)
    path = files(fresh_home)[0]
    for content in (b"", path.read_bytes()[:-100], b"nonsense" * 100):
        path.write_bytes(content)
        again = calibrate(graph, data, images=32, seed=0)
        assert torch.equal(again.dense_moments["head"].h, first.dense_moments["head"].h)
    assert len(looked) == 4
    calibrate(graph, data, images=32, seed=0)
    assert len(looked) == 4


def test_the_folder_stays_small(fresh_home, looked, monkeypatch):
    data, graph = load("digits"), trace(tiny(), (1, 8, 8))
    calibrate(graph, data, images=32, seed=0)
    size = files(fresh_home)[0].stat().st_size
    monkeypatch.setattr(moments_cache, "ALL", 2 * size + 100)
    for seed in (1, 2, 3):
        calibrate(graph, data, images=32, seed=seed)
    assert len(files(fresh_home)) == 2
    monkeypatch.setattr(moments_cache, "LARGEST", size // 2)
    calibrate(graph, data, images=32, seed=4)
    assert len(files(fresh_home)) == 2


def test_a_folder_that_cannot_be_written_costs_only_the_second_look(fresh_home, looked):
    (fresh_home / "calibration").write_text("in the way")
    calibrate(trace(tiny(), (1, 8, 8)), load("digits"), images=32, seed=0)
    assert len(looked) == 1
