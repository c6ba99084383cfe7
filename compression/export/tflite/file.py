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
            "HARD_SWISH": 1, "PADV2": 2, "DEQUANTIZE": 2, "REDUCE_MAX": 2, "GELU": 2, "SUB": 2}  # fmt: skip
"""The least version of each kernel that takes int8, by `tflite/tools/versioning/op_version.cc`; of others it is 1."""
IN_4_BITS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10}
"""The same with weights of 4 bits."""
IN_16_BITS = {"CONV_2D": 4, "QUANTIZE": 2}
"""The same with values of 16 bits."""
TYPES = {
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "float32": schema.TensorType.FLOAT32,
    "int4": schema.TensorType.INT4,
}


class Grid(NamedTuple):
    """A value is scale · (code - zero_point), codes in int8 or, with zero_point 0, in int16."""

    scale: float
    zero_point: int


class TfliteFile:
    """Tensors and operators in the order in which they run."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.grids: list[Grid | None] = []
        self.wide: set[int] = set()
        """The values in int16."""
        self._buffers = [schema.BufferT()]  # the first is that of all values without content
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def value(self, shape: tuple[int, ...], grid: Grid | None, name: str, *, wide: bool = False) -> int:
        """The number of a new value that an operator gives: int8, or int16 if `wide`, on a grid, or float32."""
        if grid is None:
            return self._tensor(shape, "float32", 0, name)
        kind = "int16" if wide else "int8"
        made = self._tensor(shape, kind, 0, name, [grid.scale], [grid.zero_point], 0, grid)
        self.wide |= {made} if wide else set()
        return made

    def weights(self, codes: np.ndarray, scales: np.ndarray, axis: int, name: str, *, bits: int = 8) -> int:
        """The number of a stored tensor, int8, int32 or int64, with a scale for each index along `axis`.

        Of 4 bits are two codes in a byte, the first in its lower half.
        """
        zeros, kind = [0] * len(scales), "int4" if bits == 4 else str(codes.dtype)
        stored = self._stored(_in_halves(codes) if bits == 4 else codes)
        return self._tensor(codes.shape, kind, stored, name, scales.tolist(), zeros, axis)

    def stored(self, codes: np.ndarray, grid: Grid, name: str) -> int:
        """The number of a stored int8 tensor on a grid, which is read as values are."""
        return self._tensor(codes.shape, "int8", self._stored(codes), name, [grid.scale], [grid.zero_point], 0, grid)

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
        self._tensors[first].name, self._tensors[last].name = "image", "scores"
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.operators, codes = self._read(last)
        used = sorted({first, *(i for each in graph.operators for i in (*each.inputs, *each.outputs) if i >= 0)})
        graph.tensors, places = [self._tensors[i] for i in used], {-1: -1} | {i: n for n, i in enumerate(used)}
        for each in graph.operators:
            each.inputs, each.outputs = ([places[i] for i in ends] for ends in (each.inputs, each.outputs))
        graph.inputs, graph.outputs, graph.name = [places[first]], [places[last]], "main"
        model.buffers = self._buffers[:1]
        for tensor in graph.tensors:
            if tensor.buffer:
                model.buffers.append(self._buffers[tensor.buffer])
                tensor.buffer = len(model.buffers) - 1
        kind = "int8" if self.grids[first] else "float32"
        model.version, model.description, model.subgraphs = VERSION, kind, [graph]
        versions = VERSIONS | (IN_4_BITS if self.has_halves else {}) | (IN_16_BITS if self.wide else {})
        model.operatorCodes = [_code(name, versions.get(name, 1)) for name in codes]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _read(self, last: int) -> tuple[list[Any], list[str]]:
        """The operators whose answers are read, with the names of their kinds, to which they are numbered anew."""
        wanted, found = {last}, []
        for made in reversed(self._operators):
            if wanted & set(made.outputs):
                wanted |= set(made.inputs)
                found.append(made)
        names = [self._codes[made.opcodeIndex] for made in reversed(found)]
        codes = list(dict.fromkeys(names))
        for made, name in zip(reversed(found), names, strict=True):
            made.opcodeIndex = codes.index(name)
        return found[::-1], codes

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


def _code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code
