"""The charts of Explore: what is clicked on them is selected, and the budget's edges are dragged."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.language import _
from pages.ui.charts import scatter_figure
from pages.ui.charts.budget_handles import handles, moved
from pages.ui.charts.legend import legend
from pages.ui.charts.plot import plot
from pages.ui.charts.scatter_data import Chart, chart, course
from pages.ui.explore import toolbar, view_controls
from pages.ui.model.expected import Foreseen
from pages.ui.model.machines import Timing
from pages.ui.model.view import Pair, View
from pages.ui.state import Visit, store


def draw(visit: Visit) -> list[Chart]:
    """One legend, three charts side by side, and the budget below them."""
    grid = st.container(key="charts", gap="small")
    key = grid.container()
    places, bar = grid.columns(3, gap="small"), grid.container(key="budget-bar", gap="xsmall")
    with bar:
        timing = clock(visit)
        trail = timing.trail(visit.trail)
        budget = view_controls.budget(visit.trail.words)
        toolbar.advice(visit, trail, budget)
    pairs, drawn = [], []
    for number, place in enumerate(places):
        with place:
            pairs.append(view_controls.axes(number, visit.trail.words))
            slot = st.container(key=f"chart-{number}", height=scatter_figure.HEIGHT, border=False)
        drawn.append((slot, pairs[-1]))
    visit.look(View(tuple(pairs), visit.view.panel, budget, timing.machine))
    expected = visit.foresee(trail)
    charts = [_chart(visit, timing, number, slot, pair, expected) for number, (slot, pair) in enumerate(drawn)]
    with key:
        legend(charts, key="legend")
    return charts


def clock(visit: Visit) -> Timing:
    """Whose milliseconds are shown, as chosen from the machines that have reported."""
    known = {each.key: each.machine.title for each in store().probes.machines()}
    chosen = view_controls.machine(known, visit.view.machine)
    if not chosen:
        return Timing()
    return Timing(chosen, known.get(chosen, _(view_controls.UNKNOWN)), store().probes.times(chosen))


def _chart(visit: Visit, timing: Timing, number: int, slot: DeltaGenerator, pair: Pair, expected: Foreseen) -> Chart:
    """One chart; a click on a point selects it, and a dragged slider moves the point that is expected."""
    now = visit.now
    shown, trail = now or visit.trail.last, timing.trail(visit.trail)
    data = chart(
        trail, shown and timing.point(shown), *pair, budget=visit.view.budget, selected=visit.selection.key
    )  # fmt: skip
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
