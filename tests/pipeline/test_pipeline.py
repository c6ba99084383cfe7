"""From a network and a recipe to a file and its measurement: for the zoo's networks and for strangers."""

import copy
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import compression
from compression.data import load
from compression.errors import Cancelled, InvalidModel
from compression.export import export
from compression.host.onnx_runtime import session
from compression.measure.latency import is_slow
from compression.measure.outputs import IMAGES
from compression.models import load as load_model
from compression.network.graph import layers, macs
from compression.network.parametrizations import Half, attach
from compression.network.tracing import trace
from compression.pipeline import measuring
from compression.pipeline.candidate import Answers
from compression.pipeline.compress import compress, compress_prepared, prepare, simulate
from compression.pipeline.layer_reports import LayerReports
from compression.pipeline.measuring import measure, stream
from compression.recipe import Recipe
from compression.records.measurement import Interval, Measurement
from compression.steps import Channels, Factorize, Prune, Quantize
from compression.techniques.lowrank import factorize
from compression.techniques.pruning import joint_masks
from tests.networks import Again, tiny, trained

W8A8 = Recipe(steps=(Quantize(),))
W4_SPARSE = Recipe(steps=(Prune(sparsity=0.6), Quantize(weight_bits=4)))
RECIPES = [
    W8A8,
    W4_SPARSE,
    Recipe(steps=(Prune(sparsity=0.5),)),
    Recipe(steps=(Quantize(weight_bits=4, activation_bits=32),)),
]


@pytest.fixture(
    scope="module", params=["lenet300", "lenet5", "resnet8", pytest.param("resnet20", marks=pytest.mark.slow)]
)
def prepared(request):
    return prepare(load_model(request.param, "digits"), load("digits"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.to_query())
def test_file_agrees_with_the_simulation_and_is_smaller(prepared, recipe):
    candidate, data = compress_prepared(prepared, recipe), prepared.data
    images = data.normalize(data.test.images)
    answers = session(candidate.onnx).run(None, {"image": images.numpy()})[0]
    with torch.no_grad():
        simulated = simulate(prepared, recipe)(images).numpy()
    assert (answers.argmax(1) == simulated.argmax(1)).mean() >= 0.995
    assert len(candidate.onnx) < len(prepared.baseline.onnx)


def test_eight_bits_cost_next_to_nothing(prepared):
    assert measure(compress_prepared(prepared, W8A8), prepared).accuracy.drop <= 0.01


def test_same_recipe_same_bytes_other_seed_other_images(prepared):
    first, second = (compress_prepared(prepared, W4_SPARSE).onnx for _ in range(2))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


@pytest.mark.parametrize("step", [Prune(sparsity=0.7), Factorize(amount=0.2, round_to=1)], ids=lambda s: s.kind)
def test_what_is_known_of_a_network_is_not_believed_of_one_with_other_norms(step):
    ready = prepare(tiny(), load("digits"), calibration_images=32)
    channels = Channels(amount=0.1, round_to=1, part="all")
    kept, anew = (Recipe(steps=(channels, step), batch_norm=b) for b in ("keep", "reestimate"))
    compress_prepared(ready, kept)
    after = compress_prepared(ready, anew).onnx
    for method in (joint_masks, factorize):
        method._KNOWN.clear()
    assert compress_prepared(ready, anew).onnx == after


def test_stream_gives_a_first_point_and_then_the_full_one(prepared):
    candidate = compress_prepared(prepared, W8A8)
    points = list(stream(candidate, prepared, first=100))
    assert [p.n_test for p in points] == [100, len(prepared.data.test)]
    first, full = (p.accuracy.interval for p in points)
    assert full.high - full.low < first.high - first.low
    assert np.array_equal(points[0].predictions.classes, points[1].predictions.classes[:100])
    assert points[1].size_bytes == len(candidate.onnx) and points[1].file_hash == candidate.file_hash
    assert set(points[1].summary()) >= {
        "recipe_hash", "accuracy", "accuracy_low", "accuracy_high", "baseline_accuracy", "size_bytes",
        "baseline_size_bytes", "latency_ms", "latency_ratio", "latency_ratio_low", "latency_ratio_high", "threads",
        "macs", "n_test", "seconds",
    }  # fmt: skip


def test_a_slow_file_is_timed_briefly_for_its_first_point_and_then_again(prepared, monkeypatch):
    candidate = compress_prepared(prepared, W8A8)
    (quick,) = stream(candidate, prepared)
    briefly, latency = [], measuring.latency

    def timed(*about, brief=False):
        briefly.append(brief)
        return latency(*about, brief=brief)

    monkeypatch.setattr(measuring, "latency", timed)
    monkeypatch.setattr(measuring, "is_slow", lambda *_: True)
    monkeypatch.setattr(measuring, "precise", lambda _: False)
    waited, points = [], []
    for point in stream(candidate, prepared, aside=lambda: waited.append(len(points))):
        points.append(point)
    assert waited == [1]  # nobody waits for the second
    assert [point.accuracy for point in points] == [quick.accuracy] * 2
    assert briefly == [True, False]


def test_a_file_is_slow_where_eighty_pairs_take_longer_than_a_brief_run(monkeypatch):
    seconds = iter([0.001, 0.004, 0.006, 0.1, 0.02, 0.0051])
    monkeypatch.setattr("compression.measure.latency._feeds", lambda *_: [])
    monkeypatch.setattr("compression.measure.latency._time", lambda *_: next(seconds))
    assert [is_slow(None, None), is_slow(None, None)] == [False, True]


def test_slow_files_are_measured_on_more_and_more_images(prepared, monkeypatch):
    monkeypatch.setattr(measuring, "FIRST_S", 1e-9)  # one batch each time
    slow = replace(prepared, answers=Answers(prepared.baseline_session, prepared.data))
    candidate, said, waited = compress_prepared(prepared, W8A8), [], []
    points = list(
        stream(
            candidate, slow, progress=lambda sentence, _: said.append(sentence), aside=lambda: waited.append(len(said))
        )
    )
    seen = [point.accuracy.n for point in points]
    assert seen[0] < 100
    assert seen == sorted(set(seen))
    assert seen[-1] == len(prepared.data.test)
    widths = [point.accuracy.interval.high - point.accuracy.interval.low for point in points]
    assert widths[-1] < widths[0]
    assert waited == [2]  # once, when the first point was there
    assert any("s left" in sentence or "Measuring accuracy on all" in sentence for sentence in said)
    whole = measure(candidate, prepared)
    assert np.array_equal(points[-1].predictions.classes, whole.predictions.classes)
    assert points[-1].accuracy == whole.accuracy
    assert np.array_equal(slow.baseline_predictions.classes, prepared.baseline_predictions.classes)


def test_seconds_left_are_told_from_the_first_part_on(prepared, monkeypatch):
    monkeypatch.setattr(measuring, "FIRST_S", 1e-9)  # one batch each time
    told, left = [], measuring._left

    def telling(images, seconds, interval):
        told.append(seconds)
        return left(images, seconds, interval)

    monkeypatch.setattr(measuring, "_left", telling)
    list(stream(compress_prepared(prepared, W8A8), prepared))
    assert told and min(told) > 0


def test_before_any_file_the_fp32_file_answers_only_the_images_of_a_first_point(prepared, monkeypatch):
    monkeypatch.setattr("compression.pipeline.compress.FIRST", 130)
    early = prepare(prepared.dense, prepared.data, calibration_images=64)
    assert len(early.answers.known) == 130
    assert np.array_equal(early.baseline_predictions.classes, prepared.baseline_predictions.classes)
    assert len(early.answers.known) == len(prepared.data.test)


def test_files_are_timed_beside_one_session_of_the_fp32_file(prepared):
    assert prepared.baseline_on(1) is prepared.baseline_session
    again = prepared.baseline_on(2)
    assert again is prepared.baseline_on(2)
    assert again.get_session_options().intra_op_num_threads == 2


def test_what_is_left_is_told_in_seconds_and_whether_anybody_needs_it():
    assert (
        measuring._left(50_000, 31.4, Interval(0.7, 0.8))
        == "Measuring accuracy on all 50,000 test images, about 31 s left"
    )
    assert (
        measuring._left(900, 0.0, Interval(0.79, 0.8)) == "Measuring accuracy on all 900 test images, in the background"
    )


def test_requested_sparsity_and_bits_are_reached_and_reported(prepared):
    candidate = compress_prepared(prepared, W4_SPARSE)
    weights = sum(layer.weights for layer in candidate.layers)
    zeros = sum(layer.weights * layer.sparsity for layer in candidate.layers)
    assert zeros == pytest.approx(0.6 * weights, abs=1)
    assert {layer.bits for layer in candidate.layers} == {4}
    assert sum(layer.macs for layer in candidate.layers) == candidate.macs == prepared.baseline.macs


def test_any_classifier_is_compressed_and_left_as_it_was():
    data = load("digits")
    network = trained(data).train()
    before = copy.deepcopy(network.state_dict())
    ready = prepare(network, data)
    candidate = compression.compress(network, W8A8, data, prepared=ready)
    assert candidate.onnx == compress(network, W8A8, data).onnx
    assert network.training and all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    found = measure(candidate, ready)
    assert found.accuracy.baseline > 0.85 and found.accuracy.drop < 0.02


def test_a_layer_that_is_used_twice_is_two():
    network, data = Again().eval(), load("digits")
    ready = prepare(network, data, calibration_images=64)
    assert {"twice", "twice_2"} <= set(layers(ready.dense))
    images = data.normalize(data.test.images[:50])
    torch.testing.assert_close(ready.dense(images), network(images))
    made = compression.compress(network, W8A8, data, prepared=ready)
    assert measure(made, ready).n_test == len(data.test)
    found = session(made.onnx).run(None, {"image": images.numpy()})[0]
    assert np.square(found - network(images).detach().numpy()).sum() < 0.01 * np.square(found).sum()


def test_networks_that_do_not_fit_are_refused():
    data = load("digits")
    with pytest.raises(InvalidModel, match=r"7 classes.*10"):
        prepare(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), data)
    with pytest.raises(InvalidModel, match="1×8×8"):
        prepare(nn.Sequential(nn.Flatten(), nn.Linear(99, 10)), data)


def test_work_stops_when_asked(prepared):
    with pytest.raises(Cancelled):
        compress_prepared(prepared, W8A8, stop=lambda: True)
    said = []
    compress_prepared(prepared, W4_SPARSE, progress=lambda sentence, share: said.append(share))
    assert said == sorted(said) and len(said) >= 3


def test_batch_norm_is_kept_where_held_out_images_say_so(prepared):
    if not any(isinstance(m, nn.BatchNorm2d) for m in prepared.dense.modules()):
        pytest.skip("no batch norm in this network")
    kept = compress_prepared(prepared, Recipe(steps=(Prune(sparsity=0.0),), batch_norm="auto"))
    asked = compress_prepared(prepared, Recipe(steps=(Prune(sparsity=0.0),), batch_norm="keep"))
    assert kept.onnx == asked.onnx  # nothing was compressed: the dense statistics cannot be beaten


def test_reports_say_what_was_asked_for_what_was_reached_and_how_far_answers_moved(prepared):
    steps = (Channels(amount=0.5), Prune(sparsity=0.5), Quantize(weight_bits=4, activation_bits=32))
    recipe = Recipe(steps=steps, quality="fast")
    candidate, graph = compress_prepared(prepared, recipe), simulate(prepared, recipe)
    channels, weights = candidate.reached
    assert (channels.step, channels.measure, channels.requested) == ("channels", "macs", 0.5)
    assert channels.reached == pytest.approx(1 - candidate.macs / prepared.baseline.macs) and channels.reached >= 0.5
    assert weights.reached == pytest.approx(weights.requested, abs=1e-3)
    found = measure(candidate, prepared)
    assert json.loads(json.dumps(found.summary()))["reached"][0]["requested"] == 0.5
    assert Measurement.from_plain(found.to_plain()).reached == candidate.reached

    images = prepared.calibration.images[:IMAGES]  # the last layer's answers are the network's
    with torch.no_grad():
        wanted, got = (y - y.mean(0) for y in (prepared.dense(images), graph(images)))
    last = candidate.layers[-1]
    assert last.output_error == pytest.approx(float((got - wanted).norm() / wanted.norm()), rel=1e-3)
    assert 0 < last.output_error < 1
    gone = [report for report in candidate.layers if report.output_error is None]
    assert gone and all(r.shape[0] < prepared.dense.get_submodule(r.name).weight.shape[0] for r in gone)
    assert prepared.baseline.reached == ()


def test_reports_say_what_the_file_holds():
    """Half precision only where it holds the weights, and what two layers share once."""
    torch.manual_seed(0)
    first, one, other = (nn.Conv2d(channels, 8, 3, padding=1) for channels in (1, 8, 8))
    first.weight.data[0] = 1e5
    other.weight.data.copy_(one.weight.data)
    network = nn.Sequential(
        first, nn.ReLU(), one, nn.ReLU(), other, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    graph = trace(network.eval(), (1, 8, 8))
    for layer in layers(graph).values():
        attach(layer, Half(len(layer.weight)))
    books = LayerReports(graph, export(graph, (1, 8, 8)), macs(graph, (1, 8, 8)))
    reports = books.layers(torch.zeros(1, 1, 8, 8))
    assert [report.bits for report in reports] == [32, 16, 16, 16]
    assert [report.size_bytes for report in reports] == [288, 1152, 0, 160]
    assert books.ledger.payload == 1600


def test_the_signal_to_noise_ratio_is_that_of_the_dense_weights(prepared):
    """About 6 dB a bit where weights are rounded to the nearest; none where nothing was rounded."""
    found = [
        compress_prepared(prepared, Recipe(steps=(Quantize(weight_bits=bits, rounding="nearest"),))).layers
        for bits in (8, 4, 2)
    ]
    for eight, four, two in zip(*found, strict=True):
        assert eight.sqnr_db > four.sqnr_db + 12 and four.sqnr_db > two.sqnr_db + 4
    assert all(layer.sqnr_db is None for layer in prepared.baseline.layers)
