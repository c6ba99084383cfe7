"""Lesson 5, weight sharing and entropy coding: few values for many weights, short codes for frequent values."""

import streamlit as st

from compression.language import _, n_
from compression.language import shown as spoken
from compression.lessons import measured, sharing
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LessonText
from pages.ui.model import wording
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("sharing", sharing.facts())
        frame.text(lesson, "see")
        frame.draw(
            lesson_figures.codebook(sharing.codebook(sharing.STUDIED, 16, "linear")),
            _("Weights and sixteen codebook values."),
        )
        frame.ask(lesson, "bits")
        frame.text(lesson, "try")
        play()
        if frame.ask(lesson, "start"):
            frame.text(lesson, "starts")
        frame.text(lesson, "why")
        if frame.ask(lesson, "huffman"):
            frame.text(lesson, "huffman")
        ledger(lesson)
        frame.ask(lesson, "speed")
        frame.text(lesson, "breaks")
        shared = [{"step": "prune", "sparsity": 0.8}, {"step": "share", "entries": 16}]
        frame.explore(shared, _("pruned and shared"), "lenet300", "digits")
        frame.closing(lesson)


@fragment
def play() -> None:
    """Layer, number of values and start of k-means."""
    name = st.selectbox(
        _("Layer"),
        list(sharing.LAYERS),
        1,
        format_func=lambda name: ": ".join(map(spoken, sharing.title(name).split(": "))),
        key="layer",
    )
    left, right = st.columns(2)
    entries = left.select_slider(_("Values"), (2, 4, 8, 16, 32, 64), 16, key="entries")
    start = right.selectbox(
        _("Initialization"), list(sharing.STARTS), format_func=lambda name: spoken(sharing.STARTS[name]), key="start"
    )
    found = sharing.codebook(name, entries, start)
    with st.container(key="figures-sharing"):
        plain, coded, least, error = st.columns(4)
    plain.metric(_("Fixed-length code"), n_("{n} bit", "{n} bits", found.plain_bits))
    coded.metric(_("Huffman"), _("{n} bits", n=f"{found.huffman_bits:.2f}"))
    least.metric(_("Entropy"), _("{n} bits", n=f"{found.entropy_bits:.2f}"))
    error.metric(
        _("Error"),
        f"{found.history[-1]:.2%}",
        help=_("Squared distance to the nearest value, relative to the power of the weights."),
    )
    frame.draw(lesson_figures.codebook(found), _("Weights and codebook values."))
    if entries <= 32:
        frame.draw(lesson_figures.columns(sharing.code_lengths(found), _("Value")), _("Code length of each value."))


def ledger(lesson: LessonText) -> None:
    """Deep Compression's stages and where their bytes go."""
    frame.text(lesson, "stages")
    stages()
    if frame.ask(lesson, "positions"):
        frame.text(lesson, "staged")
        frame.text(lesson, "measured")
        frame.table(measured.rows("deep"), _("Accuracy of pruned and shared files."))


@fragment
def stages() -> None:
    """Sparsity and bits, the stages' bytes and their accuracy."""
    left, right = st.columns(2)
    sparsity = left.slider(_("Sparsity"), 0.0, 0.95, 0.8, 0.05, format="percent", key="stage-sparsity")
    bits = right.slider(_("Bits per code"), 1, 6, 4, key="stage-bits")
    found = sharing.stages(sparsity, bits)
    frame.draw(lesson_figures.stages(found), _("Bytes after each stage."))
    frame.draw(
        lesson_figures.bars(sharing.accuracies(found), percent=True, height=220), _("Accuracy after each stage.")
    )
    st.caption(" · ".join(f"{spoken(stage.name)}: {wording.size(round(stage.size_bytes))}" for stage in found))


page()
