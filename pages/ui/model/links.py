"""Links: the network, the images, the recipe and the view in an address, and an address read again."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from compression.errors import UserError
from compression.language import _
from compression.models.provenance import producer_id
from compression.recipe import Recipe
from compression.steps import Prune, Quantize
from compression.store import Run, StoredLatency
from pages.ui.model import subject as subjects
from pages.ui.model import wording
from pages.ui.model.subject import Subject
from pages.ui.model.view import PARTS, View

START = Recipe(steps=(Prune(), Quantize()), quality="fast")
"""What a first visit shows: the two best-known techniques at their defaults, found quickly enough to play with."""

OWN_START = Recipe(steps=(Quantize(),), quality="fast")
"""The same for a network of the user's: large ones answer soonest in 8 bits, which cost little accuracy."""

RUN = "run"
"""The name of a run's id in a link."""


def first_of_own(recipe: Recipe) -> Recipe:
    """What is shown first of a network of the user's: what is chosen now, unless nothing has been chosen yet."""
    return OWN_START if recipe == START else recipe


def address(link: dict[str, str]) -> str:
    """The whole address of a link to the page that is open."""
    here = (st.context.url or "").split("?")[0]
    return f"{here}?{urlencode(link, safe=',:')}"


def link_of(subject: Subject, recipe: Recipe, view: View | None = None, run: str = "") -> dict[str, str]:
    """The query of a link to this network, images, recipe and view; a view that is as usual is left out.

    With the id of a `run` of the store the link shows what was measured then, also after the engine has changed.
    """
    query = subject.to_query() | dict(parse_qsl(recipe.to_query(), keep_blank_values=True))
    return query | (view.to_query() if view else {}) | ({RUN: run} if run else {})


def read_link(link: dict[str, str]) -> tuple[Subject, Recipe, View]:
    """What a link names; it may leave out the network and images, the recipe, or the view. Raises `UserError`.

    The run that it may name is looked up by whoever opens the link.
    """
    rest = {name: value for name, value in link.items() if name != RUN}
    named = {name: rest.pop(name) for name in ("model", "dataset", "weights") if name in rest}
    view = View.from_query({name: rest.pop(name) for name in PARTS if name in rest})
    subject = subjects.from_query(subjects.default().to_query() | named) if named else subjects.default()
    return subject, Recipe.from_query(urlencode(rest, errors="replace")) if rest else START, view


def told(run: Run, latencies: Sequence[StoredLatency]) -> str:
    """What there is to say of a run that a link names: when and where it was measured, and by which engine."""
    cpu = wording.quoted(run.accuracy_machine.cpu)
    parts = [
        _(
            "This is run {id}, measured {astimezone:%Y-%m-%d %H:%M} on {cpu}.",
            id=run.id,
            astimezone=run.measured.astimezone(),
            cpu=cpu,
        )
    ]
    if run.latency is None and latencies:
        other = latencies[0]
        parts.append(
            _(
                "Its latency was measured on another machine ({cpu}: {p50_ms}, {ratio:.2f} of fp32) and is "
                "not shown here.",
                cpu=wording.quoted(other.machine.cpu),
                p50_ms=wording.milliseconds(other.latency.p50_ms),
                ratio=other.latency.ratio,
            )
        )
    if run.engine != _maker(run):
        parts.append(
            _(
                "It was made by another version of the engine or with another teacher; measuring again may give a "
                "different file."
            )
        )
    return " ".join(parts)


def _maker(run: Run) -> str:
    """Who would make its file now; '' where a teacher is gone."""
    try:
        return producer_id(run.recipe, run.subject.dataset)
    except UserError:
        return ""
