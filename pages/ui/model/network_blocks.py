"""The blocks of a network, by the paths of its modules: what can be folded into one in its picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

from compression.records.analysis import Operator

DEPTH = 8
"""So many names of a path make blocks of their own."""

FANOUT = 64
"""A block with more parts than this has them in runs, so that a picture of one block stays readable."""

AT_FIRST = 26
"""So many parts are shown before anything is opened, or a few more where one block has more."""


@dataclass(frozen=True)
class Part:
    """An operator, or a block of neighbours in the order of the network: operators from `first` to before `end`.

    No cycle comes of a folded block, as its operators follow each other in an order in which all reading is of earlier
    ones. `key` tells blocks apart, also in another form of the same network.
    """

    key: str
    title: str
    first: int
    end: int
    parts: "tuple[Part, ...]" = ()

    @property
    def is_block(self) -> bool:
        """Whether there is something to open."""
        return bool(self.parts)

    def blocks(self) -> "Iterator[Part]":
        """This one and all that lie in it, from the outside in."""
        if self.is_block:
            yield self
        for part in self.parts:
            if part.is_block:
                yield from part.blocks()


def blocks_of(operators: Sequence[Operator]) -> Part:
    """The network as one block."""
    paths = [tuple(operator.block.split(".", DEPTH)[:DEPTH]) if operator.block else () for operator in operators]
    counted: dict[str, int] = {}
    return _block("", "", 0, len(operators), _parts(operators, paths, 0, len(operators), 0, counted))


def _parts(
    operators: Sequence[Operator], paths: list[tuple[str, ...]], first: int, end: int, depth: int,
    counted: dict[str, int],
) -> tuple[Part, ...]:  # fmt: skip
    """The parts of the operators from `first` to before `end`, whose paths are alike in their first `depth` names."""
    found: list[Part] = []
    for begin, stop in _runs(paths, first, end, depth):
        if stop - begin == 1:
            found.append(Part(f"={operators[begin].name}", operators[begin].name, begin, stop))
            continue
        inner = _parts(operators, paths, begin, stop, depth + 1, counted)
        path = ".".join(paths[begin][: depth + 1])
        counted[path] = counted.get(path, 0) + 1
        found.append(_block(f"{counted[path]}:{path}", paths[begin][depth], begin, stop, inner))
    return _in_runs(found, operators)


def _runs(paths: list[tuple[str, ...]], first: int, end: int, depth: int) -> list[tuple[int, int]]:
    """Where neighbours share the name at `depth`; each operator without one is a run of its own."""
    own = [paths[i][depth] if len(paths[i]) > depth else None for i in range(first, end)]
    cuts = [first, *(first + i for i in range(1, len(own)) if own[i] is None or own[i] != own[i - 1]), end]
    return list(pairwise(cuts)) if first < end else []


def _block(key: str, title: str, first: int, end: int, parts: tuple[Part, ...]) -> Part:
    """A block; one whose only part is a block is that one, under both names."""
    if len(parts) == 1 and parts[0].is_block:
        inner = parts[0]
        return Part(key, ".".join(filter(None, (title, inner.title))), first, end, inner.parts)
    return Part(key, title, first, end, parts)


def _in_runs(parts: list[Part], operators: Sequence[Operator]) -> tuple[Part, ...]:
    if len(parts) <= FANOUT:
        return tuple(parts)
    length = min(FANOUT, max(isqrt(len(parts)), -(-len(parts) // FANOUT)))
    runs = []
    for i in range(0, len(parts), length):
        few = tuple(parts[i : i + length])
        first, last = few[0], few[-1]
        title = f"{operators[first.first].name} … {operators[last.end - 1].name}"
        runs.append(Part(f"…{first.key}", title, first.first, last.end, few) if len(few) > 1 else first)
    return _in_runs(runs, operators) if len(runs) > FANOUT else tuple(runs)


def opened_at_first(network: Part) -> frozenset[str]:
    """The blocks that are open in the first picture: whole levels of them, as long as not too much is shown."""
    opened, level, shown = {network.key}, [part for part in network.parts if part.is_block], len(network.parts)
    while level:
        shown += sum(len(part.parts) for part in level)
        if shown > AT_FIRST:
            break
        opened |= {part.key for part in level}
        level = [inner for part in level for inner in part.parts if inner.is_block]
    return frozenset(opened)


def around(network: Part, operator: int) -> frozenset[str]:
    """The blocks that must be open for an operator to be seen."""
    return frozenset(part.key for part in network.blocks() if part.first <= operator < part.end)


def shown_parts(network: Part, opened: frozenset[str]) -> int:
    """How many operators and blocks a picture shows in which these blocks are open."""
    if network.key not in opened or not network.is_block:
        return 1
    return 1 + sum(shown_parts(part, opened) for part in network.parts)
