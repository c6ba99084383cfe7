"""Demo: stories in large type, from stored results: ready ones, and one of runs that you choose."""

from html import escape

import streamlit as st

from compression.analysis.comparison import Comparison
from compression.errors import UserError
from compression.language import _
from compression.recipe import Recipe
from compression.store import Run
from pages.ui.charts import pictures
from pages.ui.charts.plot import plot
from pages.ui.compare import run_rows, sections
from pages.ui.model import wording
from pages.ui.ship import photographs, run_story, stories
from pages.ui.ship.stories import Slide, Story
from pages.ui.state import store, tale
from pages.ui.state.demo import OWN, Tale
from pages.ui.state.server import is_of

STYLE = """<style>
.demo-headline { font-size: clamp(1.6rem, 3vw, 3.2rem); font-weight: 600; line-height: 1.15; }
.demo-figure { font-size: clamp(3rem, 7vw, 8rem); font-weight: 700; line-height: 1.1; color: #D55E00; }
.demo-unit { font-size: clamp(1.1rem, 1.8vw, 2.2rem); opacity: 0.75; }
.demo-text { font-size: clamp(1.1rem, 1.7vw, 2rem); line-height: 1.4; margin-top: 1rem; }
</style>"""


def page() -> None:
    """One slide of one story."""
    place, told = tale(), ready()
    st.html(STYLE)
    st.space("small")
    if place.notice:
        st.warning(wording.told(place.notice))
    with st.container(horizontal=True, key="demo-stories"):
        for number, each in enumerate(told):  # buttons, because a list of radios keeps the arrow keys to itself
            st.button(each.title, on_click=place.open, args=(number,), key=f"demo.story.{number}",
                      type="primary" if number == place.story else "secondary")  # fmt: skip
        st.button(_("Your runs"), on_click=place.open, args=(OWN,), key="demo.story.own",
                  type="primary" if place.story == OWN else "secondary")  # fmt: skip
    story = own(place) if place.story == OWN else told[min(place.story, len(told) - 1)] if told else None
    if story is None:
        if place.story != OWN:
            st.info(_("No measurements for the demo yet. Run `python -m benchmarks lessons` to create them."))
        return
    draw(story.slide(place.slide))
    turn(place, story)


def ready() -> list[Story]:
    """The ready stories: those of the lessons' results, and the one of colour photographs."""
    photographs_ = photographs.story(changed_here)
    return [*stories.stories(), *([photographs_] if photographs_ else [])]


def changed_here(recipe: Recipe) -> Comparison | str | None:
    """What a recipe of the story of photographs changed, where it was measured on this machine; else None."""
    subject = photographs.SUBJECT
    runs = store().runs(model=subject.model, dataset=subject.dataset)
    run = next((run for run in runs if run.full and run.readable == recipe and is_of(run, subject)), None)
    return changed(run) if run else None


def own(place: Tale) -> Story | None:
    """The story of the runs that are chosen here; None, with a line that says why, where none can be told."""
    everything = store().runs()
    if not everything:
        st.info(_("No runs yet. Every file measured on Explore can be part of a story."))
        return None
    labels = run_rows.labels(everything)
    place.fit(list(labels))
    st.multiselect(
        _("Runs, {FEWEST} to {MOST} of one network", FEWEST=run_story.FEWEST, MOST=run_story.MOST),
        list(labels),
        format_func=labels.__getitem__,
        key="demo.runs",
        max_selections=run_story.MOST,
        on_change=place.take_over,
    )
    chosen = [run for run in everything if run.id in place.runs]
    if reason := run_story.refusal(chosen):
        st.info(reason)
        return None
    last = min(chosen, key=lambda run: run.size_bytes)
    names = [run_rows.recipe_line(run) for run in chosen]
    return run_story.story(chosen, run_rows.title(last), names, store().probes.of_run(last.id), changed)


def changed(run: Run) -> Comparison | str:
    """The run's predictions beside those of its fp32 file, or why they are not there (yet)."""
    try:
        base = store().baseline(run.subject)
    except UserError:
        base = None
    if base is None or not sections.are_stored(base, run):
        return run_story.NOT_STORED
    return sections.compared(base, run) or run_story.COMPARING


def draw(slide: Slide) -> None:
    """Words on the left, bars or pictures on the right."""
    left, right = st.columns([5, 6], gap="large")
    parts = {"headline": slide.headline, "figure": slide.figure, "unit": slide.unit, "text": slide.text}
    left.html("".join(f'<div class="demo-{name}">{escape(text)}</div>' for name, text in parts.items()))
    with right:
        if slide.bars:
            alt = ", ".join(f"{n}: {t}" for n, t in zip(slide.bars.names, slide.bars.texts, strict=True))
            plot(stories.chart(slide.bars), f"{slide.bars.title}. {alt}.", key="demo.bars")
        if slide.pictures:
            pictures.row(slide.pictures, width=190)
    if slide.notes:
        with st.expander(_("Presenter's notes"), key="demo.notes"):
            st.markdown(wording.quoted(slide.notes))


def turn(place: Tale, story: Story) -> None:
    """Back and Next, also by the arrow keys, and where the story stands."""
    with st.container(horizontal=True, vertical_alignment="center"):
        last = place.slide >= len(story.slides) - 1
        st.button(_("Back"), on_click=place.turn, args=(-1,), disabled=place.slide == 0, shortcut="ArrowLeft")
        st.button(_("Next"), on_click=place.turn, args=(1,), disabled=last, shortcut="ArrowRight", type="primary")
        st.page_link("pages/ship/browser.py", label=_("Run a file in your browser"))
        about = "" if place.story == OWN else f" · {story.measured}"
        st.caption(
            _(
                "{slide} of {count}{about}",
                slide=min(place.slide + 1, len(story.slides)),
                count=len(story.slides),
                about=about,
            )
        )


page()
