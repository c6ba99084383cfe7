"""Chart data to figure. Nothing is computed here; see `trail`."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pages.ui.trail import Chart, Mark

CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "toImage"]}
EMPTY = "The first point appears here."


# Okabe and Ito's vermillion, blue (lightened) and bluish green, and a grey. Each shows on white and on the dark theme,
# so a chart need not be drawn anew when the theme changes.
NOW, VISITED, FRONT, BASELINE = "#D55E00", "#3987C9", "#009E73", "#808790"


def figure(chart: Chart) -> go.Figure:
    """Accuracy against a cost: the front's staircase, the trail, the baseline and where the user is."""
    fig = go.Figure(layout=_layout(chart))
    if not chart.marks:
        fig.add_annotation(text=EMPTY, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5, opacity=0.6)
        return fig
    fig.add_trace(_staircase(chart, FRONT))
    fig.add_trace(_way([*chart.of("visited"), *chart.of("now")], VISITED))
    fig.add_trace(_points(chart.of("visited"), "Visited", VISITED, "circle", 8))
    fig.add_trace(_points(chart.of("baseline"), "fp32 baseline", BASELINE, "square", 10))
    fig.add_trace(_points(chart.of("now"), "Now", NOW, "circle", 14))
    return fig


def _layout(chart: Chart) -> go.Layout:
    return go.Layout(
        height=380, margin={"l": 8, "r": 8, "t": 8, "b": 8}, hovermode="closest", uirevision=chart.cost,
        xaxis=_x_axis(chart), yaxis={"title": "Accuracy, %", "showticklabels": bool(chart.marks)},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )  # fmt: skip


def _x_axis(chart: Chart) -> dict[str, object]:
    """Logarithmic where the data says at which numbers to put ticks, else linear from zero."""
    if chart.x_ticks:
        return {"title": chart.x_title, "type": "log", "tickvals": chart.x_ticks, "tickformat": "~r"}
    return {"title": chart.x_title, "rangemode": "tozero", "showticklabels": bool(chart.marks)}


def _staircase(chart: Chart, colour: str) -> go.Scatter:
    xs, ys = [x for x, _ in chart.front], [y for _, y in chart.front]
    line = {"shape": "hv", "color": colour, "width": 2}
    return go.Scatter(x=xs, y=ys, mode="lines", name="Pareto front", line=line, hoverinfo="skip")


def _way(marks: Sequence[Mark], colour: str) -> go.Scatter:
    line = {"color": colour, "width": 1, "dash": "dot"}
    return go.Scatter(
        x=[m.x for m in marks], y=[m.y for m in marks], mode="lines", line=line, opacity=0.5,
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _points(marks: Sequence[Mark], name: str, colour: str, symbol: str, size: int) -> go.Scatter:
    return go.Scatter(
        x=[m.x for m in marks], y=[m.y for m in marks], mode="markers", name=name,
        error_x=_bars([m.x_arms for m in marks], colour), error_y=_bars([m.y_arms for m in marks], colour),
        marker={
            "symbol": [symbol if m.full else f"{symbol}-open" for m in marks], "size": size, "color": colour,
            "opacity": [0.35 if m.standing == "behind" and m.role == "visited" else 1.0 for m in marks],
            "line": {"width": 2, "color": colour},
        },
        customdata=[m.text for m in marks], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _bars(arms: Sequence[tuple[float, float]], colour: str) -> dict[str, object]:
    """Error bars from (down, up) for each point."""
    down, up = [d for d, _ in arms], [u for _, u in arms]
    style = {"color": colour, "thickness": 1, "width": 3}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **style}
