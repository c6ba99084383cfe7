"""A `.tflite` file as it is written: a table of operators, tensors and buffers in a FlatBuffer.

The schema is the one that LiteRT carries (`ai_edge_litert/schema_py_generated.py`, version 3).
"""

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

VERSION = 3
IDENTIFIER = b"TFL3"
VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "PAD": 2, "ADD": 2, "MAX_POOL_2D": 2,
            "AVERAGE_POOL_2D": 2, "MEAN": 2, "CONCATENATION": 2, "TRANSPOSE": 2, "STRIDED_SLICE": 2, "RELU": 2,
            "RELU6": 2, "RESHAPE": 1, "QUANTIZE": 1, "MUL": 2, "LOGISTIC": 2, "TANH": 2, "SOFTMAX": 2, "LEAKY_RELU": 2,
            "HARD_SWISH": 1, "PADV2": 2}  # fmt: skip
"""The least version of each kernel that takes int8, by `tflite/tools/versioning/op_version.cc`."""
IN_4_BITS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
"""The same with weights of 4 bits."""
TYPES = {
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
    "int4": schema.TensorType.INT4,
}


class Grid(NamedTuple):
    """A value is scale · (code - zero_point), codes in int8."""

    scale: float
    zero_point: int


class TfliteFile:
    """Tensors and operators in the order in which they run."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.grids: list[Grid | None] = []
        self._buffers = [schema.BufferT()]  # the first is that of all values without content
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def value(self, shape: tuple[int, ...], grid: Grid | None, name: str) -> int:
        """The number of a new value that an operator gives: int8 on a grid, or float32."""
        if grid is None:
            return self._tensor(shape, "float32", 0, name)
        return self._tensor(shape, "int8", 0, name, [grid.scale], [grid.zero_point], 0, grid)

    def weights(self, codes: np.ndarray, scales: np.ndarray, axis: int, name: str, *, bits: int = 8) -> int:
        """The number of a stored tensor, int8 or int32, with a scale for each index along `axis`.

        Of 4 bits are two codes in a byte, the first in its lower half.
        """
        zeros, kind = [0] * len(scales), "int4" if bits == 4 else str(codes.dtype)
        stored = self._stored(_in_halves(codes) if bits == 4 else codes)
        return self._tensor(codes.shape, kind, stored, name, scales.tolist(), zeros, axis)

    def number(self, code: int, grid: Grid, name: str) -> int:
        """The number of a stored int8 tensor of one value."""
        codes = np.array([code], np.int8)
        return self._tensor((1,), "int8", self._stored(codes), name, [grid.scale], [grid.zero_point], 0, grid)

    def floats(self, numbers: np.ndarray, name: str) -> int:
        """The number of a stored float32 tensor."""
        return self._tensor(numbers.shape, "float32", self._stored(numbers.astype(np.float32)), name)

    def whole(self, numbers: Any, name: str) -> int:
        """The number of a stored int32 tensor: axes, lengths."""
        array = np.asarray(numbers, np.int32)
        return self._tensor(array.shape, "int32", self._stored(array), name)

    def operator(self, name: str, inputs: list[int], outputs: list[int], options: str = "", **fields: Any) -> int:
        """Adds an operator of the schema's `name`; the number of its first output."""
        if name not in self._codes:
            self._codes.append(name)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self._codes.index(name), inputs, outputs
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
            for field, value in fields.items():
                setattr(made.builtinOptions, field, value)
        self._operators.append(made)
        return outputs[0]

    @property
    def has_halves(self) -> bool:
        """Whether a stored tensor has 4 bits."""
        return any(tensor.type == TYPES["int4"] for tensor in self._tensors)

    def finish(self, first: int, last: int) -> bytes:
        """The file whose input is tensor `first` and whose output is `last`."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs, graph.name = [first], [last], "main"
        self._tensors[first].name, self._tensors[last].name = "image", "scores"
        model = schema.ModelT()
        kind = "int8" if self.grids[first] else "float32"
        model.version, model.description, model.subgraphs = VERSION, kind, [graph]
        model.buffers, model.operatorCodes = self._buffers, [_code(name, self.has_halves) for name in self._codes]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _stored(self, array: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def _tensor(
        self, shape: tuple[int, ...], kind: str, buffer: int, name: str, scales: list[float] | None = None,
        zeros: list[int] | None = None, axis: int = 0, grid: Grid | None = None,
    ) -> int:  # fmt: skip
        made = schema.TensorT()
        made.shape, made.type, made.buffer, made.name = list(shape), TYPES[kind], buffer, name
        if scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = scales, zeros
            made.quantization.quantizedDimension = axis
        self._tensors.append(made)
        self.shapes.append(tuple(shape))
        self.grids.append(grid)
        return len(self._tensors) - 1


def _in_halves(codes: np.ndarray) -> np.ndarray:
    flat = codes.reshape(-1).astype(np.uint8) & 15
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return flat[::2] | flat[1::2] << 4


def _code(name: str, in_4_bits: bool) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = IN_4_BITS.get(name, VERSIONS[name]) if in_4_bits else VERSIONS[name]
    return code
