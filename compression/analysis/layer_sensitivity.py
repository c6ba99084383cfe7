"""What each layer's compression costs when it alone is compressed: curves over sparsity, bits and rank.

The weights of every layer at every level come from the *fast* setting, in which a layer depends on no other: one
simulation a level serves all layers. Accuracy is taken on validation images, so that choices made from these curves
leave the test split alone, and in torch with float activations: it is *simulated*, not measured on a file. Without
labels it is agreement with the dense network.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import fx, nn

from compression.data import user_folder
from compression.errors import Cancelled, UnknownName
from compression.host.atomic_files import atomic_write
from compression.host.engine_version import engine_hash
from compression.network.batches import parts
from compression.network.decisions import classes
from compression.network.graph import LAYERS, folded_norm, layers, module_of
from compression.pipeline.candidate import Prepared
from compression.pipeline.compress import simulate
from compression.recipe import Recipe
from compression.records.analysis import LEVELS, LayerSensitivity, SensitivityPoint
from compression.steps import Step, step

IMAGES, MOST_MEBIBYTES = 2000, 256
"""Images that a curve is measured on, and what they may take as floats: of 224×224 pixels, some 400."""

Stop = Callable[[], bool]


class Sweep:
    """The curves of all layers of one network, layer by layer; what is known is kept on disk and not computed again."""

    def __init__(self, prepared: Prepared, *, images: int = IMAGES):
        self.prepared = prepared
        images = prepared.data.at_once(images, mebibytes=MOST_MEBIBYTES)
        validation = prepared.choosing.validation
        drawn = torch.randperm(len(validation), generator=torch.Generator().manual_seed(0))[:images]
        self.split = validation.subset(drawn)
        self._networks: dict[tuple[str, float], fx.GraphModule] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The layers, in the network's order."""
        return tuple(layers(self.prepared.dense))

    def all(self, stop: Stop | None = None) -> Iterator[LayerSensitivity]:
        """Every layer's curves in the network's order. Raises `Cancelled` when `stop`, asked every batch, says so."""
        for name in self.names:
            _look(stop)
            yield self.layer(name, stop)

    def layer(self, name: str, stop: Stop | None = None) -> LayerSensitivity:
        """One layer's curves. Raises `UnknownName` where the network has no such layer, and `Cancelled`."""
        if name not in self.names:
            raise UnknownName("layer", name, self.names)
        path = self._path(name)
        if (known := _read(path)) is None:
            known = self.measure(name, stop)
            _write(path, known)
        return known

    def known(self) -> dict[str, LayerSensitivity]:
        """What was computed before."""
        found = {name: _read(self._path(name)) for name in self.names}
        return {name: curves for name, curves in found.items() if curves is not None}

    @torch.no_grad()
    def measure(self, name: str, stop: Stop | None = None) -> LayerSensitivity:
        """One layer's curves, computed whether they are known or not. Raises `Cancelled`."""
        graph = copy.deepcopy(self.prepared.dense)
        node = next(n for n in graph.graph.nodes if n.op == "call_module" and n.target == name)
        layer, norm = module_of(graph, node), folded_norm(graph, node)
        assert isinstance(layer, LAYERS)
        kept = copy.deepcopy(layer.state_dict()), copy.deepcopy(norm.state_dict()) if norm else None
        before = _until(graph, node, self.prepared.data.normalize(self.split.images))
        points = []
        for technique, levels in LEVELS.items():
            for level in levels:
                _put(layer, norm, *self._variant(technique, level, name, stop))
                reached = self._accuracy(graph, node, before, stop)
                points.append(SensitivityPoint(technique, level, reached, len(self.split)))
                _put(layer, norm, *kept)
        return LayerSensitivity(name, self._accuracy(graph, node, before, stop), tuple(points))

    def _variant(
        self, technique: str, level: float, name: str, stop: Stop | None
    ) -> tuple[dict[str, torch.Tensor], dict | None]:
        """The layer's weights at that level, and the statistics of the batch norm behind it."""
        if technique == "rank":
            layer = layers(self.prepared.dense)[name]
            return {**layer.state_dict(), "weight": truncated(layer.weight, level)}, None
        graph = self._simulated(technique, level, stop)
        node = next(n for n in graph.graph.nodes if n.op == "call_module" and n.target == name)
        layer, norm = layers(graph)[name], folded_norm(graph, node)
        state = {"weight": layer.weight.detach()} | ({"bias": layer.bias.detach()} if layer.bias is not None else {})
        return state, norm.state_dict() if norm is not None else None

    def _simulated(self, technique: str, level: float, stop: Stop | None) -> fx.GraphModule:
        """The whole network at one level, made once; no layer of it depends on another."""
        if (technique, level) not in self._networks:
            if technique == "sparsity":
                settings = step("prune", sparsity=level, scope="layer")
            else:
                settings = step("quantize", weight_bits=int(level), activation_bits=32)
            self._networks[technique, level] = simulate(self.prepared, self._alone(settings), stop=stop)
        return self._networks[technique, level]

    def _alone(self, settings: Step) -> Recipe:
        seed = self.prepared.baseline.recipe.seed
        return Recipe(steps=(settings,), quality="fast", batch_norm="reestimate", seed=seed)

    def _accuracy(
        self, graph: fx.GraphModule, node: fx.Node, before: list[dict[fx.Node, torch.Tensor]], stop: Stop | None
    ) -> float:
        scores = []
        for env in before:
            _look(stop)
            scores.append(_onward(graph, node, dict(env)))
        return float((classes(torch.cat(scores)) == self.split.labels).float().mean())

    def _path(self, name: str) -> Path:
        what = (self.prepared.baseline.file_hash, self.prepared.data.fingerprint, engine_hash(), len(self.split))
        key = hashlib.sha256(json.dumps([*what, name, LEVELS]).encode()).hexdigest()[:32]
        return user_folder() / "sensitivity" / f"{key}.json"


def _look(stop: Stop | None) -> None:
    if stop and stop():
        raise Cancelled("The sweep was stopped.")


def truncated(weight: torch.Tensor, share: float) -> torch.Tensor:
    """The best approximation of weight [out, …] as a matrix of `share` of its rank (Eckart & Young 1936)."""
    u, s, v = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
    rank = max(1, round(share * len(s)))
    return ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(weight.shape)


def _put(
    layer: nn.Module, norm: nn.Module | None, state: dict[str, torch.Tensor], statistics: dict[str, torch.Tensor] | None
) -> None:
    layer.load_state_dict(state)
    if norm is not None and statistics is not None:
        norm.load_state_dict(statistics)


def _until(graph: fx.GraphModule, node: fx.Node, images: torch.Tensor) -> list[dict[fx.Node, torch.Tensor]]:
    """What the rest of the graph reads when `node` is about to run, for each batch of images."""
    first = next(n for n in graph.graph.nodes if n.op == "placeholder")
    found = []
    for part in parts(images):
        run = fx.Interpreter(graph)
        run.env[first] = part.to(memory_format=torch.channels_last)
        for each in graph.graph.nodes:
            if each is node:
                break
            if each.op != "placeholder":
                run.env[each] = run.run_node(each)
                for done in run.user_to_last_uses.get(each, []):
                    del run.env[done]
        found.append(dict(run.env))
    return found


def _onward(graph: fx.GraphModule, node: fx.Node, env: dict[fx.Node, torch.Tensor]) -> torch.Tensor:
    """The scores when everything from `node` on runs."""
    run, begun = fx.Interpreter(graph), False
    run.env.update(env)
    for each in graph.graph.nodes:
        begun = begun or each is node
        if begun and each.op == "output":
            return run.env[each.args[0]]
        if begun:
            run.env[each] = run.run_node(each)
            for done in run.user_to_last_uses.get(each, []):
                run.env.pop(done, None)
    raise AssertionError("a graph has an output")


_CURVES = TypeAdapter(LayerSensitivity)


def _read(path: Path) -> LayerSensitivity | None:
    try:
        return _CURVES.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(path: Path, curves: LayerSensitivity) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(asdict(curves)), encoding="utf-8")
