"""The training loop: it learns, repeats itself to the bit, goes on after a kill, and obeys."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from compression import models
from compression.data import load
from compression.data.augmentation import Augmentation
from compression.data.dataset import Dataset
from compression.errors import Cancelled, InvalidSetting
from compression.host import cpu
from compression.models import Card, model_cards
from compression.training import (
    Batch,
    Progress,
    Setting,
    Trained,
    TrainingConfig,
    accuracy,
    run,
    smoothed_cross_entropy,
    train,
)
from compression.training.evaluation import EVALUATION_BATCH

ROOT = Path(__file__).parents[2]
CONFIG = TrainingConfig(
    epochs=4, batch_size=64, learning_rate=0.05, bfloat16=False, average_epochs=0.5, augmentation=Augmentation(shift=1)
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(192, 10),
    ).eval()  # fmt: skip


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_improves_and_leaves_its_argument_alone(digits: Dataset) -> None:
    model, before = network(), network()
    trained = train(model, digits, CONFIG)
    assert same(model, before)
    assert not model.training
    assert not trained.model.training
    assert accuracy(model, digits, digits.test) < 0.3
    assert accuracy(trained.model, digits, digits.test) > 0.9
    assert [epoch.epoch for epoch in trained.history] == [0, 1, 2, 3]


def test_the_epoch_that_is_best_on_validation_is_returned(digits: Dataset) -> None:
    ruinous = dataclasses.replace(CONFIG, epochs=6, learning_rate=1.0, weight_decay=1.0, warmup=1.0, average_epochs=0.0)
    trained = train(network(), digits, ruinous)
    best = max(trained.history, key=lambda epoch: epoch.accuracy)
    assert best.accuracy > trained.history[-1].accuracy  # or the test would prove nothing
    assert trained.validation_accuracy == best.accuracy == trained.history[trained.best_epoch].accuracy
    assert accuracy(trained.model, digits, digits.validation) == best.accuracy


def test_test_images_play_no_part(digits: Dataset) -> None:
    blind = dataclasses.replace(digits, test=digits.test.subset(torch.arange(0)))
    assert same(train(network(), blind, CONFIG).model, train(network(), digits, CONFIG).model)


def test_same_seed_same_weights(digits: Dataset) -> None:
    model = network(dropout=0.3)
    first = train(model, digits, CONFIG, seed=5)
    torch.manual_seed(77)  # what happens outside has no influence
    state = torch.get_rng_state()
    assert same(first.model, train(model, digits, CONFIG, seed=5).model)
    assert torch.equal(state, torch.get_rng_state())  # and is not influenced
    assert not same(first.model, train(model, digits, CONFIG, seed=6).model)


def stopped_after(batches: int, digits: Dataset, checkpoint: Path, match: str = "epoch 3 of 4") -> None:
    asked = iter(range(batches + 1))
    with pytest.raises(Cancelled, match=match):
        train(network(0.3), digits, CONFIG, checkpoint=checkpoint, stop=lambda: next(asked) == batches)


def test_a_stopped_training_goes_on_to_the_same_weights(digits: Dataset, tmp_path: Path) -> None:
    checkpoint = tmp_path / "deep" / "run.safetensors"
    steps = math.ceil(len(digits.train) / CONFIG.batch_size)
    stopped_after(2 * steps + 3, digits, checkpoint)
    assert checkpoint.is_file()
    seen: list[Progress] = []
    resumed = train(network(0.3), digits, CONFIG, checkpoint=checkpoint, progress=seen.append)
    assert min(p.epoch for p in seen) == 2
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    assert_same_training(resumed, train(network(0.3), digits, CONFIG))
    seen.clear()
    again = train(network(0.3), digits, CONFIG, checkpoint=checkpoint, progress=seen.append)
    assert not seen  # there is nothing left to learn
    assert_same_training(again, resumed)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_training_that_is_stopped_while_it_is_evaluated_loses_no_step(
    digits: Dataset, tmp_path: Path, epoch: int
) -> None:
    checkpoint, steps = tmp_path / "run.safetensors", math.ceil(len(digits.train) / CONFIG.batch_size)
    evaluations = (epoch - 1) * math.ceil(len(digits.validation) / EVALUATION_BATCH)
    stopped_after(epoch * steps + evaluations, digits, checkpoint, "while it was evaluated")
    seen: list[Progress] = []
    resumed = train(network(0.3), digits, CONFIG, checkpoint=checkpoint, progress=seen.append)
    assert (seen[0].step, seen[0].measured) == (epoch * steps, resumed.history[epoch - 1].accuracy)
    assert_same_training(resumed, train(network(0.3), digits, CONFIG))


def assert_same_training(one: Trained, other: Trained) -> None:
    assert same(one.model, other.model)
    assert [(e.loss, e.accuracy) for e in one.history] == [(e.loss, e.accuracy) for e in other.history]


def test_what_a_stopped_training_has_learned_is_what_one_learns_that_ends_there(
    digits: Dataset, tmp_path: Path
) -> None:
    checkpoint, steps = tmp_path / "run.safetensors", 2 * math.ceil(len(digits.train) / CONFIG.batch_size) + 3
    stopped_after(steps, digits, checkpoint)
    ended, seen = dataclasses.replace(CONFIG, until=steps), list[Progress]()
    kept = train(network(0.3), digits, ended, checkpoint=checkpoint)
    assert [e.step for e in kept.history][-1] == steps
    assert_same_training(kept, train(network(0.3), digits, ended, progress=seen.append))
    assert (seen[-1].step, seen[-1].steps, seen[-1].seconds_left) == (steps, 2 * steps - 6, 0.0)
    state = checkpoint.read_bytes()
    earlier = dataclasses.replace(CONFIG, until=steps - 2)  # the checkpoint is from beyond its end
    assert train(network(0.3), digits, earlier, checkpoint=checkpoint).history[-1].step == steps - 2
    assert checkpoint.read_bytes() == state  # whoever goes further still needs it


def test_momenta_of_feature_maps_find_their_weights_again(digits: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    config = dataclasses.replace(CONFIG, optimizer="adam", learning_rate=0.005, steps=20, evaluate_every=20)
    checkpoint, seen = tmp_path / "run.safetensors", list[Progress]()
    with pytest.raises(Cancelled):
        train(model, digits, config, progress=seen.append, stop=lambda: bool(seen), checkpoint=checkpoint)
    resumed = train(model, digits, config, checkpoint=checkpoint)
    assert seen[0].step == 10
    assert_same_training(resumed, train(model, digits, config))


@pytest.mark.parametrize("change", ["config", "seed", "damage"])
def test_a_checkpoint_that_does_not_belong_is_not_taken_up(digits: Dataset, tmp_path: Path, change: str) -> None:
    checkpoint = tmp_path / "run.safetensors"
    stopped_after(50, digits, checkpoint)
    config, seed = CONFIG, 0
    if change == "config":
        config = dataclasses.replace(CONFIG, learning_rate=0.01)
    elif change == "seed":
        seed = 1
    else:
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    resumed = train(network(0.3), digits, config, seed=seed, checkpoint=checkpoint)
    assert_same_training(resumed, train(network(0.3), digits, config, seed=seed))


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[1]));"
        "from compression import models as zoo; zoo.train('lenet300', 'digits', epochs=40)"
    )
    command = [sys.executable, "-c", code, str(torch.get_num_threads())]
    checkpoint = tmp_path / "killed" / "zoo" / "unfinished" / "lenet300-digits-40-0.safetensors"
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"COMPRESSION_HOME": str(tmp_path / "killed")})
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    epochs_kept = len(json.loads(safe_open(checkpoint, framework="pt").metadata()["history"]))
    cards = []
    for home in ("killed", "whole"):
        monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / home))
        seen: list[Progress] = []
        cards.append(models.train("lenet300", "digits", epochs=40, progress=seen.append))
        assert seen[0].epoch == (epochs_kept if home == "killed" else 0)
    assert dataclasses.replace(cards[0], training_seconds=0) == dataclasses.replace(cards[1], training_seconds=0)


def test_what_was_learned_is_kept_until_weights_and_card_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, card: Card) -> None:
        raise OSError("No space left on device")

    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(model_cards, "write", full)
        with pytest.raises(OSError, match="No space"):
            models.train("lenet300", "digits", epochs=2)
    seen: list[Progress] = []
    models.train("lenet300", "digits", epochs=2, progress=seen.append)
    assert not seen
    assert list((tmp_path / "zoo" / "unfinished").iterdir()) == []


def test_trainings_of_one_network_keep_apart_what_they_have_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(seed: int) -> None:
        asked = iter(range(60))
        with pytest.raises(Cancelled):
            models.train("lenet300", "digits", epochs=40, seed=seed, stop=lambda: next(asked) == 59)

    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    for seed in (0, 1):
        cut_off(seed)
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        models.train("lenet300", "digits", epochs=40, progress=seen.append, stop=lambda: bool(seen))
    assert seen[0].step > 50


def test_one_that_ended_early_goes_on_to_the_same_weights(digits: Dataset, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.safetensors"
    early = dataclasses.replace(CONFIG, until=2 * math.ceil(len(digits.train) / CONFIG.batch_size) + 3)
    kept = train(network(0.3), digits, early, checkpoint=checkpoint)
    whole = train(network(0.3), digits, CONFIG, checkpoint=checkpoint)
    assert kept.history[-1].step not in {epoch.step for epoch in whole.history}
    assert_same_training(whole, train(network(0.3), digits, CONFIG))


def test_a_full_disk_does_not_end_a_training(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(run, "save_file", full)
    trained = train(network(0.3), digits, CONFIG, checkpoint=tmp_path / "run.safetensors")
    assert len(trained.history) == CONFIG.epochs
    assert list(tmp_path.iterdir()) == []


def test_the_pace_is_that_of_steps_and_not_of_the_evaluation_before_them(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen = iter(range(10_000)), list[Progress]()
    monkeypatch.setattr(run.time, "perf_counter", lambda: float(next(clock)))
    measure = run.accuracy
    monkeypatch.setattr(run, "accuracy", lambda *a, **k: [next(clock) for _ in range(5000)] and measure(*a, **k))
    setting = Setting(smoothed_cross_entropy(CONFIG), keep_start=True)
    with pytest.raises(Cancelled):
        train(network(0.3), digits, CONFIG, setting=setting, progress=seen.append, stop=lambda: len(seen) > 1)
    assert seen[0].step == 0
    assert seen[1].seconds_left < 5000


def test_the_pace_is_that_of_steps_and_not_of_waiting_between_them(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen = iter(range(100_000)), list[Progress]()
    monkeypatch.setattr(run.time, "perf_counter", lambda: float(next(clock)))

    def make_way() -> bool:
        for _ in range(500):
            next(clock)
        return bool(seen)

    with pytest.raises(Cancelled):
        train(network(0.3), digits, CONFIG, progress=seen.append, stop=make_way)
    assert seen[0].seconds_left < 500 * (seen[0].steps - seen[0].step)


def test_the_loss_is_an_argument_and_knows_which_images_it_sees(digits: Dataset) -> None:
    order: list[torch.Tensor] = []
    target = torch.nn.functional.one_hot((digits.train.labels + 1) % 10, 10).float() * 5

    def towards_target(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        assert torch.equal(batch.labels, digits.train.labels[batch.indices])
        order.append(batch.indices)
        return (logits - target[batch.indices]).square().mean()

    trained = train(network(), digits, dataclasses.replace(CONFIG, average_epochs=0.0), loss=towards_target)
    every = torch.cat(order).view(CONFIG.epochs, -1)  # [epochs, n]
    assert all(torch.equal(epoch.sort().values, torch.arange(len(digits.train))) for epoch in every)
    assert not torch.equal(every[0], every[1])
    assert trained.validation_accuracy < 0.1  # it learned the wrong labels, as told
    assert trained.history[-1].loss < trained.history[0].loss * 0.75


def test_weights_and_batch_norm_statistics_are_averaged(digits: Dataset) -> None:
    """With a horizon of one step the average is the model itself; with a long one it stays near the first weights."""
    start = network()
    one_step = 1 / math.ceil(len(digits.train) / CONFIG.batch_size)
    plain, last, long = (
        train(start, digits, dataclasses.replace(CONFIG, average_epochs=horizon)).model
        for horizon in (0.0, one_step, 1e3)
    )
    assert same(plain, last)
    for name in ("0.weight", "1.running_mean"):
        first = start.state_dict()[name]
        assert (long.state_dict()[name] - first).norm() < 0.2 * (plain.state_dict()[name] - first).norm()


def test_frozen_parameters_stay(digits: Dataset) -> None:
    model = network()
    model[0].requires_grad_(False)
    before, after = model.state_dict(), train(model, digits, CONFIG).model.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["6.weight"], before["6.weight"])


def test_progress_counts_up_to_all_steps(digits: Dataset) -> None:
    seen: list[Progress] = []
    train(network(), digits, CONFIG, progress=seen.append)
    steps = CONFIG.epochs * math.ceil(len(digits.train) / CONFIG.batch_size)
    assert [p.step for p in seen] == sorted({p.step for p in seen})
    assert (seen[-1].step, seen[-1].steps, seen[-1].epoch, seen[-1].seconds_left) == (steps, steps, 3, 0.0)
    assert seen[0].accuracy is None
    assert seen[-1].accuracy > 0.8  # type: ignore[operator]
    assert seen[-1].loss < seen[0].loss


def test_bfloat16_keeps_weights_in_float32_and_learns(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_bfloat16", lambda: True)
    trained = train(network(), digits, dataclasses.replace(CONFIG, bfloat16=True))
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    assert trained.validation_accuracy > 0.8


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("batch_size", 1), ("learning_rate", 0.0), ("label_smoothing", 1.0)]
)
def test_settings_out_of_bounds_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidSetting, match=rf"{name} is {value}; from .* to .* is allowed"):
        TrainingConfig(**{name: value})


def test_every_recipe_fits_its_dataset(digits: Dataset) -> None:
    for name in models.ARCHITECTURES:
        assert not models.recipe(name, digits).augmentation.flip  # a mirrored digit is no digit
        assert models.recipe(name, digits, epochs=3).epochs == 3
