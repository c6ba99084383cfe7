"""What all visits share: the server's one Lab, its store, and what the store knows of a network."""

from contextlib import suppress
from pathlib import Path

import streamlit as st

from compression import data, jobs
from compression.errors import StoreUnavailable, UserError
from compression.jobs import Baseline, Lab
from compression.store import Run, Store
from compression.store.files import read_file
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import Subject, reference_sweep

REMEMBERED = 300
"""So many earlier runs stand on the charts at most."""


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """The one of this server; its first use starts the worker."""
    return Lab()


def store() -> Store:
    """What this machine, and whoever shares its database, has measured: one for all pages of this server."""
    return Store.shared()


def known(subject: Subject) -> Trail:
    """The points that a visit starts with: those that came with the app, and the newest that were measured here."""
    trail = Trail()
    with suppress(UserError):  # whoever loads the images says what is wrong with them
        jobs.check_images(subject.dataset)  # nobody walks through the server's folders by a link
        trail.labelled = data.is_labelled(subject.dataset)
    if sweep := reference_sweep(subject):
        trail.baseline = Baseline(sweep.accuracy, sweep.size_bytes, sweep.macs, sweep.parameters)
        trail.know(Point(recipe, measured, True, source="reference") for recipe, measured in sweep.points)
    with suppress(StoreUnavailable):
        runs = store().runs(model=subject.model, dataset=subject.dataset, limit=REMEMBERED)
        runs = [run for run in runs if run.full and run.readable and is_of(run, subject)]
        trail.know(remembered(run) for run in runs if run.subject == runs[0].subject)  # a folder's images may be others
    return trail


def is_of(run: Run, subject: Subject) -> bool:
    """Whether a run is of the very weights."""
    return (run.subject.weights, run.subject.weights_hash) == (subject.weights, subject.edition)


def remembered(run: Run) -> Point:
    """A run of the store as a point of a chart."""
    return Point(run.recipe, run.measurement, run.full, store().file(run), "earlier", run=run.id)


def kept(path: Path | None) -> bytes | None:
    """The bytes of a file that was measured, if they still lie there undamaged."""
    return read_file(path.stem) if path is not None else None
