"""Places for the operators of a graph: in ranks from above to below, few crossings, straight lines.

After Sugiyama, Tagawa and Toda 1981: ranks by the longest path, an order within them by barycentres, and places that
lie closest to those of the neighbours (least squares with the order kept, by pooling adjacent violators).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

ACROSS, BETWEEN = 18.0, 26.0
"""Space between neighbours of a rank, and between two ranks."""

LINE = 8.0
"""Width that a line takes which passes a rank."""

SWEEPS = 6

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """What is to be placed; lines enter and leave it at `enter` and `leave` from its left side."""

    width: float
    height: float
    enter: float
    leave: float

    @classmethod
    def plain(cls, width: float, height: float) -> "Box":
        """One whose lines meet it in the middle."""
        return cls(width, height, width / 2, width / 2)


@dataclass(frozen=True)
class Placed:
    """Upper left corners of the boxes, a line for each edge from above to below, and what all of it takes."""

    corners: tuple[Point, ...]
    lines: dict[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


@dataclass
class _Slot:
    """A box (`number`), or where a line from a box passes a rank (None), with the slots of the ranks beside its own."""

    box: Box
    number: int | None
    rank: int
    above: "list[_Slot]" = field(default_factory=list)
    below: "list[_Slot]" = field(default_factory=list)
    x: float = 0.0
    place: int = 0

    @property
    def weight(self) -> float:
        return 1.0 if self.number is not None else 4.0


def arranged(boxes: Sequence[Box], edges: Sequence[tuple[int, int]], lowest: int | None = None) -> Placed:
    """Places the boxes, of which each is read by later ones only: every edge (a, b) has a < b.

    The box `lowest`, which none reads, comes below all others.
    """
    slots, passing = _slots(boxes, edges, lowest)
    ranks: list[list[_Slot]] = [[] for _ in range(1 + max((slot.rank for slot in slots), default=0))]
    for slot in slots:
        ranks[slot.rank].append(slot)
    _order_(ranks)
    _place_(ranks)
    return _drawn(boxes, edges, slots, passing, ranks)


def _slots(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], lowest: int | None
) -> tuple[list[_Slot], dict[tuple[int, int], _Slot]]:
    """A slot a box, and slots where lines pass ranks; all lines from a box share theirs, (box, rank)."""
    slots = [_Slot(box, number, 0) for number, box in enumerate(boxes)]
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        slots[b].rank = max(slots[b].rank, slots[a].rank + 1)
    if lowest is not None:
        slots[lowest].rank = 1 + max(slot.rank for slot in slots if slot is not slots[lowest])
    passing: dict[tuple[int, int], _Slot] = {}
    for a, b in edges:
        last = slots[a]
        for rank in range(slots[a].rank + 1, slots[b].rank):
            if (a, rank) not in passing:
                passing[a, rank] = _Slot(Box.plain(LINE, 0), None, rank)
                _join_(last, passing[a, rank])
            last = passing[a, rank]
        _join_(last, slots[b])
    return [*slots, *passing.values()], passing


def _join_(above: _Slot, below: _Slot) -> None:
    above.below.append(below)
    below.above.append(above)


def _order_(ranks: list[list[_Slot]]) -> None:
    """Orders each rank by the mean place of its neighbours in the rank before, downward and upward in turns."""
    for rank in ranks:
        _count_(rank)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for rank in ranks if down else reversed(ranks):
            rank.sort(key=lambda slot: _barycentre(slot, slot.above if down else slot.below))
            _count_(rank)


def _count_(rank: list[_Slot]) -> None:
    for place, slot in enumerate(rank):
        slot.place = place


def _barycentre(slot: _Slot, beside: list[_Slot]) -> float:
    return sum(each.place for each in beside) / len(beside) if beside else slot.place


def _place_(ranks: list[list[_Slot]]) -> None:
    """Gives each slot the left end that its neighbours wish for, as far as its rank's order and widths allow."""
    for rank in ranks:
        _spread_(rank, [0.0] * len(rank))
    for sweep in range(SWEEPS + 1):
        down = sweep % 2 == 0
        for rank in ranks if down else reversed(ranks):
            _spread_(rank, [_wish(slot, down) for slot in rank])
    if len(ranks[0]) == 1:  # the last sweep goes downward, so that this one has not followed yet
        ranks[0][0].x = _wish(ranks[0][0], down=False)


def _wish(slot: _Slot, down: bool) -> float:
    if down:
        wishes = [each.x + each.box.leave - slot.box.enter for each in slot.above]
    else:
        wishes = [each.x + each.box.enter - slot.box.leave for each in slot.below]
    return sum(wishes) / len(wishes) if wishes else slot.x


def _spread_(rank: list[_Slot], wishes: list[float]) -> None:
    """Left ends x with the least sum of w·(x - wish)² among those in this order without overlap."""
    offset, offsets = 0.0, []
    for slot in rank:
        offsets.append(offset)
        offset += slot.box.width + ACROSS
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of slots
    for slot, wish, offset in zip(rank, wishes, offsets, strict=True):
        mean, weight, count = wish - offset, slot.weight, 1
        while pools and pools[-1][0] > mean:
            other, heavy, many = pools.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    for slot, mean, offset in zip(rank, means, offsets, strict=True):
        slot.x = mean + offset


def _drawn(
    boxes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    slots: list[_Slot],
    passing: dict[tuple[int, int], _Slot],
    ranks: list[list[_Slot]],
) -> Placed:
    heights = [max(slot.box.height for slot in rank) for rank in ranks]
    tops = [sum(heights[:i]) + BETWEEN * i for i in range(len(ranks))]
    left = min((slot.x for slot in slots), default=0.0)
    width = max((slot.x + slot.box.width for slot in slots), default=left) - left
    corners = tuple((slot.x - left, tops[slot.rank]) for slot in slots[: len(boxes)])
    lines = {}
    for a, b in edges:
        first, last = slots[a], slots[b]
        (x, y), (end_x, end_y) = corners[a], corners[b]
        points = [(x + first.box.leave, y + first.box.height), (x + first.box.leave, y + heights[first.rank])]
        for rank in range(first.rank + 1, last.rank):
            middle = passing[a, rank].x - left + LINE / 2
            points += [(middle, tops[rank]), (middle, tops[rank] + heights[rank])]
        lines[a, b] = (*points, (end_x + last.box.enter, end_y))
    return Placed(corners, lines, width, sum(heights) + BETWEEN * (len(ranks) - 1))
