"""The command that searches for the best recipes within limits."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compression.cli.console import JsonOption, Row, print_json, print_table, working
from compression.cli.inputs import check_dataset, check_model
from compression.errors import Unsupported
from compression.language import _
from compression.models.sources import parse
from compression.recipe import Recipe
from compression.searching.settings import TECHNIQUES, SearchSettings, amount

if TYPE_CHECKING:
    from compression.jobs.search import SearchView
    from compression.records.search import Trial


def _help(name: str) -> str:
    return SearchSettings.model_fields[name].description or ""


def search(
    model: Annotated[str, typer.Option(help="A name from `models list`; `models add` adds others.")],
    dataset: Annotated[str, typer.Option("--dataset", help="A name from `data list`, or folder:PATH with images.")],
    max_drop: Annotated[
        float | None, typer.Option(min=0, max=100, help="Maximum accuracy drop from fp32, in percentage points.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(min=0, max=100, help="Minimum agreement with fp32, in percent of the images.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Maximum file size, e.g. 100KB or 1.5MB.")
    ] = None,
    max_latency: Annotated[float | None, typer.Option(min=0.01, max=10, help=_help("latency"))] = None,
    max_macs: Annotated[str | None, typer.Option(metavar="NUMBER", help="Maximum number of MACs, e.g. 20M.")] = None,
    max_memory: Annotated[str | None, typer.Option(metavar="SIZE", help=_help("memory_bytes"))] = None,
    min_worst_class: Annotated[
        float | None, typer.Option(min=0, max=100, help="Minimum accuracy of every class, in percent.")
    ] = None,
    minimise: Annotated[str, typer.Option(help="Objective: front, size, latency or drop.")] = "front",
    minutes: Annotated[float, typer.Option(help=_help("minutes"))] = 10.0,
    trials: Annotated[int, typer.Option(help=_help("trials"))] = 0,
    technique: Annotated[
        list[str] | None,
        typer.Option(help=f"Technique to use: {', '.join(TECHNIQUES)}; can be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help=_help("device"))] = "",
    workers: Annotated[int, typer.Option(help=_help("workers"))] = 1,
    sampler: Annotated[str, typer.Option(help="Sampler: auto, tpe, nsga2 or random.")] = "auto",
    seed: Annotated[int, typer.Option(help=_help("seed"))] = 0,
    as_json: JsonOption = False,
) -> None:
    """Search for the best files within limits, for some minutes, and measure the Pareto front.

    All selection uses validation images; only the final Pareto front is measured on test images. Every complete trial
    is stored as a run. The same command resumes a search that was stopped.
    """
    check_model(model, None)
    check_dataset(dataset, folders=True)
    if parse(model).kind != "name":
        raise Unsupported(f"A search needs a network in the list; add {model!r} with `models add` first.")
    given: dict[str, Any] = {
        "drop": _share(max_drop), "agreement": _share(min_agreement), "worst_class": _share(min_worst_class),
        "size_bytes": max_size and amount(max_size, "--max-size"), "latency": max_latency,
        "macs": max_macs and amount(max_macs, "--max-macs"),
        "memory_bytes": max_memory and amount(max_memory, "--max-memory"),
        "minimise": minimise, "minutes": minutes, "trials": trials, "workers": workers, "sampler": sampler,
        "seed": seed, "device": device,
    }  # fmt: skip
    if technique:
        given["techniques"] = tuple(technique)
    SearchSettings(**given)  # refused before the engine starts
    with working() as progress:
        from compression.jobs import search as engine

        found = engine.search(model, dataset, progress=progress, **given)
    if as_json:
        return print_json(plain(found) | {"model": model, "dataset": dataset})
    print_table(rows(found))


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def plain(found: "SearchView") -> dict[str, Any]:
    """A search as JSON: what is best, the front, and what it took."""
    return {
        "best": _point(found.best) if found.best else None, "reason": found.reason or None,
        "front": [_point(trial) for trial in found.front], "trials": len(found.trials), "complete": found.complete,
        "seconds": found.seconds, "baseline": found.baseline, "job": found.job,
        "settings": found.settings.model_dump(), "chosen_on": _("validation images"),
    }  # fmt: skip


def _point(trial: "Trial") -> dict[str, Any]:
    """One trial: `accuracy` is on test images where these were read, else None; what was chosen by stands beside."""
    found = asdict(trial.found) if trial.found else {}
    return {
        "recipe": Recipe.from_json(trial.recipe).to_dict(), "run": trial.run or None, "trial": trial.number,
        "accuracy": trial.test_accuracy, "accuracy_drop": trial.test_drop,
        "validation_accuracy": found.pop("accuracy", None), "validation_drop": found.pop("drop", None),
        "validation_images": found.pop("images", None), **found,
    }  # fmt: skip


def rows(found: "SearchView") -> list[Row]:
    """The front for people, the smallest first, the best marked."""
    table: list[Row] = [("", "SIZE", "LATENCY", _("DROP (VALIDATION)"), _("DROP (TEST)"), "RUN", "STEPS")]
    for trial in found.front:
        here = trial.found
        assert here
        lost = "-" if trial.test_drop is None else f"{100 * trial.test_drop:+.2f}"
        steps = ", ".join(step.kind for step in Recipe.from_json(trial.recipe).steps) or "none"
        mark = "best" if found.best and trial.number == found.best.number else ""
        table.append(
            (
                mark,
                f"{here.size_bytes / 1000:,.1f} KB",
                _("{latency_ratio:.2f} of fp32", latency_ratio=here.latency_ratio),
                f"{100 * here.drop:+.2f}",
                lost,
                trial.run or "-",
                steps,
            )
        )
    told = _(
        "{count} trials in {seconds:.0f} s; selected on validation images.",
        count=len(found.trials),
        seconds=found.seconds,
    )
    return [*table, ("", told if found.best else f"{told} {found.reason}")]
