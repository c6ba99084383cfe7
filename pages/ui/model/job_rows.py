"""What the list of jobs says: each job's state, progress, curve, and where its result is opened. Data and words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from compression.data import DATASETS
from compression.errors import UserError
from compression.jobs import Searching, Sweeping, Training, can_finish, from_plain
from compression.language import N_, _, shown
from compression.models import ARCHITECTURES
from compression.recipe import Recipe
from compression.records.measurement import LearningPoint
from compression.steps import STEPS
from compression.store import JobRecord
from pages.ui.model.links import START, link_of
from pages.ui.model.subject import Subject

Colour = Literal["gray", "blue", "green", "orange", "red"]
KEEP = N_("Keep this result")
"""What the button says that ends a stopped training where it is."""

EXPLORE, LAYERS, SEARCH = "pages/lab/explore.py", "pages/lab/layers.py", "pages/lab/search.py"
PAGES = {"sweep": LAYERS, "search": SEARCH}

STATES: dict[str, tuple[str, Colour]] = {
    "waiting": (N_("waiting"), "gray"), "working": (N_("working"), "blue"), "done": (N_("done"), "green"),
    "cancelled": (N_("cancelled"), "gray"), "interrupted": (N_("interrupted"), "orange"),
    "lost": (N_("crashed"), "red"), "refused": (N_("refused"), "red"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One job for the page. `share` is None where there is no bar; `link` to `page` leads to any result."""

    id: str
    title: str
    state: str
    colour: Colour
    share: float | None
    line: str
    remark: str
    can_cancel: bool
    can_resume: bool
    can_finish: bool
    can_remove: bool
    page: str
    link: dict[str, str] | None


def row(job: JobRecord, here: str) -> Row:
    """A job as the machine `here` shows it."""
    state, colour = STATES[job.state]
    remark = [] if job.app.get("machine") == here else [_("on another machine")]
    remark += [_("started {clock}", clock=_clock(job.started or job.created))]
    if job.started and job.ended and job.ended > job.started:
        remark.append(_("took {duration}", duration=duration((job.ended - job.started).total_seconds())))
    if job.priority:
        remark.append(_("priority {priority}", priority=job.priority))
    share = _learned(job) if job.open or (0 < job.share < 1) else None
    return Row(
        job.id, title(job.title), _(state), colour, share, _line(job), " · ".join(remark),
        can_cancel=job.open and job.wanted is None, can_resume=not job.open and job.state != "done",
        can_finish=can_finish(job, here),
        can_remove=not job.open,
        page=PAGES.get(job.kind, EXPLORE),
        link=_link(job) if job.run or (job.kind in PAGES and job.state == "done") else None,
    )  # fmt: skip


def title(stored: str) -> str:
    """'ResNet-20 on Digits: prune, quantize', which is stored in English, in the visitor's language."""
    network, on, rest = stored.partition(" on ")
    images, colon, what = rest.rpartition(": ")
    if not (on and colon):
        return stored
    steps = (shown(STEPS[kind].title) if kind in STEPS else shown(kind) for kind in what.split(", "))
    return _("{network} on {images}: {what}", network=network, images=images, what=_(", ").join(steps))


def _learned(job: JobRecord) -> float:
    """How much of a training that was stopped is learned; of other jobs, how much is done, preparing included."""
    steps = job.progress.get("steps")
    share = job.progress.get("step", 0) / steps if steps and not job.open else job.share
    return min(max(share, 0.0), 1.0)


def duration(seconds: float) -> str:
    """'45 s', '3 min', '2 h 05 min'; '∞' where there is no end in sight."""
    if not math.isfinite(seconds):
        return "∞"
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return (
        _("{minutes} min", minutes=minutes)
        if minutes < 90
        else _("{minutes} h {minutes_2:02d} min", minutes=minutes // 60, minutes_2=minutes % 60)
    )


def alt(curve: Sequence[LearningPoint]) -> str:
    """The curve in a sentence, for those who hear it."""
    last = curve[-1]
    return _(
        "Loss and validation by step; after {step:,} steps the loss is {loss:.3f}.", step=last.step, loss=last.loss
    )


def networks() -> dict[str, str]:
    """What can be trained, by name."""
    return {name: architecture.title for name, architecture in ARCHITECTURES.items()}


def images() -> dict[str, str]:
    """What it can be trained on, by name."""
    return {name: spec.title for name, spec in DATASETS.items()}


def _line(job: JobRecord) -> str:
    """'Epoch 3 of 40 · step 1,200 of 10,000 · loss 0.52 · validation 91.2% · 3 min left'."""
    told, known = [shown(job.sentence)] if job.sentence else [], job.progress
    if {"step", "steps"} <= known.keys():
        told.append(_("step {known:,} of {known_2:,}", known=known["step"], known_2=known["steps"]))
    if "loss" in known:
        told.append(_("loss {known:.3f}", known=known["loss"]))
    if known.get("accuracy") is not None:
        told.append(_("validation {known:.1%}", known=known["accuracy"]))
    if job.open and known.get("seconds_left"):
        told.append(_("{duration} left", duration=duration(known["seconds_left"])))
    return " · ".join(told)


def _link(job: JobRecord) -> dict[str, str] | None:
    try:
        work, _ = from_plain(job.kind, job.request)
        if isinstance(work, Training):
            return link_of(Subject(work.model, work.dataset, work.dataset), Recipe())
        recipe = START if isinstance(work, Sweeping | Searching) else Recipe.from_json(work.recipe)
        return link_of(Subject(work.model, work.weights, work.dataset), recipe)
    except (TypeError, UserError):  # written by another version
        return None


def _clock(when: datetime) -> str:
    return _("{when:%d %b %H:%M}", when=when.astimezone())
