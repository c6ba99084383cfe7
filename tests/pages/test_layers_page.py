"""The Layers page: figures as data, and the page itself with a real worker on Digits."""

from typing import Any

import pytest
import streamlit as st
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from compression.host.cpu import saturates
from compression.records.analysis import LEVELS, Histogram, LayerSensitivity, LayerView, SensitivityPoint
from compression.records.measurement import LayerReport
from pages.ui.charts import layer_figures
from pages.ui.explore import layer_bits
from pages.ui.model import subject
from tests.pages.running_app import opened


def curves(name: str, lost: float) -> LayerSensitivity:
    points = [SensitivityPoint(t, v, 0.9 - lost * i, 100) for t, vs in LEVELS.items() for i, v in enumerate(vs)]
    return LayerSensitivity(name, 0.9, tuple(points))


def view(**changes) -> LayerView:
    bars = Histogram(-1.0, 1.0, (1, 2, 3, 4), 1)
    values: dict[str, Any] = {
        "name": "conv", "shape": (2, 1, 3, 3), "shape_after": (2, 1, 3, 3), "before": bars, "after": bars,
        "grid": (-0.5, 0.0, 0.5), "singular": (2.0, 1.0), "singular_after": (2.0, 0.5), "kernels": (((1.0,),),),
        "kernels_after": (((0.5,),),), "weight_error": 0.1, "output_error": 0.2,
    }  # fmt: skip
    return LayerView(**(values | changes))


def test_rows_carry_the_sensitivity_where_it_is_known():
    report = LayerReport("conv", "Conv2d", (2, 1, 3, 3), 18, 4, 0.5, 100, 20, 12.0, "dense")
    assert "Worst drop" not in layer_figures.rows([report], {})[0]
    assert layer_figures.rows([report], {"other": curves("other", 0.1)})[0]["Worst drop"] is None
    assert layer_figures.rows([report], {"conv": curves("conv", 0.1)})[0]["Worst drop"] == pytest.approx(30)


def test_the_heatmap_shows_points_lost():
    figure = layer_figures.heatmap([curves("a", 0.01), curves("b", 0.02)])
    assert [len(trace.x) for trace in figure.data] == [len(levels) for levels in LEVELS.values()]
    assert figure.data[1].z[1][3] == pytest.approx(6.0)
    assert {axis.type for axis in (*figure.select_xaxes(), *figure.select_yaxes())} == {"category"}  # "0" is a name


def test_the_histogram_has_the_grid_and_both_sides():
    figure = layer_figures.histogram(view())
    assert [trace.name for trace in figure.data] == ["Before", "After"] and len(figure.layout.shapes) == 3
    assert figure.data[0].x == (-0.75, -0.25, 0.25, 0.75)
    assert len(layer_figures.histogram(view(after=None, grid=())).data) == 1


def test_pictures_of_both_sides_share_their_colours():
    figure = layer_figures.pictures((((1.0, -3.0),),) * 3, (((0.5, 0.5),),) * 3)
    assert len(figure.data) == 6 and figure.layout.coloraxis.cmax == 3.0


def slider(page: AppTest) -> Any:
    return next(s for s in page.select_slider if str(s.key).startswith("layers.bits."))


@pytest.fixture(scope="module")
def page() -> AppTest:
    link = {
        "model": "lenet300",
        "dataset": "digits",
        "steps": "quantize",
        "quantize.weight_bits": "4",
        "quality": "fast",
    }
    return opened(link, page="lab/layers")


def test_a_link_that_cannot_be_opened_says_so(monkeypatch):
    monkeypatch.setattr(subject, "FAVOURITES", [("lenet300", "digits")])
    assert "This link cannot be opened" in opened({"model": "nonsense"}, page="lab/layers").warning[0].value


def test_the_page_shows_the_layers_and_one_of_them(page):
    assert not page.error
    table = page.dataframe[0].value
    assert list(table["Bits"]) == [4, 4, 4]
    assert any(text.value == f"#### Layer {table['Layer'][0]}" for text in page.markdown)
    assert any("relative output error" in text.value for text in page.caption)


@pytest.mark.parametrize("bits", [8, 1, 16, 32])
def test_a_layers_own_bits_stand_in_the_recipe(page, bits):
    name = page.dataframe[0].value["Layer"][0]
    slider(page).set_value(bits).run()
    assert not page.exception
    kept = page.session_state["visit"].recipe.get("quantize")
    assert kept.overrides == {name: bits}
    stored = 7 if bits == 8 and saturates() else bits  # see the setting `reduce_range`
    assert list(page.dataframe[0].value["Bits"]) == [stored, 4, 4]
    assert slider(page).value == bits


@pytest.mark.parametrize(("settings", "bits", "offered"), [
    ({"steps": "quantize", "quantize.layer_bits": "1=16"}, 16, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32]),
    ({"steps": "quantize", "quantize.layer_bits": "1=1"}, 1, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32]),
    ({"steps": "share,quantize", "quantize.layer_bits": "1=32"}, 32, [8, 16, 32]),
])  # fmt: skip
def test_the_slider_shows_the_bits_that_a_link_sets(settings, bits, offered):
    link = {"model": "lenet300", "dataset": "digits", "quality": "fast", "quantize.activation_bits": "32", **settings}
    shown = opened(link, page="lab/layers")
    assert shown.dataframe[0].value["Layer"][0] == "1"
    assert slider(shown).value == bits
    assert slider(shown).options == ["default", *map(str, offered)]


def test_a_layer_is_excluded_and_included_again(page):
    name = page.dataframe[0].value["Layer"][0]
    for left_out in (True, False):
        toggle = next(each for each in page.toggle if str(each.key).startswith("layers.out.quantize."))
        toggle.set_value(left_out).run()
        assert not page.exception
        assert page.session_state["visit"].recipe.get("quantize").overrides == ({name: 32} if left_out else {})
        assert slider(page).value == (32 if left_out else "default")


def test_what_the_browser_sent_before_it_knew_better_undoes_nothing():
    """A click behind the slider's brings the toggle as the browser has it: not yet as the 32 bits have set it."""
    link = {"model": "lenet300", "dataset": "digits", "steps": "quantize", "quality": "fast"}
    page = opened(link, page="lab/layers")
    before = page.toggle[0]._widget_state
    assert not page.toggle[0].value
    slider(page).set_value(32).run()
    assert page.toggle[0].value
    page._run(WidgetStates(widgets=[before, slider(page)._widget_state]))
    assert not page.exception
    assert page.session_state["visit"].recipe.get("quantize").overrides == {"1": 32}
    assert slider(page).value == 32 and page.toggle[0].value
    page.toggle[0].set_value(False).run()
    assert page.session_state["visit"].recipe.get("quantize").overrides == {}


@pytest.mark.parametrize("at", ["toggle", "slider"])
def test_of_two_clicks_in_a_row_the_second_counts(at, monkeypatch):
    """The run after the first ends before the toggle or the slider is drawn again."""
    link = {"model": "lenet300", "dataset": "digits", "steps": "quantize", "quality": "fast"}
    page = opened(link, page="lab/layers")
    widget = page.toggle[0] if at == "toggle" else slider(page)
    before = widget._widget_state
    with monkeypatch.context() as now:
        now.setattr(layer_bits, "key_showing", lambda value, name: st.stop())
        widget.set_value(True if at == "toggle" else 32).run()
    assert page.session_state["visit"].recipe.get("quantize").overrides == {"1": 32}
    page._run(WidgetStates(widgets=[before]))
    assert not page.exception
    assert page.session_state["visit"].recipe.get("quantize").overrides == {}
    assert not page.toggle[0].value and slider(page).value == "default"


def test_a_layer_is_excluded_from_each_technique_that_the_recipe_has():
    link = {"model": "lenet300", "dataset": "digits", "steps": "prune,share,quantize", "quality": "fast"}
    shown = opened({**link, "prune.exclude": "3"}, page="lab/layers")
    assert [t.label.removeprefix("Exclude this layer from ") for t in shown.toggle] == [
        "pruning", "weight sharing", "quantization",
    ]  # fmt: skip
    assert not shown.toggle[0].value and shown.dataframe[0].value["Layer"][0] == "1"
    for left_out in (True, False):
        shown.toggle[0].set_value(left_out).run()
        assert not shown.exception
        recipe = shown.session_state["visit"].recipe
        assert recipe.get("prune").exclude == ("1,3" if left_out else "3") and not recipe.get("share").exclude
    assert shown.dataframe[0].value["Sparsity"][1] == 0


def test_a_layer_is_excluded_from_removing_channels():
    link = {"model": "lenet300", "dataset": "digits", "steps": "channels", "channels.amount": "0.2", "quality": "fast"}
    shown = opened(link, page="lab/layers")
    [toggle] = shown.toggle
    assert toggle.label == "Exclude this layer from removing channels"
    toggle.set_value(True).run()
    assert not shown.exception and shown.session_state["visit"].recipe.get("channels").exclude == "1"


@pytest.mark.parametrize("painted", ["Bits", "Error", "Sensitivity", "Milliseconds"])
def test_the_graph_is_painted_by(page, painted):
    page.segmented_control(key="layers.paint").set_value(painted).run()
    assert not page.exception and not page.error


def test_the_layer_that_was_picked_is_shown(page):
    name = page.dataframe[0].value["Layer"][1]
    page.session_state["layers.chosen"] = name
    page.run()
    assert any(text.value == f"#### Layer {name}" for text in page.markdown)
