"""The lessons' charts: records of the engine to figures. Nothing is computed here."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from compression.language import N_, _
from compression.language import shown as spoken
from compression.lessons.architectures import Timed
from compression.lessons.curves import Bars, Line
from compression.lessons.distillation import Pair
from compression.lessons.measured import Row
from compression.lessons.own import Placed
from compression.lessons.pictures import Picture
from compression.lessons.pruning import Histogram, LayerShare
from compression.lessons.quantization import NumberLine
from compression.lessons.sharing import Codebook, Stage

# Okabe and Ito's blue (lightened), vermillion, bluish green, orange and a grey: each shows on both themes.
VISITED, NOW, FRONT, ORANGE, BASELINE = "#3987C9", "#D55E00", "#009E73", "#E69F00", "#808790"

COLOURS = (VISITED, NOW, FRONT, ORANGE, "#CC79A7", BASELINE)
MOST_LEVELS, MANY = 64, 10_000
CONFIG = {"displayModeBar": False}
MARGIN = {"l": 8, "r": 8, "t": 28, "b": 8}
DIVERGING = [[0.0, "#D55E00"], [0.5, "#F4F1EC"], [1.0, "#0072B2"]]
PALE = [[0.0, "#F0A15A"], [0.5, "#F4F1EC"], [1.0, "#7DB8E0"]]
"""The same two colours, light enough for dark digits (WCAG 2.2, 1.4.3)."""
INK = "#1F2328"
BLEND = [[0, VISITED], [1, NOW]]
HEAT = [[0.0, "#F4F1EC"], [1.0, "#3987C9"]]
GONE = [[0.0, "rgba(128,135,144,0.28)"], [1.0, "rgba(128,135,144,0.28)"]]
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}


def uprights(fig: go.Figure, places: Iterable[float], line: dict[str, Any], opacity: float = 1.0) -> go.Figure:
    """The figure with a line from bottom to top at each place; all at once, as `add_vline` takes 15 ms for each."""
    common = {"type": "line", "y0": 0, "y1": 1, "yref": "y domain", "line": line, "opacity": opacity}
    return fig.update_layout(shapes=[*fig.layout.shapes, *({**common, "x0": float(x), "x1": float(x)} for x in places)])


def histogram(shown: Histogram, unit: str = N_("Weight")) -> go.Figure:
    """How many weights lie where, what is removed in another colour, and the threshold on both sides of zero."""
    fig = go.Figure(layout=_layout(280, unit, N_("Weights"), barmode="stack", bargap=0.05))
    for name, counts, colour in ((_("Kept"), shown.kept, VISITED), (_("Removed"), shown.removed, NOW)):
        fig.add_trace(go.Bar(x=shown.centres, y=counts, width=shown.width, name=name, marker={"color": colour}))
    return uprights(fig, () if shown.threshold is None else (-shown.threshold, shown.threshold),
                    {"color": NOW, "dash": "dot"})  # fmt: skip


def picture(shown: Picture, *, height: int, maps: bool = False) -> go.Figure:
    """Weights in two colours around zero, or feature maps from dark to light; removed cells are grey."""
    fig = go.Figure(layout=_bare(height))
    if maps:
        scale = {"colorscale": "Cividis", "zmin": 0, "zmax": shown.reach}
    else:
        scale = {"colorscale": DIVERGING, "zmin": -shown.reach, "zmax": shown.reach}
    fig.add_trace(go.Heatmap(z=shown.gone, colorscale=GONE, showscale=False, hoverinfo="skip"))
    fig.add_trace(go.Heatmap(z=shown.values, showscale=False, hovertemplate="%{z:.3f}<extra></extra>", **scale))
    return fig


def image(pixels: np.ndarray, *, height: int) -> go.Figure:
    """One image of bytes: grey [h, w], or in colour [h, w, 3]."""
    fig = go.Figure(layout=_bare(height))
    if pixels.ndim == 3:
        fig.add_trace(go.Image(z=pixels, hoverinfo="skip"))
        return fig
    fig.add_trace(go.Heatmap(z=pixels, colorscale="Gray", zmin=0, zmax=255, showscale=False, hoverinfo="skip"))
    return fig


def shares(
    found: Sequence[LayerShare],
    x: str = N_("Removed"),
    names: tuple[str, str] = (N_("One global threshold"), N_("Same sparsity per layer")),
) -> go.Figure:
    """Two shares of each layer: the first as bars, the second as a dotted line."""
    fig = go.Figure(layout=_layout(110 + 20 * len(found), x, ""))
    titles = [spoken(share.title) for share in found]
    texts = [_("{title}, {weights:,} weights", title=spoken(share.title), weights=share.weights) for share in found]
    fig.add_trace(go.Bar(
        y=titles, x=[share.together for share in found], orientation="h", name=_(names[0]),
        marker={"color": VISITED}, customdata=texts, hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
    ))  # fmt: skip
    fig.add_trace(go.Scatter(
        y=titles, x=[share.each for share in found], mode="lines+markers", name=_(names[1]), customdata=texts,
        line={"color": NOW, "dash": "dot"}, hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
    ))  # fmt: skip
    fig.update_xaxes(tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(autorange="reversed", type="category")
    return fig


def axes(rows: Sequence[Row]) -> go.Figure:
    """Size against time of measured files, their accuracy as colour; the fp32 file at one and one."""
    fig = go.Figure(layout=_layout(320, N_("File size, fp32 = 1"), N_("Latency, fp32 = 1"), showlegend=False))
    found = [(row, m) for row in rows if (m := row.measurement) is not None and m.latency]
    if not found:
        fig.add_annotation(
            text=_("Latencies are not measured yet."), showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5
        )
    fig.add_trace(go.Scatter(
        x=[row.size_share for row, _ in found], y=[row.latency_ratio for row, _ in found], mode="markers+text",
        text=[spoken(row.planned.name) for row, _m in found], textposition="top center", cliponaxis=False,
        marker={
            "size": 13, "color": [m.accuracy.value for _, m in found], "colorscale": "Cividis",
            "showscale": bool(found),
            "colorbar": {"title": _("Accuracy"), "tickformat": ".1%"},
        },
        customdata=[m.accuracy.value for _, m in found],
        hovertemplate=_("%{text}: size %{x:.2f}, latency %{y:.2f}, accuracy %{customdata:.2%}<extra></extra>"),
    ))  # fmt: skip
    fig.add_trace(go.Scatter(x=[1], y=[1], mode="markers+text", text=["fp32"], textposition="top center",
                             marker={"symbol": "square", "size": 11, "color": BASELINE}))  # fmt: skip
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(rangemode="tozero")
    return fig


def reach(cells: np.ndarray) -> go.Figure:
    """Ones and zeros as a plane: which inputs (columns) reach which outputs (rows)."""
    fig = go.Figure(layout=_layout(340, N_("Input channel"), N_("Output channel")))
    fig.add_trace(
        go.Heatmap(z=cells, colorscale=HEAT, zmin=0, zmax=1, showscale=False, xgap=1, ygap=1, hoverinfo="x+y")
    )
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    fig.update_xaxes(constrain="domain")
    return fig


def clock(found: Sequence[Timed]) -> go.Figure:
    """Time by work, both of the standard block's; on the line both are the same."""
    fig = go.Figure(
        layout=_layout(320, N_("MACs, standard block = 1"), N_("Latency, standard block = 1"), showlegend=False)
    )
    fig.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": BASELINE, "dash": "dash"}, hoverinfo="skip")
    )
    fig.add_trace(go.Scatter(
        x=[b.macs_share for b in found], y=[b.time_share for b in found], mode="markers+text",
        text=[spoken(b.name) for b in found], textposition="bottom right", marker={"size": 12, "color": VISITED},
    ))  # fmt: skip
    fig.update_xaxes(tickformat=".0%", range=[0, 1.3])
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    return fig


def ladder(rows: Sequence[Row]) -> go.Figure:
    """Accuracy of measured rows with their intervals, from top to bottom; the fp32 file as a line."""
    fig = go.Figure(layout=_layout(110 + 34 * len(rows), N_("Accuracy on the test images"), ""))
    found = [(row, row.measurement) for row in rows if row.measurement]
    fig.add_trace(go.Scatter(
        x=[m.accuracy.value for _row, m in found], y=[spoken(row.planned.name) for row, _m in found],
        mode="markers+text",
        marker={"color": VISITED, "size": 11}, showlegend=False, textposition="top center",
        text=[f"{m.accuracy.value:.1%}" for _, m in found],
        error_x={
            "type": "data", "symmetric": False, "color": VISITED, "thickness": 1,
            "array": [m.accuracy.interval.high - m.accuracy.value for _, m in found],
            "arrayminus": [m.accuracy.value - m.accuracy.interval.low for _, m in found],
        },
        hovertemplate="%{y}: %{x:.2%}<extra></extra>",
    ))  # fmt: skip
    for row in rows:
        if row.measurement is None:
            fig.add_annotation(x=0.02, xref="paper", y=spoken(row.planned.name), text=_("not measured"),
                               showarrow=False, xanchor="left", opacity=0.6)  # fmt: skip
    if found:
        fig.add_vline(x=found[0][1].accuracy.baseline, line={"color": BASELINE, "dash": "dash"},
                      annotation_text="fp32", annotation_position="top")  # fmt: skip
    fig.update_xaxes(tickformat=".1~%", range=None if found else [0, 1])
    names = [spoken(row.planned.name) for row in rows]
    fig.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1], range=[-0.7, len(names) - 0.3])
    return fig


def number_line(shown: NumberLine) -> go.Figure:
    """Each weight where it lies, its rounding error upwards and in colour, the grid's levels as lines."""
    fig = go.Figure(layout=_layout(300, N_("Weight"), N_("Rounding error"), showlegend=False))
    uprights(fig, shown.levels if len(shown.levels) <= MOST_LEVELS else (),
             {"color": BASELINE, "width": 1, "dash": "dot"})  # fmt: skip
    reach = float(np.abs(shown.errors).max())
    fig.add_trace(go.Scattergl(
        x=shown.weights, y=shown.errors, mode="markers", hovertemplate=_("%{x:.4f} moves by %{y:.4f}<extra></extra>"),
        marker={"size": 4, "color": np.abs(shown.errors), "colorscale": BLEND, "cmin": 0, "cmax": reach},
    ))  # fmt: skip
    return fig


def lines(shown: Sequence[Line], x: str, y: str, *, percent: bool = False, log_y: bool = False,
          mark: float | None = None, points: bool = False) -> go.Figure:  # fmt: skip
    """Lines under their names; `mark` is a place on the horizontal axis."""
    fig = go.Figure(layout=_layout(300, x, y))
    for line, colour in zip(shown, COLOURS, strict=False):
        fig.add_trace(go.Scatter(
            x=line.x, y=line.y, name=spoken(line.name), mode="lines+markers" if points else "lines",
            line={"color": colour, "width": 2},
        ))  # fmt: skip
    if mark is not None:
        fig.add_vline(x=mark, line={"color": BASELINE, "dash": "dash"})
    fig.update_xaxes(tickformat=".0%" if percent else None)
    fig.update_yaxes(type="log" if log_y else "linear", exponentformat="power")
    return fig


def bars(shown: Bars, *, height: int = 260, percent: bool = False) -> go.Figure:
    """One bar for each label, with its value beside it, which reads 7.23M where they are many."""
    fig = go.Figure(layout=_layout(height, shown.name, ""))
    form = "%{x:.1%}" if percent else "%{x:.3~s}" if max(shown.values, default=0) >= MANY else "%{x:,.4~g}"
    fig.add_trace(go.Bar(
        y=[spoken(label) for label in shown.labels], x=shown.values, orientation="h", marker={"color": VISITED},
        texttemplate=form, textposition="outside", cliponaxis=False, hovertemplate="%{y}: " + form + "<extra></extra>",
    ))  # fmt: skip
    ends = [1.15 * end(0, *shown.values) for end in (min, max)]  # room for the value beside the longest bar
    fig.update_xaxes(tickformat=".0%" if percent else None, range=ends if any(ends) else None)
    fig.update_yaxes(autorange="reversed", type="category")
    return fig


def placement(shown: Placed) -> go.Figure:
    """Milliseconds of each operator in order of execution, those in integers and those in floats in two colours."""
    fig = go.Figure(layout=_layout(260, _("Operator, in order of execution"), _("Kernel, ms"), bargap=0.1))
    places = list(enumerate(shown.operators, 1))
    for name, integer, colour in ((_("Integers"), True, VISITED), (_("Floats"), False, ORANGE)):
        mine = [(place, o) for place, o in places if o.integer is integer]
        fig.add_trace(go.Bar(
            x=[place for place, _o in mine], y=[o.integer_ms if integer else o.float_ms for _place, o in mine],
            name=name, marker={"color": colour}, customdata=[o.kind for _place, o in mine],
            hovertemplate="%{customdata}: %{y:.3f} ms<extra></extra>",
        ))  # fmt: skip
    return fig


def matrix(values: np.ndarray, *, height: int = 170) -> go.Figure:
    """A few numbers in their places, written out."""
    fig = go.Figure(layout=_bare(height))
    fig.add_trace(go.Heatmap(
        z=values, colorscale=PALE, zmid=0, showscale=False, texttemplate="%{z}", hoverinfo="skip", xgap=2, ygap=2,
        textfont={"color": INK, "size": 14},
    ))  # fmt: skip
    return fig


def table(cells: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, form: str = ".0%", height: int = 380,
          x: str = "", y: str = "") -> go.Figure:  # fmt: skip
    """Numbers as colours in rows and columns, written into their cells."""
    fig = go.Figure(layout=_layout(height, x, y))
    fig.add_trace(go.Heatmap(
        z=cells, x=columns, y=rows, colorscale=HEAT, showscale=False, texttemplate=f"%{{z:{form}}}", xgap=1, ygap=1,
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:{form}}}<extra></extra>",
    ))  # fmt: skip
    fig.update_xaxes(type="category", tickangle=0 if len(columns) < 7 else 45)
    fig.update_yaxes(type="category", autorange="reversed")
    return fig


def columns(shown: Bars, x: str) -> go.Figure:
    """One upright bar for each label."""
    fig = go.Figure(layout=_layout(220, x, shown.name))
    fig.add_trace(go.Bar(x=[spoken(label) for label in shown.labels], y=shown.values, marker={"color": VISITED}))
    fig.update_xaxes(type="category")
    return fig


def codebook(shown: Codebook) -> go.Figure:
    """A histogram of the weights, and the values they share as lines."""
    fig = go.Figure(layout=_layout(280, N_("Weight"), N_("Weights"), bargap=0, showlegend=False))
    fig.add_trace(go.Bar(x=shown.bins, y=shown.shares, marker={"color": VISITED}))
    return uprights(fig, shown.centres, {"color": NOW, "width": 1})


def stages(found: Sequence[Stage]) -> go.Figure:
    """Bytes after each stage, by what they are for."""
    fig = go.Figure(layout=_layout(280, N_("Bytes (log scale)"), "", barmode="group"))
    parts = dict.fromkeys(part for stage in found for part in stage.parts)
    for part, colour in zip(parts, COLOURS, strict=False):
        fig.add_trace(go.Bar(
            y=[spoken(stage.name) for stage in found],
            x=[stage.parts.get(part) for stage in found], name=spoken(part),
            orientation="h",
            marker={"color": colour},
        ))  # fmt: skip
    fig.update_xaxes(type="log", exponentformat="SI")
    fig.update_yaxes(autorange="reversed", type="category")
    return fig


def learning(pair: Pair, epochs: int) -> go.Figure:
    """Two students' accuracy on validation images, epoch by epoch."""
    fig = go.Figure(layout=_layout(300, N_("Epoch"), N_("Accuracy on validation images")))
    for name, told, colour in ((_("Distilled"), pair.taught, VISITED), (_("Labels only"), pair.alone, NOW)):
        fig.add_trace(go.Scatter(
            x=[e.number for e in told], y=[e.accuracy for e in told], name=name, line={"color": colour, "width": 2}
        ))  # fmt: skip
    fig.update_xaxes(range=[0, epochs])
    fig.update_yaxes(tickformat=".0%", range=[0, 1])
    return fig


def _layout(height: int, x: str, y: str, **more: object) -> go.Layout:
    return go.Layout(
        height=height, margin=MARGIN, xaxis={"title": spoken(x)}, yaxis={"title": spoken(y)}, legend=LEGEND,
        hovermode="closest", **more,
    )  # fmt: skip


def _bare(height: int) -> go.Layout:
    """No axes; cells are square."""
    off = {"visible": False}
    return go.Layout(
        height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, xaxis={**off, "constrain": "domain"},
        yaxis={**off, "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"},
        plot_bgcolor="rgba(0,0,0,0)", paper_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
