"""What each layer alone would cost: a job in the background, whose curves appear as they come."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from compression import jobs
from compression.jobs import Job
from compression.language import N_, _
from compression.records.analysis import LayerSensitivity
from pages.ui.charts import layer_figures
from pages.ui.charts.plot import plot
from pages.ui.explore import panels
from pages.ui.model import wording
from pages.ui.page.guard import heard, repeated
from pages.ui.state import Visit

EVERY_S = 1.0
SIMULATED = N_(
    "Simulated in PyTorch on validation images, one layer at a time. All other numbers are measured on the file."
)
ABOUT = N_("Accuracy drop of compressing each layer alone. Runs in the background; a small network takes 1–2 minutes.")


def known(visit: Visit) -> dict[str, LayerSensitivity]:
    """The curves that are known by now; asked for anew when the job has come further."""
    sweep = visit.sweep
    stage = _stage(sweep.job)
    if sweep.stage != stage:
        found = panels.awaited(
            visit.answer("sensitivities", jobs.known_sensitivities, visit.plain_request, stage),
            _("Loading sensitivities"),
        )
        if found is not None:
            sweep.curves, sweep.stage = found, stage
    return sweep.curves


def _stage(job: Job | None) -> str:
    """Changes with every layer that becomes known."""
    return f"{job.id} {job.news.state} {job.news.share:.4f}" if job else ""


def sensitivity(visit: Visit, names: Sequence[str], chosen: str) -> None:
    """The curves of the chosen layer and of all, and the job that finds out what is missing."""
    st.markdown(_("#### Sensitivity"), help=_(SIMULATED))
    curves, job = visit.sweep.curves, visit.sweep.job
    if job is not None and job.news.state == "working":
        repeated(partial(progress, visit, job, _stage(job)), EVERY_S)
    elif len(curves) < len(names):
        if job is not None and job.news.sentence:
            st.error(wording.said(job.news.sentence))
        st.button(_("Run sensitivity analysis"), on_click=heard(visit.sweep.begin), key="layers.sweep")
    if chosen in curves:
        figure = layer_figures.curves(curves[chosen], visit.trail.words)
        plot(figure, _("Sensitivity of layer {chosen}.", chosen=chosen), key="layers.curves")
    if curves:
        ordered = [curves[name] for name in names if name in curves]
        plot(
            layer_figures.heatmap(ordered),
            _("Accuracy drop of each of {count} layers, in points.", count=len(ordered)),
            key="layers.heatmap",
        )
        st.caption(_(SIMULATED))
    else:
        st.caption(_(ABOUT))


def progress(visit: Visit, job: Job, stage: str) -> None:
    """How far the sweep is; the page starts afresh when more layers are known."""
    news = job.news
    st.progress(min(news.share, 1.0), f"{news.sentence} …")
    st.button(_("Stop"), on_click=heard(visit.sweep.end), key="layers.stop")
    if _stage(job) != stage:
        st.rerun()
