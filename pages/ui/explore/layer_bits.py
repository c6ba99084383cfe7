"""A number of bits for one layer alone."""

import streamlit as st

from compression.steps import Quantize
from pages.ui.page.guard import heard
from pages.ui.state import Visit, put, shown

AS_THE_REST = "default"


def draw(visit: Visit, name: str) -> None:
    """Bits of this layer alone; the recipe carries them."""
    quantize = visit.recipe.get("quantize")
    if not isinstance(quantize, Quantize):
        st.caption("Enable quantization on Explore to set the bit width of a single layer.")
        return
    put(key := f"layers.bits.{name}", quantize.overrides.get(name, AS_THE_REST))
    choices = [
        bits for bits in Quantize.bits_choices() if bits >= 8 or not visit.recipe.get("share")
    ]  # Share.check_beside
    st.select_slider(
        "Bit width of this layer", [AS_THE_REST, *choices], key=key, on_change=_override, args=(visit, name)
    )


@heard
def _override(visit: Visit, name: str) -> None:
    """Takes the slider's bits of a layer into the recipe."""
    quantize, bits = visit.recipe.get("quantize"), shown(f"layers.bits.{name}")
    if isinstance(quantize, Quantize):
        others = {k: v for k, v in quantize.overrides.items() if k != name}
        given = others if bits == AS_THE_REST else {**others, name: bits}
        visit.load(visit.recipe.with_setting("quantize.layer_bits", given))
