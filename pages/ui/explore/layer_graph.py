"""The network as the centre of the page Layers: painted, before and after, and its layers to be picked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import streamlit as st

from compression import jobs
from compression.language import _
from compression.records.analysis import LayerSensitivity, OperatorTimes, Structure
from compression.steps import Quantize
from pages.ui.charts import network_graph
from pages.ui.charts.network_graph import View
from pages.ui.explore import layer_bits, panels
from pages.ui.model.layer_paint import PAINTS, Paint, painted, values
from pages.ui.model.network_blocks import Part, around, blocks_of, opened_at_first, shown_parts
from pages.ui.model.points import Point
from pages.ui.page.guard import heard
from pages.ui.state import Visit, put, shown, shown_or_none

GRAPH, PAINT, OPENED, CHOSEN, TABLE = "layers.graph", "layers.paint", "layers.opened", "layers.chosen", "layers.table"
MOST = 700
"""So many operators and blocks a picture shows at most."""


@dataclass(frozen=True)
class Sides:
    """The network before and after, each with its blocks."""

    before: Structure
    after: Structure
    networks: Mapping[str, Part]


def sides(visit: Visit, point: Point, dense: Structure) -> Sides | None:
    """The dense network and what the recipe makes of it, which is asked for only where it has other layers."""
    after: Structure | None = dense
    if {report.name for report in point.layers} != set(dense.layers):
        request = visit.request_for(point.recipe)
        after = panels.awaited(visit.answer("compressed", jobs.compressed_structure, request), _("Reading the network"))
    if after is None:
        return None
    before = blocks_of(dense.operators)
    return Sides(dense, after, {"before": before, "after": before if after is dense else blocks_of(after.operators)})


def chosen(point: Point, dense: Structure) -> str:
    """The layer that was picked last in graph or table; the first one where that is not of this network."""
    name, known = shown_or_none(CHOSEN), [report.name for report in point.layers]
    return name if name in known or name in dense.layers else known[0]


def pick(point: Point, name: str) -> None:
    """Chooses a layer: the graph marks it, and so does the table, where it has a row."""
    names = [report.name for report in point.layers]
    put(CHOSEN, name)
    put(TABLE, {"selection": {"rows": [names.index(name)] if name in names else []}})


def draw(visit: Visit, point: Point, both: Sides, known: Mapping[str, LayerSensitivity], name: str) -> None:
    """What to paint it by, and both sides."""
    paint = _paint()
    times = _times(visit, point) if paint.name == "Milliseconds" else None
    before, after = values(paint.name, both.before, point.layers, known, times)
    opened, colours = _opened(visit, both, name), painted(paint, before, after)
    shapes = {report.name: " × ".join(map(str, report.shape)) for report in point.layers}
    network_graph.graph(
        [
            View("before", _("Before: fp32"), both.networks["before"], both.before, opened, before, {}),
            View("after", _("After: this file"), both.networks["after"], both.after, opened, after, shapes),
        ],
        colours, name, _own(visit), key=GRAPH,
        on_picked=partial(_picked, point, both), on_toggled=partial(_toggled, visit, both, name),
    )  # fmt: skip
    st.caption(_about(paint, known, times))


def _paint() -> Paint:
    names = [paint.name for paint in PAINTS]
    name = st.segmented_control(_("Colour by"), names, default=names[0], key=PAINT, required=True, format_func=_)
    return next(paint for paint in PAINTS if paint.name == (name or names[0]))


def _times(visit: Visit, point: Point) -> tuple[OperatorTimes, OperatorTimes] | None:
    request = visit.request_for(point.recipe)
    return panels.awaited(visit.answer("times", jobs.operator_times, request), _("Profiling both files"))


def _about(
    paint: Paint, known: Mapping[str, LayerSensitivity], times: tuple[OperatorTimes, OperatorTimes] | None
) -> str:
    if paint.name == "Sensitivity" and not known:
        return _("{about} Not measured yet; see Sensitivity below.", about=_(paint.about))
    if times is not None:
        before, after = (paint.said(each.conversions_ms) for each in times)
        return _(
            "{about} Conversions of types and layouts: {before} before, {after} after.",
            about=_(paint.about),
            before=before,
            after=after,
        )
    return _(paint.about)


def _own(visit: Visit) -> dict[str, str]:
    """What is said of the layers that have bits of their own, or that a technique leaves as they are."""
    quantize, left = visit.recipe.get("quantize"), layer_bits.excluding(visit)
    bits = quantize.overrides if isinstance(quantize, Quantize) else {}
    found = {name: _("{b} bits set for this layer", b=b) for name, b in bits.items() if b != layer_bits.WHOLE}
    for name in sorted({name for names in left.values() for name in names}):
        out = ", ".join(layer_bits.called(kind) for kind, names in left.items() if name in names)
        found[name] = "; ".join(filter(None, (found.get(name), _("excluded from {out}", out=out))))
    return found


def _opened(visit: Visit, both: Sides, name: str) -> frozenset[str]:
    """The open blocks: those that the user left open, and those around a layer that was picked since."""
    subject, opened, seen = shown_or_none(OPENED) or (None, frozenset[str](), None)
    if subject != visit.subject:
        opened = opened_at_first(both.networks["before"])
    if seen != name or subject != visit.subject:
        for network, structure in ((both.networks["before"], both.before), (both.networks["after"], both.after)):
            place = next((i for i, each in enumerate(structure.operators) if each.name == name), None)
            opened |= around(network, place) if place is not None else frozenset()
    put(OPENED, (visit.subject, opened, name))
    return opened


@heard
def _picked(point: Point, both: Sides) -> None:
    """Takes the layer that was clicked."""
    found = network_graph.found(shown(GRAPH).get("picked"), both.networks)
    if found is not None:
        part, network = found
        structure = both.before if network is both.networks["before"] else both.after
        operator = structure.operators[part.first]
        if not part.is_block and operator.weights:
            pick(point, operator.name)


@heard
def _toggled(visit: Visit, both: Sides, name: str) -> None:
    """Opens or closes the block that was clicked, on both sides."""
    found = network_graph.found(shown(GRAPH).get("toggled"), both.networks)
    _rest, opened, seen = shown_or_none(OPENED) or (None, frozenset[str](), name)
    if found is None or not found[0].is_block:
        return
    part, network = found
    wanted = opened ^ {part.key}
    if shown_parts(network, wanted) > MOST:
        st.toast(_("The graph shows at most {MOST} operators and blocks. Close another block first.", MOST=MOST))
        return
    put(OPENED, (visit.subject, wanted, seen))
