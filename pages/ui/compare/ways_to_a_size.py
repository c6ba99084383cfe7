"""Which way to a given size? Small networks as they are, students of a teacher, and big networks compressed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import plotly.graph_objects as go
import streamlit as st

from compression.data import DATASETS
from compression.jobs import Outcome, SmallNetwork, small_network_of, trained_networks
from compression.language import N_, _
from compression.models import ARCHITECTURES
from compression.models import title as network_title
from compression.records.measurement import Accuracy, Interval
from compression.store import Run
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import decades
from pages.ui.model import wording
from pages.ui.model.pareto import Spot, stand
from pages.ui.model.subject import Subject, reference_images, reference_sweep
from pages.ui.page.guard import repeated
from pages.ui.page.table import columns
from pages.ui.state import awaited_once, lab, store

Kind = Literal["dense", "taught", "compressed"]
NAMES: dict[Kind, str] = {
    "dense": N_("Small network, trained directly"),
    "taught": N_("Small network, distilled"),
    "compressed": N_("Compressed"),
}
COLOURS: dict[Kind, str] = {"dense": "#808790", "taught": "#3987C9", "compressed": "#D55E00"}
SYMBOLS: dict[Kind, str] = {"dense": "square", "taught": "diamond", "compressed": "circle"}
EVERY_S = 1.0
TITLE = N_("Accuracy at a given size: small, distilled and compressed networks")
ABOUT = N_(
    "Every point is an ONNX file measured on all test images; lines are the Pareto fronts. To add a distilled network: "
    "`python -m compression models train resnet8 fashion-mnist --teacher resnet20`."
)


@dataclass(frozen=True)
class Way:
    """One file: what it is, its accuracy in percent with its interval, and its size in KB."""

    kind: Kind
    label: str
    spot: Spot


def ways(dataset: str, runs: Sequence[Run]) -> list[Way]:
    """All files of one dataset: each small network once, with the weights that it has now."""
    now, seen = {*trained_networks(dataset)}, set[SmallNetwork]()
    found = []
    for run in (run for run in runs if run.subject.dataset == dataset and run.full):
        small = small_network_of(run.subject)
        recipe = run.readable
        if run.role == "candidate" and recipe and recipe.steps:
            label = f"{network_title(small.model)}: {wording.recipe_line(recipe)}"
            found.append(Way("compressed", label, _spot(run.accuracy, run.size_bytes)))
        elif run.role == "baseline" and small in now - seen:
            seen.add(small)
            found.append(Way("taught" if small.teacher else "dense", title(small), _spot(run.accuracy, run.size_bytes)))
    return found + _references(dataset)


def _references(dataset: str) -> list[Way]:
    """The sweeps that come with the app."""
    found = []
    for model, architecture in ARCHITECTURES.items():
        subject = Subject(model, dataset, dataset)
        sweep = reference_sweep(subject)
        for recipe, told in sweep.points if sweep else ():
            label = _(
                "{title}: {recipe_line} (reference machine)",
                title=architecture.title,
                recipe_line=wording.recipe_line(recipe),
            )
            named = ". ".join(filter(None, (label, reference_images(subject))))
            found.append(Way("compressed", named, _spot(told.accuracy, told.size_bytes)))
    return found


def _spot(accuracy: Accuracy, size_bytes: int) -> Spot:
    size, share = size_bytes / 1000, accuracy.interval
    return Spot(size, Interval(size, size), 100 * accuracy.value, Interval(100 * share.low, 100 * share.high), True)


def title(small: SmallNetwork) -> str:
    """'ResNet-8, distilled from ResNet-56'."""
    own = network_title(small.model)
    return (
        _("{own}, distilled from {network_title}", own=own, network_title=network_title(small.teacher))
        if small.teacher in ARCHITECTURES
        else own
    )


def missing(dataset: str, runs: Sequence[Run]) -> list[SmallNetwork]:
    """The small networks whose fp32 files are not measured yet."""
    known = {small_network_of(run.subject) for run in runs if run.role == "baseline" and run.subject.dataset == dataset}
    return [small for small in trained_networks(dataset) if small not in known]


def figure(found: Sequence[Way]) -> go.Figure:
    """Accuracy against file size; a line joins what nothing else of its way beats."""
    ticks = decades([way.spot.x for way in found])
    fig = go.Figure(layout={
        "template": "none", "height": 420, "margin": {"l": 8, "r": 12, "t": 8, "b": 8}, "hovermode": "closest",
        "xaxis": {"title": "File size, KB", "type": "log", "tickvals": ticks, "tickformat": "~r"},
        "yaxis": {"title": "Accuracy, %"}, "uirevision": "ways",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    })  # fmt: skip
    for kind in ("compressed", "dense", "taught"):
        own = [way for way in found if way.kind == kind]
        standings = stand([way.spot for way in own], "less", "more")
        _draw(fig, kind, own, [standing == "front" for standing in standings])
    return fig


def _draw(fig: go.Figure, kind: Kind, own: Sequence[Way], front: Sequence[bool]) -> None:
    if not own:
        return
    best = sorted((way.spot.x, way.spot.y) for way, first in zip(own, front, strict=True) if first)
    fig.add_scatter(x=[x for x, _ in best], y=[y for _, y in best], mode="lines", showlegend=False, hoverinfo="skip",
                    line={"shape": "hv", "color": COLOURS[kind], "width": 2})  # fmt: skip
    named = kind != "compressed"
    fig.add_scatter(
        x=[way.spot.x for way in own], y=[way.spot.y for way in own], name=_(NAMES[kind]),
        mode="markers+text" if named else "markers", text=[way.label if named else "" for way in own],
        textposition="bottom center", textfont={"size": 11, "color": COLOURS[kind]}, cliponaxis=False,
        marker={"symbol": SYMBOLS[kind], "color": COLOURS[kind], "size": 10 if named else 7,
                "opacity": [1.0 if first or named else 0.3 for first in front]},
        customdata=[[_told(way), ""] for way in own], hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _told(way: Way) -> str:
    low, high = way.spot.y_interval.low, way.spot.y_interval.high
    return f"<b>{way.label}</b><br>{way.spot.y:.2f}% ({low:.2f} to {high:.2f}%)<br>{way.spot.x:.1f} KB"


def draw(first: str = "") -> None:
    """The chart for a dataset, at first the one named, and the measuring of what is missing on it."""
    with (shown := st.expander(_(TITLE), key="ways.shown", on_change="rerun")):
        if not shown.open:
            return
        known = [name for name in DATASETS if trained_networks(name)]
        at = known.index(first) if first in known else 0
        dataset = st.selectbox(
            _("Dataset"), known, at, key="ways.images", format_func=lambda name: DATASETS[name].title
        )
        if dataset is None:
            return
        runs = store().runs(role=None, dataset=dataset)
        found, lacking = ways(dataset, runs), missing(dataset, runs)
        if lacking and st.toggle(
            _("Measure the remaining small networks ({count})", count=len(lacking)), key="ways.on"
        ):
            repeated(partial(measure, dataset, lacking[0]), EVERY_S)
        plot(figure(found), _("Accuracy against file size of {count} files, by method.", count=len(found)), key="ways")
        st.caption(_(ABOUT))
        rows = [{"Method": _(NAMES[way.kind]), "File": way.label, "Accuracy, %": round(way.spot.y, 2),
                 "Size, KB": round(way.spot.x, 1)} for way in found if way.kind != "compressed"]  # fmt: skip
        if rows:
            st.dataframe(rows, hide_index=True, column_config=columns(rows))


def measure(dataset: str, small: SmallNetwork) -> None:
    """Has one small network measured; the page is drawn anew when it is kept."""
    answer = awaited_once(("small", dataset, small), partial(lab().small, small.model, dataset, small.teacher))
    if not answer.done():
        st.progress(0.0, _("Measuring {title} …", title=title(small)))
        return
    found = answer.result() if answer.exception() is None else None
    if isinstance(found, Outcome) and not lab().trouble:
        st.rerun()
    st.error(wording.said(getattr(found, "sentence", "") or lab().trouble or str(answer.exception())))
