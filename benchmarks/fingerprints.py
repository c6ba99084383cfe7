"""Whether the engine still makes the same bytes: hashes of files and answers, to compare before and after a change.

Every recipe here is applied to every network with weights for the dataset. A fingerprint is the SHA-256 of the ONNX
file and that of the predicted classes and confidences on the test images. Both depend on the processor's kernels and on
the number of threads, so fingerprints are compared on one machine; one thread is used.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from compression import models
from compression.cli import inputs
from compression.errors import UserError
from compression.host.onnx_runtime import session
from compression.measure.accuracy import order, predict
from compression.pipeline import compress
from compression.records.measurement import Predictions

RECIPES: dict[str, tuple[str, ...]] = {
    "W8A8": ("quantize.weight_bits=8",),
    "W8A8, fast": ("quantize.weight_bits=8", "quality=fast"),
    "W4A8": ("quantize.weight_bits=4",),
    "W4A8, fast": ("quantize.weight_bits=4", "quality=fast"),
    "W2A8, learned rounding": ("quantize.weight_bits=2", "quantize.rounding=adaptive", "quality=fast"),
    "W3, groups": ("quantize.weight_bits=3", "quantize.granularity=group", "quantize.activation_bits=32"),
    "W4A8, powers of two, equalized": (
        "quantize.weight_bits=4", "quantize.scheme=logarithmic", "quantize.equalize=true", "quality=fast",
    ),
    "W4A8, asymmetric": ("quantize.weight_bits=4", "quantize.scheme=asymmetric", "quality=fast"),
    "binary": ("quantize.scheme=binary", "quality=fast"),
    "mixed bits": ("quantize.weight_bits=3", "quantize.allocation=mixed", "quality=fast"),
    "half precision": ("quantize.weight_bits=16", "quantize.activation_bits=32", "quality=fast"),
    "80% sparse": ("prune.sparsity=0.8",),
    "80% sparse, fast": ("prune.sparsity=0.8", "quality=fast"),
    "2:4 sparse": ("prune.pattern=2:4", "quality=fast"),
    "30% fewer MACs by channels": ("channels.amount=0.3",),
    "low rank": ("factorize.amount=0.3",),
    "codebooks of 16": ("share.entries=16",),
    "everything": (
        "channels.amount=0.2", "prune.sparsity=0.5", "share.entries=16", "quantize.activation_bits=8", "quality=fast",
    ),
    "recovery of W2A8": ("quantize.weight_bits=2", "recover.steps=6", "quality=fast"),
    "recovery under a pruning schedule": ("prune.sparsity=0.8", "recover.steps=6", "recover.schedule=cubic"),
}  # fmt: skip
"""Every technique, both qualities and two trainings, as `--set` writes them."""


def fingerprints(dataset: str, progress: Callable[[str, float], None]) -> dict[str, dict[str, str]]:
    """{network: {recipe: "FILE ANSWERS"}}; a recipe that a network refuses has the sentence instead."""
    torch.set_num_threads(1)
    data = inputs.load_data(dataset)
    names = sorted(card.model for card in models.cards() if card.dataset == dataset)
    found: dict[str, dict[str, str]] = {}
    for number, name in enumerate(names):
        prepared = compress.prepare(models.load(name, dataset), data)
        found[name] = {}
        for position, (title, settings) in enumerate(RECIPES.items()):
            progress(f"{name}, {title}", (number + position / len(RECIPES)) / len(names))
            try:
                recipe = inputs.read_recipe(None, list(settings), None)
                onnx = compress.compress_prepared(prepared, recipe).onnx
            except UserError as error:
                found[name][title] = str(error)
                continue
            answers = predict(session(onnx), data, order(len(data.test)))
            found[name][title] = f"{hashlib.sha256(onnx).hexdigest()} {_answers(answers)}"
    return found


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """'NETWORK, RECIPE' for everything that is not the same in both, missing ones included."""
    names = sorted({(network, recipe) for found in (before, after) for network in found for recipe in found[network]})
    return [
        f"{network}, {recipe}" for network, recipe in names
        if before.get(network, {}).get(recipe) != after.get(network, {}).get(recipe)
    ]  # fmt: skip


def run(dataset: str, path: Path, progress: Callable[[str, float], None]) -> str:
    """Writes the fingerprints into `path`, or compares with those that are there; one sentence on the outcome."""
    found = fingerprints(dataset, progress)
    count = sum(len(recipes) for recipes in found.values())
    if not path.exists():
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return f"Wrote {count} fingerprints into {path}."
    changed = differences(json.loads(path.read_text(encoding="utf-8")), found)
    return "\n".join([f"{len(changed)} of {count} fingerprints differ from those in {path}.", *changed])


def _answers(predictions: Predictions) -> str:
    return hashlib.sha256(predictions.classes.tobytes() + predictions.confidences.tobytes()).hexdigest()
