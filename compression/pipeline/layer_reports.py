"""What stands in the books about a compressed network: layer by layer, and what its steps reached."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import fx, nn

from compression.export import Exported
from compression.export.ledger import ledger
from compression.export.pack import Encoding
from compression.measure.outputs import output_errors
from compression.network.graph import LAYERS, layers, products
from compression.network.parametrizations import Mask, Values, find, original
from compression.recipe import Recipe
from compression.records.measurement import LayerBytes, LayerReport, Ledger, Reached
from compression.techniques import techniques_of


@dataclass(frozen=True, eq=False)
class LayerReports:
    """A network as it was exported; macs: of each of its layers, by name; dense: what it was made of, if not itself."""

    graph: fx.GraphModule
    exported: Exported
    macs: dict[str, int]
    dense: fx.GraphModule | None = None

    @cached_property
    def ledger(self) -> Ledger:
        """Where the file's bytes went."""
        return ledger(self.exported)

    def layers(self, images: torch.Tensor) -> tuple[LayerReport, ...]:
        """One report a layer; errors of outputs are those on some of `images` [n, C, H, W], normalised."""
        originals = layers(self.dense) if self.dense is not None else {}
        errors = output_errors(self.dense, self.graph, images) if self.dense is not None else {}
        product, taken = products(self.graph), {layer.name: layer for layer in self.ledger.layers}
        return tuple(
            replace(
                _report(name, layer, self.macs[name], self.exported, taken[name], product.get(name, "")),
                output_error=errors.get(name),
                sqnr_db=_sqnr_db(layer, originals.get(name)),
            )
            for name, layer in layers(self.graph).items()
        )


def parameters(graph: fx.GraphModule) -> int:
    """Weights of all layers, zeros included."""
    return sum(original(layer).numel() for layer in layers(graph).values())


def reached(graph: fx.GraphModule, recipe: Recipe) -> tuple[Reached, ...]:
    """What each step that removes something was asked for and did, in recipe order."""
    found = (technique.reached(graph, step) for technique, step in techniques_of(recipe) if technique.reached)
    return tuple(reached for reached in found if reached is not None)


@torch.no_grad()
def _report(
    name: str, layer: nn.Conv2d | nn.Linear, layer_macs: int, exported: Exported, taken: LayerBytes, product: str
) -> LayerReport:
    encoding, stored = exported.encodings[name], original(layer)
    return LayerReport(
        name=name,
        kind=type(layer).__mro__[1].__name__ if type(layer) not in LAYERS else type(layer).__name__,
        shape=tuple(stored.shape),
        weights=stored.numel(),
        bits=_bits(layer, encoding),
        sparsity=_sparsity(layer),
        macs=layer_macs,
        size_bytes=taken.payload + taken.positions + taken.codebooks,
        sqnr_db=None,
        encoding=encoding.kind,
        product=product,
    )


def _sparsity(layer: nn.Module) -> float:
    """The masked share of a layer's weights."""
    mask = find(layer, Mask)
    return mask.sparsity if mask is not None else 0.0


@torch.no_grad()
def _sqnr_db(layer: nn.Conv2d | nn.Linear, dense: nn.Conv2d | nn.Linear | None) -> float | None:
    """Power of the dense network's weights over that of their change; None where the layer has changed its shape."""
    if dense is None or dense.weight.shape != layer.weight.shape:
        return None
    noise, power = float((layer.weight - dense.weight).square().sum()), float(dense.weight.square().sum())
    return 10 * math.log10(power / noise) if noise > 0 and power > 0 else None


def _bits(layer: nn.Module, encoding: Encoding) -> int:
    """Bits that tell the weight's values apart: of its grid, of its codebook's codes, or of its floats in the file."""
    values = find(layer, Values)
    return (values.value_bits if values is not None else None) or encoding.bits
