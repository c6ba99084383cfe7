"""Inside one layer, before and after: its weights, its grid, its singular values, its kernels, what it makes of images.

Weights are those that the layer computes with; activations are in torch, with what the recipe rounds rounded.
"""

import torch
from torch import fx, nn

from compression.errors import UnknownName
from compression.measure.outputs import output_errors
from compression.network.capture import captured, output
from compression.network.decisions import NONE, classes
from compression.network.graph import LAYERS, is_size, layers, module_of, operator_name
from compression.network.parametrizations import ActivationQuantizer, WeightQuantizer, find
from compression.pipeline.candidate import Prepared
from compression.records.analysis import FeatureMaps, Histogram, LayerView, Operator, Structure

BINS, KERNELS, MAPS, GRID = 60, 24, 12, 64


@torch.no_grad()
def inspect(prepared: Prepared, graph: fx.GraphModule, name: str) -> LayerView:
    """What can be said of layer `name` of the dense network and of `graph`, the compressed one.

    Raises `UnknownName` where the dense network has no such layer. Where the compressed one has none (because it was
    factorized), what would tell of it is None.
    """
    dense, after = _layer(prepared.dense, name), layers(graph).get(name)
    edge = float(dense.weight.abs().max()) or 1.0
    weight = None if after is None else after.weight.detach()
    same = weight is not None and weight.shape == dense.weight.shape
    errors = {} if after is None else output_errors(prepared.dense, graph, prepared.calibration.images)
    return LayerView(
        name=name,
        shape=tuple(dense.weight.shape),
        shape_after=None if weight is None else tuple(weight.shape),
        before=_histogram(dense.weight, edge),
        after=None if weight is None else _histogram(weight, edge),
        grid=() if after is None else _grid(after),
        singular=_singular(dense.weight),
        singular_after=None if weight is None else _singular(weight),
        kernels=_kernels(dense.weight),
        kernels_after=None if weight is None else _kernels(weight),
        weight_error=float((weight - dense.weight).norm() / dense.weight.norm())
        if same and weight is not None
        else None,
        output_error=errors.get(name),
    )


@torch.no_grad()
def feature_maps(prepared: Prepared, graph: fx.GraphModule, name: str, image: int) -> FeatureMaps:
    """What the layer answers to test image number `image`, in both networks: the first channels, as [c][h][w].

    Raises `UnknownName` where there is no such layer or image.
    """
    test = prepared.data.test
    if not 0 <= image < len(test):
        raise UnknownName("test image", image, [f"0 to {len(test) - 1}"])
    _layer(prepared.dense, name)
    x = prepared.data.normalize(test.images[image : image + 1])
    before, after = _answer(prepared.dense, name, x), _answer(graph, name, x) if name in layers(graph) else None
    scores = [model(x) for model in (prepared.dense, graph)]
    return FeatureMaps(
        image=test.images[image].permute(1, 2, 0).tolist(),
        label=prepared.data.label_of(image),
        answers=tuple(_name(prepared.data.classes, int(classes(s)[0])) for s in scores),
        confidences=tuple(float(s.softmax(1).max()) for s in scores),
        before=_maps(before),
        after=None if after is None else _maps(after),
    )


def _name(known: tuple[str, ...], found: int) -> str:
    return "no class" if found == NONE else known[found]


def structure(graph: fx.GraphModule) -> Structure:
    """The network's operators but batch norms, dropout, quantizers and sizes: their readers get what these read.

    An operator without a module lies in the block of the module before it.
    """
    places: dict[fx.Node, int] = {}
    operators: list[Operator] = []
    edges: list[tuple[int, int]] = []
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        if node.op in ("output", "get_attr") or is_size(node):
            continue
        if isinstance(module, PASSED):
            places[node] = places[node.args[0]]
            continue
        edges += [(places[source], len(operators)) for source in node.all_input_nodes if source in places]
        places[node] = len(operators)
        operators.append(_operator(node, module, operators[-1].block if operators else ""))
    return Structure(tuple(operators), tuple(layers(graph)), tuple(dict.fromkeys(edges)))


PASSED = (nn.BatchNorm2d, nn.Dropout, ActivationQuantizer)


def _operator(node: fx.Node, module: nn.Module | None, block: str) -> Operator:
    name = _name_of(node, module)
    if module is not None:
        block = name.rpartition(".")[0]
    if isinstance(module, LAYERS):
        return Operator(name, " × ".join(map(str, module.weight.shape)), block, module.weight.numel())
    if module is not None:
        return Operator(name, type(module).__name__, block)
    return Operator(name, "image" if node.op == "placeholder" else operator_name(node), block)


def _name_of(node: fx.Node, module: nn.Module | None) -> str:
    return str(node.target) if module is not None else node.name


def shown_names(graph: fx.GraphModule) -> dict[str, str]:
    """By name of each node, the operator's of a `Structure` that stands for it."""
    found: dict[str, str] = {}
    for node in graph.graph.nodes:
        module = module_of(graph, node)
        passed = isinstance(module, PASSED)
        found[node.name] = found[node.args[0].name] if passed else _name_of(node, module)
    return found


def _layer(graph: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    found = layers(graph)
    if name not in found:
        raise UnknownName("layer", name, found)
    return found[name]


def _histogram(weight: torch.Tensor, edge: float) -> Histogram:
    counts = torch.histc(weight.flatten().clamp(-edge, edge), BINS, -edge, edge)
    zeros = int((weight == 0).sum())
    return Histogram(-edge, edge, tuple(int(c) for c in counts), zeros)


def _grid(layer: nn.Conv2d | nn.Linear) -> tuple[float, ...]:
    """The values that the first output channel's weights can take, as far as they occur."""
    if find(layer, WeightQuantizer) is None:
        return ()
    return tuple(layer.weight[0].detach().unique().tolist()[:GRID])


def _singular(weight: torch.Tensor) -> tuple[float, ...]:
    return tuple(torch.linalg.svdvals(weight.detach().flatten(1)).tolist())


def _kernels(weight: torch.Tensor) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Of a convolution, the first kernels [kh][kw] of its first input channel; of a linear layer, none."""
    if weight.dim() != 4 or weight.shape[-1] == 1:
        return ()
    return tuple(tuple(tuple(row) for row in kernel) for kernel in weight[:KERNELS, 0].detach().tolist())


def _answer(graph: fx.GraphModule, name: str, images: torch.Tensor) -> torch.Tensor:
    with captured(graph, [name], output) as found:
        graph(images)
    return found[name][0]


def _maps(y: torch.Tensor) -> tuple[tuple[tuple[float, ...], ...], ...]:
    if y.dim() != 4:
        return ()
    return tuple(tuple(tuple(row) for row in channel) for channel in y[0, :MAPS].tolist())
