"""How channels pass through each operator of a canonical graph.

The graph is run on slots in place of numbers. Operators that put values elsewhere do the same to slots; the others say
here how the channels of what they read and give correspond. What has no rule keeps its channels, and says so.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from compression.network.graph import operator_name
from compression.techniques.channels.operator_rules import RULES, elementwise, tensors
from compression.techniques.channels.slots import Joined, Slots

THROUGH = (nn.BatchNorm2d, nn.GroupNorm, nn.PReLU)
"""Modules that pass channels on and have numbers for each."""


def is_depthwise(module: nn.Module) -> bool:
    """A convolution that has one filter for each channel."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def block_of(module: nn.Module, side: str) -> int:
    """How many channels of one side a module takes together: those of a group; 1 where it keeps them apart."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels // module.num_groups
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return (module.in_channels if side == "in" else module.out_channels) // module.groups
    return 1


class Follower(fx.Interpreter):
    """Runs a graph on slots.

    values: the slots of each node. members: (module, side) → slots of its channels. shared: nodes that add or
    concatenate what was computed. kept_axes: node → axes of its value of which no part can go. sums: nodes that sum
    over channels.
    """

    def __init__(self, graph: fx.GraphModule, shapes: dict[str, tuple[int, ...]]):
        super().__init__(graph)
        self.shapes, self.joined = shapes, Joined()
        self.values: dict[fx.Node, torch.Tensor] = {}
        self.members: dict[tuple[str, str], torch.Tensor] = {}
        self.shared: set[fx.Node] = set()
        self.kept_axes: dict[fx.Node, set[int]] = {}
        self.sums: set[fx.Node] = set()
        self.stored: dict[str, Slots] = {}
        self.calls = Counter(n.target for n in graph.graph.nodes if n.op == "call_module")

    @torch.no_grad()
    def follow(self) -> None:
        """Fills everything, for one image."""
        self.run(None)

    def submodule(self, path: str) -> nn.Module:
        """The module at a path of the graph."""
        return self.module.get_submodule(path)

    def run_node(self, n: fx.Node) -> Any:
        """What the node gives: slots where values depend on the image or are stored, else the value itself."""
        value = self._value(n)
        if isinstance(value, Slots):
            self.values[n] = value.labels
        return value

    def _value(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            return Slots(self.joined.fixed("They are the image's.").expand(self.shapes[n.name]))
        if n.op == "get_attr":
            return self._stored(str(n.target))
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        reads = [self.env[m] for m in n.all_input_nodes if _has_slots(self.env[m])]
        if n.op == "output":
            for read in reads:
                self.joined.fix(read.labels, "They are the network's answers.")
            return None
        if n.op == "call_module":
            return self._module(n, reads[0])
        if not reads or "sym_size" in str(n.target):
            return n.target(*(tensors(args)), **tensors(kwargs))  # type: ignore[operator]
        name = operator_name(n)
        rule = RULES.get(name)
        if rule is None and torch.Tag.pointwise in getattr(n.target, "tags", ()):
            rule = elementwise
        return rule(self, n, reads) if rule is not None else self.unknown(n, reads)

    def _stored(self, path: str) -> Any:
        value = self.fetch_attr(path)
        if not value.is_floating_point():
            return value
        if path not in self.stored:
            self.stored[path] = Slots(self.joined.new(*value.shape), stored=True)
        return self.stored[path]

    def spread(self, n: fx.Node, like: torch.Tensor, axis: int = 1) -> Slots:
        """Slots of `n`'s value: those of the channels of `like`, along `axis`, wherever else."""
        channels = like.movedim(axis, 0).flatten(1)[:, 0]
        shape = self.shapes[n.name]
        return Slots(channels.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))]).expand(shape))

    def unknown(self, n: fx.Node, reads: list[Any]) -> Any:
        """What no rule follows keeps its channels."""
        reason = f"The operator {operator_name(n)!r} is not followed."
        for part in (part for read in reads for part in (read if isinstance(read, list | tuple) else [read])):
            if isinstance(part, Slots):
                self.joined.fix(part.labels, reason)
        if n.name in self.shapes:
            return Slots(self.joined.fixed(reason).expand(self.shapes[n.name]))
        picked: dict[Any, Any] = {u.args[1]: self.shapes[u.name] for u in n.users if u.name in self.shapes}
        found = {i: Slots(self.joined.fixed(reason).expand(shape)) for i, shape in picked.items()}
        return [found.get(i) for i in range(1 + max(picked, default=-1))]

    def keep_axes(self, n: fx.Node, axes: Sequence[int], rank: int) -> None:
        """Nothing of these axes of `n`'s value can go."""
        self.kept_axes.setdefault(n, set()).update(axis % rank for axis in axes)

    def _module(self, n: fx.Node, read: Slots) -> Slots:
        path = str(n.target)
        module = self.module.get_submodule(path)
        if self.calls[n.target] > 1:
            return self._fixed_module(n, read, f"The layer {path!r} is called several times.")
        if isinstance(module, nn.Conv2d):
            return self._convolution(n, module, read)
        if isinstance(module, nn.Linear):
            rank = len(read.shape)
            self.members[path, "in"] = self.channels(read, rank - 1, f"layer {path!r}")
            made = self.joined.new(module.out_features)
            self.members[path, "out"] = made
            return Slots(made.expand(self.shapes[n.name]))
        if isinstance(module, nn.LayerNorm):
            axes = list(range(len(read.shape) - len(module.normalized_shape), len(read.shape)))
            return Slots(
                self.joined.tie(read.labels, axes, f"The layer norm {path!r} takes its mean over all of them.")
            )
        if isinstance(module, THROUGH):
            return self._through(n, module, read)
        if isinstance(module, nn.Dropout):
            return read
        return self._fixed_module(n, read, f"The layer {path!r}, a {type(module).__name__}, is not followed.")

    def _fixed_module(self, n: fx.Node, read: Slots, reason: str) -> Slots:
        self.joined.fix(read.labels, reason)
        return Slots(self.joined.fixed(reason).expand(self.shapes[n.name]))

    def channels(self, read: Slots, axis: int, name: str) -> torch.Tensor:
        """The slots of the channels that lie along `axis`: [channels]."""
        others = [i for i in range(len(read.shape)) if i != axis]
        tied = self.joined.tie(read.labels, others, f"The {name} reads them as one channel.")
        return tied.movedim(axis, 0).reshape(tied.shape[axis], -1)[:, 0]

    def _convolution(self, n: fx.Node, conv: nn.Conv2d, read: Slots) -> Slots:
        path = str(n.target)
        reads = self.channels(read, 1, f"layer {path!r}")
        if is_depthwise(conv):
            self.members[path, "out"] = reads
            return self.spread(n, reads[None])
        made = self.joined.new(conv.out_channels)
        self.members[path, "out"] = made
        if conv.groups == 1:
            self.members[path, "in"] = reads
        else:
            blocks = torch.cat([reads.reshape(conv.groups, -1), made.reshape(conv.groups, -1)], 1)
            self.joined.tie(blocks, [1], f"The layer {path!r} takes channels in groups.")
        return self.spread(n, made[None])

    def _through(self, n: fx.Node, module: nn.Module, read: Slots) -> Slots:
        path = str(n.target)
        channels = self.channels(read, 1, f"layer {path!r}")
        if isinstance(module, nn.GroupNorm):
            blocks = channels.reshape(module.num_groups, -1)
            self.joined.tie(blocks, [1], f"The group norm {path!r} takes its mean over them.")
        if not (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            self.members[path, "out"] = channels
        return self.spread(n, channels[None])


def _has_slots(value: Any) -> bool:
    return isinstance(value, Slots) or (isinstance(value, list | tuple) and any(isinstance(v, Slots) for v in value))
