"""Chart data to figure. Nothing is computed here; see `scatter_data`."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from compression.language import N_, _
from pages.ui.charts.budget_handles import LIMIT_OF
from pages.ui.charts.plot import GHOST
from pages.ui.charts.scatter_data import Chart, Mark
from pages.ui.model.axes import Axis

KINDS = {
    "channels": N_("channels"), "factorize": N_("factorize"), "prune": N_("prune"), "share": N_("share"),
    "quantize": N_("quantize"), "recover": N_("recover"),
}  # fmt: skip
PARETO, FP32, TRAINING, CURRENT = N_("Pareto front"), N_("fp32 baseline"), N_("Training (validation)"), N_("Current")
"""The names of traces beside those of techniques."""
EMPTY = N_("The first point appears here.")
HEIGHT = 300
FOCUS = 8.0
"""So many points of accuracy below the best a chart begins with."""

# Okabe and Ito's colours, some darkened. Each shows on white and on the dark theme, so a chart need not be drawn anew
# when the theme changes. Vermillion is kept for the current point, grey for the baseline.
NOW, FRONT, BASELINE = "#D55E00", "#7A828C", "#808790"
BUDGET = "#009E73"
TECHNIQUES = {
    ("prune",): ("#009E73", "triangle-up"), ("quantize",): ("#3987C9", "circle"),
    ("prune", "quantize"): ("#E69F00", "diamond"), ("channels",): ("#CC79A7", "pentagon"),
    ("channels", "quantize"): ("#8C6BB1", "triangle-down"),
    ("channels", "prune", "quantize"): ("#A6761D", "hexagon"), ("factorize",): ("#918200", "hourglass"),
    ("factorize", "quantize"): ("#66A61E", "bowtie"), ("share",): ("#C51B7D", "cross"),
    ("share", "quantize"): ("#2A9DB8", "x"),
}  # fmt: skip
"""Colour and shape of each combination of steps: whoever cannot tell two colours apart still has the shapes."""
OTHERS = ("#8C6BB1", "#66A61E", "#1B9E9E", "#C51B7D")
OTHER_SYMBOLS = ("hexagram", "star-diamond", "star-square", "triangle-right")
SHARED_LEGEND = "shared legend"
"""What `plot.js` knows a figure by whose traces are hidden from the legend above several charts."""


def figure(chart: Chart) -> go.Figure:
    """One quantity against another: the front, the trail, a colour for each technique, the baseline and the present."""
    fig = go.Figure(layout=_layout(chart))
    _shade(fig, chart)
    if not chart.marks:
        fig.add_annotation(text=_(EMPTY), showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5, opacity=0.6)
        return fig
    fig.add_trace(_staircase(chart))
    fig.add_trace(_way(chart))
    others = [*chart.of("reference"), *chart.of("neighbour"), *chart.of("visited")]
    for technique in sorted({mark.technique for mark in others}, key=lambda kinds: (len(kinds), kinds)):
        marks = [mark for mark in others if mark.technique == technique]
        for barred in (False, True):
            some = [mark for mark in marks if _is_barred(mark) == barred]
            if some:
                fig.add_trace(_points(some, called(technique), colour(technique), 9))
    fig.add_trace(_points(chart.of("baseline"), _(FP32), BASELINE, 10))
    fig.add_trace(_ghost(chart))
    fig.add_trace(_course(chart))
    fig.add_trace(_points(chart.of("now"), _(CURRENT), NOW, 14))
    return fig


def colour(technique: tuple[str, ...]) -> str:
    """The colour of a combination of steps; it does not depend on what else is on the chart."""
    return look(technique)[0]


def look(technique: tuple[str, ...]) -> tuple[str, str]:
    """The colour and the shape of a combination of steps."""
    number = sum(map(ord, "".join(technique)))
    other = OTHERS[number % len(OTHERS)], OTHER_SYMBOLS[number // len(OTHERS) % len(OTHER_SYMBOLS)]
    return TECHNIQUES.get(technique, other)


def called(technique: tuple[str, ...]) -> str:
    """'Prune + quantize': what a combination of steps is called in the legend."""
    named = [_(KINDS[kind]) if kind in KINDS else kind for kind in technique]
    return " + ".join(named).capitalize() if named else _("Uncompressed")


def _layout(chart: Chart) -> go.Layout:
    return go.Layout(
        template="none", height=HEIGHT, margin={"l": 8, "r": 12, "t": 8, "b": 8}, hovermode="closest",
        uirevision=f"{chart.x.name} {chart.y.name}", dragmode="zoom",
        xaxis=_axis(chart.x, chart.x_ticks, chart), yaxis=_axis(chart.y, chart.y_ticks, chart),
        showlegend=False, meta=SHARED_LEGEND,
    )  # fmt: skip


def _focus(axis: Axis, values: list[float], now: list[float]) -> dict[str, Any]:
    """Accuracies far below the best would press all others together: they lie outside until a double-click."""
    if axis.name != "accuracy" or not values:
        return {}
    best = max(values)
    low = min([best - FOCUS, *(value - 1 for value in now)])
    return {"range": [low, min(100.5, best + 1.5)]} if min(values) < low else {}


def _axis(axis: Axis, ticks: tuple[float, ...], chart: Chart) -> dict[str, Any]:
    """Logarithmic where the data says at which numbers to put ticks; costs else start from zero."""
    told: dict[str, Any] = {"title": {"text": axis.title, "standoff": 6}}
    if ticks:
        return told | {"type": "log", "tickvals": ticks, "tickformat": "~r", "showline": True}
    told |= _focus(axis, *_along(axis, chart))
    from_zero = {"rangemode": "tozero"} if axis.better == "less" else {}
    return told | from_zero | {"showticklabels": bool(chart.marks), "showline": True, "zeroline": False}


def _along(axis: Axis, chart: Chart) -> tuple[list[float], list[float]]:
    """Where all marks, and where the current one, lie along an axis."""
    return tuple([mark.spot.x if axis is chart.x else mark.spot.y for mark in marks]
                 for marks in (chart.marks, chart.of("now")))  # type: ignore[return-value] # fmt: skip


def _shade(fig: go.Figure, chart: Chart) -> None:
    """The region that the budget allows, and its edges, which can be dragged."""
    for edge, axis, draw in ((chart.limits[0], chart.x, fig.add_vrect), (chart.limits[1], chart.y, fig.add_hrect)):
        if edge is None:
            continue
        far = _far(axis, edge, _along(axis, chart)[0])
        name = "x" if axis is chart.x else "y"
        limit, ends = LIMIT_OF.get(axis.name, ""), {f"{name}0": edge, f"{name}1": far}
        draw(**ends, fillcolor=BUDGET, opacity=0.10, line_width=0, layer="below", name=_("area {limit}", limit=limit))
        line = fig.add_vline if axis is chart.x else fig.add_hline
        line(
            **{name: edge},
            line={"color": BUDGET, "width": 2, "dash": "dash"},
            layer="below",
            name=_("edge {limit}", limit=limit),
        )


def _far(axis: Axis, edge: float, values: list[float]) -> float:
    """The other end of what the budget allows: no further than the chart goes, as shapes stretch it."""
    if axis.better == "more":
        return max([edge, *values])
    return min([edge, *values]) if axis.logarithmic else 0.0


def _staircase(chart: Chart) -> go.Scatter:
    xs, ys = [x for x, _ in chart.front], [y for _, y in chart.front]
    line = {"shape": "hv" if chart.x.better == "less" else "vh", "color": FRONT, "width": 2}
    return go.Scatter(x=xs, y=ys, mode="lines", name=_(PARETO), line=line, hoverinfo="skip")


def _way(chart: Chart) -> go.Scatter:
    line = {"color": NOW, "width": 1, "dash": "dot"}
    return go.Scatter(
        x=[x for x, _ in chart.way], y=[y for _, y in chart.way], mode="lines", line=line, opacity=0.5,
        hoverinfo="skip", name=_("History"),
    )  # fmt: skip


def _ghost(chart: Chart) -> go.Scatter:
    """Where the point is expected: empty but while a slider is dragged, or while the present recipe is measured."""
    at = [chart.ghost] if chart.ghost else []
    return go.Scatter(
        x=[x for x, _ in at],
        y=[y for _, y in at],
        mode="markers+text",
        name=_(GHOST),
        hoverinfo="skip",
        marker={"symbol": "circle-open-dot", "size": 16, "color": NOW, "opacity": 0.8},
        text=[_("interpolated")] * len(at),
        textposition="top right",
        textfont={"size": 12, "color": NOW},
    )


def _course(chart: Chart) -> go.Scatter:
    """The way of a training so far; its last evaluation is named."""
    stages = chart.course
    last = len(stages) - 1
    return go.Scatter(
        x=[s.x for s in stages],
        y=[s.y for s in stages],
        mode="lines+markers+text",
        name=_(TRAINING),
        line={"color": NOW, "width": 1.5},
        marker={"symbol": "circle-open", "color": NOW, "size": [6 + 6 * (i == last) for i in range(len(stages))]},
        text=[_("step {step:,}", step=s.step) if i == last else "" for i, s in enumerate(stages)],
        textposition="middle right",
        textfont={"size": 12, "color": NOW},
        customdata=[[s.text, ""] for s in stages],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _points(marks: Sequence[Mark], name: str, shade: str, size: int) -> go.Scatter:
    arms = [_is_barred(mark) for mark in marks]
    return go.Scatter(
        x=[m.spot.x for m in marks], y=[m.spot.y for m in marks], mode="markers", name=name,
        error_x=_bars([m.x_arms if bar else (0, 0) for m, bar in zip(marks, arms, strict=True)], shade),
        error_y=_bars([m.y_arms if bar else (0, 0) for m, bar in zip(marks, arms, strict=True)], shade),
        marker={
            "symbol": [_symbol(m) for m in marks], "color": shade,
            "size": [size + 5 * m.pinned - 2 * (m.role == "neighbour") for m in marks],
            "opacity": [_opacity(m) for m in marks],
            "line": {"width": [3 if m.selected else 1.5 for m in marks],
                     "color": [NOW if m.selected else shade for m in marks]},
        },
        customdata=[[m.text, m.key] for m in marks], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _is_barred(mark: Mark) -> bool:
    """Whether a point's interval is drawn: of those that others beat it would only hide the rest."""
    return mark.standing != "behind" or mark.role in ("now", "baseline")


def _opacity(mark: Mark) -> float:
    """Points that others beat are dim, and so are neighbours, which nobody has asked for."""
    if mark.role in ("now", "baseline"):
        return 1.0
    return 0.55 if mark.standing == "behind" else 0.7 if mark.role == "neighbour" else 1.0


def _symbol(mark: Mark) -> str:
    """The technique's shape, hollow where the point was not measured in this visit, or not on all images."""
    own = {"baseline": "square", "now": "circle"}.get(mark.role) or look(mark.technique)[1]
    symbol = "star" if mark.pinned else own
    return symbol if mark.spot.full and mark.role != "reference" else f"{symbol}-open"


def _bars(arms: Sequence[tuple[float, float]], shade: str) -> dict[str, object]:
    """Error bars from (down, up) for each point; none where all are exact, as Plotly draws their ends all the same."""
    down, up = [d for d, _ in arms], [u for _, u in arms]
    return {
        "type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": shade, "thickness": 1, "width": 3,
        "visible": any(map(any, arms)),
    }  # fmt: skip
