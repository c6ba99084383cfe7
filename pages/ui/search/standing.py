"""How a search stands: its figures, its charts as they grow, and what can be done about it."""

import streamlit as st

from compression.jobs import SearchView
from compression.language import N_, _
from compression.store import JobRecord
from pages.ui.charts import scatter_figure, search_figures
from pages.ui.charts.legend import legend
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import chart
from pages.ui.model import search_points, wording
from pages.ui.model.axes import Name
from pages.ui.model.job_rows import STATES, duration
from pages.ui.page.guard import heard
from pages.ui.state import lab

CHARTS: tuple[tuple[Name, Name], ...] = (("size", "accuracy"), ("latency", "accuracy"), ("size", "latency"))
HONEST = (
    "All selection uses {images:,} validation images. Only the Pareto front is measured on the test images, once, at "
    "the end."
)
NONE_YET = N_("No file within the limits yet.")
VOLUME = N_(
    "Share of the objective space that the Pareto front dominates: accuracy drop (up to 10 points), size and latency, "
    "each relative to fp32. It never decreases."
)


def head(job: JobRecord, view: SearchView | None) -> None:
    """The state, how far it is, and the buttons."""
    state, colour = STATES[job.state]
    left, buttons = st.columns([5, 2], vertical_alignment="center")
    left.markdown(
        _(
            "**Started {astimezone:%d %b %H:%M}** :{colour}-badge[{state}]",
            astimezone=job.created.astimezone(),
            colour=colour,
            state=_(state),
        )
    )
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if job.open and job.wanted is None:
            st.button(_("Cancel"), key=f"search.cancel.{job.id}", on_click=heard(lab().long.cancel), args=(job.id,))
        elif not job.open and job.state != "done":
            st.button(_("Resume"), key=f"search.resume.{job.id}", on_click=heard(lab().long.resume), args=(job.id,))
    if job.open:
        st.progress(min(job.share, 1.0), f"{wording.said(job.sentence)} …" if job.sentence else None)
    elif job.sentence:
        st.caption(wording.said(job.sentence))
    if view and view.baseline:
        st.caption(HONEST.format(images=int(view.baseline["images"])))


def figures(job: JobRecord, view: SearchView) -> None:
    """The best so far, trials, pace, what is left."""
    best, gone, whole = view.best.found if view.best else None, view.seconds, 60 * view.settings.minutes
    lost = (
        _("drop {drop:+.2f} points, × {latency_ratio:.2f}", drop=100 * best.drop, latency_ratio=best.latency_ratio)
        if best
        else _(NONE_YET)
    )
    told = (
        (_("Best within limits"), wording.size(best.size_bytes) if best else "–", lost),
        (_("Pareto-optimal files"), str(len(view.front)), search_points.count(view)),
        (_("Trials per minute"), f"{search_points.rate(view):.1f}", wording.counted(view.settings.workers, "worker")),
        (
            _("Time left"),
            duration(max(whole - gone, 0)) if job.open else "–",
            _("{duration} of {duration_2} elapsed", duration=duration(gone), duration_2=duration(whole)),
        ),
    )
    for place, (label, value, remark) in zip(st.columns(len(told)), told, strict=True):
        with place.container(border=True, height="stretch", gap=None):
            st.markdown(label)
            st.markdown(f"### {value}")
            st.caption(remark)


def charts(view: SearchView, selected: str) -> str | None:
    """Explore's charts of every file that was tried on all validation images, and how the front grew.

    Returns the key of the point that was clicked.
    """
    trail, clicked = search_points.trail(view), None
    grid = st.container(key="charts")
    key, drawn = grid.container(), []
    places = [place for _ in range(2) for place in grid.columns(2)]
    for number, (x, y) in enumerate(CHARTS):
        data = chart(trail, None, x, y, budget=search_points.budget(view), selected=selected)
        drawn.append(data)
        with places[number]:
            found, _rest = plot(scatter_figure.figure(data), data.alt, key=f"search.plot.{number}")
        clicked = found if found and found != selected else clicked
    with key:
        legend(drawn, key="search.legend")
    with places[3]:
        st.markdown(_("**Hypervolume**"), help=_(VOLUME))
        grown = view.volumes
        last = (
            _("{grown:.1f}% after {duration}", grown=100 * grown[-1][1], duration=duration(grown[-1][0]))
            if grown
            else _("nothing yet")
        )
        plot(
            search_figures.growth(grown), _("Hypervolume of the Pareto front: {last}.", last=last), key="search.growth"
        )
        st.caption(last)
    return clicked
