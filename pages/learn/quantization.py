"""Lesson 3, quantization: a grid for numbers, where it ends, and a convolution in whole numbers."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import measured, quantization
from compression.lessons.images import fashion
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LessonText
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("quantization", quantization.facts())
        frame.text(lesson, "see")
        frame.ask(lesson, "bit")
        frame.text(lesson, "try")
        play()
        if frame.ask(lesson, "log"):
            frame.text(lesson, "schemes")
        ends(lesson)
        frame.text(lesson, "calibrate")
        if frame.ask(lesson, "outlier"):
            frame.text(lesson, "outlier")
            looked()
        frame.text(lesson, "integer")
        step()
        frame.ask(lesson, "accumulator")
        frame.text(lesson, "why")
        if frame.ask(lesson, "two"):
            frame.text(lesson, "breaks")
            frame.table(measured.rows("bits-naive"), _("Accuracy by bit width, nearest rounding."))
            frame.table(measured.rows("bits"), _("Accuracy by bit width, second-order rounding."))
        frame.text(lesson, "ladder")
        frame.table(measured.rows("ladder"), _("Accuracy of each step at 3 bits."))
        frame.explore([{"step": "quantize", "weight_bits": 3}], _("3-bit weights"))
        frame.closing(lesson)


@fragment
def play() -> None:
    """Layer, bits, scheme and the end of the grid; every weight's error, and the trade-off between the two kinds."""
    (above, beside), (left, right) = st.columns(2), st.columns(2)
    titles = {name: spoken(quantization.title(name)) for name in quantization.LAYERS}
    name = above.selectbox(_("Layer"), list(titles), format_func=titles.__getitem__, key="layer")
    schemes = quantization.SCHEMES
    scheme = beside.selectbox(_("Scheme"), list(schemes), format_func=lambda name: spoken(schemes[name]), key="scheme")
    fixed = scheme in ("ternary", "binary")
    bits = left.slider(_("Bits"), 2, 8, 3, key="bits", disabled=fixed)
    clip = right.slider(_("Clipping range"), 0.1, 1.0, 1.0, 0.02, format="percent", key="clip", disabled=fixed)
    shown = quantization.number_line(name, bits, scheme, clip)
    with st.container(key="figures-quantization"):
        levels, clipped, ratio = st.columns(3)
    levels.metric(_("Levels"), len(shown.levels))
    clipped.metric(_("Clipped weights"), f"{shown.clipped:.1%}")
    ratio.metric("SQNR", f"{shown.sqnr_db:.1f} dB", help=_("Power of the weights over power of the rounding errors."))
    frame.draw(lesson_figures.number_line(shown), _("Rounding error of every weight."))


def ends(lesson: LessonText) -> None:
    """Clipping against rounding, and one scale against many."""
    frame.text(lesson, "clip")
    if not frame.ask(lesson, "clip"):
        return
    curves()
    frame.text(lesson, "clipped")
    frame.text(lesson, "channel")


@fragment
def curves() -> None:
    """The two errors by the end of the grid, and the ratio by how many scales there are."""
    bits = st.slider(_("Bits (symmetric grid)"), 2, 8, 3, key="clip-bits")
    name = quantization.STUDIED
    figure = lesson_figures.lines(
        quantization.clip_curve(name, bits), _("Clipping range, share of the largest weight"), _("Error power"),
        percent=True, log_y=True, mark=quantization.best_clip(name, bits),
    )  # fmt: skip
    frame.draw(figure, _("Error from rounding, from clipping, and their sum."))
    frame.draw(lesson_figures.bars(quantization.granularity(name, bits)), _("SQNR by number of scales."))


@fragment
def looked() -> None:
    """Ends of the range by images, for a percentile of the reader's choice."""
    percentile = st.select_slider(_("Percentile"), (90.0, 99.0, 99.9, 99.99), 99.9, key="percentile")
    figure = lesson_figures.lines(quantization.ranges(percentile), _("Calibration images"), _("Upper end"), points=True)
    frame.draw(figure, _("Upper end of the range by number of calibration images."))


@fragment
def step() -> None:
    """One output pixel in whole numbers: image, channel and place, and the nine products."""
    photo = fashion()
    left, right = st.columns(2)
    images = [spoken(photo.title(number)) for number in range(len(photo.labels))]
    image = left.select_slider(_("Image"), range(len(images)), 3, format_func=images.__getitem__, key="image")
    channel = right.slider(_("Output channel"), 0, 15, 4, key="channel")
    row, column = left.slider(_("Row"), 0, 27, 10, key="row"), right.slider(_("Column"), 0, 27, 12, key="column")
    shown = quantization.convolution(image, channel, row, column)
    pixels = _("Pixels, zero point {zero}", zero=shown.zero)
    parts = (pixels, shown.pixels), (_("Weights"), shown.weights), (_("Products"), shown.products)
    for number, (place, (title, values)) in enumerate(zip(st.columns(3), parts, strict=True)):
        place.caption(f"**{title}**")
        frame.draw(lesson_figures.matrix(values), title, place, f"matrix-{number}")
    scales = f"× {shown.pixel_scale:.5f} × {shown.weight_scale:.5f}"
    said = _("Sum **{total:,}** {scales} = **{result:.4f}**; in float it is {exact:.4f}.", total=shown.total,
             scales=scales, result=shown.result, exact=shown.exact)  # fmt: skip
    st.markdown(said)


page()
