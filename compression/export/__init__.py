"""The compressed network as one ONNX file of standard operators."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import fx, nn

from compression.export import decoders, pack
from compression.export.context import Context
from compression.export.translate import even_groups, translate
from compression.export.writer import INPUT, OUTPUT, Writer
from compression.host.process_memory import enough_memory
from compression.network import integer_grids
from compression.network.graph import LAYERS, folded_norm, is_size, module_of, only_reader, padding_of, values
from compression.network.parametrizations import ActivationQuantizer, HardSigmoidQuantizer
from compression.network.quantized_values import clip_of, runs_in_integers
from compression.network.storage import stored
from compression.network.stored_layer import StoredLayer


@dataclass(frozen=True)
class Exported:
    """The bytes of the file, and how each layer's weights stand in it.

    `tensors` maps each layer to the names of its stored tensors in the file, and each name to what it holds: 'payload',
    'positions', 'codebooks', 'scales' or 'biases'. Under '' stand those that belong to no layer.
    """

    onnx: bytes
    encodings: dict[str, pack.Encoding]
    tensors: dict[str, dict[str, str]]


@enough_memory()
def export(graph: fx.GraphModule, input_shape: tuple[int, int, int], *, packed: bool = True) -> Exported:
    """Writes the canonical `graph`, activation quantizers included, for images of (C, H, W).

    packed=False stores weights as plain int8 or float32 (the unpacked twin: same numbers, more bytes). Raises
    `Unsupported` for an operator without translation.
    """
    return _Exporter(graph, input_shape, packed).run()


def with_node_names(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> bytes:
    """The unpacked file whose nodes and values are named by the graph's nodes, 'conv1/0', 'conv1/1', …

    What ONNX Runtime makes of several nodes keeps the name of the first or of the value that the last one gives.
    """
    exporter = _Exporter(graph, input_shape, packed=False)
    model = onnx.load_model_from_string(exporter.run().onnx)
    names = {exporter.file_names.get(name, name): node.name for node, name in exporter.names.items()
             if isinstance(name, str)}  # fmt: skip
    renamed: dict[str, str] = {}
    waiting: list[onnx.NodeProto] = []
    for written in model.graph.node:
        waiting.append(written)
        owner = next((names[name] for name in written.output if name in names), None)
        if owner or written is model.graph.node[-1]:
            for i, each in enumerate(waiting):
                each.name = f"{owner}/{i}"
                renamed |= {name: f"{each.name}{'.' * k}" for k, name in enumerate(each.output) if name != OUTPUT}
            waiting = []
    for written in model.graph.node:
        written.input[:] = [renamed.get(name, name) for name in written.input]
        written.output[:] = [renamed.get(name, name) for name in written.output]
    return model.SerializeToString()


def with_values(graph: fx.GraphModule, input_shape: tuple[int, int, int]) -> tuple[bytes, dict[str, str]]:
    """The unpacked file that gives the value of each node too, and the name of each of these outputs by the node's."""
    exporter = _Exporter(graph, input_shape, packed=False)
    model = onnx.load_model_from_string(exporter.run().onnx)
    written = {name for node in model.graph.node for name in node.output} - {OUTPUT}
    found = {node.name: exporter.file_names.get(name, name) for node, name in exporter.names.items()
             if isinstance(name, str)}  # fmt: skip
    found = {node: name for node, name in found.items() if name in written}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(set(found.values())))
    return model.SerializeToString(), found


class _Exporter:
    """One pass over the graph; `names` holds the ONNX name of each node's value."""

    def __init__(self, graph: fx.GraphModule, input_shape: tuple[int, int, int], packed: bool):
        self.graph, self.input_shape, self.packed = graph, input_shape, packed
        self.writer = Writer(outlined=packed)
        self.names: dict[fx.Node, str] = {}
        self.file_names: dict[str, str] = {}
        self.scales: dict[fx.Node, str] = {}
        self.encodings: dict[str, pack.Encoding] = {}
        self.tensors: dict[str, dict[str, str]] = {}
        self.layers = {str(n.target): stored(module_of(graph, n), folded_norm(graph, n))  # type: ignore[arg-type]
                       for n in graph.graph.nodes if isinstance(module_of(graph, n), LAYERS)}  # fmt: skip
        self.chosen = choose_encodings(self.layers, packed)
        known = values(graph, input_shape)
        self.shapes = {name: value.shape for name, value in known.items()}
        self.context = Context(self.writer, self.names, known)

    def run(self) -> Exported:
        scores = ""
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.names[node] = INPUT
            elif node.op == "output":
                scores = self.names[node.args[0]]
            elif node.op == "get_attr":
                self.names[node] = self._kept("", "payload", _tensor(self.graph, node))
            elif node.op == "call_module":
                self.names[node] = self._module(node, self.graph.get_submodule(node.target))
            elif is_size(node):
                continue
            elif self._clipped_by_quantizer(node):
                self.names[node] = self.names[node.args[0]]
            else:
                self.names[node] = translate(self.context, node)
        output = next(n for n in self.graph.graph.nodes if n.op == "output").args[0]
        content, names = self.writer.finish(self.input_shape, scores, self.shapes[output.name][1])
        tensors = {layer: {names[name]: role for name, role in found.items()} for layer, found in self.tensors.items()}
        self.file_names = names
        return Exported(content, self.encodings, tensors)

    def _module(self, node: fx.Node, module: nn.Module) -> str:
        source = node.args[0]
        value = self.names[source]  # type: ignore[index]
        if isinstance(module, ActivationQuantizer):
            return self._quantizer(node, value, module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self._layer(node, module)
        if isinstance(module, nn.BatchNorm2d):
            return value if folded_norm(self.graph, source) is module else self._batch_norm(value, module)  # type: ignore[arg-type]
        if isinstance(module, nn.LayerNorm):
            names = [self._kept("", "payload", p.detach().numpy()) for p in (module.weight, module.bias)]
            return self.writer.node(
                "LayerNormalization", [value, *names], epsilon=module.eps, axis=-len(module.weight.shape)
            )
        if isinstance(module, nn.GroupNorm):
            shape = self.shapes[node.name]
            value = even_groups(self.context, value, shape, module.num_groups, module.eps)
            for operator, tensor, none in (("Mul", module.weight, 1), ("Add", module.bias, 0)):
                by_channel = tensor.detach().reshape(-1, *[1] * (len(shape) - 2)).numpy()
                if (by_channel != none).any():
                    value = self.writer.node(operator, [value, self._kept("", "payload", by_channel)])
            return value
        if isinstance(module, nn.PReLU):
            slopes = module.weight.detach().reshape(-1, *[1] * (len(self.shapes[node.name]) - 2)).numpy()
            return self.writer.node("PRelu", [value, self._kept("", "payload", slopes)])
        return value  # dropout

    def _quantizer(self, node: fx.Node, value: str, quantizer: ActivationQuantizer) -> str:
        scale = self._kept("", "scales", quantizer.scale.numpy())
        self.scales[node] = scale
        zero = self.writer.constant(np.array(quantizer.zero_point, np.uint8), shared=True)
        if isinstance(quantizer, HardSigmoidQuantizer):
            codes = self._hard_sigmoid(value, quantizer)
        else:
            codes = self.writer.node("QuantizeLinear", [value, scale, zero])
        return self.writer.node("DequantizeLinear", [codes, scale, zero])

    def _hard_sigmoid(self, value: str, quantizer: HardSigmoidQuantizer) -> str:
        """Codes of a hard sigmoid: those of the value itself on another grid, by an integer product with 1."""
        w = self.writer
        one, whole = (
            w.constant(np.array(1, np.uint8)),
            [w.constant(np.array(1, np.float32)), w.constant(np.array(0, np.uint8))],
        )
        same = w.node("Mul", [value, w.node("DequantizeLinear", [one, *whole])])
        grid = [w.constant(np.array(quantizer.STEP, np.float32)), w.constant(np.array(quantizer.MIDDLE, np.uint8))]
        return w.node("QuantizeLinear", [same, *grid])

    def _layer(self, node: fx.Node, layer: nn.Conv2d | nn.Linear) -> str:
        source = node.args[0]
        name = str(node.target)
        values = self.layers[name]
        integer = source in self.scales and values.scale is not None and self._layer_runs_in_integers(node)
        if integer:
            values = values.with_bias_in_32_bits(self._scale_of(source))  # type: ignore[arg-type]
        weights = self._weights(name, values, integer)
        bias = self._bias(name, values, self._scale_of(source)) if integer else self._float_bias(name, values)  # type: ignore[arg-type]
        inputs = [self.names[source], weights, *([bias] if bias else [])]  # type: ignore[index]
        if isinstance(layer, nn.Linear):
            if len(self.shapes[node.name]) == 2:
                return self.writer.node("Gemm", inputs, transB=1)
            product = self.writer.node("MatMul", [inputs[0], self.writer.node("Transpose", [weights], perm=[1, 0])])
            return self.writer.node("Add", [product, bias]) if bias else product
        return self.writer.node("Conv", inputs, **_conv_attributes(layer))

    def _weights(self, name: str, layer: StoredLayer, integer: bool) -> str:
        ends, moved = layer.limits, integer and layer.needs_zero_points
        if not self.packed:
            layer = layer.moved() if moved else layer.plain()
        chosen = self.chosen[name] if self.packed or not moved else pack.plain(layer.values, layer.bits)
        encoding = pack.encode(layer.values, chosen)
        self.encodings[name] = encoding
        placed = zip(encoding.roles, encoding.tensors, strict=True)
        tensors = [self._kept(name, role, tensor) for role, tensor in placed]
        codes = self.writer.decoded(encoding, tensors)
        limits = self._kept(name, "scales", ends) if ends is not None and (self.packed or moved) else ""
        if limits and self.packed:
            codes = self.writer.call(f"Z{layer.bits}", [codes, limits])
        if layer.multipliers is not None:
            packed = self._kept(name, "scales", pack.pack_bits(layer.multipliers.ravel() - 1, 4))
            codes = self.writer.call(f"G{layer.group}x{integer_grids.gain(layer.bits, layer.grid)}", [codes, packed])
        if layer.scale is None:
            return codes
        scale = self._half(name, "scales", layer.scale)
        if moved:
            return self._dequantized_around(codes, scale, limits, layer.values.ndim)
        if integer:
            zero = [self._zero(scale, TensorProto.INT8)] if layer.values.ndim == 2 else []
            return self.writer.node("DequantizeLinear", [codes, scale, *zero], axis=0)
        floats = self.writer.node("Cast", [codes], to=TensorProto.FLOAT)
        column = self.writer.constant(np.array([-1] + [1] * (layer.values.ndim - 1), np.int64))
        return self.writer.node("Mul", [floats, self.writer.node("Reshape", [scale, column])])

    def _dequantized_around(self, codes: str, scale: str, limits: str, rank: int) -> str:
        """Weights whose codes fill a byte to both sides of a zero-point: in signed bytes, as integer kernels take them.

        limits: the largest code of each channel, uint8 [out]; in signed bytes it is 127.
        """
        w = self.writer
        moved = w.node("Sub", [w.constant(np.array(127, np.int32)), w.node("Cast", [limits], to=TensorProto.INT32)])
        if self.packed:
            column = w.constant(np.array([-1] + [1] * (rank - 1), np.int64))
            codes = w.node("Cast", [w.node("Add", [codes, w.node("Reshape", [moved, column])])], to=TensorProto.INT8)
        zero = w.node("Cast", [moved], to=TensorProto.INT8)
        return w.node("DequantizeLinear", [codes, scale, zero], axis=0)

    def _kept(self, name: str, role: str, values: np.ndarray) -> str:
        """A stored tensor of layer `name`, recorded under its role for the ledger."""
        tensor = self.writer.constant(values)
        self.tensors.setdefault(name, {})[tensor] = role
        return tensor

    def _bias(self, name: str, layer: StoredLayer, input_scale: np.ndarray) -> str | None:
        """The bias in 32-bit integers at the accumulator's scale, computed when the session loads."""
        assert layer.scale is not None
        if not layer.bias.any():
            return None
        step = self.writer.node("Mul", [self._half(name, "scales", layer.scale), self.writer.constant(input_scale)])
        steps = self.writer.node("Round", [self.writer.node("Div", [self._half(name, "biases", layer.bias), step])])
        zero = [self._zero(step, TensorProto.INT32)] if layer.values.ndim == 2 else []
        codes = self.writer.node("Cast", [steps], to=TensorProto.INT32)
        return self.writer.node("DequantizeLinear", [codes, step, *zero], axis=0)

    def _zero(self, scale: str, element: int) -> str:
        """Zero-points in the shape of a scale: without them ONNX Runtime does not fuse a Gemm with 8-bit weights."""
        return self.writer.node("Cast", [self.writer.node("Sub", [scale, scale])], to=element)

    def _float_bias(self, name: str, layer: StoredLayer) -> str:
        if layer.bits == 32:
            return self._kept(name, "biases", layer.bias)
        return self._half(name, "biases", layer.bias)

    def _half(self, name: str, role: str, values: np.ndarray) -> str:
        """float32 values, stored as float16 where that is exact."""
        with np.errstate(over="ignore"):  # what is too large is not exact
            short = values.astype(np.float16)
        if not np.array_equal(short.astype(np.float32), values):
            return self._kept(name, role, values)
        return self.writer.node("Cast", [self._kept(name, role, short)], to=TensorProto.FLOAT)

    def _scale_of(self, node: fx.Node) -> np.ndarray:
        quantizer = module_of(self.graph, node)
        assert isinstance(quantizer, ActivationQuantizer)
        return quantizer.scale.numpy()

    def _batch_norm(self, value: str, norm: nn.BatchNorm2d) -> str:
        assert norm.running_mean is not None and norm.running_var is not None
        tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        names = [self._kept("", "payload", t.detach().numpy()) for t in tensors]
        return self.writer.node("BatchNormalization", [value, *names], epsilon=norm.eps)

    def _layer_runs_in_integers(self, node: fx.Node) -> bool:
        """False for a convolution whose result is not rounded at once: ONNX Runtime computes it in floats.

        Its weights are then decoded to floats, because 8-bit ones would be turned into floats at every call. So are
        those of layers that are not placed in integers.
        """
        if not runs_in_integers(self.graph, node):
            return False
        if isinstance(module_of(self.graph, node), nn.Linear):
            return True
        reader = only_reader(node)
        norm = folded_norm(self.graph, node)
        if norm is not None and reader is not None:
            reader = only_reader(reader)
        while reader is not None and self._clipped_by_quantizer(reader):
            reader = only_reader(reader)
        return reader is not None and isinstance(module_of(self.graph, reader), ActivationQuantizer)

    def _clipped_by_quantizer(self, node: fx.Node) -> bool:
        """True for a ReLU or ReLU6 that the quantizer after it performs, because 0 is its lowest code."""
        bounds, reader = clip_of(node), only_reader(node)
        quantizer = module_of(self.graph, reader) if reader else None
        if bounds is None or not isinstance(quantizer, ActivationQuantizer) or quantizer.zero_point != 0:
            return False
        return float(quantizer.scale) * 255 <= bounds[1] * (1 + 1e-6)


def choose_encodings(layers: dict[str, StoredLayer], packed: bool) -> dict[str, pack.Option]:
    """The encoding of every layer: the smallest file's, or plain."""
    if not packed:
        kept = {name: layer.plain() for name, layer in layers.items()}
        return {name: pack.plain(layer.values, layer.bits, layer.grid) for name, layer in kept.items()}
    found = [pack.options(layer.values, layer.bits, layer.grid, layer.books) for layer in layers.values()]
    return dict(zip(layers, pack.choose(found, decoders.cost, decoders.needed), strict=True))


def _conv_attributes(layer: nn.Conv2d) -> dict[str, Any]:
    """Only those that differ from ONNX's defaults."""
    attributes: dict[str, Any] = {}
    left, right, above, below = padding_of(layer)
    if left or right or above or below:
        attributes["pads"] = [above, left, below, right]
    if layer.stride != (1, 1):
        attributes["strides"] = list(layer.stride)
    if layer.dilation != (1, 1):
        attributes["dilations"] = list(layer.dilation)
    if layer.groups != 1:
        attributes["group"] = layer.groups
    return attributes


def _tensor(graph: fx.GraphModule, node: fx.Node) -> np.ndarray:
    value = operator.attrgetter(str(node.target))(graph)
    assert isinstance(value, torch.Tensor)
    return value.detach().numpy()
