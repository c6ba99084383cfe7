"""A benchmark's result as Markdown for docs/BENCHMARKS.md and as JSON with everything it was measured on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from benchmarks.quiet import Quiet
from compression.records.measurement import Machine


@dataclass(frozen=True)
class Report:
    """`values` is JSON-ready; `markdown` is a paragraph and a table."""

    benchmark: str
    model: str
    dataset: str
    machine: Machine
    quiet: Quiet
    values: dict[str, Any]
    markdown: str


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile of repeated times, in seconds."""

    median: float
    p95: float
    n: int


def spread(seconds: Sequence[float]) -> Spread:
    """Median and 95th percentile (linear between neighbours)."""
    return Spread(float(np.median(seconds)), float(np.percentile(seconds, 95)), len(seconds))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def where(machine: Machine, quiet: Quiet) -> str:
    """One line that says on what was measured."""
    return (
        f"{machine.cpu}, {machine.cores} cores{', VNNI' if machine.vnni else ''}; {machine.system}; "
        f"Python {machine.python}, torch {machine.torch}, ONNX Runtime {machine.onnxruntime}; "
        f"load {quiet.load}, {quiet.busy_cores} cores busy before the start; {quiet.at}"
    )


def publish(report: Report, out: Path | None) -> None:
    """Prints the Markdown, or writes it and the JSON into the folder `out`."""
    markdown = f"{report.markdown}\n\n{where(report.machine, report.quiet)}\n"
    if out is None:
        typer.echo(markdown)
        return
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{report.benchmark}-{_plain(report.model)}-{_plain(report.dataset)}"
    values = {name: value for name, value in asdict(report).items() if name not in ("values", "markdown")}
    (out / f"{stem}.json").write_text(json.dumps(values | report.values, indent=2) + "\n", encoding="utf-8")
    (out / f"{stem}.md").write_text(markdown, encoding="utf-8")
    typer.echo(f"Wrote {stem}.json and {stem}.md in {out}.", err=True)


def _plain(name: str) -> str:
    """A model's or dataset's name as part of a file's name: 'folder:/data/shoes' becomes 'shoes'."""
    return Path(name.removeprefix("folder:")).stem
