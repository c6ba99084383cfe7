"""An idle worker measures the recipes around the current one; a caption says so."""

from functools import partial

import streamlit as st

from compression.host.machine import works_unasked
from compression.language import N_, _
from pages.ui.page.guard import repeated
from pages.ui.state import Visit

EVERY_S = 1.5
SWITCH = N_("Measure nearby recipes when idle")
HELP = N_(
    "While the worker is idle, it measures recipes that differ from yours in one setting. This improves the predicted "
    "points of a dragged slider. Your own requests have priority."
)
ON = works_unasked()


def draw(visit: Visit) -> None:
    """The switch, and what is being measured; looked at again while there is something left."""
    with st.container(horizontal=True, vertical_alignment="center", key="idle", width="content"):
        here = visit.neighbours
        here.on = st.toggle(_(SWITCH), ON and here.on, key="idle.on", help=_(HELP))
        if here.on and (here.current or here.left(visit.choice, visit.trail)):
            repeated(partial(watch, visit), EVERY_S)


def watch(visit: Visit) -> None:
    """Goes on with the grid; a new point has the page drawn anew."""
    here = visit.neighbours
    measured, left = here.measure_next(visit.choice, visit.trails), len(here.left(visit.choice, visit.trail))
    if measured or not (left or here.current):
        st.rerun()
    everything = len(here.around(visit.choice, visit.trail))
    if everything and here.current:
        st.caption(
            _(
                "Measuring nearby recipe {everything} of {everything_2} …",
                everything=everything - left + 1,
                everything_2=everything,
            )
        )
