"""What translations of operators share: the file, the tensor of each node, and how axes and grids are changed."""

from dataclasses import dataclass

import numpy as np
from torch import fx

from compression.export.tflite.file import Grid, TfliteFile
from compression.network.graph import arguments


def moved(rank: int) -> list[int]:
    """Where each axis of a value [n, C…, H, W] stands in the file: [n, H, W, C…]; others stay as they are."""
    return [0, rank - 2, rank - 1, *range(1, rank - 2)] if rank >= 4 else list(range(rank))


def moved_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file."""
    return tuple(shape[axis] for axis in moved(len(shape)))


@dataclass
class Translator:
    """What translations read: the graph, the file, the tensor of each node and every shape as PyTorch has it."""

    graph: fx.GraphModule
    file: TfliteFile
    tensors: dict[fx.Node, int]
    shapes: dict[str, tuple[int, ...]]
    halves: bool = False
    """Whether weights of at most 4 bits take 4 in the file."""

    def source(self, node: fx.Node) -> int:
        """The tensor that an operator reads first."""
        return self.tensors[node.args[0]]  # type: ignore[index]

    def constant(self, code: int, grid: Grid, like: int, name: str) -> int:
        """A stored number, in codes or, where `like` is floats, as such."""
        if self.file.grids[like] is None:
            return self.file.floats(np.array([grid.scale * (code - grid.zero_point)]), name)
        return self.file.number(code, grid, name)

    def on_grid(self, tensor: int, grid: Grid | None) -> int:
        """The same value in the codes of `grid`."""
        if self.file.grids[tensor] == grid or grid is None:
            return tensor
        made = self.file.value(self.file.shapes[tensor], grid, f"value{tensor}")
        return self.file.operator("QUANTIZE", [tensor], [made], "QuantizeOptions")

    def like(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """A new value of a shape in the file, on the grid of `tensor`."""
        return self.file.value(shape, self.file.grids[tensor], name)

    def reshaped(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """The same numbers in another shape."""
        if self.file.shapes[tensor] == shape:
            return tensor
        lengths = self.file.whole([-1, *shape[1:]], f"{name} lengths")
        return self.file.operator("RESHAPE", [tensor, lengths], [self.like(tensor, shape, name)], "ReshapeOptions",
                                  newShape=[-1, *shape[1:]])  # fmt: skip

    def transposed(self, tensor: int, order: list[int], name: str) -> int:
        """The value with its axes in another order."""
        shape = tuple(self.file.shapes[tensor][axis] for axis in order)
        axes = self.file.whole(order, f"{name} order")
        return self.file.operator("TRANSPOSE", [tensor, axes], [self.like(tensor, shape, name)], "TransposeOptions")

    def split(self, node: fx.Node) -> None:
        """Parts of a value along an axis; each 'getitem' of `node` gives one."""
        source, about = self.source(node), arguments(node)
        rank = len(self.file.shapes[source])
        axis = moved(rank).index(about["dim"] % rank)
        parts = -(-self.file.shapes[source][axis] // about["chunks"]) if "chunks" in about else about["split_size"]
        for reader in node.users:
            shape = moved_shape(self.shapes[reader.name])
            at = int(reader.args[1]) * parts if isinstance(parts, int) else sum(parts[: int(reader.args[1])])  # type: ignore[arg-type]
            begin, end = [0] * rank, list(self.file.shapes[source])
            begin[axis], end[axis] = at, at + shape[axis]
            inputs = [self.file.whole(n, f"{reader.name} {i}") for i, n in enumerate((begin, end, [1] * rank))]
            self.tensors[reader] = self.file.operator(
                "STRIDED_SLICE", [source, *inputs], [self.like(source, shape, reader.name)], "StridedSliceOptions",
                beginMask=1, endMask=1,
            )  # fmt: skip
