"""What compression costs and gives: accuracy lost, bytes and time, for a list of recipes, over three seeds.

Every number comes from the exported file on the whole test split, by the functions behind `python -m compression
compress`. A drop is the dense baseline's accuracy minus the file's, in points; mean, lowest and highest over the
calibration seeds. Latency is one image at one thread, as a ratio to the baseline measured in turn with it.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import cli
from compression.cli import inputs
from compression.cli.console import Progress
from compression.errors import UnknownName
from compression.pipeline import compress
from compression.records.measurement import Measurement

SEEDS = (0, 1, 2)
THREADS = 1

ROWS: dict[str, tuple[str, ...]] = {
    "W8A8": ("quantize.weight_bits=8", "quantize.activation_bits=8"),
    "W4A8": ("quantize.weight_bits=4", "quantize.activation_bits=8"),
    "W3A8": ("quantize.weight_bits=3", "quantize.activation_bits=8"),
    "W2A8": ("quantize.weight_bits=2", "quantize.activation_bits=8"),
    "mixed bits, 3 on average, A8": ("quantize.weight_bits=3", "quantize.allocation=mixed"),
    "W4A8, powers of two": ("quantize.weight_bits=4", "quantize.scheme=logarithmic"),
    "W4A8, asymmetric": ("quantize.weight_bits=4", "quantize.scheme=asymmetric"),
    "ternary, A8": ("quantize.scheme=ternary",),
    "binary, A8": ("quantize.scheme=binary",),
    "half precision": ("quantize.activation_bits=32", "quantize.weight_bits=16"),
    "W4, weights only": ("quantize.weight_bits=4", "quantize.activation_bits=32"),
    "W3, weights only": ("quantize.weight_bits=3", "quantize.activation_bits=32"),
    "W2, weights only": ("quantize.weight_bits=2", "quantize.activation_bits=32"),
    "50% sparse": ("prune.sparsity=0.5",),
    "70% sparse": ("prune.sparsity=0.7",),
    "80% sparse": ("prune.sparsity=0.8",),
    "90% sparse": ("prune.sparsity=0.9",),
    "2:4 sparse": ("prune.pattern=2:4",),
    "half the MACs": ("channels.amount=0.5",),
    "codebooks of 16": ("share.entries=16",),
    "low rank, 1.5 times fewer MACs": ("factorize.amount=0.334",),
    "50% sparse, W8A8": ("prune.sparsity=0.5", "quantize.weight_bits=8", "quantize.activation_bits=8"),
    "80% sparse, W4A8": ("prune.sparsity=0.8", "quantize.weight_bits=4", "quantize.activation_bits=8"),
}
"""Recipes by the name that the table shows, as `--set` writes them."""


def run(model: str, dataset: str, quiet: Quiet, progress: Progress, *, only: tuple[str, ...] = ()) -> Report:
    """Measures every row, or those named in `only`, with every seed. Raises UnknownName."""
    for name in only:
        if name not in ROWS:
            raise UnknownName("row", name, ROWS)
    found = _measure_all(model, dataset, only or tuple(ROWS), progress)
    first = next(iter(found.values()))[0]
    rows = {name: summarize(name, measurements) for name, measurements in found.items()}
    values = {"seeds": SEEDS, "baseline_accuracy": first.accuracy.baseline, "n_test": first.n_test, "rows": rows}
    title = (
        f"{model} on {dataset}, {first.n_test:,} test images; baseline {first.accuracy.baseline:.2%}, "
        f"{first.baseline_size_bytes / 1000:,.1f} KB; {len(SEEDS)} seeds, {THREADS} thread."
    )
    return Report("accuracy", model, dataset, first.machine, quiet, values, f"{title}\n\n{_table(rows)}")


def _measure_all(model: str, dataset: str, names: tuple[str, ...], progress: Progress) -> dict[str, list[Measurement]]:
    data = inputs.load_data(dataset)
    network = inputs.load_model(model, data)
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    for number, seed in enumerate(SEEDS):
        prepared = compress.prepare(network, data, seed=seed)
        for position, name in enumerate(names):
            progress(f"{name}, seed {seed}", (number * len(names) + position) / (len(SEEDS) * len(names)))
            recipe = inputs.read_recipe(None, list(ROWS[name]), seed)
            found[name].append(cli.carry_out(recipe, prepared, threads=THREADS)[1])
    return found


def summarize(name: str, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """One row: means over the seeds, the range of the drop, and each seed's whole measurement."""
    drops = [m.accuracy.drop for m in measurements]
    ratios = [m.latency.ratio for m in measurements if m.latency]
    return {
        "settings": ROWS[name],
        "accuracy": mean(m.accuracy.value for m in measurements),
        "drop": mean(drops), "drop_low": min(drops), "drop_high": max(drops),
        "size_bytes": mean(m.size_bytes for m in measurements),
        "size_ratio": mean(m.size_ratio for m in measurements),
        "latency_ratio": mean(ratios) if ratios else None,
        "measurements": [m.summary() for m in measurements],
    }  # fmt: skip


def _table(rows: dict[str, dict[str, Any]]) -> str:
    header = ("recipe", "accuracy", "drop, points (lowest to highest)", "KB", "times smaller", "latency ratio")
    return table(header, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{row['accuracy']:.2%}",
        f"{100 * row['drop']:.2f} ({100 * row['drop_low']:.2f} to {100 * row['drop_high']:.2f})",
        f"{row['size_bytes'] / 1000:,.1f}",
        f"{row['size_ratio']:.1f}",
        f"{row['latency_ratio']:.2f}" if row["latency_ratio"] else "",
    )
