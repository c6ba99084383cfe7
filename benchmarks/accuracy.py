"""What compression costs and gives: accuracy lost, bytes and time, for a list of recipes, over calibration seeds.

Every number comes from the exported file on the whole test split, made by the functions behind `python -m compression
compress`. A drop is the dense baseline's accuracy minus the file's, in points, on the same images; told with it are how
sure it is, how many images were lost and gained, how often the two agree and how far the scores have moved. Latency is
one image at one thread, as a ratio to the baseline measured in turn with it; there is none on a busy machine.

Each result is kept as a line of JSON as soon as it is there. A run that was cut off goes on behind its last line.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks import kept_results
from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression.cli import inputs
from compression.cli.console import Progress
from compression.errors import UnknownName, UserError
from compression.host.engine_version import engine_hash
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.accuracy import BATCH, MEBIBYTES
from compression.measure.intake import answered, intake
from compression.measure.latency import latency
from compression.network.decisions import classes
from compression.pipeline import candidate, compress
from compression.records.measurement import Z95, Interval

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
    "20% fewer MACs by channels": ("channels.amount=0.2",),
    "half the MACs": ("channels.amount=0.5",),
    "codebooks of 16": ("share.entries=16",),
    "low rank, 15% fewer MACs": ("factorize.amount=0.15",),
    "low rank, 1.5 times fewer MACs": ("factorize.amount=0.334",),
    "50% sparse, W8A8": ("prune.sparsity=0.5", "quantize.weight_bits=8", "quantize.activation_bits=8"),
    "80% sparse, W4A8": ("prune.sparsity=0.8", "quantize.weight_bits=4", "quantize.activation_bits=8"),
}
"""Recipes by the name that the table shows, as `--set` writes them."""


@dataclass(frozen=True)
class Subject:
    """What is compressed, with how many calibration images, and the settings that every recipe gets besides."""

    model: str
    dataset: str
    weights: Path | None = None
    calibration: int = 512
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paired:
    """A file's answers beside fp32's, on the same `n` images.

    `lost` and `gained`: images that only fp32 and only the file answers rightly. `agreement`: the share that gets the
    same class from both. `divergence`: of the file's answers from fp32's (Kullback-Leibler), mean over images, nats.
    """

    n: int
    baseline: float
    lost: int
    gained: int
    agreement: float
    divergence: float

    @classmethod
    def of(cls, theirs: np.ndarray, ours: np.ndarray, labels: np.ndarray) -> "Paired":
        """From the scores [n, classes] of fp32 and of the file."""
        (before, log_p), (after, log_q) = ((classes(scores), _log_softmax(scores)) for scores in (theirs, ours))
        was, now = before == labels, after == labels
        return cls(
            len(labels), float(was.mean()), int((was & ~now).sum()), int((now & ~was).sum()),
            float((before == after).mean()), float((np.exp(log_p) * (log_p - log_q)).sum(1).mean()),
        )  # fmt: skip

    @property
    def drop(self) -> float:
        """fp32's accuracy minus the file's."""
        return (self.lost - self.gained) / self.n

    @property
    def interval(self) -> Interval:
        """95% of the drop: Wald's with half an image more in each of the four cells (Agresti & Min 2005)."""
        lost, gained, n = self.lost + 0.5, self.gained + 0.5, self.n + 2
        middle, half = (lost - gained) / n, Z95 * sqrt(lost + gained - (lost - gained) ** 2 / n) / n
        return Interval(middle - half, middle + half)


@dataclass(frozen=True)
class Result:
    """One row with one seed. `key` says what it is a result of; `refusal` is why there is none."""

    key: str
    row: str
    seed: int
    paired: Paired | None = None
    size_bytes: int = 0
    baseline_bytes: int = 0
    macs_ratio: float = 1.0
    latency_ratio: float | None = None
    seconds: float = 0.0
    refusal: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Result":
        """From a line that was kept."""
        return cls(**{**values, "paired": values["paired"] and Paired(**values["paired"])})


def run(
    subject: Subject, quiet: Quiet, progress: Progress, *, only: tuple[str, ...] = (), seeds: Sequence[int] = SEEDS,
    busy: bool = False, lines: Path | None = None,
) -> Report:  # fmt: skip
    """Measures every row, or those named in `only`, with every seed. Raises UnknownName."""
    names = only or tuple(ROWS)
    for name in names:
        if name not in ROWS:
            raise UnknownName("row", name, ROWS)
    keys = {(name, seed): _key(subject, name, seed, busy) for seed in seeds for name in names}
    found = {result.key: result for result in _known(lines)}
    missing = [place for place, key in keys.items() if key not in found]
    for result in _measure(subject, missing, keys, progress, busy=busy):
        found[result.key] = result
        kept_results.keep(asdict(result), lines)
    rows = {name: [found[keys[name, seed]] for seed in seeds] for name in names}
    first = next((result for each in rows.values() for result in each if result.paired), None)
    told = f"{first.paired.n:,} test images; baseline {first.paired.baseline:.2%}, " if first and first.paired else ""
    title = (
        f"{subject.model} on {subject.dataset}, {told}{(first.baseline_bytes if first else 0) / 1000:,.1f} KB; "
        f"up to {subject.calibration} calibration images, seeds {', '.join(map(str, seeds))}."
    )
    values = {"seeds": list(seeds), "rows": {name: [asdict(result) for result in each] for name, each in rows.items()}}
    return Report(
        "accuracy", subject.model, subject.dataset, this_machine(), quiet, values, f"{title}\n\n{_table(rows)}"
    )


def _key(subject: Subject, name: str, seed: int, busy: bool) -> str:
    """What a result depends on."""
    parts = [engine_hash(), subject.model, subject.dataset, str(subject.weights or ""), subject.calibration]
    return json.dumps([*parts, subject.settings, ROWS[name], seed, busy])


def _known(lines: Path | None) -> Iterator[Result]:
    """Results kept in the file; those of another layout are none."""
    for values in kept_results.read(lines):
        with suppress(TypeError, KeyError):
            yield Result.of(values)


def _measure(
    subject: Subject, missing: Sequence[tuple[str, int]], keys: dict[tuple[str, int], str], progress: Progress, *,
    busy: bool,
) -> Iterator[Result]:  # fmt: skip
    if not missing:
        return
    network, data = inputs.load_inputs(subject.model, subject.dataset, weights=subject.weights)
    last, prepared, dense = None, None, np.empty(0)
    for number, (name, seed) in enumerate(missing):
        progress(f"{name}, seed {seed}", number / len(missing))
        if prepared is None or seed != last:
            prepared, last = compress.prepare(network, data, seed=seed, calibration_images=subject.calibration), seed
            dense = scores(prepared.baseline.onnx, prepared)
        recipe = inputs.read_recipe(None, [*ROWS[name], *subject.settings], seed)
        recipe = recipe.with_setting("calibration_images", subject.calibration)
        began = time.perf_counter()
        try:
            made = compress.compress_prepared(prepared, recipe)
        except UserError as error:
            yield Result(keys[name, seed], name, seed, refusal=str(error))
            continue
        seconds, ratio = time.perf_counter() - began, None
        if not busy:
            image = prepared.data.normalize(prepared.data.test.images[:1]).numpy()
            ratio = latency(session(made.onnx, threads=THREADS), prepared.baseline_session, image).ratio
        yield Result(
            keys[name, seed], name, seed,
            Paired.of(dense, scores(made.onnx, prepared), prepared.data.test.labels.numpy()), len(made.onnx),
            len(prepared.baseline.onnx), made.macs / prepared.baseline.macs, ratio, seconds,
        )  # fmt: skip


def scores(file: bytes, prepared: candidate.Prepared) -> np.ndarray:
    """What a file answers to all test images, [n, classes], in their order in the split."""
    runner, data = session(file), prepared.data
    takes, images = intake(runner, data.input_shape), data.test.images
    parts = (data.normalize(part).numpy() for part in images.split(data.at_once(BATCH, MEBIBYTES)))
    return np.concatenate([answered(runner, takes, part, len(data.classes)) for part in parts])


def _log_softmax(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    values -= values.max(1, keepdims=True)
    return values - np.log(np.exp(values).sum(1, keepdims=True))


def _table(rows: dict[str, list[Result]]) -> str:
    header = (
        "recipe", "drop, points (lowest to highest)", "95% of the first seed", "lost, gained", "same class",
        "divergence", "KB", "times smaller", "MACs", "latency ratio", "s",
    )  # fmt: skip
    return table(header, [_cells(name, results) for name, results in rows.items()])


def _cells(name: str, results: list[Result]) -> tuple[str, ...]:
    done = [(result, result.paired) for result in results if result.paired]
    if not done:
        return (name, results[0].refusal, *[""] * 9)
    drops, (first, paired) = [100 * p.drop for _, p in done], done[0]
    low, high, size = paired.interval.low, paired.interval.high, mean(r.size_bytes for r, _ in done)
    ratios = [r.latency_ratio for r, _ in done if r.latency_ratio]
    return (
        name,
        f"{mean(drops):.2f} ({min(drops):.2f} to {max(drops):.2f})",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{paired.lost}, {paired.gained}",
        f"{mean(p.agreement for _, p in done):.1%}",
        f"{mean(p.divergence for _, p in done):.3f}",
        f"{size / 1000:,.1f}",
        f"{first.baseline_bytes / size:.1f}",
        f"{mean(r.macs_ratio for r, _ in done):.2f}",
        f"{mean(ratios):.2f}" if ratios else "",
        f"{mean(r.seconds for r, _ in done):.0f}",
    )
