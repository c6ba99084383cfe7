"""Recovery: masks and grids survive training, losses are their formulas, a stopped one goes on, labels stay unread."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F

from benchmarks import recovery
from benchmarks.quiet import Quiet
from compression import models
from compression.data import load
from compression.data.dataset import Split
from compression.errors import Cancelled, InvalidSetting, Unsupported
from compression.host.onnx_runtime import session
from compression.models import ARCHITECTURES, training_recipes
from compression.models.provenance import producer_id
from compression.network.graph import layers
from compression.network.integer_grids import largest
from compression.network.parametrizations import Codebook, Mask, WeightQuantizer, find, learn_values_, learned_values
from compression.pipeline import compress as pipeline
from compression.pipeline.compress import compress_prepared, prepare, simulate
from compression.recipe import Recipe
from compression.steps import Channels, Prune, Quantize, Recover, Share, steps_for
from compression.techniques.recovery import cubic_schedule
from compression.techniques.recovery.recover import start_between_
from compression.training import TrainingConfig, losses
from tests.networks import trained

SHORT = {"steps": 24, "batch_size": 32}
METHODS = ("distill", "fine-tune", "hint", "attention", "relational", "decoupled")


@pytest.fixture(scope="module")
def prepared():
    data = load("digits")
    return prepare(trained(data), data, calibration_images=128)


def recipe(*steps, **settings):
    return Recipe(steps=(*steps, Recover(**(SHORT | settings))), calibration_images=128)


def accuracy(graph, data):
    with torch.no_grad():
        return (graph(data.normalize(data.test.images)).argmax(1) == data.test.labels).float().mean().item()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_recovers_what_pruning_cost(prepared, method):
    steps = (Prune(sparsity=0.7, refit=False),)
    before = accuracy(simulate(prepared, Recipe(steps=steps, calibration_images=128)), prepared.data)
    after = accuracy(simulate(prepared, recipe(*steps, method=method, steps=40, learning_rate=0.005)), prepared.data)
    assert after > before + 0.08


@pytest.mark.parametrize("schedule", ["none", "cubic", "rewind"])
def test_masks_and_grids_are_exact_after_training(prepared, schedule):
    steps = (Prune(sparsity=0.8, refit=False), Quantize(weight_bits=2, rounding="nearest"))  # there is much to recover
    graph = simulate(prepared, recipe(*steps, schedule=schedule, learning_rate=0.005, steps=150))
    plain = simulate(prepared, Recipe(steps=steps, calibration_images=128))
    zeros = total = moved = 0
    for name, layer in layers(graph).items():
        mask, quantizer = find(layer, Mask), find(layer, WeightQuantizer)
        weight = layer.weight.detach()
        assert not weight[~mask.keep].any()
        codes = weight / quantizer.scale.view(-1, *[1] * (weight.dim() - 1))
        torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)
        assert codes.abs().max() <= largest(2, quantizer.kind) + 1e-4
        zeros, total = zeros + int((~mask.keep).sum()), total + weight.numel()
        moved += int((weight != layers(plain)[name].weight).sum())
        if schedule != "cubic":
            assert torch.equal(mask.keep, find(layers(plain)[name], Mask).keep)
    assert zeros == round(0.8 * total)
    assert moved > 0


def test_codebooks_learn_and_stay_books(prepared):
    graph = simulate(prepared, recipe(Share(entries=2, assignment="nearest"), learning_rate=0.005))
    plain = simulate(prepared, Recipe(steps=(Share(entries=2, assignment="nearest"),), calibration_images=128))
    books = [(find(layers(g)[name], Codebook).entries for g in (graph, plain)) for name in layers(graph)]
    assert any(not torch.equal(ours, theirs) for ours, theirs in books)
    for layer in layers(graph).values():
        codes = find(layer, Codebook).codes(layer.parametrizations.weight.original)
        assert torch.equal(codes, codes.round()) and len(codes.unique()) <= 2


@pytest.mark.parametrize(
    "steps",
    [
        (Prune(sparsity=0.5), Quantize(weight_bits=4)),
        (Channels(amount=0.1, part="all", round_to=4), Quantize()),
        (Prune(sparsity=0.5), Share(entries=8)),
    ],
    ids=["sparse", "channels", "shared"],
)
def test_file_agrees_and_the_recipe_reproduces_it(prepared, steps):
    asked = recipe(*steps)
    candidate = compress_prepared(prepared, asked)
    assert compress_prepared(prepared, Recipe.from_query(asked.to_query())).onnx == candidate.onnx
    images = prepared.data.normalize(prepared.data.test.images)
    answers = session(candidate.onnx).run(None, {"image": images.numpy()})[0]
    with torch.no_grad():
        simulated = simulate(prepared, asked)(images).numpy()
    assert (answers.argmax(1) == simulated.argmax(1)).mean() >= 0.995


def test_a_stopped_recovery_goes_on_to_the_same_file(prepared, tmp_path):
    asked, checkpoint = recipe(Quantize(weight_bits=2), method="hint"), tmp_path / "run.safetensors"
    whole = compress_prepared(prepared, asked)
    points = []
    with pytest.raises(Cancelled):
        compress_prepared(prepared, asked, learn=points.append, stop=lambda: bool(points) and points[-1].step >= 10,
                          checkpoint=checkpoint)  # fmt: skip
    assert checkpoint.is_file() and points[-1].step < 20
    seen = []
    resumed = compress_prepared(prepared, asked, learn=seen.append, checkpoint=checkpoint)
    assert resumed.onnx == whole.onnx and seen[0].step > points[0].step


def test_a_training_whose_masks_have_not_closed_yet_is_not_ended_there(prepared):
    steps = (Prune(sparsity=0.8, refit=False),)
    with pytest.raises(Unsupported, match="Until step 16 more and more weights go"):
        simulate(prepared, recipe(*steps, schedule="cubic", until=16))
    points = []
    simulate(prepared, recipe(*steps, schedule="cubic", until=17), learn=points.append)
    assert (points[-1].step, points[-1].steps) == (17, 24)
    assert points[-1].accuracy is not None


def test_the_curve_starts_before_training_and_ends_with_the_last_step(prepared):
    points = []
    simulate(prepared, recipe(Quantize(weight_bits=2)), learn=points.append)
    assert points[0].step == 0 and points[0].accuracy is not None
    assert points[-1].step == points[-1].steps == 24 and points[-1].seconds_left == 0
    assert sum(p.accuracy is not None for p in points) >= 8


@pytest.mark.parametrize("schedule", ["none", "cubic", "rewind"])
def test_a_training_that_ruins_the_network_is_given_up(prepared, schedule):
    steps = (Prune(sparsity=0.6), Quantize(weight_bits=4))
    plain = Recipe(steps=steps, calibration_images=128)
    ruined = recipe(*steps, schedule=schedule, learning_rate=1.0)
    assert compress_prepared(prepared, ruined).onnx == compress_prepared(prepared, plain).onnx


@pytest.mark.parametrize("last", [Share(entries=2), Quantize(scheme="binary")], ids=["shared", "quantized"])
def test_grids_wait_for_masks_that_close_gradually(prepared, last):
    steps = (Prune(sparsity=0.8, refit=False), last)
    points: list = []
    graph = simulate(prepared, recipe(*steps, schedule="cubic", steps=48), learn=points.append)
    nearly_dense = next(p.accuracy for p in points if p.accuracy is not None)
    start = simulate(prepared, Recipe(steps=steps, calibration_images=128))
    assert nearly_dense > accuracy(start, prepared.data) + 0.05
    for layer in layers(graph).values():
        kind = find(layer, Codebook) or find(layer, WeightQuantizer)
        codes = kind.codes(layer.parametrizations.weight.original.detach())
        assert not kind.open and len(codes.unique()) <= 3  # with the zeros


def test_grids_are_fitted_anew_to_what_stays():
    torch.manual_seed(0)
    weight = torch.randn(4, 60) * torch.tensor([[0.1], [1.0], [3.0], [0.5]])
    for values in (WeightQuantizer(torch.ones(4), 4), Codebook(torch.zeros(1, 8), torch.ones(4))):
        cubic_schedule._fit_anew_(values, weight, None)
        noise = (values(weight) - weight).square().sum(1) / weight.square().sum(1)
        assert noise.max() < {WeightQuantizer: 0.02, Codebook: 0.06}[type(values)]


def _scales(layer):
    """Of the channels that have weights."""
    return find(layer, WeightQuantizer).scale[layer.weight.flatten(1).abs().sum(1) > 0]


@pytest.mark.parametrize(("schedule", "learned"), [("none", True), ("cubic", True), ("cubic", False)])
def test_one_scale_for_a_layer_stays_one(prepared, schedule, learned):
    steps = (Prune(sparsity=0.8, refit=False), Quantize(weight_bits=2, granularity="tensor", rounding="nearest"))
    asked = recipe(*steps, schedule=schedule, learned_steps=learned, learning_rate=0.005, steps=100)
    graph, plain = (simulate(prepared, r) for r in (asked, Recipe(steps=steps, calibration_images=128)))
    ours, theirs = ([_scales(layer) for layer in layers(g).values()] for g in (graph, plain))
    assert all(scales.max() / scales.min() < 1.001 for scales in ours)  # files hold halves
    assert any(abs(scales.max() / old.max() - 1) > 0.01 for scales, old in zip(ours, theirs, strict=True))


def test_the_only_step_of_a_schedule_closes_all_masks(prepared):
    candidate = compress_prepared(prepared, recipe(Prune(sparsity=0.9), schedule="cubic", steps=1))
    assert candidate.reached[0].reached == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize(("student", "teacher"), [("lenet300", "lenet5"), ("lenet5", "lenet300")])
def test_hints_between_networks_with_and_without_feature_maps(student, teacher):
    ready = prepare(models.load(student, "digits"), load("digits"), calibration_images=128)
    points = []
    simulate(ready, recipe(Prune(sparsity=0.8), method="hint", teacher=teacher), learn=points.append)
    assert points[-1].step == 24 and 0 < points[-1].loss < 100


def test_hints_of_an_embedding_with_positions_are_those_of_its_mean():
    hints, vector = losses.Hints([3], [3]), torch.randn(2, 3)
    mapped = vector[:, :, None, None] + torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    torch.testing.assert_close(hints([mapped], [vector]), torch.zeros(()), atol=1e-6, rtol=0)


def test_the_longest_training_begins_like_any_other(prepared):
    points = []
    asked = recipe(Prune(sparsity=0.5), steps=1_000_000, until=2, images="calibration", batch_size=128)
    simulate(prepared, asked, learn=points.append)
    assert points[-1].step == 2


def test_few_entries_keep_to_seven_bits_while_they_learn():
    for count, most in ((16, 63), (256, 127)):
        book = Codebook(torch.linspace(-300, 300, count)[None], torch.ones(2))
        assert book.codes(torch.randn(2, 50) * 300).abs().max() == most


def test_statistics_that_are_frozen_stay(prepared):
    steps = (Prune(sparsity=0.7, refit=False),)
    asked = recipe(*steps, freeze_batch_norm="on", learning_rate=0.005).with_setting("batch_norm", "reestimate")
    graph, plain = simulate(prepared, asked), simulate(prepared, asked.untrained)
    ours, theirs = ({n: b for n, b in g.named_buffers() if n.endswith("running_mean")} for g in (graph, plain))
    assert ours and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(layers(graph)[name].weight, layers(plain)[name].weight) for name in layers(graph))


def test_the_same_recipe_by_other_teachers_has_another_maker(tmp_path, monkeypatch):
    taught, alone = recipe(teacher="lenet300"), recipe()
    before = producer_id(taught, "digits")
    assert (
        before != producer_id(alone, "digits") == producer_id(recipe(method="fine-tune", teacher="lenet300"), "digits")
    )
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    models.train("lenet300", "digits", epochs=1)
    assert producer_id(taught, "digits") != before
    with pytest.raises(Unsupported, match="no stored weights of 'resnet20_quarter'"):
        producer_id(recipe(teacher="resnet20_quarter"), "digits")


def test_labels_are_not_read_where_they_are_off(prepared):
    poisoned = dataclasses.replace(
        prepared.data,
        train=Split(prepared.data.train.images, prepared.data.train.labels.flip(0)),
        validation=Split(prepared.data.validation.images, prepared.data.validation.labels.flip(0)),
    )
    other = dataclasses.replace(prepared, data=poisoned)
    for method in ("distill", "decoupled"):
        asked = recipe(Prune(sparsity=0.8), labels=False, method=method)
        assert compress_prepared(prepared, asked).onnx == compress_prepared(other, asked).onnx
    asked = recipe(Prune(sparsity=0.8), alpha=0.5)
    assert compress_prepared(prepared, asked).onnx != compress_prepared(other, asked).onnx


def test_settings_that_do_not_go_together():
    with pytest.raises(InvalidSetting, match=r"recover\.labels must be true"):
        Recover(method="fine-tune", labels=False)
    with pytest.raises(InvalidSetting, match=r"recover\.assistant must be none where recover\.method is 'hint'"):
        Recover(method="hint", assistant="resnet8")
    assert steps_for(3, 0.09) == 2000 and steps_for(0.0001, 5.0) == 1


def test_teachers_are_the_networks_of_the_zoo():
    for name in ("teacher", "assistant"):
        choices = Recover.model_fields[name].annotation.__args__
        assert set(choices[1:]) == set(ARCHITECTURES)


def test_response_is_hintons_formula_and_keeps_the_size_of_its_gradient():
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)
    for t in (1.0, 4.0, 20.0):
        p, q = F.softmax(teacher / t, 1), F.softmax(student / t, 1)
        expected = t * t * (p * (p / q).log()).sum(1).mean()
        loss = losses.response(student, teacher, t)
        torch.testing.assert_close(loss, expected)
        (gradient,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(gradient, (t * (q - p) / 6).detach())


def test_decoupled_by_hand_and_as_a_split_of_response():
    torch.manual_seed(1)
    student, teacher, target = torch.randn(4, 5), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    p, q = F.softmax(teacher / 2, 1), F.softmax(student / 2, 1)
    expected = torch.zeros(())
    for i, t in enumerate(target):
        others = [c for c in range(5) if c != t]
        pair = [(p[i, t], q[i, t]), (1 - p[i, t], 1 - q[i, t])]
        tckd = sum(a * (a / b).log() for a, b in pair)
        hat_p, hat_q = p[i, others] / (1 - p[i, t]), q[i, others] / (1 - q[i, t])
        expected += 4 * (tckd + 8 * (hat_p * (hat_p / hat_q).log()).sum()) / 4
    torch.testing.assert_close(losses.decoupled(student, teacher, target, 2.0), expected)
    one = student[:1], teacher[:1], target[:1]
    both = losses.decoupled(*one, 2.0, others_weight=float(1 - p[0, target[0]]))
    torch.testing.assert_close(both, losses.response(student[:1], teacher[:1], 2.0))


def test_attention_by_hand():
    student = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])  # squares: 12.5, 0 → (1, 0)
    teacher = torch.tensor([[[[1.0, 1.0]]]])  # (1, 1) / √2
    half = 0.5**0.5
    torch.testing.assert_close(losses.attention(student, teacher), torch.tensor(((1 - half) ** 2 + half**2) / 2))


def test_relations_of_equal_embeddings_and_of_big_batches_are_numbers():
    equal, teacher = torch.zeros(4, 8, requires_grad=True), torch.randn(4, 8)
    loss = losses.distance_relation(equal, teacher) + losses.angle_relation(equal, teacher)
    loss.backward()
    assert loss.isfinite() and equal.grad.isfinite().all()
    many = torch.randn(losses.RELATED + 8, 3)
    for relation in (losses.distance_relation, losses.angle_relation):
        first = many[: losses.RELATED]
        assert torch.equal(relation(many, 2 * many.flip(1)), relation(first, 2 * first.flip(1)))


def test_relations_by_hand():
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    teacher = torch.tensor([[0.0], [1.0], [2.0]])
    ours, theirs = torch.tensor([3.0, 4.0, 5.0]) / 4, torch.tensor([1.0, 2.0, 1.0]) / (4 / 3)
    huber = F.smooth_l1_loss(ours, theirs, reduction="sum") * 2 / 9
    torch.testing.assert_close(losses.distance_relation(student, teacher), huber)
    again = losses.angle_relation(student, student * 3 + 1)
    torch.testing.assert_close(again, torch.zeros(()), atol=1e-6, rtol=0)
    right_angle, flat = torch.tensor([[1.0, 0], [0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0, 0], [-1, 0]])
    # at the middle point the cosine is 0 and -1; at the outer ones √½ and 1; each stands twice among 27
    middle, outer = F.smooth_l1_loss(torch.tensor(0.0), torch.tensor(-1.0)), (1 - 0.5**0.5) ** 2 / 2
    torch.testing.assert_close(losses.angle_relation(right_angle, flat), (2 * middle + 4 * outer) / 27)


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("kind", ["zero", "odd"])
def test_gradient_of_a_learned_scale_is_lsqs(bits, kind):
    torch.manual_seed(bits)
    quantizer, top = WeightQuantizer(torch.full((4,), 0.3), bits, kind=kind), largest(bits, kind)
    learn_values_(quantizer)
    assert learned_values(quantizer) == [quantizer.scale]
    weight = torch.randn(4, 50, requires_grad=True)
    out = quantizer(weight)
    out.sum().backward()
    steps, level = weight.detach() / 0.3, quantizer.codes(weight.detach())
    slope = torch.where(steps.abs() < top, level - steps, level).sum(1) / (50 * top) ** 0.5
    torch.testing.assert_close(quantizer.scale.grad, slope)
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))
    torch.testing.assert_close(out, level * 0.3)


def test_stored_weights_start_near_the_dense_ones_and_compute_the_same(prepared):
    graph = simulate(prepared, Recipe(steps=(Quantize(weight_bits=3),), calibration_images=128))
    before, moved = copy.deepcopy(graph), copy.deepcopy(graph)
    start_between_(moved, prepared.dense, 1.0)
    for name, layer in layers(moved).items():
        dense, solved = layers(prepared.dense)[name].weight, layers(before)[name]
        assert torch.equal(layer.weight, solved.weight)
        stored = layer.parametrizations.weight.original
        assert (stored - dense).abs().sum() < 0.5 * (solved.parametrizations.weight.original - dense).abs().sum()


def test_a_student_learns_from_a_network_of_the_zoo_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    lesson = models.Distillation("lenet5", temperature=3.0, alpha=1.0)
    card = models.train("lenet300", "digits", epochs=4, lesson=lesson)
    assert card.test_accuracy > 0.85
    assert (card.recipe["teacher"], card.recipe["temperature"], card.recipe["alpha"]) == ("lenet5", 3.0, 1.0)
    assert (tmp_path / "zoo" / "from-lenet5" / "lenet300-digits.safetensors").is_file()
    assert models.card("lenet300", "digits").recipe.get("teacher") is None  # the shipped weights are still found


@pytest.mark.slow
def test_an_assistant_is_taught_first(tmp_path, monkeypatch):
    def lasting(epochs):
        recipes = training_recipes.RECIPES | {"lenet300": TrainingConfig(epochs=epochs)}
        monkeypatch.setattr(training_recipes, "RECIPES", recipes)

    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    lasting(1)
    models.train("resnet20_quarter", "digits", epochs=1, lesson=models.Distillation("lenet5", assistant="lenet300"))
    stored = tmp_path / "zoo" / "from-lenet5"
    assert [path.stem for path in stored.glob("*.safetensors")] == ["resnet20_quarter-digits"]
    assistant = stored / "assistants" / "lenet300-digits.safetensors"
    first = assistant.read_bytes()
    data, once = load("digits"), {"device": "cpu", "progress": None, "stop": None}
    lasting(2)  # one that is taught again is another
    models.Distillation("lenet5", assistant="lenet300").setting("resnet20_quarter", data, **once)
    assert assistant.read_bytes() == first
    models.Distillation("lenet5", assistant="lenet300", temperature=1.0).setting("resnet20_quarter", data, **once)
    assert assistant.read_bytes() != first


def test_teachers_from_the_zoo_one_after_the_other(prepared):
    points = []
    asked = recipe(Quantize(weight_bits=2), teacher="lenet5", assistant="lenet300")
    simulate(prepared, asked, learn=points.append)
    assert points[-1].step == 24


def test_a_benchmark_that_was_cut_off_goes_on_behind_its_last_row(tmp_path, monkeypatch):
    lines, made, quiet = tmp_path / "lines.jsonl", [], Quiet(0.0, 0.0, "")
    compress = pipeline.compress_prepared

    def counted(prepared, recipe, **more):
        made.append(recipe)
        return compress(prepared, recipe, **more)

    monkeypatch.setattr(pipeline, "compress_prepared", counted)
    asked = {"steps": 4, "seeds": (0,), "lines": lines}
    recovery.run("lenet300", "digits", quiet, lambda *_: None, rows=("W4A8",), **asked)
    with lines.open("a", encoding="utf-8") as file:
        file.write('{"key": "cut o')
    whole = recovery.run("lenet300", "digits", quiet, lambda *_: None, rows=("W4A8", "80% sparse"), **asked)
    assert [len(recipe.steps) for recipe in made] == [1, 2, 1, 2]
    assert list(whole.values["rows"]) == ["W4A8", "80% sparse"] and "80% sparse" in whole.markdown
    again = recovery.run("lenet300", "digits", quiet, lambda *_: None, rows=("W4A8", "80% sparse"), **asked)
    assert len(made) == 4 and again.values == whole.values
