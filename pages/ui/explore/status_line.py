"""The line below the figures: what is being done, where the figures come from, or what went wrong."""

import time

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.language import _
from pages.ui.explore import figures_of_merit
from pages.ui.model.points import Point
from pages.ui.page.waiting import tell
from pages.ui.state import Visit, came

LINGER_S = 1.0
"""So long the figures of a moved setting are waited for before the rest is drawn without them."""


def linger(visit: Visit, status: DeltaGenerator) -> None:
    """Waits a moment for the figures of what the user has moved, so that the rest is drawn once, and with them."""
    if visit.history.past and visit.now is None:
        for news in visit.news(until=time.monotonic() + LINGER_S):
            if visit.now is not None or news.state != "working":
                return  # `follow` says the rest
            with status.container():
                tell(news, visit.measure_again)


def follow(visit: Visit, status: DeltaGenerator) -> None:
    """One line: what is being done, what was measured, or what went wrong; afresh when there is more to show."""
    shown = visit.now
    answer = visit.stops.ask(visit.choice)
    for news in visit.news():
        now = visit.now
        if now is not None and (shown is None or (now.measurement, now.file) != (shown.measurement, shown.file)):
            st.rerun()
        if now and now.full and (news.state != "working" or visit.training):
            break
        with status.container():
            tell(news, visit.measure_again)
    if answer and answer is not visit.stops.answer and came(answer) and answer.exception() is None:
        st.rerun()


def provenance(visit: Visit, now: Point, status: DeltaGenerator) -> None:
    """Where the figures come from."""
    with status.container(horizontal=True, vertical_alignment="center"):
        st.caption(figures_of_merit.provenance(now.measurement), width="content")
        if figures_of_merit.is_kept(now.measurement) and visit.point:
            st.button(_("Measure again"), on_click=visit.measure_again, type="tertiary", key="anew")
