"""Queries of a canonical graph, as `tracing` makes it: layers, readers of values, shapes, multiply-accumulates."""

import hashlib
import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

LAYERS = (nn.Conv2d, nn.Linear)
"""Modules whose weights are compressed: [out, in/groups, kh, kw] and [out, in]."""


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


def is_size(node: fx.Node) -> bool:
    """Whether a node counts images, or computes with that: reshapes in the file leave such lengths free."""
    return node.op == "call_function" and (
        "sym_size" in str(node.target)
        or (getattr(node.target, "__module__", "") == "_operator" and "getitem" not in str(node.target))
    )


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that `node` calls, or None."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def layers(graph: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose weights are compressed, by name, in order of execution where `graph` is a traced one."""
    if not isinstance(graph, fx.GraphModule):
        return {name: module for name, module in graph.named_modules() if isinstance(module, LAYERS)}
    called = ((str(node.target), module_of(graph, node)) for node in graph.graph.nodes)
    return {name: module for name, module in called if isinstance(module, LAYERS)}


def digest(graph: fx.GraphModule) -> str:
    """64 hex digits over all that its answers depend on: its code and modules, weights, biases, norms."""
    found = hashlib.sha256(str(graph).encode())
    for name, tensor in sorted(graph.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().contiguous().numpy().data)
    return found.hexdigest()


KEEPS_CHANNELS = {
    "flatten", "reshape", "squeeze", "unsqueeze", "softmax", "log_softmax", "sigmoid", "relu", "hardtanh", "mean",
    "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "adaptive_max_pool2d", "amax",
}  # fmt: skip
"""Operators whose answers have a channel for each that they read, where maps have become single numbers before rows."""


def answering(graph: fx.GraphModule) -> set[str]:
    """The layer whose outputs are the network's answers, at once or as pools, clips and softmax leave them; or none."""
    answer = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    while isinstance(answer, fx.Node) and len(answer.all_input_nodes) == 1:
        module = module_of(graph, answer)
        if isinstance(module, LAYERS):
            return {str(answer.target)}
        if operator_name(answer) not in KEEPS_CHANNELS and not isinstance(module, (nn.Dropout, nn.BatchNorm2d)):
            break
        answer = answer.all_input_nodes[0]
    return set()


def channel_axis(layer: nn.Module) -> int:
    """Where the channels of what `layer` reads and gives lie: a linear layer has them last, in feature maps too."""
    return -1 if isinstance(layer, nn.Linear) else 1


def batch_norm_after(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The batch-norm node that is the only reader of layer `node` and can be folded into it, or None."""
    reader = only_reader(node)
    return reader if reader is not None and isinstance(module_of(graph, reader), nn.BatchNorm2d) else None


def residual_operand(graph: fx.GraphModule, node: fx.Node) -> fx.Node | None:
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


class FlatNorm(nn.BatchNorm2d):
    """A batch norm of rows [n, C], as `nn.BatchNorm1d`: all that is done with one of maps is done with this too."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() != 2:
            raise ValueError(f"expected 2D input (got {input.dim()}D input)")


Pads = tuple[int, int, int, int]
"""How many zeros are set beside maps: left, right, above, below."""


class PaddedConv2d(nn.Conv2d):
    """A convolution with zeros beside its maps on each side its own, where `nn.Conv2d` sets as many on both sides."""

    def __init__(self, *args: Any, pads: Pads, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pads = pads

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Maps [n, C, H, W] with zeros beside them, convolved."""
        return super().forward(F.pad(input, self.pads))

    def extra_repr(self) -> str:
        """What `nn.Conv2d` says, and the zeros: `digest` reads them here."""
        return f"{super().extra_repr()}, pads={self.pads}"


def padding_of(layer: nn.Conv2d) -> Pads:
    """How many zeros `layer` sets beside its maps: on each side, however the layer stores them."""
    if isinstance(layer, PaddedConv2d):
        return layer.pads
    if layer.padding == "same":
        across, down = (d * (k - 1) for d, k in zip(layer.dilation[::-1], layer.kernel_size[::-1], strict=True))
        return across // 2, across - across // 2, down // 2, down - down // 2
    above, left = (0, 0) if isinstance(layer.padding, str) else layer.padding  # 'valid' pads nothing
    return left, left, above, above


def padded(layer: nn.Conv2d, pads: Pads) -> nn.Conv2d:
    """The convolution with `layer`'s own weights that sets `pads` zeros beside its maps instead."""
    left, right, above, below = pads
    even = left == right and above == below
    kind: type[nn.Conv2d] = nn.Conv2d if even else PaddedConv2d
    padding: dict[str, Any] = {"padding": (above, left)} if even else {"pads": pads}
    made = kind(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride,  # type: ignore[arg-type]
        dilation=layer.dilation, groups=layer.groups, bias=layer.bias is not None, device="meta",  # type: ignore[arg-type]
        **padding,
    )  # fmt: skip
    made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)


class Shapes(fx.Interpreter):
    """Runs a graph on blank images and keeps every value's shape and type."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}

    def run_node(self, n: fx.Node) -> Any:
        """What the node computes; its shape and type are kept on the way."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.shapes[n.name], self.dtypes[n.name] = tuple(value.shape), value.dtype
        return value


@dataclass(frozen=True)
class Value:
    """What a node gives for one image: shape, type, and which axes are longer for more images."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    counted: frozenset[int]


@torch.inference_mode()
def shapes(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Shape of every value by node name, for one image of (C, H, W)."""
    run = Shapes(graph)
    run.run(torch.zeros(1, *input_shape))
    return run.shapes


@torch.inference_mode()
def values(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[str, Value]:
    """Every value by node name, for one image of (C, H, W)."""
    one, two = Shapes(graph), Shapes(graph)
    one.run(torch.zeros(1, *input_shape))
    two.run(torch.zeros(2, *input_shape))
    return {
        name: Value(shape, one.dtypes[name], frozenset(i for i, n in enumerate(shape) if n != two.shapes[name][i]))
        for name, shape in one.shapes.items()
    }


def macs_of(layer: nn.Conv2d | nn.Linear, output_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one layer for one image; `output_shape` is that of its answers to one image."""
    return layer.weight.numel() * math.prod(output_shape) // output_shape[channel_axis(layer)]


def macs(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates for one image, layer by layer; a layer that is called twice counts twice."""
    known, found = shapes(graph, input_shape), dict.fromkeys(layers(graph), 0)
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if isinstance(layer, LAYERS):
            found[str(node.target)] += macs_of(layer, known[node.name])
    return found


def pair(value: Any) -> tuple[int, int]:
    """Height and width of what ATen gives as one number, a list of one, or both."""
    both = [value, value] if isinstance(value, int) else list(value) * (2 // len(value))
    return both[0], both[1]


def folded_norm(graph: fx.GraphModule, node: fx.Node) -> nn.BatchNorm2d | None:
    """The batch norm that is folded into the layer called by `node`, or None. One of rows may follow a linear layer."""
    reader = batch_norm_after(graph, node)
    norm = module_of(graph, reader) if reader is not None else None
    folds = isinstance(module_of(graph, node), nn.Linear if isinstance(norm, FlatNorm) else nn.Conv2d)
    return norm if folds else None  # type: ignore[return-value]


def products(graph: fx.GraphModule) -> dict[str, str]:
    """For each layer of a product, what that is, with its ranks: 'spatial 16'."""
    found: dict[str, str] = {}
    for name, split in graph.meta["factorize"].splits.items() if "factorize" in graph.meta else ():
        text = f"{split.kind} {', '.join(map(str, split.ranks))}"
        found |= dict.fromkeys([*parts_of(graph, name), name], text)
    return found


def parts_of(graph: nn.Module, name: str) -> list[str]:
    """Paths of the layers of a product before the last one, which is called `name`."""
    found = dict(graph.named_modules())
    return [path for path in part_paths(name) if path in found]


def part_paths(name: str) -> list[str]:
    """What the layers before the last one of a product in place of layer `name` are called, as far as it has them."""
    return [f"{name}_first", f"{name}_core"]
