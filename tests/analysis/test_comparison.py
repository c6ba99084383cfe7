"""Two files compared, against counts made by hand and against scikit-learn."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from compression.analysis.comparison import compare, confusion, paired_difference, reliability
from compression.data import load
from compression.errors import InvalidData
from compression.recipe import Recipe
from compression.recipe.difference import differences
from compression.records.measurement import Predictions
from compression.steps import Prune, Quantize


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def answers(digits, wrong: list[int], confidence: float = 0.9, n: int = 100) -> Predictions:
    """Right on the first `n` test images but for those in `wrong`, where the next class is answered."""
    images = np.arange(n)
    classes = digits.test.labels.numpy()[:n].copy()
    classes[wrong] = (classes[wrong] + 1) % 10
    return Predictions(images, classes.astype(np.uint16), np.full(n, confidence, np.float16))


def test_what_flipped_is_counted_and_shown(digits):
    found = compare(answers(digits, [1, 2, 3]), answers(digits, [3, 4]), digits)
    assert (found.both, found.a_only, found.b_only, found.neither) == (96, 1, 2, 1)
    assert found.difference == pytest.approx(0.01)
    assert found.interval.low < 0.01 < found.interval.high
    assert found.p_value == 1.0
    assert {flip.image for flip in found.won} == {1, 2}
    assert [flip.image for flip in found.lost] == [4]
    label = digits.classes[int(digits.test.labels[4])]
    assert (found.lost[0].label, found.lost[0].a) == (label, label)
    shown = np.asarray(Image.open(io.BytesIO(found.lost[0].png)))
    side = digits.test.images.shape[-1]
    assert np.array_equal(shown[:: shown.shape[0] // side, :: shown.shape[1] // side], digits.test.images[4, 0].numpy())


@pytest.mark.parametrize("part", ["images", "classes"])
def test_predictions_of_other_images_are_refused_in_a_sentence(digits, part):
    ours, strange = answers(digits, [1]), answers(digits, [2])
    getattr(strange, part)[5] = 60_000
    with pytest.raises(InvalidData, match=r"not of the .* test images of"):
        compare(ours, strange, digits)


def test_images_are_matched_whatever_their_order(digits):
    a, b = answers(digits, [1]), answers(digits, [2])
    back = np.argsort(-b.images)[:50]
    shuffled = Predictions(b.images[back], b.classes[back], b.confidences[back])
    found = compare(a, shuffled, digits)
    assert found.n == 50
    assert (found.a_only, found.b_only) == (0, 0)
    assert compare(a, b, digits).a_only == 1


def test_classes_and_confusion(digits):
    a, b = answers(digits, []), answers(digits, [5, 6])
    found = compare(a, b, digits)
    labels = digits.test.labels.numpy()[:100]
    expected = confusion_matrix(labels, b.classes, labels=range(10)) - confusion_matrix(
        labels, a.classes, labels=range(10)
    )
    assert np.array_equal(np.array(found.confusion), expected)
    assert sum(c.n for c in found.classes) == 100
    assert sum(round(c.n * (c.a - c.b)) for c in found.classes) == 2
    assert confusion(a.classes, labels, digits.classes).trace() == 100


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    truth, n, covered = 0.04 - 0.02, 2000, 0
    for _ in range(400):
        won, lost, _ = random.multinomial(n, [0.04, 0.02, 0.94])
        bounds = paired_difference(int(won), int(lost), n)[1]
        covered += bounds.low <= truth <= bounds.high
    assert 0.92 <= covered / 400 <= 0.98


def test_reliability_of_a_file_that_is_right_as_often_as_it_says():
    random = np.random.default_rng(0)
    confidences = random.uniform(0.1, 1.0, 20_000)
    honest = reliability(confidences, random.random(20_000) < confidences)
    assert honest.error < 0.02
    boastful = reliability(confidences, random.random(20_000) < confidences / 2)
    assert boastful.error == pytest.approx(confidences.mean() / 2, abs=0.02)
    assert sum(b.n for b in boastful.bins) == 20_000
    assert all(b.low <= b.confidence <= b.high for b in boastful.bins)


def test_only_the_settings_that_differ():
    a = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)))
    b = Recipe(steps=(Prune(sparsity=0.8), Quantize(weight_bits=4)), seed=3)
    assert [(d.path, d.a, d.b) for d in differences(a, b)] == [("prune.sparsity", 0.5, 0.8), ("seed", 0, 3)]
    assert differences(a, a) == []
    fewer = differences(a, Recipe(steps=(Prune(sparsity=0.5),)))
    assert [(d.path, d.a, d.b) for d in fewer] == [("quantize", Quantize(weight_bits=4), None)]
    assert [d.path for d in differences(Recipe(), b)] == ["prune", "quantize"]  # the fp32 file is made by no seed
