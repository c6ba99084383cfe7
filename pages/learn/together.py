"""Lesson 8, putting it together: order, hardware, choosing, pitfalls."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import measured, together
from compression.lessons.together import Budget
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LessonText
from pages.ui.model import wording
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("together", together.facts())
        frame.text(lesson, "see")
        if frame.ask(lesson, "order"):
            order()
            frame.text(lesson, "order")
        hardware(lesson)
        frame.text(lesson, "choose")
        choose()
        pitfalls(lesson)
        frame.text(lesson, "why")
        frame.text(lesson, "combined")
        frame.ask(lesson, "choosing")
        frame.text(lesson, "breaks")
        both = [{"step": "prune", "sparsity": 0.8}, {"step": "quantize", "weight_bits": 4}]
        frame.explore(both, _("80% sparsity and 4 bits"))
        frame.closing(lesson)


@fragment
def order() -> None:
    """Sparsity and bits, and the error of both orders."""
    left, right = st.columns(2)
    sparsity = left.slider(_("Sparsity"), 0.1, 0.9, 0.7, 0.1, format="percent", key="order-sparsity")
    bits = right.slider(_("Bits"), 2, 8, 2, key="order-bits")
    bars = lesson_figures.bars(together.orders(sparsity, bits), height=180, percent=True)
    frame.draw(bars, _("Output error for both orders."))


def hardware(lesson: LessonText) -> None:
    """What runs in whole numbers, and what may overflow."""
    if frame.ask(lesson, "bits"):
        frame.text(lesson, "hardware")
        frame.draw(lesson_figures.axes(measured.rows("axes")), _("File size and latency of measured files."))
        st.caption(frame.provenance(measured.rows("axes")))
    if frame.ask(lesson, "saturation"):
        frame.text(lesson, "saturation")


@fragment
def choose() -> None:
    """A device's budget, the files within it, and the most accurate one."""
    left, middle, right = st.columns(3)
    size, latency, drop = (
        left.select_slider(_("Size, KB"), (50, 75, 100, 150, 200, 300, 600, 1100), 300, key="budget-size"),
        middle.slider(_("Latency, fp32 = 1"), 0.3, 2.0, 2.0, 0.05, key="budget-time"),
        right.slider(_("Accuracy drop, points"), 0.0, 3.0, 1.0, 0.1, key="budget-drop"),
    )
    found = together.choose(Budget(size, latency, drop / 100))
    if found.best is None or found.best.measurement is None:
        st.warning(_("No measured file is within this budget."))
        return
    best = found.best.measurement
    accuracy = wording.percent(best.accuracy.value, best.accuracy.n)
    st.success(f"**{spoken(found.best.planned.name)}**: {accuracy}, {wording.size(best.size_bytes)}.")
    st.caption(_("Within the budget: {names}.", names=_("; ").join(spoken(row.planned.name) for row in found.fitting)))


def pitfalls(lesson: LessonText) -> None:
    """Calibration, batch norm, first and last layers."""
    frame.text(lesson, "pitfalls")
    frame.table(measured.rows("calibration"), _("Accuracy at 3 bits by calibration images."))
    if frame.ask(lesson, "norm"):
        frame.text(lesson, "norm")
        frame.table(measured.rows("batch-norm"), _("Accuracy with old and re-estimated statistics."))
    frame.text(lesson, "ends")
    frame.table(measured.rows("ends"), _("Accuracy with and without 8-bit first and last layers."))


page()
