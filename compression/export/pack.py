"""Weights as few bytes as possible, and the standard ONNX operators that turn them back.

Every encoding is a payload and a model-local function that decodes it. ONNX Runtime inlines the function and folds it
to a constant when a session loads, so what runs is the plain operator. The files are of opset 19: BitwiseAnd needs
18, and onnx's own reference evaluator reads DequantizeLinear from 19 on.

| encoding | payload                                  | decodes to |
| plain    | the values themselves                     | int8 or float32 |
| dense    | b-bit codes, b = 1 … 7                    | int8 |
| mask     | one bit per weight + b-bit or float values of those that are not zero | int8 or float32 |
"""

from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "w"
"""Domain of the model-local functions: one letter, because it stands at every call."""

OPSET = 19


@dataclass(frozen=True)
class Encoding:
    """One weight tensor as stored. `tensors` are the function's inputs in order; `shape` is its attribute.

    `zero` says whether zero is a level of the grid (`parametrizations.WeightQuantizer`).
    """

    kind: str
    bits: int
    shape: tuple[int, ...]
    tensors: tuple[np.ndarray, ...]
    zero: bool = True

    @property
    def function(self) -> str:
        """Name of the decoder: 'D4', 'M4', 'M32', with an 'o' behind it for odd codes; '' where none is needed."""
        return "" if self.kind == "plain" else f"{self.kind[0].upper()}{self.bits}{'' if self.zero else 'o'}"

    @property
    def size_bytes(self) -> int:
        """Bytes of the payload."""
        return sum(t.nbytes for t in self.tensors)


def gain(bits: int, zero: bool = True) -> int:
    """What codes are multiplied by when they are decoded: as much as fits seven bits, 1 for floats.

    The bias is rounded in steps of input scale · weight scale; codes that fill the byte make those steps finer. Seven
    bits, not eight, so that pairs of products never saturate on processors without VNNI.
    """
    return 2 ** max(0, 7 - bits if zero else 6 - bits)


def plain(values: np.ndarray, bits: int, zero: bool = True) -> Encoding:
    """`values` decoded already."""
    return Encoding("plain", bits, values.shape, ((values * values.dtype.type(gain(bits, zero))),), zero)


def encode(values: np.ndarray, bits: int, zero: bool = True) -> Encoding:
    """The smallest encoding of `values`: int8 codes of a grid with `bits`, or float32 with bits = 32.

    Codes are within ±(2^(bits-1)-1) where zero is a level; else odd and within ±(2^bits-1), with 0 for pruned weights.

    A decoder call costs about 16 bytes more than none, which counts.
    """
    return min(encodings(values, bits, zero), key=lambda option: option.size_bytes + (16 if option.function else 0))


def encodings(values: np.ndarray, bits: int, zero: bool = True) -> list[Encoding]:
    """All encodings that can hold `values`. Codes that do not fit the bits are a broken invariant."""
    options = [plain(values, bits, zero), _mask(values, bits, zero)]
    if values.dtype == np.int8 and bits < 8 and (zero or values.all()):
        packed = pack_bits(_unsigned(values.ravel(), bits, zero), bits)
        options.append(Encoding("dense", bits, values.shape, (packed,), zero))
    return options


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned codes [n] below 2^bits into bytes [⌈n·bits/8⌉], lowest bit first, the last byte padded with zeros."""
    spread = (codes[:, None] >> np.arange(bits, dtype=np.uint8)) & 1  # [n, bits]
    return np.packbits(spread.astype(np.uint8).ravel(), bitorder="little")


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of `pack_bits` for the first `count` codes."""
    spread = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return (spread << np.arange(bits, dtype=np.uint8)).sum(1).astype(np.uint8)


def decode(encoding: Encoding) -> np.ndarray:
    """What the ONNX function computes, in NumPy: `gain(bits)` times the values that were encoded."""
    size = int(np.prod(encoding.shape))
    if encoding.kind == "plain":
        return encoding.tensors[0]
    if encoding.kind == "dense":
        return _signed(unpack_bits(encoding.tensors[0], encoding.bits, size), encoding).reshape(encoding.shape)
    keep = unpack_bits(encoding.tensors[0], 1, size).astype(bool)
    stored = encoding.tensors[1]
    kept = stored if encoding.bits in (8, 32) else _signed(unpack_bits(stored, encoding.bits, keep.sum()), encoding)
    values = np.zeros(size, np.float32 if encoding.bits == 32 else np.int8)
    values[keep] = kept[: keep.sum()]
    return values.reshape(encoding.shape)


def decoder(encoding: Encoding) -> FunctionProto:
    """The model-local function that `encoding.function` names."""
    build = {"dense": _dense_function, "mask": _mask_function}[encoding.kind]
    return build(encoding.function, encoding.bits, encoding.zero)


def function(name: str, inputs: list[str], output: str, nodes: list[NodeProto], attributes: list[str]) -> FunctionProto:
    """A model-local function of this project's domain."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_function(DOMAIN, name, inputs, [output], nodes, opsets, attributes)


def constant(name: str, array: np.ndarray) -> NodeProto:
    """A Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def attribute_constant(name: str, attribute: str) -> NodeProto:
    """A Constant node whose integers are the calling node's attribute."""
    node = helper.make_node("Constant", [], [name])
    node.attribute.append(AttributeProto(name="value_ints", ref_attr_name=attribute, type=AttributeProto.INTS))
    return node


def _mask(values: np.ndarray, bits: int, zero: bool) -> Encoding:
    flat = values.ravel()
    keep = flat != 0
    kept = flat[keep]
    if not len(kept):
        kept = np.ones(1, flat.dtype)  # a Gather needs something to gather from
    if values.dtype == np.int8 and bits < 8:
        kept = pack_bits(_unsigned(kept, bits, zero), bits)
    return Encoding("mask", bits, values.shape, (np.packbits(keep, bitorder="little"), kept), zero)


def _unsigned(codes: np.ndarray, bits: int, zero: bool) -> np.ndarray:
    wide = codes.astype(np.int16)
    shifted = wide + 2 ** (bits - 1) if zero else (wide + 2**bits - 1) // 2
    assert shifted.min() >= 0 and shifted.max() < 2**bits, f"codes outside {bits} bits"
    return shifted.astype(np.uint8)


def _line(bits: int, zero: bool) -> tuple[int, int]:
    """(factor, offset) that turn unsigned codes u into decoded ones: factor · u - offset."""
    g = gain(bits, zero)
    return (g, g * 2 ** (bits - 1)) if zero else (2 * g, g * (2**bits - 1))


def _signed(codes: np.ndarray, encoding: Encoding) -> np.ndarray:
    factor, offset = _line(encoding.bits, encoding.zero)
    return (codes.astype(np.int16) * factor - offset).astype(np.int8)


def _unpack_nodes(packed: str, bits: int, out: str) -> list[NodeProto]:
    """Nodes from bytes [n] to unsigned codes [⌊8n/bits⌋ or more]: uint8 where bits divides 8, else int32."""
    node, p = helper.make_node, out + "_"
    whole = 8 % bits == 0
    step = bits if whole else 1
    nodes = [
        constant(p + "a", np.array([1], np.int64)),
        constant(p + "s", np.arange(0, 8, step, dtype=np.uint8)[None]),
        constant(p + "l", np.array(2**step - 1, np.uint8)),
        constant(p + "f", np.array([-1], np.int64)),
        node("Unsqueeze", [packed, p + "a"], [p + "u"]),  # [n, 1]
        node("BitShift", [p + "u", p + "s"], [p + "h"], direction="RIGHT"),  # [n, 8/step]
        node("BitwiseAnd", [p + "h", p + "l"], [p + "b"]),
        node("Reshape", [p + "b", p + "f"], [out if whole else p + "r"]),
    ]
    if whole:
        return nodes
    return [
        *nodes,
        # whole groups of `bits` bits: the padding of the last byte is shorter than one code or sliced off later
        constant(p + "g", np.array([-1, bits], np.int64)),
        constant(p + "w", 2 ** np.arange(bits, dtype=np.int32)),
        node("Shape", [p + "r"], [p + "n"]),
        constant(p + "k", np.array([bits], np.int64)),
        node("Div", [p + "n", p + "k"], [p + "d"]),
        node("Mul", [p + "d", p + "k"], [p + "e"]),
        constant(p + "z", np.array([0], np.int64)),
        node("Slice", [p + "r", p + "z", p + "e"], [p + "t"]),
        node("Reshape", [p + "t", p + "g"], [p + "m"]),  # [count, bits]
        node("Cast", [p + "m"], [p + "i"], to=TensorProto.INT32),
        node("Mul", [p + "i", p + "w"], [p + "v"]),
        node("ReduceSum", [p + "v", p + "a"], [out], keepdims=0),
    ]


def _signed_nodes(codes: str, bits: int, zero: bool, out: str) -> list[NodeProto]:
    factor, offset = _line(bits, zero)
    return [
        constant(out + "_g", np.array(factor, np.int32)),
        constant(out + "_o", np.array(offset, np.int32)),
        helper.make_node("Cast", [codes], [out + "_c"], to=TensorProto.INT32),
        helper.make_node("Mul", [out + "_c", out + "_g"], [out + "_d"]),
        helper.make_node("Sub", [out + "_d", out + "_o"], [out + "_e"]),
        helper.make_node("Cast", [out + "_e"], [out], to=TensorProto.INT8),
    ]


def _size_nodes() -> list[NodeProto]:
    """'shape' [rank] and 'size' [1], from the attribute s."""
    return [
        attribute_constant("shape", "s"),
        constant("zero", np.array([0], np.int64)),
        helper.make_node("ReduceProd", ["shape"], ["size"], keepdims=1),
    ]


def _dense_function(name: str, bits: int, zero: bool) -> FunctionProto:
    node = helper.make_node
    nodes = [
        *_size_nodes(),
        *_unpack_nodes("c", bits, "u"),
        node("Slice", ["u", "zero", "size"], ["t"]),
        *_signed_nodes("t", bits, zero, "v"),
        node("Reshape", ["v", "shape"], ["w"]),
    ]
    return function(name, ["c"], "w", nodes, ["s"])


def _mask_function(name: str, bits: int, zero: bool) -> FunctionProto:
    node = helper.make_node
    values = [*_unpack_nodes("c", bits, "u"), *_signed_nodes("u", bits, zero, "v")] if bits < 8 else []
    nodes = [
        *_size_nodes(),
        *_unpack_nodes("m", 1, "k"),
        node("Slice", ["k", "zero", "size"], ["k8"]),
        *values,
        constant("pruned", np.zeros(1, np.float32 if bits == 32 else np.int8)),
        node("Concat", ["pruned", "v" if bits < 8 else "c"], ["table"], axis=0),  # index 0 = pruned
        node("Cast", ["k8"], ["keep"], to=TensorProto.INT32),
        constant("axis", np.array(0, np.int64)),
        node("CumSum", ["keep", "axis"], ["rank"]),
        node("Mul", ["rank", "keep"], ["index"]),
        node("Gather", ["table", "index"], ["dense"], axis=0),
        node("Reshape", ["dense", "shape"], ["w"]),
    ]
    return function(name, ["m", "c"], "w", nodes, ["s"])
