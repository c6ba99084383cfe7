"""Training a model of the zoo from its recipe to stored weights and a card."""

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torchvision

from compression import data as datasets
from compression.data.dataset import Dataset
from compression.training import Progress, Trained, TrainingConfig, accuracy
from compression.training import train as run_training
from compression.zoo import model_cards, stored
from compression.zoo.model_cards import Card
from compression.zoo.recipes import recipe

log = logging.getLogger(__name__)


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
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Card:
    """Trains the model on the dataset, stores MODEL-DATASET.safetensors and .json in `out`, and returns the card.

    `epochs` replaces the recipe's number, `out` is by default the user's folder, and `data` stands in for the images
    of that name. A training that was cut off goes on from its last whole epoch. Raises UnknownName, DataUnavailable
    and, when `stop` says so, Cancelled.
    """
    data = data or datasets.load(dataset_name)
    config = recipe(name, data, epochs=epochs)
    folder = out or model_cards.user_weights()
    model = stored.build(name, input_shape=data.input_shape, classes=len(data.classes), seed=seed)
    checkpoint = model_cards.user_weights() / "unfinished" / f"{name}-{dataset_name}.safetensors"
    began = time.perf_counter()
    trained = run_training(
        model, data, config, seed=seed, device=device, progress=progress, stop=stop, checkpoint=checkpoint
    )
    log.info("%s on %s took %.0f s", name, dataset_name, time.perf_counter() - began)
    path = folder / f"{name}-{dataset_name}.safetensors"
    digest = stored.write_weights(trained.model, path)
    card = _card(name, dataset_name, data, config, trained, path, digest, seed=seed, device=device, notes=notes)
    model_cards.write(path.with_suffix(".json"), card)
    return card


def _card(
    name: str, dataset_name: str, data: Dataset, config: TrainingConfig, trained: Trained, path: Path, digest: str,
    *, seed: int, device: str, notes: str,
) -> Card:  # fmt: skip
    """The card of the weights as they were stored: read back, then measured once on validation and on test."""
    blank = stored.build(name, input_shape=data.input_shape, classes=len(data.classes))
    model = stored.read_weights(blank, path).to(device)
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
