"""How long the sensitivity of every layer takes: sparsity, bits and rank, one layer at a time, 2,000 images a point.

One calibration pass, then every point of the page Layers, in this process and with nothing known before.
"""

import os
import tempfile
import time
from pathlib import Path

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import models
from compression.analysis.layer_sensitivity import IMAGES, Sweep
from compression.cli.console import Progress
from compression.data import load, user_folder
from compression.host.machine import this_machine
from compression.pipeline import candidate, compress
from compression.records.analysis import LEVELS

GOAL_S = 150


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Prepares the network once, then sweeps over all layers."""
    data, network = load(dataset), models.load(model, dataset)
    began = time.perf_counter()
    prepared = compress.prepare(network, data, progress=lambda told, share: progress(told, 0.1 * share))
    calibrated = time.perf_counter() - began
    began = time.perf_counter()
    took = _sweep(prepared, progress)
    total = time.perf_counter() - began
    points = len(took) * sum(map(len, LEVELS.values()))
    values = {"prepare_s": calibrated, "sweep_s": total, "layers_s": took, "points": points, "images": IMAGES}
    return Report("sweep", model, dataset, this_machine(), quiet, values, _markdown(model, dataset, values))


def _sweep(prepared: candidate.Prepared, progress: Progress) -> dict[str, float]:
    """Seconds by layer, in a home where nothing is known."""
    usual = os.environ.get("COMPRESSION_HOME")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "datasets").symlink_to(user_folder() / "datasets")
        os.environ["COMPRESSION_HOME"] = folder
        try:
            sweep, took = Sweep(prepared), {}
            for number, name in enumerate(sweep.names):
                progress(f"Layer {name}", 0.1 + 0.9 * number / len(sweep.names))
                began = time.perf_counter()
                sweep.layer(name)
                took[name] = time.perf_counter() - began
            return took
        finally:
            os.environ.pop("COMPRESSION_HOME") if usual is None else os.environ.update(COMPRESSION_HOME=usual)


def _markdown(model: str, dataset: str, values: dict) -> str:
    slowest = max(values["layers_s"], key=values["layers_s"].get)
    rows = [
        ("calibration and baseline, once", f"{values['prepare_s']:.1f}", ""),
        (f"{values['points']} points of {len(values['layers_s'])} layers", f"{values['sweep_s']:.1f}", str(GOAL_S)),
        (f"slowest layer ({slowest})", f"{values['layers_s'][slowest]:.1f}", ""),
    ]
    heading = f"{model} on {dataset}: the sensitivity sweep on {values['images']:,} validation images a point."
    return f"{heading}\n\n{table(('what', 'seconds', 'goal'), rows)}"
