"""Explore: move a setting, see the measured file land on the charts."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.errors import UserError
from compression.language import _
from pages.ui.bring import network_form
from pages.ui.explore import (
    chart_grid,
    figures_of_merit,
    forms,
    idle_measuring,
    panels,
    status_line,
    toolbar,
    training,
)
from pages.ui.explore.figures_of_merit import Places
from pages.ui.model import wording
from pages.ui.model.subject import Pair
from pages.ui.state import Visit, lab, opened, put, shown


def page() -> None:
    """Controls on the left; figures, charts and the file on the right."""
    visit, notes = opened(), st.empty()
    with st.sidebar:
        obstacle, untrained = choose(visit)
    stays = _("The previous selection is shown below.") if obstacle and visit.subject.is_trained else ""
    if said := wording.in_a_row(wording.told(visit.notice), obstacle, stays, wording.said(lab().trouble)):
        notes.warning(said)
    elif remark := visit.remark():
        notes.info(remark)
    if untrained:
        training.baseline(*untrained)
    elif stays or not obstacle:
        sharing = toolbar.draw(visit)
        toolbar.chosen(visit)
        show(visit, sharing)


def choose(visit: Visit) -> tuple[str, Pair | None]:
    """The controls; what they name cannot be measured where a sentence says why, or a network is not trained yet."""
    subject, lack = forms.subject()
    st.page_link("pages/lab/bring.py", label=_("Bring your own network"), icon=":material/upload_file:")
    if st.button(_("Bring your own images"), icon=":material/add_photo_alternate:", type="tertiary"):
        put(network_form.WHAT, network_form.IMAGES)
        st.switch_page("pages/lab/bring.py")
    slots: dict[str, DeltaGenerator] = {}
    try:
        recipe = forms.recipe(visit.draw_seed, visit.stops.positions, slots, shown)
    except UserError as error:
        return wording.said(str(error)), None
    if subject is None or not subject.is_trained:
        return lack, (subject.model, subject.weights) if subject else None
    visit.choose(subject, recipe)
    for found in visit.now.measurement.reached if visit.now else ():
        if (said := wording.reached(found)) and found.step in slots:
            slots[found.step].caption(said)
    return lack, None


def show(visit: Visit, sharing: DeltaGenerator) -> None:
    """Everything that is measured. What comes while it is shown starts the page afresh; what is the same stays."""
    metrics: Places = st.container(key="figures").columns(3, gap="small")
    status = st.container(key="status").empty()
    status_line.linger(visit, status)
    now, last = visit.now, visit.trail.last
    figures_of_merit.draw(metrics, now or last, visit.trail.words, old=now is None)
    for note in visit.trail.baseline.notes if visit.trail.baseline else ():
        st.caption(wording.said(note))
    if now and now.full:
        status_line.provenance(visit, now, status)
    training.draw(visit)
    drawn = chart_grid.draw(visit)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        idle_measuring.draw(visit)
        toolbar.hint(visit)
    toolbar.selection(visit)
    panels.draw(visit, now or last, drawn)
    with sharing:
        toolbar.share(visit)
    status_line.follow(visit, status)


page()
