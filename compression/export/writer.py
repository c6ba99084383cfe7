"""A small ONNX file, node by node: short names, no metadata, equal constants and runs of operators stored once."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from compression.export.decoders import DOMAIN, OPSET, calls, function, inner
from compression.export.outline import outline, renamed, short_names
from compression.export.pack import Encoding

IR_VERSION = 10

INPUT, OUTPUT = "image", "scores"


class Writer:
    """Collects nodes and constants; `finish` makes the file, in which nothing is a function unless `outlined`."""

    def __init__(self, *, outlined: bool = True) -> None:
        self.outlined = outlined
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.functions: dict[str, FunctionProto] = {}
        self._stored: dict[tuple[Any, ...], str] = {}
        self._names = short_names()

    def constant(self, array: np.ndarray, *, shared: bool = False) -> str:
        """The name of a stored tensor equal to `array`.

        One that is `shared` by equal runs of operators is a node of its own where those become functions.
        """
        if shared and self.outlined:
            return self.node("Constant", [], value=numpy_helper.from_array(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._stored:
            name = next(self._names)
            self._stored[key] = name
            self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return self._stored[key]

    def node(self, operator: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns its output's name (a list of names where there are several outputs)."""
        names = [next(self._names) for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def call(self, name: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a call of a decoder, and the function itself the first time."""
        for each in (name, *inner(name)):
            self.functions.setdefault(each, function(each))
        return self.node(name, inputs, domain=DOMAIN, **attributes)

    def decoded(self, encoding: Encoding, tensors: list[str]) -> str:
        """Adds what decodes the stored `tensors` of an encoding; returns the name of the weights."""
        steps, tensors = calls(encoding), list(tensors)
        for name, read in steps:
            if read is not None:
                tensors[read] = self.call(name, [tensors[read]])
        if not steps:
            half = encoding.bits == 16
            return self.node("Cast", tensors, to=TensorProto.FLOAT) if half else tensors[0]
        join, *lookup = [name for name, read in steps if read is None]
        books = [tensors.pop()] if lookup else []
        inputs = tensors[::-1]
        if encoding.join == "delta":
            inputs.append(self.constant(np.array(2**encoding.distance_bits - 1, np.int32), shared=True))
        joined = self.call(join, inputs, s=list(encoding.shape))
        return self.call(lookup[0], [joined, *books]) if lookup else joined

    def finish(self, shape: tuple[int, int, int], scores: str, classes: int) -> tuple[bytes, dict[str, str]]:
        """The file, and the names that stored tensors have in it by the name that `constant` gave.

        Input 'image' ['n', C, H, W] float32, output 'scores' ['n', classes] float32, named `scores` so far.
        """
        nodes, functions = (
            outline(self.nodes, self.functions, scores) if self.outlined else (self.nodes, self.functions)
        )
        names = _by_frequency(nodes, {INPUT: INPUT, scores: OUTPUT})
        for name, tensor in self.initializers.items():
            tensor.name = names[name]
        graph = helper.make_graph(
            [renamed(node, names) for node in nodes],
            "g",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", classes])],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if functions:
            opsets.append(helper.make_opsetid(DOMAIN, 1))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, functions=list(functions.values())
        )
        del graph  # of a large network each copy counts
        file = model.SerializeToString(deterministic=True)
        del model
        onnx.checker.check_model(file)
        return file, names


def _by_frequency(nodes: list[NodeProto], fixed: dict[str, str]) -> dict[str, str]:
    """Short names for all values but the fixed ones, the shortest for those that stand most often."""
    counts = Counter(name for node in nodes for name in (*node.input, *node.output) if name and name not in fixed)
    return dict(zip((name for name, _ in counts.most_common()), short_names(), strict=False)) | fixed
