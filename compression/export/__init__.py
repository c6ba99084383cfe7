"""The compressed network as one ONNX file of standard operators."""

from dataclasses import dataclass

import numpy as np
import torch
from onnx import FunctionProto, TensorProto, helper
from torch import fx, nn

from compression.export import pack
from compression.export.qdq import clip_of
from compression.export.stored import StoredLayer, folded_norm, stored
from compression.export.translate import Context, translate
from compression.export.writer import INPUT, Writer
from compression.graph import module_of, only_reader, shapes
from compression.parametrizations import ActivationQuantizer


@dataclass(frozen=True)
class Exported:
    """The bytes of the file, and how each layer's weights stand in it."""

    onnx: bytes
    encodings: dict[str, pack.Encoding]


def export(graph: fx.GraphModule, input_shape: tuple[int, int, int], *, packed: bool = True) -> Exported:
    """Writes the canonical `graph`, activation quantizers included, for images of (C, H, W).

    packed=False stores weights as plain int8 or float32 (the unpacked twin: same numbers, more bytes). Raises
    `Unsupported` for an operator without translation.
    """
    return _Exporter(graph, input_shape, packed).run()


class _Exporter:
    """One pass over the graph; `names` holds the ONNX name of each node's value."""

    def __init__(self, graph: fx.GraphModule, input_shape: tuple[int, int, int], packed: bool):
        self.graph, self.input_shape, self.packed = graph, input_shape, packed
        self.writer = Writer()
        self.names: dict[fx.Node, str] = {}
        self.scales: dict[fx.Node, str] = {}
        self.encodings: dict[str, pack.Encoding] = {}
        self.shapes = shapes(graph, input_shape)
        self.context = Context(self.writer, self.names, self.shapes)

    def run(self) -> Exported:
        scores = ""
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.names[node] = INPUT
            elif node.op == "output":
                scores = self.names[node.args[0]]
            elif node.op == "get_attr":
                self.names[node] = self.writer.constant(_tensor(self.graph, node))
            elif node.op == "call_module":
                self.names[node] = self._module(node, self.graph.get_submodule(node.target))
            elif _is_size(node):
                continue
            elif self._clipped_by_quantizer(node):
                self.names[node] = self.names[node.args[0]]
            else:
                self.names[node] = translate(self.context, node)
        output = next(n for n in self.graph.graph.nodes if n.op == "output").args[0]
        onnx = self.writer.finish(self.input_shape, scores, self.shapes[output.name][1])
        return Exported(onnx, self.encodings)

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
            names = [self.writer.constant(p.detach().numpy()) for p in (module.weight, module.bias)]
            return self.writer.node(
                "LayerNormalization", [value, *names], epsilon=module.eps, axis=-len(module.weight.shape)
            )
        return value  # dropout

    def _quantizer(self, node: fx.Node, value: str, quantizer: ActivationQuantizer) -> str:
        scale = self.writer.constant(quantizer.scale.numpy())
        self.scales[node] = scale
        zero = self.writer.constant(np.array(quantizer.zero_point, np.uint8))
        if not self.packed:
            codes = self.writer.node("QuantizeLinear", [value, scale, zero])
            return self.writer.node("DequantizeLinear", [codes, scale, zero])
        inputs = [value, scale] if quantizer.zero_point == 0 else [value, scale, zero]
        return self.writer.call(_round_function(quantizer.zero_point == 0), inputs)

    def _layer(self, node: fx.Node, layer: nn.Conv2d | nn.Linear) -> str:
        source = node.args[0]
        values = stored(layer, folded_norm(self.graph, node))
        integer = source in self.scales and values.scale is not None
        if integer:
            values = values.with_bias_in_32_bits(self._scale_of(source))  # type: ignore[arg-type]
        weights = self._weights(str(node.target), values, integer)
        bias = self._bias(values, self._scale_of(source)) if integer else self._float_bias(values)  # type: ignore[arg-type]
        inputs = [self.names[source], weights, *([bias] if bias else [])]  # type: ignore[index]
        if isinstance(layer, nn.Linear):
            if len(self.shapes[node.name]) == 2:
                return self.writer.node("Gemm", inputs, transB=1)
            product = self.writer.node("MatMul", [inputs[0], self.writer.node("Transpose", [weights], perm=[1, 0])])
            return self.writer.node("Add", [product, bias]) if bias else product
        return self.writer.node("Conv", inputs, **_conv_attributes(layer))

    def _weights(self, name: str, layer: StoredLayer, integer: bool) -> str:
        encoding = pack.encode(layer.values, layer.bits, layer.zero)
        if not self.packed:
            encoding = pack.plain(layer.values, layer.bits, layer.zero)
        self.encodings[name] = encoding
        tensors = [self.writer.constant(t) for t in encoding.tensors]
        codes = tensors[0]
        if encoding.function:
            codes = self.writer.call(pack.decoder(encoding), tensors, s=list(encoding.shape))
        if layer.scale is None:
            return codes
        scale = self._half(layer.scale)
        if integer:
            zero = [self._zero(scale, TensorProto.INT8)] if layer.values.ndim == 2 else []
            return self.writer.node("DequantizeLinear", [codes, scale, *zero], axis=0)
        floats = self.writer.node("Cast", [codes], to=TensorProto.FLOAT)
        column = self.writer.constant(np.array([-1] + [1] * (layer.values.ndim - 1), np.int64))
        return self.writer.node("Mul", [floats, self.writer.node("Reshape", [scale, column])])

    def _bias(self, layer: StoredLayer, input_scale: np.ndarray) -> str | None:
        """The bias in 32-bit integers at the accumulator's scale, computed when the session loads."""
        if not layer.bias.any():
            return None
        step = self.writer.node("Mul", [self._half(layer.scale), self.writer.constant(input_scale)])
        steps = self.writer.node("Round", [self.writer.node("Div", [self._half(layer.bias), step])])
        zero = [self._zero(step, TensorProto.INT32)] if layer.values.ndim == 2 else []
        codes = self.writer.node("Cast", [steps], to=TensorProto.INT32)
        return self.writer.node("DequantizeLinear", [codes, step, *zero], axis=0)

    def _zero(self, scale: str, element: int) -> str:
        """Zero-points in the shape of a scale: without them ONNX Runtime does not fuse a Gemm with 8-bit weights."""
        return self.writer.node("Cast", [self.writer.node("Sub", [scale, scale])], to=element)

    def _float_bias(self, layer: StoredLayer) -> str | None:
        return self._half(layer.bias) if layer.scale is not None else self.writer.constant(layer.bias)

    def _half(self, values: np.ndarray) -> str:
        """float32 values, stored as float16 where that is exact."""
        short = values.astype(np.float16)
        if not np.array_equal(short.astype(np.float32), values):
            return self.writer.constant(values)
        return self.writer.node("Cast", [self.writer.constant(short)], to=TensorProto.FLOAT)

    def _scale_of(self, node: fx.Node) -> np.ndarray:
        return self.graph.get_submodule(str(node.target)).scale.numpy()  # type: ignore[union-attr]

    def _batch_norm(self, value: str, norm: nn.BatchNorm2d) -> str:
        tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        names = [self.writer.constant(t.detach().numpy()) for t in tensors]
        return self.writer.node("BatchNormalization", [value, *names], epsilon=norm.eps)

    def _clipped_by_quantizer(self, node: fx.Node) -> bool:
        """True for a ReLU or ReLU6 that the quantizer after it performs, because 0 is its lowest code."""
        bounds, reader = clip_of(node), only_reader(node)
        quantizer = module_of(self.graph, reader) if reader else None
        if bounds is None or not isinstance(quantizer, ActivationQuantizer) or quantizer.zero_point != 0:
            return False
        return float(quantizer.scale) * 255 <= bounds[1] * (1 + 1e-6)


def _round_function(zero: bool) -> FunctionProto:
    """'Q' (scale, zero-point) and 'R' (scale alone): a value to 8 bits and back."""
    node = helper.make_node
    nodes = [node("QuantizeLinear", ["v", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    if zero:
        return pack.function("R", ["v", "s"], "y", [pack.constant("z", np.array(0, np.uint8)), *nodes], [])
    return pack.function("Q", ["v", "s", "z"], "y", nodes, [])


def _conv_attributes(layer: nn.Conv2d) -> dict[str, object]:
    """Only those that differ from ONNX's defaults."""
    attributes: dict[str, object] = {}
    if isinstance(layer.padding, str):
        if layer.padding == "same":
            attributes["auto_pad"] = "SAME_UPPER"
    elif any(layer.padding):
        attributes["pads"] = list(layer.padding) * 2
    if layer.stride != (1, 1):
        attributes["strides"] = list(layer.stride)
    if layer.dilation != (1, 1):
        attributes["dilations"] = list(layer.dilation)
    if layer.groups != 1:
        attributes["group"] = layer.groups
    return attributes


def _tensor(graph: fx.GraphModule, node: fx.Node) -> np.ndarray:
    value: torch.Tensor | nn.Module = graph
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value.detach().numpy()  # type: ignore[union-attr]


def _is_size(node: fx.Node) -> bool:
    """Batch sizes and arithmetic on them: reshapes in the file leave these free."""
    return node.op == "call_function" and (
        "sym_size" in str(node.target)
        or (getattr(node.target, "__module__", "") == "_operator"
        and "getitem" not in str(node.target))
    )
