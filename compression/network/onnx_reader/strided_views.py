"""Views by strides, which PyTorch's exporter writes out: numbers of all images in one row, gathered at counted places.

`x.as_strided(...)` becomes Gather(Reshape(x, [-1]), Range(0, images, 1)·stride + places). Read as it stands, the whole
batch would be one axis; it becomes the same gather within each image.
"""

import math
from typing import Any

import numpy as np

from compression.network.onnx_reader.program import Node, Program
from compression.network.onnx_reader.rewriting import constant_, without_unread_

MOST = 1 << 24
"""Places that are counted here."""

DEEPEST = 32
"""Operators between a gather and what its places are counted of."""

COUNTED: dict[str, Any] = {
    "Add": np.add, "Mul": np.multiply, "Cast": lambda value: value,
    "Unsqueeze": lambda value, axes: np.expand_dims(value, tuple(int(axis) for axis in axes)),
    "Reshape": lambda value, shape: value.reshape([int(length) for length in shape]),
}  # fmt: skip
"""Operators of which places are computed."""


def rewrite_views_(program: Program) -> None:
    """Gathers at places that count through the images become gathers within each image, or plain reshapes."""
    makers = {name: node for node in program.nodes for name in node.outputs}
    for at in range(len(program.nodes) - 1, -1, -1):
        node = program.nodes[at]
        rows = _rows(program, makers, node)
        if rows is None:
            continue
        places, stride = rows
        name, flat = node.outputs[0], node.inputs[0]
        shape = constant_(program, f"{name}.shape", np.array([-1, *places.shape], np.int64))
        if np.array_equal(places.reshape(-1), np.arange(stride)):
            program.nodes[at : at + 1] = [Node("Reshape", [flat, shape], [name], dict(node.attributes), node.name)]
            continue
        apart = constant_(program, f"{name}.images", np.array([-1, stride], np.int64))
        kept = constant_(program, f"{name}.places", places)
        attributes = node.attributes | {"axis": 1}
        program.nodes[at : at + 1] = [
            Node("Reshape", [flat, apart], [f"{name}.rows"], dict(node.attributes), node.name),
            Node("Gather", [f"{name}.rows", kept], [name], attributes, node.name),
        ]
    without_unread_(program)


def _rows(program: Program, makers: dict[str, Node], node: Node) -> tuple[np.ndarray, int] | None:
    """The places within an image, and the numbers from one image to the next; None for another kind of node."""
    if node.op != "Gather" or node.domain or node.get("axis", 0) or not _is_flat(program, makers.get(node.input(0))):
        return None
    places = _Counting(program, makers, images=3).value(node.input(1))
    if places is None or places.ndim < 2 or len(places) != 3 or not places.size:
        return None
    first, stride = places[0], int((places[1] - places[0]).reshape(-1)[0])
    follows = all(np.array_equal(places[i], first + i * stride) for i in (1, 2))
    return (first, stride) if follows and first.min() >= 0 and first.max() < stride else None


def _is_flat(program: Program, node: Node | None) -> bool:
    lengths = program.constants.get(node.input(1)) if node is not None and node.op == "Reshape" else None
    return lengths is not None and lengths.tolist() == [-1]


class _Counting:
    """Computes what follows of stored whole numbers and of a Range through the images alone."""

    def __init__(self, program: Program, makers: dict[str, Node], images: int):
        self._program, self._makers, self._images = program, makers, images
        self._found: dict[str, np.ndarray | None] = {}

    def value(self, name: str, depth: int = 0) -> np.ndarray | None:
        """The value `name`; None for one of another kind, or with too many numbers."""
        if name not in self._found:
            self._found[name] = self._value(name, depth)
        return self._found[name]

    def _value(self, name: str, depth: int) -> np.ndarray | None:
        stored = self._program.constants.get(name)
        if stored is not None:
            return stored if stored.dtype.kind in "iu" else None
        node = self._makers.get(name)
        if node is None or node.domain or depth > DEEPEST:
            return None
        if node.op == "Range":
            return np.arange(self._images) if self._is_through_images(node) else None
        call = COUNTED.get(node.op)
        values = [self.value(each, depth + 1) for each in node.inputs] if call else []
        known = [value for value in values if value is not None]
        if call is None or len(known) < len(values):
            return None
        try:
            if node.op in ("Add", "Mul") and math.prod(np.broadcast_shapes(*(each.shape for each in known))) > MOST:
                return None
            return np.asarray(call(*known))
        except (ValueError, TypeError, IndexError):
            return None

    def _is_through_images(self, node: Node) -> bool:
        start, end, step = (self._program.constants.get(node.input(place)) for place in range(3))
        return end is None and start is not None and step is not None and start.tolist() == 0 and step.tolist() == 1
