"""An ONNX file in one piece: the protobuf checked as data, with the weights that lie in other files put into it.

Nothing of it is run here, and ONNX Runtime sees none of it before these checks. What protobuf itself bounds: messages
lie at most 100 deep in each other.
"""

import hashlib
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from compression.errors import InvalidFile

MAX_BYTES = (1 << 31) - 1
"""The longest message that protobuf reads, and so the largest file in one piece."""

MAX_NODES = 100_000
"""Operators, each counted as often as functions of the file call it."""

MAX_TURNS = 10_000

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Of the operators that ONNX Runtime comes with."""

MAX_RANK = 16

SMALL: dict[int, int] = {
    **dict.fromkeys((onnx.TensorProto.UINT4, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT4E2M1), 2),
    **dict.fromkeys((onnx.TensorProto.UINT2, onnx.TensorProto.INT2), 4),
}
"""Values in a byte, of types that take less than one."""


@dataclass(frozen=True)
class Assembled:
    """`content` needs no other file; `size_bytes` counts every byte of each file that it was put together from.

    `file_hash` is SHA-256 of the ONNX file's bytes, followed by those of the other files where there are some.
    """

    content: bytes
    size_bytes: int
    file_hash: str


def checked(content: bytes) -> onnx.ModelProto:
    """What is in an ONNX file.

    Raises `InvalidFile` for what is none, for more than `MAX_NODES` operators, for functions that call themselves, for
    operators of other `DOMAINS`, and for loops of more than `MAX_TURNS` or no stored number of turns.
    """
    model = _parsed(content)
    functions = {(function.domain, function.name): function for function in model.functions}
    _check_nodes(model, functions)
    _check_domains(model, functions)
    _check_loops(model)
    return model


def assemble(content: bytes, model: onnx.ModelProto, folder: Path | None) -> Assembled:
    """The ONNX file `content`, which holds `model`, with what it keeps in other files of `folder`; None is no folder.

    Changes `model`. Raises `InvalidFile` for weights that lie elsewhere than in plain files inside the folder.
    """
    outside = [tensor for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return Assembled(content, len(content), hashlib.sha256(content).hexdigest())
    if folder is None:
        raise InvalidFile(
            f"The file keeps its weights in another file, {_entries(outside[0]).get('location', '')!r}, so its bytes"
            " alone cannot be measured; give the path of the .onnx file, with the other file in its folder."
        )
    return _with_files(content, model, outside, folder)


def _parsed(content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise InvalidFile(
            f"ONNX Runtime cannot load this file: {len(content):,} bytes that are not an ONNX file."
        ) from None
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidFile(f"ONNX Runtime cannot load this file: {len(content):,} bytes without a graph.")
    return model


Functions = dict[tuple[str, str], onnx.FunctionProto]


def _check_nodes(model: onnx.ModelProto, functions: Functions) -> None:
    """Raises `InvalidFile` where the functions, written out at each call, are endless or too many operators."""
    sizes: dict[tuple[str, str], int] = {}
    inside: set[tuple[str, str]] = set()

    def size(nodes: Iterable[onnx.NodeProto]) -> int:
        calls = Counter((node.domain, node.op_type) for node in _nodes(nodes))
        return sum(times * (called(key) if key in functions else 1) for key, times in calls.items())

    def called(key: tuple[str, str]) -> int:
        if key in inside or len(inside) > 100:
            raise InvalidFile(f"The file's function {key[1]!r} calls itself, or lies over 100 calls deep.")
        if key not in sizes:
            inside.add(key)
            sizes[key] = size(functions[key].node)
            inside.discard(key)
        return sizes[key]

    if (count := size(model.graph.node)) > MAX_NODES:
        raise InvalidFile(
            f"The file has {count:,} operators once its functions are written out; at most {MAX_NODES:,}."
        )


def _check_domains(model: onnx.ModelProto, functions: Functions) -> None:
    bodies = [model.graph.node, *(function.node for function in functions.values())]
    for node in (node for body in bodies for node in _nodes(body)):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in functions:
            if node.domain == "com.microsoft.nchwc":
                raise InvalidFile(
                    f"The file uses the operator {node.op_type!r} of {node.domain!r}, as ONNX Runtime writes it for "
                    "one kind of machine; save it with graph_optimization_level up to ORT_ENABLE_EXTENDED."
                )
            raise InvalidFile(
                f"The file uses the operator {node.op_type!r} of {node.domain!r}, which ONNX Runtime does not have;"
                f" known are operators of ONNX, of {' and '.join(DOMAINS[2:])}, and functions that the file defines."
            )


def _check_loops(model: onnx.ModelProto) -> None:
    """Constants are known by name alone: where one name stands for several, the most turns count."""
    bodies = [node for body in (model.graph, *model.functions) for node in _nodes(body.node)]
    stored = [*model.graph.initializer, *(tensor for node in bodies for g in _graphs(node) for tensor in g.initializer)]
    turns: dict[str, int] = {}
    for name, tensor in [(tensor.name, tensor) for tensor in stored] + [
        (node.output[0], attribute.t)
        for node in bodies
        if node.op_type == "Constant" and node.output
        for attribute in node.attribute
        if attribute.name == "value"
    ]:
        turns[name] = max(turns.get(name, 0), _whole_number(tensor))
    for node in bodies:
        if node.op_type == "Loop" and turns.get(node.input[0] if node.input else "", MAX_TURNS + 1) > MAX_TURNS:
            raise InvalidFile(f"The file holds a Loop without a stored number of turns up to {MAX_TURNS:,}.")


def _whole_number(tensor: onnx.TensorProto) -> int:
    """The number in an int64 tensor of one value; more than `MAX_TURNS` for any other."""
    if tensor.data_type != onnx.TensorProto.INT64 or len(tensor.dims) > 1 or math.prod(tensor.dims) != 1:
        return MAX_TURNS + 1
    if len(tensor.int64_data) == 1:
        return tensor.int64_data[0]
    return int.from_bytes(tensor.raw_data, "little", signed=True) if len(tensor.raw_data) == 8 else MAX_TURNS + 1


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, those of graphs inside nodes too."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [inner for graph in _graphs(node) for inner in graph.node]


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers of all graphs, and attributes of all nodes."""
    nodes = [node for body in (model.graph, *model.functions) for node in _nodes(body.node)]
    for graph in (model.graph, *(graph for node in nodes for graph in _graphs(node))):
        yield from graph.initializer
        yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _with_files(content: bytes, model: onnx.ModelProto, outside: list[onnx.TensorProto], folder: Path) -> Assembled:
    files: dict[str, int] = {}
    try:
        total = len(content)
        for tensor in outside:
            location = _entries(tensor).get("location", "")
            if location not in files:
                files[location] = _opened(folder, location)
            start, length = _region(tensor, os.fstat(files[location]).st_size)
            if (total := total + length) > MAX_BYTES:
                raise InvalidFile(f"The file's weights take more than {MAX_BYTES:,} bytes, the most that is measured.")
            tensor.raw_data = os.pread(files[location], length, start)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        digest = hashlib.sha256(content)
        for _, file in sorted(files.items()):
            with os.fdopen(os.dup(file), "rb") as stream:
                stream.seek(0)
                while part := stream.read(1 << 24):
                    digest.update(part)
        size = len(content) + sum(os.fstat(file).st_size for file in files.values())
    finally:
        for file in files.values():
            os.close(file)
    return Assembled(model.SerializeToString(deterministic=True), size, digest.hexdigest())


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _opened(folder: Path, location: str) -> int:
    """A descriptor of a plain file inside `folder`: by no link, no absolute path and no way upward."""
    parts = location.split("/")
    path = folder / location
    if not location.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise InvalidFile(f"The file keeps weights in {location!r}; only files in the .onnx file's folder are read.")
    if any(folder.joinpath(*parts[: i + 1]).is_symlink() for i in range(len(parts))):
        raise InvalidFile(f"The file keeps weights in {location!r}, a link; only plain files in its folder are read.")
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidFile(f"The file keeps weights in {location!r}, which cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InvalidFile(f"The file keeps weights in {location!r}, which is not a regular file.")
    return file


def _region(tensor: onnx.TensorProto, size: int) -> tuple[int, int]:
    """Where the tensor begins in its file of `size` bytes and how many bytes it takes there."""
    entries, needed = _entries(tensor), _bytes_of(tensor)
    texts = entries.get("offset", "0"), entries.get("length", str(needed))
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in texts):
        raise InvalidFile(f"The file says that {tensor.name!r} lies at {texts[0][:20]!r} with {texts[1][:20]!r} bytes.")
    start, length = map(int, texts)
    if length != needed or start + length > size:
        raise InvalidFile(
            f"The weights {tensor.name!r} take {needed:,} bytes, but the file says that they are {length:,} from byte"
            f" {start:,} on in {entries['location']!r}, which has {size:,}."
        )
    return start, length


def _bytes_of(tensor: onnx.TensorProto) -> int:
    """What the values take as raw bytes."""
    known = set(onnx.helper.get_all_tensor_dtypes()) - {onnx.TensorProto.STRING}
    if tensor.data_type not in known or len(tensor.dims) > MAX_RANK or min(tensor.dims, default=0) < 0:
        raise InvalidFile(
            f"The weights {tensor.name!r} have the shape {list(tensor.dims[:MAX_RANK])} and the type"
            f" {tensor.data_type}, which cannot lie in another file."
        )
    count = math.prod(tensor.dims)
    if per_byte := SMALL.get(tensor.data_type):
        return -(-count // per_byte)
    return count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
