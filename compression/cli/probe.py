"""The part of the command line about other machines: packages that are measured there, and the reports they bring."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compression.cli.console import (
    JsonOption,
    Row,
    check_writable,
    group,
    print_json,
    print_table,
    printable,
    read_bytes,
    working,
    write_file,
)
from compression.errors import DataUnavailable, InvalidFile, InvalidSetting, Unsupported
from compression.language import N_, _
from compression.records.probe import MOST_CHARACTERS, read_report

if TYPE_CHECKING:
    from compression.store import Run, Store
    from compression.store.probes import Added

POLL_S = 0.5

probe_app = group(help=N_("Measure files on other machines and import their reports."))


@probe_app.command("pack")
def pack(
    out: Annotated[Path, typer.Argument(metavar="FILE.zip", help="Output file.")],
    runs: Annotated[list[str], typer.Option("--run", metavar="ID", help="A run from `runs list`; can be repeated.")],
    tflite: Annotated[
        bool, typer.Option("--tflite", help="Include each run's .tflite file; it is written from the run's recipe.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a zip with files of runs, test images and probe.py, which measures them wherever Python runs."""
    from compression.jobs import Request, probe_package
    from compression.store import Store

    check_writable(out, inputs=[])
    store = Store.shared()
    found = [store.run(run) for run in dict.fromkeys(runs)]
    subject = found[0].subject
    if any(run.subject != subject for run in found):
        raise InvalidSetting("All runs in a package must have the same network and dataset.")
    contents = tuple((run.id, _title(run), _content(run), run.recipe_json if tflite else "") for run in found)
    with working() as progress:
        progress(_("Preparing the network"), 0.0)
        request = Request(subject.model, subject.weights, subject.dataset, found[0].recipe_json)
        packed = probe_package(request, contents)
    write_file(out, packed.content)
    size, without = len(packed.content), "; ".join(f"{title} ({reason})" for title, reason in packed.without)
    if as_json:
        runs_there = [run.id for run in found]
        return print_json({"out": str(out), "size_bytes": size, "runs": runs_there, "without_tflite": packed.without})
    print_table([("file", str(out)), ("runs", f"{len(found):,}"), ("size", f"{size / 1000:,.1f} KB")])
    if without:
        typer.echo(_("Without a .tflite file: {runs}", runs=printable(without)), err=True)


@probe_app.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="Report written by probe.py.")],
    as_json: JsonOption = False,
) -> None:
    """Take in what another machine measured."""
    if file.is_file() and os.path.getsize(file) > MOST_CHARACTERS:
        raise InvalidFile(f"{str(file)!r} has more than {MOST_CHARACTERS:,} bytes; no report of a probe is as large.")
    _tell(_store().probes.add(read_report(read_bytes(file))), as_json)


@probe_app.command("receive")
def receive(
    minutes: Annotated[float, typer.Option(min=1, max=60, help="How long the port stays open.")] = 10,
    address: Annotated[str, typer.Option(help="Address of this machine. Default: that of its network.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Open a port for one report, which `probe.py --send LINK` sends from another machine in the same network."""
    from compression.jobs import open_receiver
    from compression.probing.receiver import addresses

    receiver = open_receiver(address or addresses()[0], 60 * minutes)
    typer.echo(
        _(
            "Port {port} is open on {address} for {minutes:g} minutes, or until one report has come. On the device: "
            'python probe.py --send "{link}"',
            port=receiver.port,
            address=receiver.address,
            minutes=minutes,
            link=receiver.link,
        ),
        err=True,
    )
    told = ""
    while not receiver.wait(POLL_S):
        if receiver.refused != told:
            told = receiver.refused
            typer.echo(_("Refused: {sentence}", sentence=printable(told)), err=True)
    if receiver.found is None:
        raise DataUnavailable(f"No report has come within {minutes:g} minutes; the port is closed.")
    _tell(receiver.found, as_json)


def _tell(found: "Added", as_json: bool) -> None:
    """What a report has brought."""
    if as_json:
        return print_json(dataclasses.asdict(found))
    rows: list[Row] = [("machine", found.title), ("key", found.machine), ("runs", f"{found.runs:,}")]
    rows += [("note", _("This report had been added before."))] if found.again else []
    rows += [(_("not here"), _("{unknown:,} files of no stored run", unknown=found.unknown))] if found.unknown else []
    print_table(rows + [(_("failed there"), sentence) for sentence in found.failed])


@probe_app.command("browser")
def browser(as_json: JsonOption = False) -> None:
    """Have npm fetch ONNX Runtime for browsers once, for the page that runs files in yours."""
    from compression.probing import browser_runtime

    with working() as progress:
        progress(_("Fetching it"), 0.0)
        place = browser_runtime.fetch()
    if as_json:
        return print_json({"folder": str(place), "version": browser_runtime.VERSION})
    print_table([("folder", str(place)), ("version", browser_runtime.VERSION)])


@probe_app.command("list")
def list_machines(as_json: JsonOption = False) -> None:
    """List the machines that have reported, the newest first."""
    found = _store().probes.machines()
    if as_json:
        return print_json([
            {"key": each.key, "files": each.files, "measured": each.measured.isoformat(),
             **dataclasses.asdict(each.machine)} for each in found
        ])  # fmt: skip
    rows: list[Row] = [("MACHINE", "NAME", "PROCESSOR", "FILES", "MEASURED")]
    for each in found:
        when = f"{each.measured.astimezone():%Y-%m-%d %H:%M}"
        rows.append((each.key, each.machine.title, each.machine.cpu, f"{each.files:,}", when))
    print_table(rows)


def _store() -> "Store":
    from compression.store import Store

    return Store.shared()


def _title(run: "Run") -> str:
    steps = run.readable.steps if run.readable else ()
    return ", ".join(step.kind for step in steps) or _("no step")


def _content(run: "Run") -> bytes:
    from compression.store.files import read_file

    content = read_file(run.file_hash)
    if content is None:
        raise Unsupported(f"The file of run {run.id} is no longer on this machine; measure its recipe again.")
    return content
