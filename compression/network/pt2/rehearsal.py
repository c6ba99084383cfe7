"""A network of `.pt2` runs once before it is used, and is made to take any number of images.

Most are saved for one image, the way PyTorch's documentation shows: lengths of reshapes hold that number. Two runs on
shapes alone, one of them with twice the images, show which lengths grow with it.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compression.errors import InvalidModel
from compression.network.pt2.network import Network, step
from compression.network.pt2.operators import Value, find
from compression.network.pt2.program import Call, Program

MOST_BYTES = 1 << 30
"""Memory of one value for `IMAGES` images."""

IMAGES = 2
MOST_CHECKED = 32
"""Largest batch of a saved program that is computed with; larger ones are looked at by their shapes alone."""

ATEN, EXPAND = "torch.ops.aten", "aten.expand.default"
LENGTHS = {"aten.reshape.default", "aten.view.default", "aten._unsafe_view.default", EXPAND}
"""Operators whose second argument are lengths."""

FAILURES = (RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, AssertionError)
"""What PyTorch raises for arguments that an operator does not take."""


def rehearse(network: Network) -> None:
    """Frees the network's batch and runs it. Raises `InvalidModel` where it does not run, or needs too much memory.

    It runs on shapes alone first, so that nothing is computed that would not fit.
    """
    shape = network.program.shape
    try:
        with torch.no_grad():
            with quiet(), FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
                saved = _follow_batch(network)
                with Bounded():
                    network(torch.zeros(IMAGES, *shape))
            images = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
            together = tree_leaves(network(images))
            _check_alone(network, saved, images, together)
    except FAILURES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        size = "×".join(map(str, shape))
        raise InvalidModel(f"The network does not take batches of {size} images: {reason}.") from None


def _follow_batch(network: Network) -> Program:
    """Lengths that were saved as a fixed number of images follow the number there is; the program as it was."""
    program = network.program
    if program.batch is None:
        return program
    places = count(program.places)
    counted = Value(next(places), is_tensor=False)
    size, times, reshape = (find(name) for name in (f"{ATEN}.sym_size.int", "_operator.mul", f"{ATEN}.reshape.default"))
    assert size and times and reshape
    once = network.beginning(torch.zeros(program.batch, *program.shape))
    twice = network.beginning(torch.zeros(2 * program.batch, *program.shape))
    calls = [Call(size, (Value(program.images, is_tensor=True), 0), {}, counted.place)]
    step(calls[0], twice)
    for call in program.calls:
        with Bounded() if program.batch <= MOST_CHECKED else nullcontext():
            step(call, once)
        axis = _growing_axis(call, once, twice, program.batch)
        if axis is not None:
            lengths, factor = list(call.args[1]), call.args[1][axis] // program.batch
            lengths[axis] = counted
            if factor != 1:
                lengths[axis] = Value(next(places), is_tensor=False)
                calls.append(Call(times, (counted, factor), {}, lengths[axis].place))
                step(calls[-1], twice)
            expands = call.operator.name == EXPAND
            # one image lies in memory as a view needs it; several may not
            call = replace(
                call, operator=call.operator if expands else reshape, args=(call.args[0], lengths, *call.args[2:])
            )
        calls.append(call)
        step(call, twice)
    network.program = replace(program, calls=tuple(calls), places=next(places))
    return program


def _growing_axis(call: Call, once: dict[int, Any], twice: dict[int, Any], batch: int) -> int | None:
    """Which length of a reshape or an expansion holds the number of images; None where none does, or it is left open.

    once, twice: what is known with `batch` images and with twice as many.
    """
    if call.operator.name not in LENGTHS or not isinstance(call.args[0], Value) or not isinstance(call.results, int):
        return None
    lengths, read = call.args[1], call.args[0].place
    before, after, to = tuple(once[read].shape), tuple(twice[read].shape), tuple(once[call.results].shape)
    grown = [axis for axis, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    if call.operator.name == EXPAND and not grown:
        return 0 if lengths[:1] == [batch] else None
    if len(grown) != 1 or before[grown[0]] * 2 != after[grown[0]]:
        return None
    moved = grown[0] + len(to) - len(before)  # an expansion adds axes in front
    axis = moved if call.operator.name == EXPAND else kept_axis(before, grown[0], to, batch)
    return axis if axis is not None and isinstance(lengths[axis], int) and lengths[axis] > 0 else None


def kept_axis(before: tuple[int, ...], grown: int, to: tuple[int, ...], batch: int) -> int | None:
    """In a reshape from `before` the axis of `to` that grows where `grown` does; None where there is none.

    A reshape keeps the order of elements, so the number of images stays at its place: as a length of its own where
    there is one, else in the length that begins or ends there. The last axis, which holds features, begins with none.
    """
    first = math.prod(before[:grown])  # elements in front, and with the axis itself
    last = first * before[grown]
    starts = [math.prod(to[:axis]) for axis in range(len(to))]
    alone = [axis for axis, start in enumerate(starts) if to[axis] == batch and first <= start <= last]
    begins = [axis for axis, start in enumerate(starts[:-1]) if start == first and to[axis] % batch == 0]
    ends = [axis for axis, start in enumerate(starts) if start * to[axis] == last and to[axis] % batch == 0]
    return next(iter((*alone, *begins, *ends)), None)


def _check_alone(network: Network, saved: Program, images: torch.Tensor, together: list[Any]) -> None:
    """Raises `InvalidModel` where the batch was freed and an image is answered otherwise than by the saved program."""
    if saved.batch is None or saved.batch > MOST_CHECKED:
        return
    freed, network.program = network.program, saved
    try:
        alone = [_alone(network, saved.batch, image) for image in images]
    finally:
        network.program = freed
    for answer, *each in zip(together, *alone, strict=True):
        if isinstance(answer, torch.Tensor) and not _agree(answer, torch.stack(each)):
            raise InvalidModel(
                f"The network was saved for batches of {saved.batch} and gives different outputs in others; save it"
                " with dynamic_shapes that leave the first axis free."
            )


def _alone(network: Network, batch: int, image: torch.Tensor) -> list[Any]:
    """What a network for `batch` images answers to one; the others are blank."""
    images = torch.zeros(batch, *image.shape)
    images[0] = image
    leaves = tree_leaves(network(images))
    return [leaf[0] if isinstance(leaf, torch.Tensor) and leaf.dim() else leaf for leaf in leaves]


def _agree(answer: torch.Tensor, expected: torch.Tensor) -> bool:
    tolerance = 1e-4 * float(expected.abs().max() + 1) if expected.numel() else 0.0
    return answer.shape == expected.shape and torch.allclose(
        answer, expected, rtol=1e-3, atol=tolerance, equal_nan=True
    )


class Bounded(TorchDispatchMode):
    """Raises `InvalidModel` where an operator, or one that it is made of, makes a value of more than `MOST_BYTES`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            size = leaf.untyped_storage().nbytes() if isinstance(leaf, torch.Tensor) else 0
            if type(size) is int and size > MOST_BYTES:
                raise InvalidModel(f"The network makes a value of {size} bytes; up to {MOST_BYTES} are possible.")
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """PyTorch logs a traceback before it raises; the sentence says it already."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
