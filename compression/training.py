"""The one training loop. What is learned differs by the loss and the model that are passed in, not by the loop."""

import copy
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compression.data.augmentation import Augmentation
from compression.data.dataset import Dataset, Split
from compression.errors import Cancelled, InvalidSetting

log = logging.getLogger(__name__)

EVALUATION_BATCH = 500  # images


@dataclass(frozen=True)
class TrainingConfig:
    """How to train: SGD with Nesterov momentum, a linear warm-up and a cosine down to zero, weights averaged over time.

    Raises InvalidSetting for a value outside its bounds.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1  # at the peak
    warmup: float = 0.1  # share of all steps
    momentum: float = 0.9
    weight_decay: float = 5e-4  # of weights with two or more dimensions; biases and batch norm go without
    label_smoothing: float = 0.05
    average_epochs: float = 1.0  # horizon of the exponential moving average of weights and buffers; 0 is off
    bfloat16: bool = True  # autocast; weights and optimizer stay in float32
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            if not low <= (value := getattr(self, name)) <= high:
                raise InvalidSetting(f"{name} is {value}; from {low} to {high} is allowed.")


_BOUNDS = (
    ("epochs", 1, 10_000), ("batch_size", 2, 65_536), ("learning_rate", 1e-8, 100.0), ("warmup", 0.0, 1.0),
    ("momentum", 0.0, 0.9999), ("weight_decay", 0.0, 1.0), ("label_smoothing", 0.0, 0.9),
    ("average_epochs", 0.0, 1000.0),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Batch:
    """`inputs` float32 [n, C, H, W], augmented and normalised; `labels` and `indices` into the split, int64 [n]."""

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


Loss = Callable[[torch.Tensor, Batch], torch.Tensor]  # (logits [n, classes], batch) → scalar


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `accuracy` in [0, 1] is the last one on validation, None in the first epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    seconds_left: float


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. `accuracy` on validation, in [0, 1]."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Trained:
    """The model of the epoch that was best on validation (eval mode, on the CPU), and how it came about."""

    model: nn.Module
    best_epoch: int
    validation_accuracy: float
    history: tuple[Epoch, ...]


def train(
    model: nn.Module,
    data: Dataset,
    config: TrainingConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    loss: Loss | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Trains a copy of `model` on the training split and returns its best epoch, chosen on the validation split.

    `loss` is cross-entropy with the config's label smoothing by default. `stop` is asked before every batch. With
    `checkpoint`, each epoch is kept in that file, and a call with the same config and seed goes on from there to the
    same weights; the file is removed at the end. Raises Cancelled when `stop` says so.
    """
    run = _Run(model, data, config, seed=seed, device=torch.device(device), loss=loss or smoothed_cross_entropy(config))
    if checkpoint:
        run.resume(checkpoint)
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        for epoch in range(len(run.history), config.epochs):
            run.epoch(epoch, progress or _ignore, stop or _go_on)
            if checkpoint:
                run.save(checkpoint)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return run.result()


def smoothed_cross_entropy(config: TrainingConfig) -> Loss:
    """Cross-entropy against the labels, with the config's label smoothing."""

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=config.label_smoothing)

    return loss


def accuracy(model: nn.Module, data: Dataset, split: Split, *, device: str | torch.device = "cpu") -> float:
    """Share of `split` that `model` (in eval mode) classifies correctly, in float32."""
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(split), EVALUATION_BATCH):
            images, labels = split.images[start:][:EVALUATION_BATCH], split.labels[start:][:EVALUATION_BATCH]
            logits = model(data.normalize(images.to(device)))
            correct += int((logits.argmax(1).cpu() == labels).sum())
    return correct / len(split)


def _ignore(_: Progress) -> None:
    pass


def _go_on() -> bool:
    return False


class _Run:
    """One training from its first epoch to its last; all that changes meanwhile."""

    def __init__(
        self, model: nn.Module, data: Dataset, config: TrainingConfig, *, seed: int, device: torch.device, loss: Loss
    ) -> None:
        self.data, self.config, self.seed, self.device, self.loss = data, config, seed, device, loss
        self.model: nn.Module = copy.deepcopy(model).to(device).to(memory_format=torch.channels_last)
        self.steps = math.ceil(len(data.train) / config.batch_size)  # per epoch
        self.average = _averaged(self.model, config.average_epochs * self.steps)
        self.optimizer = _optimizer(self.model, config)
        self.fill = (torch.tensor(data.mean) * 255).round().to(torch.uint8).to(device)
        self.history: list[Epoch] = []
        self.best = _state(self.evaluated)

    @property
    def evaluated(self) -> nn.Module:
        """The model whose accuracy counts: the averaged one, where there is one."""
        return self.average.module if self.average else self.model

    def epoch(self, epoch: int, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        """One pass over the training split, and one over validation."""
        began = time.perf_counter()
        torch.manual_seed(_seed_of(self.seed, epoch))  # for layers that draw, like dropout
        self.model.train()
        total = torch.zeros((), device=self.device)
        for step, batch in enumerate(self._batches(epoch)):
            if stop():
                raise Cancelled(f"Training was stopped in epoch {epoch + 1} of {self.config.epochs}.")
            total += self._step(batch, epoch * self.steps + step)
            if step % 10 == 9 or step == self.steps - 1:
                progress(self._progress(epoch, step, total.item() / (step + 1), time.perf_counter() - began))
        measured = accuracy(self.evaluated.eval(), self.data, self.data.validation, device=self.device)
        if measured >= max((e.accuracy for e in self.history), default=0.0):
            self.best = _state(self.evaluated)
        self.history.append(Epoch(epoch, total.item() / self.steps, measured, time.perf_counter() - began))
        log.info("%s", self.history[-1])

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Order and augmentation depend on seed and epoch alone, so that a resumed training is the same training."""
        generator = torch.Generator().manual_seed(_seed_of(self.seed, epoch))
        train = self.data.train
        for indices in torch.randperm(len(train), generator=generator).split(self.config.batch_size):
            images = self.config.augmentation(train.images[indices].to(self.device), generator, self.fill)
            inputs = self.data.normalize(images).contiguous(memory_format=torch.channels_last)
            yield Batch(inputs, train.labels[indices].to(self.device), indices)

    def _step(self, batch: Batch, number: int) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = _learning_rate(self.config, (number + 1) / (self.config.epochs * self.steps))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            logits = self.model(batch.inputs)
        loss = self.loss(logits.float(), batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)
        return loss.detach()

    def _progress(self, epoch: int, step: int, loss: float, elapsed: float) -> Progress:
        per_step = elapsed / (step + 1)
        done = epoch * self.steps + step + 1
        left = per_step * (self.config.epochs * self.steps - done)
        measured = self.history[-1].accuracy if self.history else None
        return Progress(epoch, self.config.epochs, done, self.config.epochs * self.steps, loss, measured, left)

    def result(self) -> Trained:
        """The best epoch as a model of its own."""
        model = copy.deepcopy(self.evaluated).cpu().to(memory_format=torch.contiguous_format)
        model.load_state_dict(self.best)
        best = max(self.history, key=lambda e: (e.accuracy, e.epoch))  # the later one of equals
        return Trained(model.eval(), best.epoch, best.accuracy, tuple(self.history))

    def save(self, path: Path) -> None:
        """Keeps all state in one file, replaced whole."""
        tensors = {f"model.{k}": v for k, v in _state(self.model).items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        if self.average:
            tensors |= {f"average.{k}": v for k, v in _state(self.average).items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors[f"momentum.{index}"] = state["momentum_buffer"].cpu().contiguous()
        metadata = {"run": self._identity(), "history": json.dumps([asdict(e) for e in self.history])}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        os.close(handle)
        save_file(tensors, temporary, metadata=metadata)
        os.replace(temporary, path)

    def resume(self, path: Path) -> None:
        """Takes up the state kept in `path` if there is one and it belongs to this very training."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("run") != self._identity():
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except FileNotFoundError:
            return
        except (SafetensorError, OSError) as error:
            log.warning("the checkpoint %s cannot be read (%s); training starts anew", path, error)
            return
        self._take_up(tensors)
        self.history = [Epoch(**e) for e in json.loads(metadata["history"])]

    def _take_up(self, tensors: dict[str, torch.Tensor]) -> None:
        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.best = part("best.")
        if self.average:
            self.average.load_state_dict(part("average."))
        state = {int(k): {"momentum_buffer": v} for k, v in part("momentum.").items()}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})

    def _identity(self) -> str:
        shapes = {name: list(tensor.shape) for name, tensor in self.model.state_dict().items()}
        what = {"config": asdict(self.config), "seed": self.seed, "data": self.data.fingerprint, "shapes": shapes}
        return json.dumps(what, sort_keys=True)


def _averaged(model: nn.Module, horizon_steps: float) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics over about `horizon_steps` steps."""
    if horizon_steps == 0:
        return None
    decay = 1 - 1 / max(horizon_steps, 1)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.SGD:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _learning_rate(config: TrainingConfig, share: float) -> float:
    """The rate once `share` in (0, 1] of all steps are done: linear up to the peak, then a cosine to zero."""
    if share < config.warmup:
        return config.learning_rate * share / config.warmup
    return config.learning_rate * (1 + math.cos(math.pi * (share - config.warmup) / max(1 - config.warmup, 1e-9))) / 2


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}


def _seed_of(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
