"""Demo: three told stories in large type, from stored results. Next and back with the arrow keys."""

import streamlit as st

from compression.lessons import measured
from pages.ui.charts.plot import plot
from pages.ui.ship import stories
from pages.ui.state import tale

STYLE = """<style>
.demo-headline { font-size: 2.4rem; font-weight: 600; line-height: 1.15; }
.demo-figure { font-size: 5rem; font-weight: 700; line-height: 1.1; color: #D55E00; }
.demo-unit { font-size: 1.6rem; opacity: 0.75; } .demo-text { font-size: 1.5rem; line-height: 1.4; }
</style>"""


def page() -> None:
    """One slide of one story."""
    told = stories.stories()
    st.html(STYLE)
    st.space("small")
    if not told:
        st.info("No measurements for the demo yet. Run `python -m benchmarks lessons` to create them.")
        return
    place = tale()
    place.story = min(place.story, len(told) - 1)
    with st.container(horizontal=True, key="demo-stories"):
        for number, each in enumerate(told):  # buttons, because a list of radios keeps the arrow keys to itself
            st.button(each.title, on_click=place.open, args=(number,), key=f"demo.story.{number}",
                      type="primary" if number == place.story else "secondary")  # fmt: skip
    story = told[place.story]
    slide = story.slides[min(place.slide, len(story.slides) - 1)]
    left, right = st.columns([5, 6], gap="large")
    left.html(f'<div class="demo-headline">{slide.headline}</div><div class="demo-figure">{slide.figure}</div>'
              f'<div class="demo-unit">{slide.unit}</div>')  # fmt: skip
    left.html(f'<div class="demo-text">{slide.text}</div>')
    if slide.bars:
        with right:
            alt = ", ".join(f"{n}: {t}" for n, t in zip(slide.bars.names, slide.bars.texts, strict=True))
            plot(stories.chart(slide.bars), f"{slide.bars.title}. {alt}.", key="demo.bars")
    with st.container(horizontal=True, vertical_alignment="center"):
        last = place.slide >= len(story.slides) - 1
        st.button("Back", on_click=place.turn, args=(-1,), disabled=place.slide == 0, shortcut="ArrowLeft")
        st.button("Next", on_click=place.turn, args=(1,), disabled=last, shortcut="ArrowRight", type="primary")
        st.page_link("pages/ship/browser.py", label="Run a file in your browser")
        st.caption(f"{place.slide + 1} of {len(story.slides)} · {provenance()}")


def provenance() -> str:
    """On what the numbers were measured, and when."""
    machine = measured.machine()
    return f"Measured on {machine.cpu}, {machine.cores} cores, {measured.measured_at()[:10]}." if machine else ""


page()
