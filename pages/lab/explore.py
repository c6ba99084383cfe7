"""Explore: move a setting, see the measured file land on the charts."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.errors import UserError
from pages.ui.charts import scatter_figure
from pages.ui.charts.budget_handles import handles, moved
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import Chart, chart, course
from pages.ui.explore import (
    figures_of_merit,
    forms,
    idle_measuring,
    panels,
    status_line,
    toolbar,
    training,
    view_controls,
)
from pages.ui.explore.figures_of_merit import Places
from pages.ui.model import view, wording
from pages.ui.model.expected import Foreseen
from pages.ui.model.subject import Pair
from pages.ui.model.view import View
from pages.ui.state import Visit, lab, opened, shown


def page() -> None:
    """Controls on the left; figures, charts and the file on the right."""
    visit, notes = opened(), st.empty()
    with st.sidebar:
        obstacle, untrained = choose(visit)
    stays = "Below is what was chosen before." if obstacle and visit.subject.is_trained else ""
    if said := " ".join(filter(None, (visit.notice, obstacle, stays, lab().trouble))):
        notes.warning(said)
    elif visit.remark:
        notes.info(visit.remark)
    if untrained:
        training.baseline(*untrained)
    elif stays or not obstacle:
        sharing = toolbar.draw(visit)
        toolbar.chosen(visit)
        show(visit, sharing)


def choose(visit: Visit) -> tuple[str, Pair | None]:
    """The controls; what they name cannot be measured where a sentence says why, or a network is not trained yet."""
    subject, lack = forms.subject()
    st.page_link("pages/lab/bring.py", label="Bring your own network", icon=":material/upload_file:")
    slots: dict[str, DeltaGenerator] = {}
    try:
        recipe = forms.recipe(visit.draw_seed, visit.stops.positions, slots, shown)
    except UserError as error:
        return str(error), None
    if subject is None or not subject.is_trained:
        return lack, (subject.model, subject.dataset) if subject else None
    visit.choose(subject, recipe)
    for found in visit.now.measurement.reached if visit.now else ():
        if (said := wording.reached(found)) and found.step in slots:
            slots[found.step].caption(said)
    return lack, None


def show(visit: Visit, sharing: DeltaGenerator) -> None:
    """Everything that is measured. What comes while it is shown starts the page afresh; what is the same stays."""
    metrics: Places = st.columns(3)
    status = st.container(key="status").empty()
    status_line.linger(visit, status)
    now, last = visit.now, visit.trail.last
    figures_of_merit.draw(metrics, now or last, old=now is None)
    if now and now.full:
        status_line.provenance(visit, now, status)
    training.draw(visit)
    drawn = draw_charts(visit)
    idle_measuring.draw(visit)
    toolbar.selection(visit)
    panels.draw(visit, now or last, drawn)
    with sharing:
        toolbar.share(visit)
    status_line.follow(visit, status)


def draw_charts(visit: Visit) -> list[Chart]:
    """Three charts and the budget, two by two."""
    grid = st.container(key="charts")
    places = [place for _ in range(2) for place in grid.columns(2)]
    with places[3]:
        st.markdown("**What I can afford**", help="Shaded on the charts; the best measured point within is named.")
        budget = view_controls.budget()
        toolbar.advice(visit, budget)
    pairs, drawn = [], []
    for number, place in enumerate(places[:3]):
        with place:
            pairs.append(view_controls.axes(number))
            slot = st.container(key=f"chart-{number}", height=scatter_figure.HEIGHT, border=False)
        drawn.append((slot, pairs[-1]))
    visit.look(View(tuple(pairs), visit.view.panel, budget))
    expected = visit.foresee()
    return [draw_chart(visit, number, slot, pair, expected) for number, (slot, pair) in enumerate(drawn)]


def draw_chart(visit: Visit, number: int, slot: DeltaGenerator, pair: view.Pair, expected: Foreseen) -> Chart:
    """One chart; a click on a point selects it, and a dragged slider moves the point that is expected."""
    now = visit.now
    data = chart(visit.trail, now or visit.trail.last, *pair, budget=visit.view.budget, selected=visit.selection.key)
    if now is None:
        data = replace(data, ghost=expected.here(*pair))
    elif visit.point is None:
        data = replace(data, course=course(now, visit.curve, *pair))
    base, budget = visit.trail.baseline, visit.view.budget
    with slot:
        clicked, grasped = plot(
            scatter_figure.figure(data), data.alt, key=f"plot.{number}", foresight=expected.on(*pair),
            handles=handles(budget, *pair, base),
        )  # fmt: skip
    if grasped:
        visit.look_next(replace(visit.view, budget=moved(budget, **grasped, baseline=base)))
        st.rerun()
    if clicked and clicked != visit.selection.key:
        visit.selection.key = clicked
        st.rerun()
    return data


page()
