"""Slots: which numbers of a network's values belong to the same channel, and which channels can only go together.

A value of shape [1, …] has a slot for each of its numbers. Slots are whole numbers; a tensor of them is kept without
the axes along which it does not change (as views of stride 0), so that a map has as many as it has channels. Slots that
belong together are joined by pairs, solved all at once.
"""

from dataclasses import dataclass, field

import torch


def thin(labels: torch.Tensor) -> torch.Tensor:
    """The same slots; an axis along which they do not change has stride 0."""
    for axis, length in enumerate(labels.shape):
        first = labels.narrow(axis, 0, min(1, length))
        if length > 1 and labels.stride(axis) and bool((core(labels) == core(first)).all()):
            labels = first.expand(labels.shape)
    return labels


def core(labels: torch.Tensor) -> torch.Tensor:
    """Slots with length 1 along the axes of stride 0."""
    for axis, length in enumerate(labels.shape):
        if length > 1 and labels.stride(axis) == 0:
            labels = labels.narrow(axis, 0, 1)
    return labels


def varying(labels: torch.Tensor) -> list[int]:
    """The axes of thin slots along which they change."""
    return [axis for axis, length in enumerate(labels.shape) if length > 1 and labels.stride(axis)]


def first_along(labels: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """The slots at place 0 of `axes`, everywhere along these."""
    first = labels
    for axis in axes:
        first = first.narrow(axis, 0, 1)
    return first.expand(labels.shape)


def solved(parents: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """For each slot the least one of those that it is joined with; `parents` [n] from before, pairs left and right."""
    parents = parents.clone()
    while True:
        a, b = parents[left], parents[right]
        apart = a != b
        if not bool(apart.any()):
            return parents
        low, high = torch.minimum(a, b)[apart], torch.maximum(a, b)[apart]
        parents.scatter_reduce_(0, high, low, "amin")
        while not torch.equal(parents, parents[parents]):
            parents = parents[parents]


@dataclass
class Joined:
    """Slots as they are given out, the pairs that belong together, and why some must stay.

    `reasons` has a sentence for each slot that stays; `ties` which operator joined all slots along an axis.
    """

    count: int = 0
    pairs: list[torch.Tensor] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    ties: list[tuple[int, str]] = field(default_factory=list)

    def new(self, *shape: int) -> torch.Tensor:
        """A slot of its own for each number of a value."""
        start, self.count = self.count, self.count + torch.Size(shape).numel()
        return torch.arange(start, self.count).reshape(shape)

    def fixed(self, reason: str) -> torch.Tensor:
        """One slot that must stay: []."""
        self.reasons[self.count] = reason
        return self.new()

    def join(self, a: torch.Tensor, b: torch.Tensor) -> None:
        """Slots that stand at the same place, after broadcasting, belong together."""
        a, b = torch.broadcast_tensors(core(a), core(b))
        both = torch.stack([a.reshape(-1), b.reshape(-1)])
        self.pairs.append(both[:, both[0] != both[1]])

    def tie(self, labels: torch.Tensor, axes: list[int], why: str) -> torch.Tensor:
        """Joins what differs along `axes` only, and returns the slots that stand for it, of the same shape."""
        axes = [axis for axis in axes if axis in varying(labels)]
        if not axes:
            return labels
        first = first_along(labels, axes)
        self.join(labels, first)
        self.ties.append((int(core(first).reshape(-1)[0]), why))
        return first

    def fix(self, labels: torch.Tensor, reason: str) -> torch.Tensor:
        """All of `labels` stay; returns the slot that stands for them, of the same shape."""
        slot = self.fixed(reason)
        self.join(labels, slot)
        return slot.expand(labels.shape)

    def solve(self, parents: torch.Tensor | None = None) -> torch.Tensor:
        """For each slot the least of those that go with it: [count]. Takes up where `parents` was left."""
        parents = torch.arange(self.count) if parents is None else parents
        both = torch.cat(self.pairs, 1) if self.pairs else torch.zeros(2, 0, dtype=torch.long)
        self.pairs.clear()
        return solved(parents, both[0], both[1])


class Slots:
    """A value's slots, thin; `stored` says that it does not depend on the image."""

    def __init__(self, labels: torch.Tensor, *, stored: bool = False):
        self.labels, self.stored = thin(labels), stored

    @property
    def shape(self) -> torch.Size:
        """That of the value for one image."""
        return self.labels.shape
