"""What the lessons say is true: NumPy against the engine, and every right answer recomputed."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from compression import models
from compression.data import load
from compression.lessons import (
    architectures,
    distillation,
    forward,
    images,
    lowrank,
    measured,
    networks,
    own,
    pictures,
    pruning,
    quantization,
    sharing,
    together,
    why,
)
from compression.lessons.distillation import Course
from compression.lessons.networks import LENET, LENET300, RESNET
from compression.lessons.tables import TABLES
from compression.lessons.together import Budget
from compression.network.graph import layers as engine_layers
from compression.network.graph import macs
from compression.network.parametrizations import WeightQuantizer
from compression.network.tracing import trace


def pixels(dataset: str, n: int = 4) -> np.ndarray:
    side = 8 if dataset == "digits" else 28
    return np.random.default_rng(0).normal(size=(n, 1, side, side)).astype(np.float32)


@pytest.mark.parametrize("pair", [RESNET, LENET, LENET300, ("resnet20", "digits"), ("lenet5", "digits")])
def test_networks_answer_as_in_torch(pair: tuple[str, str]) -> None:
    x = pixels(pair[1])
    with torch.inference_mode():
        expected = models.load(*pair)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(forward.run(pair[0], networks.weights(*pair), x).scores, expected, atol=2e-4)


@pytest.mark.parametrize("pair", [RESNET, LENET, LENET300])
def test_layers_and_their_work_are_the_engines(pair: tuple[str, str]) -> None:
    shape = (1, 8, 8) if pair[1] == "digits" else (1, 28, 28)
    graph = trace(models.load(*pair), shape)
    found = networks.layers(*pair)
    assert [layer.name for layer in found] == list(engine_layers(graph))
    assert {layer.name: layer.macs for layer in found} == macs(graph, shape)
    assert len({layer.title for layer in found}) == len(found)


def test_watched_layers_show_what_they_read_and_said() -> None:
    x = pixels("fashion-mnist", 2)
    seen = forward.run("resnet20", networks.weights(*RESNET), x, ("0", "6.conv1")).seen
    assert seen["0"].inputs.shape == (2, 1, 28, 28)
    assert seen["6.conv1"].inputs.shape == (2, 16, 28, 28)
    assert seen["6.conv1"].outputs.shape == (2, 32, 14, 14)
    assert seen["6.conv1"].outputs.min() == 0


def test_the_sample_images_are_two_of_each_class_and_most_are_recognised() -> None:
    photo = images.fashion()
    assert np.bincount(photo.labels).tolist() == [2] * 10
    scores = forward.run("resnet20", networks.weights(*RESNET), photo.inputs).scores
    assert (scores.argmax(1) == photo.labels).mean() >= 0.8


def test_tiles_stand_side_by_side_with_gaps() -> None:
    weight = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    plane = pictures.mosaic(weight, weight > 3, columns=2)
    assert plane.values.shape == (5, 5)
    assert np.isnan(plane.values[2]).all() and np.isnan(plane.values[:, 2]).all()
    assert plane.values[3, 3] == weight[1, 1, 0, 0]
    assert plane.gone[0, 0] == 1 and np.isnan(plane.values[0, 0])
    assert pictures.strip(weight[0], columns=2).values.shape == (5, 5)


def test_rows_are_matched_by_their_plan_and_dropped_when_the_plan_changes() -> None:
    entry = {"steps": [{"step": "prune", "sparsity": 0.5}], "seed": 0}
    assert measured.agree(entry, {"steps": [{"step": "prune", "sparsity": 0.5, "new": 1}], "seed": 0, "other": 2})
    assert not measured.agree(entry, {"steps": [{"step": "prune", "sparsity": 0.6}], "seed": 0})
    assert not measured.agree(entry, {"steps": [], "seed": 0})


@pytest.mark.parametrize("table", TABLES)
def test_measured_rows_name_their_machine_and_lie_in_their_interval(table: str) -> None:
    rows = measured.rows(table)
    assert len({row.planned.name for row in rows}) == len(rows)
    for row in rows:
        if row.measurement is not None:
            accuracy = row.measurement.accuracy
            assert accuracy.interval.low <= accuracy.value <= accuracy.interval.high
            assert row.measurement.machine.onnxruntime
            assert row.recipe is not None


# Lesson 2, pruning


@pytest.mark.parametrize("name", pruning.LAYERS)
def test_masks_keep_the_largest_of_all_and_of_every_four(name: str) -> None:
    weight = pruning.layer(name).weight
    magnitudes, kept = np.abs(weight), pruning.mask(weight, 0.7, "weights")
    assert (~kept).sum() == round(0.7 * weight.size)
    assert magnitudes[~kept].max() <= magnitudes[kept].min()
    fours, pairs = magnitudes.reshape(-1, 4), pruning.mask(weight, 0.7, "2:4").reshape(-1, 4)
    assert (pairs.sum(1) == 2).all()
    assert (np.where(pairs, 0, fours).max(1) <= np.where(pairs, fours, np.inf).min(1)).all()


def test_groups_go_whole_and_the_least_first() -> None:
    weight = pruning.layer(pruning.STUDIED).weight
    for pattern, axes in (("filters", (1, 2, 3)), ("inputs", (0, 2, 3)), ("kernels", (2, 3))):
        kept = pruning.mask(weight, 0.5, pattern)
        assert (kept.all(axes) | ~kept.any(axes)).all()
        norms = np.square(weight).sum(axes)
        assert norms[~kept.any(axes)].max() <= norms[kept.any(axes)].min()
        assert kept.mean() == 0.5


def test_the_output_error_is_that_of_the_convolution() -> None:
    weight = pruning.layer("6.conv1").weight
    kept = pruning.mask(weight, 0.6, "weights")
    model = models.load(*RESNET)
    seen: list[torch.Tensor] = []
    model.get_submodule("6.conv1").register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    with torch.inference_mode():
        model(torch.tensor(images.fashion().inputs[::2]))
        dense, pruned = (
            torch.nn.functional.conv2d(seen[0], torch.tensor(w), stride=2, padding=1) for w in (weight, weight * kept)
        )
    expected = float((pruned - dense).square().sum() / dense.square().sum())
    assert pruning.cut("6.conv1", 0.6, "weights").error == pytest.approx(expected, rel=1e-3)


def test_a_cut_counts_its_bytes_and_shows_its_threshold() -> None:
    cut = pruning.cut(pruning.STUDIED, 0.5, "weights")
    assert cut.dense_bytes == 4 * 2304
    assert cut.stored_bytes == 4 * 1152 + 2304 // 8
    shown = cut.histogram
    assert shown.kept.sum() == shown.removed.sum() == 1152
    assert shown.threshold is not None
    assert shown.threshold == np.sort(np.abs(pruning.layer(pruning.STUDIED).weight), axis=None)[1151]
    assert pruning.cut(pruning.STUDIED, 0.5, "filters").stored_bytes == 4 * 1152
    assert (
        np.isnan(cut.picture.values).sum() > np.isnan(pruning.cut(pruning.STUDIED, 0.0, "weights").picture.values).sum()
    )


def test_what_the_network_still_sees_is_the_pruned_network() -> None:
    sight = pruning.sight(pruning.STUDIED, 0.8, "filters", 3)
    model = models.load(*RESNET)
    weight = model.get_parameter("3.conv1.weight")
    with torch.inference_mode():
        weight.mul_(torch.tensor(pruning.mask(weight.numpy(), 0.8, "filters")))
        shares = model(torch.tensor(images.fashion().inputs[3:4])).softmax(1)[0]
    assert sight.cut_answer == f"{images.CLASSES[int(shares.argmax())]} with {float(shares.max()):.1%} confidence"
    assert sight.dense_answer != sight.cut_answer


def test_refitting_leaves_less_error_than_any_other_values() -> None:
    weight = pruning.layer(pruning.STUDIED).weight
    kept = pruning.mask(weight, 0.8, "weights")
    h = measured.samples()["second_moment"]

    def error(w: np.ndarray) -> float:
        change = (w - weight).reshape(len(weight), -1)
        return float(((change @ h) * change).sum())

    best = pruning.refit_rows(weight, kept)
    assert (best[~kept] == 0).all()
    drawn = np.random.default_rng(0).normal(size=(5, *weight.shape)) * 0.003 * kept
    assert all(error(best) < error(best + step) for step in drawn)
    assert error(best) < 0.3 * error(weight * kept)


def test_what_lesson_2_says() -> None:
    said = pruning.facts()
    model = models.load(*RESNET)
    squares = (
        torch.cat([layer.weight.flatten() for layer in engine_layers(model).values()])
        .detach()
        .double()
        .square()
        .sort()[0]
    )
    half = len(squares) // 2
    assert said["weights"] == len(squares)
    assert said["half_energy"] == pytest.approx(float(squares[:half].sum() / squares.sum()), rel=1e-4)
    assert said["half_energy"] < 0.1  # the right answer to "energy"
    top = squares[len(squares) - round(0.1 * len(squares)) :]
    assert said["tenth_energy"] == pytest.approx(float(top.sum() / squares.sum()), rel=1e-4)
    assert said["error_50"] < said["error_24"] < said["error_filters"]  # "pattern"
    shares = pruning.allocation(0.8)
    assert sum(s.together * s.weights for s in shares) == pytest.approx(0.8 * said["weights"], abs=1)
    assert max(shares, key=lambda s: s.together) in shares[-3:]  # "layer"
    by_name = {found.name: found for found in pruning.criteria(0.8)}
    assert by_name["Gradient"].error > by_name["Weight"].error  # "criterion"
    assert all(found.refitted < found.error for found in by_name.values())
    assert said["naive_90"] is None or said["naive_90"] < 0.3  # "cliff"
    assert said["latency_90"] is None or said["latency_90"] > 0.9  # "speed"
    if said["together_80"] is not None and said["each_80"] is not None:
        assert said["together_80"] > said["each_80"]


# Lesson 3, quantization


@pytest.mark.parametrize("scheme", quantization.SCHEMES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_go_to_the_nearest_level(scheme: str, bits: int) -> None:
    w = quantization.weights_of("6.conv1").ravel()[:500]
    grid = quantization.levels(w, bits, scheme, 0.8)
    assert (np.diff(grid) > 0).all()
    brute = np.abs(w[:, None] - grid).min(1)
    np.testing.assert_allclose(np.abs(quantization.nearest(w, grid) - w), brute, atol=1e-7)
    counts = {"symmetric": 2**bits - 1, "asymmetric": 2**bits, "logarithmic": 2**bits - 1, "ternary": 3, "binary": 2}
    assert len(grid) == counts[scheme]
    assert scheme == "binary" or 0.0 in np.round(grid, 9)


def test_the_symmetric_grid_is_the_engines() -> None:
    w = torch.tensor(quantization.weights_of(quantization.STUDIED))
    scale = w.abs().amax((1, 2, 3)) / 7
    expected = WeightQuantizer(scale, 4)(w).numpy()
    rows = w.numpy().reshape(16, -1)
    ours = quantization.on_symmetric_grid(rows, np.abs(rows).max(1, keepdims=True), 4)
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, atol=1e-6)
    one = quantization.nearest(rows.ravel(), quantization.levels(rows, 4, "symmetric", 0.5))
    np.testing.assert_allclose(
        quantization.on_symmetric_grid(rows.ravel(), 0.5 * np.abs(rows).max(), 4), one, atol=1e-6
    )


def test_the_clip_curve_adds_up_and_its_minimum_is_the_best() -> None:
    inside, outside, together = quantization.clip_curve(quantization.STUDIED, 3)
    np.testing.assert_allclose(inside.y + outside.y, together.y)
    w = quantization.weights_of(quantization.STUDIED).ravel()
    at = 20
    rounded = quantization.nearest(w, quantization.levels(w, 3, "symmetric", float(together.x[at])))
    assert together.y[at] == pytest.approx(float(np.square(rounded - w).sum() / np.square(w).sum()), rel=1e-4)
    assert outside.y[-1] == 0
    assert together.y.min() == together.y[np.isclose(together.x, quantization.best_clip(quantization.STUDIED, 3))][0]


def test_the_convolution_in_whole_numbers_is_nearly_the_one_in_float() -> None:
    model = models.load(*RESNET)
    x = torch.tensor(images.fashion().inputs[5:6])
    expected = torch.nn.functional.conv2d(x, model.get_parameter("0.weight"), padding=1)[0, 7, 3, 27].item()
    found = quantization.convolution(5, 7, 3, 27)
    assert found.exact == pytest.approx(expected, abs=1e-5)
    assert found.total == found.products.sum()
    assert found.products[1, 1] == (int(found.pixels[1, 1]) - found.zero) * int(found.weights[1, 1])
    assert found.result == pytest.approx(found.total * found.pixel_scale * found.weight_scale)
    reach = 0.5 * found.pixel_scale * np.abs(found.weights).sum() * found.weight_scale + 9 * 2 * found.weight_scale
    assert abs(found.result - expected) < reach


def test_what_lesson_3_says() -> None:
    said = quantization.facts()
    assert said["bit_db"] == pytest.approx(6.02, abs=0.3)  # "bit"
    assert said["clip_3"] < 0.7 < said["clip_8"]  # "clip"
    assert abs(said["log_8_db"] - said["log_db"]) < 0.5  # "log"
    assert said["linear_db"] < said["log_db"]
    assert 2.5 < said["outlier_bits"] < 3.5  # "outlier"
    x = quantization.studied_inputs().astype(np.float64)
    wide = np.round(x / (10 * x.max() / 255)) * (10 * x.max() / 255)
    expected = 10 * np.log10(np.square(x).sum() / np.square(wide - x).sum())
    assert said["outlier_db"] == pytest.approx(expected, abs=0.01)
    assert said["largest_sum"] == 144 * 255 * 127 < 2 ** said["sum_bits"]  # "accumulator"
    assert 2**15 < said["largest_sum"] < 2**31
    assert said["tensor_db"] < said["channel_db"] < said["best_db"]
    assert said["best_2"] is None or said["best_2"] > 0.88  # "two"
    assert said["naive_2"] is None or said["naive_2"] < 0.3


def test_ranges_grow_with_the_images() -> None:
    largest, percentile = quantization.ranges(99.0)
    assert (np.diff(largest.y) >= 0).all()
    assert (percentile.y <= largest.y).all()


# Lesson 4, distillation


def test_the_students_loss_and_gradient_are_those_of_torch() -> None:
    course, train = Course(temperature=3.0, alpha=0.7), distillation.digits("train")
    tensors = distillation.fresh_student(8, np.random.default_rng(1))
    batch, known = np.arange(20), np.arange(len(train.labels)) % 3 == 0
    found, gradient = distillation.distillation_loss(
        tensors, train, distillation.teacher_scores(), known, batch, course
    )
    w = {name: torch.tensor(t, requires_grad=True) for name, t in tensors.items()}
    x, labels = torch.tensor(train.inputs[batch]).double(), torch.tensor(train.labels[batch])
    z = torch.relu(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]
    soft = torch.nn.functional.kl_div(
        (z / 3).log_softmax(1), (torch.tensor(distillation.teacher_scores()[batch]).double() / 3).softmax(1),
        reduction="none",
    ).sum(1)  # fmt: skip
    hard = torch.nn.functional.cross_entropy(z, labels, reduction="none") * torch.tensor(known[batch])
    loss = (0.7 * 9 * soft + 0.3 * hard).mean()
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-6)
    for name, tensor in w.items():
        np.testing.assert_allclose(gradient[name], tensor.grad.numpy(), atol=1e-8)  # type: ignore[union-attr]


def test_the_same_course_makes_the_same_student() -> None:
    one, two = (next(iter(distillation.teach(Course(seed=3)))) for _ in range(2))
    assert one[0] == two[0]
    assert next(iter(distillation.teach(Course(seed=4))))[0] != one[0]


def test_the_splits_are_the_datasets() -> None:
    data = load("digits")
    x = data.normalize(data.test.images).reshape(-1, 64).numpy()
    np.testing.assert_allclose(distillation.digits("test").inputs, x, atol=1e-6)
    assert (distillation.digits("test").labels == data.test.labels.numpy()).all()
    assert len(distillation.digits("train").labels) == len(data.train)


def test_what_lesson_4_says() -> None:
    said, shares = distillation.facts(), distillation.affinity(4.0)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert said["top_8"] < 0.3 < 0.8 < said["top_1"]  # "temperature"
    assert said["shirt_near"] == "T-shirt/top"  # "shirt"
    assert said["shirt_far_share"] < said["shirt_near_share"]
    assert 60 < said["gradient_falls"] < 140  # "gradient"
    cells, labels = distillation.cells(), said["labels_only"]
    if cells is not None:
        assert said["taught"] > labels + 0.1  # "labels"
        assert (cells[1:] > cells[0].max()).all()  # "alpha"
    three = forward.softmax(np.array([4.0, 2.0, 0.0])), forward.softmax(np.array([4.0, 2.0, 0.0]), 4.0)
    assert [f"{share:.1%}" for share in np.concatenate(three)] == ["86.7%", "11.7%", "1.6%", "50.6%", "30.7%", "18.6%"]


def test_a_measured_student_is_the_one_that_learns_here() -> None:
    found = distillation.grid()
    if found is not None:
        mine = [distillation.outcome(Course(4.0, 0.9, seed=seed)) for seed in range(distillation.SEEDS)]
        assert found[4.0, 0.9].mean == pytest.approx(np.mean(mine), abs=0.02)


# Lesson 5, sharing


def test_k_means_is_scikit_learns_from_the_same_start() -> None:
    w = np.sort(networks.layer(*RESNET, "3.conv1").weight.ravel().astype(np.float64))
    start = np.linspace(w[0], w[-1], 8)
    centres, history = sharing.k_means(w, start)
    oracle = KMeans(8, init=start[:, None], n_init=1, max_iter=sharing.ROUNDS, tol=0, algorithm="lloyd").fit(w[:, None])
    np.testing.assert_allclose(centres, np.sort(oracle.cluster_centers_[:, 0]), rtol=0.02)
    assert (np.diff(history) <= 1e-12).all()


@pytest.mark.parametrize("counts", [[8, 4, 2, 1, 1], [1, 1, 1, 1], [5], [7, 0, 3], list(range(1, 30))])
def test_huffman_codes_are_prefix_codes_of_least_length(counts: list[int]) -> None:
    found = np.array(counts)
    lengths = sharing.huffman(found)
    assert ((lengths == 0) == (found == 0)).all()
    if (found > 0).sum() > 1:
        assert (2.0 ** -lengths[found > 0]).sum() == 1  # Kraft's sum of a complete code
    mean, least = (lengths * found).sum() / found.sum(), sharing.entropy(found)
    assert least <= mean <= least + 1
    if counts == [8, 4, 2, 1, 1]:
        assert (mean, least) == (1.875, 1.875)  # the exercise


def test_gaps_lead_back_to_the_places() -> None:
    kept = np.zeros(500, bool)
    kept[[0, 3, 40, 41, 200, 499]] = True
    gaps = sharing.zeros_between(kept)
    assert gaps.max() < 2**sharing.GAP_BITS
    places, fillers = np.cumsum(gaps + 1) - 1, len(gaps) - 6
    assert set(np.flatnonzero(kept)) <= set(places)
    assert fillers == sum((b - a - 1) // 32 for a, b in pairwise([-1, *np.flatnonzero(kept)]))


def test_stages_shrink_and_simulate_what_they_store() -> None:
    found = sharing.stages(0.8, 4)
    assert [s.size_bytes for s in found] == sorted((s.size_bytes for s in found), reverse=True)
    assert found[0].size_bytes == 4 * (64 * 300 + 300 * 100 + 100 * 10 + 410)
    assert found[0].accuracy == pytest.approx(models.card(*LENET300).test_accuracy)
    assert sharing.stages(0.0, 6)[2].accuracy > 0.96


def test_what_lesson_5_says() -> None:
    said = sharing.facts()
    book = sharing.codebook(sharing.STUDIED, 16, "linear")
    assert said["weights"] == book.counts.sum() == 36_864
    assert said["entropy"] <= said["huffman"] < 4
    assert round(said["huffman"], 1) == 3.4  # "huffman"
    assert said["top_linear"] > 1.3 * said["top_density"]  # "start"
    assert 0.4 < said["positions_share"] < 0.6  # "positions"
    w = networks.layer(*RESNET, "11.conv2").weight.ravel()
    nearest = book.centres[np.abs(w[:, None] - book.centres).argmin(1)]
    assert said["entries_error"] == pytest.approx(float(np.square(nearest - w).sum() / np.square(w).sum()), rel=0.01)


# Lesson 6, low rank


@pytest.mark.parametrize("form", lowrank.FORMS)
def test_two_thin_layers_compute_the_product(form: str) -> None:
    weight = networks.layer(*RESNET, "6.conv1").weight
    assert (lowrank.as_kernel(lowrank.as_matrix(weight, form), weight.shape, form) == weight).all()
    u, s, vt = lowrank.decompose("6.conv1", form)
    rank, (out, inputs, kh, kw) = 5, weight.shape
    low = torch.tensor(lowrank.as_kernel((u[:, :rank] * s[:rank]) @ vt[:rank], weight.shape, form))
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, inputs, 9, 9)).astype(np.float32))
    whole, conv = torch.nn.functional.conv2d(x, low, padding=1), torch.nn.functional.conv2d
    if form == "channel":
        inner = conv(x, torch.tensor(vt[:rank]).reshape(rank, inputs, kh, kw), padding=1)
        thin = conv(inner, torch.tensor(u[:, :rank] * s[:rank]).reshape(out, rank, 1, 1))
    else:
        column = torch.tensor((u[:, :rank] * s[:rank]).T).reshape(rank, kh, inputs).transpose(1, 2)[..., None]
        row = torch.tensor(vt[:rank]).reshape(rank, kw, out).permute(2, 0, 1)[:, :, None]
        thin = conv(conv(x, column, padding=(1, 0)), row, padding=(0, 1))
    torch.testing.assert_close(thin, whole, atol=1e-4, rtol=1e-3)


def test_what_lesson_6_says() -> None:
    said = lowrank.facts()
    weight = torch.tensor(networks.layer(*RESNET, lowrank.STUDIED).weight).reshape(64, 576).double()
    s = torch.linalg.svdvals(weight)
    held = (s.square().cumsum(0) / s.square().sum()).numpy()
    assert said["ninety"] == int((held < 0.9).sum()) + 1
    assert said["full"] / 3 < said["ninety"] < 2 * said["full"] / 3  # "energy"
    assert said["full_cost"] > 1  # "full"
    assert said["break_even"] == pytest.approx(64 * 576 / (576 + 64))
    assert said["half_error"] == pytest.approx(1 - held[31], rel=1e-4)
    assert said["half_output"] < said["half_error"] / 2  # "output"
    assert said["spatial_output"] < said["half_output"]  # "form"
    assert pytest.approx(115.2) == 128 * 128 * 9 / (1152 + 128)  # the exercise
    assert 128 * 128 * 9 / (384 + 384) == 192


# Lesson 1, why networks compress


def test_shares_and_bills_add_up() -> None:
    for name, pair in why.NETWORKS.items():
        shape = (1, 8, 8) if pair[1] == "digits" else (1, 28, 28)
        counted = macs(trace(models.load(*pair), shape), shape)
        found = why.shares(name)
        assert sum(s.together for s in found) == pytest.approx(1)
        assert sum(s.each for s in found) == pytest.approx(1)
        bill = why.bill(name, 32, "Bluetooth, 1 Mbit/s")
        assert bill.macs == sum(counted.values())
        assert bill.size_bytes == 4 * sum(s.weights for s in found)
        assert bill.seconds == bill.size_bytes * 8 / 1e6
        assert why.bill(name, 2, "Bluetooth, 1 Mbit/s").size_bytes == bill.size_bytes / 16
    assert 16 * 32 * 9 * 14**2 == 903_168  # the exercise


def test_what_lesson_1_says() -> None:
    said = why.facts()
    first = [layer for layer in networks.layers(*RESNET) if layer.positions == 784][1:]
    assert said["stage_weights"] == pytest.approx(sum(x.weight.size for x in first) / said["weights"])
    assert said["stage_macs"] == pytest.approx(sum(x.macs for x in first) / said["macs"])
    assert 0.3 < said["stage_macs"] < 0.4  # "stage"
    assert said["dram_ratio"] > 100  # "energy"
    assert said["smallest_half"] > said["random_half"] + 0.1  # "random"
    assert said["hidden_weights"] > 0.9 and said["hidden_macs"] < 0.2  # "lenet"
    model, data = models.load(*LENET300), load("digits")
    weights = [layer.weight for layer in engine_layers(model).values()]
    with torch.inference_mode():
        cut = torch.cat([w.abs().flatten() for w in weights]).sort()[0][25_100 - 1]
        for w in weights:
            w.mul_(w.abs() > cut)
        right = (model(data.normalize(data.test.images)).argmax(1) == data.test.labels).float().mean()
    assert said["smallest_half"] == pytest.approx(float(right), abs=0.003)
    if said["sparse_latency"] is not None:
        assert said["sparse_latency"] > 0.9 > said["small_latency"]  # "axes"


# Lesson 7, efficient architectures


@pytest.mark.parametrize("groups", [2, 4])
def test_work_is_that_of_the_layers(groups: int) -> None:
    n, k, side = 16, 3, 8
    layers = {
        "standard": [nn.Conv2d(n, n, k, padding=1, bias=False)],
        "grouped": [nn.Conv2d(n, n, k, padding=1, groups=groups, bias=False)],
        "separable": [nn.Conv2d(n, n, k, padding=1, groups=n, bias=False), nn.Conv2d(n, n, 1, bias=False)],
        "shuffled": [
            nn.Conv2d(n, n, 1, groups=groups, bias=False), nn.Conv2d(n, n, k, padding=1, groups=n, bias=False),
            nn.Conv2d(n, n, 1, groups=groups, bias=False),
        ],
    }  # fmt: skip
    for kind, parts in layers.items():
        graph = trace(nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), (n, side, side))
        found = architectures.convolution(kind, n, n, k, side, groups)
        assert found.macs == sum(macs(graph, (n, side, side)).values())
        assert found.weights == sum(p.numel() for p in graph.parameters())


def test_the_shuffle_is_torchs_and_lets_everything_through() -> None:
    x = torch.arange(12.0).reshape(1, 12, 1, 1)
    assert nn.ChannelShuffle(3)(x).flatten().tolist() == architectures.shuffle(12, 3).tolist()
    assert architectures.mixing(16, 4, shuffled=True).all()
    assert architectures.mixing(16, 1, shuffled=False).all()


def test_what_lesson_7_says() -> None:
    said = architectures.facts()
    assert said["separable_share"] == pytest.approx(1 / 64 + 1 / 9)  # "separable"
    assert said["pointwise_share"] > 0.8  # "pointwise"
    assert said["plain_reach"] == 0.25  # "reach"
    assert said["separable_time"] is None or said["separable_share"] < said["separable_time"] < 1  # "clock"
    assert said["mobile_weights"] > 2 * said["resnet_weights"]  # "weights"
    assert architectures.convolution("separable", 32, 64, 5, 28, 1).macs == 2_232_832  # the exercise
    assert architectures.convolution("standard", 32, 64, 5, 28, 1).macs == 40_140_800


# Lesson 8, putting it together


def test_overflow_is_counted_pair_by_pair() -> None:
    eight, seven, six = together.saturation()
    assert eight.share > seven.share == six.share == seven.error == 0
    assert 2 * 255 * 127 > together.LIMIT > 2 * 255 * 63  # seven bits can never overflow


def test_a_choice_keeps_the_budget_and_is_the_most_accurate() -> None:
    everything = together.choose(Budget(1e6, 10, 1))
    measured_rows = [row for row in measured.rows("axes") if row.measurement]
    assert len(everything.fitting) == len(measured_rows)
    assert together.choose(Budget(0, 10, 1)).best is None
    if measured_rows:
        assert everything.best is not None
        assert everything.best.accuracy == max(row.accuracy or 0 for row in measured_rows)
    tight = together.choose(Budget(150, 10, 1))
    assert all(row.measurement and row.measurement.size_bytes <= 150_000 for row in tight.fitting)


def test_what_lesson_8_says() -> None:
    said = together.facts()
    assert said["prune_first"] < said["round_first"]  # "order"
    close = together.orders(0.7, 8).values
    assert abs(close[0] - close[1]) < 0.02 * close[0]
    assert 0 < said["overflow_8"] < 1e-3  # "saturation"
    assert said["pair"] > said["limit"] > said["pair"] / 2
    if said["new_norm"] is not None and said["kept_norm"] is not None:
        assert said["new_norm"] - said["kept_norm"] > 0.1 and said["new_norm"] < 0.94  # "norm"
    if said["float_latency"] is not None:
        assert said["byte_latency"] < 0.8 < said["float_latency"]  # "bits"


# Lesson 9, your own network


def test_readings_of_pixels_are_those_of_the_engine() -> None:
    model, data = models.load(*own.RESNET_DIGITS), load("digits")
    pixels, labels = data.test.images.float(), data.test.labels
    inputs = {own.TRAINED: data.normalize(data.test.images), own.UNIT: pixels / 255, own.BYTES: pixels,
              own.INVERTED: data.normalize(255 - data.test.images)}  # fmt: skip
    with torch.inference_mode():
        for reading, x in inputs.items():
            right = (model(x).argmax(1) == labels).float().mean()
            assert own.answered(reading) == pytest.approx(float(right), abs=0.003)


def test_no_placement_is_cheaper_than_the_cut() -> None:
    """Beside none, all, and each operator moved to the other type."""
    best = own.placed(1)
    inside = {operator.name for operator in best.operators if operator.integer}
    names = {operator.name for operator in best.operators}
    for other in (set[str](), names, *(inside ^ {name} for name in names)):
        found = own.priced(other)
        assert found.kernels_ms + found.conversions_ms >= best.kernels_ms + best.conversions_ms - 1e-9
    assert own.priced(set()).borders == 0 == own.priced(set()).integers


def test_a_network_of_the_users_comes_before_the_zoos(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(known.model, known.dataset) for known in own.networks_of_the_user()] == [RESNET]
    brought = replace(own.card(*RESNET), model="mine", dataset=own.OWN)
    monkeypatch.setattr(own, "cards", lambda: [own.card(*RESNET), brought])
    assert own.networks_of_the_user() == [brought]


def test_what_lesson_9_says() -> None:
    said = own.facts()
    assert said["as_trained"] > 0.99 and said["not_normalized"] < 1 / 3 and 0.9 < said["others"] < said["as_trained"]
    assert said["flash_32"] > said["flash"] > said["flash_8"]  # "flash"
    assert said["flash_8"] == said["parameters"] + 60 * 1024
    assert said["all"] > 0.95 and said["everywhere"] > said["best"] < 0.95  # "everywhere"
    assert 0.2 < said["chosen"] / said["operators"] < 0.45  # "fastest"
    assert said["dear_borders"] < said["free_borders"]  # "dear"
    assert min(own.tried().values) == said["best"]
    assert said["small_latency"] < 0.8 and 0.2 < said["small_share"] < 0.3  # "breaks"
