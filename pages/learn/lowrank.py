"""Lesson 6, low rank: one layer as the product of two thin ones."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import lowrank, measured
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("lowrank", lowrank.facts())
        frame.text(lesson, "see")
        if frame.ask(lesson, "energy"):
            lines = lesson_figures.lines(lowrank.spectrum(lowrank.STUDIED, "channel"), _("Rank"), _("Relative value"))
            frame.draw(lines, _("Singular values and their cumulative energy."))
            frame.text(lesson, "energy")
        frame.text(lesson, "try")
        play()
        frame.text(lesson, "why")
        if frame.ask(lesson, "full"):
            frame.text(lesson, "cost")
        if frame.ask(lesson, "output") and frame.ask(lesson, "form"):
            frame.text(lesson, "output")
            frame.text(lesson, "trade")
            trade = lowrank.trade(lowrank.STUDIED)
            lines = lesson_figures.lines(
                trade, _("MACs, relative to the dense layer"), _("Output error"), percent=True, log_y=True, points=True
            )
            frame.draw(lines, _("Output error by MACs for both forms."))
        if frame.ask(lesson, "depthwise"):
            frame.text(lesson, "measured")
            frame.table(measured.rows("lowrank"), _("Accuracy of factorized and of narrower networks."))
        frame.text(lesson, "breaks")
        frame.explore([{"step": "factorize", "amount": 0.33}], _("low rank, one third fewer MACs"))
        frame.closing(lesson)


@fragment
def play() -> None:
    """Layer, form and rank."""
    left, right = st.columns(2)
    name = left.selectbox(
        _("Layer"), lowrank.LAYERS, 2, format_func=lambda name: spoken(lowrank.title(name)), key="layer"
    )
    form = right.selectbox(
        _("Form"), list(lowrank.FORMS), format_func=lambda name: spoken(lowrank.FORMS[name]), key="form"
    )
    most = lowrank.full_rank(name, form)
    rank = st.slider(_("Rank"), 1, most, min(16, most), key=f"rank-{most}")
    found = lowrank.product(name, form, rank)
    with st.container(key="figures-lowrank"):
        work, error, output = st.columns(3)
    work.metric(
        _("MACs"),
        f"{found.share:.0%}",
        help=_("Relative to the dense layer. Saves MACs below rank {break_even:.1f}.", break_even=found.break_even),
    )
    error.metric(_("Weight error"), f"{found.error:.1%}")
    output.metric(_("Output error"), f"{found.output_error:.1%}")
    left, right = st.columns(2)
    left.caption(_("**Dense**"))
    frame.draw(lesson_figures.picture(found.dense, height=260), _("Kernels of the dense layer."), left, "dense")
    right.caption(_("**Rank {rank}**", rank=rank))
    frame.draw(lesson_figures.picture(found.product, height=260), _("Kernels after factorization."), right, "product")
    spectrum = lesson_figures.lines(lowrank.spectrum(name, form), _("Rank"), _("Relative value"), mark=float(rank))
    frame.draw(spectrum, _("Singular values of the chosen layer."))


page()
