"""What training gives back: accuracy lost before and after recovery, for a list of recipes, over training seeds.

Every number comes from the exported file on the whole test split. A drop is the dense baseline's accuracy minus the
file's, in points. Minutes become steps by the speed that is measured first, on the machine as it is; `steps` says the
budget itself. The control is the dense network, not compressed, given the same steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median
from typing import Any
from unittest.mock import patch

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import cli, pipeline
from compression.console import Progress
from compression.errors import UnknownName
from compression.measure.machine import this_machine
from compression.methods import recover
from compression.recipe import Recipe
from compression.results import LearningPoint, Measurement
from compression.steps import Channels, Prune, Quantize, Recover, Step, steps_for

TRIAL_STEPS = 50
"""Steps that the speed is measured over; the first ten are left out."""

TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Row:
    """A recipe without its last step, and what that step is given besides the budget."""

    steps: tuple[Step, ...]
    settings: dict[str, Any]


FINE, COARSE = {"learning_rate": 0.0005}, {"learning_rate": 0.002}

ROWS: dict[str, Row] = {
    "dense, control": Row((), FINE),
    "W4A8": Row((Quantize(weight_bits=4),), FINE),
    "W3A8": Row((Quantize(weight_bits=3),), FINE),
    "W2A8": Row((Quantize(weight_bits=2),), FINE),
    "ternary, A8": Row((Quantize(scheme="ternary"),), FINE),
    "binary, A8": Row((Quantize(scheme="binary"),), COARSE),
    "80% sparse": Row((Prune(sparsity=0.8),), COARSE),
    "90% sparse": Row((Prune(sparsity=0.9),), COARSE),
    "half the MACs": Row((Channels(amount=0.5),), {"learning_rate": 0.001}),
    "90% sparse, W3A8": Row((Prune(sparsity=0.9), Quantize(weight_bits=3)), COARSE),
}
"""What is recovered from, by the name that the table shows."""


def run(
    model: str,
    dataset: str,
    quiet: Quiet,
    progress: Progress,
    *,
    minutes: float = 3.0,
    steps: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    rows: Sequence[str] = tuple(ROWS),
    temperatures: bool = False,
) -> Report:
    """Measures every row, or the sweep over temperatures of the dense and the 3-bit student."""
    unknown = next((name for name in rows if name not in ROWS), None)
    if unknown is not None:
        raise UnknownName("row", unknown, ROWS)
    chosen = _sweep() if temperatures else {name: ROWS[name] for name in rows}
    found: dict[str, list[tuple[Measurement, Measurement, int]]] = {name: [] for name in chosen}
    data = cli.load_data(dataset)
    network = cli.load_model(model, data)
    for number, seed in enumerate(seeds):
        prepared = pipeline.prepare(network, data, seed=seed)
        for position, (name, row) in enumerate(chosen.items()):
            share = (number * len(chosen) + position) / (len(seeds) * len(chosen))
            progress(f"{name}, seed {seed}", share)
            budget = steps or steps_for(minutes, seconds_per_step(prepared, row, seed))
            found[name].append((*_before_and_after(prepared, row, budget, seed), budget))
    summaries = {name: summarize(chosen[name], results) for name, results in found.items()}
    first = next(iter(found.values()))[0][0]
    budget_text = f"{steps:,} steps" if steps else f"{minutes:g} minutes"
    title = (
        f"{model} on {dataset}, {first.n_test:,} test images; baseline {first.accuracy.baseline:.2%}, "
        f"{first.baseline_size_bytes / 1000:,.1f} KB; {budget_text} of recovery, {len(seeds)} seeds."
    )
    values = {
        "seeds": list(seeds), "minutes": None if steps else minutes, "baseline_accuracy": first.accuracy.baseline,
        "n_test": first.n_test, "rows": summaries,
    }  # fmt: skip
    return Report("recovery", model, dataset, this_machine(), quiet, values, f"{title}\n\n{_table(summaries)}")


def _sweep() -> dict[str, Row]:
    """The dense and the 3-bit student at each temperature, without labels' help, so that the teacher alone acts."""
    students = {"fp32": (), "W3A8": (Quantize(weight_bits=3),)}
    return {
        f"{name}, T = {t:g}": Row(steps, FINE | {"temperature": t, "alpha": 1.0})
        for name, steps in students.items()
        for t in TEMPERATURES
    }


def seconds_per_step(prepared: pipeline.Prepared, row: Row, seed: int) -> float:
    """The pace of training from a short trial: the median time of ten steps without an evaluation among them."""
    seen: list[tuple[float, LearningPoint]] = []
    trial = Recipe(steps=(*row.steps, Recover(steps=TRIAL_STEPS, **row.settings)), seed=seed, quality="fast")
    with patch.object(recover, "EVALUATIONS", 1):
        pipeline.simulate(prepared, trial, learn=lambda point: seen.append((time.perf_counter(), point)))
    paces = [
        (after[0] - before[0]) / (after[1].step - before[1].step)
        for before, after in pairwise(seen)
        if after[1].accuracy is None and before[1].step > 0
    ]
    return median(paces)


def _before_and_after(prepared: pipeline.Prepared, row: Row, budget: int, seed: int) -> tuple[Measurement, Measurement]:
    recipes = (
        Recipe(steps=row.steps, seed=seed),
        Recipe(steps=(*row.steps, Recover(steps=budget, **row.settings)), seed=seed),
    )
    before, after = (pipeline.measure(pipeline.compress_prepared(prepared, r), prepared) for r in recipes)
    return before, after


def summarize(row: Row, results: Sequence[tuple[Measurement, Measurement, int]]) -> dict[str, Any]:
    """One row: drops before and after over the seeds, bytes, seconds and steps."""
    before = [first.accuracy.drop for first, _, _ in results]
    after = [second.accuracy.drop for _, second, _ in results]
    recipe = Recipe(steps=(*row.steps, Recover(steps=results[0][2], **row.settings)))
    return {
        "recipe": recipe.to_dict(),
        "steps": mean(steps for *_, steps in results),
        "drop_before": mean(before),
        "drop": mean(after), "drop_low": min(after), "drop_high": max(after),
        "size_bytes": mean(m.size_bytes for _, m, _ in results),
        "size_ratio": mean(m.size_ratio for _, m, _ in results),
        "seconds": mean(m.seconds for _, m, _ in results),
        "measurements": [m.summary() for _, m, _ in results],
    }  # fmt: skip


def _table(rows: dict[str, dict[str, Any]]) -> str:
    header = (
        "recipe", "drop before, points", "drop after, points (lowest to highest)", "KB", "times smaller", "steps", "s",
    )  # fmt: skip
    return table(header, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    low, high = 100 * row["drop_low"], 100 * row["drop_high"]
    return (
        name,
        f"{100 * row['drop_before']:.2f}",
        f"{100 * row['drop']:.2f} ({low:.2f} to {high:.2f})",
        f"{row['size_bytes'] / 1000:,.1f}",
        f"{row['size_ratio']:.1f}",
        f"{row['steps']:,.0f}",
        f"{row['seconds']:,.0f}",
    )
