"""Runs as a table: for pandas, and as files that other programs read."""

import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from compression.errors import UnknownName
from compression.records.measurement import Accuracy, Reference
from compression.store.records import Run, StoredLatency
from compression.store.runs import Store

if TYPE_CHECKING:
    from pandas import DataFrame


FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""How a cell begins that a spreadsheet computes."""


def frame(store: Store, runs: Sequence[Run]) -> "DataFrame":
    """One row a run, in their order. Accuracies in [0, 1], sizes in bytes, latency in ms.

    Of images without labels there is agreement with the fp32 file in place of accuracy.

    Where a run was not timed on this machine but on another, that is what stands there: `latency_machine` names the
    machine, and `latency_here` says whether it is this one.
    """
    import pandas as pd

    rows = [_row(run, None if run.latency else next(iter(store.latencies(run.id)), None)) for run in runs]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def export(store: Store, runs: Sequence[Run], form: str) -> bytes:
    """The table as the bytes of a file; `form` is one of FORMS. Raises `UnknownName`."""
    if form not in FORMS:
        raise UnknownName("format", form, FORMS)
    return FORMS[form](frame(store, runs))


def _csv(table: "DataFrame") -> bytes:
    """Texts that a spreadsheet would take for a formula begin with an apostrophe: strangers chose some of the names."""
    return table.map(_inert).to_csv(index=False).encode()


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    line = cell.replace("\r\n", "\n").replace("\r", "\n")  # which would begin another row
    return f"'{line}" if line.startswith(FORMULA) else line


def _json(table: "DataFrame") -> bytes:
    """Not by pandas, which writes ten decimal places: of a small p value nothing is left."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return (json.dumps(rows, indent=1, default=lambda when: when.isoformat()) + "\n").encode()


def _parquet(table: "DataFrame") -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMS: dict[str, Callable[["DataFrame"], bytes]] = {"csv": _csv, "parquet": _parquet, "json": _json}


def _row(run: Run, elsewhere: StoredLatency | None) -> dict[str, Any]:
    took = run.latency or (elsewhere and elsewhere.latency)
    machine = run.latency_machine or (elsewhere and elsewhere.machine)
    values = {
        "run": run.id, "model": run.subject.model, "weights": run.subject.weights, "dataset": run.subject.dataset,
        "role": run.role, "created": run.created, "measured": run.measured,
        **_answers(run.accuracy, "labels", "accuracy"), "images": run.accuracy.n, "full": run.full,
        "baseline_accuracy": run.accuracy.baseline if run.accuracy.reference == "labels" else None,
        "accuracy_drop": run.accuracy.drop if run.accuracy.reference == "labels" else None,
        "p_value": run.accuracy.p_value,
        "size_bytes": run.size_bytes, "baseline_size_bytes": run.baseline_size_bytes, "size_ratio": run.size_ratio,
        "latency_ms": took and took.p50_ms, "latency_p95_ms": took and took.p95_ms,
        "latency_ratio": took and took.ratio, "latency_ratio_low": took and took.ratio_interval.low,
        "latency_ratio_high": took and took.ratio_interval.high, "threads": took and took.threads,
        "latency_machine": machine and machine.cpu, "latency_here": run.latency is not None if took else None,
        "runtime": run.accuracy_machine.runtime, "macs": run.macs, "parameters": run.parameters,
        "seconds": run.seconds, "engine": run.engine, "recipe_hash": run.recipe_hash, "file_hash": run.file_hash,
        "favourite": run.favourite, "note": run.note, "recipe": run.recipe_json,
        **_answers(run.accuracy, "fp32", "agreement"), "split": run.accuracy.split,
    }  # fmt: skip
    assert tuple(values) == _COLUMNS
    return values


def _answers(found: Accuracy, reference: Reference, name: str) -> dict[str, float | None]:
    """A share of images with its interval; None where this run's is held against something else."""
    bounds = found.interval
    values = (found.value, bounds.low, bounds.high) if found.reference == reference else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


_COLUMNS = (
    "run", "model", "weights", "dataset", "role", "created", "measured", "accuracy", "accuracy_low", "accuracy_high",
    "images", "full", "baseline_accuracy", "accuracy_drop", "p_value", "size_bytes", "baseline_size_bytes",
    "size_ratio", "latency_ms", "latency_p95_ms", "latency_ratio", "latency_ratio_low", "latency_ratio_high", "threads",
    "latency_machine", "latency_here", "runtime", "macs", "parameters", "seconds", "engine", "recipe_hash", "file_hash",
    "favourite", "note", "recipe", "agreement", "agreement_low", "agreement_high",
    "split",
)  # fmt: skip
