"""Estimated latency over measured latency on every network of the zoo with weights for the dataset, fp32 and int8.

The estimate is the one that the page Deploy shows for this machine: a roofline and a constant for each operator, with
constants from microbenchmarks of single operators. The goal is a factor within 0.5 and 2 everywhere.
"""

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from compression import models
from compression.cli.console import Progress
from compression.data import Dataset, load
from compression.host.machine import this_machine
from compression.host.onnx_runtime import session
from compression.measure.latency import latency
from compression.measure.roofline import estimate_ms, this_processor, work_of
from compression.pipeline import compress
from compression.recipe import Recipe
from compression.steps import Quantize

INT8 = Recipe(steps=(Quantize(),), quality="fast")
ALL = "zoo"


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """One row a network; `model` names one, or all with 'zoo'."""
    names = [card.model for card in models.cards() if card.dataset == dataset and model in (ALL, card.model)]
    data, values = load(dataset), {}
    for number, name in enumerate(names):
        progress(name, number / len(names))
        values[name] = _network(name, dataset, data)
    return Report("roofline", model, dataset, this_machine(), quiet, values, _markdown(dataset, values))


def _network(name: str, dataset: str, data: Dataset) -> dict[str, dict[str, float]]:
    prepared = compress.prepare(models.load(name, dataset), data)
    files = {"fp32": prepared.baseline.onnx, "int8": compress.compress_prepared(prepared, INT8).onnx}
    image, base = data.normalize(data.test.images[:1]).numpy(), session(files["fp32"])
    found = {}
    for kind, file in files.items():
        measured = latency(session(file), base, image).p50_ms
        estimated = estimate_ms(work_of(file, data.input_shape), this_processor())
        found[kind] = {"measured_ms": measured, "estimated_ms": estimated, "factor": estimated / measured}
    return found


def _markdown(dataset: str, values: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        (name, kind, f"{v['estimated_ms']:.3f}", f"{v['measured_ms']:.3f}", f"{v['factor']:.2f}")
        for name, kinds in values.items()
        for kind, v in kinds.items()
    ]
    factors = [v["factor"] for kinds in values.values() for v in kinds.values()]
    inside = sum(0.5 <= factor <= 2 for factor in factors)
    heading = (
        f"Networks of the zoo on {dataset}, one image, one thread: {inside} of {len(factors)} within a factor of 2."
    )
    return f"{heading}\n\n{table(('network', 'file', 'estimated, ms', 'measured, ms', 'factor'), rows)}"
