"""The same file on several machines: times, memory and answers side by side, as rows and sentences."""

from typing import Any

from compression.analysis.machines import Apart, apart
from compression.language import N_, _
from compression.records.measurement import Latency, Predictions
from compression.store import Run
from compression.store.probes import Probed
from pages.ui.model import wording

HERE = N_("This machine")


def rows(run: Run, probed: list[Probed]) -> list[dict[str, Any]]:
    """A row for each machine and number of threads; this one first."""
    found = [_row(_(HERE), run.latency, run.latency_machine.onnxruntime)] if run.latency and run.latency_machine else []
    for each in probed:
        for latency in sorted(each.latencies, key=lambda took: took.threads):
            row = _row(each.machine.title, latency, each.machine.runtime_version)
            row |= {"p99": latency.p99_ms, "°C": latency.temperature_c, "MHz": latency.clock_mhz}
            found.append(row | {"Memory": latency.peak_bytes and latency.peak_bytes / 1e6})
    return found


def _row(machine: str, latency: Latency, runtime: str) -> dict[str, Any]:
    return {
        "Machine": machine, "Threads": latency.threads, "Median": latency.p50_ms, "p95": latency.p95_ms, "p99": None,
        "fp32": latency.baseline_p50_ms, "Latency": latency.ratio, "Memory": None, "°C": None, "MHz": None,
        "Runtime": runtime,
    }  # fmt: skip


def sentences(run: Run, here: Predictions | None, probed: list[Probed]) -> list[str]:
    """For each machine, how many of its answers differ from those here, and why."""
    if here is None:
        return [_("Predictions were not stored on this machine, so they cannot be compared.")]
    quantize = run.readable.get("quantize") if run.readable else None
    integer = getattr(quantize, "activation_bits", 32) == 8
    told = []
    for each in probed:
        found = each.answers and apart(here, each.answers, run.accuracy_machine, each.machine, integer=integer)
        if found:
            told.append(sentence(each.machine.title, found, tflite=bool(each.machine.litert)))
    return told


def sentence(machine: str, found: Apart, *, tflite: bool = False) -> str:
    """'The same file, two machines (A and this one): 3 of 200 predictions differ. …'."""
    head = (
        _("The .tflite file of this run on {machine}, beside the ONNX file here", machine=machine)
        if tflite
        else _("The same file, two machines ({machine} and this one)", machine=machine)
    )
    if not found.differing:
        return _("{head}: all {n:,} predictions are equal.", head=head, n=found.n)
    sure = _(
        "Their median confidence here is {confidence_differing}, against {confidence} over all images.",
        confidence_differing=wording.percent(found.confidence_differing, found.n),
        confidence=wording.percent(found.confidence, found.n),
    )
    return _(
        "{head}: {differing:,} of {n:,} predictions differ. {why} {sure}",
        head=head,
        differing=found.differing,
        n=found.n,
        why=found.why,
        sure=sure,
    )
