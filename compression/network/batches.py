"""A graph on many images: in batches, node by node where somebody changes it on the way, in bounded memory.

Values of large images do not fit into memory for all images at once: 512 images of 240×240 take 3 GB behind the first
expansion of an EfficientNet-Lite1. But a layer there sees so many places of each image that some of the images are
enough for it, and behind it maps become smaller. So `Batches` begins with as many images as fit, and takes in the
others where they do (`Plan`): they run through what is there of the network by then, once, batch by batch. Nothing is
computed twice, and none of it touches a disk.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from compression.host.advance import advanced
from compression.host.interruption import look
from compression.network.graph import Shapes

BATCH = 128
"""Images at once: larger feature maps leave the memory that is kept for reuse, and cost four times as much."""

BATCH_VALUES = 1 << 20
"""Pixel values at once: of large images there are fewer in a batch, 4 of 224×224, which takes 0.8 of 16's time."""

BUDGET = 640 << 20
"""Bytes that the values of one graph may take, for all of its batches together."""

SMALL = 16 << 20
"""Bytes of images whose values fit in any case: in the networks known they take up to 60 times as many."""


@dataclass(frozen=True)
class Plan:
    """`batch` images at once. Before the i-th node runs, the first `batches[i]` batches have been taken in."""

    batch: int
    batches: tuple[int, ...]

    def beside(self, other: "Plan") -> "Plan":
        """For two graphs with as many nodes each, run side by side on the same batches."""
        return Plan(self.batch, tuple(map(min, self.batches, other.batches)))


def batch_of(images: torch.Tensor) -> int:
    """How many of images [n, C, H, W] are computed at once."""
    most = BATCH_VALUES // max(1, images[0].numel())
    return BATCH if most >= BATCH else 1 << max(0, most.bit_length() - 1)


def are_large(images: torch.Tensor) -> bool:
    """Whether fewer of images [n, C, H, W] are computed at once than of small ones."""
    return batch_of(images) < BATCH


def parts(images: torch.Tensor) -> list[torch.Tensor]:
    """Images [n, C, H, W] in batches."""
    return list(images.split(batch_of(images)))


def plan(graph: fx.GraphModule, images: torch.Tensor, *, graphs: int = 1) -> Plan:
    """How many batches of images [n, C, H, W] fit, at a node and all after it; `graphs` of them share `BUDGET`."""
    batch, nodes = batch_of(images), called(graph)
    count = math.ceil(len(images) / batch)
    if images.nbytes <= SMALL:
        return Plan(batch, (count,) * len(nodes))
    needed, most, fitting = _live_bytes(graph, images), count, list[int]()
    for node in reversed(nodes):
        most = min(most, max(1, BUDGET // graphs // (needed[node] * batch)))
        fitting.append(most)
    return Plan(batch, tuple(reversed(fitting)))


def called(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes that compute something, in order."""
    return [n for n in graph.graph.nodes if n.op not in ("placeholder", "output")]


@torch.inference_mode()
def _live_bytes(graph: fx.GraphModule, images: torch.Tensor) -> dict[fx.Node, int]:
    """For each node, the bytes that all values take which are there when it has run, for one image."""
    run = Shapes(graph)
    run.run(images.new_zeros(1, *images.shape[1:]))
    sizes = {n: math.prod(run.shapes[n.name]) * run.dtypes[n.name].itemsize for n in graph.graph.nodes
             if n.name in run.shapes and n.op != "get_attr"}  # fmt: skip
    found, now = dict[fx.Node, int](), 0
    for node in graph.graph.nodes:
        now += sizes.get(node, 0)
        found[node] = max(1, now)
        now -= sum(sizes.get(done, 0) for done in run.user_to_last_uses.get(node, []))
    return found


class Batches:
    """A graph run node by node, each node on the batches that fit; what is read no more is freed.

    Without a plan, on all batches of images [n, C, H, W] that `plan` finds room for.
    """

    def __init__(self, graph: fx.GraphModule, images: torch.Tensor, by: Plan | None = None):
        self._graph, self._plan, self.nodes = graph, by or plan(graph, images), called(graph)
        self._images, self._runs, self._done = images.split(self._plan.batch), list[fx.Interpreter](), 0

    def read(self, node: fx.Node) -> list[torch.Tensor]:
        """What `node` reads first, batch by batch; to be asked before it runs."""
        self._take_in()
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return [run.env[source] for run in self._runs]

    def known(self, node: fx.Node | None) -> list[torch.Tensor] | None:
        """The value of `node` on the batches that the next node runs on, where it has run and is still read."""
        self._take_in()
        found = [run.env[node] for run in self._runs if node in run.env]
        return found or None

    def run(self, node: fx.Node) -> list[Any]:
        """Runs `node`, which must be the next of `nodes`; its value, batch by batch."""
        assert node is self.nodes[self._done]
        self._take_in()
        values = []
        for run in self._runs:
            look()
            values.append(run.run_node(node))
            run.env[node] = values[-1]
            _forget_(run, node)
        self._done += 1
        advanced(self._done / len(self.nodes))
        return values

    def _take_in(self) -> None:
        """Takes in the batches for which there is room from the next node on."""
        for part in self._images[len(self._runs) : self._plan.batches[self._done]]:
            look()
            run = fx.Interpreter(self._graph)
            first = next(n for n in self._graph.graph.nodes if n.op == "placeholder")
            run.env[first] = part.to(memory_format=torch.channels_last)
            for node in self.nodes[: self._done]:
                run.env[node] = run.run_node(node)
                _forget_(run, node)
            self._runs.append(run)


def _forget_(run: fx.Interpreter, node: fx.Node) -> None:
    for done in run.user_to_last_uses.get(node, []):
        run.env.pop(done, None)


class Watched(fx.Interpreter):
    """Runs a graph and shows each value to `see`, by the node's name."""

    def __init__(self, graph: fx.GraphModule, see: Callable[[str, Any], None]):
        super().__init__(graph)
        self._see = see

    def run_node(self, n: fx.Node) -> Any:
        """What the node computes; `see` is told."""
        value = super().run_node(n)
        self._see(n.name, value)
        return value
