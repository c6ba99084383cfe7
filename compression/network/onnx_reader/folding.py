"""What depends on stored tensors alone, computed once by ONNX Runtime: decoded weights, cast constants."""

import numpy as np
import onnx
from onnx import helper

from compression.errors import InvalidFile
from compression.host.onnx_runtime import REFUSALS, reason, session
from compression.network.onnx_reader.program import array_of, as_float32, read_by

DRAWS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


def folded(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Values that nodes compute of stored tensors alone and that other nodes read, by name.

    Raises `InvalidFile` where ONNX Runtime does not compute them.
    """
    fed = {each.name for each in model.graph.input}
    known = {each.name for each in model.graph.initializer} - fed
    constant: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if all(name in known for name in node.input if name) and _is_plain(node):
            constant.append(node)
            known |= {name for name in node.output if name}
    plain = {node.output[0]: array_of(attribute.t) for node in constant for attribute in node.attribute
             if node.op_type == "Constant" and attribute.name == "value"}  # fmt: skip
    inside = {id(node) for node in constant}
    made = {name for node in constant for name in node.output if name} - plain.keys()
    read = {name for node in model.graph.node if id(node) not in inside for name in read_by(node)}
    wanted = sorted(made & (read | {each.name for each in model.graph.output}))
    return plain | (_computed(model, constant, wanted) if wanted else {})


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether a node gives the same each time and has no branches, which may read what is around them."""
    return node.op_type not in DRAWS and not any(each.HasField("g") or each.graphs for each in node.attribute)


def _computed(model: onnx.ModelProto, nodes: list[onnx.NodeProto], wanted: list[str]) -> dict[str, np.ndarray]:
    needed = set(wanted)
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    stored = [each for each in model.graph.initializer if each.name in needed]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    graph = helper.make_graph(kept[::-1], "constants", [], outputs, stored)
    part = helper.make_model(graph, opset_imports=list(model.opset_import), functions=list(model.functions))
    part.ir_version = model.ir_version
    try:
        values = session(part.SerializeToString()).run(wanted, {})
    except REFUSALS as error:
        raise InvalidFile(f"What the file stores cannot be computed: {reason(error)}.") from None
    if not all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in values):
        raise InvalidFile("The file computes something else than tensors of numbers from what it stores.")
    return {name: as_float32(value) for name, value in zip(wanted, values, strict=True)}
