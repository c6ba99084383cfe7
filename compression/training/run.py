"""One training from its first step to its last, and the checkpoints from which it goes on."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compression.data.dataset import Dataset
from compression.errors import Cancelled
from compression.host import cpu
from compression.host.atomic_files import atomic_write
from compression.network.parametrizations import learned_values
from compression.network.strided import sliced_strides
from compression.training.config import TrainingConfig
from compression.training.evaluation import accuracy
from compression.training.parts import Batch, Epoch, Loss, Progress, Setting, Trained

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 15.0
REPORT_STEPS = 10
SCALES_KEEP = 0.25  # of what a learned scale was at the start: it never gets smaller than this or changes its sign


def train(
    model: nn.Module,
    data: Dataset,
    config: TrainingConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    loss: Loss | None = None,
    setting: Setting | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Trains a copy of `model` on the training split and returns its best state, chosen on the validation split.

    The loss is cross-entropy with the config's label smoothing by default; `setting` may say more. `stop` is asked
    before every batch. With `checkpoint`, the state is kept in that file at every evaluation, every 15 seconds and on
    cancelling, and a call with the same config, seed and purpose goes on from there to the same weights. The file stays
    for whoever puts away what was learned to remove. Raises Cancelled when `stop` says so.
    """
    setting = setting or Setting(loss or smoothed_cross_entropy(config))
    run = _Run(model, data, config, setting, seed=seed, device=torch.device(device))
    if checkpoint and not run.resume(checkpoint):
        checkpoint = None
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []), torch.enable_grad():
        run.go(progress or _ignore, stop or _go_on, checkpoint)
    return run.result()


def smoothed_cross_entropy(config: TrainingConfig) -> Loss:
    """Cross-entropy against the labels, with the config's label smoothing."""

    def loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=config.label_smoothing)

    return loss


def _parts(indices: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Batches of `size`; a last one of a single image, which has no statistics, joins the one before."""
    parts = list(indices.split(size))
    return [*parts[:-2], torch.cat(parts[-2:])] if len(parts) > 1 and len(parts[-1]) == 1 else parts


def _ignore(_: Progress) -> None:
    pass


def _go_on() -> bool:
    return False


class _Clock:
    """Seconds, without those in which `stop` let the training wait."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop, self._waited = stop, 0.0

    def now(self) -> float:
        return time.perf_counter() - self._waited

    def stop(self) -> bool:
        began = time.perf_counter()
        stopped = self._stop()
        self._waited += time.perf_counter() - began
        return stopped


class _Run:
    """One training from its first step to its last; all that changes meanwhile."""

    def __init__(
        self, model: nn.Module, data: Dataset, config: TrainingConfig, setting: Setting, *, seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.data, self.config, self.setting, self.seed, self.device = data, config, setting, seed, device
        self.model: nn.Module = copy.deepcopy(model).to(device).to(memory_format=torch.channels_last)
        self.loss = setting.loss.to(device) if isinstance(setting.loss, nn.Module) else setting.loss
        self.per_epoch = len(_parts(torch.arange(len(data.train)), config.batch_size))
        self.steps = config.steps or config.epochs * self.per_epoch
        self.end = min(config.until or self.steps, self.steps)
        self.period = config.evaluate_every or self.per_epoch
        self.average = _averaged(self.model, config.average_epochs * self.per_epoch)
        self.optimizer = _optimizer(self.model, self.loss, config)
        self.scales = [(p, SCALES_KEEP * p.detach()) for p in learned_values(self.model, only="scale")]
        self.bfloat16 = config.bfloat16 and (device.type != "cpu" or cpu.has_bfloat16())
        self.fill = (torch.tensor(data.mean) * 255).round().to(torch.uint8).to(device)
        self.history: list[Epoch] = []
        self.best = _state(self.evaluated)
        self.step, self.total = 0, torch.zeros((), device=device)  # done; sum of losses since the last evaluation

    @property
    def evaluated(self) -> nn.Module:
        """The model whose accuracy counts: the averaged one, where there is one."""
        return self.average.module if self.average else self.model

    def go(self, progress: Callable[[Progress], None], stop: Callable[[], bool], checkpoint: Path | None) -> None:
        """All steps that are left."""
        try:
            self._go(progress, stop, checkpoint)
        except Cancelled:
            if checkpoint:
                self.save(checkpoint)
            raise

    def _go(self, progress: Callable[[Progress], None], stop: Callable[[], bool], checkpoint: Path | None) -> None:
        clock = _Clock(stop)
        if self._due():
            self._evaluate(clock.stop, 0.0)
            progress(self._progress(0.0))
        self._to_training()
        began, first = clock.now(), self.step
        saved = since = began
        for batch in self._batches():
            if clock.stop():
                epoch, epochs = self.step // self.per_epoch, math.ceil(self.steps / self.per_epoch)
                raise Cancelled(f"Training was stopped in epoch {epoch + 1} of {epochs}.")
            self._learn(batch)
            if now := self._due():
                if checkpoint and self._ends_early():
                    self.save(checkpoint)
                self._evaluate(clock.stop, clock.now() - since)
                self._to_training()
                since = clock.now()
            if now or self.step % REPORT_STEPS == 0:
                progress(self._progress((clock.now() - began) / (self.step - first)))
            if checkpoint and (now or clock.now() - saved > CHECKPOINT_SECONDS) and not self._ends_early():
                self.save(checkpoint)
                saved = clock.now()

    def _ends_early(self) -> bool:
        """Whether this is an end where the whole training would not be evaluated: whoever goes on must not know it."""
        return self.step == self.end < self.steps and self.step % self.period != 0

    def _due(self) -> bool:
        """Whether what is learned is to be evaluated now; one that was stopped meanwhile has not been."""
        if self.history and self.history[-1].step == self.step:
            return False
        if self.step == 0:
            return self.setting.keep_start
        return self.step == self.end or self.step % self.period == 0

    def _evaluate(self, stop: Callable[[], bool], seconds: float) -> None:
        self.model.eval()
        measured = accuracy(self.evaluated.eval(), self.data, self.data.validation, device=self.device, stop=stop)
        if measured >= max((e.accuracy for e in self._eligible()), default=0.0):
            self.best = _state(self.evaluated)
        steps = self.step - (self.history[-1].step if self.history else 0)
        loss = self.total.item() / max(steps, 1)
        self.history.append(Epoch(max(self.step - 1, 0) // self.per_epoch, loss, measured, seconds, self.step))
        self.total.zero_()
        log.info("%s", self.history[-1])

    def _eligible(self) -> list[Epoch]:
        return [e for e in self.history if e.step >= self.setting.eligible * self.steps]

    def _to_training(self) -> None:
        self.model.train()
        if self.step >= self.config.freeze_batch_norm * self.steps:
            for norm in (m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
                norm.eval()

    def _batches(self) -> Iterator[Batch]:
        """From the next step on. Order and augmentation depend on seed and epoch alone, so resuming changes nothing."""
        while self.step < self.end:
            epoch, done = divmod(self.step, self.per_epoch)
            yield from islice(self._epoch(epoch), done, done + self.end - self.step)

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        variant = epoch % self.config.variants if self.config.variants else epoch
        generator = torch.Generator().manual_seed(_seed_of(self.seed, variant))
        train = self.data.train
        for indices in _parts(torch.randperm(len(train), generator=generator), self.config.batch_size):
            images = self.config.augmentation(train.pixels(indices).to(self.device), generator, self.fill)
            inputs = self.data.normalize(images).contiguous(memory_format=torch.channels_last)
            yield Batch(inputs, train.labels[indices].to(self.device), indices, len(train), variant)

    def _learn(self, batch: Batch) -> None:
        """One step of the optimizer."""
        torch.manual_seed(_seed_of(self.seed, self.step))  # for layers that draw, like dropout
        if self.setting.before_step:
            self.setting.before_step(self.model, self.step, self.steps)
        if self.step == math.ceil(self.config.freeze_batch_norm * self.steps):
            self._to_training()
        rate = _learning_rate(self.config, (self.step + 1) / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["relative"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            if self.setting.teacher:
                batch = replace(batch, share=self.step / self.steps)
                batch = replace(batch, answers=_floats(self.setting.teacher.answers(batch)))
            with sliced_strides(self.model):
                outputs = self.model(batch.inputs)
        loss = self.loss(_floats(outputs), batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for scale, least in self.scales:
                scale.copy_(torch.where(scale / least < 1, least, scale))
        self.step += 1
        if self.average:
            self.average.update_parameters(self.model)
            _copy_what_has_no_average(self.model, self.average.module)
        self.total += loss.detach()

    def _progress(self, per_step: float) -> Progress:
        last = self.history[-1] if self.history else None
        measured = last.accuracy if last and last.step == self.step else None
        steps = self.step - (last.step if last else 0)
        loss = last.loss if last and measured is not None else self.total.item() / max(steps, 1)
        return Progress(
            max(self.step - 1, 0) // self.per_epoch, math.ceil(self.steps / self.per_epoch), self.step, self.steps,
            loss, last.accuracy if last else None, per_step * (self.end - self.step), measured,
        )  # fmt: skip

    def result(self) -> Trained:
        """The best state as a model of its own."""
        model = copy.deepcopy(self.evaluated).cpu().to(memory_format=torch.contiguous_format)
        model.load_state_dict(self.best)
        best = max(self._eligible(), key=lambda e: (e.accuracy, e.step))  # the later one of equals
        return Trained(model.eval(), best.epoch, best.accuracy, tuple(self.history), best.step)

    def save(self, path: Path) -> None:
        """Keeps all state in one file, replaced whole; where there is no room for it, the one before stays."""
        tensors = {"total": self.total.cpu()}
        for part, state in self._parts().items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in state.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.to("cpu", copy=True).contiguous() for k, v in state.items()}
        history = json.dumps([asdict(e) for e in self.history])
        metadata = {"run": self._identity(), "step": str(self.step), "history": history}
        try:
            with atomic_write(path) as partial:
                save_file(tensors, partial, metadata=metadata)
        except (OSError, SafetensorError) as error:  # a full disk is no reason to give up what is learned
            log.warning("the checkpoint %s cannot be written: %s", path, error)

    def resume(self, path: Path) -> bool:
        """Takes up the state kept in `path` if it belongs to this very training.

        False where that has gone on beyond this one's end: what it has learned is of no use here, and has to stay.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("run") != self._identity():
                    return True
                if int(metadata["step"]) > self.end:
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                history = [Epoch(**e) for e in json.loads(metadata["history"])]
        except FileNotFoundError:
            return True
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the checkpoint %s cannot be read (%s); training starts anew", path, error)
            return True
        self._take_up(tensors)
        self.step = int(metadata["step"])
        self.history = history
        return True

    def _parts(self) -> dict[str, dict[str, torch.Tensor]]:
        """What has a state, besides the optimizer."""
        parts = {"model": _state(self.model)}
        if self.average:
            parts["average"] = _state(self.average)
        if isinstance(self.loss, nn.Module):
            parts["loss"] = _state(self.loss)
        if self.setting.teacher:
            parts["teacher"] = self.setting.teacher.state()
        return parts

    def _take_up(self, tensors: dict[str, torch.Tensor]) -> None:
        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.total = tensors["total"].to(self.device)
        self.model.load_state_dict(part("model."))
        self.best = part("best.")
        if self.average:
            self.average.load_state_dict(part("average."))
        if isinstance(self.loss, nn.Module):
            self.loss.load_state_dict(part("loss."))
        if self.setting.teacher:
            self.setting.teacher.take_up(part("teacher."))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in part("optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        for parameter, values in self.optimizer.state.items():  # laid out alike: a fused step reads both in one go
            for key, value in values.items():
                if value.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter).copy_(value)

    def _identity(self) -> str:
        shapes = {name: list(tensor.shape) for name, tensor in self.model.state_dict().items()}
        what = {
            "config": asdict(replace(self.config, until=0)), "seed": self.seed, "data": self.data.fingerprint,
            "shapes": shapes, "purpose": self.setting.purpose,
        }  # fmt: skip
        return json.dumps(what, sort_keys=True)


def _averaged(model: nn.Module, horizon_steps: float) -> AveragedModel | None:
    """Exponential moving average of weights and batch-norm statistics over about `horizon_steps` steps."""
    if horizon_steps == 0:
        return None
    decay = 1 - 1 / max(horizon_steps, 1)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


@torch.no_grad()
def _copy_what_has_no_average(model: nn.Module, average: nn.Module) -> None:
    """Masks and counters of the averaged model are those of the model."""
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        if not ours.is_floating_point():
            ours.copy_(theirs)


def _optimizer(model: nn.Module, loss: Loss, config: TrainingConfig) -> torch.optim.Optimizer:
    """Each group's rate is the schedule's times its `relative`."""
    learned = learned_values(model)
    own = {id(p) for p in learned}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    others += list(loss.parameters()) if isinstance(loss, nn.Module) else []
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay, "relative": 1.0},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "relative": 1.0},
    ]
    for values in learned:
        size = float(values.detach().abs().mean())
        groups.append({"params": [values], "weight_decay": 0.0, "relative": config.step_rate * size})
    if config.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999), fused=True)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _learning_rate(config: TrainingConfig, share: float) -> float:
    """The rate once `share` in (0, 1] of all steps are done: linear up to the peak, then a cosine to zero."""
    if share < config.warmup:
        return config.learning_rate * share / config.warmup
    return config.learning_rate * (1 + math.cos(math.pi * (share - config.warmup) / max(1 - config.warmup, 1e-9))) / 2


def _floats(values: Any) -> Any:
    """Tensors, also inside tuples and lists, in float32."""
    if isinstance(values, torch.Tensor):
        return values.float()
    return tuple(_floats(value) for value in values)


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in model.state_dict().items()}


def _seed_of(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
