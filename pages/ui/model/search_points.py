"""A search as pages show it: files as points of charts, rows of a table, and sentences. All on validation images."""

from collections.abc import Sequence
from typing import Any

from compression.host.machine import this_machine
from compression.jobs import Baseline, SearchView
from compression.language import N_, _
from compression.recipe import Recipe
from compression.records.measurement import Accuracy, Measurement, wilson
from compression.records.search import Found, Trial
from compression.searching import objectives
from compression.searching.settings import SearchSettings
from pages.ui.model import wording
from pages.ui.model.budget import Budget
from pages.ui.model.links import link_of
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject

FIGURES = {"drop": "accuracy", "size_bytes": N_("file size"), "latency_ratio": "latency"}
MARKS = {"best": N_("★ best"), "knee": "knee"}


def trail(view: SearchView) -> Trail:
    """The files that were tried on all validation images, and the fp32 file on the same."""
    found = Trail(labelled=view.baseline.get("reference") != "fp32")
    if view.baseline:
        n, value = int(view.baseline["images"]), float(view.baseline["accuracy"])
        accuracy = Accuracy(value, wilson(round(value * n), n), n, value, 0.0, split="validation")
        found.baseline = Baseline(accuracy, int(view.baseline["size_bytes"]))
    for trial in objectives.complete(view.trials):
        found.know([point(trial, view)])
    return found


def point(trial: Trial, view: SearchView) -> Point:
    """One trial's file. Its own image counts as measured in full: it was tried on all that a search chooses by."""
    found = trial.found
    assert found is not None
    return Point(
        Recipe.from_json(trial.recipe), _measurement(trial, found, view), True, source="earlier", run=trial.run
    )


def _measurement(trial: Trial, found: Found, view: SearchView) -> Measurement:
    """Times are those of the stored run, where they were taken; none where it was deleted."""
    value, n = float(found.accuracy or 0.0), found.images
    taken = view.timings.get(trial.run)
    none: Any = ()
    return Measurement(
        recipe_hash="", file_hash="", size_bytes=found.size_bytes, macs=found.macs, parameters=None, n_test=n,
        accuracy=Accuracy(value, wilson(round(value * n), n), n, value + found.drop, found.drop, split="validation"),
        baseline_size_bytes=int(view.baseline["size_bytes"]), latency=taken.latency if taken else None,
        seconds=trial.seconds, machine=taken.machine if taken else this_machine(), predictions=none,
    )  # fmt: skip


def budget(view: SearchView) -> Budget:
    """The limits that the charts can draw."""
    asked = view.settings
    return Budget(
        drop=None if asked.drop is None else 100 * asked.drop, latency=asked.latency,
        size=None if asked.size_bytes is None else asked.size_bytes / 1000,
    )  # fmt: skip


def asked(view: SearchView | SearchSettings) -> str:
    """'accuracy drop ≤ 1 point, file size ≤ 100 KB'; 'whole Pareto front' without a limit."""
    settings = view if isinstance(view, SearchSettings) else view.settings
    told = [
        _("accuracy drop ≤ {drop:g} points", drop=100 * settings.drop) if settings.drop is not None else "",
        _("file size ≤ {size}", size=wording.size(settings.size_bytes)) if settings.size_bytes is not None else "",
        _("latency ≤ {latency:g} of fp32", latency=settings.latency) if settings.latency is not None else "",
    ]
    others = len(settings.limits) - sum(map(bool, told))
    told += [f"{wording.counted(others, 'other limit')}" if others else ""]
    limits = ", ".join(filter(None, told)) or _("whole Pareto front")
    return _("{limits}, on {device}", limits=limits, device=settings.device) if settings.device else limits


def rows(view: SearchView) -> list[dict[str, Any]]:
    """A row for each file of the front, the smallest first."""
    corner = objectives.corner(view.front)
    return [_row(trial, view, corner) for trial in view.front]


def _row(trial: Trial, view: SearchView, corner: Trial | None) -> dict[str, Any]:
    found = trial.found
    assert found is not None
    marks = [name for name, other in (("best", view.best), ("knee", corner)) if other and other.number == trial.number]
    return {
        "": ", ".join(_(MARKS[mark]) for mark in marks),
        "Size": found.size_bytes / 1000, "Latency": found.latency_ratio,
        "Drop": 100 * found.drop, "Drop on test": None if trial.test_drop is None else 100 * trial.test_drop,
        "Worst class": 100 * found.worst_class, "Agreement": 100 * found.agreement,
        "MACs": found.macs / 1e6, "Memory": found.memory_bytes and found.memory_bytes / 1000,
        "Recipe": wording.recipe_line(Recipe.from_json(trial.recipe)),
    }  # fmt: skip


def offers(view: SearchView, most: int = 3) -> list[str]:
    """'Another 0.20 points of drop save 31.0 KB: …' For what is chosen, the cheapest first."""
    start = view.best or objectives.balanced(view.front)
    if start is None or start.found is None:
        return []
    told = []
    for trial, offer in objectives.offers(view.front, start)[:most]:
        assert trial.found is not None
        faster = (
            _(" and {latency_ratio:.0f}% of fp32's latency", latency_ratio=100 * offer.latency_ratio)
            if offer.latency_ratio >= 0.01
            else ""
        )
        told.append(
            _(
                "Another {drop:.2f} points of drop save {size}{faster}: {size_2} instead of {size_3}.",
                drop=100 * offer.drop,
                size=wording.size(offer.size_bytes),
                faster=faster,
                size_2=wording.size(trial.found.size_bytes),
                size_3=wording.size(start.found.size_bytes),
            )
        )
    return told


def count(view: SearchView) -> str:
    """'41 trials: 18 complete, 22 stopped early, 1 failed'."""
    states = [trial.state for trial in view.trials]
    parts = [
        _("{count} complete", count=states.count("complete")),
        _("{count} stopped early", count=states.count("cut")),
    ]
    parts += [_("{count} failed", count=states.count("failed"))] if "failed" in states else []
    return f"{wording.counted(len(states), 'trial')}: {', '.join(parts)}"


def rate(view: SearchView) -> float:
    """Trials a minute."""
    return 60 * len(view.trials) / max(view.seconds, 1.0)


def link(trial: Trial, subject: Subject) -> dict[str, str]:
    """Leads to the file: to what was measured of it where the test images were read, else it is measured there."""
    run = trial.run if trial.test_accuracy is not None else ""
    return link_of(subject, Recipe.from_json(trial.recipe), run=run)


def find(view: SearchView, key: str) -> Trial | None:
    """The trial whose recipe has this hash."""
    done = objectives.complete(view.trials)
    return next((trial for trial in done if Recipe.from_json(trial.recipe).hash == key), None)


def described(trial: Trial) -> str:
    """'Prune weights: sparsity 50% – 48.2 KB, × 0.49, drop 0.31 points'."""
    found = trial.found
    assert found is not None
    lost = _("drop {drop:.2f} points", drop=100 * found.drop)
    figures = f"{wording.size(found.size_bytes)}, × {found.latency_ratio:.2f}, {lost}"
    return f"{wording.recipe_line(Recipe.from_json(trial.recipe))} – {figures}"


def settings_of(view: SearchView) -> list[str]:
    """The parameters of which trials to the end have more than one value."""
    done = objectives.complete(view.trials)
    names = dict.fromkeys(name for trial in done for name in trial.params)
    return [name for name in names if len({t.params[name] for t in done if name in t.params}) > 1]


def along(view: SearchView, name: str, figure: str) -> list[tuple[str | float, float]]:
    """(value of a parameter, points lost or KB) of every trial to the end that has it."""
    scale = {"drop": 100.0, "size_bytes": 1 / 1000}[figure]
    found = [
        (value, scale * getattr(trial.found, figure))
        for trial in objectives.complete(view.trials)
        if (value := trial.params.get(name)) is not None
    ]
    words = any(isinstance(value, str | bool) for value, _ in found)
    return sorted((str(value) if words else float(value), y) for value, y in found)


def fronts(view: SearchView, found: dict[str, dict[str, float]]) -> list[tuple[str, Sequence[tuple[str, float]]]]:
    """What each figure is called, and the parameters that matter for it, the most important first."""
    return [(_(FIGURES[name]), sorted(each.items(), key=lambda pair: -pair[1])) for name, each in found.items() if each]
