"""Lesson 2, pruning: which weights can go, in which pattern, and what the network still sees."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import measured, pruning
from compression.lessons.pictures import mosaic
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame, sights
from pages.ui.lessons.lesson import LessonText
from pages.ui.model import wording
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("pruning", pruning.facts())
        frame.text(lesson, "see")
        shown = mosaic(pruning.layer(pruning.STUDIED).weight, columns=16)
        frame.draw(lesson_figures.picture(shown, height=420), _("All weights of one convolution."))
        frame.ask(lesson, "energy")
        frame.text(lesson, "try")
        if frame.ask(lesson, "pattern"):
            frame.text(lesson, "pattern")
        play(lesson)
        allocate(lesson)
        frame.text(lesson, "criteria")
        if frame.ask(lesson, "criterion"):
            measures()
            frame.text(lesson, "criteria-why")
        frame.text(lesson, "why")
        if frame.ask(lesson, "speed"):
            frame.text(lesson, "speed")
            frame.table(measured.rows("patterns"), _("Accuracy of five pruning patterns."))
        if frame.ask(lesson, "cliff"):
            frame.text(lesson, "breaks")
            frame.table(measured.rows("sparsity-naive"), _("Accuracy by sparsity, without refitting."))
            frame.table(measured.rows("sparsity"), _("Accuracy by sparsity, with refitted weights."))
        frame.explore([{"step": "prune", "sparsity": 0.8}], _("80% sparsity"))
        frame.explore([{"step": "channels", "amount": 0.5}], _("channels removed, half the MACs"))
        frame.closing(lesson)


@fragment
def play(lesson: LessonText) -> None:
    """Pattern and share, and what they do to one layer and to one image."""
    titles = {name: spoken(pruning.layer(name).title) for name in pruning.LAYERS}
    name = st.selectbox(_("Layer"), pruning.LAYERS, format_func=titles.__getitem__, key="layer")
    pattern = st.segmented_control(
        _("Pattern"), list(pruning.PATTERNS), default="weights", required=True, key="pattern", width="stretch",
        format_func=lambda name: spoken(pruning.PATTERNS[name]),
    )  # fmt: skip
    share = st.slider(
        _("Removed"), 0.0, 0.95, 0.5, 0.05, format="percent", disabled=pattern == "2:4", key="share",
        help=_("The 2:4 pattern always removes half."),
    )  # fmt: skip
    cut = pruning.cut(name, share, pattern)
    figures(cut)
    left, right = st.columns(2)
    frame.draw(lesson_figures.histogram(cut.histogram), _("Histogram of the layer's weights."), left)
    frame.draw(lesson_figures.picture(cut.picture, height=280), _("Pruning mask of the filters."), right)
    sights.draw(lesson, name, share, pattern)


def figures(cut: pruning.Cut) -> None:
    """Four figures of the cut layer."""
    about = _("fp32 values and their positions; dense {size}.", size=wording.size(cut.dense_bytes))
    with st.container(key="figures-pruning"):
        zeros, change, size = st.columns(3)
    zeros.metric(_("Removed"), f"{cut.sparsity:.1%}")
    moved = _("Squared change of the layer's output, relative to its power.")
    change.metric(_("Output change"), f"{cut.error:.1%}", help=moved)
    size.metric(_("Layer size"), wording.size(cut.stored_bytes), help=about)
    st.caption(_("**Faster?** {speed}", speed=spoken(cut.speed)))


def allocate(lesson: LessonText) -> None:
    """One threshold for all layers, or the same share for each."""
    frame.text(lesson, "allocate")
    if frame.ask(lesson, "layer"):
        frame.text(lesson, "allocated")
        frame.draw(lesson_figures.shares(pruning.allocation(0.8)), _("Sparsity of each layer at 80% overall."))
        frame.table(measured.rows("allocation"), _("Accuracy at 80% sparsity by scope and criterion."))


@fragment
def measures() -> None:
    """What each of four measures of importance keeps of a layer, at a share of the reader's choice."""
    share = st.slider(_("Sparsity"), 0.1, 0.95, 0.8, 0.05, format="percent", key="criteria")
    with st.container(key="figures-criteria"):
        places = st.columns(4)
    for place, found in zip(places, pruning.criteria(share), strict=True):
        place.markdown(f"**{spoken(found.name)}** ${found.formula}$")
        mask = lesson_figures.picture(found.picture, height=180)
        frame.draw(mask, _("Kept by {name}.", name=spoken(found.name)), place, f"mask-{found.name}")
        told = _("Output change {error:.1%}, after refit {refit:.1%}", error=found.error, refit=found.refitted)
        place.caption(told)


page()
