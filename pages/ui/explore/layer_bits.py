"""Which techniques leave one layer as it is, and a number of bits for it alone."""

import streamlit as st

from compression.language import N_, _
from compression.steps import Quantize, Step
from pages.ui.page.guard import heard
from pages.ui.state import Visit, is_replaced, key_showing, shown

AS_THE_REST = N_("default")
WHOLE = 32
"""Bits of a layer that is left as it is."""


def called(kind: str) -> str:
    """What a technique is called that can leave single layers as they are; nothing for others."""
    names = {
        "prune": _("pruning"), "factorize": _("low-rank factorization"), "share": _("weight sharing"),
        "quantize": _("quantization"), "channels": _("removing channels"),
    }  # fmt: skip
    return names.get(kind, "")


def excluding(visit: Visit) -> dict[str, tuple[str, ...]]:
    """The techniques of the recipe that can leave layers as they are, with the layers that they leave."""
    return {step.kind: _left_by(step) for step in visit.recipe.steps if called(step.kind)}


def _left_by(step: Step) -> tuple[str, ...]:
    if isinstance(step, Quantize):
        return tuple(name for name, bits in step.overrides.items() if bits == WHOLE)
    return step.excluded


def draw(visit: Visit, name: str) -> None:
    """A toggle for each technique that can leave this layer as it is, and its bits; the recipe carries them."""
    for kind, left in excluding(visit).items():
        key = key_showing(is_out := name in left, f"layers.out.{kind}.{name}")
        st.toggle(
            _("Exclude this layer from {technique}", technique=called(kind)), key=key, on_change=_leave_out,
            args=(visit, kind, name, key, is_out), help=_meaning(kind),
        )  # fmt: skip
    quantize = visit.recipe.get("quantize")
    if not isinstance(quantize, Quantize):
        st.caption(_("Enable quantization on Explore to set the bit width of a single layer."))
        return
    key = key_showing(bits := quantize.overrides.get(name, AS_THE_REST), f"layers.bits.{name}")
    choices = [
        bits for bits in Quantize.bits_choices() if bits >= 8 or not visit.recipe.get("share")
    ]  # Share.check_beside
    st.select_slider(
        _("Bit width of this layer"),
        [AS_THE_REST, *choices],
        key=key,
        on_change=_override,
        args=(visit, name, key, bits),
        format_func=lambda choice: _(choice) if choice == AS_THE_REST else str(choice),
    )


def _meaning(kind: str) -> str | None:
    """What is not plain about leaving a layer out of a technique."""
    return {
        "quantize": _("Its weights stay 32-bit floats; the recipe holds this as a bit width of 32."),
        "channels": _(
            "It keeps all its output channels, and so do layers whose channels are removed together with its own, "
            "such as those that a shortcut adds. Its inputs can still become fewer."
        ),
    }.get(kind)


@heard
def _leave_out(visit: Visit, kind: str, name: str, key: str, was_out: bool) -> None:
    """Takes a layer out of a technique, or in again; of quantization, with the bits of the rest."""
    out = bool(shown(key))
    if out == was_out and is_replaced(key):  # as the browser last had it
        return
    step = visit.recipe.get(kind)
    if kind == "quantize":
        _give(visit, name, WHOLE if out else AS_THE_REST)
    elif step is not None:
        others = [each for each in step.excluded if each != name]
        visit.load(visit.recipe.with_setting(f"{kind}.exclude", [*others, name] if out else others))


@heard
def _override(visit: Visit, name: str, key: str, before: int | str) -> None:
    """Takes the slider's bits of a layer into the recipe."""
    if (bits := shown(key)) != before or not is_replaced(key):  # else as the browser last had it
        _give(visit, name, bits)


def _give(visit: Visit, name: str, bits: int | str) -> None:
    quantize = visit.recipe.get("quantize")
    if isinstance(quantize, Quantize):
        others = {k: v for k, v in quantize.overrides.items() if k != name}
        given = others if bits == AS_THE_REST else {**others, name: bits}
        visit.load(visit.recipe.with_setting("quantize.layer_bits", given))
