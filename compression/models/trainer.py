"""Training a model of the zoo from its recipe to stored weights and a card."""

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision
from torch import nn

from compression import data as datasets
from compression.data.dataset import Dataset
from compression.errors import InvalidFile
from compression.host.atomic_files import atomic_write
from compression.models import loading, model_cards
from compression.models.model_cards import Card
from compression.models.resnet import deepened
from compression.models.training_recipes import augmentation, recipe
from compression.steps import Recover
from compression.training import Progress, Setting, Trained, TrainingConfig, accuracy
from compression.training import train as run_training
from compression.training.distillation import Objective
from compression.training.teachers import scores_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Distillation:
    """Distillation from a network of the zoo with stored weights (Hinton et al. 2015; DKD, Zhao et al. 2022).

    alpha weighs the teacher, the rest the labels. `assistant` is a network that learns from the teacher first and then
    teaches in its place (Mirzadeh et al. 2020). The teacher sees `variants` augmentations of each image; then they come
    again.
    """

    teacher: str
    temperature: float = 4.0
    alpha: float = 0.9
    method: Literal["distill", "decoupled"] = "distill"
    assistant: str | None = None
    variants: int = 8

    def setting(self, student: str, data: Dataset, **options: Any) -> Setting:
        """What `student` learns by on `data`; `options` go to the training of the assistant, if there is one."""
        settings = Recover(method=self.method, temperature=self.temperature, alpha=self.alpha)
        network = self._network(data, **options).to(memory_format=torch.channels_last)
        known = scores_of(network, data, augmentation(student, data), device=options["device"])
        return Setting(Objective(settings), known, purpose=f"{student} {self.recipe(data.name)}")

    def recipe(self, dataset: str) -> dict[str, Any]:
        """What a student's card says of it: the settings, and which weights teach."""
        return asdict(self) | {"teacher_sha256": model_cards.card(self.teacher, dataset).sha256}

    def _network(self, data: Dataset, **options: Any) -> nn.Module:
        if self.assistant is None:
            return loading.load(self.teacher, data.name)
        folder = model_cards.user_weights() / f"from-{self.teacher}" / "assistants"
        path = folder / f"{self.assistant}-{data.name}.safetensors"
        lesson = replace(self, assistant=None)
        if not _is_of(path, lesson, data):
            train(self.assistant, data.name, data=data, lesson=lesson, out=folder, **options)
        blank = loading.build(self.assistant, input_shape=data.input_shape, classes=len(data.classes))
        return loading.read_weights(blank, path)


def train(
    name: str,
    dataset_name: str,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    out: Path | None = None,
    data: Dataset | None = None,
    notes: str = "",
    lesson: Distillation | None = None,
    grown_from: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    resumable: bool = False,
) -> Card:
    """Trains the model on the dataset, stores MODEL-DATASET.safetensors and .json in `out`, and returns the card.

    With `lesson` it is a student: it learns from another network of the zoo, and what is stored lies in a folder named
    after that. `grown_from` names a shallower ResNet with stored weights, which it starts with (`resnet.deepened`) at
    half the recipe's learning rate. `epochs` replaces the recipe's number, `out` is by default the user's folder, and
    `data` stands in for the images of that name. A training that was cut off goes on; one that is `resumable` does so
    after its end too, until its caller removes `model_cards.unfinished`. Raises UnknownName, DataUnavailable,
    Unsupported where a teacher has no weights, InvalidSetting where no network grows so and, when `stop` says so,
    Cancelled.
    """
    for taking_part in (name, *((lesson.teacher, lesson.assistant or lesson.teacher) if lesson else ())):
        model_cards.check_names(taking_part, dataset_name)
    data = data or datasets.load(dataset_name)
    config = recipe(name, data, epochs=epochs)
    taught = f"from-{lesson.teacher}" if lesson else ""
    folder = out or model_cards.user_weights() / taught
    setting = None
    if lesson:
        config = replace(config, variants=lesson.variants)
        setting = lesson.setting(name, data, device=device, progress=progress, stop=stop)
    model = loading.build(name, input_shape=data.input_shape, classes=len(data.classes), seed=seed)
    started = taught
    if grown_from:
        model = deepened(loading.load(grown_from, dataset_name), model)
        config = replace(config, learning_rate=config.learning_rate / 2)
        started = f"{taught}grown-from-{grown_from}"
    checkpoint = model_cards.unfinished(name, dataset_name, epochs=epochs, seed=seed, folder=started)
    began = time.perf_counter()
    trained = run_training(
        model, data, config, seed=seed, device=device, setting=setting, progress=progress, stop=stop,
        checkpoint=checkpoint,
    )  # fmt: skip
    log.info("%s on %s took %.0f s", name, dataset_name, time.perf_counter() - began)
    path = folder / f"{name}-{dataset_name}.safetensors"
    with atomic_write(path) as partial:  # measured before it takes the place of what is there
        digest = loading.write_weights(trained.model, partial)
        card = _card(name, dataset_name, data, config, trained, partial, digest, seed=seed, device=device, notes=notes)
    if lesson:
        card = replace(card, recipe=card.recipe | lesson.recipe(dataset_name))
    if grown_from:
        card = replace(card, recipe=card.recipe | {"grown_from": grown_from})
    model_cards.write(path.with_suffix(".json"), card)
    if not resumable:
        checkpoint.unlink(missing_ok=True)
    return card


def _is_of(weights: Path, lesson: Distillation, data: Dataset) -> bool:
    """Whether these weights were learned in that lesson, from those images."""
    try:
        card = model_cards.read(weights.with_suffix(".json"))
    except InvalidFile:
        return False
    return card.data_fingerprint == data.fingerprint and card.recipe | lesson.recipe(data.name) == card.recipe


def _card(
    name: str, dataset_name: str, data: Dataset, config: TrainingConfig, trained: Trained, path: Path, digest: str,
    *, seed: int, device: str, notes: str,
) -> Card:  # fmt: skip
    """The card of the weights as they were stored: read back, then measured once on validation and on test."""
    blank = loading.build(name, input_shape=data.input_shape, classes=len(data.classes))
    model = loading.read_weights(blank, path).to(device)
    return Card(
        model=name, dataset=dataset_name, source=data.source, input_shape=data.input_shape, classes=len(data.classes),
        mean=data.mean, std=data.std, recipe=asdict(config), seed=seed, best_epoch=trained.best_epoch,
        validation_accuracy=accuracy(model, data, data.validation, device=device),
        validation_images=len(data.validation),
        test_accuracy=accuracy(model, data, data.test, device=device), test_images=len(data.test),
        parameters=sum(p.numel() for p in model.parameters()), size_bytes=path.stat().st_size, sha256=digest,
        data_fingerprint=data.fingerprint,
        training_seconds=round(sum(epoch.seconds for epoch in trained.history), 1),
        hardware=_hardware(device), versions=_versions(), notes=notes,
    )  # fmt: skip


def _hardware(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(torch.device(device))
    return f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()}), {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
