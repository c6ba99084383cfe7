"""The charts of Explore: what is clicked on them is selected, and the budget's edges are dragged."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui.charts import scatter_figure
from pages.ui.charts.budget_handles import handles, moved
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import Chart, chart, course
from pages.ui.explore import toolbar, view_controls
from pages.ui.model.expected import Foreseen
from pages.ui.model.view import Pair, View
from pages.ui.state import Visit


def draw(visit: Visit) -> list[Chart]:
    """Three charts and the budget, two by two."""
    grid = st.container(key="charts")
    places = [place for _ in range(2) for place in grid.columns(2)]
    with places[3]:
        st.markdown("**What I can afford**", help="Shaded on the charts; the best measured point within is named.")
        budget = view_controls.budget(visit.trail.words)
        toolbar.advice(visit, budget)
    pairs, drawn = [], []
    for number, place in enumerate(places[:3]):
        with place:
            pairs.append(view_controls.axes(number, visit.trail.words))
            slot = st.container(key=f"chart-{number}", height=scatter_figure.HEIGHT, border=False)
        drawn.append((slot, pairs[-1]))
    visit.look(View(tuple(pairs), visit.view.panel, budget))
    expected = visit.foresee()
    return [_chart(visit, number, slot, pair, expected) for number, (slot, pair) in enumerate(drawn)]


def _chart(visit: Visit, number: int, slot: DeltaGenerator, pair: Pair, expected: Foreseen) -> Chart:
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
