"""Which kernels a `.tflite` file needs, read from its tables within bounds. No torch in here."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from compression.errors import InvalidFile

MOST_OPERATORS = 20_000
NAMES = {
    number: name for name, number in vars(schema.BuiltinOperator).items()
    if not name.startswith("_") and isinstance(number, int)
}  # fmt: skip


def check_magic(content: bytes) -> None:
    """Raises `InvalidFile` for what does not say of itself that it is a `.tflite` file."""
    if content[4:8] != b"TFL3":
        raise InvalidFile("The file is no .tflite file: bytes 5 to 8 are not 'TFL3'.")


def kernels(content: bytes) -> dict[str, int]:
    """How many operators of each of TFLite's names the first graph has, in the order of their first use.

    Raises `InvalidFile` for files that are no tables, or have too many operators.
    """
    check_magic(content)
    model = schema.Model.GetRootAs(content, 0)
    if not model.SubgraphsLength() or not model.OperatorCodesLength():
        raise InvalidFile("The .tflite file has no operators.")
    graph, found = model.Subgraphs(0), dict[str, int]()
    if not 0 < graph.OperatorsLength() <= MOST_OPERATORS or model.OperatorCodesLength() > MOST_OPERATORS:
        raise InvalidFile(
            f"The .tflite file has {graph.OperatorsLength():,} operators; 1 to {MOST_OPERATORS:,} are read."
        )
    for i in range(graph.OperatorsLength()):
        name = _name(model, graph.Operators(i).OpcodeIndex())
        found[name] = found.get(name, 0) + 1
    return found


def largest_filter(content: bytes) -> int:
    """How many inputs a filter of the largest convolution multiplies at once, in a file of our own; 0 without any."""
    model = schema.Model.GetRootAs(content, 0)
    graph, most = model.Subgraphs(0), 0
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        if "CONV_2D" in _name(model, operator.OpcodeIndex()):
            shape = graph.Tensors(operator.Inputs(1)).ShapeAsNumpy()
            most = max(most, int(np.prod(shape[1:])))
    return most


def _name(model: schema.Model, index: int) -> str:
    if index >= model.OperatorCodesLength():
        raise InvalidFile(f"The .tflite file has an operator of kind {index}, and tells of no such kind.")
    code = model.OperatorCodes(index)
    return NAMES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
