"""Seconds from a slider's position to its measured points, in the warm worker that the app uses.

Twenty recipes that differ in sparsity, weight bits and activation bits go one by one through `compression.jobs`, as a
page sends them. Timed are the arrival of the first measured point (2,000 test images, bytes and latency included) and
of the one over the full test split. One more recipe goes ahead of them and is not counted: it loads the engine, the
images and the calibration, which happens once. For comparison, `evaluation` is how long ONNX Runtime alone takes over
the full test split with the plain fp32 file.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.quiet import Quiet
from benchmarks.report import Report, Spread, spread, table
from compression import cli, pipeline
from compression.console import Progress
from compression.errors import Unsupported, WorkerLost
from compression.export.session import session
from compression.jobs import Job, Lab, News
from compression.measure.accuracy import order, predict
from compression.recipe import Recipe
from compression.results import Measurement
from compression.worker import Request

WEIGHT_BITS = (8, 4, 2, 3, 5, 6, 7)
ACTIVATION_BITS = (8, 8, 32)
POSITIONS = 20
PATIENCE_S = 600.0  # for any one piece of news; training and downloads do not happen here


def positions() -> list[Recipe]:
    """Twenty recipes: 0 to 95% sparse, with every width of the weights, two in three with 8-bit activations."""
    return [
        Recipe()
        .with_setting("prune.sparsity", round(0.05 * number, 2))
        .with_setting("quantize.weight_bits", WEIGHT_BITS[number % len(WEIGHT_BITS)])
        .with_setting("quantize.activation_bits", ACTIVATION_BITS[number % len(ACTIVATION_BITS)])
        for number in range(POSITIONS)
    ]


@dataclass(frozen=True)
class Visit:
    """Seconds from a request to its first measured point and to the one over the full test split."""

    recipe: Recipe
    first_s: float
    full_s: float
    measurement: Measurement

    def values(self) -> dict[str, Any]:
        """JSON-ready."""
        summary = self.measurement.summary()
        kept = {name: summary[name] for name in ("accuracy", "size_bytes", "latency_ratio")}
        return {"recipe": self.recipe.to_dict(), "first_s": self.first_s, "full_s": self.full_s, **kept}


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Sends every position and reports medians and 95th percentiles."""
    with _lab() as lab:
        progress("Loading the engine, the images and the calibration", 0.0)
        cold = _visit(lab, model, dataset, Recipe().with_setting("prune.sparsity", 0.99))
        visits = []
        for number, recipe in enumerate(positions()):
            progress(f"Position {number + 1} of {POSITIONS}", number / POSITIONS)
            visits.append(_visit(lab, model, dataset, recipe))
    first, full = spread([v.first_s for v in visits]), spread([v.full_s for v in visits])
    evaluation_s = _evaluation_seconds(model, dataset)
    values = {
        "first_s": asdict(first), "full_s": asdict(full), "cold_full_s": cold.full_s, "evaluation_s": evaluation_s,
        "n_test": cold.measurement.n_test, "positions": [visit.values() for visit in visits],
    }  # fmt: skip
    markdown = _markdown(f"{model} on {dataset}", cold, first, full, evaluation_s)
    return Report("slider", model, dataset, cold.measurement.machine, quiet, values, markdown)


@contextmanager
def _lab() -> Iterator[Lab]:
    lab = Lab()
    try:
        yield lab
    finally:
        lab.close()


def _visit(lab: Lab, model: str, dataset: str, recipe: Recipe) -> Visit:
    """Sends one recipe and follows its news to the end."""
    began, news = time.perf_counter(), News()
    first_s = full_s = None
    job = lab.submit(Request(model, dataset, dataset, recipe.to_json()), owner="benchmark")
    while news.state == "working":
        news = _next_news(job, news)
        elapsed = time.perf_counter() - began
        if news.measurement and first_s is None:
            first_s = elapsed
        if news.measurement and news.full and full_s is None:
            full_s = elapsed
    if news.measurement is None or first_s is None or full_s is None:
        raise Unsupported(news.sentence)
    return Visit(recipe, first_s, full_s, news.measurement)


def _next_news(job: Job, last: News) -> News:
    news = job.wait(after=last.number, timeout=PATIENCE_S)
    if news.number == last.number:
        raise WorkerLost(f"The worker has said nothing for {PATIENCE_S:.0f} s.")
    return news


def _evaluation_seconds(model: str, dataset: str) -> float:
    """Median of three evaluations of the plain fp32 file over the full test split, session already loaded."""
    data = cli.load_data(dataset)
    file = pipeline.prepare(cli.load_model(model, data), data).baseline.onnx
    runner, images = session(file), order(len(data.test))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        predict(runner, data, images)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def _markdown(title: str, cold: Visit, first: Spread, full: Spread, evaluation_s: float) -> str:
    rows = [
        ("first measured point (2,000 images, bytes, latency)", f"{first.median:.2f}", f"{first.p95:.2f}"),
        (f"full test split ({cold.measurement.n_test:,} images)", f"{full.median:.2f}", f"{full.p95:.2f}"),
        ("ONNX Runtime alone over the full test split, fp32 file", f"{evaluation_s:.2f}", ""),
        ("full test split from a cold start", f"{cold.full_s:.1f}", ""),
    ]
    heading = f"{title}: seconds after a slider has moved, {first.n} positions, warm worker."
    return f"{heading}\n\n{table(('what', 'median, s', 'p95, s'), rows)}"
