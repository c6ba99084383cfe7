"""Two runs side by side: what is told of them, as data and figures. The counting is done in `analysis.comparison`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from compression.analysis.comparison import Comparison
from compression.language import N_, _
from compression.language import shown as translated
from compression.recipe import Recipe
from compression.recipe.difference import differences
from compression.records.measurement import Latency
from compression.steps import STEPS
from compression.store import Run
from pages.ui.compare import run_rows
from pages.ui.model import wording
from pages.ui.model.words import WORDS

A, B = "#3987C9", "#D55E00"
LOSS, GAIN = "#D55E00", "#3987C9"
LATENCY = N_("Latency, fp32 = 1")
CLASSES = 100
"""So many classes stand side by side in a figure at most."""


@dataclass(frozen=True)
class Delta:
    """One measure of two runs, its change from A to B, and whether the change is more than noise."""

    measure: str
    a: str
    b: str
    change: str
    verdict: str


def settings(a: Run, b: Run) -> list[dict[str, str]]:
    """The rows of what differs: network and images, weights, settings."""
    rows = []
    if run_rows.title(a) != run_rows.title(b):
        rows.append({"Setting": _("Network and dataset"), "A": run_rows.title(a), "B": run_rows.title(b)})
    elif a.subject.weights_hash != b.subject.weights_hash:
        rows.append({"Setting": _("Weights"), "A": a.subject.weights_hash[:8], "B": b.subject.weights_hash[:8]})
    ours, theirs = a.readable, b.readable
    if ours is None or theirs is None:
        return [*rows, {"Setting": _("Recipe"), "A": run_rows.recipe_line(a), "B": run_rows.recipe_line(b)}]
    found = differences(ours, theirs)
    return rows + [{"Setting": _named(d.path), "A": _told(d.path, d.a), "B": _told(d.path, d.b)} for d in found]


def deltas(a: Run, b: Run, found: Comparison | None) -> list[Delta]:
    """Accuracy or agreement, size, latency, multiply-accumulates and weights."""
    told = [_accuracy(a, b, found), _size(a, b)]
    if a.latency and b.latency:
        told.append(_latency(a, b))
    for name, title in (("macs", _("MACs")), ("parameters", _("Weights"))):
        ours, theirs = getattr(a, name), getattr(b, name)
        if ours and theirs:
            told.append(
                Delta(title, f"{ours:,}", f"{theirs:,}", wording.change(theirs / ours) or _("none"), _("counted"))
            )
    return told


def _accuracy(a: Run, b: Run, found: Comparison | None) -> Delta:
    values = wording.percent(a.accuracy.value, a.accuracy.n), wording.percent(b.accuracy.value, b.accuracy.n)
    names = dict.fromkeys(_(WORDS[run.accuracy.reference].measure) for run in (a, b))
    if len(names) > 1:
        return Delta(_(" or ").join(names), *values, "", _("not comparable: one dataset has no labels"))
    (name,) = names
    if a.accuracy.split != b.accuracy.split:
        return Delta(name, *values, "", _("not comparable: one was measured on validation images"))
    if found is None:
        return Delta(name, *values, "", _("predictions were not stored"))
    n = found.n
    bounds = _(
        "{value} to {value_2}",
        value=wording.points(found.interval.low, n) or "0",
        value_2=wording.points(found.interval.high, n) or "0",
    )
    sure = _("significant") if found.p_value <= 0.05 else _("within noise")
    change = wording.points(found.difference, n) or _("none")
    if found.reference == "fp32" and "baseline" in (a.role, b.role):
        return Delta(name, *values, change, _("{bounds}; fp32 always agrees with itself", bounds=bounds))
    return Delta(
        name,
        *values,
        change,
        _("{sure}: {bounds}, McNemar p = {p_value:.2g}", sure=sure, bounds=bounds, p_value=found.p_value),
    )


def _size(a: Run, b: Run) -> Delta:
    values = wording.size(a.size_bytes), wording.size(b.size_bytes)
    return Delta(_("File size"), *values, wording.change(b.size_bytes / a.size_bytes) or _("none"), _("exact"))


def _latency(a: Run, b: Run) -> Delta:
    assert a.latency and b.latency
    values = _ratio(a.latency), _ratio(b.latency)
    if a.latency.threads != b.latency.threads:
        told = _(
            "not comparable: on {threads} and on {threads_2}",
            threads=wording.counted(a.latency.threads, "thread"),
            threads_2=b.latency.threads,
        )
        return Delta(_(LATENCY), *values, "", told)
    ours, theirs = a.latency.ratio_interval, b.latency.ratio_interval
    apart = ours.high < theirs.low or theirs.high < ours.low
    change = wording.change(b.latency.ratio / a.latency.ratio) or _("none")
    verdict = _("significant: intervals do not overlap") if apart else _("within noise: intervals overlap")
    return Delta(_(LATENCY), *values, change, verdict)


def _ratio(latency: Latency) -> str:
    bounds = latency.ratio_interval
    return _("× {ratio:.2f} ({low:.2f} to {high:.2f})", ratio=latency.ratio, low=bounds.low, high=bounds.high)


def by_class(found: Comparison) -> go.Figure:
    """Accuracy or agreement of both on each class that occurs; of more than `CLASSES`, where they differ most."""
    ranked = sorted(range(len(found.classes)), key=lambda i: -abs(found.classes[i].a - found.classes[i].b))[:CLASSES]
    shown = [found.classes[i] for i in sorted(ranked)]
    names = [c.name for c in shown]
    fig = go.Figure(layout=_layout(300, _("Class"), _(WORDS[found.reference].title)))
    fig.update_xaxes(type="category")
    for name, shade, values in (("A", A, [c.a for c in shown]), ("B", B, [c.b for c in shown])):
        texts = [
            _("{name}: {name_2}, {v:.1%} of {n:,} images", name=name, name_2=c.name, v=v, n=c.n)
            for c, v in zip(shown, values, strict=True)
        ]
        fig.add_trace(go.Scatter(
            x=names, y=[100 * v for v in values], name=name, mode="markers", customdata=texts,
            marker={"color": shade, "size": 11, "symbol": "circle" if name == "A" else "diamond"},
            hovertemplate="%{customdata}<extra></extra>",
        ))  # fmt: skip
    return fig


def confusion(found: Comparison) -> go.Figure:
    """How many more images of a class [row] B answers as another [column] than A does; the diagonal is left out."""
    names, size = found.confused, len(found.confusion)
    truth = _("True class") if found.reference == "labels" else "fp32"
    values = [[None if i == j else found.confusion[i][j] for j in range(size)] for i in range(size)]
    far = max((abs(v) for line in values for v in line if v), default=1)
    heat = go.Heatmap(
        z=values, x=names, y=names,
        colorscale=[[0, GAIN], [0.5, "rgba(128,135,144,0.10)"], [1, LOSS]], zmin=-far, zmax=far,
        hovertemplate="%{y} predicted as %{x}: %{z:+d} images<extra></extra>",
        colorbar={"thickness": 10, "title": "B − A"}, xgap=1, ygap=1,
    )  # fmt: skip
    layout = _layout(420, _("Predicted class"), truth)
    layout.update(
        yaxis={"title": truth, "autorange": "reversed", "showgrid": False, "type": "category"},
        xaxis={"title": _("Predicted class"), "showgrid": False, "type": "category"},
    )
    return go.Figure(heat, layout)


def reliability(comparison: Comparison) -> go.Figure:
    """Confidence against accuracy or agreement: on the diagonal a file is right as often as it says."""
    a, b = comparison.a_reliability, comparison.b_reliability
    up = _("Accuracy, %") if comparison.reference == "labels" else _(WORDS["fp32"].title)
    fig = go.Figure(layout=_layout(420, "Confidence, %", up))
    fig.add_trace(go.Scatter(x=[0, 100], y=[0, 100], mode="lines", name=_("Perfect calibration"), hoverinfo="skip",
                             line={"color": "#808790", "dash": "dot", "width": 1}))  # fmt: skip
    for name, shade, found in (("A", A, a), ("B", B, b)):
        fig.add_trace(
            go.Scatter(
                x=[100 * bin.confidence for bin in found.bins],
                y=[100 * bin.accuracy for bin in found.bins],
                mode="lines+markers",
                name=_("{name}, calibration error {error:.1f} points", name=name, error=100 * found.error),
                line={"color": shade},
                marker={"symbol": "circle" if name == "A" else "diamond", "size": 8},
                customdata=[_("{n:,} images", n=bin.n) for bin in found.bins],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    return fig


def summary(found: Comparison) -> str:
    """Which images only one of the two answers rightly, or like the fp32 file, in a sentence."""
    return _(
        "Of {n:,} test images both {does} on {both:,}, only A on {a_only:,}, only B on {b_only:,}, "
        "neither on {neither:,}.",
        n=found.n,
        does=does(found),
        both=found.both,
        a_only=found.a_only,
        b_only=found.b_only,
        neither=found.neither,
    )


def does(found: Comparison) -> str:
    """What several files are or do that answer as they should."""
    return _("are correct") if found.reference == "labels" else _("agree with fp32")


def _layout(height: int, x: str, y: str) -> go.Layout:
    return go.Layout(
        template="none", height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, xaxis={"title": x}, yaxis={"title": y},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )  # fmt: skip


def _named(path: str) -> str:
    """'Prune weights: sparsity' of 'prune.sparsity'."""
    kind, _dot, name = path.partition(".")
    if kind not in STEPS:
        return translated(str(Recipe.model_fields[kind].title))
    if not name:
        return translated(STEPS[kind].title)
    return f"{translated(STEPS[kind].title)}: {translated(str(STEPS[kind].model_fields[name].title)).lower()}"


def _told(path: str, value: Any) -> str:
    kind, _dot, name = path.partition(".")
    if kind in STEPS and not name:
        return _("off") if value is None else wording.step_values(value) or _("on")
    return wording.setting_text(STEPS.get(kind, Recipe), name or kind, value)


def rows(found: Sequence[Delta]) -> list[dict[str, str]]:
    """The rows of a table."""
    return [
        {"": d.measure, "A": d.a, "B": d.b, N_("B vs. A"): d.change, "Significance": d.verdict} for d in found
    ]  # fmt: skip
