"""What translations of operators share: the file, the tensor of each node, and how axes and grids are changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx

from compression.errors import Unsupported
from compression.export.tflite.file import Grid, TfliteFile


def moved(rank: int) -> list[int]:
    """Where each axis of a value [n, C…, H, W] stands in the file: [n, H, W, C…]; others stay as they are."""
    return [0, rank - 2, rank - 1, *range(1, rank - 2)] if rank >= 4 else list(range(rank))


def moved_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file."""
    return tuple(shape[axis] for axis in moved(len(shape)))


def back(rank: int) -> list[int]:
    """Where each axis of the file stands in PyTorch's value: the inverse of `moved`."""
    places = moved(rank)
    return [places.index(axis) for axis in range(rank)]


@dataclass
class Translator:
    """What translations read: the graph, the file, the tensor of each node and every shape as PyTorch has it."""

    graph: fx.GraphModule
    file: TfliteFile
    tensors: dict[fx.Node, int]
    shapes: dict[str, tuple[int, ...]]
    halves: bool = False
    """Whether weights of at most 4 bits take 4 in the file."""
    codes: bool = True
    """Whether values lie on grids; else all are floats."""
    _turned: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    _floats: dict[int, int] = field(default_factory=dict)

    def source(self, node: fx.Node) -> int:
        """The tensor that an operator reads first."""
        return self.read(node.args[0])

    def read(self, value: object, rank: int = 0) -> int:
        """The tensor of a computed or stored value, or of a number; with at least `rank` axes, new ones in front."""
        if isinstance(value, fx.Node) and value in self.tensors:
            return self._widened(value, rank)
        if isinstance(value, fx.Node) and value.op == "get_attr":
            return self._stored(stored_in(self.graph, value).numpy(), rank, value.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._stored(np.array(value, np.float32), max(rank, 1), f"number {len(self.file.shapes)}")
        raise Unsupported(f"A .tflite file takes numbers, stored and computed values; {value!r} is none.")

    def _widened(self, node: fx.Node, rank: int) -> int:
        tensor, shape = self.tensors[node], self.shapes[node.name]
        if len(shape) >= rank:
            return tensor
        wide = (1,) * (rank - len(shape)) + shape
        return self.in_file(self.reshaped(self.plain(tensor), wide, f"{node.name} widened"), f"{node.name} moved")

    def _stored(self, values: np.ndarray, rank: int, name: str) -> int:
        """On a grid where values are: of 127 steps to the largest on each side, one number without error."""
        if values.dtype != np.float32:
            raise Unsupported(f"A .tflite file takes stored values in float32; {name!r} is in {values.dtype}.")
        values = values.reshape((1,) * max(0, rank - values.ndim) + values.shape)
        values = values.transpose(moved(values.ndim))
        if not self.codes:
            return self.file.floats(values, name)
        most = float(np.abs(values).max(initial=0.0)) or 1.0
        return self.file.stored(np.round(values / most * 127).astype(np.int8), Grid(most / 127, 0), name)

    def plain(self, tensor: int) -> int:
        """The value with its axes as PyTorch has them."""
        order = back(len(self.file.shapes[tensor]))
        return self.transposed(tensor, order, f"value{tensor} plain")

    def in_file(self, tensor: int, name: str) -> int:
        """A value whose axes are as PyTorch has them, as values lie in the file."""
        return self.transposed(tensor, moved(len(self.file.shapes[tensor])), name)

    def floats(self, tensor: int) -> int:
        """The value in float32."""
        if self.file.grids[tensor] is None:
            return tensor
        if tensor in self._turned:
            source, order = self._turned[tensor]
            return self.transposed(self.floats(source), order, f"value{tensor} turned")
        if tensor not in self._floats:
            made = self.file.value(self.file.shapes[tensor], None, f"value{tensor} floats")
            self._floats[tensor] = self.file.operator("DEQUANTIZE", [tensor], [made], "DequantizeOptions")
        return self._floats[tensor]

    def fill(self, given: int, tensor: int) -> int:
        """A value, which lies as in the file, in the codes of `given`."""
        return tensor if self.file.grids[tensor] == self.file.grids[given] else self.rounded(tensor, given)

    def rounded(self, tensor: int, given: int) -> int:
        """A value of floats or codes, rounded to the codes of `given`: through floats, as in the ONNX file.

        From codes to codes, LiteRT's kernel of XNNPACK is off by one in up to 14% of them.
        """
        if self.file.grids[tensor] is not None and self.file.grids[given] is not None:
            made = self.file.value(self.file.shapes[tensor], None, f"value{tensor} unrounded")
            tensor = self.file.operator("DEQUANTIZE", [tensor], [made], "DequantizeOptions")
        return self.file.operator("QUANTIZE", [tensor], [given], "QuantizeOptions")

    def constant(self, code: int, grid: Grid, like: int, name: str) -> int:
        """A stored number, in codes or, where `like` is floats, as such."""
        if self.file.grids[like] is None:
            return self.file.floats(np.array([grid.scale * (code - grid.zero_point)]), name)
        return self.file.stored(np.array([code], np.int8), grid, name)

    def on_grid(self, tensor: int, grid: Grid | None) -> int:
        """The same value in the codes of `grid`."""
        if self.file.grids[tensor] == grid or grid is None:
            return tensor
        return self.rounded(tensor, self.file.value(self.file.shapes[tensor], grid, f"value{tensor}"))

    def like(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """A new value of a shape in the file, on the grid of `tensor`."""
        return self.file.value(shape, self.file.grids[tensor], name, wide=tensor in self.file.wide)

    def in_16_bits(self, tensor: int) -> int:
        """The same numbers in int16, to the bit: their codes less the zero-point."""
        grid = self.file.grids[tensor]
        assert grid is not None
        made = self.file.value(self.file.shapes[tensor], Grid(grid.scale, 0), f"value{tensor} wide", wide=True)
        return self.file.operator("QUANTIZE", [tensor], [made], "QuantizeOptions")

    def reshaped(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """The same numbers in another shape."""
        if self.file.shapes[tensor] == shape:
            return tensor
        lengths = self.file.whole([-1, *shape[1:]], f"{name} lengths")
        return self.file.operator("RESHAPE", [tensor, lengths], [self.like(tensor, shape, name)], "ReshapeOptions",
                                  newShape=[-1, *shape[1:]])  # fmt: skip

    def transposed(self, tensor: int, order: Sequence[int], name: str) -> int:
        """The value with its axes in another order; two turns become one, or none."""
        if tensor in self._turned:
            tensor, before = self._turned[tensor]
            order = [before[axis] for axis in order]
        if list(order) == list(range(len(order))):
            return tensor
        shape = tuple(self.file.shapes[tensor][axis] for axis in order)
        axes = self.file.whole(order, f"{name} order")
        made = self.file.operator("TRANSPOSE", [tensor, axes], [self.like(tensor, shape, name)], "TransposeOptions")
        self._turned[made] = tensor, tuple(order)
        return made

    def cut(self, tensor: int, axis: int, begin: int, end: int, step: int, name: str) -> int:
        """Places `begin` to `end`, every `step`-th, of an axis of the file."""
        shape = list(self.file.shapes[tensor])
        starts, ends, steps = [0] * len(shape), list(shape), [1] * len(shape)
        starts[axis], ends[axis], steps[axis] = begin, end, step
        shape[axis] = len(range(begin, end, step))
        if tuple(shape) == self.file.shapes[tensor]:
            return tensor
        inputs = [self.file.whole(n, f"{name} {i}") for i, n in enumerate((starts, ends, steps))]
        others = sum(1 << i for i in range(len(shape)) if i != axis)
        return self.file.operator(
            "STRIDED_SLICE", [tensor, *inputs], [self.like(tensor, tuple(shape), name)], "StridedSliceOptions",
            beginMask=others, endMask=others,
        )  # fmt: skip


def stored_in(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """The stored tensor that a node names."""
    owner, _, name = str(node.target).rpartition(".")
    found = getattr(graph.get_submodule(owner), name)
    assert isinstance(found, torch.Tensor)
    return found.detach()


def values_of(module: torch.nn.Module, name: str, length: int) -> np.ndarray:
    """A module's weight or bias as float32; ones or zeros where it has none."""
    found = getattr(module, name)
    return np.full(length, float(name == "weight"), np.float32) if found is None else found.detach().numpy()
