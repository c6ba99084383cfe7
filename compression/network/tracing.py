"""One canonical graph of any classifier: the network traced once, its layers plain modules again.

`torch.export` turns a module into a small, regular set of ATen operators. `trace` lifts the operators that own weights
(convolution, linear, batch, layer and group norm, PReLU) and dropout back into `torch.nn` modules under their original
names, computes what does not depend on the image, drops what does nothing at inference, replaces in-place operators by
pure ones, and other spellings of common activations by one, and folds zero padding into what reads it. Everything after
this - calibration, techniques, simulation, export - works on that one `torch.fx.GraphModule`.
"""

from itertools import count

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.export import Dim, ExportedProgram

from compression.data import Dataset, for_outputs
from compression.data.folder import FOLDER_PREFIX
from compression.errors import InvalidData, InvalidModel
from compression.network import agreement
from compression.network.agreement import TRAINS
from compression.network.decisions import every_class
from compression.network.graph import arguments, layers, operator_name
from compression.network.lifting import LIFT, attribute, place
from compression.network.rewriting import CASTS, NOTHING, is_float, pure, rewrite_
from compression.network.scatters import is_whole
from compression.network.zero_padding import fold_padding_

aten = torch.ops.aten

fx.config.do_not_emit_stack_traces = True  # they take a tenth of an export's time, and nothing reads them

TAKEN = set(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - set(dir(nn.Module()))
"""Names that a traced network has for itself."""


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
        hint = " Say which is which in a CSV of CLASS,OUTPUT." if data.name.startswith(FOLDER_PREFIX) else ""
        raise InvalidModel(
            f"The network answers with {scores.shape[1]} classes, but {data.title} has {len(data.classes)}.{hint}"
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
    rewrite_(source, input_shape)
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


def _copied(graph: fx.Graph, node: fx.Node, env: dict[fx.Node, fx.Node]) -> fx.Node:
    """What stands in `graph` for a call that becomes no module."""
    name = operator_name(node)
    if name in NOTHING or is_whole(node) or (name in CASTS and is_float(node) and is_float(node.args[0])):
        return env[node.args[0]]  # type: ignore[index]
    if name == "mean" and _pools_everything(node):
        pooled = graph.call_function(aten.adaptive_avg_pool2d.default, (env[node.args[0]], [1, 1]))  # type: ignore[index]
        return pooled if arguments(node)["keepdim"] else graph.call_function(aten.flatten.using_ints, (pooled, 1))
    return graph.node_copy(pure(node), lambda n: env[n])


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


def _pools_everything(node: fx.Node) -> bool:
    """True for the mean over height and width of feature maps: a global average pool by another name."""
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    dims = arguments(node).get("dim") or ()
    return rank == 4 and sorted(d % rank for d in dims) == [2, 3] and is_float(node) and is_float(node.args[0])


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
        raise InvalidModel("The network returns NaN; only numbers are allowed as scores.")
    check_alike(model, graph, images)


def check_alike(model: nn.Module | ExportedProgram, graph: fx.GraphModule, images: torch.Tensor) -> torch.Tensor:
    """The scores of `graph` for images [n, C, H, W], normalised.

    Raises `InvalidModel`, with the first operator that differs, where it answers otherwise than `model`.
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
            return answer
        program = program or recorded(_export(model, shape))  # type: ignore[arg-type]
        tolerance = agreement.tolerance_of(program)
        if agreement.agree(expected.float(), answer, tolerance):
            return answer
        first = _first_difference(model, program, graph, images, tolerance)
    raise InvalidModel(
        f"The traced network gives different outputs from the original{first}, so it cannot be compressed safely."
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
