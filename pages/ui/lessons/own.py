"""The lesson's network: one that was added on this machine, or ResNet-20 of the zoo, with what was measured on it."""

from contextlib import suppress

import streamlit as st

from compression.errors import StoreUnavailable
from compression.language import _
from compression.lessons import measured
from compression.models import OWN, Card
from compression.models import title as network_title
from compression.records.measurement import OPERATORS, Measurement
from compression.steps import Quantize
from compression.store import Run
from pages.ui.lessons import frame
from pages.ui.model import wording
from pages.ui.model.subject import Subject
from pages.ui.state.server import store

BRING = "pages/lab/bring.py"
LOOKED_AT = 200


def draw(known: Card) -> None:
    """What its card says, its newest 8-bit file beside fp32, and the way to measure or to bring one."""
    st.markdown(
        _(
            "**{name}**: {parameters:,} weights, {classes} classes, images of {shape}.",
            name=network_title(known.model),
            parameters=known.parameters,
            classes=known.classes,
            shape=" × ".join(map(str, known.input_shape)),
        )
    )
    if known.checked:
        st.caption(known.checked)
    run = newest(known) if known.dataset == OWN else None
    found = run.measurement if run else None
    if known.dataset != OWN:
        found = measured.row("axes", "8 bits").measurement
        st.page_link(BRING, label=_("Bring your own network"))
    if found is None:
        st.info(_("No 8-bit file of this network has been measured yet. Open it in Explore from *Bring your own*."))
        st.page_link(BRING, label=_("Bring your own images"))
        return
    figures(found)
    if run is None:
        st.caption(frame.provenance([measured.row("axes", "8 bits")]))
    else:
        frame.explore_run(Subject(run.subject.model, OWN, run.subject.dataset), run.recipe)


def newest(known: Card) -> Run | None:
    """The newest run in the store with 8-bit weights and activations of these very weights."""
    with suppress(StoreUnavailable):
        for run in store().runs(model=known.model, limit=LOOKED_AT):
            here = (run.subject.weights, run.subject.weights_hash) == (OWN, known.sha256)
            if here and run.full and run.readable and _is_8_bit(run):
                return run
    return None


def _is_8_bit(run: Run) -> bool:
    steps = run.recipe.steps
    return len(steps) == 1 and isinstance(steps[0], Quantize) and steps[0].weight_bits == steps[0].activation_bits == 8


def figures(found: Measurement) -> None:
    """Accuracy, size and latency of an 8-bit file beside fp32, and which operators compute in integers."""
    accuracy, latency = found.accuracy, found.latency
    with st.container(key="figures-own"):
        right, size, took = st.columns(3)
    right.metric(_("Accuracy, 8 bits"), wording.percent(accuracy.value, accuracy.n))
    size.metric(_("File size"), wording.size(found.size_bytes))
    took.metric(_("Latency, fp32 = 1"), f"{latency.ratio:.2f}" if latency else _(measured.NOT_MEASURED))
    for reached in found.reached:
        if reached.measure == OPERATORS and reached.note:
            st.caption(wording.reached(reached))
