"""Figures on the page. Streamlit's own chart starts afresh with every change; this one is updated where it stands.

It runs the Plotly that the `plotly` package carries: Streamlit serves that package's folder as a component's, so
nothing is written, and `plot.js` keeps one copy in the browser.
"""

import json
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

from compression.language import N_, _

HERE = Path(__file__).resolve().parent
PACKAGED = Path(plotly.__file__).resolve().parent / "package_data"
CONFIG = {
    "displaylogo": False, "responsive": True, "displayModeBar": False, "scrollZoom": False,
    "doubleClick": "reset+autosize",
}  # fmt: skip
GHOST = N_("Interpolated")
"""The trace that follows a slider while it is dragged."""

HTML = """<div class="plot-frame"><div class="plot" role="img" style="width:100%"></div></div>
<p class="plot-note"></p>"""
CSS = """
.plot-note { opacity: 0.7; }
.plot-frame { position: relative; }
.plot-sketch { position: absolute; font-size: 13px; fill: currentColor; opacity: 0.85; overflow: visible; }
.plot-edge { position: absolute; width: 16px; height: 16px; margin: -8px 0 0 -8px; border-radius: 50%; z-index: 2;
  background: #009E73; border: 2px solid var(--st-background-color); touch-action: none; box-sizing: border-box; }
.plot-edge-x { cursor: ew-resize; }
.plot-edge-y { cursor: ns-resize; }
.plot-edge:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
"""
SCRIPT = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("sketch.js", "plot.js"))
_mount = st.components.v2.component("compression_plot", html=HTML, css=CSS, js=SCRIPT, isolate_styles=False)


def plot(
    figure: go.Figure,
    alt: str,
    *,
    key: str,
    foresight: dict[str, Any] | None = None,
    handles: list[dict[str, Any]] | None = None,
) -> tuple[str | None, dict[str, Any] | None]:
    """Draws a figure; returns what was clicked (`customdata[1]`), and the `limit` whose handle was moved to a `value`.

    `foresight` says, for the class of a slider, which `x` and `y` are expected at its `positions`. `handles` are edges
    that can be dragged, as `handles.handles` makes them.
    """
    height = int(figure.layout.height or 380)
    told = _mount(
        key=key,
        data={
            "figure": json.loads(figure.to_json()), "alt": alt, "library": library(),
            "config": CONFIG, "foresight": foresight, "ghost": _(GHOST), "handles": handles,
            "drag": _("Drag, or press the arrow keys"), "loading": _("Loading the chart …"),
        },
        height=height,
        on_clicked_change=_heard,
        on_moved_change=_heard,
    )  # fmt: skip
    return told.clicked, told.moved


def _heard() -> None:
    """What was clicked is in the result."""


def library() -> str:
    """The address of Plotly's script below the app's own; another version has another one."""
    served = declare_component("plotly", path=PACKAGED)
    return f"component/{served.name}/plotly.min.js?version={plotly.__version__}"
