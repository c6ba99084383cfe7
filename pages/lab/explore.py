"""Explore: move a setting, see the measured file land on the charts."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.errors import UserError
from compression.jobs import News
from pages.ui import charts, chips, forms, words
from pages.ui.chips import Places
from pages.ui.state import Visit, opened
from pages.ui.trail import COSTS, Chart, chart

DOWNLOAD = "Download .onnx"


def page() -> None:
    """Controls on the left; figures, charts and the file on the right."""
    visit, notes = opened(), st.empty()
    with st.sidebar:
        obstacle = choose(visit)
    if said := " ".join(filter(None, (visit.notice, obstacle))):
        notes.warning(said)
    if not obstacle:
        st.subheader(visit.subject.title, anchor=False)
        show(visit)


def choose(visit: Visit) -> str:
    """The controls; a sentence says why what they name cannot be measured."""
    subject, lack = forms.subject()
    try:
        recipe = forms.recipe()
    except UserError as error:
        return str(error)
    if subject:
        visit.choose(subject, recipe)
    return lack


def show(visit: Visit) -> None:
    """Everything that is measured, redrawn whenever there is news. What is drawn again the same stays as it is."""
    metrics: Places = st.columns(3)
    status = st.container(key="status").empty()
    plots: Places = st.container(key="charts").columns(len(COSTS))
    download = st.empty()
    download.button(DOWNLOAD, type="primary", disabled=True)
    tell_recipe(visit)
    drawn: tuple[bool, list[Chart]] | None = None
    for news in visit.news():
        say(status, visit, news)
        now = visit.now(news)
        shown = now or visit.trail.last
        told = now is None, [chart(visit.trail, shown, cost) for cost in COSTS]
        if told != drawn:
            metrics, plots, drawn = chips.draw(metrics, shown, old=now is None), draw_charts(plots, told[1]), told
    if news.file:
        name = words.file_name(visit.subject, visit.recipe)
        download.download_button(DOWNLOAD, news.file.read_bytes(), name, on_click="ignore", type="primary")


def say(place: DeltaGenerator, visit: Visit, news: News) -> None:
    """One line: what is being done, what was measured, or what went wrong."""
    with place.container():
        if news.state == "working":
            st.progress(min(news.share, 1.0), f"{news.sentence} …")
        elif news.measurement:
            st.caption(chips.provenance(news.measurement, news.full))
        if news.state in ("lost", "refused"):
            st.error(news.sentence)
            st.button("Measure again", on_click=visit.measure_again)


def draw_charts(places: Places, drawn: list[Chart]) -> Places:
    """Accuracy against each cost; returns where to draw them next."""
    return [
        place.plotly_chart(charts.figure(data), alt=data.alt, config=charts.CONFIG)
        for place, data in zip(places, drawn, strict=True)
    ]


def tell_recipe(visit: Visit) -> None:
    """The recipe, to take along."""
    yaml, command = st.tabs(["Recipe as YAML", "Command line"])
    yaml.code(visit.recipe.to_yaml(), language="yaml")
    command.code(words.command(visit.subject, visit.recipe), language="bash")


page()
