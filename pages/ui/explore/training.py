"""Training under the user's eyes: its budget, how it stands, its curve, and where it has come to on the charts."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from compression.jobs import Job, Training
from compression.language import N_, _
from compression.records.measurement import LearningPoint
from pages.ui.charts.plot import plot
from pages.ui.explore.learning_curve import curve_figure
from pages.ui.model import wording
from pages.ui.model.job_rows import KEEP, alt, duration
from pages.ui.model.subject import Subject
from pages.ui.page.guard import heard, repeated
from pages.ui.state import Visit, lab, shown

EVERY_S = 1.0
HEIGHT = 170
MINUTES = 3.0
STARTING = N_("The training speed is measured first; the minutes are then converted to steps and stored in the recipe.")
OWN = N_("0 uses the number of epochs of the network's default training recipe.")
KEPT = N_("Exports the network as trained so far; the recipe records where training stopped.")
BEFORE = N_("All results shown are of the file **before** this training.")


def draw(visit: Visit) -> None:
    """The current recipe's training, where it has one: to be started, under way, or what it came to."""
    if visit.recipe.get("recover") is None:
        return
    with st.container(border=True, key="recovery", gap="small"):
        if visit.training:
            seen = len(evaluations(visit.curve))
            repeated(partial(watch, visit.training, lambda: _moved(visit, seen)), EVERY_S)
        elif visit.point is None:
            offer(visit)
        elif visit.curve:
            st.markdown(_("**Trained** · {told}", told=told(visit.curve, ended=True)))
            _figure(visit.curve, "ended", ended=True)


def offer(visit: Visit) -> None:
    """The budget: minutes, or the steps that the recipe says; a training that was stopped goes on."""
    jobs, choice = visit.jobs, visit.choice
    news = jobs.latest.news if jobs.latest else None
    curve = stopped_curve(visit)
    stopped = bool(curve)
    end = int(getattr(jobs.trained(choice).recipe.get("recover"), "end", 0))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.markdown(
            _("**Stopped** · {told}", told=told(curve, ended=True)) if stopped else _("**Recover by training**")
        )
        minutes = st.number_input(
            _("Minutes"), 0.1, 10_000.0, MINUTES, 1.0, "%g", key="train.minutes", help=_(STARTING), width=150
        )
        st.button(
            _("Train for {minutes:g} min", minutes=minutes),
            type="secondary" if stopped else "primary",
            on_click=_train,
            args=(visit,),
            key="train.begin",
        )
        label = _("Continue to step {end:,}", end=end) if stopped else _("Train {end:,} steps", end=end)
        st.button(label, type="primary" if stopped else "secondary", on_click=visit.train, key="train.steps")
        if stopped and jobs.can_keep(choice):
            st.button(_(KEEP), help=_(KEPT), on_click=visit.keep, key="train.keep")
    if news and news.state in ("lost", "refused"):
        st.error(wording.said(news.sentence))
    else:
        st.caption(_(BEFORE))
    if stopped:
        _figure(curve, "ended", ended=True)


def stopped_curve(visit: Visit) -> tuple[LearningPoint, ...]:
    """What the current recipe's training had learned when it was stopped, in this tab or another; else nothing."""
    job = visit.jobs.of(visit.choice)
    if job and job.news.curve and job.news.state != "working":
        return job.news.curve
    stopped = visit.jobs.stopped(visit.choice)
    return tuple(lab().store.jobs.curve(stopped.id)) if stopped else ()


def _train(visit: Visit) -> None:
    """For the minutes that the field shows now: since the button was drawn, others may have been put in."""
    visit.train(shown("train.minutes"))


def _moved(visit: Visit, seen: int) -> bool:
    """Whether the page around has something to draw: an evaluation, the settled steps, or the end."""
    return visit.training is None or not visit.jobs.is_settled(visit.choice) or len(evaluations(visit.curve)) > seen


def watch(job: Job, moved: Callable[[], bool]) -> None:
    """How a training stands, with its curve; the whole page is drawn anew where it has `moved`."""
    if moved():
        st.rerun()
    news = job.news
    standing, curve = st.columns([2, 3], gap="medium", vertical_alignment="center")
    with standing:
        st.progress(min(news.share, 1.0), f"{news.sentence} …")
        st.caption(told(news.curve) if news.curve else _("The curve appears after the first steps."))
        st.button(_("Cancel"), key=f"train.cancel.{job.id}", on_click=heard(lab().long.cancel), args=(job.id,))
    with curve:
        _figure(news.curve, job.id, ended=False)


def told(curve: tuple[LearningPoint, ...], *, ended: bool = False) -> str:
    """'loss 0.52 · validation 91.2% · 3 min left'; of one that has ended, how far it came."""
    last, measured = curve[-1], evaluations(curve)
    parts = [_("step {step:,} of {steps:,}", step=last.step, steps=last.steps)] if ended else []
    parts += [_("loss {loss:.3f}", loss=last.loss)] if last.step else []
    parts += [_("validation {accuracy:.1%}", accuracy=measured[-1].accuracy)] if measured else []
    parts += [_("{duration} left", duration=duration(last.seconds_left))] if last.step and not ended else []
    return " · ".join(parts)


def _figure(points: tuple[LearningPoint, ...], about: str, *, ended: bool) -> None:
    heard = alt(points) if points else _("The learning curve is still empty.")
    plot(curve_figure(points, HEIGHT, ended=ended), heard, key=f"train.curve.{about}")


def evaluations(curve: tuple[LearningPoint, ...]) -> list[LearningPoint]:
    """The points where the accuracy on validation images was taken."""
    return [point for point in curve if point.accuracy is not None]


def baseline(model: str, dataset: str) -> None:
    """A network of the zoo that has no weights for these images yet: it can be trained here."""
    st.subheader(wording.quoted(Subject(model, dataset, dataset).title), anchor=False)
    job = next((job for job in lab().long.working if _trains(job, model, dataset)), None)
    with st.container(border=True, key="recovery", gap="small"):
        if job:
            repeated(partial(watch, job, lambda: job.news.state != "working"), EVERY_S)
            return
        st.markdown(_("**Not trained yet.** Train the network here, then compress it."))
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.number_input(_("Minutes"), 0.0, 10_000.0, 0.0, 1.0, "%g", key="baseline.minutes", help=_(OWN), width=150)
            st.button(_("Train"), type="primary", key="baseline.begin", on_click=_begin, args=(model, dataset))
        st.caption(_("Training continues when you close the browser. See Jobs for its status."))


@heard
def _begin(model: str, dataset: str) -> None:
    lab().long.start(Training(model, dataset), minutes=shown("baseline.minutes") or None)


def _trains(job: Job, model: str, dataset: str) -> bool:
    work = job.request
    return isinstance(work, Training) and (work.model, work.dataset) == (model, dataset)
