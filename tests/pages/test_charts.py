"""What the charts show, as data: points, the Pareto front, budgets, the trail of a visit and learning curves."""

from dataclasses import replace

import numpy as np
import pytest

from compression.records.measurement import (
    Interval,
    LearningPoint,
)
from pages.ui.charts import legend, lesson_figures, scatter_figure
from pages.ui.charts.budget_handles import handles, moved
from pages.ui.charts.scatter_data import chart, course, decades
from pages.ui.explore.learning_curve import curve_figure
from pages.ui.model import axes, job_rows
from pages.ui.model.budget import Budget, advise
from pages.ui.model.pareto import Spot, stand
from pages.ui.model.points import Trail
from tests.pages.points import point, trail


def test_budget_edges_are_taken_hold_of_in_the_units_of_their_axes() -> None:
    base, budget = trail().baseline, Budget(drop=1.0, size=100)
    found = {handle["limit"]: handle for handle in handles(budget, "size", "accuracy", base)}
    assert (found["size"]["axis"], found["size"]["value"]) == ("x", 100)
    assert (found["drop"]["axis"], found["drop"]["value"], found["drop"]["high"]) == ("y", 93.0, 94.0)
    assert [handle["limit"] for handle in handles(budget, "macs", "latency", base)] == []
    assert moved(budget, "drop", 91.52, base) == replace(budget, drop=2.5)
    assert moved(budget, "drop", 99.0, base) == replace(budget, drop=0.0)
    assert moved(budget, "size", 12.4, base) == replace(budget, size=12)
    assert moved(budget, "latency", 0.52, base) == replace(budget, latency=0.5)
    assert moved(budget, "weight", 1.0, base) == budget


def mark(x: float, y: float, *, x_arm: float = 0.0, y_arm: float = 0.0, full: bool = True) -> Spot:
    return Spot(x, Interval(x - x_arm, x + x_arm), y, Interval(y - y_arm, y + y_arm), full)


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    marks = [mark(100, 93), mark(50, 90), mark(60, 89), mark(200, 93), mark(300, 94)]
    assert stand(marks) == ["front", "front", "behind", "behind", "front"]


def test_points_inside_each_others_intervals_are_ties() -> None:
    close = [mark(0.50, 93.0, x_arm=0.02, y_arm=0.5), mark(0.51, 92.9, x_arm=0.02, y_arm=0.5)]
    assert stand(close) == ["front", "tie"]
    assert stand([close[0], mark(0.51, 92.9, x_arm=0.02, y_arm=0.05)]) == ["front", "behind"]
    assert stand([mark(0.50, 93.0, x_arm=0.001, y_arm=0.01), close[1]]) == ["front", "behind"]
    assert stand([close[0], mark(0.60, 93.0, x_arm=0.02, y_arm=0.5)]) == ["front", "behind"]


def test_equal_points_stand_together_and_first_images_beat_nobody() -> None:
    assert stand([mark(1, 2), mark(1, 2)]) == ["front", "front"]
    assert stand([mark(1, 3, full=False), mark(2, 2)]) == ["front", "front"]


def test_the_chart_shows_baseline_trail_and_now_in_its_axes_units() -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    data = chart(trail(point(0.5, 0.93, 200_000, 0.6), now), now, "size", "accuracy")
    assert [m.role for m in data.marks] == ["visited", "baseline", "now"]
    assert [m.spot.x for m in data.marks] == [200.0, 1095.0, 90.0]
    assert [round(m.spot.y, 6) for m in data.marks] == [93.0, 94.0, 90.0]
    assert data.front == ((90.0, 90.0), (200.0, 93.0), (1095.0, 94.0))
    assert "sparsity 90%" in data.of("now")[0].text
    assert "90.00% (89.50 to 90.50%)" in data.alt
    times = chart(trail(now), now, "latency", "accuracy")
    assert [m.spot.x for m in times.marks] == [1.0, 0.5]
    assert times.of("now")[0].x_arms == pytest.approx((0.01, 0.01))


def test_what_others_measured_is_replaced_by_what_this_machine_measures() -> None:
    made, known = trail(), point(0.5, 0.93, 200_000)
    made.know([replace(known, source="reference")])
    assert [m.role for m in chart(made, None, "size", "accuracy").marks] == ["reference", "baseline"]
    assert "reference machine (A CPU)" in chart(made, None, "size", "accuracy").marks[0].text
    made.know([replace(known, source="earlier"), replace(known, source="reference")])
    assert [p.source for p in made.points] == ["earlier"]
    made.add(known)
    assert [p.source for p in made.points] == ["visit"]


def test_the_budget_shades_what_it_allows_and_names_the_best_point_within() -> None:
    small, accurate, slow = point(0.9, 0.91, 60_000, 0.5), point(0.5, 0.938, 90_000, 0.5), point(0.2, 0.94, 95_000, 0.9)
    known = [small, accurate, slow]
    budget = Budget(drop=1.0, size=100, latency=0.6)
    assert advise(budget, known).point is accurate
    assert "1 of 3 measured points is within the budget" in advise(budget, known).reason
    assert advise(replace(budget, latency=None, wish="most accurate"), known).point is slow
    assert advise(replace(budget, drop=5.0), known).point is small
    nothing = advise(Budget(drop=0.0, size=50), known)
    assert nothing.point is None
    assert "None of the 3" in nothing.reason
    drawn = chart(trail(small), small, "size", "accuracy", budget=budget)
    assert drawn.limits == pytest.approx((100, 93.0))
    assert chart(trail(small), small, "macs", "accuracy", budget=Budget(size=100)).limits == (None, None)
    assert len(scatter_figure.figure(drawn).layout.shapes) == 4


@pytest.mark.parametrize("x", ["macs", "parameters", "energy", "accuracy"])
def test_every_axis_has_the_baseline_and_the_point(x: axes.Name) -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    data = chart(trail(), now, x, "latency")
    assert [m.role for m in data.marks] == ["baseline", "now"]
    assert len(scatter_figure.figure(data).data) > 3
    assert ("estimated" in data.x.title) == (x == "energy")


def test_where_less_is_better_on_both_axes_the_front_runs_down() -> None:
    slow_small, fast_big, bad = mark(50, 0.9), mark(90, 0.5), mark(95, 0.95)
    assert stand([slow_small, fast_big, bad], "less", "less") == ["front", "front", "behind"]


def test_a_point_without_a_latency_is_missing_from_that_chart_only() -> None:
    now = point(0.9, 0.90, 90_000)
    assert not chart(trail(), now, "latency", "accuracy").of("now")
    assert chart(trail(), now, "size", "accuracy").of("now")


def test_a_recipe_is_in_the_trail_once_at_its_last_visit() -> None:
    made = trail(point(0.5, 0.93, 1), point(0.6, 0.92, 1), point(0.5, 0.91, 1))
    assert [p.measurement.accuracy.value for p in made.visited.values()] == [0.92, 0.91]
    assert made.last is not None
    assert made.last.measurement.accuracy.value == 0.91


def test_the_figure_draws_what_the_chart_says() -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    drawn = scatter_figure.figure(chart(trail(point(0.5, 0.93, 200_000, 0.6)), now, "size", "accuracy"))
    by_name = {trace.name: trace for trace in drawn.data}
    assert list(by_name["Current"].x) == [90.0]
    assert list(by_name["Pareto front"].x) == [90.0, 200.0, 1095.0]
    assert list(by_name["Current"].error_y.array) == pytest.approx([0.5])
    partly = replace(now, full=False)
    assert by_name["Prune"].marker.color == scatter_figure.colour(("prune",))
    assert scatter_figure.figure(chart(trail(), partly, "size", "accuracy")).data[-1].marker.symbol == ("circle-open",)
    assert (
        scatter_figure.EMPTY
        in scatter_figure.figure(chart(Trail(), None, "size", "accuracy")).layout.annotations[0].text
    )


def test_ticks_span_the_values() -> None:
    assert decades([87.3, 1095.0]) == (50, 100, 200, 500, 1000, 2000)
    assert decades([]) == ()


def test_a_training_moves_along_the_chart_by_its_evaluations() -> None:
    start = point(0.9, 0.90, 90_000)
    curve = tuple(LearningPoint(step, 30, 0, 0.5, accuracy, 1.0) for step, accuracy in ((0, 0.5), (5, None), (9, 0.8)))
    stages = course(start, curve, "size", "accuracy")
    assert [(s.x, s.y, s.step) for s in stages] == [(90.0, 50.0, 0), (90.0, 80.0, 9)]
    assert "validation " in stages[0].text
    assert course(start, curve, "size", "latency") == ()
    drawn = next(trace for trace in scatter_figure.figure(replace(chart(trail(start), start, "size", "accuracy"),
                                                          course=stages)).data if "Training" in trace.name)  # fmt: skip
    assert (list(drawn.y), list(drawn.text)) == ([50.0, 80.0], ["", "step 9"])


def test_a_learning_curve_is_drawn_as_it_was_learned() -> None:
    points = [LearningPoint(s, 30, 0, 3.0 / s, 0.5 if s == 20 else None, 1.0) for s in (10, 20, 30)]
    drawn = curve_figure(points[:2], ended=False)
    assert drawn.layout.xaxis.range == (0, 30)  # room for what is to come
    assert curve_figure(points[:2], ended=True).layout.xaxis.range == (0, 20)
    loss, validation = curve_figure(points, ended=True).data
    assert list(loss.x) == [10, 20, 30]
    assert (list(validation.x), list(validation.y)) == ([20], [50.0])
    assert "after 30 steps the loss is 0.100" in job_rows.alt(points)


def test_one_legend_tells_every_technique_of_three_charts_by_colour_and_shape() -> None:
    now = point(0.9, 0.90, 90_000, 0.5)
    known = trail(point(0.5, 0.93, 200_000, 0.6))
    told = legend.entries([chart(known, now, x, y) for x, y in axes.START])
    assert [entry["name"] for entry in told] == ["Pareto front", "Prune", "fp32 baseline", "Current"]
    looks = list(scatter_figure.TECHNIQUES.values())
    for channel in (0, 1):  # whoever sees only one of the two still tells all techniques apart
        assert len({look[channel] for look in looks}) == len(looks)
    assert {shape for _, shape in looks} - {"circle"} <= set(legend.POINTS)
    assert set(scatter_figure.OTHER_SYMBOLS) <= set(legend.POINTS)


def test_points_of_the_store_are_hollow_and_those_of_this_visit_are_filled() -> None:
    here, stored = point(0.5, 0.93, 200_000, 0.6), replace(point(0.6, 0.92, 150_000, 0.6), source="reference")
    known = trail(here)
    known.know([stored])
    drawn = scatter_figure.figure(chart(known, None, "size", "accuracy"))
    symbols = [symbol for trace in drawn.data if trace.name == "Prune" for symbol in trace.marker.symbol]
    assert sorted(symbols) == ["triangle-up", "triangle-up-open"]
    assert legend.entries([chart(known, None, "size", "accuracy")])[-1]["name"] == legend.STORED


def luminance(colour: str) -> float:
    """Relative luminance of '#RRGGBB' (WCAG 2.2)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_digits_in_coloured_cells_can_be_read() -> None:
    """A contrast of 4.5 with every colour of the scale; between two, luminance lies between theirs."""
    [cells] = lesson_figures.matrix(np.arange(-4, 5).reshape(3, 3)).data
    ink = luminance(cells.textfont.color)
    assert len(cells.colorscale) == 3
    assert all((luminance(colour) + 0.05) / (ink + 0.05) >= 4.5 for _at, colour in cells.colorscale)
