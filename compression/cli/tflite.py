"""`compress --out NAME.tflite` and `measure NAME.tflite`: files for LiteRT and microcontrollers, measured."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.cli.console import Row, write_file
from compression.language import _

if TYPE_CHECKING:
    from compression.data import Dataset
    from compression.export.tflite import Form
    from compression.pipeline.candidate import Candidate, Prepared
    from compression.recipe import Recipe
    from compression.records.tflite import Arena, TfliteMeasurement


def is_tflite(file: Path | None) -> bool:
    """Whether a file is a `.tflite` file by its name."""
    return file is not None and file.name.lower().endswith(".tflite")


def prepared_recipe(recipe: "Recipe", in_4_bits: bool) -> tuple["Recipe", "Form"]:
    """The recipe of a file, and its form; see `pipeline.tflite_file.form_of`."""
    from compression.pipeline.tflite_file import form_of, in_integers

    form = form_of(recipe, in_4_bits)
    return (recipe if form == "float" else in_integers(recipe)), form


def write_tflite(out: Path, candidate: "Candidate", prepared: "Prepared", form: "Form") -> "TfliteMeasurement":
    """Writes the file of a compressed network once it is measured."""
    from compression.pipeline.tflite_file import measured

    content, found = measured(candidate, prepared, form)
    write_file(out, content)
    return found


def measure_tflite(
    file: Path, data: "Dataset", baseline: Path | None, stop: Callable[[], bool] | None
) -> tuple[dict[str, Any], list[Row]]:
    """What was measured of a file, as JSON has it and as rows."""
    from compression.pipeline import tflite_file

    found = tflite_file.measure_tflite(file, data, baseline=baseline, stop=stop)
    return tflite_json(found), tflite_rows(found)


def tflite_json(found: "TfliteMeasurement") -> dict[str, Any]:
    """A measurement as JSON has it; see `TfliteMeasurement`."""
    right = found.accuracy
    return {
        "size_bytes": found.size_bytes, "n_test": found.n_test, "reference": right.reference,
        "accuracy": right.value, "accuracy_low": right.interval.low, "accuracy_high": right.interval.high,
        "equal": found.equal, "latency_p50_ms": found.times.p50_ms, "latency_p95_ms": found.times.p95_ms,
        "batch": found.times.batch, "threads": 1, "arena_bytes": found.arena.size_bytes,
        "arena_reason": found.arena.reason or None,
        "tflm_answered": found.arena.answered, "tflm_equal": found.arena.equal,
        "kernels": dict(found.kernels), "machine": asdict(found.machine),
    }  # fmt: skip


def _about_tflm(arena: "Arena") -> str:
    if arena.size_bytes is None:
        return f"TFLM: {arena.reason}"
    alike = (
        ""
        if arena.equal is None
        else _("; {equal:.0%} of {answered} images get LiteRT's class", equal=arena.equal, answered=arena.answered)
    )
    return _("by TFLM's own count, for one image{alike}", alike=alike)


def tflite_rows(found: "TfliteMeasurement", beside: str = "baseline") -> list[Row]:
    """A measurement as (name, value, remark) for people; `beside` is the file whose answers were compared."""
    right, arena = found.accuracy, found.arena
    low, high = right.interval.low, right.interval.high
    alike = (
        ""
        if found.equal is None
        else _("{equal:.2%} of the answers as the {beside}'s, ", equal=found.equal, beside=beside)
    )
    told = f"{arena.size_bytes / 1000:,.1f} KB" if arena.size_bytes else _("not measured")
    together = _(" for {batch} images at once", batch=found.times.batch) if found.times.batch > 1 else ""
    name = "accuracy" if right.reference == "labels" else "agreement"
    above = "" if beside == "baseline" else _("the lines above are of the {beside}", beside=beside)
    return [
        (".tflite size", f"{found.size_bytes / 1000:,.1f} KB", above),
        (
            _("LiteRT {name}", name=name),
            _("{value:.2%} ({low:.2%} to {high:.2%})", value=right.value, low=low, high=high),
            _("{alike}{n_test:,} images", alike=alike, n_test=found.n_test),
        ),
        (
            _("LiteRT latency"),
            _(
                "{p50_ms:.3f} ms{together} (p95 {p95_ms:.3f}), threads: 1",
                p50_ms=found.times.p50_ms,
                together=together,
                p95_ms=found.times.p95_ms,
            ),
            "here",
        ),
        (_("TFLM arena"), told, _about_tflm(arena)),
        ("kernels", ", ".join(f"{name} {n}" for name, n in found.kernels), ""),
    ]
