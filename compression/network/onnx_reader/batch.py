"""A file's network runs once before it is used, and is made to take any number of images.

Most are exported for one image: lengths of reshapes hold that number. Two runs on shapes alone, one of them with twice
the images, show which lengths grow with it. Branches are settled in the same run: what they depend on are sizes.
"""

from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from compression.errors import InvalidModel
from compression.network.onnx_reader.network import FAILURES, Network
from compression.network.onnx_reader.program import Node
from compression.network.onnx_reader.rewriting import constant_
from compression.network.onnx_reader.sizes import is_host
from compression.network.pt2.rehearsal import Bounded, kept_axis, quiet

FOLLOW = "FollowBatch"
"""Our own operator: lengths [k], images -> lengths with the number of images, times `factor`, at `axis`."""


def rehearse(network: Network, shape: tuple[int, int, int]) -> int:
    """Settles branches, frees the batch, and runs the network on images of `shape` (C, H, W).

    Returns the number of classes.

    Raises `InvalidModel` where it does not run, needs too much memory, or gives no scores [n, classes].
    """
    program = network.program
    batch = program.sizes[0] or 1
    with torch.no_grad():
        with quiet(), FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
            if program.sizes[0] or any(node.op == "If" for node in program.nodes):
                _follow(network, batch, shape)
            else:
                _run(network, torch.zeros(2, *shape), bounded=True)
        images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        answer = _run(network, images)
    if answer.dim() != 2 or len(answer) != 3 or not answer.is_floating_point():
        raise InvalidModel(
            f"The network must answer 3 images with scores [3, classes], not with {list(answer.shape)} of"
            f" {str(answer.dtype).removeprefix('torch.')}."
        )
    return answer.shape[1]


def _run(network: Network, images: torch.Tensor, *, bounded: bool = False) -> torch.Tensor:
    found: dict[str, Any] = {network.program.image: images}
    for node in network.program.nodes:
        _step(network, node, found, bounded=bounded)
    return network.answer(found)


def _step(network: Network, node: Node, found: dict[str, Any], *, bounded: bool = True) -> None:
    """One node. Raises `InvalidModel`, with its name, where it cannot be computed."""
    try:
        if bounded:
            with Bounded():
                network.step(node, found)
        else:
            network.step(node, found)
    except FAILURES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InvalidModel(f"The network's {node.said} cannot be computed: {reason[:200]}.") from None


def _follow(network: Network, batch: int, shape: tuple[int, int, int]) -> None:
    """Takes one branch of each If, and makes lengths that hold the number of images follow it."""
    program = network.program
    once: dict[str, Any] = {program.image: torch.zeros(batch, *shape)}
    twice: dict[str, Any] = {program.image: torch.zeros(2 * batch, *shape)}
    waiting, done = list(reversed(program.nodes)), []
    while waiting:
        node = waiting.pop()
        if node.op == "If":
            waiting += reversed(_taken(network, node, once))
            continue
        _make_reshape_(network, node, once)
        _step(network, node, once)
        freed = _freed(network, node, once, twice, batch)
        for each in (*freed, node):
            _step(network, each, twice)
            done.append(each)
    program.nodes[:] = done


def _taken(network: Network, node: Node, found: dict[str, Any]) -> list[Node]:
    """The nodes of the branch that is taken, and some that give its values the names that the If gives them."""
    condition = found.get(node.input(0), network.program.constants.get(node.input(0)))
    body = network.chosen(node, condition)
    renamed = [Node("Identity", [value], [name]) for value, name in zip(body.outputs, node.outputs, strict=True)]
    return [*body.nodes, *renamed]


def _make_reshape_(network: Network, node: Node, once: dict[str, Any]) -> None:
    """A Gather of all numbers in their order becomes a Reshape, which can follow the batch: PyTorch's `as_strided`."""
    program, flat = network.program, once.get(node.input(0))
    places = program.constants.get(node.input(1))
    if node.op != "Gather" or node.domain or not isinstance(flat, torch.Tensor) or flat.dim() != 1 or places is None:
        return
    if places.size == len(flat) and np.array_equal(places.reshape(-1), np.arange(places.size)):
        lengths = constant_(program, f"{node.outputs[0]}.shape", np.asarray(places.shape, np.int64))
        node.op, node.inputs = "Reshape", [node.inputs[0], lengths]
        network.forget(node)


def _freed(network: Network, node: Node, once: dict[str, Any], twice: dict[str, Any], batch: int) -> tuple[Node, ...]:
    """A node that makes `node`'s lengths follow the number of images, where they hold it."""
    program = network.program
    if node.op not in ("Reshape", "Expand", "ConstantOfShape") or node.domain:
        return ()
    at = 0 if node.op == "ConstantOfShape" else 1
    lengths = program.constants.get(node.input(at), twice.get(node.input(at)))
    if not is_host(lengths) or lengths.ndim != 1:
        return ()
    before = program.constants.get(node.input(at), once.get(node.input(at)))
    if not is_host(before) or list(before) != list(lengths):
        return ()  # they follow it already
    axis = _axis(node, once, twice, [int(n) for n in lengths], batch)
    if axis is None or lengths[axis] <= 0:
        return ()
    factor = max(1, int(lengths[axis]) // batch)
    name = constant_(program, f"{node.outputs[0]}.lengths", np.asarray(lengths, np.int64))
    followed = f"{name}.followed"
    node.inputs[at] = followed
    network.forget(node)
    return (Node(FOLLOW, [name, program.image], [followed], {"axis": axis, "factor": factor}, node.name),)


def _axis(node: Node, once: dict[str, Any], twice: dict[str, Any], lengths: list[int], batch: int) -> int | None:
    """Which length holds the number of images; None where none does."""
    if node.op == "ConstantOfShape":
        return None
    before, after = once.get(node.inputs[0]), twice.get(node.inputs[0])
    given = once[node.outputs[0]]
    if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor) or is_host(given):
        return None
    to, old, new = tuple(given.shape), tuple(before.shape), tuple(after.shape)
    grown = [axis for axis, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    if len(grown) != 1 or old[grown[0]] * 2 != new[grown[0]]:
        return None
    if node.op == "Expand":
        moved = grown[0] + len(to) - len(old)
        moved -= len(to) - len(lengths)
        return moved if moved >= 0 and lengths[moved] != 1 else None
    axis = kept_axis(old, grown[0], to, batch)
    if axis is None or lengths[axis] == -1 or (lengths[axis] == 0 and axis == grown[0]):
        return None
    return axis
