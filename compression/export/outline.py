"""Operators that follow each other in the same way again and again, written once as a function.

Re-Pair (Larsson & Moffat 1999) on a graph: the pair of nodes "producer → its only reader" whose occurrences cost most
bytes becomes a model-local function of its own, again and again, until no pair pays. A whole quantized layer with its
decoder ends as one call. ONNX Runtime inlines the functions when a session loads: the graph that runs stays the same.
"""

import itertools
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from onnx import AttributeProto, FunctionProto, NodeProto, helper

from compression.export.decoders import DOMAIN, make_function

SHAPE = "s"
"""The one attribute that calls hand on; all others stand in the function."""

NAME_BYTES = 2
"""What a value's name is taken to cost beside its two bytes of framing."""

FUNCTION_BYTES = 21
"""A function's frame: its name, domain and opsets."""

Kind = tuple[str, str, bytes, int]
Pair = tuple[Kind, Kind, tuple[int, ...]]


class Call:
    """A node with what pairs are found by. `kind` is the operator with all that would stand in a function."""

    def __init__(self, node: NodeProto):
        self.node, self.kind = node, _kind(node)
        self.inputs, self.outputs = tuple(node.input), tuple(node.output)
        self.passed_bytes = sum(_attribute_bytes(a) for a in node.attribute if _is_passed(node, a))
        self.size_bytes = _bytes(node)


def outline(
    nodes: Sequence[NodeProto], functions: dict[str, FunctionProto], output: str
) -> tuple[list[NodeProto], dict[str, FunctionProto]]:
    """The same graph with fewer bytes: its nodes and all functions that they need, under short names.

    `output` is the graph's answer; it and the initializers keep their names.
    """
    outlined = _Outline(nodes, functions, output)
    while outlined.merge_best():
        pass
    return outlined.finish()


class _Outline:
    def __init__(self, nodes: Sequence[NodeProto], functions: dict[str, FunctionProto], output: str):
        self.calls = [Call(node) for node in nodes]
        self.functions, self.output = dict(functions), output
        self.names = (name for name in short_names() if name not in self.functions)

    def merge_best(self) -> bool:
        """Turns the pair that saves most bytes into a function; False where none saves any."""
        places = self._pairs()
        gains = {pair: _gain(found) for pair, found in places.items() if len(found) > 1}
        if not gains:
            return False
        best = max(gains, key=lambda pair: gains[pair])  # the first of equals, in the order of the graph
        if gains[best] <= 0:
            return False
        self._merge(places[best])
        return True

    def _pairs(self) -> dict[Pair, list[tuple[Call, Call]]]:
        """Places of each pair; none overlap, so that in a chain of equals every second counts."""
        reader: dict[str, Call | None] = {}
        for call in self.calls:
            for name in set(call.inputs):
                reader[name] = None if name in reader else call
        found: dict[Pair, list[tuple[Call, Call]]] = {}
        taken: dict[Pair, set[Call]] = defaultdict(set)
        for call in self.calls:
            after = reader.get(call.outputs[0]) if call.outputs[0] != self.output else None
            if (
                after is None
                or len(call.outputs) > 1
                or len(after.outputs) > 1
                or (call.passed_bytes and after.passed_bytes)
            ):
                continue
            pair = call.kind, after.kind, _pattern(call, after)
            if call not in taken[pair] and after not in taken[pair]:
                taken[pair] |= {call, after}
                found.setdefault(pair, []).append((call, after))
        return found

    def _merge(self, places: list[tuple[Call, Call]]) -> None:
        name = next(self.names)
        self.functions[name] = _function(name, *places[0])
        made: dict[Call, Call | None] = {}
        for call, after in places:
            node = helper.make_node(name, _inputs(call, after), after.outputs, domain=DOMAIN)
            node.attribute.extend(a for n in (call.node, after.node) for a in n.attribute if _is_passed(n, a))
            made[call], made[after] = None, Call(node)
        self.calls = [new for call in self.calls if (new := made.get(call, call)) is not None]

    def finish(self) -> tuple[list[NodeProto], dict[str, FunctionProto]]:
        """Puts functions that are called once back where they are called, and drops those that are not called."""
        nodes = [call.node for call in self.calls]
        while True:
            called = Counter(_called(nodes))
            alive = self._reachable(called)
            for name in alive:
                called.update(_called(self.functions[name].node))
            once = next((name for name in alive if called[name] == 1), None)
            if once is None:
                break
            inlined = self.functions.pop(once)
            alive.remove(once)
            nodes = _inline(nodes, inlined)
            for name in alive:
                old = self.functions[name]
                self.functions[name] = _rebuilt(old, _inline(old.node, inlined))
        return nodes, {name: _shortened(self.functions[name]) for name in alive}

    def _reachable(self, called: Iterable[str]) -> list[str]:
        found = set(called)
        waiting = list(found)
        while waiting:
            new = set(_called(self.functions[waiting.pop()].node)) - found
            found |= new
            waiting += sorted(new)
        return sorted(found)


def short_names() -> Iterator[str]:
    """'a', 'b', …, 'aa', …"""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_letters, repeat=length):
            yield "".join(letters)


def renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """The node with its values under other names; those that are not in `names` stay."""
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(names.get(name, name) for name in node.input)
    copy.output.extend(names.get(name, name) for name in node.output)
    return copy


def _kind(node: NodeProto) -> Kind:
    fixed = b"".join(a.SerializeToString(deterministic=True) for a in node.attribute if not _is_passed(node, a))
    passes = any(_is_passed(node, attribute) for attribute in node.attribute)
    return node.op_type, node.domain, fixed + bytes([passes]), len(node.input)


def _is_passed(node: NodeProto, attribute: AttributeProto) -> bool:
    return node.domain == DOMAIN and attribute.name == SHAPE


def _inputs(first: Call, second: Call) -> list[str]:
    """What the two nodes read from outside, each value once."""
    return [name for name in dict.fromkeys(first.inputs + second.inputs) if name and name != first.outputs[0]]


def _pattern(first: Call, second: Call) -> tuple[int, ...]:
    """Which inputs of the two nodes are the same value: -1 for the one handed over, -2 for one left out."""
    places = {name: i for i, name in enumerate(_inputs(first, second))}
    places |= {first.outputs[0]: -1, "": -2}
    return tuple([places[name] for name in first.inputs + second.inputs])


def _gain(places: list[tuple[Call, Call]]) -> int:
    """Bytes that a function for this pair saves."""
    first, second = places[0]
    inputs = len(_inputs(first, second))
    call = _frame(1, 1, inputs, DOMAIN)
    body = FUNCTION_BYTES + (2 + NAME_BYTES) * (inputs + 1) + first.size_bytes + second.size_bytes
    return sum(a.size_bytes - a.passed_bytes + b.size_bytes - b.passed_bytes - call for a, b in places) - body


def _bytes(node: NodeProto) -> int:
    attributes = sum(_attribute_bytes(attribute) for attribute in node.attribute)
    return _frame(len(node.op_type), len(node.output), len(node.input), node.domain) + attributes


def _frame(operator: int, outputs: int, inputs: int, domain: str) -> int:
    return 2 + 2 + operator + (2 + NAME_BYTES) * (outputs + inputs) + (2 + len(domain) if domain else 0)


def _attribute_bytes(attribute: AttributeProto) -> int:
    return attribute.ByteSize() + 2


def _function(name: str, first: Call, second: Call) -> FunctionProto:
    nodes = [_referring(first.node), _referring(second.node)]
    return _build(name, _inputs(first, second), second.outputs[0], nodes)


def _referring(node: NodeProto) -> NodeProto:
    """The node as it stands in a function: the attribute that is handed on refers to the function's own."""
    copy = renamed(node, {})
    for attribute in copy.attribute:
        if _is_passed(node, attribute):
            attribute.CopyFrom(AttributeProto(name=SHAPE, ref_attr_name=SHAPE, type=AttributeProto.INTS))
    return copy


def _called(nodes: Iterable[NodeProto]) -> Iterator[str]:
    return (node.op_type for node in nodes if node.domain == DOMAIN)


def _inline(nodes: Iterable[NodeProto], function: FunctionProto) -> list[NodeProto]:
    """`nodes` with the call of `function` replaced by its body."""
    found: list[NodeProto] = []
    for node in nodes:
        found += _body(function, node) if node.domain == DOMAIN and node.op_type == function.name else [node]
    return found


def _body(function: FunctionProto, call: NodeProto) -> list[NodeProto]:
    names = dict(zip(function.input, call.input, strict=True)) | {function.output[0]: call.output[0]}
    inside = {name for node in function.node for name in node.output} - set(function.output)
    names |= {name: f"{call.output[0]}.{name}" for name in inside}
    return [_with_attributes(renamed(node, names), call) for node in function.node]


def _with_attributes(node: NodeProto, call: NodeProto) -> NodeProto:
    """References to the function's attribute replaced by what the call hands over."""
    given = {attribute.name: attribute for attribute in call.attribute}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            name = attribute.name
            attribute.CopyFrom(given[attribute.ref_attr_name])
            attribute.name = name
    return node


def _rebuilt(function: FunctionProto, nodes: list[NodeProto]) -> FunctionProto:
    return _build(function.name, list(function.input), function.output[0], nodes)


def _shortened(function: FunctionProto) -> FunctionProto:
    """The function with short names inside."""
    values = dict.fromkeys([*function.input, *(name for node in function.node for name in node.output)])
    names = dict(zip(values, short_names(), strict=False))
    nodes = [renamed(node, names) for node in function.node]
    return _build(function.name, [names[name] for name in function.input], names[function.output[0]], nodes)


def _build(name: str, inputs: list[str], output: str, nodes: list[NodeProto]) -> FunctionProto:
    handed = any(attribute.ref_attr_name == SHAPE for node in nodes for attribute in node.attribute)
    return make_function(name, inputs, output, nodes, [SHAPE] if handed else [])
