"""A number of bits for one layer alone, or none: the layer is left as it is."""

import streamlit as st

from compression.language import _
from compression.steps import Quantize
from pages.ui.page.guard import heard
from pages.ui.state import Visit, put, shown

AS_THE_REST = "default"
WHOLE = 32
"""Bits of a layer that is left as it is."""


def draw(visit: Visit, name: str) -> None:
    """Bits of this layer alone; the recipe carries them."""
    quantize = visit.recipe.get("quantize")
    if not isinstance(quantize, Quantize):
        st.caption(_("Enable quantization on Explore to set the bit width of a single layer."))
        return
    own = quantize.overrides.get(name, AS_THE_REST)
    put(out := f"layers.out.{name}", own == WHOLE)
    put(key := f"layers.bits.{name}", own)
    choices = [
        bits for bits in Quantize.bits_choices() if bits >= 8 or not visit.recipe.get("share")
    ]  # Share.check_beside
    st.toggle(
        _("Exclude this layer from quantization"), key=out, on_change=_leave_out, args=(visit, name),
        help=_("Its weights stay 32-bit floats; the recipe holds this as a bit width of 32."),
    )  # fmt: skip
    others = [type(step).title for step in visit.recipe.steps if step.kind not in ("quantize", "recover")]
    if own == WHOLE and others:
        st.caption(_("Other steps of the recipe still change this layer: {others}.", others=", ".join(others)))
    st.select_slider(
        _("Bit width of this layer"), [AS_THE_REST, *choices], key=key, on_change=_override, args=(visit, name)
    )


@heard
def _leave_out(visit: Visit, name: str) -> None:
    """Takes a layer out of quantization, or in again with the bits of the rest."""
    _give(visit, name, WHOLE if shown(f"layers.out.{name}") else AS_THE_REST)


@heard
def _override(visit: Visit, name: str) -> None:
    """Takes the slider's bits of a layer into the recipe."""
    _give(visit, name, shown(f"layers.bits.{name}"))


def _give(visit: Visit, name: str, bits: int | str) -> None:
    quantize = visit.recipe.get("quantize")
    if isinstance(quantize, Quantize):
        others = {k: v for k, v in quantize.overrides.items() if k != name}
        given = others if bits == AS_THE_REST else {**others, name: bits}
        visit.load(visit.recipe.with_setting("quantize.layer_bits", given))
