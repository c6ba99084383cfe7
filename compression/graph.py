"""One canonical graph of any classifier: the network traced once, its layers plain modules again.

`torch.export` turns a module into a small, regular set of ATen operators. `trace` lifts the operators that own weights
(convolution, linear, batch norm, layer norm, dropout) back into `torch.nn` modules under their original names, drops
what does nothing at inference, and replaces in-place operators by pure ones. Everything after this - calibration,
techniques, simulation, export - works on that one `torch.fx.GraphModule`.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from compression.errors import InvalidModel

aten = torch.ops.aten

LAYERS = (nn.Conv2d, nn.Linear)
"""Modules whose weights are compressed: [out, in/groups, kh, kw] and [out, in]."""

NOTHING = {"contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy"}
GUARDS = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_guards_fn"}


def trace(model: nn.Module | ExportedProgram, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """The canonical graph of `model`, in eval mode; the argument is left as it was.

    input_shape is (C, H, W). Raises `InvalidModel` where the network cannot be traced for batches of such images, does
    not return one row of class scores per image, or where the traced network does not answer as the original does.
    """
    program = model if isinstance(model, ExportedProgram) else _export(model, input_shape)
    graph = _lift(program)
    _check_against(model, program, graph, input_shape)
    return graph


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an ATen call by name, defaults filled in."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value) for a in schema}


def operator_name(node: fx.Node) -> str:
    """'relu', 'add', 'cat', … of an ATen call; 'getitem' of an item access; '' of anything else."""
    if node.op != "call_function":
        return ""
    if node.target is operator.getitem:
        return "getitem"
    return getattr(getattr(node.target, "overloadpacket", node.target), "__name__", "")


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that `node` calls, or None."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def layers(graph: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose weights are compressed, by name, in order of execution."""
    return {name: module for name, module in graph.named_modules() if isinstance(module, LAYERS)}


def channel_axis(layer: nn.Module) -> int:
    """Where the channels of what `layer` reads and gives lie: a linear layer has them last, in feature maps too."""
    return -1 if isinstance(layer, nn.Linear) else 1


def batch_norm_after(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The batch-norm node that is the only reader of layer `node` and can be folded into it, or None."""
    reader = only_reader(node)
    return reader if reader is not None and isinstance(module_of(graph, reader), nn.BatchNorm2d) else None


def beside(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """What the answers of layer `node`, or those of the batch norm after it, are added to and nothing else; or None."""
    value = batch_norm_after(graph, node) or node
    addition = only_reader(value)
    if addition is None or operator_name(addition) != "add":
        return None
    others = [other for other in addition.all_input_nodes if other is not value]
    return others[0] if len(others) == 1 else None


def only_reader(node: fx.Node) -> fx.Node | None:
    """The node that reads `node`'s value if there is exactly one."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def gain_of(norm: nn.BatchNorm2d) -> torch.Tensor:
    """By how much `norm` multiplies each channel, γ / √(σ² + ε): [channels]."""
    assert norm.running_var is not None  # `trace` refuses batch norms without statistics
    return norm.weight / (norm.running_var + norm.eps).sqrt()


class Shapes(fx.Interpreter):
    """Runs a graph on one blank image and keeps every value's shape (batch size 1)."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """What the node computes; its shape is kept on the way."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.shapes[n.name] = tuple(value.shape)
        return value


BATCH = 128
"""Images at once: larger feature maps leave the memory that is kept for reuse, and cost four times as much."""


class Batches:
    """A graph run node by node, each node on all batches of some images [n, C, H, W]; what is read no more is freed."""

    def __init__(self, graph: fx.GraphModule, images: torch.Tensor):
        parts = images.to(memory_format=torch.channels_last).split(BATCH)
        self._runs = [fx.Interpreter(graph) for _ in parts]
        first = next(n for n in graph.graph.nodes if n.op == "placeholder")
        for run, part in zip(self._runs, parts, strict=True):
            run.env[first] = part
        self.nodes = [n for n in graph.graph.nodes if n.op not in ("placeholder", "output")]

    def read(self, node: fx.Node) -> list[torch.Tensor]:
        """What `node` reads first, batch by batch; to be asked before it runs."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return [run.env[source] for run in self._runs]

    def run(self, node: fx.Node) -> list[Any]:
        """Runs `node`, which must be the next of `nodes`; its value, batch by batch."""
        for run in self._runs:
            run.env[node] = run.run_node(node)
        values = [run.env[node] for run in self._runs]
        for run in self._runs:
            for done in run.user_to_last_uses.get(node, []):
                del run.env[done]
        return values


@torch.inference_mode()
def shapes(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Shape of every value by node name, for one image of (C, H, W)."""
    run = Shapes(graph)
    run.run(torch.zeros(1, *input_shape))
    return run.shapes


def macs_of(layer: nn.Conv2d | nn.Linear, output_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one layer for one image; `output_shape` has batch size 1."""
    positions = output_shape[2] * output_shape[3] if isinstance(layer, nn.Conv2d) else output_shape[:-1]
    return layer.weight.numel() * (positions if isinstance(positions, int) else torch.Size(positions).numel())


def macs(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates for one image, layer by layer; a layer that is called twice counts twice."""
    known, found = shapes(graph, input_shape), dict.fromkeys(layers(graph), 0)
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if isinstance(layer, LAYERS):
            found[str(node.target)] += macs_of(layer, known[node.name])
    return found


def _export(model: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    was_training = model.training
    try:
        example = torch.zeros(2, *input_shape)
        return torch.export.export(model.eval(), (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch.export raises dozens of types; each means that the network cannot be traced
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        shape = "×".join(map(str, input_shape))
        raise InvalidModel(f"The network cannot be traced for batches of {shape} images: {reason}.") from error
    finally:
        model.train(was_training)


def _lift(program: ExportedProgram) -> fx.GraphModule:
    source = program.module()
    root, graph = nn.Module(), fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in source.graph.nodes:
        name = operator_name(node)
        if name in GUARDS or (node.op == "call_module" and node.target in GUARDS):
            continue
        if name in NOTHING:
            env[node] = env[node.args[0]]
            continue
        if name == "mean" and _pools_everything(node):
            pooled = graph.call_function(aten.adaptive_avg_pool2d.default, (env[node.args[0]], [1, 1]))
            keeps = arguments(node)["keepdim"]
            env[node] = pooled if keeps else graph.call_function(aten.flatten.using_ints, (pooled, 1))
            continue
        lifted = LIFT[name](source, node) if name in LIFT else None
        if lifted is not None:
            path, module, reads = lifted
            _place(root, path, module)
            env[node] = graph.call_module(path, (env[reads],))
        else:
            env[node] = graph.node_copy(_pure(node), lambda n: env[n])
        if name.endswith("_") and isinstance(node.args[0], fx.Node):
            env[node.args[0]] = env[node]  # whoever reads the changed tensor later reads the result
    output = graph.output_node()
    if isinstance(output.args[0], tuple | list) and len(output.args[0]) == 1:
        output.args = (output.args[0][0],)
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        if node.users:
            _place(root, node.target, _attribute(source, node.target))
        else:
            graph.erase_node(node)
    lifted_graph = fx.GraphModule(root, graph)
    graph.eliminate_dead_code()
    _free_the_batch(lifted_graph, program)
    lifted_graph.recompile()
    return lifted_graph.eval()


def _pure(node: fx.Node) -> fx.Node:
    """The same call with an in-place operator replaced by its pure twin, and a view by a reshape."""
    name = operator_name(node)
    if name in ("view", "_unsafe_view"):
        node.target = aten.reshape.default
    if name.endswith("_") and not name.startswith("_"):
        node.target = getattr(getattr(aten, name[:-1]), node.target._overloadname)  # type: ignore[union-attr]
    return node


def _pools_everything(node: fx.Node) -> bool:
    """True for the mean over height and width of feature maps: a global average pool by another name."""
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return rank == 4 and sorted(d % rank for d in arguments(node)["dim"] or ()) == [2, 3]


def _lift_conv2d(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if weight is None or (a["bias"] is not None and bias is None):
        return None  # computed weights are not a layer's
    groups, padding = a["groups"], a["padding"]
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], pair(weight.shape[2:]), pair(a["stride"]),
        padding if isinstance(padding, str) else pair(padding), pair(a["dilation"]), groups,
        bias=bias is not None, device="meta",
    )  # fmt: skip
    return _owner(a["weight"]), _fill(conv, weight=weight, bias=bias), a["input"]


def _lift_linear(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if weight is None or (a["bias"] is not None and bias is None):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _owner(a["weight"]), _fill(linear, weight=weight, bias=bias), a["input"]


def _lift_batch_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node]:
    a = arguments(node)
    mean = _constant(source, a["running_mean"])
    if mean is None:
        raise InvalidModel("A batch norm keeps no running statistics, so its network has no fixed answer per image.")
    norm = nn.BatchNorm2d(len(mean), a["eps"], a["momentum"], affine=True)
    values = {k: _constant(source, a[k]) for k in ("weight", "bias", "running_mean", "running_var")}
    return _owner(a["running_mean"]), _fill(norm, **{k: v for k, v in values.items() if v is not None}), a["input"]


def _lift_layer_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if weight is None or bias is None:
        return None
    return (
        _owner(a["weight"]),
        _fill(nn.LayerNorm(a["normalized_shape"], a["eps"]), weight=weight, bias=bias),
        a["input"],
    )


def _lift_dropout(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node]:
    return f"{node.name}_module", nn.Dropout(arguments(node)["p"]), node.args[0]  # type: ignore[return-value]


Lifted = Callable[[fx.GraphModule, fx.Node], tuple[str, nn.Module, fx.Node] | None]
LIFT: dict[str, Lifted] = {
    "conv2d": _lift_conv2d,
    "linear": _lift_linear,
    "batch_norm": _lift_batch_norm,
    "layer_norm": _lift_layer_norm,
    "dropout": _lift_dropout,
    "dropout_": _lift_dropout,
}


def _fill(module: nn.Module, **tensors: torch.Tensor | None) -> nn.Module:
    """`module` with copies of `tensors` as its parameters and buffers."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        value = tensor.detach().clone().float()
        if name in module._buffers:
            module._buffers[name] = value
        else:
            module._parameters[name] = nn.Parameter(value)
    return module


def _owner(weight: fx.Node) -> str:
    """'layer1.0.conv1' of the tensor 'layer1.0.conv1.weight'."""
    path, _, name = str(weight.target).rpartition(".")
    return path or f"{name}_layer"


def _attribute(module: nn.Module, path: str) -> Any:
    return operator.attrgetter(path)(module)


def _constant(source: fx.GraphModule, node: fx.Node | None) -> torch.Tensor | None:
    """The stored tensor behind a get_attr node; None where the value is computed or absent."""
    if node is None or node.op != "get_attr":
        return None
    return _attribute(source, str(node.target))


def pair(value: Any) -> tuple[int, int]:
    """Height and width of what ATen gives as one number, a list of one, or both."""
    both = [value, value] if isinstance(value, int) else list(value) * (2 // len(value))
    return both[0], both[1]


def _place(root: nn.Module, path: str, value: nn.Module | torch.Tensor) -> None:
    """Puts a module, parameter or buffer at a dotted path below `root`, making what lies between."""
    *parents, leaf = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(value, nn.Module):
        if leaf in root._modules:
            for name, child in root._modules[leaf].named_children():  # type: ignore[union-attr]
                value.add_module(name, child)
        root._modules[leaf] = value
    elif isinstance(value, nn.Parameter):
        root.register_parameter(leaf, nn.Parameter(value.detach().clone()))
    else:
        root.register_buffer(leaf, value.detach().clone())


def _free_the_batch(graph: fx.GraphModule, program: ExportedProgram) -> None:
    """Reshapes that were traced with a fixed batch size take any: their first length becomes -1."""
    example = next(n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in _inputs(program))
    batch = example.shape[0]
    if not isinstance(batch, int):
        return
    for node in graph.graph.nodes:
        if operator_name(node) == "reshape":
            lengths = list(node.args[1])
            if lengths and lengths[0] == batch and -1 not in lengths:
                node.args = (node.args[0], [-1, *lengths[1:]])


def _inputs(program: ExportedProgram) -> tuple[str, ...]:
    return tuple(program.graph_signature.user_inputs)


@torch.inference_mode()
def _check_against(
    model: nn.Module | ExportedProgram, program: ExportedProgram, graph: fx.GraphModule, shape: tuple[int, int, int]
) -> None:
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    try:
        answer = graph(images)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidModel(
            f"The network does not take batches of {'×'.join(map(str, shape))} images: {reason}."
        ) from None
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2 or len(answer) != 3:
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise InvalidModel(f"The network must return scores [images, classes] for 3 images, not {got}.")
    if isinstance(model, ExportedProgram):
        return
    was_training = model.training
    expected = model.eval()(images)
    model.train(was_training)
    if not torch.allclose(answer, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1)):
        raise InvalidModel(
            "The traced network answers differently from the original, so it cannot be compressed safely."
        )
