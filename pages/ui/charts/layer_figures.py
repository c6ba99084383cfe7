"""Inside the layers, as figures and rows: chart data come computed, nothing is computed here but places."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from compression.language import N_, _
from compression.records.analysis import LEVELS, FeatureMaps, Histogram, LayerSensitivity, LayerView, Picture
from compression.records.measurement import LayerReport
from pages.ui.charts.lesson_figures import uprights
from pages.ui.charts.tables import BITS
from pages.ui.model import wording
from pages.ui.model.layer_paint import drop
from pages.ui.model.words import Words

BEFORE, AFTER, DENSE = "#808790", "#D55E00", "#3987C9"
TITLES = {"sparsity": N_("Sparsity"), "bits": N_("Bit width"), "rank": N_("Rank, share of full")}
ACROSS = 6

COLUMNS = {
    "MACs": st.column_config.NumberColumn(format="localized"),
    "Bytes": st.column_config.NumberColumn(format="localized"),
    "Bits": st.column_config.NumberColumn(help=BITS),
    "Sparsity": st.column_config.NumberColumn(format="percent"),
    "SQNR, dB": st.column_config.NumberColumn(format="%.1f"),
    "Worst drop": st.column_config.NumberColumn(
        N_("Drop at 2 bits"), format="%.1f",
        help=N_("Drop in points on validation images when only this layer has 2 bits; simulated in PyTorch."),
    ),
}  # fmt: skip


def rows(reports: Sequence[LayerReport], curves: Mapping[str, LayerSensitivity]) -> list[dict[str, Any]]:
    """A row for each layer of the file; the sensitivity where it is known."""
    return [
        {
            "Layer": report.name,
            "Shape": " × ".join(map(str, report.shape)),
            "MACs": report.macs,
            "Bytes": report.size_bytes,
            "Bits": report.bits,
            "Sparsity": report.sparsity,
            "SQNR, dB": report.sqnr_db,
            **({"Worst drop": drop(curves[report.name]) if report.name in curves else None} if curves else {}),
        }
        for report in reports
    ]


def heatmap(curves: Sequence[LayerSensitivity]) -> go.Figure:
    """Points lost by every layer at every level, one panel a technique."""
    fig = make_subplots(cols=3, shared_yaxes=True, column_titles=list(TITLES.values()), horizontal_spacing=0.03)
    names = [each.name for each in curves]
    for column, (technique, levels) in enumerate(LEVELS.items(), 1):
        drops = [[100 * (each.dense - point.accuracy) for point in each.curve(technique)] for each in curves]
        fig.add_trace(
            go.Heatmap(
                z=drops, x=[_level(technique, level) for level in levels], y=names, coloraxis="coloraxis",
                hovertemplate="%{y}, %{x}: drop %{z:.2f} points<extra></extra>",
            ),
            row=1, col=column,
        )  # fmt: skip
    fig.update_layout(
        template="none", height=max(320, 60 + 17 * len(names)), margin={"l": 130, "r": 8, "t": 30, "b": 30},
        coloraxis={"colorscale": "Cividis", "cmin": 0, "cmax": 20, "colorbar": {"title": "points", "thickness": 12}},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": BEFORE, "size": 11},
    )  # fmt: skip
    fig.update_xaxes(type="category")
    fig.update_yaxes(type="category", autorange="reversed")  # layers are often called by numbers
    return fig


def curves(found: LayerSensitivity, words: Words) -> go.Figure:
    """One layer's accuracy or agreement against each technique's levels, and the dense network's."""
    fig = make_subplots(cols=3, shared_yaxes=True, column_titles=list(TITLES.values()), horizontal_spacing=0.03)
    for column, technique in enumerate(LEVELS, 1):
        points = found.curve(technique)
        xs = [_level(technique, point.level) for point in points]
        ys = [100 * point.accuracy for point in points]
        line = {"color": AFTER, "width": 2}
        fig.add_trace(go.Scatter(x=xs, y=ys, mode="lines+markers", line=line, showlegend=False), row=1, col=column)
    fig.add_hline(y=100 * found.dense, line={"color": DENSE, "dash": "dot"})
    fig.update_yaxes(title=_("{title} (validation)", title=_(words.title)), col=1)
    return _styled(fig, 260)


def histogram(view: LayerView) -> go.Figure:
    """Weights before and after, and the values that the first channel's weights may take."""
    fig = go.Figure()
    for name, found, colour in ((_("Before"), view.before, BEFORE), (_("After"), view.after, AFTER)):
        if found is not None:
            fig.add_trace(_bars(name, found, colour))
    uprights(fig, view.grid, {"color": AFTER, "width": 1, "dash": "dot"}, opacity=0.5)
    counts = {"title": _("Number of weights"), "type": "log", "dtick": 1}
    fig.update_layout(barmode="overlay", xaxis={"title": _("Weight")}, yaxis=counts)
    return _styled(fig, 300)


def _bars(name: str, found: Histogram, colour: str) -> go.Bar:
    width = (found.high - found.low) / len(found.counts)
    middles = [found.low + (i + 0.5) * width for i in range(len(found.counts))]
    return go.Bar(x=middles, y=found.counts, width=width, name=name, marker={"color": colour}, opacity=0.6)


def singular(view: LayerView) -> go.Figure:
    """Singular values of the weights as a matrix, before and after."""
    fig = go.Figure()
    for name, found, colour in ((_("Before"), view.singular, BEFORE), (_("After"), view.singular_after, AFTER)):
        if found is not None:
            xs = list(range(1, len(found) + 1))
            fig.add_trace(go.Scatter(x=xs, y=found, name=name, line={"color": colour}, mode="lines+markers"))
    fig.update_layout(xaxis={"title": _("Number")}, yaxis={"title": _("Singular value"), "rangemode": "tozero"})
    return _styled(fig, 300)


def pictures(before: Sequence[Picture], after: Sequence[Picture] | None) -> go.Figure:
    """Kernels or feature maps side by side: above before, below after, with one scale of colours."""
    groups = [before, *([after] if after else [])]
    count = max(len(group) for group in groups)
    across, down = min(count, 2 * ACROSS), -(-count // (2 * ACROSS))
    fig = make_subplots(rows=down * len(groups), cols=across, horizontal_spacing=0.01, vertical_spacing=0.03)
    for number, group in enumerate(groups):
        for i, picture in enumerate(group):
            row, column = number * down + i // across + 1, i % across + 1
            fig.add_trace(go.Heatmap(z=picture, coloraxis="coloraxis", hoverinfo="z"), row=row, col=column)
    edge = max((abs(v) for group in groups for picture in group for line in picture for v in line), default=1.0)
    fig.update_xaxes(visible=False, constrain="domain")
    fig.update_yaxes(visible=False, autorange="reversed")
    fig.update_layout(coloraxis={"colorscale": "RdBu", "cmin": -edge, "cmax": edge, "colorbar": {"thickness": 10}})
    return _styled(fig, 40 + 78 * down * len(groups))


def answers(found: FeatureMaps) -> str:
    """'Sneaker: fp32: Sneaker (99%), compressed: Boot (61%).'"""
    said = [f"{a} ({100 * c:.0f}%)" for a, c in zip(found.answers, found.confidences, strict=True)]
    label = f"**{wording.quoted(found.label)}**: " if found.label else ""
    return _(
        "{label}fp32: {said}, compressed: {said_2}.",
        label=label,
        said=wording.quoted(said[0]),
        said_2=wording.quoted(said[1]),
    )


def errors(view: LayerView) -> str:
    """How far weights and answers moved, in words."""
    if view.weight_error is None or view.output_error is None:
        return _("The recipe replaced this layer with others.")
    shape = " × ".join(map(str, view.shape))
    return _(
        "{shape}. Relative weight error {weight_error:.1%}, relative output error {output_error:.1%} "
        "(on calibration images, with all earlier layers compressed too).",
        shape=shape, weight_error=view.weight_error, output_error=view.output_error,
    )  # fmt: skip


def _level(technique: str, level: float) -> str:
    return f"{level:g}" if technique == "bits" else f"{100 * level:g}%"


def _styled(fig: go.Figure, height: int) -> go.Figure:
    fig.update_layout(
        template="none", height=height, margin={"l": 60, "r": 8, "t": 30, "b": 44}, font={"color": BEFORE, "size": 12},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    fig.update_xaxes(gridcolor="rgba(128,135,144,0.25)", zeroline=False)
    fig.update_yaxes(gridcolor="rgba(128,135,144,0.25)", zeroline=False)
    return fig
