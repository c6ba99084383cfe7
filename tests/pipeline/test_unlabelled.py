"""Images without labels: everything is held against the fp32 file, from compressing to choosing, with a handful too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from compression.analysis.comparison import compare
from compression.analysis.layer_inspection import feature_maps
from compression.analysis.layer_sensitivity import Sweep
from compression.data import Dataset, Split, load
from compression.errors import InvalidData, InvalidModel, Unsupported
from compression.jobs import recipe_search
from compression.jobs.messages import Request
from compression.measure.accuracy import accuracy
from compression.models import load as load_model
from compression.network.graph import layers
from compression.pipeline.candidate import Prepared
from compression.pipeline.compress import compress_prepared, prepare
from compression.pipeline.measuring import measure, measure_file, stream
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Interval, Measurement, Predictions, wilson
from compression.steps import Prune, Quantize, Recover

COARSE = Recipe(steps=(Quantize(weight_bits=2),), quality="fast")


def unlabelled(data: Dataset, *sizes: int) -> Dataset:
    """Without labels, and with so many images for training, validation and testing."""
    splits = (data.train, data.validation, data.test)
    seen = [split.images[:size] for split, size in zip(splits, sizes or (10_000,) * 3, strict=True)]
    train, validation, test = (Split(images, torch.full((len(images),), -1)) for images in seen)
    return replace(
        data, name="folder:/photos", title="photos", classes=("photos",), labelled=False,
        train=train, validation=validation, test=test,
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_model("lenet300", "digits"), unlabelled(load("digits")))


@pytest.fixture(scope="module")
def measured(prepared: Prepared) -> Measurement:
    return measure(compress_prepared(prepared, COARSE), prepared)


def test_agreement_is_the_share_of_images_that_get_fp32s_class(prepared: Prepared, measured: Measurement) -> None:
    alike = measured.predictions.classes == prepared.baseline_predictions.classes
    n, found = len(alike), measured.accuracy
    assert 0 < (~alike).sum() < n
    assert found == Accuracy(
        float(alike.mean()), wilson(int(alike.sum()), n), n, 1.0, 1.0 - float(alike.mean()), None, "fp32"
    )
    assert found.significant
    assert prepared.data.classes == tuple(map(str, range(10)))


def test_no_number_is_called_accuracy(measured: Measurement) -> None:
    told = measured.summary()
    assert told["agreement"] == measured.accuracy.value and told["agreement_low"] < told["agreement"]
    assert not [name for name in told if "accuracy" in name or name == "p_value"]
    assert Measurement.from_plain(measured.to_plain()).accuracy == measured.accuracy


def test_an_accuracy_from_before_is_held_against_labels() -> None:
    old = {"value": 0.9, "interval": {"low": 0.8, "high": 1.0}, "n": 10, "baseline": 0.9, "drop": 0.0, "p_value": None}
    assert Accuracy.from_plain(old).reference == "labels"


def test_the_fp32_file_agrees_with_itself(prepared: Prepared) -> None:
    found = accuracy(prepared.baseline_predictions, prepared.baseline_predictions, prepared.data.truth)
    assert (found.value, found.drop, found.reference, found.significant) == (1.0, 0.0, "fp32", False)
    assert found.interval == Interval(1.0, 1.0)


def test_a_file_needs_another_to_be_compared_with(prepared: Prepared) -> None:
    file, data = compress_prepared(prepared, COARSE).onnx, unlabelled(load("digits"))
    with pytest.raises(InvalidData, match="no labels, so a file can only be compared with another"):
        measure_file(file, data)
    assert measure_file(file, data, baseline=prepared.baseline.onnx).accuracy.reference == "fp32"


def test_recovery_learns_from_the_teacher_alone(prepared: Prepared) -> None:
    taught = Recipe(steps=(Quantize(weight_bits=2), Recover(steps=40)), quality="fast")
    told = replace_labels(taught, False)
    assert compress_prepared(prepared, taught).onnx == compress_prepared(prepared, told).onnx
    with pytest.raises(Unsupported, match=r"photos has no labels, which recover\.method 'fine-tune' learns from"):
        compress_prepared(prepared, Recipe(steps=(Recover(steps=1, method="fine-tune"),), quality="fast"))


def replace_labels(recipe: Recipe, labels: bool) -> Recipe:
    return recipe.with_setting("recover.labels", labels)


def test_what_is_chosen_is_chosen_by_agreement(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = prepared.choosing
    assert (seen.validation.labels >= 0).all() and seen.test is prepared.data.test
    with torch.no_grad():
        expected = prepared.dense(seen.normalize(seen.validation.images)).argmax(1)
    assert (seen.validation.labels == expected).float().mean() > 0.99
    monkeypatch.setattr(recipe_search, "LADDER", (COARSE, Recipe(steps=(Quantize(),), quality="fast")))
    monkeypatch.setattr(recipe_search.worker, "prepared", lambda request: prepared)
    found = recipe_search.smallest_recipe(Request("lenet300", "digits", "folder:/photos", Recipe().to_json()), 0.5)
    assert found is not None and found.reference == "fp32" and 0 <= found.drop <= 0.5


def test_sensitivity_is_agreement_with_the_dense_network(prepared: Prepared) -> None:
    sweep = Sweep(prepared, images=32)
    curves = sweep.measure(next(iter(layers(prepared.dense))))
    assert curves.dense >= 0.96
    assert all(0 <= point.accuracy <= 1 for point in curves.points)


def test_no_image_is_said_to_be_of_a_class(prepared: Prepared) -> None:
    assert feature_maps(prepared, prepared.dense, next(iter(layers(prepared.dense))), 0).label == ""


def test_two_files_are_compared_by_who_answers_like_fp32(prepared: Prepared, measured: Measurement) -> None:
    fp32 = prepared.baseline_predictions
    found = compare(fp32, measured.predictions, prepared.data, fp32)
    assert (found.reference, found.both) == ("fp32", round(measured.accuracy.value * found.n))
    assert (found.a_only, found.b_only, found.neither) == (found.n - found.both, 0, 0)
    assert found.lost[0].label == found.lost[0].a != found.lost[0].b
    with pytest.raises(InvalidData, match="no labels"):
        compare(fp32, measured.predictions, prepared.data)


@pytest.mark.parametrize("sizes", [(13, 1, 2), (16, 0, 1), (1, 0, 1)])
def test_a_handful_of_images_is_enough(sizes: tuple[int, int, int]) -> None:
    data = unlabelled(load("digits"), *sizes)
    few = prepare(load_model("lenet300", "digits"), data)
    recipe = Recipe(steps=(Prune(sparsity=0.5), Quantize(weight_bits=4)), quality="fast")
    *_, last = stream(compress_prepared(few, recipe), few)
    assert last.accuracy.n == sizes[2] and last.accuracy.interval.low < 0.6  # so far do so few images reach
    best = compress_prepared(few, recipe.with_setting("quality", "best").with_setting("prune.sparsity", 0.3))
    assert len(best.onnx) < len(few.baseline.onnx)
    compress_prepared(few, Recipe(steps=(Recover(steps=2),), quality="fast"))
    Sweep(few).measure(next(iter(layers(few.dense))))


class Thousand(nn.Module):
    """A network for ImageNet's classes that answers each image with the output that its first pixel names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x.flatten(1))


def test_ten_of_a_thousand_classes_are_measured_and_compared() -> None:
    torch.manual_seed(0)
    names = ("tench", "goldfish", "n01484850", "n01491361_x", "4", "5", "cock", "hen", "ostrich", "brambling")
    data, outputs = replace(load("digits"), name="folder:/photos", classes=names), [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    ready = prepare(Thousand().eval(), data)
    assert len(ready.data.classes) == 1000 and sorted(set(ready.data.test.labels.tolist())) == outputs
    file = compress_prepared(ready, Recipe(steps=(Quantize(weight_bits=4),), quality="fast"))
    found = measure(file, ready)
    again = measure_file(file.onnx, data, baseline=ready.baseline.onnx)
    assert again.accuracy.value == found.accuracy.value
    compared = compare(ready.baseline_predictions, found.predictions, ready.data)
    assert [each.name for each in compared.classes] == [ready.data.classes[i] for i in outputs]
    assert len(compared.confused) == len(compared.confusion) <= 60


def test_numbers_of_classes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidModel, match="answers with 7 classes"):
        prepare(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)).eval(), load("digits"))


def test_predictions_of_some_images_are_compared_on_these() -> None:
    data, images = unlabelled(load("digits")), np.arange(5)
    some = Predictions(images, np.arange(5).astype(np.uint16), np.full(5, 0.5, np.float16))
    data = replace(data, classes=tuple(map(str, range(10))))
    few = Predictions(images[:3], some.classes[:3], some.confidences[:3])
    assert compare(some, some, data, few).n == 3
