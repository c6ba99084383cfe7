"""Imported networks: a copy of the user's file, and a card, in the folder of the weights that were trained here."""

import hashlib
import platform
import time
from pathlib import Path

import torch

from compression import confined
from compression.data import Dataset
from compression.host.atomic_files import atomic_write
from compression.models.additions import check_name
from compression.models.catalog import OWN
from compression.models.model_cards import FORMATS, Card, user_weights, write
from compression.network.pt2 import load_pt2
from compression.network.tracing import fit_classes, traced
from compression.training import accuracy


def bring(path: Path, name: str, data: Dataset) -> Card:
    """Imports the network in a `.pt2` file as `name`, in place of an earlier one of that name, and measures it.

    Without labels it is run, and its card has no accuracy.
    It must take `data`'s images, in grey or in colours, normalised as `data` says, and answer with its classes. Raises
    `InvalidSetting` for a name that is taken or no name, `InvalidFile` for what is no network, `InvalidModel` for one
    that does not fit.
    """
    check_name(name)
    began = time.perf_counter()
    confined.attempt("pt2", path, input_shape=list(data.input_shape))
    graph, data = traced(load_pt2(path), data)
    data = fit_classes(graph, data)
    found = {part: accuracy(graph, data, getattr(data, part)) for part in ("validation", "test") if data.labelled}
    content = path.read_bytes()
    card = Card(
        model=name, dataset=OWN, source=data.title, input_shape=data.input_shape, classes=len(data.classes),
        mean=data.mean, std=data.std, recipe={}, seed=0, best_epoch=0, validation_accuracy=found.get("validation"),
        validation_images=len(data.validation), test_accuracy=found.get("test"), test_images=len(data.test),
        parameters=sum(p.numel() for p in graph.parameters()), size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(), data_fingerprint=data.fingerprint,
        training_seconds=0.0, hardware=platform.machine(), versions={"torch": torch.__version__},
        origin=path.name, notes=f"Imported, not trained here; read in {time.perf_counter() - began:.1f} s.",
    )  # fmt: skip
    place = user_weights() / f"{name}-{OWN}.json"
    with atomic_write(place.with_suffix(".pt2")) as partial:
        partial.write_bytes(content)
    write(place, card)
    for suffix in FORMATS:
        if suffix != ".pt2":
            place.with_suffix(suffix).unlink(missing_ok=True)
    return card
