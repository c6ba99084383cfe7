"""Layers: which of them pay for the result, what happened inside each, and what one alone would cost."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from compression import jobs
from compression.language import N_, _, p_
from compression.records.analysis import LayerSensitivity
from pages.ui.charts import layer_figures
from pages.ui.charts.plot import plot
from pages.ui.explore import layer_bits, layer_graph, layer_sensitivity, panels
from pages.ui.model import wording
from pages.ui.model.points import Point
from pages.ui.page.guard import heard
from pages.ui.page.table import columns
from pages.ui.state import Visit, put, shown

VIEWS = (N_("Weights"), N_("Rank"), N_("Kernels"), N_("Feature maps"))


def page() -> None:
    """The network as a graph with one layer of it in detail, the table of layers, and the sensitivity of all."""
    visit, point = panels.explored(p_("page", "Layers"))
    if point is None:
        return
    asked = visit.answer("structure", jobs.network_structure, visit.plain_request)
    network = panels.awaited(asked, _("Reading the network"))
    both = layer_graph.sides(visit, point, network) if network is not None else None
    if network is None or both is None:
        return
    known, name = layer_sensitivity.known(visit), layer_graph.chosen(point, network)
    with st.container(key="layers.centre"):
        left, right = st.columns([7, 4], gap="large")
        with left:
            layer_graph.draw(visit, point, both, known, name)
        with right:
            detail(visit, point, name, network.layers)
    st.markdown(_("#### All layers"))
    table(point, known)
    layer_sensitivity.sensitivity(visit, network.layers, name)


def table(point: Point, known: dict[str, LayerSensitivity]) -> None:
    """A row for each layer; a tick picks its layer."""
    reports = point.layers
    rows = layer_figures.rows(reports, known)
    st.dataframe(
        rows, hide_index=True, column_config=columns(rows, layer_figures.COLUMNS),
        key=layer_graph.TABLE, on_select=partial(tick, point), selection_mode="single-row",
        height=min(420, 38 + 35 * len(reports)),
    )  # fmt: skip


@heard
def tick(point: Point) -> None:
    """Picks the layer of the ticked row."""
    rows = shown(layer_graph.TABLE)["selection"]["rows"]
    if rows and rows[0] < len(point.layers):
        put(layer_graph.CHOSEN, point.layers[rows[0]].name)


def detail(visit: Visit, point: Point, name: str, known: Sequence[str]) -> None:
    """One layer before and after, and its own number of bits."""
    head, own = st.container(), st.container()
    if name in known:
        with own:
            layer_bits.draw(visit, name)
    head.markdown(_("#### Layer {name}", name=wording.quoted(name)))  # with the controls of this layer below it
    if name not in known:
        st.caption(_("The recipe added this layer; the dense network has no counterpart."))
        return
    request = visit.request_for(point.recipe)
    view = panels.awaited(visit.answer("look", jobs.layer_view, request, name), _("Inspecting the layer"))
    if view is None:
        return
    head.caption(layer_figures.errors(view))
    chosen = st.segmented_control(_("View"), VIEWS, default=VIEWS[0], key="layers.view", required=True,
                                  label_visibility="collapsed", format_func=_)  # fmt: skip
    if chosen == "Rank":
        alt = _("Singular values of {name}, before and after.", name=name)
        plot(layer_figures.singular(view), alt, key="layers.singular")
    elif chosen == "Kernels":
        kernels(view.kernels, view.kernels_after)
    elif chosen == "Feature maps":
        maps(visit, point, name)
    else:
        alt = _("Histogram of the weights of {name}, before and after.", name=name)
        plot(layer_figures.histogram(view), alt, key="layers.weights")


def kernels(before: Sequence, after: Sequence | None) -> None:
    """The first kernels as images, before above after."""
    if not before:
        st.caption(_("This layer has no kernels larger than one pixel."))
        return
    alt = _("{count} kernels, before and after.", count=len(before))
    plot(layer_figures.pictures(before, after), alt, key="layers.kernels")


def maps(visit: Visit, point: Point, name: str) -> None:
    """What the layer makes of a test image, before above after."""
    image = st.number_input(_("Test image"), 0, point.measurement.n_test - 1, 0, key="layers.image")
    request = visit.request_for(point.recipe)
    found = panels.awaited(
        visit.answer("features", jobs.feature_maps, request, name, int(image)), _("Computing feature maps")
    )
    if found is None:
        return
    st.markdown(layer_figures.answers(found))
    if not found.before:
        st.caption(_("This layer outputs a vector, not feature maps."))
        return
    plot(layer_figures.pictures(found.before, found.after), _("Feature maps, before and after."), key="layers.maps")


page()
