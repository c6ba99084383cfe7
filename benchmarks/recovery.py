"""What training gives back: accuracy lost before and after recovery, for a list of recipes, over training seeds.

Every number comes from the exported file on the whole test split. A drop is the dense baseline's accuracy minus the
file's, in points. Minutes become steps by the speed that is measured first, on the machine as it is; `steps` says the
budget itself. The control is the dense network, not compressed, given the same steps.

Each result is kept as a line of JSON as soon as it is there. A run that was cut off goes on behind its last line, and
`--only` adds rows to those of before: a line counts where engine, network, row and budget are the same.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import kept_results
from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression.cli import inputs
from compression.cli.console import Progress
from compression.errors import UnknownName
from compression.host.engine_version import engine_hash
from compression.host.machine import this_machine
from compression.pipeline import candidate, compress, measuring
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.steps import Channels, Prune, Quantize, Recover, Step, steps_for
from compression.techniques.recovery import recover

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


@dataclass(frozen=True)
class Result:
    """One row with one seed: `before` and `after` are `Measurement.summary`, of files made without and with training.

    `key` says what it is a result of.
    """

    key: str
    row: str
    seed: int
    steps: int
    before: dict[str, Any]
    after: dict[str, Any]


def run(
    model: str,
    dataset: str,
    quiet: Quiet,
    progress: Progress,
    *,
    minutes: float = 3.0,
    steps: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    rows: Sequence[str] = (),
    temperatures: bool = False,
    lines: Path | None = None,
) -> Report:
    """Measures every row, or the sweep over temperatures of the dense and the 3-bit student.

    `lines` is the file that keeps each result as it comes. The report is on all rows asked for.
    """
    known = _sweep() if temperatures else ROWS
    chosen = {name: _named(name, known) for name in rows or known}
    wanted = {
        (name, seed): _key(model, dataset, row, seed, minutes, steps) for name, row in chosen.items() for seed in seeds
    }
    found = {result.key: result for result in _known(lines)}
    missing = [place for place in sorted(wanted, key=lambda place: place[1]) if wanted[place] not in found]
    for result in _measure(model, dataset, chosen, missing, progress, minutes, steps):
        found[wanted[result.row, result.seed]] = result
        kept_results.keep(asdict(replace(result, key=wanted[result.row, result.seed])), lines)
    results = {name: [found[wanted[name, seed]] for seed in seeds] for name in chosen}
    summaries = {name: summarize(chosen[name], row) for name, row in results.items()}
    first = next(iter(results.values()))[0].before
    budget = f"{steps:,} steps" if steps else f"{minutes:g} minutes"
    title = (
        f"{model} on {dataset}, {first['n_test']:,} test images; baseline {first['baseline_accuracy']:.2%}, "
        f"{first['baseline_size_bytes'] / 1000:,.1f} KB; {budget} of recovery, seeds {', '.join(map(str, seeds))}."
    )
    values = {
        "seeds": list(seeds), "minutes": None if steps else minutes, "baseline_accuracy": first["baseline_accuracy"],
        "n_test": first["n_test"], "rows": summaries,
    }  # fmt: skip
    return Report("recovery", model, dataset, this_machine(), quiet, values, f"{title}\n\n{_table(summaries)}")


def _measure(
    model: str, dataset: str, rows: dict[str, Row], missing: Sequence[tuple[str, int]], progress: Progress,
    minutes: float, steps: int | None,
) -> Iterator[Result]:  # fmt: skip
    """The results of (row, seed) that are missing, one after the other; those of a seed stand together."""
    if not missing:
        return
    data = inputs.load_data(dataset)
    network = inputs.load_model(model, data)
    prepared, last = None, None
    for number, (name, seed) in enumerate(missing):
        progress(f"{name}, seed {seed}", number / len(missing))
        if prepared is None or seed != last:
            prepared, last = compress.prepare(network, data, seed=seed), seed
        budget = steps or steps_for(minutes, seconds_per_step(prepared, rows[name], seed))
        yield Result("", name, seed, budget, *_before_and_after(prepared, rows[name], budget, seed))


def _named(name: str, rows: dict[str, Row]) -> Row:
    if name not in rows:
        raise UnknownName("row", name, rows)
    return rows[name]


def _key(model: str, dataset: str, row: Row, seed: int, minutes: float, steps: int | None) -> str:
    """What a result depends on; the threads because minutes become steps by speed."""
    recipe = Recipe(steps=(*row.steps, Recover(**row.settings)), seed=seed)
    budget = {"steps": steps} if steps else {"minutes": minutes, "threads": torch.get_num_threads()}
    return json.dumps([engine_hash(), model, dataset, recipe.to_dict(), budget], sort_keys=True)


def _known(lines: Path | None) -> Iterator[Result]:
    """Results kept in the file; those of another layout are none."""
    for values in kept_results.read(lines):
        with suppress(TypeError):
            yield Result(**values)


def _sweep() -> dict[str, Row]:
    """The dense and the 3-bit student at each temperature, without labels' help, so that the teacher alone acts."""
    students = {"fp32": (), "W3A8": (Quantize(weight_bits=3),)}
    return {
        f"{name}, T = {t:g}": Row(steps, FINE | {"temperature": t, "alpha": 1.0})
        for name, steps in students.items()
        for t in TEMPERATURES
    }


def seconds_per_step(prepared: candidate.Prepared, row: Row, seed: int) -> float:
    """The pace of training from a short trial: the median time of ten steps without an evaluation among them."""
    seen: list[tuple[float, LearningPoint]] = []
    trial = Recipe(steps=(*row.steps, Recover(steps=TRIAL_STEPS, **row.settings)), seed=seed, quality="fast")
    with patch.object(recover, "EVALUATIONS", 1):
        compress.simulate(prepared, trial, learn=lambda point: seen.append((time.perf_counter(), point)))
    paces = [
        (after[0] - before[0]) / (after[1].step - before[1].step)
        for before, after in pairwise(seen)
        if after[1].accuracy is None and before[1].step > 0
    ]
    return median(paces)


def _before_and_after(
    prepared: candidate.Prepared, row: Row, budget: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    recipes = (
        Recipe(steps=row.steps, seed=seed),
        Recipe(steps=(*row.steps, Recover(steps=budget, **row.settings)), seed=seed),
    )
    before, after = (measuring.measure(compress.compress_prepared(prepared, r), prepared).summary() for r in recipes)
    return before, after


def summarize(row: Row, results: Sequence[Result]) -> dict[str, Any]:
    """One row: drops before and after over the seeds, bytes, seconds and steps."""
    after = [result.after["accuracy_drop"] for result in results]
    recipe = Recipe(steps=(*row.steps, Recover(steps=results[0].steps, **row.settings)))
    return {
        "recipe": recipe.to_dict(),
        "steps": mean(result.steps for result in results),
        "drop_before": mean(result.before["accuracy_drop"] for result in results),
        "drop": mean(after), "drop_low": min(after), "drop_high": max(after),
        "size_bytes": mean(result.after["size_bytes"] for result in results),
        "size_ratio": mean(result.after["size_ratio"] for result in results),
        "seconds": mean(result.after["seconds"] for result in results),
        "measurements": [result.after for result in results],
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
