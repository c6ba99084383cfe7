"""Lesson 7, efficient architectures: convolutions that do less, counted and timed."""

import streamlit as st

from compression.language import _
from compression.lessons import architectures, measured
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("architectures", architectures.facts())
        frame.text(lesson, "see")
        frame.ask(lesson, "separable")
        frame.text(lesson, "try")
        count()
        if frame.ask(lesson, "pointwise"):
            frame.text(lesson, "separable")
        frame.text(lesson, "shuffle")
        if frame.ask(lesson, "reach"):
            reach()
            frame.text(lesson, "shuffled")
        frame.text(lesson, "why")
        if frame.ask(lesson, "clock"):
            frame.text(lesson, "time")
            clock()
        if frame.ask(lesson, "weights"):
            frame.text(lesson, "zoo")
            frame.table(measured.rows("zoo"), _("Accuracy of networks in the zoo."))
        frame.text(lesson, "breaks")
        frame.explore([{"step": "quantize", "weight_bits": 8}], _("MobileNetV2 in 8 bits"), "mobilenetv2", "digits")
        frame.closing(lesson)


@fragment
def count() -> None:
    """Channels, window, side and groups, and the work of each kind."""
    left, right = st.columns(2)
    inputs = left.select_slider(_("Input channels"), (16, 32, 64, 128, 256), 64, key="inputs")
    outputs = right.select_slider(_("Output channels"), (16, 32, 64, 128, 256), 64, key="outputs")
    left, middle, right = st.columns(3)
    kernel = left.select_slider(_("Kernel size"), (1, 3, 5, 7), 3, key="kernel")
    side = middle.select_slider(_("Feature map size"), (7, 14, 28, 56), 14, key="side")
    groups = right.select_slider(_("Groups"), (1, 2, 4, 8, 16), 4, key="groups")
    work = architectures.work(inputs, outputs, kernel, side, groups)
    frame.draw(lesson_figures.bars(work), _("MACs of four kinds of convolution."))
    share = architectures.share_of_standard("separable", inputs, outputs, kernel, groups)
    st.markdown(_("Depthwise, then 1×1: **{share:.1%}** of the standard MACs.", share=share))


@fragment
def reach() -> None:
    """Which inputs reach which outputs through two grouped layers."""
    left, right = st.columns(2)
    groups = left.select_slider(_("Groups of 16 channels"), (1, 2, 4, 8), 4, key="reach-groups")
    shuffled = right.toggle(_("Channel shuffle"), key="shuffled")
    plane = lesson_figures.reach(architectures.mixing(16, groups, shuffled))
    frame.draw(plane, _("Connectivity from inputs to outputs."))


def clock() -> None:
    """Measured time by counted work."""
    found = architectures.timed()
    if not found:
        st.caption(_("Not measured yet."))
        return
    frame.draw(lesson_figures.clock(found), _("Relative latency of each block by relative MACs."))
    st.caption(frame.measured_on(_("64 channels, 14 × 14, one image, one thread, ONNX Runtime")))


page()
