"""Jobs: trainings and sweeps that run for minutes, wherever they were begun, and the store that keeps all results."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from compression.jobs import Training, end_orphans
from compression.language import N_, _
from compression.store import FORMS, JobRecord, export
from pages.ui.charts.plot import plot
from pages.ui.explore.learning_curve import curve_figure
from pages.ui.explore.training import HEIGHT, OWN
from pages.ui.model import job_rows, wording
from pages.ui.model.job_rows import Row
from pages.ui.page.guard import heard, repeated
from pages.ui.state import elsewhere, lab, shown

EVERY_S = 1.0
SHOWN = 50
NOTHING = N_("No jobs yet. Trainings and searches appear here and continue when you close the browser.")


def page() -> None:
    """What can be trained, what is being trained, and where everything is kept."""
    elsewhere()
    st.space("small")
    st.subheader(_("Jobs"), anchor=False)
    begin()
    end_orphans(lab().store)
    busy = any(job.open for job in lab().store.jobs.all(limit=SHOWN))
    repeated(partial(listing, busy), EVERY_S if busy else None)
    st.divider()
    keeping()


def begin() -> None:
    """Trains any network of the zoo on any dataset that has a name."""
    networks, images = job_rows.networks(), job_rows.images()
    with st.expander(_("Train a network from scratch")):
        places = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
        places[0].selectbox(_("Network"), networks, format_func=networks.__getitem__, key="train.network")
        places[1].selectbox(_("Dataset"), images, format_func=images.__getitem__, key="train.dataset")
        places[2].number_input(_("Minutes"), 0.0, 10_000.0, 0.0, 1.0, "%g", help=_(OWN), key="train.limit")
        places[3].number_input(_("Seed"), 0, 2**31 - 1, 0, key="train.seed")
        st.caption(_("Existing weights of the network for this dataset are replaced."))
        st.button(_("Train"), type="primary", on_click=train)


@heard
def train() -> None:
    """Begins the training that the form asks for."""
    training = Training(shown("train.network"), shown("train.dataset"), seed=int(shown("train.seed")))
    lab().long.start(training, minutes=shown("train.limit") or None)


def listing(busy: bool) -> None:
    """The jobs, those that are open first; looked at again and again while one is open."""
    jobs = lab().store.jobs.all(limit=SHOWN)
    if busy != any(job.open for job in jobs):
        st.rerun()  # begins or ends the looking again
    if not jobs:
        st.info(_(NOTHING))
    for job in jobs:
        with st.container(border=True, key=f"job.{job.id}"):
            draw(job, job_rows.row(job, lab().store.machine.id))


def draw(job: JobRecord, row: Row) -> None:
    """One job: how it stands, what can be done about it, and how it learned."""
    head, buttons = st.columns([5, 3], vertical_alignment="center")
    head.markdown(f"**{wording.quoted(row.title)}** :{row.colour}-badge[{row.state}]")
    head.caption(wording.quoted(row.remark))
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        actions(row)
    if row.share is not None:
        st.progress(min(row.share, 1.0), wording.quoted(row.line) or None)
    elif row.line:
        st.caption(wording.quoted(row.line))
    shown = job.progress and st.toggle(_("Learning curve"), job.state == "working", key=f"curve.{row.id}")
    if shown and (curve := lab().store.jobs.curve(row.id)):
        plot(curve_figure(curve, HEIGHT, ended=not job.open), job_rows.alt(curve), key=f"figure.{row.id}")


def actions(row: Row) -> None:
    """What can be done about a job."""
    if row.link:
        st.page_link(row.page, label=_("Open result"), query_params=row.link)
    offered: dict[str, tuple[bool, Callable[[str], object]]] = {
        N_("Cancel"): (row.can_cancel, lab().long.cancel), N_("Resume"): (row.can_resume, lab().long.resume),
        job_rows.KEEP: (row.can_finish, lab().long.finish), N_("Remove"): (row.can_remove, lab().long.forget),
    }  # fmt: skip
    for label, (can, act) in offered.items():
        if can:
            action(label, act, row)


def action(label: str, act: Callable[[str], object], row: Row) -> None:
    """A button; what stands in the way is said."""
    st.button(_(label), key=f"{label}.{row.id}", on_click=heard(act), args=(row.id,))


def keeping() -> None:
    """The store: where it is, what is in it, and its table as a file."""
    store, runs = lab().store, lab().store.runs(role=None)
    st.markdown(_("**Store**"), help=_("Every measured file with its results."))
    if lab().trouble:
        st.warning(wording.said(lab().trouble))
    st.caption(_("{count} in `{place}`", count=wording.counted(len(runs), "file"), place=wording.place(store.place)))
    with st.container(horizontal=True):
        for form in FORMS:
            st.download_button(
                form.upper() if form != "parquet" else _("Parquet"), partial(export, store, runs, form),
                f"compression-runs.{form}", on_click="ignore", disabled=not runs, key=f"export.{form}",
            )  # fmt: skip


page()
