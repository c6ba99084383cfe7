"""Explore: move a setting, see the measured file land on the charts."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.errors import UserError
from pages.ui import charts, chips, forms, panels, toolbar, views
from pages.ui.chips import Places
from pages.ui.foresight import Foreseen
from pages.ui.plot import plot
from pages.ui.scatter import Chart, chart
from pages.ui.state import Visit, opened
from pages.ui.views import View


def page() -> None:
    """Controls on the left; figures, charts and the file on the right."""
    visit, notes = opened(), st.empty()
    with st.sidebar:
        obstacle = choose(visit)
    if said := " ".join(filter(None, (visit.notice, obstacle))):
        notes.warning(said)
    if not obstacle:
        toolbar.draw(visit)
        show(visit)


def choose(visit: Visit) -> str:
    """The controls; a sentence says why what they name cannot be measured."""
    subject, lack = forms.subject()
    try:
        recipe = forms.recipe(visit.draw_seed)
    except UserError as error:
        return str(error)
    if subject:
        visit.choose(subject, recipe)
    return lack


def show(visit: Visit) -> None:
    """Everything that is measured. What comes while it is shown starts the page afresh; what is the same stays."""
    now, last = visit.now, visit.trail.last
    metrics: Places = st.columns(3)
    chips.draw(metrics, now or last, old=now is None)
    status = st.container(key="status").empty()
    drawn = draw_charts(visit)
    toolbar.selection(visit)
    panels.draw(visit, now or last, drawn)
    follow(visit, status)


def draw_charts(visit: Visit) -> list[Chart]:
    """Three charts and the budget, two by two."""
    grid = st.container(key="charts")
    places = [place for _ in range(2) for place in grid.columns(2)]
    with places[3]:
        st.markdown("**What I can afford**", help="Shaded on the charts; the best measured point within is named.")
        budget = views.budget()
        toolbar.advice(visit, budget)
    pairs, drawn = [], []
    for number, place in enumerate(places[:3]):
        with place:
            pairs.append(views.axes(number))
            slot = st.container(key=f"chart-{number}", height=charts.HEIGHT, border=False)
        drawn.append((slot, pairs[-1]))
    visit.look(View(tuple(pairs), visit.view.panel, budget))
    expected = visit.foresee()
    return [draw_chart(visit, number, slot, pair, expected) for number, (slot, pair) in enumerate(drawn)]


def draw_chart(visit: Visit, number: int, slot: DeltaGenerator, pair: views.Pair, expected: Foreseen) -> Chart:
    """One chart; a click on a point selects it, and a dragged slider moves the point that is expected."""
    now = visit.now
    data = chart(visit.trail, now or visit.trail.last, *pair, budget=visit.view.budget, selected=visit.selected)
    if now is None:
        data = replace(data, ghost=expected.here(*pair))
    with slot:
        clicked, _ = plot(charts.figure(data), data.alt, key=f"plot.{number}", foresight=expected.on(*pair))
    if clicked and clicked != visit.selected:
        visit.selected = clicked
        st.rerun()
    return data


def follow(visit: Visit, status: DeltaGenerator) -> None:
    """One line: what is being done, what was measured, or what went wrong; afresh when there is more to show."""
    shown, curve = visit.now, visit.curve
    for news in visit.news():
        if visit.view.panel == "Learning" and len(news.curve) > len(curve):
            st.rerun()
        now = visit.now
        if now is not None and (shown is None or (now.measurement, now.file) != (shown.measurement, shown.file)):
            st.rerun()
        with status.container():
            if news.state == "working":
                st.progress(min(news.share, 1.0), f"{news.sentence} …")
            elif news.measurement:
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.caption(chips.provenance(news.measurement, news.full), width="content")
                    if chips.is_kept(news.measurement):
                        st.button("Measure again", on_click=visit.measure_again, type="tertiary", key="anew")
            if news.state in ("lost", "refused"):
                st.error(news.sentence)
                st.button("Measure again", on_click=visit.measure_again)


page()
