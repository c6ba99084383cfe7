"""An ONNX file as plain data: nodes in order, stored tensors as arrays, functions written out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, numpy_helper

from compression.errors import InvalidFile, InvalidModel, shown

NEWEST = onnx.defs.onnx_opset_version()
OLDEST = 7
STANDARD = ("", "ai.onnx")

LOST = (
    "TensorFlow's exporter loses numbers that layers keep outside their weights: save the network by"
    ' model.export("folder"), and convert that by python -m tf2onnx.convert --saved-model folder --output file.onnx.'
)

FLOATS = {
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16,
}  # fmt: skip


@dataclass
class Node:
    """One operator. Inputs and outputs are names of values; '' stands for one that is left out."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the node has none."""
        return self.attributes.get(name, default)

    def input(self, place: int) -> str:
        """The name of an input; '' where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    @property
    def said(self) -> str:
        """The node as sentences name it."""
        called = self.name or (self.outputs[0] if self.outputs else "")
        domain = f" of {self.domain}" if self.domain else ""
        return f"{self.op}{domain} (node {shown(called)})"


@dataclass
class Body:
    """Nodes of a branch, and the values that it answers with."""

    nodes: list[Node]
    outputs: list[str]


@dataclass
class Program:
    """A file's graph: `image` is the name of its input, `sizes` what the file says of it (None where it is free)."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    image: str
    sizes: tuple[int | None, ...]
    outputs: list[str]
    opset: int
    notes: list[str] = field(default_factory=list)

    def bodies(self) -> Iterator[list[Node]]:
        """All lists of nodes, those of branches too."""
        waiting = [self.nodes]
        while waiting:
            nodes = waiting.pop()
            yield nodes
            waiting += [v.nodes for node in nodes for v in node.attributes.values() if isinstance(v, Body)]

    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each value."""
        found: dict[str, list[Node]] = {}
        for node in (node for nodes in self.bodies() for node in nodes):
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found

    def answers(self) -> set[str]:
        """Names of values that the network or a branch gives back."""
        return {name for nodes in self.bodies() for node in nodes for v in node.attributes.values()
                if isinstance(v, Body) for name in v.outputs} | set(self.outputs)  # fmt: skip


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators. Raises `InvalidFile` for one that is too old or too new."""
    versions = [each.version for each in model.opset_import if each.domain in STANDARD]
    version = versions[0] if versions else 1
    if not OLDEST <= version <= NEWEST:
        raise InvalidFile(
            f"The file is of ONNX's opset {version}; {OLDEST} to {NEWEST} are read. Convert it by"
            " onnx.version_converter.convert_version(model, 17)."
        )
    return version


def read_program(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> Program:
    """The graph of `model`, in which no function is called any more. constants: what was computed of it already.

    Raises `InvalidFile` for tensors that are malformed, and `InvalidModel` where it does not take one image input.
    """
    graph = model.graph
    constants = stored_arrays(graph.initializer) | constants
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) > 1:  # TensorFlow's exporter leaves inputs for numbers that it has stored: nothing reads those
        read = {name for node in graph.node for name in read_by(node)}
        inputs = [each for each in inputs if each.name in read]
    if len(inputs) != 1:
        names = ", ".join(shown(each.name) for each in inputs[:8]) or "none"
        way = f" {LOST}" if len(inputs) > 1 and model.producer_name == "tf2onnx" else ""
        raise InvalidModel(f"The network must take one input, the images, not {len(inputs)} ({names}).{way}")
    image = inputs[0]
    if image.type.WhichOneof("value") != "tensor_type":
        raise InvalidModel(f"The network's input {shown(image.name)} is not a tensor; images are needed.")
    sizes = tuple(
        each.dim_value if each.HasField("dim_value") and each.dim_value > 0 else None
        for each in image.type.tensor_type.shape.dim
    )
    opset = opset_of(model)
    nodes = _nodes(graph.node, constants, opset)
    return Program(nodes, constants, image.name, sizes, [each.name for each in graph.output], opset)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, in its branches too."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        yield from each.input
        for attribute in each.attribute:
            if attribute.HasField("g"):
                waiting += attribute.g.node
                yield from (output.name for output in attribute.g.output)


def stored_arrays(tensors: Iterable[onnx.TensorProto]) -> dict[str, np.ndarray]:
    """Stored tensors by their names."""
    return {tensor.name: array_of(tensor) for tensor in tensors}


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """A stored tensor; floats of every width as float32. Raises `InvalidFile` for one that is malformed."""
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InvalidFile(f"The file's tensor {shown(tensor.name)} is malformed: {reason[:150]}.") from None
    return as_float32(array, tensor.data_type)


def as_float32(array: np.ndarray, kind: int | None = None) -> np.ndarray:
    """Floats of every width in 32 bits; other types as they are."""
    floats = kind in FLOATS or array.dtype.kind == "f"
    return array.astype(np.float32, copy=False) if floats else array


def _nodes(protos: Iterable[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int) -> list[Node]:
    found = []
    for proto in protos:
        if all(name in constants for name in proto.output if name):
            continue  # computed already
        domain = "" if proto.domain in STANDARD else proto.domain
        attributes = {each.name: _attribute(each, constants, opset) for each in proto.attribute} | {"opset": opset}
        found.append(Node(proto.op_type, list(proto.input), list(proto.output), attributes, proto.name, domain))
    return found


def _attribute(attribute: AttributeProto, constants: dict[str, np.ndarray], opset: int) -> Any:
    """A number, text, array, list of these, or the `Body` of a branch."""
    kind = attribute.type
    if kind == AttributeProto.TENSOR:
        return array_of(attribute.t)
    if kind == AttributeProto.GRAPH:
        constants |= stored_arrays(attribute.g.initializer)
        return Body(_nodes(attribute.g.node, constants, opset), [each.name for each in attribute.g.output])
    if kind == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == AttributeProto.STRINGS:
        return [each.decode("utf-8", "replace") for each in attribute.strings]
    if kind in (AttributeProto.FLOAT, AttributeProto.INT):
        return attribute.f if kind == AttributeProto.FLOAT else attribute.i
    if kind in (AttributeProto.FLOATS, AttributeProto.INTS):
        return list(attribute.floats if kind == AttributeProto.FLOATS else attribute.ints)
    return None  # nothing that an operator of a classifier has


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the functions that it defines written out at their calls."""
    if not model.functions:
        return model
    try:
        from onnx import inliner

        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, DecodeError, EncodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InvalidFile(f"The file's functions cannot be written out: {reason[:150]}.") from None
