"""The compressed network as one `.tflite` file, for LiteRT and for microcontrollers.

The same codes, scales and zero-points as in the ONNX file: weights are symmetric, a scale for each output channel;
activations have a zero-point, 128 less than theirs in uint8; biases are int32. Maps lie as [n, H, W, C]. Scores of a
linear layer, which the ONNX file does not round, are int16, and its biases int64.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import fx, nn

from compression.errors import Unsupported
from compression.export.tflite import moves, pointwise, tokens
from compression.export.tflite.file import Grid, TfliteFile
from compression.export.tflite.operators import MOVES, TRANSLATIONS, layer
from compression.export.tflite.translator import Translator, moved_shape
from compression.network.graph import LAYERS, folded_norm, is_size, module_of, only_reader, operator_name, shapes
from compression.network.parametrizations import ActivationQuantizer, HardSigmoidQuantizer
from compression.network.quantized_values import clip_of

Form = Literal["int8", "int4", "float"]
HEADROOM = 4
"""How much larger than on the images of calibration scores in 16 bits can be."""
NORMS = (nn.LayerNorm, nn.GroupNorm)
MODULES = (*LAYERS, nn.BatchNorm2d, *NORMS)


def export(
    graph: fx.GraphModule, input_shape: tuple[int, int, int], images: torch.Tensor, form: Form = "int8"
) -> bytes:
    """The file of a canonical `graph` whose values are 8-bit, for one image of [H, W, C] in int8 at a time.

    images: float32 [n, C, H, W], normalized, from training; values that have no quantizer take the range that they have
    on these, scores in int16 HEADROOM times it. `form`: "int8"; "int4", in which weights whose codes are -8 to 7 take
    4 bits, as those of 3 bits always do; "float", for a graph without 8-bit values. Raises `Unsupported` for layers
    without 8-bit weights and operators without form.
    """
    return _Exporter(graph, input_shape, images, form).run()


class _Exporter:
    """One pass over the graph."""

    def __init__(self, graph: fx.GraphModule, input_shape: tuple[int, int, int], images: torch.Tensor, form: Form):
        self.graph, self.file = graph, TfliteFile()
        self.ranges = None if form == "float" else _ranges(graph, images)
        self.translator = Translator(graph, self.file, {}, shapes(graph, input_shape), form == "int4", form != "float")

    def run(self) -> bytes:
        """The bytes of the file."""
        t = self.translator
        first = last = -1
        for node in self.graph.graph.nodes:
            if node in t.tensors or is_size(node) or operator_name(node) == "getitem":
                continue
            if node.op == "output":
                last = t.tensors[node.args[0]]
                last = last if last in t.file.wide else t.on_grid(last, self._seen(node.args[0]))
            elif node.op == "placeholder":
                first = self._kept(node, self._chain(node))
            elif node.op != "get_attr":
                self._operator(node)
        if t.halves and not self.file.has_halves:
            raise Unsupported(
                "No layer's weights fit 4 bits of a .tflite file, whose codes are -8 to 7; those of "
                "quantize.weight_bits=3 always do."
            )
        return self.file.finish(first, last)

    def _operator(self, node: fx.Node) -> None:
        t, module, name = self.translator, module_of(self.graph, node), operator_name(node)
        if isinstance(module, ActivationQuantizer | nn.Dropout):
            t.tensors[node] = self._passed(node, module)
        elif name in moves.LISTS:
            moves.split(t, node)
        elif name in MOVES:
            t.tensors[node] = TRANSLATIONS[name](t, node, -1) if name in TRANSLATIONS else self._refuse(node)
        else:
            self._computed(node, module)

    def _passed(self, node: fx.Node, module: nn.Module) -> int:
        t = self.translator
        if isinstance(module, HardSigmoidQuantizer):
            return pointwise.hard_sigmoid(t, node)
        return t.on_grid(t.source(node), _grid(module)) if isinstance(module, ActivationQuantizer) else t.source(node)

    def _computed(self, node: fx.Node, module: nn.Module | None) -> None:
        chain, name = self._chain(node), "clip" if clip_of(node) else operator_name(node)
        if not isinstance(module, MODULES) and name not in TRANSLATIONS:
            self._refuse(node)
        if self.ranges is not None and self._floats(node, module, chain):
            self._in_floats(node, module, chain)
            return
        self._give_codes(node)
        made = self._write(node, module, self._kept(node, chain), _activation(chain))
        self.translator.tensors |= dict.fromkeys(chain, made)

    def _write(self, node: fx.Node, module: nn.Module | None, given: int, activation: int) -> int:
        """The tensor of what a node computes: mostly that is `given`."""
        t, name = self.translator, "clip" if clip_of(node) else operator_name(node)
        if isinstance(module, LAYERS):
            return layer(t, node, module, given, activation)
        if isinstance(module, nn.BatchNorm2d):
            return pointwise.batch_norm(t, node, module, given, activation)
        if isinstance(module, nn.LayerNorm):
            return tokens.layer_norm(t, node, module, given)
        if isinstance(module, nn.GroupNorm):
            return tokens.group_norm(t, node, module, given)
        return TRANSLATIONS[name](t, node, given, activation)

    def _floats(self, node: fx.Node, module: nn.Module | None, chain: list[fx.Node]) -> bool:
        """Whether a node of a file of codes is computed in floats.

        That is where no kernel comes near it in codes, where it reads floats, and where a stored value is joined whose
        sum or product nothing rounds, as a mask of attention.
        """
        if isinstance(module, (*LAYERS, nn.BatchNorm2d)):
            return False
        t, reads = self.translator, node.all_input_nodes
        joins = any(read.op == "get_attr" for read in reads) and not self._rounded(chain)
        floats = any(read in t.tensors and t.file.grids[t.tensors[read]] is None for read in reads)
        return isinstance(module, NORMS) or operator_name(node) in tokens.IN_FLOATS or joins or floats

    def _rounded(self, chain: list[fx.Node]) -> bool:
        return isinstance(module_of(self.graph, chain[-1]), ActivationQuantizer)

    def _in_floats(self, node: fx.Node, module: nn.Module | None, chain: list[fx.Node]) -> None:
        """Computes a node between two roundings, as the ONNX file does; what nothing rounds stays in floats."""
        t, reads = self.translator, [read for read in node.all_input_nodes if read in self.translator.tensors]
        codes = {read: t.tensors[read] for read in reads}
        t.tensors |= {read: t.floats(tensor) for read, tensor in codes.items()}
        t.codes = False
        given = self.file.value(moved_shape(t.shapes[node.name]), None, f"{node.name} floats")
        made = self._write(node, module, given, _activation(chain))
        t.codes = True
        t.tensors |= codes
        quantizer = module_of(self.graph, chain[-1])
        grid = _grid(quantizer) if isinstance(quantizer, ActivationQuantizer) else None
        t.tensors |= dict.fromkeys(chain, t.on_grid(made, grid))

    def _refuse(self, node: fx.Node) -> int:
        module, known = module_of(self.graph, node), ", ".join(sorted(TRANSLATIONS))
        raise Unsupported(
            f"A .tflite file cannot hold {(operator_name(node) or type(module).__name__)!r} yet; it can hold "
            f"convolutions, linear layers, batch, layer and group norms, {known}."
        )

    def _give_codes(self, node: fx.Node) -> None:
        """Has what an operator of codes reads lie on grids where it was left as floats."""
        t = self.translator
        for read in node.all_input_nodes:
            if self.ranges is not None and read in t.tensors and t.file.grids[t.tensors[read]] is None:
                t.tensors[read] = t.on_grid(t.tensors[read], self._seen(read))

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
        wide = not isinstance(quantizer, ActivationQuantizer) and self._are_scores(chain[-1])
        grid = _grid(quantizer) if isinstance(quantizer, ActivationQuantizer) else self._seen(chain[-1], wide)
        given = self.file.value(moved_shape(t.shapes[node.name]), grid, node.name, wide=wide)
        t.tensors |= dict.fromkeys(chain, given)
        return given

    def _are_scores(self, node: fx.Node) -> bool:
        """Whether a node gives the file's scores in whole numbers from a linear layer: the ONNX file rounds none."""
        t, reader = self.translator, only_reader(node)
        last = reader is not None and reader.op == "output" and isinstance(module_of(self.graph, node), nn.Linear)
        return last and self.ranges is not None and not t.halves and len(t.shapes[node.name]) == 2

    def _seen(self, node: Any, wide: bool = False) -> Grid | None:
        if self.ranges is None:
            return None
        low, high = self.ranges[node.name]
        if wide:
            return Grid(float(np.float32(HEADROOM * max(-low, high, 1e-6) / 32_767)), 0)
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
