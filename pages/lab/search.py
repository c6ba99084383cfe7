"""Search: say what you can afford and how long to look; the front of files grows while you watch."""

from functools import partial

import streamlit as st

from compression.jobs import end_orphans, search_of, search_view, searches
from compression.language import N_, _
from compression.searching.settings import SearchSettings
from compression.store import JobRecord
from pages.ui.explore import forms
from pages.ui.model import search_points, wording
from pages.ui.model.subject import Subject
from pages.ui.page.guard import heard, repeated
from pages.ui.search import findings, limits_form, standing
from pages.ui.state import Visit, elsewhere, lab, opened, put, shown_or_none

EVERY_S = 2.0
NOTHING = N_(
    "No searches for this network yet. A search continues when you close the browser and resumes after a crash."
)
SELECTED = "search.selected"
BEGUN = "search.begun"


def page() -> None:
    """The network on the left; the form, the search that is looked at, and what it found."""
    visit = opened()
    elsewhere()
    with st.sidebar:
        subject, lack = forms.subject()
    if subject is None or not subject.is_trained:
        st.info(lack or _("This network has no weights for this dataset yet. Train it on Explore."))
        return
    take(visit, subject)
    st.subheader(_("Search: {title}", title=wording.quoted(subject.title)), anchor=False)
    end_orphans(lab().store)
    jobs = searches(lab().store, subject.model, subject.dataset)
    begun = shown_or_none(BEGUN) or 0  # a search that another tab begins does not fold the form of this one
    form = f"search.new.{subject.model}.{subject.dataset}.{begun}"
    with st.expander(_("New search"), expanded=not jobs, key=form):
        limits_form.form(partial(heard(begin), subject, begun))
    if not jobs:
        st.info(_(NOTHING))
        return
    job = chosen(jobs)
    if job.open:
        repeated(partial(watch, job.id, subject), EVERY_S)
    else:
        look(job, subject)


def take(visit: Visit, subject: Subject) -> None:
    """The network and images that the other pages show too."""
    if subject != visit.subject:
        visit.choose(subject, visit.recipe)


def begin(subject: Subject, begun: int) -> None:
    """Begins the search that the form asks for."""
    job = lab().long.start(search_of(subject.model, subject.dataset, limits_form.asked()))
    put("search.job", job.id)
    put(BEGUN, begun + 1)


def chosen(jobs: list[JobRecord]) -> JobRecord:
    """The search that is looked at: the one that was begun last, or any other."""
    ids = {job.id: job for job in jobs}
    if shown_or_none("search.job") not in ids:
        put("search.job", jobs[0].id)
    if len(jobs) > 1:
        st.selectbox(_("Search"), list(ids), key="search.job", format_func=lambda job: called(ids[job]))
    return ids[str(shown_or_none("search.job"))]


def called(job: JobRecord) -> str:
    """'1 Dec 14:02: accuracy drop ≤ 1 point, 10 minutes'."""
    settings = SearchSettings.from_json(str(job.request["settings"]))
    return _(
        "{astimezone:%d %b %H:%M}: {asked}, {minutes:g} minutes",
        astimezone=job.created.astimezone(),
        asked=search_points.asked(settings),
        minutes=settings.minutes,
    )


def watch(job: str, subject: Subject) -> None:
    """A search at work, drawn again and again; the whole page when it has ended."""
    record = lab().store.jobs.get(job)
    if not record.open:
        st.rerun()
    look(record, subject)


def look(job: JobRecord, subject: Subject) -> None:
    """One search: how it stands, its charts, its front, and what there is to say of it."""
    view = search_view(lab().store, job.id)
    standing.head(job, view)
    if view is None or not view.baseline:
        return
    standing.figures(job, view)
    selected = str(shown_or_none(SELECTED) or "")
    if clicked := standing.charts(view, selected):
        selected = clicked
        put(SELECTED, clicked)
    selected = findings.front(view) or selected
    if trial := search_points.find(view, selected) or view.best:
        findings.take_along(trial, subject)
    findings.told(view)
    if not job.open:
        findings.importances(view)


page()
