"""The network as a picture: its blocks, places and paint, and what comes back from a browser."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compression.records.analysis import Operator, OperatorTimes, Structure
from compression.records.measurement import LayerReport
from pages.ui.charts.network_graph import View, found, shortened, side_of
from pages.ui.model.layer_paint import PAINTS, painted, values
from pages.ui.model.layered_layout import ACROSS, Box, arranged
from pages.ui.model.network_blocks import (
    FANOUT,
    Part,
    around,
    blocks_of,
    opened_at_first,
    shown_parts,
)
from pages.ui.model.network_picture import NetworkPicture, picture

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a.b..c",
    "",
    ".",
    "\u202egnp",
    "__proto__",
    "x" * 5000,
    "</script>",
    "é\n\x00",
]


@st.composite
def networks(draw) -> Structure:
    """Operators with paths of few names, so that there are blocks; each reads some of those before it."""
    count = draw(st.integers(1, 24))
    names = st.sampled_from(["a", "b", "0", "<b>", "é"])
    operators = []
    for i in range(count):
        block = ".".join(draw(st.lists(names, max_size=3)))
        operators.append(Operator(f"{block}.{i}" if block else str(i), "conv", block, draw(st.integers(0, 1))))
    edges = {
        (source, reader)
        for reader in range(1, count)
        for source in draw(st.sets(st.integers(0, reader - 1), max_size=3))
    }
    return Structure(tuple(operators), tuple(each.name for each in operators if each.weights), tuple(sorted(edges)))


def apart(a, b) -> bool:
    return a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y


def within(inner, outer) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def check(drawn: NetworkPicture) -> None:
    """What lies in an open block lies within it, all else apart from it; all of it in the picture; lines go down."""
    for a, b in combinations(drawn.spots, 2):
        contains = a.part.first <= b.part.first and b.part.end <= a.part.end
        assert within(b, a) if contains else apart(a, b)
    for spot in drawn.spots:
        assert -1e-6 <= spot.x <= drawn.width - spot.width + 1e-6
        assert -1e-6 <= spot.y <= drawn.height - spot.height + 1e-6
    for line in drawn.lines:
        assert all(above <= below for (_, above), (_, below) in pairwise(line))
        assert line[0][1] < line[-1][1]


@given(networks(), st.data())
@settings(max_examples=60)
def test_nothing_overlaps_and_every_line_goes_down_whatever_is_open(structure, data):
    network = blocks_of(structure.operators)
    keys = [block.key for block in network.blocks()]
    assert len(keys) == len(set(keys))
    opened = frozenset(data.draw(st.sets(st.sampled_from(keys)))) | {network.key} if keys else frozenset({""})
    drawn = picture(network, structure, opened)
    check(drawn)
    assert len(drawn.spots) + 1 == shown_parts(network, opened) or not network.is_block
    shown = [spot for spot in drawn.spots if not spot.is_open]
    assert sorted(i for spot in shown for i in range(spot.part.first, spot.part.end)) == list(
        range(len(structure.operators))
    )


@given(networks())
@settings(max_examples=40)
def test_a_line_joins_the_parts_that_its_operators_lie_in(structure):
    """With all blocks closed and with all open: as many lines as pairs, each between the boxes of such a pair."""
    network = blocks_of(structure.operators)
    drawn = picture(network, structure, frozenset({network.key}))
    of = {i: spot for spot in drawn.spots for i in range(spot.part.first, spot.part.end)}
    pairs = {(of[a].part.first, of[b].part.first) for a, b in structure.edges if of[a] is not of[b]}
    leave = {(spot.x + spot.width / 2, spot.y + spot.height): spot.part.first for spot in drawn.spots}
    enter = {(spot.x + spot.width / 2, spot.y): spot.part.first for spot in drawn.spots}
    ends = {(leave[line[0]], enter[line[-1]]) for line in drawn.lines}
    assert len(drawn.lines) == len(pairs) and ends == pairs


def test_a_chain_stands_in_one_column_and_a_shortcut_passes_beside_it():
    boxes = [Box.plain(100, 20)] * 4
    placed = arranged(boxes, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert [y for _, y in placed.corners] == [0, 46, 92, 138]
    assert len(placed.lines[0, 3]) == 7 and len(placed.lines[0, 1]) == 3
    for (x, _), box in list(zip(placed.corners, boxes, strict=True))[1:3]:
        assert all(px <= x - ACROSS / 2 or px >= x + box.width + ACROSS / 2 for px, _ in placed.lines[0, 3][2:6])


def test_a_block_with_a_shortcut_is_entered_above_where_it_is_left():
    boxes = [Box.plain(0, 0), *[Box.plain(100, 20)] * 3, Box.plain(0, 0)]
    placed = arranged(boxes, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)], 4)
    assert placed.corners[0][0] == pytest.approx(placed.corners[4][0])
    assert placed.corners[1][0] == pytest.approx(placed.corners[2][0])


RESNET = tuple(
    Operator(f"{block}{name}", "conv", block.rstrip("."), 10)
    for block, names in (
        ("", ["stem"]), ("layer1.0.", ["conv1", "conv2"]), ("layer1.1.", ["conv1", "conv2"]),
        ("layer2.0.", ["conv1", "conv2"]), ("", ["fc"]),
    )
    for name in names
)  # fmt: skip


def test_blocks_follow_the_paths_of_modules():
    network = blocks_of(RESNET)
    assert [part.title for part in network.parts] == ["stem", "layer1", "layer2.0", "fc"]
    assert [part.title for part in network.parts[1].parts] == ["0", "1"]
    assert [(block.first, block.end) for block in network.blocks()][1:] == [(1, 5), (1, 3), (3, 5), (5, 7)]
    assert around(network, 4) == {network.key, network.parts[1].key, network.parts[1].parts[1].key}


def test_the_first_picture_of_a_large_network_is_small():
    large = tuple(
        Operator(f"stage{i // 100}.{i // 10}.conv{i}", "conv", f"stage{i // 100}.{i // 10}", 9) for i in range(1000)
    )
    network = blocks_of(large)
    assert shown_parts(network, opened_at_first(network)) == 11  # its ten stages
    unnamed = blocks_of(tuple(Operator(f"node_{i}", "conv", "", 9) for i in range(30_000)))
    assert shown_parts(unnamed, opened_at_first(unnamed)) <= FANOUT + 1
    assert all(len(block.parts) <= FANOUT for block in unnamed.blocks())


def test_thirty_thousand_operators_are_drawn_folded():
    count = 30_000
    structure = Structure(
        tuple(Operator(f"node_{i}", "conv", "", 9) for i in range(count)),
        (),
        tuple((i, i + 1) for i in range(count - 1)),
    )
    network = blocks_of(structure.operators)
    check(picture(network, structure, opened_at_first(network)))


@pytest.mark.parametrize("name", HOSTILE)
def test_strange_names_are_data(name):
    """They come back whole from their place, and the texts for the browser are short and of signs that can be seen."""
    operators = (Operator("x", "image"), Operator(f"{name}.w", "8 × 8", name, 64), Operator(f"{name}.v", "8", name, 8))
    structure = Structure(operators, (f"{name}.w", f"{name}.v"), ((0, 1), (1, 2)))
    network = blocks_of(operators)
    colours = painted(PAINTS[0], {f"{name}.w": 1.0}, {})
    everything = frozenset(block.key for block in network.blocks())
    drawn = side_of(
        View("before", "fp32", network, structure, everything, colours.before, {}), colours, f"{name}.w", {}
    )
    layers = [each for each in drawn["nodes"] if each["kind"] == "layer"]
    assert len(layers) == 2 and [each["chosen"] for each in layers] == [True, False]
    part, _ = found({"side": "before", "id": layers[0]["id"]}, {"before": network}) or (None, None)
    assert part is not None and operators[part.first].name == f"{name}.w"
    for each in drawn["nodes"]:
        assert len(each["label"]) <= 25 and each["label"].isprintable() and each["told"].isprintable()


@pytest.mark.parametrize("event", [
    None, 3, "1-2", {}, {"side": "before"}, {"side": "before", "id": "1-999"}, {"side": "before", "id": "9" * 400},
    {"side": ["before"], "id": "0-1"}, {"side": "other", "id": "0-1"}, {"side": "before", "id": "2-1"},
    {"side": "before", "id": {"a": 1}},
])  # fmt: skip
def test_what_a_browser_says_names_a_part_or_nothing(event):
    assert found(event, {"before": blocks_of(RESNET)}) is None


def test_a_short_text_is_itself():
    assert shortened("conv1", 25) == "conv1"
    assert shortened("abcdefghij", 5) == "ab…ij"


def reports() -> list[LayerReport]:
    return [
        LayerReport(each.name, "Conv2d", (10,), 10, bits, 0.0, 1, bits * 2, None, "dense", output_error=bits / 100)
        for each, bits in zip(RESNET, (8, 4, 4, 2, 2, 2, 32, 8), strict=False)
    ]


def paint_of(name: str, times=None):
    paint = next(paint for paint in PAINTS if paint.name == name)
    structure = Structure(RESNET, tuple(each.name for each in RESNET), ())
    return painted(paint, *values(paint.name, structure, reports(), {}, times))


def node(colours, part: Part, side="after") -> dict:
    structure = Structure(RESNET, tuple(each.name for each in RESNET), ())
    view = View(side, "", blocks_of(RESNET), structure, frozenset({""}), getattr(colours, side), {})
    return next(each for each in side_of(view, colours, "", {})["nodes"] if each["id"] == f"{part.first}-{part.end}")


def test_a_closed_block_has_its_layers_sum_mean_or_worst():
    layer1 = blocks_of(RESNET).parts[1]
    assert (
        node(paint_of("Bytes"), layer1)["value"] == "24 B"
        and node(paint_of("Bytes"), layer1, "before")["value"] == "160 B"
    )
    assert node(paint_of("Bits"), layer1)["value"] == "3 bits"
    assert node(paint_of("Error"), layer1)["value"] == "4%"
    assert node(paint_of("Error"), layer1, "before")["level"] is None
    assert node(paint_of("Bits"), layer1, "before")["level"] == 1.0
    times = OperatorTimes({"layer1.0.conv1": 1.0, "layer1.1.conv2": 2.0}, 0.5)
    assert node(paint_of("Milliseconds", (times, times)), layer1)["value"] == "3.00 ms"
    assert paint_of("Bits").ends == ("0 bits", "32 bits") and paint_of("Bytes").ends == ("0 B", "64 B or more")
    assert paint_of("Sensitivity").ends == ("", "not measured")
