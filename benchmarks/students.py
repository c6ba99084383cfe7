"""What a teacher gives a small network that is trained from scratch: plainly, and with the teacher's answers.

Both learn from the same images and first weights, for as many epochs, over seeds. Accuracies are those of the exported
fp32 files on the whole test split.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import models
from compression.cli.console import Progress
from compression.data import Dataset, load
from compression.host.machine import this_machine
from compression.models.loading import build, read_weights
from compression.pipeline import compress, measuring


def run(
    model: str,
    dataset: str,
    quiet: Quiet,
    progress: Progress,
    *,
    teacher: str = "resnet56",
    epochs: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> Report:
    """Trains the student `model` twice for each seed; `epochs` replaces its recipe's number."""
    data, lesson = load(dataset), models.Distillation(teacher)
    found: dict[str, list[float]] = {"plain": [], "taught": []}
    for seed in seeds:
        for name, by in (("plain", None), ("taught", lesson)):
            done = sum(map(len, found.values())) / (2 * len(seeds))
            progress(f"{model}, {name}, seed {seed}", done)
            found[name].append(_accuracy(model, data, by, epochs, seed))
    gains = [taught - plain for plain, taught in zip(found["plain"], found["taught"], strict=True)]
    values = {
        "teacher": teacher, "teacher_accuracy": models.card(teacher, dataset).test_accuracy, "seeds": list(seeds),
        "epochs": models.recipe(model, data, epochs=epochs).epochs, **found, "gains": gains,
    }  # fmt: skip
    return Report("students", model, dataset, this_machine(), quiet, values, _markdown(model, dataset, values))


def _accuracy(model: str, data: Dataset, lesson: models.Distillation | None, epochs: int | None, seed: int) -> float:
    """Of the file of a student that was trained from scratch."""
    with tempfile.TemporaryDirectory() as folder:
        models.train(model, data.name, epochs=epochs, seed=seed, out=Path(folder), data=data, lesson=lesson)
        blank = build(model, input_shape=data.input_shape, classes=len(data.classes))
        network = read_weights(blank, Path(folder) / f"{model}-{data.name}.safetensors")
    prepared = compress.prepare(network, data)
    return measuring.measure(prepared.baseline, prepared).accuracy.value


def _markdown(model: str, dataset: str, values: dict) -> str:
    names = {"plain": "plainly trained", "taught": f"taught by {values['teacher']}", "gains": "gained"}
    rows = [(told, *_cells(values[key])) for key, told in names.items()]
    heading = (
        f"{model} on {dataset}, {values['epochs']} epochs; the teacher, {values['teacher']}, reaches "
        f"{values['teacher_accuracy']:.2%}."
    )
    return f"{heading}\n\n{table(('student', 'accuracy by seed, %', 'mean', 'deviation'), rows)}"


def _cells(found: list[float]) -> tuple[str, str, str]:
    points = [100 * each for each in found]
    return (
        ", ".join(f"{each:.2f}" for each in points),
        f"{mean(points):.2f}",
        f"{stdev(points):.2f}" if len(points) > 1 else "",
    )
