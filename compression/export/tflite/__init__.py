"""The compressed network as one `.tflite` file, for LiteRT and for microcontrollers.

The same codes, scales and zero-points as in the ONNX file: weights are symmetric, a scale for each output channel;
activations have a zero-point, 128 less than theirs in uint8; biases are int32. Maps lie as [n, H, W, C].
"""

from typing import Literal

import numpy as np
import torch
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite.file import Grid, TfliteFile
from compression.export.tflite.operators import TRANSLATIONS, layer
from compression.export.tflite.pointwise import batch_norm, hard_sigmoid
from compression.export.tflite.translator import Translator, moved_shape
from compression.network.graph import LAYERS, folded_norm, is_size, module_of, only_reader, operator_name, shapes
from compression.network.parametrizations import ActivationQuantizer, HardSigmoidQuantizer
from compression.network.quantized_values import LISTS, PASS, clip_of

Form = Literal["int8", "int4", "float"]


def export(
    graph: fx.GraphModule, input_shape: tuple[int, int, int], images: torch.Tensor, form: Form = "int8"
) -> bytes:
    """The file of a canonical `graph` whose values are 8-bit, for one image of [H, W, C] in int8 at a time.

    images: float32 [n, C, H, W], normalized, from training; values that have no quantizer, as the scores, take the
    range that they have on these. `form`: "int8"; "int4", in which weights whose codes are -8 to 7 take 4 bits, as
    those of 3 bits always do; "float", for a graph without 8-bit values. Raises `Unsupported` for layers without 8-bit
    weights and operators without form.
    """
    return _Exporter(graph, input_shape, images, form).run()


class _Exporter:
    """One pass over the graph."""

    def __init__(self, graph: fx.GraphModule, input_shape: tuple[int, int, int], images: torch.Tensor, form: Form):
        self.graph, self.file = graph, TfliteFile()
        self.ranges = None if form == "float" else _ranges(graph, images)
        self.translator = Translator(graph, self.file, {}, shapes(graph, input_shape), form == "int4")

    def run(self) -> bytes:
        """The bytes of the file."""
        t = self.translator
        first = last = -1
        for node in self.graph.graph.nodes:
            if node in t.tensors or is_size(node):
                continue
            if node.op == "output":
                last = t.tensors[node.args[0]]
            elif node.op == "placeholder":
                first = self._kept(node, self._chain(node))
            elif operator_name(node) in LISTS:
                t.split(node)
            else:
                self._operator(node)
        if t.halves and not self.file.has_halves:
            raise Unsupported(
                "No layer's weights fit 4 bits of a .tflite file, whose codes are -8 to 7; those of "
                "quantize.weight_bits=3 always do."
            )
        return self.file.finish(first, last)

    def _operator(self, node: fx.Node) -> None:
        t, module = self.translator, module_of(self.graph, node)
        if isinstance(module, HardSigmoidQuantizer):
            t.tensors[node] = hard_sigmoid(t, node)
            return
        if isinstance(module, ActivationQuantizer):
            t.tensors[node] = t.on_grid(t.tensors[node.args[0]], _grid(module))  # type: ignore[index]
            return
        if isinstance(module, nn.Dropout):
            t.tensors[node] = t.tensors[node.args[0]]  # type: ignore[index]
            return
        if operator_name(node) == "getitem":
            return
        if isinstance(module, nn.BatchNorm2d) and node not in t.tensors:
            chain = self._chain(node)
            batch_norm(t, node, module, self._kept(node, chain), _activation(chain))
            return
        clip = clip_of(node)
        name = "clip" if clip else operator_name(node)
        if not isinstance(module, LAYERS) and name not in TRANSLATIONS:
            known = ", ".join(sorted(TRANSLATIONS))
            raise Unsupported(
                f"A .tflite file cannot hold {name or type(module).__name__!r} yet; it can hold convolutions, linear "
                f"layers, {known}."
            )
        if name in PASS:
            t.tensors[node] = TRANSLATIONS[name](t, node, -1)
            return
        chain = self._chain(node)
        given = self._kept(node, chain)
        if isinstance(module, LAYERS):
            layer(t, node, module, given, _activation(chain))
        else:
            TRANSLATIONS[name](t, node, given, _activation(chain))

    def _chain(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that one kernel computes from `node` on: batch norm, a clip, and the rounding of the result."""
        chain, module = [node], module_of(self.graph, node)
        if isinstance(module, LAYERS) and folded_norm(self.graph, node) is not None:
            chain.append(only_reader(node))  # type: ignore[arg-type]
        reader = only_reader(chain[-1])
        fuses = isinstance(module, (*LAYERS, nn.BatchNorm2d)) or operator_name(node) == "add"
        if reader is not None and clip_of(reader) and fuses:
            chain.append(reader)
        reader = only_reader(chain[-1])
        quantizer = module_of(self.graph, reader) if reader is not None else None
        if isinstance(quantizer, ActivationQuantizer) and not isinstance(quantizer, HardSigmoidQuantizer):
            chain.append(reader)  # type: ignore[arg-type]
        return chain

    def _kept(self, node: fx.Node, chain: list[fx.Node]) -> int:
        """The tensor that all nodes of a chain give."""
        t, quantizer = self.translator, module_of(self.graph, chain[-1])
        grid = _grid(quantizer) if isinstance(quantizer, ActivationQuantizer) else self._seen(chain[-1])
        given = self.file.value(moved_shape(t.shapes[node.name]), grid, node.name)
        t.tensors |= dict.fromkeys(chain, given)
        return given

    def _seen(self, node: fx.Node) -> Grid | None:
        if self.ranges is None:
            return None
        low, high = self.ranges[node.name]
        scale = np.float32(max(high - low, 1e-6) / 255)
        return Grid(float(scale), int(np.clip(np.round(-128 - low / scale), -128, 127)))


def _grid(quantizer: ActivationQuantizer) -> Grid:
    return Grid(float(quantizer.scale), quantizer.zero_point - 128)


def _activation(chain: list[fx.Node]) -> int:
    """TFLite's number of the clip in a chain: 0 none, 1 ReLU, 3 ReLU6."""
    bounds = next((found for node in chain if (found := clip_of(node))), None)
    return 0 if bounds is None else 3 if bounds[1] == 6 else 1


class _Ranges(fx.Interpreter):
    """Runs a graph and keeps the least and the largest number of each value, 0 included."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.found: dict[str, tuple[float, float]] = {}

    def run_node(self, n: fx.Node) -> object:
        """What the node computes."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            self.found[n.name] = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
        return value


@torch.inference_mode()
def _ranges(graph: fx.GraphModule, images: torch.Tensor) -> dict[str, tuple[float, float]]:
    run = _Ranges(graph)
    run.run(images)
    return run.found
