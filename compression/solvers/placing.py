"""The cheapest placement of operators in one of two domains, where each border between the domains costs.

Solved exactly as a minimum cut (Stone 1977, "Multiprocessor scheduling with the aid of network flow algorithms").
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import isinf

import networkx

PART = 1e-9
"""Costs are told apart by this much: of milliseconds, a picosecond."""

OUTSIDE = None
"""What stands for all that is placed in the second domain for good: the images, the answers, operators that cannot
move."""


@dataclass(frozen=True)
class Flow:
    """A value: who gives it, who reads it, and what it costs to bring it into the first domain, and out of it."""

    giver: Hashable
    readers: tuple[Hashable, ...]
    into: float
    out_of: float


def cheapest(costs: dict[str, tuple[float, float]], flows: Iterable[Flow]) -> set[str]:
    """The operators that the cheapest placement has in the first domain.

    costs: of each operator, in the first and in the second domain. A value that several operators of one domain read is
    brought there once.
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from(["first", "second"])
    graph.add_edge(("operator", OUTSIDE), "second")
    for name, (first, second) in costs.items():
        graph.add_edge("first", ("operator", name), capacity=_whole(second))
        graph.add_edge(("operator", name), "second", capacity=_whole(first))
    for i, flow in enumerate(flows):
        _add(graph, i, flow)
    _, (inside, _) = networkx.minimum_cut(graph, "first", "second")
    return {node[1] for node in inside if node != "first" and node[0] == "operator"}


def _whole(cost: float) -> float:
    """A cost in whole parts: sums of fractions are rounded, and a flow that is none but for that hides the cut."""
    return cost if isinf(cost) else round(cost / PART)


def _add(graph: networkx.DiGraph, i: int, flow: Flow) -> None:
    """Edges without a capacity are never cut: a copy of the value lies where one of its readers does."""
    giver = ("operator", flow.giver)
    graph.add_edge(giver, ("second copy", i), capacity=_whole(flow.out_of))
    graph.add_edge(("first copy", i), giver, capacity=_whole(flow.into))
    for reader in flow.readers:
        graph.add_edge(("second copy", i), ("operator", reader))
        graph.add_edge(("operator", reader), ("first copy", i))
