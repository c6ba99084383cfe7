"""One canonical graph of any classifier: the network traced once, its layers plain modules again.

`torch.export` turns a module into a small, regular set of ATen operators. `trace` lifts the operators that own weights
(convolution, linear, batch, layer and group norm, PReLU) and dropout back into `torch.nn` modules under their original
names, computes what does not depend on the image, drops what does nothing at inference, replaces in-place operators by
pure ones, and other spellings of common activations by one, and folds zero padding into what reads it. Everything after
this - calibration, techniques, simulation, export - works on that one `torch.fx.GraphModule`.
"""

from collections.abc import Sequence
from itertools import count
from operator import getitem
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram

from compression.data import Dataset, for_outputs
from compression.data.loading import FOLDER_PREFIX
from compression.errors import InvalidData, InvalidModel, Unsupported
from compression.network import agreement
from compression.network.agreement import TRAINS
from compression.network.decisions import every_class
from compression.network.functionalization import functionalize_
from compression.network.graph import arguments, layers, operator_name
from compression.network.lifting import LIFT, attribute, place, stored
from compression.network.recomposition import recompose_
from compression.network.regions import inline_
from compression.network.scatters import is_whole, without_scatters_
from compression.network.zero_padding import fold_padding_

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

NEW = {"new_zeros": 0, "new_ones": 1, "new_empty": 0, "new_full": None}
"""Operators that make tensors of a type like another's, and the number that these hold."""

GUARDS = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size", "_guards_fn"}


def trace(model: nn.Module | ExportedProgram, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """The canonical graph of `model`, in eval mode; the argument is left as it was.

    input_shape is (C, H, W). Raises `InvalidModel` where the network cannot be traced for batches of such images, does
    not return one row of class scores per image, has no layers or weights that are no numbers, or where the traced
    network does not answer as the original does.
    """
    program = model if isinstance(model, ExportedProgram) else _export(model, input_shape)
    graph = _lift(program, input_shape)
    fold_padding_(graph)
    _check_contents(graph)
    _check_against(model, graph, input_shape)
    return graph


def traced(model: nn.Module | ExportedProgram, data: Dataset) -> tuple[fx.GraphModule, Dataset]:
    """The canonical graph of `model`, and `data` with as many channels as it takes: grey images fit networks for
    colours, and the other way round; see `Dataset.with_channels`.

    Raises `InvalidModel` as `trace` does, and `InvalidSetting` where statistics were given for another number.
    """
    graph, channels = trace_grey_or_colours(model, data.input_shape)
    return graph, data.with_channels(channels)


def trace_grey_or_colours(
    model: nn.Module | ExportedProgram, input_shape: tuple[int, int, int]
) -> tuple[fx.GraphModule, int]:
    """The canonical graph of `model` for images of input_shape (C, H, W), or with 3 channels for 1 and 1 for others.

    Returns it with the number of channels that it takes. Raises what `trace` raises for `input_shape`.
    """
    channels, height, width = input_shape
    try:
        return trace(model, input_shape), channels
    except InvalidModel as refusal:
        other = 1 if channels == 3 else 3
        try:
            return trace(model, (other, height, width)), other
        except InvalidModel:
            raise refusal from None


@torch.inference_mode()
def fit_classes(graph: fx.GraphModule, data: Dataset) -> Dataset:
    """`data` with the graph's outputs as its classes, see `data.for_outputs`.

    Raises `InvalidModel` where the graph does not answer a few images with finite scores of these classes, and
    `InvalidData` for no test images, or none of a class that the network knows.
    """
    if not len(data.test):
        raise InvalidData(f"{data.title} has no test images to measure on.")
    with torch.no_grad():
        scores = graph(data.normalize(data.test.images[:8]))
    data = for_outputs(data, scores.shape[1])
    if scores.shape[1] != len(data.classes):
        hint = "; say which is which in a CSV of CLASS,OUTPUT" if data.name.startswith(FOLDER_PREFIX) else ""
        raise InvalidModel(
            f"The network answers with {scores.shape[1]} classes, but {data.title} has {len(data.classes)}{hint}."
        )
    every_class(scores, "The network")
    return data


def _export(model: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    example = torch.zeros(2, *input_shape)
    try:
        with agreement.evaluating(model):
            program = torch.export.export(model, (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch.export raises dozens of types; each means that the network cannot be traced
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        shape = "×".join(map(str, input_shape))
        raise InvalidModel(f"The network cannot be traced for batches of {shape} images: {reason}.") from error
    stored = _made_of_stored(program)
    for part in agreement.graphs_of(program.graph_module):
        for node in part.graph.nodes:
            if node not in stored:
                _check_evaluates(node)
    return program


def _made_of_stored(program: ExportedProgram) -> set[fx.Node]:
    """What a program computes without looking at the images, as scaled and standardized weights."""
    images, found = program.graph_signature.user_inputs, set[fx.Node]()
    for node in program.graph.nodes:
        kept = node.op == "placeholder" and node.name not in images
        made = node.op == "call_function" and node.all_input_nodes and found.issuperset(node.all_input_nodes)
        if kept or made:
            found.add(node)
    return found


def _lift(program: ExportedProgram, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    for path in (*program.state_dict, *program.constants):
        if path.partition(".")[0] in TAKEN:
            raise InvalidModel(f"The network calls a part of it {path.partition('.')[0]!r}; any other name is allowed.")
    source = recorded(program)
    inline_(source)
    _erase_guards_(source)
    _check_draws(source)
    _compute_in_floats_(source)
    functionalize_(source, input_shape)
    recompose_(source)
    _free_the_batch_(source)
    _cast_mixed_(source)
    _fill_without_reading_(source)
    _compute_constants_(source)
    without_scatters_(source)
    _free_the_batch_(source)
    _number_masks_(source)
    root, graph = nn.Module(), fx.Graph()
    env: dict[fx.Node, fx.Node] = {}
    calls: dict[str, str] = {}
    for node in source.graph.nodes:
        name = operator_name(node)
        _check_evaluates(node)
        lifted = LIFT[name](source, node) if name in LIFT else None
        if lifted is not None:
            path, module, reads = lifted
            path = _path_of(path, node, calls)
            place(root, path, module)
            env[node] = graph.call_module(path, (env[reads],))
        else:
            env[node] = _copied(graph, node, env)
        env[node].meta.setdefault("source", node.meta.get("source", node.name))
    _return_one_value_(graph.output_node())
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        if node.users:
            place(root, node.target, attribute(source, node.target))
        else:
            graph.erase_node(node)
    lifted_graph = fx.GraphModule(root, graph)
    graph.eliminate_dead_code()
    lifted_graph.delete_all_unused_submodules()
    lifted_graph.recompile()
    return lifted_graph.eval()


def _check_evaluates(node: fx.Node) -> None:
    """Raises `InvalidModel` for dropout that drops and for a norm over the batch."""
    if not isinstance(node.target, OpOverload) or not any(arguments(node).get(key) for key in TRAINS):
        return
    name = operator_name(node).removesuffix("_")
    if "batch_norm" in name and arguments(node).get("running_mean") is None:
        raise InvalidModel("A batch norm keeps no running statistics, so its network has no fixed answer per image.")
    raise InvalidModel(
        f"The operator {name!r} of this network works as in training, at random or on the whole batch; networks in "
        "evaluation mode are possible."
    )


def _check_draws(source: fx.GraphModule) -> None:
    """Raises `Unsupported` for operators that draw random numbers whatever their settings."""
    for node in source.graph.nodes:
        draws = isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
        if draws and not any(key in arguments(node) for key in TRAINS):
            raise Unsupported(
                f"The network draws random numbers by {operator_name(node)!r}; a fixed answer for each image is needed."
            )


def _copied(graph: fx.Graph, node: fx.Node, env: dict[fx.Node, fx.Node]) -> fx.Node:
    """What stands in `graph` for a call that becomes no module."""
    name = operator_name(node)
    if name in NOTHING or is_whole(node) or (name in CASTS and _is_float(node) and _is_float(node.args[0])):
        return env[node.args[0]]  # type: ignore[index]
    if name == "mean" and _pools_everything(node):
        pooled = graph.call_function(aten.adaptive_avg_pool2d.default, (env[node.args[0]], [1, 1]))  # type: ignore[index]
        return pooled if arguments(node)["keepdim"] else graph.call_function(aten.flatten.using_ints, (pooled, 1))
    return graph.node_copy(_pure(node), lambda n: env[n])


def _path_of(path: str, node: fx.Node, calls: dict[str, str]) -> str:
    """The path of the layer that `node` calls: `path` for the first call, others beside it.

    A layer that is called again is another one with the same values: what either reads differs, so moments and weights
    that fit the one do not fit the other. calls: which node is called at each path so far.
    """
    places = (path if i == 1 else f"{path}_{i}" for i in count(1))
    return next(place for place in places if calls.setdefault(place, node.name) == node.name)


def _return_one_value_(output: fx.Node) -> None:
    """A tuple, list or dict of one tensor (and of None) becomes that tensor."""
    if isinstance(output.args[0], tuple | list):
        values = tuple(value for value in output.args[0] if value is not None)
        output.args = (values[0] if len(values) == 1 else values,)


def _free_the_batch_(source: fx.GraphModule) -> None:
    """Reshapes that were traced with a fixed batch size take any, and what is repeated for each image follows it."""
    images = next(node for node in source.graph.nodes if node.op == "placeholder")
    batch = agreement.batch_of(source)
    if batch is None:
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
                    places.append(stored(source, read, f"{read.name}_places", numbers))
        node.args = (node.args[0], places)


def _fill_without_reading_(source: fx.GraphModule) -> None:
    """`x.new_zeros(sizes)` reads nothing of x but its type."""
    batch = agreement.batch_of(source)
    for node in source.graph.nodes:
        name = operator_name(node)
        if name not in NEW:
            continue
        sizes, number = arguments(node)["size"], arguments(node).get("fill_value", NEW[name])
        counted = any(isinstance(n, fx.Node) for n in (*sizes, number)) or (len(sizes) > 1 and sizes[0] == batch != 1)
        if not counted:
            node.target, node.args, node.kwargs = aten.full.default, (sizes, number), {"dtype": node.meta["val"].dtype}


def _compute_constants_(source: fx.GraphModule) -> None:
    """What depends on stored tensors alone becomes one, a parameter where it is made of one: positions, scaled weights.

    It is called after the module whose tensor it is made of, so that a layer with computed weights keeps its name.
    """
    parts = dict[fx.Node, Sequence[Any]]()  # tensors that an operator gives as a list
    for node in list(source.graph.nodes):
        reads = node.all_input_nodes
        if node.target is getitem and reads[0] in parts:
            reads, value = reads[0].all_input_nodes, parts[reads[0]][node.args[1]]
        elif node.op != "call_function" or any(read.op != "get_attr" for read in reads):
            continue
        elif operator_name(node) in NOTHING:
            node.replace_all_uses_with(reads[0])
            continue
        else:
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda read: attribute(source, str(read.target)))
            with torch.no_grad():
                value = node.target(*args, **kwargs)
        if isinstance(value, list | tuple):
            parts[node] = value
        if not isinstance(value, torch.Tensor):
            continue
        learned = any(isinstance(attribute(source, str(read.target)), nn.Parameter) for read in reads)
        with source.graph.inserting_before(node):
            kept = nn.Parameter(value) if learned and value.is_floating_point() else value
            made = stored(source, reads[0] if reads else None, node.name, kept)
        made.meta = node.meta
        node.replace_all_uses_with(made)
        source.graph.erase_node(node)


def _pure(node: fx.Node) -> fx.Node:
    """The same call with other spellings replaced by the common one."""
    name = operator_name(node)
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
    with agreement.taking(shape):
        answer, _ = graph(images), graph(images[:1])
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2 or len(answer) != 3 or not answer.shape[1]:
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise InvalidModel(f"The network must return scores [images, classes] for 3 images, not {got}.")
    if answer.isnan().any():
        raise InvalidModel("The network answers with NaN; only numbers are allowed as scores.")
    check_alike(model, graph, images)


def check_alike(model: nn.Module | ExportedProgram, graph: fx.GraphModule, images: torch.Tensor) -> None:
    """Raises `InvalidModel`, with the first operator that differs, where `graph` answers otherwise than `model`.

    images: [n, C, H, W], normalised.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    with agreement.taking(shape), torch.no_grad():
        program = None
        if isinstance(model, ExportedProgram):
            program = recorded(model)
            expected = agreement.answers_of_program(program, images)
        else:
            expected = agreement.answers_of_module(model, images)
        answer = graph(images)
        if agreement.agree(expected.float(), answer):
            return
        program = program or recorded(_export(model, shape))  # type: ignore[arg-type]
        tolerance = agreement.tolerance_of(program)
        if agreement.agree(expected.float(), answer, tolerance):
            return
        first = _first_difference(model, program, graph, images, tolerance)
    raise InvalidModel(
        f"The traced network answers differently from the original{first}, so it cannot be compressed safely."
    )


def _first_difference(
    model: nn.Module | ExportedProgram, program: fx.GraphModule, graph: fx.GraphModule, images: torch.Tensor,
    tolerance: float,
) -> str:  # fmt: skip
    images = images[: agreement.batch_of(program) or len(images)]
    by_path = {} if isinstance(model, ExportedProgram) else agreement.values_of_module(model, images)
    by_name = agreement.values_of_program(program, images)

    def expected(node: fx.Node) -> torch.Tensor | None:
        return by_path.get(str(node.target), by_name.get(node.meta.get("source", "")))

    found = agreement.values_of_program(graph, images)
    return agreement.first_difference(graph, found, expected, tolerance)


def recorded(program: ExportedProgram) -> fx.GraphModule:
    """The graph of a program as it was recorded, with what it stores, as it answers at inference."""
    source = program.module(check_guards=False)
    assert isinstance(source, fx.GraphModule)
    agreement.evaluate_(source)
    return source


def _compute_in_floats_(source: fx.GraphModule) -> None:
    """Whatever a network computes in floats of other widths, by a cast or by itself, is computed in 32 bits."""
    for node in source.graph.nodes:
        if operator_name(node) == "to" and _is_other_float(node.args[0].meta["val"]) != _is_other_float(
            node.meta["val"]
        ):
            node.kwargs = node.kwargs | {"copy": True}  # what is written into the one is not in the other
        if node.op == "get_attr" and _is_other_float(attribute(source, str(node.target))):
            _widen_(source, str(node.target))
        node.args = tuple(torch.float32 if _is_other_float(value) else value for value in node.args)
        node.kwargs = {key: torch.float32 if _is_other_float(value) else value for key, value in node.kwargs.items()}
        if _is_other_float(node.meta.get("val")):
            node.meta["val"] = node.meta["val"].to(torch.float32)


def _erase_guards_(source: fx.GraphModule) -> None:
    """Nothing is asked of the images that is not asked of every network's."""
    for node in [n for n in source.graph.nodes if operator_name(n) in GUARDS or n.target in GUARDS]:
        source.graph.erase_node(node)


def _is_other_float(value: Any) -> bool:
    dtype = value.dtype if isinstance(value, torch.Tensor) else value
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype != torch.float32


def _widen_(source: fx.GraphModule, path: str) -> None:
    owner, _, name = path.rpartition(".")
    kept = attribute(source, path)
    delattr(source.get_submodule(owner), name)
    value = kept.detach().to(torch.float32)
    place(source, path, nn.Parameter(value) if isinstance(kept, nn.Parameter) else value)
