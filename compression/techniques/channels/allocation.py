"""How many channels each group loses, so that a budget of MACs or channels is met after rounding."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from compression.techniques.channels.coupling import Group


@dataclass(frozen=True)
class Plan:
    """removed: the units that each group loses. `reached` and `macs` are shares in [0, 1]: removed of what the budget
    counts, and kept of all multiply-accumulates.
    """

    removed: tuple[torch.Tensor, ...]
    reached: float
    macs: float


@dataclass(frozen=True)
class Order:
    """One group's units [n] in the order of their removal, and what the removal of each costs on top: costs [n] ≥ 0."""

    units: torch.Tensor
    costs: torch.Tensor


@dataclass
class _Layer:
    """MACs of one layer: per_weight · outputs · inputs, or per_weight · outputs where it is depthwise."""

    per_weight: float
    outputs: int
    inputs: int
    out_groups: list[tuple[int, int]] = field(default_factory=list)  # (group, channels of the layer per unit)
    in_groups: list[tuple[int, int]] = field(default_factory=list)

    def macs(self, gone: list[int]) -> float:
        outputs = self.outputs - sum(n * gone[g] for g, n in self.out_groups)
        inputs = self.inputs - sum(n * gone[g] for g, n in self.in_groups)
        return self.per_weight * outputs * inputs


class Budget:
    """Counts what is left once each group has lost some of its units."""

    def __init__(
        self,
        layers: dict[str, nn.Conv2d | nn.Linear],
        macs: dict[str, int],
        groups: tuple[Group, ...],
        *,
        count_macs: bool,
    ):
        self.groups = groups
        self.units = [group.units for group in groups]
        self.count_macs = count_macs
        self.layers: list[_Layer] = []
        self.touched: list[list[_Layer]] = [[] for _ in groups]
        for name, layer in layers.items():
            self._add(name, layer, macs[name], groups)
        self.all_macs = self.macs([0] * len(groups))
        self.total = self.all_macs if count_macs else self._channels(self.units)

    def macs(self, gone: list[int]) -> float:
        """Multiply-accumulates left; gone: units lost by each group."""
        return sum(layer.macs(gone) for layer in self.layers)

    def gain(self, gone: list[int], group: int, units: int) -> float:
        """What the budget counts that removing `units` more of `group` saves, as a share of the whole."""
        if not self.count_macs:
            return units * self.groups[group].width / self.total
        after = [*gone]
        after[group] += units
        return sum(layer.macs(gone) - layer.macs(after) for layer in self.touched[group]) / self.total

    def reached(self, gone: list[int]) -> float:
        """Removed share of what the budget counts."""
        return 1 - self.macs(gone) / self.total if self.count_macs else self._channels(gone) / self.total

    def _channels(self, units: list[int]) -> float:
        """In so many units of each group."""
        return float(sum(n * group.width for n, group in zip(units, self.groups, strict=True)))

    def _add(self, name: str, layer: nn.Conv2d | nn.Linear, macs: int, groups: tuple[Group, ...]) -> None:
        shape = layer.weight.shape
        found = _Layer(macs / (shape[0] * shape[1]), shape[0], shape[1])
        for i, group in enumerate(groups):
            mine = [m for m in group.members if m.name == name]
            found.out_groups += [(i, len(m.index) // group.units) for m in mine if m.side == "out"]
            found.in_groups += [(i, len(m.index) // group.units) for m in mine if m.side == "in"]
            if mine:
                self.touched[i].append(found)
        self.layers.append(found)


def allocate(budget: Budget, orders: list[Order], amount: float, *, uniform: bool, round_to: int) -> Plan:
    """Takes the cheapest chunk of channels again and again until `amount` of the budget is gone.

    Every group keeps a multiple of `round_to` channels. Cheapest is the least cost for what is saved; with `uniform`,
    the group that has lost the smallest share. Chunks that turn out not to be needed are given back.
    """
    gone, taken = [0] * len(budget.units), []
    for group, units in _steps(budget, orders, gone, uniform=uniform, round_to=round_to):
        taken.append((group, units))
        if budget.reached(gone) >= amount:
            break
    needed: set[int] = set()
    for group, units in reversed(taken):
        if group in needed:
            continue
        gone[group] -= units
        if budget.reached(gone) < amount:
            gone[group] += units
            needed.add(group)
    removed = tuple(order.units[:n] for order, n in zip(orders, gone, strict=True))
    return Plan(removed, budget.reached(gone), budget.macs(gone) / budget.all_macs)


def reachable(budget: Budget, orders: list[Order], *, uniform: bool, round_to: int) -> tuple[float, ...]:
    """The shares of the budget that lie on the way from nothing to everything removed, ascending."""
    gone = [0] * len(budget.units)
    return tuple(budget.reached(gone) for _ in _steps(budget, orders, gone, uniform=uniform, round_to=round_to))


def _steps(
    budget: Budget, orders: list[Order], gone: list[int], *, uniform: bool, round_to: int
) -> Iterator[tuple[int, int]]:
    """(group, units) of each chunk in the order in which they go; `gone` is kept up to date.

    What a chunk saves only falls while others go, so a stale price is too low: it is looked at again in its turn.
    """

    def chunk(group: int) -> int:
        left, multiple = budget.units[group] - gone[group], budget.groups[group].multiple(round_to)
        units = left % multiple or multiple
        return units if left - units >= multiple else 0

    def price(group: int) -> float:
        units = chunk(group)
        if uniform:
            return (gone[group] + units) / budget.units[group]
        cost = float(orders[group].costs[gone[group] : gone[group] + units].sum())
        return cost / max(budget.gain(gone, group, units), 1e-12)

    heap = [(price(group), group) for group in range(len(gone)) if chunk(group)]
    heapq.heapify(heap)
    while heap:
        _, group = heapq.heappop(heap)
        now = price(group)
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, group))
            continue
        units = chunk(group)
        gone[group] += units
        yield group, units
        if chunk(group):
            heapq.heappush(heap, (price(group), group))
