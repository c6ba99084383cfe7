"""What stands above and between the charts: undo, presets, sharing, the selected point, and the budget's advice."""

from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.language import N_, _
from compression.language import shown as translated
from compression.recipe.presets import PRESETS
from pages.ui.charts.scatter_data import where
from pages.ui.explore import tour
from pages.ui.model import wording
from pages.ui.model.budget import Budget, advise
from pages.ui.model.links import START, address, link_of
from pages.ui.model.points import Point, Trail
from pages.ui.model.subject import reference_images
from pages.ui.page import copy
from pages.ui.page.waiting import awaited
from pages.ui.state import Visit, kept, language

FIXED = N_("The same recipe for every network.")
SMALLEST = N_("Smallest file, 1 point drop")
CHOSEN = N_(
    "Tries a fixed list of recipes and takes the smallest file that loses at most 1 point on the validation "
    "images. The drop on the test images can differ slightly. Takes seconds."
)
DOING = N_("Trying recipes on validation images")
NONE = N_("No recipe in the list stays within 1 point on the validation images. Try “Recover by training”.")


def chosen(visit: Visit) -> None:
    """Waits for the choice that the user has asked for, and has the page begin anew with it."""
    answer = visit.search
    if answer is None:
        return
    found = awaited(answer, _(DOING))
    if not answer.done():
        return
    visit.search = None
    if answer.exception() is not None:
        return
    if found:
        visit.load_next(found.recipe, partial(_chosen, found))
    else:
        visit.load_next(visit.recipe, partial(_, NONE))
    st.rerun()


def _chosen(found: Any) -> str:
    """On how many images a recipe was chosen, and among how many recipes."""
    if found.reference == "fp32":
        said = _(
            "{images:,} validation images, disagreement with fp32 {drop:.2%}", images=found.images, drop=found.drop
        )
    else:
        drop = 100 * found.drop
        said = _("{images:,} validation images, accuracy drop {drop:.2f} points", images=found.images, drop=drop)
    return _("Chosen on {said}; {tried} of {of} recipes tried.", said=said, tried=found.tried, of=found.of)


def draw(visit: Visit) -> DeltaGenerator:
    """The title, and what acts on the whole recipe; returns where `share` goes, once the view is known."""
    with st.container(key="toolbar", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(wording.quoted(visit.subject.title), anchor=False, width="content")
        with st.container(horizontal=True, width="content", gap="small"):
            with st.popover(_("Presets")):
                st.caption(_(FIXED))
                for name, preset in PRESETS.items():
                    st.button(
                        translated(preset.title),
                        key=f"preset.{name}",
                        on_click=visit.load,
                        args=(preset.recipe,),
                        help=translated(preset.about),
                        width="stretch",
                    )
                st.divider()
                st.button(
                    _(SMALLEST), key="preset.smallest", on_click=visit.find_smallest, help=_(CHOSEN), width="stretch"
                )
            st.button(_("Undo"), on_click=visit.undo, disabled=not visit.history.past)
            st.button(_("Redo"), on_click=visit.redo, disabled=not visit.history.undone)
            st.button(_("Reset"), on_click=visit.load, args=(START,), disabled=visit.recipe == START)
            sharing = st.popover(_("Share link"))
            tour.button()
            return sharing


def share(visit: Visit) -> None:
    """A link that opens the same network, images, recipe and view, and what was measured now."""
    run = visit.point.run if visit.point else ""
    same = _(" and the measured run {run}", run=run) if run else ""
    st.caption(_("Opens this network, dataset, recipe, charts{same}.", same=same))
    copy.button(
        _("Copy link"),
        address(link_of(visit.subject, visit.recipe, visit.view, run) | language.in_link()),
        key="share.link",
    )


def hint(visit: Visit) -> None:
    """What the charts can do, and whose results the references are."""
    elsewhere = next((p for p in visit.trail.points if p.source == "reference"), None)
    references = _("References: {where}.", where=where(elsewhere)) if elsewhere else None
    click = _("Click a point to select it; drag to zoom, double-click to reset.")
    st.caption(f"{click} {reference_images(visit.subject)}".strip(), width="content", help=references)


def selection(visit: Visit) -> None:
    """The point that was clicked, and what can be done with it."""
    point = visit.trail.find(visit.selection.key)
    if point is None:
        return
    with st.container(key="selection", border=True):
        st.markdown(
            _(
                "**Selected** · {described} · {where}",
                described=wording.quoted(described(point)),
                where=wording.quoted(where(point)),
            )
        )
        with st.container(horizontal=True, gap="small"):
            act(visit, point, "selected")
            st.button(_("Deselect"), on_click=visit.selection.clear)


def act(visit: Visit, point: Point, place: str) -> None:
    """Load the recipe of a point, pin it, download its file."""
    st.button(_("Load this recipe"), key=f"{place}.load", on_click=visit.load, args=(point.recipe,),
              disabled=point.recipe == visit.recipe)  # fmt: skip
    pinned = point.key in visit.trail.pinned
    st.button(
        _("Unpin") if pinned else _("Pin"), key=f"{place}.pin", on_click=visit.trail.toggle_pin, args=(point.key,)
    )
    if file := kept(point.file):
        st.download_button(_("Download .onnx"), file, wording.file_name(visit.subject, point.recipe),
                           key=f"{place}.download", on_click="ignore")  # fmt: skip


def advice(visit: Visit, trail: Trail, budget: Budget) -> None:
    """The best measured point within the budget, and why."""
    if not budget.limits:
        st.caption(_("Set a limit to see the best measured point within it."))
        return
    found = advise(budget, trail.points)
    if found.point is None:
        st.info(wording.quoted(found.reason))
        return
    st.markdown(wording.quoted(described(found.point)))
    st.caption(wording.quoted(found.reason))
    with st.container(horizontal=True, gap="small"):
        act(visit, found.point, "advice")


def described(point: Point) -> str:
    """'Prune weights: sparsity 50% - 93.8%, 62.0 KB, × 0.49'."""
    measured = point.measurement
    latency = f", × {measured.latency.ratio:.2f}" if measured.latency else ""
    alike = _(" agreement with fp32") if measured.accuracy.reference == "fp32" else ""
    share = wording.percent(measured.accuracy.value, measured.accuracy.n)
    figures = f"{share}{alike}, {wording.size(measured.size_bytes)}"
    return f"{wording.recipe_line(point.recipe)} – {figures}{latency}"
