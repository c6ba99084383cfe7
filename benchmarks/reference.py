"""The sweep that comes with the app: a few dozen recipes of one network, measured as the app measures them.

It is written to `compression/reference/MODEL-DATASET.json`. Each technique is swept by itself and with 8-bit and 4-bit
numbers, so that every slider has measured neighbours.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

from compression import models
from compression.cli.console import Progress
from compression.data import Dataset, load
from compression.data.catalog import DATASETS
from compression.errors import Unsupported
from compression.host.machine import this_machine
from compression.measure.accuracy import accuracy
from compression.pipeline import compress, measuring
from compression.recipe import Recipe
from compression.reference import JPEG_COPY, Sweep
from compression.steps import Channels, Prune, Quantize, Step


def recipes(*, few: bool = False) -> list[Recipe]:
    """The recipes of the sweep, with the fast setting; `few` is a third of them, to try the program."""
    chosen = [Recipe(steps=steps, quality="fast") for steps in _steps()]
    return chosen[::3] if few else chosen


def _steps() -> Iterable[tuple[Step, ...]]:
    for bits in (8, 6, 5, 4, 3, 2):
        yield (Quantize(weight_bits=bits),)
    for bits in (8, 4, 2):
        yield (Quantize(weight_bits=bits, activation_bits=32),)  # type: ignore[arg-type]
    for sparsity in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        yield (Prune(sparsity=sparsity),)
    for sparsity, bits in product((0.3, 0.5, 0.7, 0.8, 0.9, 0.95), (8, 4, 3)):
        yield (Prune(sparsity=sparsity), Quantize(weight_bits=bits))  # type: ignore[arg-type]
    for amount in (0.2, 0.35, 0.5, 0.65):
        yield (Channels(amount=amount),)
    for amount, bits in product((0.2, 0.35, 0.5, 0.65), (8, 4)):
        yield (Channels(amount=amount), Quantize(weight_bits=bits))  # type: ignore[arg-type]


def jpeg_copy(dataset: str, folder: str) -> Dataset:
    """The dataset of that name from a folder of JPEG files, normalised as the dataset is."""
    spec = DATASETS[dataset]
    return replace(
        load(f"folder:{folder}"), name=dataset, title=spec.title, mean=spec.mean, std=spec.std, mirror=spec.mirror
    )


def sweep(
    model: str, dataset: str, progress: Progress, *, quiet: bool, few: bool = False, folder: str = ""
) -> Sweep:  # fmt: skip
    """Measures every recipe on the whole test split; of the dataset's JPEG copy in `folder`, if one is named."""
    data, chosen = jpeg_copy(dataset, folder) if folder else load(dataset), recipes(few=few)
    prepared = compress.prepare(models.load(model, dataset), data, progress=progress)
    points = []
    for number, recipe in enumerate(chosen):
        progress(f"Recipe {number + 1} of {len(chosen)}", number / len(chosen))
        try:
            candidate = compress.compress_prepared(prepared, recipe)
        except Unsupported as error:  # fewer channels than a small network can lose
            progress(str(error), number / len(chosen))
            continue
        points.append((recipe, measuring.measure(candidate, prepared)))
    answers, file = prepared.baseline_predictions, prepared.baseline
    return Sweep(
        model=model,
        dataset=dataset,
        machine=this_machine(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        quiet=quiet,
        accuracy=accuracy(answers, answers, data.test.labels.numpy()),
        size_bytes=len(file.onnx),
        macs=file.macs,
        parameters=file.parameters,
        points=tuple(points),
        images=JPEG_COPY if folder else "",
    )
