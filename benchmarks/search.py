"""How far a search gets: the volume that its front dominates, beside random search and beside fixed lists of recipes.

Volume is the share of the box between nothing and the fp32 file (10 points of accuracy lost, its bytes, its time) that
some file dominates, on validation images: see `compression.searching.objectives.volume`. Every method begins in a home
where nothing is known, and has the same engine, images and machine. Fixed lists are carried out whole, however long
they take: the ladder that *Smallest file at 1 point* bisects, and the sweep that comes with the app.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import kept_results
from benchmarks.quiet import Quiet
from benchmarks.reference import recipes
from benchmarks.report import Report, table
from compression import models
from compression.cli.console import Progress
from compression.data import load, user_folder
from compression.errors import UserError
from compression.host.machine import this_machine
from compression.jobs.recipe_search import LADDER
from compression.jobs.search import search
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.records.search import Trial
from compression.searching import objectives
from compression.searching.evaluation import evaluate
from compression.searching.rounds import Bar

DROP, SMALL = 0.01, 50_000
"""What is asked for: at most so much accuracy lost, and a file of at most so many bytes."""


@dataclass(frozen=True)
class Result:
    """What a method found with a seed: volume, and the smallest file within `DROP` (bytes, drop), if there is one."""

    method: str
    seed: int
    minutes: float
    trials: int
    complete: int
    volume: float
    smallest: int | None
    drop: float | None
    volumes: tuple[tuple[float, float], ...] = ()


def run(
    model: str, dataset: str, quiet: Quiet, progress: Progress, *, minutes: float, random_minutes: float, seeds: range,
    methods: tuple[str, ...], lines: Path, trials: int = 0,
) -> Report:  # fmt: skip
    """Carries out what is not in `lines` yet, and reports all that is there of this network."""
    for seed in seeds:
        for method in methods:
            given = random_minutes if method == "random" else minutes
            if not any(_is(known, method, seed, given) for known in _read(lines)):
                progress(f"{method}, seed {seed}, {given:g} minutes", 0.0)
                found = _fixed(model, dataset, progress) if method == "fixed" else _searched(
                    model, dataset, method, seed, given, trials, progress
                )  # fmt: skip
                kept_results.keep(asdict(found), lines)
    results = [each for each in _read(lines) if each.method in methods]
    heading = f"{model} on {dataset}: what a search finds, on validation images."
    values = {"results": [asdict(each) for each in results]}
    return Report("search", model, dataset, this_machine(), quiet, values, f"{heading}\n\n{_table(results)}")


def _is(known: Result, method: str, seed: int, minutes: float) -> bool:
    return known.method == method and (method == "fixed" or (known.seed, known.minutes) == (seed, minutes))


def _read(lines: Path) -> list[Result]:
    return [Result(**values) for values in kept_results.read(lines)]


def _searched(
    model: str, dataset: str, method: str, seed: int, minutes: float, trials: int, progress: Progress
) -> Result:
    with new_home():
        found = search(model, dataset, progress=progress, minutes=minutes, trials=trials, seed=seed, sampler=method)
    return _result(method, seed, minutes, found.trials, int(found.baseline["size_bytes"]))


def _fixed(model: str, dataset: str, progress: Progress) -> Result:
    """The ladder and the sweep, with the *best* and the *fast* setting as they are."""
    begun = time.monotonic()
    prepared = compress.prepare(models.load(model, dataset), load(dataset), progress=progress)
    trials, chosen = [], [*LADDER, *recipes()]
    for number, recipe in enumerate(chosen):
        progress(f"Recipe {number + 1} of {len(chosen)}", number / len(chosen))
        trials.append(_tried(number, prepared, recipe, time.monotonic() - begun))
    minutes = (time.monotonic() - begun) / 60
    return _result("fixed", 0, minutes, tuple(filter(None, trials)), len(prepared.baseline.onnx))


def _tried(number: int, prepared: compress.Prepared, recipe: Recipe, ended: float) -> Trial | None:
    try:
        found = evaluate(prepared, recipe, Bar()).found
    except UserError:  # not every network bears every recipe
        return None
    return Trial(number, "complete", "all images", recipe.to_json(), {}, found, ended=ended)


def _result(method: str, seed: int, minutes: float, trials: tuple[Trial, ...], baseline_bytes: int) -> Result:
    done = objectives.complete(trials)
    within = [t.found for t in done if t.found and t.found.drop <= DROP]
    smallest = min(within, key=lambda found: found.size_bytes, default=None)
    return Result(
        method, seed, minutes, len(trials), len(done), objectives.volume(trials, baseline_bytes),
        smallest.size_bytes if smallest else None, smallest.drop if smallest else None,
        tuple(objectives.volumes(trials, baseline_bytes)),
    )  # fmt: skip


@contextmanager
def new_home() -> Iterator[None]:
    """A home where nothing is known but the datasets."""
    usual = os.environ.get("COMPRESSION_HOME")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "datasets").symlink_to(user_folder() / "datasets")
        os.environ["COMPRESSION_HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("COMPRESSION_HOME") if usual is None else os.environ.update(COMPRESSION_HOME=usual)


def _table(results: list[Result]) -> str:
    rows = [
        (
            each.method, str(each.seed), f"{each.minutes:.1f}", str(each.trials), str(each.complete),
            f"{100 * each.volume:.1f}%", "-" if each.smallest is None else f"{each.smallest / 1000:.1f}",
            "-" if each.drop is None else f"{100 * each.drop:.2f}",
        )
        for each in results
    ]  # fmt: skip
    head = ("method", "seed", "minutes", "trials", "to the end", "volume", "smallest at 1 point, KB", "points lost")
    return table(head, rows)
