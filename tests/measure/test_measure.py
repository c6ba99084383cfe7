"""Measurements against oracles: SciPy's intervals, a hand-made file, a slow twin."""

import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import binomtest

from compression.data import load
from compression.errors import Cancelled, InvalidFile
from compression.host.interruption import interruptible
from compression.host.machine import this_machine
from compression.host.machine_lock import machine_lock
from compression.host.onnx_runtime import session
from compression.measure.accuracy import accuracy, join, mcnemar, order, predict, wilson
from compression.measure.latency import latency, median_interval, pairs_until_precise
from compression.pipeline.measuring import measure_file
from compression.records.measurement import Predictions


def classifier(size: int = 64, *, classes: int = 10, repeats: int = 1) -> bytes:
    """A linear classifier of 8×8 images; `repeats` matrix products of no effect make it slower."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(size, classes)).astype(np.float32), "w")]
    weights.append(numpy_helper.from_array(np.eye(size, dtype=np.float32), "e"))
    nodes = [helper.make_node("Flatten", ["image"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "e"], [f"h{i + 1}"]) for i in range(repeats)]
    nodes.append(helper.make_node("MatMul", [f"h{repeats}", "w"], ["scores"]))
    side = int(size**0.5)
    shapes: list[tuple[str, list[str | int]]] = [("image", ["n", 1, side, side]), ("scores", ["n", classes])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10).SerializeToString()


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_is_scipys(right, wrong):
    if right + wrong:
        ours = wilson(right, right + wrong)
        theirs = binomtest(right, right + wrong).proportion_ci(method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, abs=1e-9)


def test_median_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [median_interval(rng.exponential(size=100)) for _ in range(400)]
    covered = np.mean([i.low <= np.log(2) <= i.high for i in intervals])
    assert 0.92 <= covered <= 0.99


def test_stopping_when_the_ratio_is_precise_keeps_its_interval_honest():
    """Noise that ends runs early, at different lengths; the true median ratio is 1/2."""
    rng, covered, lengths = np.random.default_rng(0), [], set()
    for _ in range(400):
        times = pairs_until_precise(lambda: (1e-4 * rng.lognormal(sigma=0.05), 2e-4 * rng.lognormal(sigma=0.05)))
        interval = median_interval(times[:, 0] / times[:, 1])
        covered.append(interval.low <= 0.5 <= interval.high)
        lengths.add(len(times))
    assert len(lengths) > 2
    assert 0.92 <= np.mean(covered) <= 0.99


def test_accuracy_counts_on_the_same_images():
    labels = np.array([0, 1, 2, 3])
    images = np.array([2, 0, 3, 1])
    found = Predictions(images, np.array([2, 0, 0, 1], np.uint16), np.ones(4, np.float16))
    base = Predictions(images, np.array([2, 9, 9, 1], np.uint16), np.ones(4, np.float16))
    result = accuracy(found, base, labels)
    assert (result.value, result.baseline, result.drop, result.n) == (0.75, 0.5, -0.25, 4)
    assert accuracy(base, base, labels).p_value is None


def test_predictions_are_those_of_the_scores_and_confidences_of_softmax():
    data, model = load("digits"), classifier()
    images = order(len(data.test))
    found = predict(session(model), data, images)
    batch = data.normalize(data.test.images[images])
    scores = torch.from_numpy(session(model).run(None, {"image": batch.numpy()})[0])
    assert np.array_equal(found.classes, scores.argmax(1).numpy())
    np.testing.assert_allclose(found.confidences, scores.softmax(1).amax(1).numpy(), atol=1e-3)
    halves = join(predict(session(model), data, images[:100]), predict(session(model), data, images[100:]))
    assert np.array_equal(halves.classes, found.classes) and sorted(halves.images) == list(range(len(data.test)))


def test_no_seconds_are_enough_for_one_batch():
    data = load("digits")
    runner = session(classifier())
    assert len(predict(runner, data, order(len(data.test)), batch=50, seconds=0.0)) == 50
    assert len(predict(runner, data, order(len(data.test)), batch=50)) == len(data.test)


def test_prediction_stops_where_nobody_wants_it_any_more():
    data = load("digits")
    with interruptible(lambda: True), pytest.raises(Cancelled):
        predict(session(classifier()), data, order(len(data.test)))


def test_prediction_stops_when_asked():
    data = load("digits")
    with pytest.raises(Cancelled):
        predict(session(classifier()), data, order(len(data.test)), stop=lambda: True)


def test_latency_tells_a_slow_file_from_a_fast_one():
    slow, fast = session(classifier(1024, repeats=8)), session(classifier(1024))
    image = np.zeros((1, 1, 32, 32), np.float32)
    found = latency(slow, fast, image)
    assert found.ratio_interval.low > 1.5
    assert found.ratio_interval.low <= found.ratio <= found.ratio_interval.high
    assert found.p50_ms <= found.p95_ms and found.threads == 1 and found.batch == 1
    assert latency(fast, slow, image).ratio < 1 / 1.5
    glance = latency(slow, fast, image, brief=True)
    assert glance.pairs <= 80
    assert glance.ratio_interval.low > 1.5


HOLDER = """
from compression.host.machine_lock import machine_lock
with machine_lock():
    print("held", flush=True)
    input()
"""


def test_lock_excludes_another_process():
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        released = threading.Event()
        threading.Timer(0.3, lambda: (released.set(), other.stdin.write("\n"), other.stdin.flush())).start()
        with machine_lock():
            assert released.is_set()


def test_measure_file_takes_any_classifier_and_refuses_what_does_not_fit(tmp_path):
    data = load("digits")
    (tmp_path / "net.onnx").write_bytes(classifier())
    found = measure_file(tmp_path / "net.onnx", data)
    assert found.n_test == len(data.test) and found.size_bytes == len(classifier())
    assert found.accuracy.value == pytest.approx(found.accuracy.baseline)
    for content, words in (
        (classifier(100), "8×8"),
        (classifier(classes=7), "10"),
        (b"", "cannot load"),
        (b"x" * 99, "cannot load"),
    ):
        with pytest.raises(InvalidFile, match=words):
            measure_file(content, data)
    with pytest.raises(InvalidFile, match="cannot be read"):
        measure_file(tmp_path / "none.onnx", data)


def test_machine_is_described():
    machine = this_machine()
    assert machine.cpu and machine.cores >= 1 and machine.onnxruntime.count(".") == 2


def test_measurements_are_compared_by_their_numbers():
    """Their arrays have no one answer to ==; whether a page has news is asked with it."""
    from tests.pages.points import measurement

    none = np.empty(0)
    first, again = (
        dataclasses.replace(measurement(0.9, 1000, 0.5), predictions=Predictions(none, none, none)) for _ in range(2)
    )
    assert first == again
    assert first != dataclasses.replace(again, size_bytes=999)
