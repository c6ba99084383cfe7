"""What an answer costs in energy: an estimate from counted operations, never a measurement.

    energy = MACs · (E_multiply + E_add) + bytes of the weights · E_memory

with the energies of a 45 nm processor at 0.9 V (Horowitz 2014, figure 1.1.9). It compares recipes and predicts
no battery life.
"""

from compression.recipe import Recipe
from compression.records.measurement import Measurement

PICOJOULES_PER_MAC = {8: 0.2 + 0.03, 16: 1.1 + 0.4, 32: 3.7 + 0.9}
"""Multiply and add by the bits that are computed with."""

PICOJOULES_PER_BYTE = 1300 / 8
"""Fetching 64 bits from memory outside the chip takes 1.3 nJ at least; every weight is fetched once for an answer."""


def energy_microjoules(recipe: Recipe, measured: Measurement) -> float | None:
    """Estimated energy of one answer in µJ; None where the multiply-accumulates were not counted."""
    if measured.macs is None:
        return None
    return estimate_microjoules(measured.macs, measured.size_bytes, computed_bits(recipe))


def estimate_microjoules(macs: int, weight_bytes: int, bits: int) -> float:
    """The formula above, in µJ."""
    return (macs * PICOJOULES_PER_MAC[bits] + weight_bytes * PICOJOULES_PER_BYTE) / 1e6


def computed_bits(recipe: Recipe) -> int:
    """8 where the recipe's activations are 8-bit, so that products are whole numbers; else 32."""
    quantize = recipe.get("quantize")
    return 8 if quantize is not None and getattr(quantize, "activation_bits", 32) <= 8 else 32
