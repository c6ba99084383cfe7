"""One canonical graph of any classifier: the network traced once, its layers plain modules again.

`torch.export` turns a module into a small, regular set of ATen operators. `trace` lifts the operators that own weights
(convolution, linear, batch, layer and group norm, PReLU) and dropout back into `torch.nn` modules under their original
names, computes what does not depend on the image, drops what does nothing at inference, replaces in-place operators by
pure ones, and other spellings of common activations by one. Everything after this - calibration, techniques,
simulation, export - works on that one `torch.fx.GraphModule`.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from compression.data import Dataset
from compression.errors import InvalidData, InvalidModel
from compression.graph import FlatNorm, arguments, operator_name, pair

aten = torch.ops.aten

NOTHING = {
    "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "feature_dropout", "feature_dropout_",
    "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_", "type_as",
}  # fmt: skip
"""Operators that do nothing at inference in a network of floats."""

CASTS = {"to", "_to_copy"}
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


@torch.inference_mode()
def check_classes(graph: fx.GraphModule, data: Dataset) -> None:
    """Raises `InvalidModel` where the graph does not answer with `data`'s classes, `InvalidData` for no test images."""
    scores = graph(torch.zeros(1, *data.input_shape)).shape[1]
    if scores != len(data.classes):
        raise InvalidModel(f"The network answers with {scores} classes, but {data.title} has {len(data.classes)}.")
    if not len(data.test):
        raise InvalidData(f"{data.title} has no test images to measure on.")


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
    _compute_constants_(source)
    root, graph = nn.Module(), fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    for node in source.graph.nodes:
        name = operator_name(node)
        if name in GUARDS or (node.op == "call_module" and node.target in GUARDS):
            continue
        if name in NOTHING or (name in CASTS and _is_float(node) and _is_float(node.args[0])):
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


def _compute_constants_(source: fx.GraphModule) -> None:
    """What depends on stored tensors alone becomes one, a parameter where it is made of one: positions, scaled weights.

    It is called after the module whose tensor it is made of, so that a layer with computed weights keeps its name.
    """
    for node in list(source.graph.nodes):
        reads = node.all_input_nodes
        fixed = node.op == "call_function" and all(read.op == "get_attr" for read in reads)
        if not fixed or operator_name(node) in GUARDS or _changes_in_place(node):
            continue
        if operator_name(node) in NOTHING:
            node.replace_all_uses_with(reads[0])
            continue
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: _attribute(source, str(read.target)))
        with torch.no_grad():
            value = node.target(*args, **kwargs)
        if not isinstance(value, torch.Tensor):
            continue
        made = [_attribute(source, str(read.target)) for read in reads]
        owner = str(reads[0].target).rpartition(".")[0] if reads else ""
        path = ".".join(filter(None, (owner, node.name)))
        _place(source, path, nn.Parameter(value) if any(isinstance(m, nn.Parameter) for m in made) else value)
        with source.graph.inserting_before(node):
            node.replace_all_uses_with(source.graph.get_attr(path))
        source.graph.erase_node(node)


def _pure(node: fx.Node) -> fx.Node:
    """The same call with an in-place operator replaced by its pure twin, and other spellings by the common one."""
    name = operator_name(node)
    if _changes_in_place(node):
        node.target = getattr(getattr(aten, name[:-1]), node.target._overloadname)  # type: ignore[union-attr]
        name = name[:-1]
    if name in ("view", "_unsafe_view"):
        node.target = aten.reshape.default
    elif name == "relu6":
        node.target, node.args = aten.hardtanh.default, (node.args[0], 0.0, 6.0)
    elif name in ("clamp", "clip", "clamp_min"):
        a = arguments(node)
        bounds = a["min"], a.get("max")
        if bounds == (0, None):
            node.target, node.args, node.kwargs = aten.relu.default, (node.args[0],), {}
        elif bounds == (0, 6):
            node.target, node.args, node.kwargs = aten.hardtanh.default, (node.args[0], 0.0, 6.0), {}
    return node


def _changes_in_place(node: fx.Node) -> bool:
    name = operator_name(node)
    return name.endswith("_") and not name.startswith("_")


def _is_float(node: Any) -> bool:
    return node.meta["val"].dtype == torch.float32


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
    rank = node.meta["val"].dim()
    if rank not in (2, 4):
        raise InvalidModel(f"A batch norm reads values of {rank} dimensions; rows (2) and maps (4) are possible.")
    norm = (FlatNorm if rank == 2 else nn.BatchNorm2d)(len(mean), a["eps"], a["momentum"], affine=True)
    values = {k: _constant(source, a[k]) for k in ("weight", "bias", "running_mean", "running_var")}
    return _owner(a["running_mean"]), _fill(norm, **{k: v for k, v in values.items() if v is not None}), a["input"]


def _lift_layer_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if (a["weight"] is not None and weight is None) or (a["bias"] is not None and bias is None):
        return None
    norm = _fill(nn.LayerNorm(a["normalized_shape"], a["eps"]), weight=weight, bias=bias)
    return _owner(a["weight"]) if a["weight"] else f"{node.name}_layer", norm, a["input"]


def _lift_group_norm(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    weight, bias = _constant(source, a["weight"]), _constant(source, a["bias"])
    if (a["weight"] is not None and weight is None) or (a["bias"] is not None and bias is None):
        return None
    norm = _fill(nn.GroupNorm(a["num_groups"], node.meta["val"].shape[1], a["eps"]), weight=weight, bias=bias)
    return _owner(a["weight"]) if a["weight"] else f"{node.name}_layer", norm, a["input"]


def _lift_prelu(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    a = arguments(node)
    slopes = _constant(source, a["weight"])
    return (_owner(a["weight"]), _fill(nn.PReLU(len(slopes)), weight=slopes), a["self"]) if slopes is not None else None


def _lift_dropout(source: fx.GraphModule, node: fx.Node) -> tuple[str, nn.Module, fx.Node]:
    return f"{node.name}_module", nn.Dropout(arguments(node)["p"]), node.args[0]  # type: ignore[return-value]


Lifted = Callable[[fx.GraphModule, fx.Node], tuple[str, nn.Module, fx.Node] | None]
LIFT: dict[str, Lifted] = {
    "conv2d": _lift_conv2d,
    "linear": _lift_linear,
    "batch_norm": _lift_batch_norm,
    "layer_norm": _lift_layer_norm,
    "group_norm": _lift_group_norm,
    "prelu": _lift_prelu,
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
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
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
