"""Figures of a search: how the front grew, and which parameters matter."""

from collections.abc import Sequence

import plotly.graph_objects as go

from compression.language import _

GROWTH = "#3987C9"
HEIGHT = 220


def growth(volumes: Sequence[tuple[float, float]]) -> go.Figure:
    """(seconds, volume in [0, 1]) as stairs: what is found stays."""
    fig = go.Figure(layout=go.Layout(
        template="none", height=HEIGHT, margin={"l": 52, "r": 8, "t": 8, "b": 40}, uirevision="growth",
        xaxis={"title": "Minutes", "rangemode": "tozero", "zeroline": False},
        yaxis={"title": "Hypervolume, %", "rangemode": "tozero", "nticks": 5, "zeroline": False},
    ))  # fmt: skip
    fig.add_trace(go.Scatter(
        x=[seconds / 60 for seconds, _ in volumes], y=[100 * volume for _, volume in volumes], mode="lines+markers",
        line={"shape": "hv", "color": GROWTH}, marker={"size": 4},
        hovertemplate="%{y:.1f}% after %{x:.1f} min<extra></extra>",
    ))  # fmt: skip
    return fig


def slices(points: Sequence[tuple[str | float, float]], x: str, y: str, *, log: bool) -> go.Figure:
    """Each trial at a setting's value and a figure's; with words on the horizontal axis where the values are words."""
    layout = go.Layout(
        template="none", height=HEIGHT, margin={"l": 58, "r": 8, "t": 8, "b": 44}, uirevision=x,
        xaxis={"title": x, "type": "category" if any(isinstance(at, str) for at, _ in points) else "linear"},
        yaxis={"title": y, "type": "log" if log else "linear", "zeroline": False, "nticks": 5},
    )  # fmt: skip
    return go.Figure(
        go.Scatter(x=[at for at, _ in points], y=[value for _, value in points], mode="markers",
                   marker={"color": GROWTH, "size": 7, "opacity": 0.6}, hoverinfo="x+y"), layout,
    )  # fmt: skip


def importance(pairs: Sequence[tuple[str, float]]) -> go.Figure:
    """A bar for each parameter, the most important on top; shares in [0, 1]."""
    shown = list(reversed(pairs))
    layout = go.Layout(
        template="none", height=60 + 26 * len(shown), margin={"l": 150, "r": 16, "t": 4, "b": 36},
        xaxis={"title": _("Importance, %"), "rangemode": "tozero"}, yaxis={"automargin": True},
    )  # fmt: skip
    return go.Figure(
        go.Bar(x=[100 * share for _, share in shown], y=[name for name, _ in shown], orientation="h",
               marker={"color": GROWTH}, hovertemplate="%{y}: %{x:.0f}%<extra></extra>"), layout,
    )  # fmt: skip
