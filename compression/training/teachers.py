"""Teachers: networks whose answers a student learns from, and which of their inner values it may see.

A teacher's scores about an image and its augmentation never change, so they are computed once and kept, also in
checkpoints. Feature maps are too large for that: `Watched` computes them for every batch.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from compression.data.augmentation import Augmentation
from compression.data.dataset import Dataset, Split
from compression.network.decisions import every_class
from compression.network.graph import LAYERS, module_of, shapes
from compression.training import Batch


class Scores:
    """What `model` says about training images: scores [n, classes], kept in half precision.

    mirrored: the mean of what it says about the image and its mirror image, which is a better teacher where a mirror
    image keeps its class. alike: it says the same of all variants of an image, and is asked about one.
    """

    def __init__(self, model: nn.Module, *, mirrored: bool = False, alike: bool = False, device: str = "cpu"):
        self.model, self.mirrored, self.alike = model.to(device).eval(), mirrored, alike
        self.kept: dict[int, torch.Tensor] = {}  # by variant: [images, classes], NaN where not yet asked

    @torch.no_grad()
    def answers(self, batch: Batch) -> torch.Tensor:
        """Scores [n, classes] about the batch's inputs."""
        variant = 0 if self.alike else batch.variant
        if variant not in self.kept or self.kept[variant][batch.indices].isnan().any():
            self._remember(batch, variant)
        return self.kept[variant][batch.indices].to(batch.inputs.device)

    def _remember(self, batch: Batch, variant: int) -> None:
        found = self.model(batch.inputs)
        if self.mirrored:
            found = (found + self.model(batch.inputs.flip(3))) / 2
        blank = torch.full((batch.of, found.shape[1]), torch.nan, dtype=torch.float16)
        self.kept.setdefault(variant, blank)[batch.indices] = found.half().cpu()

    def state(self) -> dict[str, torch.Tensor]:
        """The scores kept, by variant."""
        return {str(variant): scores for variant, scores in self.kept.items()}

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on with the scores of `state`."""
        self.kept = {int(variant): scores for variant, scores in state.items()}


def scores_of(model: nn.Module, data: Dataset, augmentation: Augmentation, *, device: str = "cpu") -> Scores:
    """What `model` says about images of `data`; `augmentation` varies them, and mirrors only where classes stay."""
    return Scores(model, mirrored=data.mirror, alike=augmentation.only_mirrors, device=device)


class Chain:
    """`first` teaches the first half of all steps, `second` the rest (teacher assistants, Mirzadeh et al. 2020)."""

    def __init__(self, first: Scores, second: Scores):
        self.first, self.second = first, second

    def answers(self, batch: Batch) -> torch.Tensor:
        """Scores [n, classes] of whoever teaches now."""
        return (self.first if batch.share < 0.5 else self.second).answers(batch)

    def state(self) -> dict[str, torch.Tensor]:
        """What both remember."""
        return {f"{i}.{k}": v for i, part in enumerate((self.first, self.second)) for k, v in part.state().items()}

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from `state`."""
        for i, part in enumerate((self.first, self.second)):
            part.take_up({k.removeprefix(f"{i}."): v for k, v in state.items() if k.startswith(f"{i}.")})


class Watched:
    """What a tapped graph (`tapped`) says about each batch: its scores and some of its inner values."""

    def __init__(self, graph: nn.Module, *, device: str = "cpu"):
        self.graph = graph.to(device).eval()

    @torch.no_grad()
    def answers(self, batch: Batch) -> Any:
        """(scores [n, classes], (features, …))."""
        return self.graph(batch.inputs)

    def state(self) -> dict[str, torch.Tensor]:
        """Nothing is kept."""
        return {}

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """Nothing was kept."""


def tapped(graph: fx.GraphModule, names: list[str]) -> fx.GraphModule:
    """The graph with the same modules that returns (scores, (values of the nodes `names`, …))."""
    copied, env = fx.Graph(), dict[fx.Node, fx.Node]()
    scores = copied.graph_copy(graph.graph, env)
    by_name = {node.name: copy for node, copy in env.items()}
    copied.output((scores, tuple(by_name[name] for name in names)))
    return fx.GraphModule(graph, copied)


def maps(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> list[str]:
    """Names of the last feature map of each size, from the largest to the smallest but single points."""
    last: dict[tuple[int, ...], str] = {}
    for name, shape in _values(graph, input_shape):
        if len(shape) == 4 and shape[2] * shape[3] > 1:
            last.pop(shape[2:], None)
            last[shape[2:]] = name
    return list(last.values())[-3:]


def embedding(graph: fx.GraphModule) -> str:
    """Name of what the last linear layer reads: the network's summary of an image."""
    linear = [n for n in graph.graph.nodes if isinstance(module_of(graph, n), LAYERS)]
    return str(linear[-1].args[0])


def _values(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Values behind the first layer and their shapes, in order."""
    known, begun = shapes(graph, input_shape), False
    for node in graph.graph.nodes:
        begun = begun or isinstance(module_of(graph, node), LAYERS)
        if begun and node.name in known and node.op != "output":
            yield node.name, known[node.name]


def unlabelled(data: Dataset, teacher: nn.Module) -> Dataset:
    """The same images without labels: those of validation are the teacher's answers, those of training all zero.

    Raises `InvalidModel` where the teacher has no answer for an image.
    """
    with torch.inference_mode():
        each, held = data.at_once(500), data.validation
        parts = (held.pixels(slice(start, start + each)) for start in range(0, len(held), each))
        scores = torch.cat([teacher(data.normalize(part)) for part in parts])
    answered = every_class(scores, "The teacher")
    nothing = torch.zeros(len(data.train), dtype=torch.int64)
    train = Split(data.train.images, nothing, reading=data.train.reading)
    return replace(data, train=train, validation=Split(held.images, answered, reading=held.reading))
