"""Whether two ways to compute the same network answer alike, and which operator is the first where they do not.

A network, what it was traced to and the file that is written of it compute the same in other orders, so their answers
differ by rounding. What differs by more than that is another network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from compression.errors import InvalidModel
from compression.network.capture import captured
from compression.network.graph import arguments, operator_name

ROUNDING = 1e-3
"""By which share of their spread answers of the same network may differ: sums of float32 in another order."""

COARSE = 5e-2
"""The same where a network computes in 16 bits, or steps from one value to another where its input passes a number."""

RESOLUTION = 1e-5
"""By which share of their size answers may always differ: float32 knows 7 digits of them."""

STEPS = {
    "round", "floor", "ceil", "trunc", "frac", "sign", "gt", "ge", "lt", "le", "eq", "ne", "argmax", "argmin", "topk",
    "sort", "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine",
}  # fmt: skip
"""Operators that answer by steps: what differs by rounding before them may differ by a step behind them."""

SHORT = {torch.float16, torch.bfloat16}

TRAINS = ("train", "training", "dropout_p")
"""Settings with which an operator's answer is drawn at random, or depends on the other images."""

FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError)
"""What PyTorch raises where a network does not take the images that it is given."""


def agree(expected: torch.Tensor, found: torch.Tensor, tolerance: float = ROUNDING) -> bool:
    """Whether no number of `found` is further from `expected` than `tolerance` of the spread of all, or rounding."""
    return _distance(expected, found, tolerance) <= 1


def _distance(expected: torch.Tensor, found: torch.Tensor, tolerance: float) -> float:
    """The largest difference of numbers, in units of what is allowed; infinite where shapes or infinities differ."""
    a, b = expected.detach().double(), found.detach().double()
    if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf")
    a, b = a[a.isfinite()], b[b.isfinite()]
    if not a.numel():
        return 0.0
    allowed = (
        tolerance * float(a.std(correction=0)) + RESOLUTION * float(a.abs().max()) + torch.finfo(torch.float32).tiny
    )
    return float((a - b).abs().max()) / allowed


def tolerance_of(source: fx.GraphModule) -> float:
    """How far answers of the traced network `source` may be apart."""
    values = (node.meta.get("val") for node in source.graph.nodes)
    short = any(isinstance(value, torch.Tensor) and value.dtype in SHORT for value in values)
    return COARSE if short or any(operator_name(n).rstrip("_") in STEPS for n in source.graph.nodes) else ROUNDING


@contextmanager
def taking(shape: tuple[int, ...]) -> Iterator[None]:
    """What fails inside is a network that does not take images [C, H, W] of `shape`: `InvalidModel`."""
    try:
        yield
    except FAILURES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        size = "×".join(map(str, shape))
        raise InvalidModel(f"The network does not take batches of {size} images: {reason}.") from None


class Run(fx.Interpreter):
    """A traced network carried out node by node; what it stores stays as it is, whatever it writes."""

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A stored tensor; a copy of it where it is no parameter."""
        value = super().get_attr(target, args, kwargs)
        return value.clone() if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter) else value


class _Values(Run):
    """Keeps what each node gives as it is at that time."""

    def __init__(self, source: fx.GraphModule):
        super().__init__(source)
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """What the node computes; a copy of it is kept."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            self.values[n.name] = value.clone()
        return value


def batch_of(source: fx.GraphModule) -> int | None:
    """The number of images that a traced network always takes at once; None where it takes any."""
    images = next(node for node in source.graph.nodes if node.op == "placeholder")
    batch = images.meta["val"].shape[0]
    return batch if isinstance(batch, int) else batch.node.maybe_as_int()


@torch.no_grad()
def answers_of_program(source: fx.GraphModule, images: torch.Tensor) -> torch.Tensor:
    """What a traced network, as it was before anything was rewritten, answers to images [n, C, H, W]."""
    return torch.cat([first_tensor(Run(source).run(part, enable_io_processing=False))
                      for part in _parts(source, images)])[: len(images)]  # fmt: skip


def _parts(source: fx.GraphModule, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Batches of the size that `source` takes; the last is filled with its last image."""
    size = batch_of(source) or len(images)
    missing = -len(images) % size
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]).split(size)


@torch.no_grad()
def answers_of_module(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a network in eval mode answers to images [n, C, H, W]."""
    with evaluating(model):
        return first_tensor(model(images))


def first_tensor(answer: Any) -> torch.Tensor:
    """The first tensor of an answer that may be a tuple, list or dict."""
    found = next((value for value in tree_leaves(answer) if isinstance(value, torch.Tensor)), None)
    if found is None:
        raise InvalidModel(f"The network must return scores [images, classes], not {type(answer).__name__}.")
    return found.clone()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The network in eval mode; behind it, each part is in the mode it was in and stores what it stored."""
    modes = {module: module.training for module in model.modules()}
    stored = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for buffer, before in stored:
            if not torch.equal(buffer, before):
                with torch.no_grad():
                    buffer.copy_(before)


@torch.no_grad()
def values_of_program(source: fx.GraphModule, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each node of a traced network gives, by its name, for the first batch of images."""
    run = _Values(source)
    run.run(_parts(source, images)[0], enable_io_processing=False)
    return run.values


@torch.no_grad()
def values_of_module(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each part of a network gives that is called once, by its path, for the first batch of images."""
    paths = [path for path, _ in model.named_modules() if path]
    with captured(model, paths, lambda module, reads, v: v.clone() if isinstance(v, torch.Tensor) else None) as found:
        answers_of_module(model, images)
    return {path: value for path, values in found.items() if len(values) == 1 and (value := values[0]) is not None}


def first_difference(
    graph: fx.GraphModule, found: dict[str, torch.Tensor], expected: Callable[[fx.Node], torch.Tensor | None],
    tolerance: float,
) -> str:  # fmt: skip
    """', first at conv2d (stem.0)': the first node of `graph` whose value is not the expected one; '' if there is none.

    found: values by the nodes' names. expected: what a node should give, or None where that is not known.
    """
    for node in graph.graph.nodes:
        wanted = expected(node)
        if wanted is None or node.name not in found or wanted.shape != found[node.name].shape:
            continue
        if not agree(wanted.float(), found[node.name].float(), tolerance):
            return f", first at {_called(graph, node)}"
    return ""


def _called(graph: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{type(graph.get_submodule(str(node.target))).__name__} {str(node.target)!r}"
    return f"{operator_name(node).rstrip('_')!r} ({node.name})"


def graphs_of(source: fx.GraphModule) -> list[fx.GraphModule]:
    """A traced network's graph, and those that it calls."""
    return [part for part in source.modules() if isinstance(part, fx.GraphModule)]


def evaluate_(source: fx.GraphModule) -> None:
    """Every operator works as at inference, where a network was exported while it was trained.

    A batch norm without running statistics stays as it is: it has none to work with.
    """
    for node in (node for part in graphs_of(source) for node in part.graph.nodes):
        a = arguments(node) if isinstance(node.target, OpOverload) else {}
        for key in TRAINS:
            if a.get(key) and ("batch_norm" not in operator_name(node) or a.get("running_mean") is not None):
                place, off = list(a).index(key), type(a[key])(0)
                if place < len(node.args):
                    node.args = (*node.args[:place], off, *node.args[place + 1 :])
                else:
                    node.kwargs = {**node.kwargs, key: off}
