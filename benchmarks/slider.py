"""Seconds from a slider's position to its measured points, in the warm worker that the app uses.

Recipes of every technique go one by one through `compression.jobs.lab`, as a page sends them, first with the fast
setting, then with the best. Timed are the arrival of the first measured point (2,000 test images, bytes and latency
included) and of the one over the full test split. One more recipe goes ahead of them and is not counted: it loads the
engine, the images and the calibration, which happens once; after it the worker has the time to fill its caches, as
after a user's first recipe. For comparison, `evaluation` is how long ONNX Runtime alone takes over the full test split
with the plain fp32 file. Everything runs in an empty folder: what was measured before is not told.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.quiet import Quiet
from benchmarks.report import Report, spread, table
from compression.cli import inputs
from compression.cli.console import Progress
from compression.data import user_folder
from compression.errors import Unsupported, WorkerLost
from compression.host.onnx_runtime import session
from compression.jobs.lab import Job, Lab, News
from compression.jobs.messages import Request
from compression.measure.accuracy import order, predict
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.records.measurement import Measurement

QUALITIES = ("fast", "best")
REST_S = 0.5
"""Between a result and the next move, as nobody moves a slider sooner: the result is kept meanwhile."""
PATIENCE_S = 600.0  # for any one piece of news; training and downloads do not happen here

TECHNIQUES: dict[str, tuple[tuple[str, ...], ...]] = {
    "quantize, 8-bit activations": tuple((f"quantize.weight_bits={bits}",) for bits in (8, 4, 2, 3, 5, 6, 7)),
    "prune": tuple((f"prune.sparsity={share}",) for share in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
    "prune and quantize": tuple(
        (f"prune.sparsity={share}", f"quantize.weight_bits={bits}")
        for share, bits in ((0.3, 8), (0.5, 4), (0.6, 3), (0.7, 6), (0.8, 4), (0.9, 4), (0.5, 2))
    ),
    "channels": tuple((f"channels.amount={share}",) for share in (0.2, 0.3, 0.4, 0.5, 0.6)),
    "channels and quantize": tuple((f"channels.amount={s}", "quantize.weight_bits=4") for s in (0.2, 0.3, 0.4, 0.5)),
    "share": tuple((f"share.entries={entries}",) for entries in (4, 8, 16, 32, 64)),
    "factorize": tuple((f"factorize.amount={share}",) for share in (0.2, 0.3, 0.4, 0.5)),
}
"""Positions of the sliders by technique, as `--set` writes them."""


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
    visits: dict[tuple[str, str], list[Visit]] = {(name, q): [] for name in TECHNIQUES for q in QUALITIES}
    plan = [(key, settings) for key in visits for settings in TECHNIQUES[key[0]]]
    with _lab() as lab:
        progress("Loading the engine, the images and the calibration", 0.0)
        cold = _visit(lab, model, dataset, Recipe().with_setting("prune.sparsity", 0.99))
        time.sleep(1.0)  # its result is being kept
        lab.wait_until_idle()
        for number, ((name, quality), settings) in enumerate(plan):
            progress(f"{name}, {quality}", number / len(plan))
            recipe = inputs.read_recipe(None, list(settings), None).with_setting("quality", quality)
            time.sleep(REST_S)
            visits[name, quality].append(_visit(lab, model, dataset, recipe))
    evaluation_s = _evaluation_seconds(model, dataset)
    rows = [_row(name, quality, found) for (name, quality), found in visits.items()]
    rows += [_row("all", q, [v for key, found in visits.items() if key[1] == q for v in found]) for q in QUALITIES]
    values = {
        "rows": rows, "cold_full_s": cold.full_s, "evaluation_s": evaluation_s, "n_test": cold.measurement.n_test,
        "positions": [visit.values() for found in visits.values() for visit in found],
    }  # fmt: skip
    title = f"{model} on {dataset}, {cold.measurement.n_test:,} test images"
    return Report(
        "slider", model, dataset, cold.measurement.machine, quiet, values, _markdown(title, rows, cold, evaluation_s)
    )


def _row(name: str, quality: str, visits: list[Visit]) -> dict[str, Any]:
    first, full = spread([v.first_s for v in visits]), spread([v.full_s for v in visits])
    return {"technique": name, "quality": quality, "first_s": asdict(first), "full_s": asdict(full)}


@contextmanager
def _lab() -> Iterator[Lab]:
    """A laboratory in a folder of its own, with the datasets and the trained networks that are there."""
    before = os.environ.get("COMPRESSION_HOME")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for shared in ("datasets", "zoo"):
            (user_folder() / shared).mkdir(parents=True, exist_ok=True)
            (Path(folder) / shared).symlink_to(user_folder() / shared, target_is_directory=True)
        os.environ["COMPRESSION_HOME"] = folder
        lab = Lab()
        try:
            yield lab
        finally:
            lab.close()
            os.environ.pop("COMPRESSION_HOME")
            if before is not None:
                os.environ["COMPRESSION_HOME"] = before


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
    data = inputs.load_data(dataset)
    file = compress.prepare(inputs.load_model(model, data), data).baseline.onnx
    runner, images = session(file), order(len(data.test))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        predict(runner, data, images)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def _markdown(title: str, rows: list[dict[str, Any]], cold: Visit, evaluation_s: float) -> str:
    header = ("technique", "setting", "first point: median, s", "p95, s", "full test split: median, s", "p95, s", "n")
    cells = [
        (
            row["technique"], row["quality"],
            *(f"{row[what][part]:.2f}" for what in ("first_s", "full_s") for part in ("median", "p95")),
            str(row["first_s"]["n"]),
        )
        for row in rows
    ]  # fmt: skip
    heading = (
        f"{title}: seconds after a slider has moved, warm worker. ONNX Runtime alone takes {evaluation_s:.2f} s over "
        f"the full test split with the fp32 file; from a cold start the full result took {cold.full_s:.1f} s."
    )
    return f"{heading}\n\n{table(header, cells)}"
