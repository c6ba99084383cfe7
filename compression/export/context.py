"""The input of one operator's translation to ONNX: names, shapes and types of values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import fx

from compression.errors import Unsupported
from compression.export.writer import Writer
from compression.network.graph import Value, operator_name

Shape = tuple[int, ...]

TYPES = {
    torch.float32: TensorProto.FLOAT, torch.bool: TensorProto.BOOL, torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
}  # fmt: skip
"""Types of numbers that a file computes with."""

NUMPY = {torch.float32: np.float32, torch.bool: np.bool_, torch.int32: np.int32, torch.int64: np.int64}


class Context:
    """What a translation needs to know of its node: names of its inputs, shapes (batch size 1), types."""

    def __init__(self, writer: Writer, names: dict[fx.Node, Any], values: dict[str, Value]):
        self.writer, self.names, self.values = writer, names, values

    def value(self, argument: Any, dtype: torch.dtype = torch.float32) -> str:
        """The ONNX name of a node's value, or of a number of type `dtype` stored as a constant."""
        if isinstance(argument, fx.Node):
            return self.names[argument]
        return self.writer.constant(np.array(argument, NUMPY[dtype]))

    def cast(self, argument: Any, dtype: torch.dtype) -> str:
        """The ONNX name of a node's value or of a number, as numbers of type `dtype`."""
        if not isinstance(argument, fx.Node) or self.dtype(argument) == dtype:
            return self.value(argument, dtype)
        return self.writer.node("Cast", [self.value(argument)], to=TYPES[dtype])

    def shape(self, node: fx.Node) -> Shape:
        """Shape of a node's value for one image."""
        return self.values[node.name].shape

    def dtype(self, node: fx.Node) -> torch.dtype:
        """What kind of numbers a node's value is made of."""
        return self.values[node.name].dtype

    def common(self, *arguments: Any) -> torch.dtype:
        """The type in which PyTorch compares or joins values and numbers."""
        examples = [
            torch.empty([1] * min(len(self.shape(a)), 1), dtype=self.dtype(a)) if isinstance(a, fx.Node) else a
            for a in arguments
        ]
        return torch.result_type(*examples)

    def whole(self, numbers: Sequence[int] | int) -> str:
        """The ONNX name of whole numbers: lengths, axes, places."""
        return self.writer.constant(np.array(numbers, np.int64))

    def axes(self, node: fx.Node, dims: Any) -> list[int]:
        """Axes `dims` of what `node` reads, counted from the front. Raises `Unsupported` where it would mix images."""
        read = next(n for n in node.all_input_nodes if n.name in self.values)
        rank = len(self.shape(read))
        asked = [dims] if isinstance(dims, int) else dims
        found = [d % rank if rank else 0 for d in (asked if asked not in (None, []) else range(rank))]
        if self.values[read.name].counted.intersection(found):
            raise Unsupported(f"The network computes {operator_name(node)!r} over all images of a batch.")
        return found

    def axis(self, node: fx.Node, dim: int) -> int:
        """The one axis `dim` of what `node` reads, counted from the front; raises as `axes` does."""
        return self.axes(node, dim)[0]

    def reshaped(self, value: str, node: fx.Node) -> str:
        """`value` in the shape of `node`'s value, for any number of images."""
        found = self.values[node.name]
        return self.writer.node(
            "Reshape", [value, self.whole([-1 if i in found.counted else n for i, n in enumerate(found.shape)])]
        )

    def refusal(self, node: fx.Node, what: str) -> Unsupported:
        """An error that says which operator is not written, and `what` it was asked for."""
        return Unsupported(f"The operator {operator_name(node)!r} {what} has no ONNX translation here yet.")


Translation = Callable[[Context, fx.Node, dict[str, Any]], Any]
