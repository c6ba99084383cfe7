"""What one operator's translation to ONNX needs to know."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import fx

from compression.errors import Unsupported
from compression.export.writer import Writer
from compression.graph import operator_name

Shape = tuple[int, ...]


class Context:
    """What a translation needs to know of its node: names of its inputs and shapes (batch size 1)."""

    def __init__(self, writer: Writer, names: dict[fx.Node, Any], shapes: dict[str, Shape]):
        self.writer, self.names, self.shapes = writer, names, shapes

    def value(self, argument: Any) -> str:
        """The ONNX name of a node's value, or of a number stored as a constant."""
        if isinstance(argument, fx.Node):
            return self.names[argument]
        return self.writer.constant(np.array(argument, np.float32))

    def shape(self, node: fx.Node) -> Shape:
        """Shape of a node's value for one image."""
        return self.shapes[node.name]

    def whole(self, numbers: Sequence[int] | int) -> str:
        """The ONNX name of whole numbers: lengths, axes, places."""
        return self.writer.constant(np.array(numbers, np.int64))

    def axes(self, node: fx.Node, dims: Any) -> list[int]:
        """Axes `dims` of what `node` reads, counted from the front. Raises `Unsupported` where it would mix images."""
        rank = len(self.shape(node.all_input_nodes[0]))
        found = [d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))]
        if 0 in found:
            raise Unsupported(f"The network computes {operator_name(node)!r} over all images of a batch.")
        return found


Translation = Callable[[Context, fx.Node, dict[str, Any]], Any]
