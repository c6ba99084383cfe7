"""Least squares: layers whose inputs have changed are refitted to give the dense network's outputs again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from compression.graph import batch_norm_after

Layer = nn.Conv2d | nn.Linear

ROWS = 16_384
"""Positions of the calibration images that a layer is fitted to, at least; a wide layer takes ROWS_PER_INPUT per input."""
ROWS_PER_INPUT = 16
VALUES = 40_000_000
"""Images are dropped where all of them have more pixels than VALUES / 64: the first maps have about 64 channels."""


@dataclass(frozen=True)
class Rows:
    """What one layer of the dense network read and gave at drawn positions: inputs [n, in·kh·kw], outputs [n, out]."""

    inputs: torch.Tensor
    outputs: torch.Tensor
    width: int
    """Input channels of the layer: [n, width · kh · kw]."""


def rows_of(graph: fx.GraphModule, names: set[str], images: torch.Tensor) -> dict[str, Rows]:
    """The rows of the layers `names` (groups = 1) from one pass over `images` [n, C, H, W]."""
    found: dict[str, Rows] = {}

    def keep(node: fx.Node, layer: Layer, value: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        outputs = run()
        found[str(node.target)] = Rows(drawn_inputs(layer, value), drawn_outputs(layer, outputs), layer.weight.shape[1])
        return outputs

    _Visit(graph, names, keep).run(enough(images))
    return found


def refit_(graph: fx.GraphModule, rows: dict[str, Rows], images: torch.Tensor, kept: dict[str, torch.Tensor]) -> None:
    """Refits the layers named in `kept`, one after the other, each on what the network before it gives by then.

    kept: which of the dense layer's outputs are left, [out] bool; rows: of the dense network, same images.
    """

    def fit(node: fx.Node, layer: Layer, value: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
        target = rows[str(node.target)].outputs[:, kept[str(node.target)]]
        after = batch_norm_after(graph, node)
        fit_(layer, drawn_inputs(layer, value), target, graph.get_submodule(str(after.target)) if after else None)
        return run()

    _Visit(graph, set(kept), fit).run(enough(images))


def fit_(layer: Layer, inputs: torch.Tensor, outputs: torch.Tensor, norm: nn.Module | None, damping: float = 0.003) -> None:
    """The weights closest to X·Wᵀ + b = Y in the least-squares sense, drawn to the old ones by a ridge.

        W = (XᵀX + λI)⁻¹ (XᵀY + λW₀),  λ = damping · mean(diag XᵀX),  X and Y centred where a bias can take the means

    inputs X [n, in·kh·kw], outputs Y [n, out]. The bias is the layer's, or the running mean of the batch norm after it.
    """
    x_mean, y_mean = inputs.mean(0), outputs.mean(0)
    centred = layer.bias is not None or norm is not None
    x, y = (inputs - x_mean, outputs - y_mean) if centred else (inputs, outputs)
    old = layer.weight.flatten(1).T  # [in·kh·kw, out]
    gram = x.T @ x
    ridge = damping * gram.diagonal().mean() + 1e-8
    gram.diagonal().add_(ridge)
    solved = torch.linalg.solve(gram, x.T @ y + ridge * old).T  # [out, in·kh·kw]
    layer.weight.copy_(solved.reshape(layer.weight.shape))
    bias = y_mean - solved @ x_mean
    if layer.bias is not None:
        layer.bias.copy_(bias)
    elif norm is not None:
        norm.running_mean -= bias  # type: ignore[operator, assignment]


def enough(images: torch.Tensor) -> torch.Tensor:
    """As many of the images as one pass has memory for."""
    pixels = images.shape[2] * images.shape[3]
    return images[: max(16, VALUES // (64 * pixels))]


def drawn_inputs(layer: Layer, value: torch.Tensor) -> torch.Tensor:
    """Rows of what the layer multiplies its weights by, at drawn positions: [n, in·kh·kw]."""
    if isinstance(layer, nn.Linear):
        rows = value.flatten(0, -2)
        return rows[_drawn(len(rows), layer)]
    windows = _windows(layer, value)  # [images, in, h, w, kh, kw], a view
    images, _, height, width = windows.shape[:4]
    place = _drawn(images * height * width, layer)
    image, row, column = place // (height * width), place // width % height, place % width
    return windows.permute(0, 2, 3, 1, 4, 5)[image, row, column].flatten(1)


def drawn_outputs(layer: Layer, value: torch.Tensor) -> torch.Tensor:
    """The layer's outputs at the same positions: [n, out]."""
    rows = value.flatten(0, -2) if isinstance(layer, nn.Linear) else value.movedim(1, -1).flatten(0, -2)
    return rows[_drawn(len(rows), layer)]


def _drawn(positions: int, layer: Layer) -> torch.Tensor:
    """Positions by a fixed seed, so that the dense and the smaller network are looked at in the same places."""
    wanted = max(ROWS, ROWS_PER_INPUT * layer.weight[0].numel())
    if positions <= wanted:
        return torch.arange(positions)
    return torch.randint(positions, (wanted,), generator=torch.Generator().manual_seed(0))


def _windows(layer: nn.Conv2d, value: torch.Tensor) -> torch.Tensor:
    """Every window that the kernel is laid on: [images, in, h, w, kh, kw]."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer.padding, str):
        spans = [d * (k - 1) if layer.padding == "same" else 0 for k, d in ((kw, dw), (kh, dh))]
        sides = [side for span in spans for side in (span // 2, span - span // 2)]
    else:
        sides = [layer.padding[1]] * 2 + [layer.padding[0]] * 2
    padded = F.pad(value, sides)
    return padded.unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)[..., ::dh, ::dw]


class _Visit(fx.Interpreter):
    """Runs a graph; at each layer in `names`, `act(node, layer, input, run)` gives the layer's value."""

    def __init__(self, graph: fx.GraphModule, names: set[str], act: Callable[..., torch.Tensor]):
        super().__init__(graph)
        self.names, self.act = names, act

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module" and n.target in self.names:
            layer, value = self.module.get_submodule(str(n.target)), self.env[n.args[0]]  # type: ignore[index]
            return self.act(n, layer, value, lambda: super(_Visit, self).run_node(n))
        return super().run_node(n)
