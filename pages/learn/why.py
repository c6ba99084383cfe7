"""Lesson 1, why networks compress: what a weight costs, how many are needed, and three axes."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import measured, why
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LessonText
from pages.ui.model import wording
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("why", why.facts())
        frame.text(lesson, "see")
        look(lesson)
        frame.text(lesson, "try")
        pay()
        if frame.ask(lesson, "energy"):
            frame.text(lesson, "energy")
        frame.text(lesson, "redundancy")
        if frame.ask(lesson, "random"):
            remove()
            frame.text(lesson, "redundant")
        frame.text(lesson, "why")
        if frame.ask(lesson, "axes"):
            frame.text(lesson, "axes")
            rows = measured.rows("axes")
            frame.draw(lesson_figures.axes(rows), _("File size and latency of measured files, accuracy as colour."))
            frame.table(rows, _("Accuracy of seven compressed files."))
        frame.text(lesson, "breaks")
        frame.explore([{"step": "prune", "sparsity": 0.8}], _("80% sparsity"))
        frame.explore([{"step": "quantize", "weight_bits": 8}], _("8 bits"))
        frame.closing(lesson)


def look(lesson: LessonText) -> None:
    """Where the weights are and where the work is."""
    answered = [frame.ask(lesson, key) for key in ("stage", "lenet")]
    if all(answered):
        layers()
        frame.text(lesson, "places")


@fragment
def layers() -> None:
    """Shares of weights and work, layer by layer."""
    name = st.segmented_control(_("Network"), list(why.NETWORKS), default="ResNet-20", required=True, key="network")
    shares = lesson_figures.shares(why.shares(name), _("Share of the network"), (_("Weights"), _("MACs")))
    frame.draw(shares, _("Each layer's share of the weights and of the MACs."))


@fragment
def pay() -> None:
    """Network, bits and link, and what they cost."""
    left, middle, right = st.columns(3)
    name = left.selectbox(_("Network"), list(why.NETWORKS), key="bill-network")
    bits = middle.select_slider(_("Bits per weight"), why.BITS[::-1], 32, key="bill-bits")
    link = right.selectbox(_("Connection"), list(why.LINKS), 1, format_func=spoken, key="bill-link")
    found = why.bill(name, bits, link)
    with st.container(key="figures-why"):
        size, seconds, macs, energy, memory = st.columns(5)
    size.metric(_("Weights"), wording.size(round(found.size_bytes)))
    seconds.metric(_("Transfer time"), f"{found.seconds:.2g} s")
    macs.metric(_("MACs, million"), f"{found.million_macs:.3g}")
    energy.metric(_("Compute energy (estimated)"), f"{found.compute_uj:.3g} µJ")
    memory.metric(_("Memory energy (estimated)"), f"{found.memory_uj:.3g} µJ")


@fragment
def remove() -> None:
    """Smallest weights against random ones, by a seed of the reader's choice."""
    seed = st.number_input(_("Random seed"), 0, 99, 0, key="seed")
    lines = lesson_figures.lines(why.removal(seed), _("Sparsity"), _("Accuracy (simulated)"), percent=True, points=True)
    frame.draw(lines, _("Accuracy after removing the smallest weights, and random ones."))


page()
