"""The network as a picture to move in: drawn as SVG by `network_graph.js`, painted, before and after side by side."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from compression.language import N_, _, p_
from compression.records.analysis import Operator, Structure
from pages.ui.model import wording
from pages.ui.model.layer_paint import Painted, Values
from pages.ui.model.network_blocks import Part
from pages.ui.model.network_picture import Spot, picture

HERE = Path(__file__).resolve().parent
LABEL, DETAIL, TOLD = 25, 20, 300
"""Characters of a name, of what it is, and of what the pointer is told, at most."""

WORDS = {
    "out": N_("Zoom out"), "in": N_("Zoom in"), "all": N_("Show the whole network"),
    "about": N_("The network from image to scores. Arrow keys move, Enter opens or selects, plus and minus zoom."),
}  # fmt: skip
"""What the buttons and the picture say to those who point at them or hear them."""

Side = Literal["before", "after"]

HTML = """<div class="net"><div class="net-bar"><div class="net-legend"><span class="net-low"></span>
<span class="net-ramp"></span><span class="net-high"></span></div><div class="net-buttons">
<button type="button" class="net-out">−</button>
<button type="button" class="net-in">+</button>
<button type="button" class="net-fit"></button></div></div>
<div class="net-sides"></div></div>"""
CSS = (HERE / "network_graph.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "network_graph.js").read_text(encoding="utf-8")
_mount = st.components.v2.component("compression_network", html=HTML, css=CSS, js=SCRIPT, isolate_styles=False)


@dataclass(frozen=True)
class View:
    """One side: a network in its blocks, which of them are open, and the values that it is painted by."""

    side: Side
    title: str
    network: Part
    structure: Structure
    opened: frozenset[str]
    values: Values
    shapes: Mapping[str, str]


def graph(
    views: list[View], painted: Painted, chosen: str, own: Mapping[str, str], *, key: str,
    on_picked: Callable[[], None], on_toggled: Callable[[], None],
) -> None:  # fmt: skip
    """Draws the sides. A click on a layer or block calls one of the functions; `chosen` is marked, `own` says why."""
    data = {
        "sides": [side_of(view, painted, chosen, own) for view in views],
        "low": painted.ends[0],
        "high": painted.ends[1],
        "words": {name: _(word) for name, word in WORDS.items()} | {"fit": p_("graph", "Fit")},
    }
    _mount(key=key, data=data, on_picked_change=on_picked, on_toggled_change=on_toggled)


def side_of(view: View, painted: Painted, chosen: str, own: Mapping[str, str]) -> dict[str, Any]:
    """What the browser draws of a side: plain numbers, and texts that it never takes for markup."""
    drawn = picture(view.network, view.structure, view.opened)
    return {
        "side": view.side,
        "title": view.title,
        "width": round(drawn.width, 1),
        "height": round(drawn.height, 1),
        "lines": [[round(v, 1) for point in line for v in point] for line in drawn.lines],
        "nodes": [_node(spot, view, painted, chosen, own) for spot in drawn.spots],
    }


def _node(spot: Spot, view: View, painted: Painted, chosen: str, own: Mapping[str, str]) -> dict[str, Any]:
    part, operators = spot.part, view.structure.operators
    inside = operators[part.first : part.end]
    found = [(view.values[each.name], each.weights) for each in inside if each.name in view.values]
    value = None if not found or spot.is_open else painted.paint.together(found)
    label, detail, told = _block_texts(part, inside) if part.is_block else _texts(inside[0], part.title, view.shapes)
    marked = "" if part.is_block else own.get(inside[0].name, "")
    said = "" if value is None else painted.paint.said(value)
    layer = not part.is_block and bool(inside[0].weights)
    return {
        "id": f"{part.first}-{part.end}",
        "kind": "open" if spot.is_open else "block" if part.is_block else "layer" if layer else "operator",
        "x": round(spot.x, 1), "y": round(spot.y, 1), "w": round(spot.width, 1), "h": round(spot.height, 1),
        "label": label, "detail": detail, "value": said,
        "told": ", ".join(filter(None, (told, said, marked))),
        "level": None if value is None else round(painted.level(value), 3),
        "chosen": layer and inside[0].name == chosen,
        "own": marked,
    }  # fmt: skip


def _block_texts(part: Part, inside: tuple[Operator, ...]) -> tuple[str, str, str]:
    layers = sum(bool(each.weights) for each in inside)
    count = wording.counted(layers, "layer") if layers else _("{count} operators", count=len(inside))
    path = part.key.partition(":")[2] or part.title
    return (
        shortened(part.title, LABEL),
        count,
        _("Block {shortened}, {count}", shortened=shortened(path, TOLD), count=count),
    )


def _texts(operator: Operator, title: str, shapes: Mapping[str, str]) -> tuple[str, str, str]:
    own = operator.name.removeprefix(f"{operator.block}.") if operator.block else operator.name
    if not operator.weights:
        return shortened(operator.text, LABEL), "", f"{shortened(operator.text, TOLD)}, {shortened(title, TOLD)}"
    shape = shapes.get(operator.name, operator.text)
    told = _(
        "Layer {shortened}, {shortened_2}", shortened=shortened(operator.name, TOLD), shortened_2=shortened(shape, TOLD)
    )
    return shortened(own, LABEL), shortened(shape, DETAIL), told


def shortened(text: str, most: int) -> str:
    """A text of so many characters at most, what is left out of its middle; what cannot be seen is a dot."""
    seen = "".join(c if c.isprintable() else "·" for c in text[: 2 * TOLD])
    return seen if len(seen) <= most else f"{seen[: most // 2]}…{seen[-(most - most // 2 - 1) :]}"


def found(event: Any, networks: Mapping[str, Part]) -> tuple[Part, Part] | None:
    """The part that a browser names, and the network that it lies in; None for anything else that it says."""
    if not isinstance(event, Mapping):
        return None
    network, place = networks.get(str(event.get("side"))), re.fullmatch(r"(\d{1,7})-(\d{1,7})", str(event.get("id")))
    if network is None or place is None:
        return None
    part = _part(network, int(place[1]), int(place[2]))
    return None if part is None else (part, network)


def _part(network: Part, first: int, end: int) -> Part | None:
    candidates: Collection[Part] = network.parts
    while candidates:
        inside = next((part for part in candidates if part.first <= first and end <= part.end), None)
        if inside is None or (inside.first, inside.end) == (first, end):
            return inside
        candidates = inside.parts
    return None
