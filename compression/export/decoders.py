"""The standard ONNX operators that turn packed weights back, as model-local functions that are shared by all layers.

ONNX Runtime inlines the functions and folds them to a constant when a session loads, so what runs is the plain
operator. The files are of opset 19: BitwiseAnd needs 18, and onnx's own reference evaluator reads DequantizeLinear from
19 on.

| U1 … U7 | bytes → unsigned codes                        |
| V1 … V7 | bytes → int8 values; with o, p or s behind it, of a grid of odd numbers, of powers, or shifted |
| H       | half-precision values → float32                |
| D       | values → the weights' shape                   |
| M, N    | bits of a mask, values (int8; float) → weights |
| P, O    | distances, values (int8; float), their largest code → weights |
| Q, R    | the same as M and P with codes in place of values → 1 + code, or 0 |
| L       | codes of all weights, codebooks → weights |
| Z2 … Z8 | codes modulo 2^bits of a shifted grid, the largest code of each channel → codes with their sign |
| G       | codes, 4-bit multipliers of their groups → their product |
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from compression.export.pack import Encoding, Option, gain, line, table
from compression.network.integer_grids import Kind

DOMAIN = "w"
"""Domain of the model-local functions: one letter, because it stands at every call."""

OPSET = 19

PADDING = 1024
"""Places behind a tensor's end that bridges in the padding of the last byte reach at most: 7 of up to 127, and one."""

LETTERS: dict[Kind, str] = {"zero": "", "odd": "o", "powers": "p", "shifted": "s"}

CALL_BYTES = 20
"""A call inside a function."""


def calls(encoding: Encoding | Option) -> list[tuple[str, int | None]]:
    """Functions that decode an encoding, each with the index of the tensor that it reads.

    Those without an index read what is there by then: the join, and after it the lookup in codebooks.
    """
    if encoding.join == "plain":
        return []
    tensors = encoding.tensors if isinstance(encoding, Encoding) else encoding.payload
    values, bits = len(tensors) - 1 - bool(encoding.books), encoding.bits
    found: list[tuple[str, int | None]] = []
    if bits < 8:
        found.append((f"U{bits}" if encoding.books else f"V{bits}{LETTERS[encoding.grid]}", values))
    elif bits == 16:
        found.append(("H", values))
    width = {"dense": 8, "mask": 1, "delta": encoding.distance_bits}[encoding.join]
    if width < 8:
        found.append((f"U{width}", 0))
    if encoding.books:
        return [*found, ({"dense": "D", "mask": "Q", "delta": "R"}[encoding.join], None), ("L", None)]
    return [*found, ({"dense": "DD", "mask": "MN", "delta": "PO"}[encoding.join][bits >= 16], None)]


def cost(option: Option) -> int:
    """Bytes of the stored tensors of an option and of what names them in the graph, functions not counted."""
    tensors = sum(_tensor_bytes(size) for size in option.payload)
    shape = 9 + sum(1 + _varint_bytes(length) for length in option.shape) if option.kind != "plain" else 0
    return tensors + 4 * len(option.payload) + shape


def needed(option: Option) -> dict[str, int]:
    """Bytes of each function that an option needs, and of the run of calls, which is written once for all layers."""
    steps = calls(option)
    found = {each: _function_bytes(each) for name, _ in steps for each in (name, *inner(name))}
    if steps:
        found["+".join(name for name, _ in steps)] = CALL_BYTES * len(steps)
    return found


def inner(name: str) -> tuple[str, ...]:
    """Functions that function `name` calls."""
    return (f"U{name[1]}",) if name[0] == "V" else ("U4",) if name[0] == "G" else ()


@cache
def function(name: str) -> FunctionProto:
    """The model-local function of that name."""
    if name[0] in _BY_WIDTH:
        return _BY_WIDTH[name[0]](name, int(name[1]))
    if name[0] == "G":
        return _grouped(name, *map(int, name[1:].split("x")))
    return _JOINS[name](name)


@cache
def _function_bytes(name: str) -> int:
    return 1 + _varint_bytes(function(name).ByteSize()) + function(name).ByteSize()


def _tensor_bytes(payload: int) -> int:
    """Bytes of an initializer with one dimension and a name of two letters."""
    content = 1 + _varint_bytes(payload) + 2 + 4 + 1 + _varint_bytes(payload) + payload
    return 1 + _varint_bytes(content) + content


def _varint_bytes(number: int) -> int:
    """Bytes of a number in a protobuf message."""
    return max(1, -(-number.bit_length() // 7))


def make_function(
    name: str, inputs: list[str], output: str, nodes: list[NodeProto], attributes: list[str] | None = None
) -> FunctionProto:
    """A model-local function of this project's domain."""
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == DOMAIN for node in nodes):
        opsets.append(helper.make_opsetid(DOMAIN, 1))
    return helper.make_function(DOMAIN, name, inputs, [output], nodes, opsets, attributes or [])


def constant(name: str, array: np.ndarray) -> NodeProto:
    """A Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def _unsigned(name: str, bits: int) -> FunctionProto:
    """Bytes [n] to codes [⌊8n/bits⌋]: uint8 where bits divides 8, else int32."""
    node = helper.make_node
    whole = 8 % bits == 0
    step = bits if whole else 1
    nodes = [
        constant("a", np.array([1], np.int64)),
        constant("s", np.arange(0, 8, step, dtype=np.uint8)[None]),
        constant("l", np.array(2**step - 1, np.uint8)),
        constant("f", np.array([-1], np.int64)),
        node("Unsqueeze", ["c", "a"], ["u"]),  # [n, 1]
        node("BitShift", ["u", "s"], ["h"], direction="RIGHT"),  # [n, 8/step]
        node("BitwiseAnd", ["h", "l"], ["b"]),
        node("Reshape", ["b", "f"], ["y" if whole else "r"]),
    ]
    if not whole:
        nodes += [
            # whole groups of `bits` bits: the padding of the last byte is shorter than one code or sliced off later
            constant("g", np.array([-1, bits], np.int64)),
            constant("w", 2 ** np.arange(bits, dtype=np.int32)),
            constant("k", np.array([bits], np.int64)),
            constant("z", np.array([0], np.int64)),
            node("Shape", ["r"], ["n"]),
            node("Div", ["n", "k"], ["d"]),
            node("Mul", ["d", "k"], ["e"]),
            node("Slice", ["r", "z", "e"], ["t"]),
            node("Reshape", ["t", "g"], ["m"]),  # [count, bits]
            node("Cast", ["m"], ["i"], to=TensorProto.INT32),
            node("Mul", ["i", "w"], ["v"]),
            node("ReduceSum", ["v", "a"], ["y"], keepdims=0),
        ]
    return make_function(name, ["c"], "y", nodes)


def _values(name: str, bits: int) -> FunctionProto:
    """Bytes [n] to codes times their gain, int8 [⌊8n/bits⌋]."""
    node = helper.make_node
    grid = next(kind for kind, letter in LETTERS.items() if letter == name[2:])
    nodes = [node(f"U{bits}", ["c"], ["u"], domain=DOMAIN), node("Cast", ["u"], ["i"], to=TensorProto.INT32)]
    straight = line(bits, grid)
    if straight is None:
        nodes += [constant("t", table(bits, grid).astype(np.int8)), node("Gather", ["t", "i"], ["y"], axis=0)]
        return make_function(name, ["c"], "y", nodes)
    nodes += [
        constant("g", np.array(straight[0], np.int32)),
        constant("o", np.array(straight[1], np.int32)),
        node("Mul", ["i", "g"], ["d"]),
        node("Sub", ["d", "o"], ["e"]),
        node("Cast", ["e"], ["y"], to=TensorProto.INT8),
    ]
    return make_function(name, ["c"], "y", nodes)


def _half(name: str) -> FunctionProto:
    return make_function(name, ["h"], "y", [helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)])


def _size_nodes() -> list[NodeProto]:
    """'h' = shape [rank] and 'n' = its product [1], from the attribute s; 'z' = [0]."""
    shape = helper.make_node("Constant", [], ["h"])
    shape.attribute.append(AttributeProto(name="value_ints", ref_attr_name="s", type=AttributeProto.INTS))
    return [shape, constant("z", np.array([0], np.int64)), helper.make_node("ReduceProd", ["h"], ["n"], keepdims=1)]


def _dense(name: str) -> FunctionProto:
    node = helper.make_node
    nodes = [*_size_nodes(), node("Slice", ["v", "z", "n"], ["t"]), node("Reshape", ["t", "h"], ["y"])]
    return make_function(name, ["v"], "y", nodes, ["s"])


def _lookup(name: str) -> FunctionProto:
    """Codes of any shape, which index codebooks [books, K] one after the other, to int8 values of the same shape."""
    node = helper.make_node
    nodes = [
        constant("f", np.array([-1], np.int64)),
        node("Shape", ["b"], ["n"], start=0, end=1),  # [1]: number of books
        node("Concat", ["n", "f"], ["r"], axis=0),
        node("Reshape", ["c", "r"], ["d"]),  # [books, weights of each]
        node("Cast", ["d"], ["i"], to=TensorProto.INT64),
        node("GatherElements", ["b", "i"], ["g"], axis=1),
        node("Shape", ["c"], ["t"]),
        node("Reshape", ["g", "t"], ["y"]),
    ]
    return make_function(name, ["c", "b"], "y", nodes)


_STORED = {"N": np.float32, "O": np.float32, "Q": np.int32, "R": np.int32}
"""Type of what joins expand, where it is not int8."""


def _behind_zero(name: str) -> list[NodeProto]:
    """'b' = zero and behind it what the join `name` expands: the values 'v', or 1 + the codes."""
    node = helper.make_node
    zero = constant("o", np.zeros(1, _STORED.get(name, np.int8)))
    if name not in "QR":
        return [zero, node("Concat", ["o", "v"], ["b"], axis=0)]
    return [
        zero,
        constant("vo", np.array(1, np.int32)),
        node("Cast", ["v"], ["vi"], to=TensorProto.INT32),
        node("Add", ["vi", "vo"], ["vp"]),
        node("Concat", ["o", "vp"], ["b"], axis=0),
    ]


def _mask(name: str) -> FunctionProto:
    node = helper.make_node
    nodes = [
        *_size_nodes(),
        *_behind_zero(name),  # index 0 = pruned
        constant("a", np.array(0, np.int64)),
        node("Slice", ["m", "z", "n"], ["t"]),
        node("Cast", ["t"], ["k"], to=TensorProto.INT32),
        node("CumSum", ["k", "a"], ["r"]),
        node("Mul", ["r", "k"], ["i"]),
        node("Gather", ["b", "i"], ["d"], axis=0),
        node("Reshape", ["d", "h"], ["y"]),
    ]
    return make_function(name, ["v", "m"], "y", nodes, ["s"])


def _delta(name: str) -> FunctionProto:
    """Values scattered into zeros. Bridges (code x) write a zero; those of the padding stand behind the end."""
    node = helper.make_node
    zero = np.zeros(1, _STORED.get(name, np.int8))
    nodes = [
        *_size_nodes(),
        *_behind_zero(name),  # index 0 = bridge
        constant("a", np.array(0, np.int64)),
        constant("e", np.array([PADDING], np.int64)),
        node("Cast", ["p"], ["d"], to=TensorProto.INT32),
        node("Less", ["d", "x"], ["f"]),
        node("Cast", ["f"], ["k"], to=TensorProto.INT32),  # 1 where there is a value
        node("CumSum", ["k", "a"], ["r"]),
        node("Mul", ["r", "k"], ["i"]),
        node("Gather", ["b", "i"], ["w"], axis=0),
        node("Add", ["d", "k"], ["g"]),
        node("CumSum", ["g", "a"], ["j"]),  # the place behind each value
        node("Add", ["n", "e"], ["m"]),
        node("ConstantOfShape", ["m"], ["q"], value=numpy_helper.from_array(zero)),
        node("ScatterElements", ["q", "j", "w"], ["l"]),
        constant("c", np.array([1], np.int64)),
        node("Add", ["n", "c"], ["t"]),
        node("Slice", ["l", "c", "t"], ["u"]),
        node("Reshape", ["u", "h"], ["y"]),
    ]
    return make_function(name, ["v", "p", "x"], "y", nodes, ["s"])


def _wrapped(name: str, bits: int) -> FunctionProto:
    """Codes modulo 2^bits [out, …] and the largest code of each channel [out] → codes times their gain, same shape."""
    node, wide = helper.make_node, bits == 8
    nodes = [
        node("Flatten", ["c"], ["f"], axis=1),
        node("Cast", ["f"], ["i"], to=TensorProto.INT32),
        node("Cast", ["l"], ["k"], to=TensorProto.INT32),
        constant("a", np.array([1], np.int64)),
        node("Unsqueeze", ["k", "a"], ["t"]),  # [out, 1]
        node("Greater", ["i", "t"], ["b"]),
        node("Cast", ["b"], ["n"], to=TensorProto.INT32),
        constant("p", np.array(2**bits, np.int32)),
        node("Mul", ["n", "p"], ["m"]),
        node("Sub", ["i", "m"], ["d"]),
        constant("g", np.array(gain(bits, "shifted"), np.int32)),
        node("Mul", ["d", "g"], ["e"]),
        node("Cast", ["e"], ["r"], to=TensorProto.INT32 if wide else TensorProto.INT8),
        node("Shape", ["c"], ["s"]),
        node("Reshape", ["r", "s"], ["y"]),
    ]
    return make_function(name, ["c", "l"], "y", nodes)


def _grouped(name: str, group: int, over: int) -> FunctionProto:
    """Codes [out, …], `over` times too large, and packed multipliers less one [out, ⌈d/group⌉] → int8, same shape."""
    node = helper.make_node
    nodes = [
        node("Flatten", ["c"], ["f"], axis=1),
        node("Cast", ["f"], ["i"], to=TensorProto.INT32),
        node("Shape", ["i"], ["o"], start=0, end=1),
        node("Shape", ["i"], ["d"], start=1, end=2),
        node("U4", ["m"], ["u"], domain=DOMAIN),
        constant("z", np.array([0], np.int64)),
        constant("a", np.array([1], np.int64)),
        constant("g", np.array([group], np.int64)),
        node("Sub", ["d", "a"], ["e"]),
        node("Div", ["e", "g"], ["h"]),
        node("Add", ["h", "a"], ["n"]),  # groups of a channel
        node("Mul", ["o", "n"], ["p"]),
        node("Slice", ["u", "z", "p"], ["t"]),
        node("Concat", ["o", "n"], ["q"], axis=0),
        node("Reshape", ["t", "q"], ["r"]),  # [out, ⌈d/group⌉]
        node("Cast", ["r"], ["v"], to=TensorProto.INT32),
        constant("j", np.array([1], np.int32)),
        node("Add", ["v", "j"], ["w"]),
        node("Expand", ["a", "d"], ["x"]),  # a one for each input
        constant("k", np.array(0, np.int64)),
        node("CumSum", ["x", "k"], ["aa"], exclusive=1),
        node("Div", ["aa", "g"], ["ab"]),  # the group of each input
        node("Gather", ["w", "ab"], ["ac"], axis=1),
        node("Mul", ["i", "ac"], ["ad"]),
        constant("l", np.array(over, np.int32)),
        node("Div", ["ad", "l"], ["ae"]),
        node("Cast", ["ae"], ["af"], to=TensorProto.INT8),
        node("Shape", ["c"], ["s"]),
        node("Reshape", ["af", "s"], ["y"]),
    ]
    return make_function(name, ["c", "m"], "y", nodes)


_BY_WIDTH: dict[str, Callable[[str, int], FunctionProto]] = {"U": _unsigned, "V": _values, "Z": _wrapped}
_JOINS: dict[str, Callable[[str], FunctionProto]] = {
    "D": _dense, "M": _mask, "N": _mask, "P": _delta, "O": _delta, "H": _half, "Q": _mask, "R": _delta,
    "L": _lookup,
}  # fmt: skip
