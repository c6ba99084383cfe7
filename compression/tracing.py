"""One canonical graph of any classifier: the network traced once, its layers plain modules again.

`torch.export` turns a module into a small, regular set of ATen operators. `trace` lifts the operators that own weights
(convolution, linear, batch, layer and group norm, PReLU) and dropout back into `torch.nn` modules under their original
names, computes what does not depend on the image, drops what does nothing at inference, replaces in-place operators by
pure ones, and other spellings of common activations by one. Everything after this - calibration, techniques,
simulation, export - works on that one `torch.fx.GraphModule`.
"""

from itertools import count
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves

from compression.data import Dataset
from compression.errors import InvalidData, InvalidModel
from compression.graph import arguments, is_size, layers, operator_name
from compression.lifting import LIFT, attribute

aten = torch.ops.aten

NOTHING = {
    "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "feature_dropout", "feature_dropout_",
    "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_",
}  # fmt: skip
"""Operators that do nothing at inference in a network of floats."""

CASTS = {"to", "_to_copy", "type_as"}
MIXED = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum", "pow"}
"""Arithmetic that PyTorch does on floats and whole numbers alike, and ONNX only on values of one type."""

RESHAPES = {"reshape", "view", "_unsafe_view"}

TAKEN = set(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - set(dir(nn.Module()))
"""Names that a traced network has for itself."""

TRAINS = ("train", "training", "dropout_p")
"""Settings with which an operator's answer is drawn at random, or depends on the other images."""

GUARDS = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_guards_fn"}


def trace(model: nn.Module | ExportedProgram, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """The canonical graph of `model`, in eval mode; the argument is left as it was.

    input_shape is (C, H, W). Raises `InvalidModel` where the network cannot be traced for batches of such images, does
    not return one row of class scores per image, has no layers or weights that are no numbers, or where the traced
    network does not answer as the original does.
    """
    program = model if isinstance(model, ExportedProgram) else _export(model, input_shape)
    graph = _lift(program)
    _check_contents(graph)
    _check_against(model, graph, input_shape)
    return graph


def traced(model: nn.Module | ExportedProgram, data: Dataset) -> tuple[fx.GraphModule, Dataset]:
    """The canonical graph of `model`, and `data` with as many channels as it takes: grey images fit networks for
    colours, and the other way round; see `Dataset.with_channels`.

    Raises `InvalidModel` as `trace` does, and `InvalidSetting` where statistics were given for another number.
    """
    channels, *sides = data.input_shape
    try:
        return trace(model, data.input_shape), data
    except InvalidModel as refusal:
        other = 1 if channels == 3 else 3
        try:
            graph = trace(model, (other, sides[0], sides[1]))
        except InvalidModel:
            raise refusal from None
        return graph, data.with_channels(other)


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
    for path in (*program.state_dict, *program.constants):
        if path.partition(".")[0] in TAKEN:
            raise InvalidModel(f"The network calls a part of it {path.partition('.')[0]!r}; any other name is allowed.")
    source = program.module()
    _free_the_batch_(source)
    _cast_mixed_(source)
    _compute_constants_(source)
    _number_masks_(source)
    root, graph = nn.Module(), fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    calls: dict[str, str] = {}
    for node in source.graph.nodes:
        name, in_place = operator_name(node), _changes_in_place(node)
        if name in GUARDS or (node.op == "call_module" and node.target in GUARDS):
            continue
        _check_evaluates(node)
        lifted = LIFT[name](source, node) if name in LIFT else None
        if lifted is not None:
            path, module, reads = lifted
            path = _path_of(path, node, calls)
            _place(root, path, module)
            env[node] = graph.call_module(path, (env[reads],))
        else:
            env[node] = _copied(graph, node, env)
        if in_place:
            env[node.args[0]] = env[node]  # whoever reads the changed tensor later reads the result
    _return_one_value_(graph.output_node())
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        if node.users:
            _place(root, node.target, attribute(source, node.target))
        else:
            graph.erase_node(node)
    lifted_graph = fx.GraphModule(root, graph)
    graph.eliminate_dead_code()
    lifted_graph.delete_all_unused_submodules()
    lifted_graph.recompile()
    return lifted_graph.eval()


def _check_evaluates(node: fx.Node) -> None:
    """Raises `InvalidModel` for dropout that drops and for a norm over the batch."""
    asked = arguments(node) if operator_name(node) not in ("", "getitem") and not is_size(node) else {}
    if any(asked.get(key) for key in TRAINS):
        raise InvalidModel(
            f"The operator {operator_name(node)!r} of this network works as in training, at random or on the whole "
            "batch; networks in evaluation mode are possible."
        )


def _copied(graph: fx.Graph, node: fx.Node, env: dict[fx.Node, fx.Node]) -> fx.Node:
    """What stands in `graph` for a call that becomes no module."""
    name = operator_name(node)
    if name in NOTHING or (name in CASTS and _is_float(node) and _is_float(node.args[0])):
        return env[node.args[0]]  # type: ignore[index]
    if name == "mean" and _pools_everything(node):
        pooled = graph.call_function(aten.adaptive_avg_pool2d.default, (env[node.args[0]], [1, 1]))  # type: ignore[index]
        return pooled if arguments(node)["keepdim"] else graph.call_function(aten.flatten.using_ints, (pooled, 1))
    return graph.node_copy(_pure(node), lambda n: env[n])


def _path_of(path: str, node: fx.Node, calls: dict[str, str]) -> str:
    """The path of the layer that `node` calls: `path` for the first set of tensors and settings, others beside it.

    A batch norm that is called again is another one: what it reads there may change by something else. calls: what is
    called at each path so far.
    """
    reads = fx.map_arg((node.args[1:], node.kwargs), lambda n: str(n.target))
    call = node.name if operator_name(node) == "batch_norm" else str((node.target, reads))
    places = (path if i == 1 else f"{path}_{i}" for i in count(1))
    return next(place for place in places if calls.setdefault(place, call) == call)


def _return_one_value_(output: fx.Node) -> None:
    """A tuple, list or dict of one tensor (and of None) becomes that tensor."""
    if isinstance(output.args[0], tuple | list):
        values = tuple(value for value in output.args[0] if value is not None)
        output.args = (values[0] if len(values) == 1 else values,)


def _free_the_batch_(source: fx.GraphModule) -> None:
    """Reshapes that were traced with a fixed batch size take any, and what is repeated for each image follows it."""
    images = next(node for node in source.graph.nodes if node.op == "placeholder")
    batch = images.meta["val"].shape[0]
    if not isinstance(batch, int):
        return
    for node in list(source.graph.nodes):
        repeats = operator_name(node) == "expand"
        if not (repeats or operator_name(node) in RESHAPES) or list(node.args[1][:1]) != [batch]:
            continue
        with source.graph.inserting_before(node):
            first = source.graph.call_function(aten.sym_size.int, (images, 0)) if repeats else -1
        node.args = (node.args[0], [first, *node.meta["val"].shape[1:]])


def _cast_mixed_(source: fx.GraphModule) -> None:
    """Arithmetic that gives floats reads floats: PyTorch casts whole numbers and truth values silently."""
    for node in list(source.graph.nodes):
        if operator_name(node).removesuffix("_") not in MIXED or not _is_float(node):
            continue
        for read in node.all_input_nodes:
            if isinstance(read.meta.get("val"), torch.Tensor) and not _is_float(read):
                with source.graph.inserting_before(node):
                    cast = source.graph.call_function(aten.to.dtype, (read, torch.float32))
                cast.meta["val"] = read.meta["val"].float()
                node.replace_input_with(read, cast)


def _number_masks_(source: fx.GraphModule) -> None:
    """Stored masks that pick from a value become the numbers of the places that they pick."""
    for node in list(source.graph.nodes):
        if operator_name(node) != "index":
            continue
        places: list[Any] = []
        for read in node.args[1]:
            mask = attribute(source, str(read.target)) if read is not None and read.op == "get_attr" else None
            if mask is None or mask.dtype != torch.bool:
                places.append(read)
                continue
            for numbers in mask.nonzero(as_tuple=True):
                with source.graph.inserting_before(node):
                    places.append(_stored(source, read, f"{read.name}_places", numbers))
        node.args = (node.args[0], places)


def _stored(source: fx.GraphModule, beside: fx.Node | None, name: str, value: torch.Tensor) -> fx.Node:
    """A new node that reads `value`, stored in the module of the stored tensor `beside` under a name like `name`."""
    owner = str(beside.target).rpartition(".")[0] if beside is not None else ""
    while hasattr(source.get_submodule(owner), name):
        name += "_"
    path = ".".join(filter(None, (owner, name)))
    _place(source, path, value)
    return source.graph.get_attr(path)


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
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: attribute(source, str(read.target)))
        with torch.no_grad():
            value = node.target(*args, **kwargs)
        if not isinstance(value, torch.Tensor):
            continue
        learned = any(isinstance(attribute(source, str(read.target)), nn.Parameter) for read in reads)
        with source.graph.inserting_before(node):
            stored = nn.Parameter(value) if learned and value.is_floating_point() else value
            made = _stored(source, reads[0] if reads else None, node.name, stored)
        made.meta = node.meta
        node.replace_all_uses_with(made)
        source.graph.erase_node(node)


def _pure(node: fx.Node) -> fx.Node:
    """The same call with an in-place operator replaced by its pure twin, and other spellings by the common one."""
    name = operator_name(node)
    if _changes_in_place(node):
        node.target = getattr(getattr(aten, name[:-1]), node.target._overloadname)  # type: ignore[union-attr]
        name = name[:-1]
    if name in RESHAPES and "dtype" not in arguments(node):
        node.target = aten.reshape.default
    elif name in CASTS:
        node.target, node.args, node.kwargs = aten.to.dtype, (node.args[0], node.meta["val"].dtype), {}
    elif name == "squeeze":
        dims, rank = _squeezed(node), node.args[0].meta["val"].dim()  # type: ignore[union-attr]
        if dims and dims == list(range(2, rank)):
            node.target, node.args, node.kwargs = aten.flatten.using_ints, (node.args[0], 1), {}
        else:
            node.target, node.args, node.kwargs = aten.squeeze.dims, (node.args[0], dims), {}
    elif name == "relu6":
        node.target, node.args = aten.hardtanh.default, (node.args[0], 0.0, 6.0)
    elif name in ("clamp", "clip", "clamp_min") and _is_float(node):
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


def _squeezed(node: fx.Node) -> list[int]:
    """The axes of length one that `node` takes away, never that of the images of a program for a single one."""
    lengths, asked = node.args[0].meta["val"].shape, arguments(node).get("dim")  # type: ignore[union-attr]
    images = next(n for n in node.graph.nodes if n.op == "placeholder").meta["val"].shape[0]
    dims = range(len(lengths)) if asked is None else [asked] if isinstance(asked, int) else asked
    alone = type(images) is int and images == 1
    return sorted(d % len(lengths) for d in dims if (d % len(lengths) or not alone) and lengths[d] == 1)


def _is_float(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _pools_everything(node: fx.Node) -> bool:
    """True for the mean over height and width of feature maps: a global average pool by another name."""
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    dims = arguments(node).get("dim") or ()
    return rank == 4 and sorted(d % rank for d in dims) == [2, 3] and _is_float(node) and _is_float(node.args[0])


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


def _check_contents(graph: fx.GraphModule) -> None:
    """Raises `InvalidModel` for a network without layers, and for a tensor that is not made of numbers."""
    if not layers(graph):
        raise InvalidModel("The network has no layer that can be compressed; at least one Conv2d or Linear is needed.")
    parameters = dict(graph.named_parameters())
    for name, tensor in graph.state_dict().items():
        if tensor.isnan().any() or (name in parameters and tensor.isinf().any()):
            raise InvalidModel(f"The network's tensor {name!r} holds NaN or infinite values; only numbers are allowed.")


@torch.inference_mode()
def _check_against(model: nn.Module | ExportedProgram, graph: fx.GraphModule, shape: tuple[int, int, int]) -> None:
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    try:
        answer, _ = graph(images), graph(images[:1])
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidModel(
            f"The network does not take batches of {'×'.join(map(str, shape))} images: {reason}."
        ) from None
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2 or len(answer) != 3 or not answer.shape[1]:
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise InvalidModel(f"The network must return scores [images, classes] for 3 images, not {got}.")
    if answer.isnan().any():
        raise InvalidModel("The network answers with NaN; only numbers are allowed as scores.")
    if isinstance(model, ExportedProgram):
        return
    was_training = model.training
    expected = next(value for value in tree_leaves(model.eval()(images)) if value is not None)
    model.train(was_training)
    if not torch.allclose(answer, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1)):
        raise InvalidModel(
            "The traced network answers differently from the original, so it cannot be compressed safely."
        )
