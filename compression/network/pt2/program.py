"""The graph of a `.pt2` archive, from JSON to a list of calls that are known to be possible.

Only what computes is read: nodes, their arguments and the graph's signature. Never read are guards, symbolic
expressions, the layout of arguments and answers, and what the file says of the values between nodes.
"""

import keyword
import re
import unicodedata
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from compression.errors import InvalidModel
from compression.network.pt2.arguments import Scope, argument, names_in
from compression.network.pt2.fields import Malformed, is_a, member, shown, variant, whole
from compression.network.pt2.operators import Operator, Value, find
from compression.network.pt2.tensors import computed, dtype

SCHEMA = 8
"""Major version of `torch._export.serde.schema` that is read."""

MOST_CALLS, MOST_DEPTH = 20_000, 8
MOST_PIXELS, MOST_SIDE, MOST_IMAGES = 1 << 24, 1 << 16, 1 << 12

PATH = re.compile(r"[\w\-:+ ]{1,100}(\.[\w\-:+ ]{1,100}){0,40}")
"""Names of stored tensors: no quotes, brackets or line breaks, as torch writes such names into source text."""

STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
ANSWERS = {"user_output", "loss_output"}
WRITTEN = {"buffer_mutation", "parameter_mutation", "user_input_mutation", "token"}
"""Outputs of a graph that a caller never sees: values that PyTorch writes back into the module."""

WRAPPED = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
    "torch.ops.higher_order.wrap_with_autocast": 4,
}
"""Operators that run a graph of their own in some mode, and after how many arguments that graph stands.

No mode changes what is compressed: gradients are not asked for, and everything is computed in float32.
"""

Results = int | None | list["Results"]


@dataclass(frozen=True)
class Call:
    """One operator: arguments hold `Value` where something computed goes. results: places of its answers."""

    operator: Operator
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: Results


@dataclass(frozen=True)
class Program:
    """A network as data. stored: names of tensors by place; places: how many there are.

    shape: (C, H, W) of the images that it was saved for; batch: how many of them, where that is fixed.
    """

    stored: dict[int, str]
    images: int
    places: int
    shape: tuple[int, int, int]
    batch: int | None
    calls: tuple[Call, ...]
    answers: tuple[int | None, ...]


def read_program(record: Any) -> Program:
    """The program in `models/model.json`. Raises `Malformed`, and `InvalidModel` for what is not allowed."""
    version = member(member(record, "schema_version", dict), "major", int)
    if version != SCHEMA:
        raise Malformed(f"its schema is version {version}; version {SCHEMA} is read")
    module = member(record, "graph_module", dict)
    return _Reader(member(module, "graph", dict), member(module, "signature", dict)).program()


class _Reader:
    def __init__(self, graph: dict[str, Any], signature: dict[str, Any]):
        self._graph, self._signature = graph, signature
        self._places = count()
        self._calls: list[Call] = []
        self._batch: int | None = None
        self._images: Value | None = None

    def program(self) -> Program:
        scope: Scope = {}
        stored = self._inputs(scope)
        assert self._images is not None
        answers = self._walk(self._graph, scope, 0)
        specs = [variant(spec)[0] for spec in member(self._signature, "output_specs", list)]
        if len(specs) != len(answers) or not set(specs) <= ANSWERS | WRITTEN:
            raise Malformed(f"its {len(answers)} outputs are described as {shown(specs)}")
        chosen = [answer for answer, spec in zip(answers, specs, strict=True) if spec in ANSWERS]
        if any(answer is not None and not answer.is_tensor for answer in chosen):
            raise InvalidModel("The network answers with numbers beside tensors; one tensor of scores is needed.")
        places = tuple(answer.place if answer is not None else None for answer in chosen)
        return Program(
            stored, self._images.place, next(self._places), self._shape, self._batch, tuple(self._calls), places
        )

    def _inputs(self, scope: Scope) -> dict[int, str]:
        """Puts what the graph reads into `scope`; the names of stored tensors by place."""
        stored: dict[int, str] = {}
        inputs, specs = member(self._graph, "inputs", list), member(self._signature, "input_specs", list)
        if len(inputs) != len(specs):
            raise Malformed(f"its {len(inputs)} inputs are described by {len(specs)} entries")
        for read, spec in zip(inputs, specs, strict=True):
            (tag, value), (kind, described) = variant(read), variant(spec)
            if kind in STORED and tag == "as_tensor":
                made = self._define(scope, member(value, "name", str), True)
                stored[made.place] = _path(member(described, STORED[kind], str))
            elif kind == "user_input" and tag == "as_tensor":
                self._take_images(scope, member(value, "name", str))
            elif kind == "custom_obj" or tag in ("as_custom_obj", "as_sym_int", "as_sym_float", "as_sym_bool"):
                raise InvalidModel(f"The network reads an input of kind {shown(tag)}; one batch of images is allowed.")
            elif kind not in ("user_input", "constant_input"):
                raise Malformed(f"its input {shown(spec)} is of no known kind")
        if self._images is None:
            raise InvalidModel("The network takes no images.")
        return stored

    def _take_images(self, scope: Scope, name: str) -> None:
        if self._images is not None:
            raise InvalidModel("The network takes more than one tensor; one batch of images is allowed.")
        self._images = self._define(scope, name, True)
        described = member(member(self._graph, "tensor_values", dict), name, dict)
        numbers = dtype(described.get("dtype"))
        if computed(numbers) != torch.float32:
            raise InvalidModel(
                f"The network takes images of {numbers}; only one that takes normalised images, which are floats, is"
                " allowed."
            )
        sizes = member(described, "sizes", list)
        if len(sizes) != 4:
            raise InvalidModel(f"The network takes values of {len(sizes)} axes; images have 4, with the batch.")
        tag, batch = variant(sizes[0])
        self._batch = whole(batch, "a number of images", least=1, most=MOST_IMAGES) if tag == "as_int" else None
        channels, height, width = (_side(size) for size in sizes[1:])
        if channels * height * width > MOST_PIXELS:
            size = f"{channels}×{height}×{width}"
            raise InvalidModel(f"The network takes images of {size}; up to {MOST_PIXELS} numbers are possible.")
        self._shape = channels, height, width

    def _define(self, scope: Scope, name: str, is_tensor: bool) -> Value:
        if name in scope:
            raise Malformed(f"its value {shown(name)} is made twice")
        scope[name] = Value(next(self._places), is_tensor)
        return scope[name]

    def _walk(self, graph: dict[str, Any], scope: Scope, depth: int) -> list[Value | None]:
        """Appends the graph's calls; its outputs."""
        for node in member(graph, "nodes", list):
            self._node(node, scope, depth)
        return [self._output(output, scope) for output in member(graph, "outputs", list)]

    def _output(self, output: Any, scope: Scope) -> Value | None:
        tag, _ = variant(output)
        if tag in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
            return None
        value = argument(output, scope)
        if not isinstance(value, Value):
            raise Malformed(f"its output is {shown(output)}, not a value")
        return value

    def _node(self, node: Any, scope: Scope, depth: int) -> None:
        target = member(node, "target", str)
        if target in WRAPPED:
            self._inline(node, WRAPPED[target], scope, depth)
            return
        operator = find(target)
        if operator is None:
            return
        given: dict[str, Any] = {}
        for item in member(node, "inputs", list):
            name = member(item, "name", str)
            if name in given:
                raise Malformed(f"{operator.name} has two arguments {shown(name)}")
            given[name] = argument(member(item, "arg", dict), scope)
        args, kwargs = operator.bound(given)
        results = self._results(operator, member(node, "outputs", list), scope)
        self._append(Call(operator, args, kwargs, results))

    def _append(self, call: Call) -> None:
        self._calls.append(call)
        if len(self._calls) > MOST_CALLS:
            raise InvalidModel(f"The network has more than {MOST_CALLS} operators.")

    def _inline(self, node: Any, before: int, scope: Scope, depth: int) -> None:
        """Appends the calls of the graph that a node runs."""
        if depth >= MOST_DEPTH:
            raise Malformed(f"its graphs stand in one another more than {MOST_DEPTH} times")
        arguments = [member(item, "arg", dict) for item in member(node, "inputs", list)]
        tag, held = variant(arguments[before]) if len(arguments) > before else ("", None)
        if tag != "as_graph":
            raise Malformed(f"{shown(node['target'])} is given no graph")
        graph = member(held, "graph", dict)
        reads = [argument(each, scope) for each in arguments[before + 1 :]]
        names = [_name_of(each) for each in member(graph, "inputs", list)]
        if len(reads) != len(names) or not all(isinstance(value, Value) for value in reads):
            raise Malformed(f"a graph of {len(names)} inputs is given {shown(reads)}")
        if len(set(names)) != len(names):
            raise Malformed(f"a graph's inputs {shown(names)} are not different")
        answers = self._walk(graph, dict(zip(names, reads, strict=True)), depth + 1)
        outputs = [output for outer in member(node, "outputs", list) for output in names_in(outer)]
        if len(outputs) != len(answers):
            raise Malformed(f"a graph gives {len(answers)} values where {len(outputs)} are read")
        for output, answer in zip(outputs, answers, strict=True):
            if output is None or answer is None:
                continue
            if output in scope:
                raise Malformed(f"its value {shown(output)} is made twice")
            scope[output] = answer

    def _results(self, operator: Operator, outputs: list[Any], scope: Scope) -> Results:
        """Defines what a node gives; its places as the operator gives them."""
        if len(outputs) != len(operator.returns):
            raise Malformed(f"{operator.name} gives {len(operator.returns)} values, not {len(outputs)}")
        places: list[Results] = []
        for output, kind in zip(outputs, operator.returns, strict=True):
            names = names_in(output)
            listed = variant(output)[0] == "as_tensors"
            if listed != (kind == "List[Tensor]"):
                raise Malformed(f"{operator.name} gives {kind}, not {shown(output)}")
            tensor = kind not in ("number", "int")
            made = [None if name is None else self._define(scope, name, tensor).place for name in names]
            places.append(list(made) if listed else made[0])
        return places[0] if len(places) == 1 else places


def _name_of(read: Any) -> str:
    """The name of one input of a graph that another runs."""
    names = names_in(read)
    if len(names) != 1 or names[0] is None:
        raise Malformed(f"a graph's input is {shown(read)}, not one value")
    return names[0]


def _path(name: str) -> str:
    """A dotted name of a stored tensor. Raises `InvalidModel` for one that no module can have."""
    parts = name.split(".")
    plain = PATH.fullmatch(name) and unicodedata.normalize("NFKC", name) == name
    if not plain or any(keyword.iskeyword(part) for part in parts):
        raise InvalidModel(
            f"The network calls a tensor {shown(name)}; letters, digits, - and _ between dots are allowed."
        )
    return name


def _side(size: Any) -> int:
    """A length of the images that a network was saved for, where it is symbolic the one it was traced with."""
    tag, value = variant(size)
    if tag == "as_expr":
        tag, value = variant(value.get("hint") if is_a(value, dict) else value)
    return whole(value, "a length of its images", least=1, most=MOST_SIDE)
