"""A small ONNX file, node by node: short names, no metadata, equal constants stored once."""

import itertools
import string
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from compression.export.pack import DOMAIN, OPSET

IR_VERSION = 10

INPUT, OUTPUT = "image", "scores"


class Writer:
    """Collects nodes and constants; `finish` makes the file."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.functions: dict[str, FunctionProto] = {}
        self._stored: dict[tuple[Any, ...], str] = {}
        self._names = _short_names()

    def constant(self, array: np.ndarray) -> str:
        """The name of a stored tensor equal to `array`."""
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

    def call(self, function: FunctionProto, inputs: list[str], **attributes: Any) -> str:
        """Adds a call of a model-local function, and the function itself the first time."""
        self.functions.setdefault(function.name, function)
        return self.node(function.name, inputs, domain=DOMAIN, **attributes)

    def finish(self, shape: tuple[int, int, int], scores: str, classes: int) -> bytes:
        """The file: input 'image' ['n', C, H, W] float32, output 'scores' ['n', classes] float32, named `scores` so far."""
        last = next(node for node in self.nodes if scores in node.output)
        last.output[list(last.output).index(scores)] = OUTPUT
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", classes])],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if self.functions:
            opsets.append(helper.make_opsetid(DOMAIN, 1))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, functions=list(self.functions.values())
        )
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)


def _short_names() -> Any:
    """'a', 'b', …, 'aa', …"""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_letters, repeat=length):
            yield "".join(letters)
