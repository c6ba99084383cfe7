"""While nobody waits for anything, the worker measures the recipes around the current one: a quiet line says so."""

import os

import streamlit as st

from pages.ui.state import Visit

EVERY_S = 1.5
SWITCH = "Measure neighbours while idle"
HELP = (
    "While nothing else is to be done, recipes around yours are measured, one setting changed in each, so that what a "
    "dragged slider foretells is near the truth. Whatever you do goes first."
)
ON = os.environ.get("COMPRESSION_IDLE", "1") != "0"


def draw(visit: Visit) -> None:
    """The switch, and what is being measured; looked at again while there is something left."""
    with st.container(horizontal=True, vertical_alignment="center", key="idle"):
        on = st.toggle(SWITCH, ON, key="idle.on", help=HELP)
        busy = on and bool(visit.unknown or visit.filler)
        if busy:
            st.fragment(watch, run_every=EVERY_S)(visit)


def watch(visit: Visit) -> None:
    """Goes on with the grid; a new point has the page drawn anew."""
    if visit.fill() or not (visit.unknown or visit.filler):
        st.rerun()
    everything = len(visit.neighbours)
    if everything and visit.filler:
        st.caption(f"Measuring neighbours, {everything - len(visit.unknown) + 1} of {everything} …")
