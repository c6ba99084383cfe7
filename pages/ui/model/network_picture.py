"""The picture of a network: where its operators, its closed blocks and its open ones stand, and the lines between."""

from bisect import bisect_right
from dataclasses import dataclass

from compression.records.analysis import Structure
from pages.ui.model.layered_layout import Box, Placed, Point, arranged
from pages.ui.model.network_blocks import Part

WIDTH, HEIGHT, LOW = 196.0, 42.0, 26.0
"""Of a layer or closed block, and the height of another operator."""

HEAD, MARGIN = 24.0, 14.0
"""What an open block keeps above its parts for its name, and around them."""

PORT = Box.plain(0, 0)


@dataclass(frozen=True)
class Spot:
    """Where a part of the network stands; `is_open` is a block whose parts stand within."""

    part: Part
    x: float
    y: float
    width: float
    height: float
    is_open: bool


@dataclass(frozen=True)
class NetworkPicture:
    """What there is to draw, an open block before its parts; lines go from above to below."""

    spots: tuple[Spot, ...]
    lines: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(frozen=True)
class _Inside:
    """An open block, arranged, its parts moved by `offset`.

    Among the boxes that were arranged stand its parts, between ports for the lines that come in and for those that go
    out, where there are such.
    """

    box: Box
    placed: Placed
    parts: "tuple[_Inside | Box, ...]"
    offset: Point
    comes: bool
    goes: bool


@dataclass(frozen=True)
class _Lines:
    """Who reads whom where a block is open: among its parts, and across the borders of each.

    `between` counts the parts from 1; 0 is what lies before the block, and one more than their number what lies behind.
    """

    between: tuple[tuple[int, int], ...]
    within: list[list[tuple[int, int]]]
    come: list[set[int]]
    go: list[set[int]]


def picture(network: Part, structure: Structure, opened: frozenset[str]) -> NetworkPicture:
    """The network with the blocks of these keys open, whatever is in others' names."""
    inside = _inside(network, structure, opened, list(structure.edges), set(), set(), (0.0, 0.0))
    spots: list[Spot] = []
    lines: list[tuple[Point, ...]] = []
    _draw_(network, inside, (0.0, 0.0), spots, lines)
    return NetworkPicture(tuple(spots), tuple(lines), inside.box.width, inside.box.height)


def _inside(
    part: Part, structure: Structure, opened: frozenset[str], edges: list[tuple[int, int]], read: set[int],
    given: set[int], frame: Point = (MARGIN, HEAD),
) -> _Inside:  # fmt: skip
    """edges: those within the part; `read` come from outside to these operators, `given` go out from these."""
    lines = _sorted(part, edges, read, given)
    parts: list[_Inside | Box] = []
    for i, child in enumerate(part.parts):
        if child.is_block and child.key in opened:
            parts.append(_inside(child, structure, opened, lines.within[i], lines.come[i], lines.go[i]))
        else:
            low = not child.is_block and not structure.operators[child.first].weights
            parts.append(Box.plain(WIDTH, LOW if low else HEIGHT))
    boxes = [each.box if isinstance(each, _Inside) else each for each in parts]
    shift = 0 if read else 1
    boxes = [*([PORT] if read else ()), *boxes, *([PORT] if given else ())]
    between = [(a - shift, b - shift) for a, b in lines.between]
    placed = arranged(boxes, between, len(boxes) - 1 if given else None)
    return _framed(placed, tuple(parts), bool(read), bool(given), frame)


def _sorted(part: Part, edges: list[tuple[int, int]], read: set[int], given: set[int]) -> _Lines:
    firsts, count = [child.first for child in part.parts], len(part.parts)
    within: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    come, go = ([set[int]() for _ in range(count)] for _ in range(2))
    between: dict[tuple[int, int], None] = {}
    for a, b in edges:
        source, reader = bisect_right(firsts, a), bisect_right(firsts, b)
        if source == reader:
            within[source - 1].append((a, b))
        else:
            between[source, reader] = None
            go[source - 1].add(a)
            come[reader - 1].add(b)
    for operator in sorted(read):
        reader = bisect_right(firsts, operator)
        between[0, reader] = None
        come[reader - 1].add(operator)
    for operator in sorted(given):
        source = bisect_right(firsts, operator)
        between[source, count + 1] = None
        go[source - 1].add(operator)
    return _Lines(tuple(between), within, come, go)


def _framed(placed: Placed, parts: "tuple[_Inside | Box, ...]", comes: bool, goes: bool, frame: Point) -> _Inside:
    """The block around its parts; the lines that cross its border do so at its ports."""
    beside, above = frame
    width = max(placed.width, WIDTH - 2 * beside)
    aside = beside + (width - placed.width) / 2
    outer = width + 2 * beside
    enter = placed.corners[0][0] + aside if comes else outer / 2
    leave = placed.corners[-1][0] + aside if goes else outer / 2
    box = Box(outer, placed.height + above + beside, enter, leave)
    return _Inside(box, placed, parts, (aside, above), comes, goes)


def _draw_(part: Part, inside: _Inside, at: Point, spots: list[Spot], lines: list[tuple[Point, ...]]) -> None:
    x, y = at[0] + inside.offset[0], at[1] + inside.offset[1]
    corners = inside.placed.corners[1 if inside.comes else 0 :]
    behind = len(inside.placed.corners) - 1 if inside.goes else -1
    for (source, reader), points in inside.placed.lines.items():
        line = [(x + px, y + py) for px, py in points]
        if inside.comes and source == 0:
            line = [(line[0][0], at[1]), *line]
        if reader == behind:
            line = [*line, (line[-1][0], at[1] + inside.box.height)]
        lines.append(tuple(line))
    for child, drawn, (cx, cy) in zip(part.parts, inside.parts, corners, strict=False):
        box = drawn.box if isinstance(drawn, _Inside) else drawn
        spots.append(Spot(child, x + cx, y + cy, box.width, box.height, isinstance(drawn, _Inside)))
        if isinstance(drawn, _Inside):
            _draw_(child, drawn, (x + cx, y + cy), spots, lines)
