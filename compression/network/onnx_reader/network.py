"""A program of ONNX as a module: its tensors under names, its nodes one after the other, in torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from compression.errors import InvalidModel, Unsupported
from compression.network.lifting import attribute, place
from compression.network.onnx_reader.folding import DRAWS
from compression.network.onnx_reader.naming import Names
from compression.network.onnx_reader.operators import OPERATORS
from compression.network.onnx_reader.operators.layers import WEIGHTS
from compression.network.onnx_reader.operators.moves import HOST_INPUTS
from compression.network.onnx_reader.operators.values import tensor
from compression.network.onnx_reader.program import Body, Node, Program
from compression.network.onnx_reader.sizes import HOST, MOST, OF_TENSORS, Large, is_host

FAILURES = (RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, AssertionError)
"""What torch and NumPy raise for arguments that an operator does not take."""


class Network(nn.Module):
    """Runs a program. `forward` takes images [n, C, H, W], floats, and answers with its first output.

    takes: what the file calls its images. ending: the operator at the file's end that was left out. channels_last,
    quantized: whether the file was that.
    """

    def __init__(self, program: Program):
        super().__init__()
        self.takes = program.image
        self.ending: str | None = None
        self.channels_last = self.quantized = False
        self._program = program
        self._names = Names()
        self._inputs: dict[int, list[Callable[[dict[str, Any]], Any]]] = {}
        self._paths: dict[tuple[str, ...], str] = {}
        for node in (node for nodes in program.bodies() for node in nodes):
            _check_known(node)
            self._reads(node)

    @property
    def program(self) -> Program:
        """What is run."""
        return self._program

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores [n, classes]."""
        found: dict[str, Any] = {self._program.image: images}
        last = {name: i for i, node in enumerate(self._program.nodes) for name in node.inputs}
        for i, node in enumerate(self._program.nodes):
            self.step(node, found)
            for name in node.inputs:
                if last[name] == i and name not in self._program.outputs:
                    found.pop(name, None)
        return self.answer(found)

    def answer(self, found: dict[str, Any]) -> torch.Tensor:
        """What the network gives, of the values `found` at the end."""
        name = self._program.outputs[0]
        return tensor(found[name] if name in found else self._program.constants[name])

    def step(self, node: Node, found: dict[str, Any]) -> None:
        """Runs one node on the values `found` so far, and adds what it gives."""
        values = [read(found) for read in self._reads(node)]
        if node.op == "If":
            self._branch(node, values[0], found)
            return
        answer = _computed(node, values)
        answers = answer if isinstance(answer, tuple | list) else (answer,)
        for name, value in zip(node.outputs, answers, strict=False):
            if name:
                found[name] = value
        missing = [name for name in node.outputs[len(answers) :] if name and name in self._needed(node)]
        if missing:
            raise InvalidModel(f"{node.said} gives {len(node.outputs)} values; the first alone is possible.")

    def _needed(self, node: Node) -> set[str]:
        read = {name for each in self._program.nodes for name in each.inputs}
        return (read | set(self._program.outputs)) & set(node.outputs)

    def _branch(self, node: Node, condition: Any, found: dict[str, Any]) -> None:
        body = self.chosen(node, condition)
        for inner in body.nodes:
            self.step(inner, found)
        for name, value in zip(node.outputs, body.outputs, strict=True):
            found[name] = found[value] if value in found else self._program.constants[value]

    def chosen(self, node: Node, condition: Any) -> Body:
        """The branch of an If that is taken. Raises `InvalidModel` where that depends on the image."""
        if not is_host(condition) or condition.size != 1:
            raise InvalidModel(f"{node.said} chooses by the image's pixels what is computed; a fixed way is needed.")
        body = node.get("then_branch" if bool(condition.reshape(-1)[0]) else "else_branch")
        if not isinstance(body, Body):
            raise InvalidModel(f"{node.said} lacks a branch.")
        return body

    # What nodes read

    def _reads(self, node: Node) -> list[Callable[[dict[str, Any]], Any]]:
        if id(node) not in self._inputs:
            self._inputs[id(node)] = [self._read(node, place) for place in range(len(node.inputs))]
        return self._inputs[id(node)]

    def forget(self, node: Node) -> None:
        """What `node` reads is looked up anew: it has changed."""
        self._inputs.pop(id(node), None)

    def _read(self, node: Node, at: int) -> Callable[[dict[str, Any]], Any]:
        name = node.inputs[at]
        if not name:
            return lambda found: None
        value = self._program.constants.get(name)
        if value is None:
            return lambda found: _known(found, name, node)
        if self._is_host(node, at, value):
            return lambda found: value
        path = self._stored(node, at, value)
        return lambda found: attribute(self, path)

    def _is_host(self, node: Node, at: int, value: np.ndarray) -> bool:
        if at in HOST_INPUTS.get(node.op, ()):
            return True
        if node.op in WEIGHTS and at:
            return False
        return value.size <= 1 or (value.dtype.kind != "f" and value.size <= MOST)

    def _stored(self, node: Node, at: int, value: np.ndarray) -> str:
        """The path under which a constant is stored that `node` reads."""
        own = WEIGHTS.get(node.op, ()) if at else ()
        if not own:
            key: tuple[str, ...] = (node.inputs[at],)
            wanted = None
        else:
            key = (node.op, *node.inputs[1:])
            wanted = own[at - 1] if at <= len(own) else f"input{at}"
        if key not in self._paths:
            names = self._names
            self._paths[key] = names.layer(node.inputs[1], node.name, node.op) if own else names.tensor(node.inputs[at])
        path = f"{self._paths[key]}.{wanted}" if wanted else self._paths[key]
        if not _has(self, path):
            made = torch.from_numpy(np.array(value, order="C")) if value.dtype.kind != "u" else tensor(value)
            learned = value.dtype.kind == "f" and wanted not in ("running_mean", "running_var")
            place(self, path, nn.Parameter(made) if learned else made)
        return path


def _has(module: nn.Module, path: str) -> bool:
    try:
        attribute(module, path)
    except AttributeError:
        return False
    return True


def _known(found: dict[str, Any], name: str, node: Node) -> Any:
    if name not in found:
        raise InvalidModel(f"{node.said} reads a value {name[:60]!r} that the file neither stores nor computes before.")
    return found[name]


def _computed(node: Node, values: list[Any]) -> Any:
    """What a node gives: sizes where it reads nothing else, tensors otherwise."""
    if node.op in OF_TENSORS and not node.domain:
        return OF_TENSORS[node.op](node, *values)
    plain = not node.domain and node.op in HOST and all(is_host(value) or value is None for value in values)
    if plain:
        try:
            return HOST[node.op](node, *values)
        except Large:
            pass
    call = OPERATORS.get((node.domain, node.op))
    if call is None:
        raise unknown(node)
    return call(node, *values)


def _check_known(node: Node) -> None:
    key = (node.domain, node.op)
    if key not in OPERATORS and node.op != "If" and (node.domain or node.op not in {*HOST, *OF_TENSORS}):
        raise unknown(node)


TRAINING = "it trains, as it was exported in training mode: call eval() on the network before"


def refuse_training(program: Program) -> None:
    """Raises `Unsupported` for layers that train: they draw random numbers, or average over the batch."""
    for node in (node for nodes in program.bodies() for node in nodes):
        drops = program.constants.get(node.input(2)) if node.op == "Dropout" else None
        if node.get("training_mode", 0) or (drops is not None and drops.any()):
            raise Unsupported(f"The network's operator {node.said} cannot be read; {TRAINING}.")


WAYS = {
    **dict.fromkeys(DRAWS, TRAINING),
    "Loop": "export it with torch.onnx.export(..., dynamo=True), which writes loops out",
    "Scan": "export it with torch.onnx.export(..., dynamo=True), which writes loops out",
    "NonMaxSuppression": "detectors are not compressed here; cut the file to its classifier",
    "LSTM": "recurrent networks are not compressed here",
    "GRU": "recurrent networks are not compressed here",
    "RNN": "recurrent networks are not compressed here",
}


def unknown(node: Node) -> Unsupported:
    """The refusal of an operator that is in no table."""
    optimized = "save the file without ONNX Runtime's optimizations, or of a standard operator"
    usual = "write it with other operators, or import the network as a .pt2 file (torch.export.save)"
    way = WAYS.get(node.op, optimized if node.domain.startswith("com.microsoft") else usual)
    return Unsupported(f"The network's operator {node.said} cannot be read; {way}.")
