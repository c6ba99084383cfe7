"""One legend for several charts of points: colours and shapes. A click hides a technique's points in all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from compression.language import N_, _
from pages.ui.charts import scatter_figure
from pages.ui.charts.scatter_data import Chart

HERE = Path(__file__).resolve().parent
LABEL = N_("Legend: click to hide or show")
STORED = N_("Hollow: stored or reference result")
POINTS = {
    "line": "0,7 16,7 16,9 0,9", "square": "2,2 14,2 14,14 2,14", "diamond": "8,1 15,8 8,15 1,8",
    "triangle-up": "8,2 15,14 1,14", "triangle-down": "1,2 15,2 8,14", "triangle-right": "2,1 14,8 2,15",
    "pentagon": "8,1 15,6 12,14 4,14 1,6", "hexagon": "8,1 14,4.5 14,11.5 8,15 2,11.5 2,4.5",
    "hourglass": "2,1 14,1 2,15 14,15", "bowtie": "1,2 1,14 15,2 15,14",
    "cross": "6,1 10,1 10,6 15,6 15,10 10,10 10,15 6,15 6,10 1,10 1,6 6,6",
    "x": "4,1 8,5 12,1 15,4 11,8 15,12 12,15 8,11 4,15 1,12 5,8 1,4",
    "hexagram": "8,1 10,5 14,4.5 12,8 14,11.5 10,11 8,15 6,11 2,11.5 4,8 2,4.5 6,5",
    "star-diamond": "8,1 10,6 15,8 10,10 8,15 6,10 1,8 6,6", "star-square": "2,2 8,5 14,2 11,8 14,14 8,11 2,14 5,8",
}  # fmt: skip
"""The shapes as polygons of a square of 16; a circle has none."""

CSS = """
.legend-row { display: flex; flex-wrap: wrap; gap: 0.1rem 0.4rem; align-items: center; min-height: 1.6rem; }
.legend-entry { font: inherit; font-size: 0.8rem; color: inherit; background: none; border: 0; padding: 0.1rem 0.35rem;
  display: inline-flex; align-items: center; gap: 0.35rem; border-radius: 0.3rem; }
button.legend-entry { cursor: pointer; }
button.legend-entry:hover { background: var(--st-secondary-background-color); }
button.legend-entry:focus-visible { outline: 2px solid var(--st-primary-color); }
.legend-entry[aria-pressed="false"] { opacity: 0.45; text-decoration: line-through; }
"""
_mount = st.components.v2.component(
    "compression_legend", html='<div class="legend-row" role="group"></div>', css=CSS,
    js=(HERE / "legend.js").read_text(encoding="utf-8"), isolate_styles=False,
)  # fmt: skip


def legend(charts: Sequence[Chart], *, key: str) -> None:
    """Draws the legend of these charts."""
    _mount(key=key, data={"label": _(LABEL), "entries": entries(charts)})


def entries(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """What is on any of the charts, each once: its name, shape and colour, and the trace that a click hides."""
    marks = [mark for chart in charts for mark in chart.marks]
    techniques = {mark.technique for mark in marks if mark.role not in ("now", "baseline")}
    told = [_entry(_(scatter_figure.PARETO), scatter_figure.FRONT, "line")] if any(c.front for c in charts) else []
    for technique in sorted(techniques, key=lambda kinds: (len(kinds), kinds)):
        told.append(_entry(scatter_figure.called(technique), *scatter_figure.look(technique)))
    roles = {mark.role for mark in marks}
    if "baseline" in roles:
        told.append(_entry(_(scatter_figure.FP32), scatter_figure.BASELINE, "square"))
    if any(chart.course for chart in charts):
        told.append(_entry(_(scatter_figure.TRAINING), scatter_figure.NOW, "circle", hollow=True))
    if "now" in roles:
        told.append(_entry(_(scatter_figure.CURRENT), scatter_figure.NOW, "circle"))
    if "reference" in roles:
        told.append(_entry(_(STORED), "currentColor", "circle", hollow=True) | {"trace": ""})
    return told


def _entry(name: str, colour: str, symbol: str, *, hollow: bool = False) -> dict[str, Any]:
    return {"name": name, "trace": name, "colour": colour, "points": POINTS.get(symbol, ""), "hollow": hollow}
