"""Lesson 9, your own network: from an ONNX file to a device, and where integers pay."""

import streamlit as st

from compression.analysis.devices import DEVICES
from compression.language import _
from compression.language import shown as spoken
from compression.lessons import own
from compression.models import title
from compression.models.model_cards import Card
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons import own as panel
from pages.ui.model import wording
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("own", own.facts())
        frame.text(lesson, "see")
        known = chosen()
        panel.draw(known)
        frame.text(lesson, "reading")
        if frame.ask(lesson, "reading"):
            read()
            frame.text(lesson, "read")
        frame.text(lesson, "integers")
        frame.ask(lesson, "everywhere")
        frame.text(lesson, "try")
        place()
        if frame.ask(lesson, "dear"):
            frame.text(lesson, "borders")
        if frame.ask(lesson, "fastest"):
            frame.text(lesson, "placed")
            tried()
        frame.text(lesson, "why")
        frame.text(lesson, "device")
        if frame.ask(lesson, "flash"):
            device(known)
        frame.text(lesson, "breaks")
        frame.explore([{"step": "quantize", "weight_bits": 8}], _("ResNet-20 in 8 bits"))
        frame.closing(lesson)


def chosen() -> Card:
    """The network that the lesson is about: the first of the user's own, or another of them."""
    networks = own.networks_of_the_user()
    if len(networks) == 1:
        return networks[0]
    names = [known.model for known in networks]
    name = st.selectbox(_("Network"), names, key="own-network", format_func=title)
    return networks[names.index(name)]


@fragment
def read() -> None:
    """How pixels become inputs, and the accuracy that follows."""
    reading = st.selectbox(_("Pixels"), own.READINGS, 1, format_func=spoken, key="reading")
    st.markdown(_("Accuracy of ResNet-20 on Digits: **{accuracy:.1%}** (computed here).",
                  accuracy=own.answered(reading)))  # fmt: skip


@fragment
def place() -> None:
    """What a border counts, and the cheapest placement."""
    if not own.is_measured():
        st.caption(_("Not measured yet."))
        return
    dearness = st.select_slider(_("Price of a border"), own.BORDERS, 1, format_func=lambda n: f"× {n}", key="border")
    found = own.placed(dearness)
    with st.container(key="figures-place"):
        integers, borders, kernels, conversions = st.columns(4)
    integers.metric(_("Operators in integers"), _("{n} of {count}", n=found.integers, count=len(found.operators)))
    borders.metric(_("Conversions"), found.borders)
    kernels.metric(_("Kernels (estimated)"), f"{found.kernels_ms:.2f} ms")
    conversions.metric(_("Conversions (estimated)"), f"{found.conversions_ms:.2f} ms")
    frame.draw(lesson_figures.placement(found), _("Milliseconds of each operator, coloured by its type."))
    st.caption(_("Kernels of MobileNetV3-small at 224×224, untrained weights, one thread, timed one by one on {where}.",
                 where=own.measured_where()))  # fmt: skip


def tried() -> None:
    """Whole files by placement."""
    if own.is_measured():
        frame.draw(lesson_figures.bars(own.tried()), _("Latency of whole files by placement."))
        st.caption(_("Measured alternately with fp32: MobileNetV3-small, one image, one thread, on {where}. Other "
                     "programs were running.", where=own.measured_where()))  # fmt: skip


@fragment
def device(known: Card) -> None:
    """A microcontroller and a number of bits, and the flash that the network needs there."""
    left, right = st.columns(2)
    titles = own.microcontrollers()
    name = left.selectbox(_("Device"), list(titles), format_func=lambda name: titles[name], key="own-device")
    bits = right.segmented_control(_("Bits per weight"), (32, 8), default=8, required=True, key="own-bits")
    needed, there = own.flash_bytes(known.parameters, bits, name), DEVICES[name].flash_bytes
    told = _("{network} needs {needed} of {there} flash (estimated).", network=title(known.model),
             needed=wording.size(needed), there=wording.size(there))  # fmt: skip
    (st.success if needed <= there else st.warning)(told)


page()
