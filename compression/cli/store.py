"""The part of the command line that looks into the store: runs and jobs."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compression.cli.console import JsonOption, Row, check_writable, group, print_json, print_table, write_file
from compression.errors import InvalidFile, InvalidSetting, UnknownName
from compression.language import N_, _

if TYPE_CHECKING:
    from compression.jobs.messages import Request
    from compression.pipeline.candidate import Candidate, Prepared
    from compression.records.measurement import Measurement
    from compression.store import JobRecord, Run, Store

runs_app, jobs_app = group(help=N_("Stored measurements.")), group(help=N_("Background jobs of the app."))

SHOWN = 20
ModelOption = Annotated[str | None, typer.Option(help="Only runs of this network.")]
DatasetOption = Annotated[str | None, typer.Option(help="Only runs on this dataset.")]
FavouritesOption = Annotated[bool, typer.Option("--favourites", help="Only favourites.")]


@runs_app.command("list")
def runs_list(
    model: ModelOption = None,
    dataset: DatasetOption = None,
    favourites: FavouritesOption = False,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs, newest first.")] = SHOWN,
    as_json: JsonOption = False,
) -> None:
    """List measured files, the newest first."""
    store = _store()
    found = store.runs(model=model, dataset=dataset, favourites=favourites, limit=limit)
    if as_json:
        return print_json([_plain(run) for run in found])
    kinds = {"labels": "ACCURACY", "fp32": "AGREEMENT"}
    share = " / ".join(dict.fromkeys(kinds[run.accuracy.reference] for run in found)) or "ACCURACY"
    rows: list[Row] = [("RUN", "MODEL", "DATASET", share, "SIZE", _("LATENCY HERE"), "MEASURED", "STEPS")]
    print_table(rows + [_row(run) for run in found])


@runs_app.command("export")
def runs_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Output file (.csv, .parquet or .json).")],
    model: ModelOption = None,
    dataset: DatasetOption = None,
    favourites: FavouritesOption = False,
) -> None:
    """Write all measured files as one table."""
    from compression.store import FORMS, export

    form = file.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise InvalidFile(f"A table ends in {', '.join(f'.{name}' for name in FORMS)}, not as {str(file)!r} does.")
    check_writable(file, inputs=[])
    store = _store()
    found = store.runs(model=model, dataset=dataset, favourites=favourites, role=None)
    write_file(file, export(store, found, form))
    print_table([("file", str(file)), ("runs", f"{len(found):,}")])


@jobs_app.command("list")
def jobs_list(as_json: JsonOption = False) -> None:
    """List trainings, those that wait or work first."""
    from compression.jobs.result_recorder import end_orphans

    store = _store()
    end_orphans(store)
    found = store.jobs.all()
    if as_json:
        return print_json([_plain(job) for job in found])
    rows: list[Row] = [("JOB", "STATE", "DONE", "TITLE", "")]
    print_table(rows + [(job.id[:8], job.state, f"{job.share:.0%}", job.title, job.sentence) for job in found])


@jobs_app.command("cancel")
def jobs_cancel(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job id from `jobs list`, or its first characters.")],
) -> None:
    """Have the app that carries out a training stop it; it can be resumed there."""
    from compression.jobs.result_recorder import end_orphans

    store = _store()
    end_orphans(store)
    found = _one(store.jobs.all(), job)
    if not store.jobs.ask(found.id, "cancel"):
        raise InvalidSetting(f"The job {found.title!r} has ended already: it is {found.state}.")
    print_table([("stopping", found.title)])


def store_result(
    request: "Request", prepared: "Prepared", candidate: "Candidate", measurement: "Measurement"
) -> str | None:
    """Keeps a measured file in the store, and the fp32 file too; the run's id, or None where there is no store."""
    from compression.jobs import outcomes
    from compression.jobs.job import run_of
    from compression.jobs.result_recorder import ResultRecorder

    recorder, made = ResultRecorder(), outcomes.outcome(request, prepared, candidate, measurement)
    recorder.keep(made)
    if not recorder.trouble and recorder.lacks_baseline(made.subject):
        recorder.keep(outcomes.baseline_outcome(request, prepared))
    if recorder.trouble:
        typer.echo(_("The result is not kept: {trouble}", trouble=recorder.trouble), err=True)
    return None if recorder.trouble else run_of(made)


def _store() -> "Store":
    from compression.store import Store

    return Store.shared()


def _one(jobs: "list[JobRecord]", beginning: str) -> "JobRecord":
    found = [job for job in jobs if job.id.startswith(beginning)]
    if len(found) != 1:
        raise UnknownName("job", beginning, [job.id[:8] for job in found or jobs])
    return found[0]


def _row(run: "Run") -> Row:
    took = f"{run.latency.p50_ms:.3f} ms" if run.latency else "-"
    recipe = run.readable
    steps = ", ".join(step.kind for step in recipe.steps) or "none" if recipe else _("(written by another version)")
    size = f"{run.size_bytes / 1000:,.1f} KB"
    share = f"{run.accuracy.value:.2%}{' agreement' if run.accuracy.reference == 'fp32' else ''}"
    share += _(" on validation images") if run.accuracy.split == "validation" else ""
    measured = f"{run.measured.astimezone():%Y-%m-%d %H:%M}"
    return run.id, run.subject.model, run.subject.dataset, share, size, took, measured, steps


def _plain(record: Any) -> dict[str, Any]:
    """A record as JSON has it; times as text."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in dataclasses.asdict(record).items()
    }
