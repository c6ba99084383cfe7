"""A program of `.pt2` as a module: its tensors under their names, its calls one after the other."""

import operator
from typing import Any

import torch
from torch import nn

from compression.errors import InvalidModel
from compression.network.pt2.arguments import values
from compression.network.pt2.fields import shown
from compression.network.pt2.operators import Value
from compression.network.pt2.program import Call, Program, Results
from compression.network.pt2.tensors import Stored


class Network(nn.Module):
    """Runs a program. `forward` takes images [n, C, H, W], floats, and answers as the program says."""

    def __init__(self, program: Program, stored: Stored):
        super().__init__()
        self._program = program
        self._done = _last_reads(program)
        for name in program.stored.values():
            _put(self, name, stored.tensor(name))

    @property
    def program(self) -> Program:
        """What is run."""
        return self._program

    @program.setter
    def program(self, program: Program) -> None:
        self._program, self._done = program, _last_reads(program)

    def forward(self, images: torch.Tensor) -> Any:
        """Scores, or the tuple of what the network answers."""
        found = self.beginning(images)
        for call, done in zip(self._program.calls, self._done, strict=True):
            step(call, found)
            for place in done:
                found.pop(place, None)
        answers = tuple(found[place] if place is not None else None for place in self._program.answers)
        return answers[0] if len(answers) == 1 else answers

    def beginning(self, images: torch.Tensor) -> dict[int, Any]:
        """What is known before the first call, by place."""
        found: dict[int, Any] = {place: operator.attrgetter(name)(self) for place, name in self._program.stored.items()}
        return found | {self._program.images: images}


def step(call: Call, found: dict[int, Any]) -> None:
    """Runs one call on what is `found` at the places so far, and adds what it gives."""
    args, kwargs = _filled((call.args, call.kwargs), found)
    _keep(call.operator.call(*args, **kwargs), call, found)


def _last_reads(program: Program) -> tuple[list[int], ...]:
    """For each call the places that nothing reads after it."""
    last: dict[int, int] = {}
    for number, call in enumerate(program.calls):
        last |= dict.fromkeys(_places(call.results), number)
        last |= {value.place: number for value in values((call.args, call.kwargs))}
    done: list[list[int]] = [[] for _ in program.calls]
    for place, number in last.items():
        if place not in program.answers:
            done[number].append(place)
    return tuple(done)


def _places(results: Results) -> list[int]:
    if isinstance(results, list):
        return [place for each in results for place in _places(each)]
    return [] if results is None else [results]


def _filled(argument: Any, found: dict[int, Any]) -> Any:
    """An argument with what was computed in place of each `Value`."""
    if isinstance(argument, Value):
        return found[argument.place]
    if isinstance(argument, dict):
        return {name: _filled(value, found) for name, value in argument.items()}
    return (
        type(argument)(_filled(value, found) for value in argument) if isinstance(argument, list | tuple) else argument
    )


def _keep(answer: Any, call: Call, found: dict[int, Any]) -> None:
    """Puts what an operator gave at its places."""
    pairs: list[tuple[Results, Any]]
    if not isinstance(call.results, list):
        pairs = [(call.results, answer)]
    elif len(call.results) == len(answer):
        pairs = list(zip(call.results, answer, strict=True))
    else:
        raise ValueError(f"{call.operator.name} gives {len(answer)} values where {len(call.results)} are read")
    for place, value in pairs:
        if isinstance(place, list):
            _keep(value, Call(call.operator, (), {}, place), found)
        elif place is not None:
            found[place] = value


def _put(root: nn.Module, path: str, tensor: torch.Tensor) -> None:
    """Registers a tensor under a dotted name. Raises `InvalidModel` for a name that a module has for itself."""
    *parents, leaf = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            _check_free(root, parent, path)
            root.add_module(parent, nn.Module())
        root = root._modules[parent]  # type: ignore[assignment]
    if leaf in root._parameters or leaf in root._buffers:
        return  # one tensor that is read as two inputs
    _check_free(root, leaf, path)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(leaf, tensor)
    else:
        root.register_buffer(leaf, tensor)


def _check_free(root: nn.Module, name: str, path: str) -> None:
    if hasattr(root, name):
        raise InvalidModel(f"The network has a tensor {shown(path)}, but {name!r} is a name that modules have already.")
