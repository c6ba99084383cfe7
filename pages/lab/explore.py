"""Explore: move a setting, see the measured file land on the charts."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from compression.errors import UserError
from compression.jobs import News
from pages.ui import charts, chips, forms, words
from pages.ui.state import Visit, opened
from pages.ui.trail import COSTS, Chart, chart


def page() -> None:
    """Controls on the left; figures, charts and the file on the right."""
    visit = opened()
    with st.sidebar:
        obstacle = choose(visit)
    for sentence in filter(None, (visit.notice, obstacle)):
        st.warning(sentence)
    if not obstacle:
        st.subheader(visit.subject.title, anchor=False)
        show(visit)


def choose(visit: Visit) -> str:
    """The controls; a sentence says why what they name cannot be measured."""
    key = str(visit.generation)
    subject, lack = forms.subject(visit.subject, key)
    try:
        recipe = forms.recipe(visit.recipe, key)
    except UserError as error:
        return str(error)
    if subject:
        visit.choose(subject, recipe)
    return lack


def show(visit: Visit) -> None:
    """Everything that is measured, redrawn whenever there is news."""
    figures, status = st.empty(), st.container(key="status").empty()
    plots, take = st.container(key="charts").empty(), st.empty()
    drawn: tuple[Chart, ...] = ()
    for news in visit.news():
        say(status, visit, news)
        now = visit.now(news)
        if drawn != (drawn := tuple(chart(visit.trail, now, cost) for cost in COSTS)):
            age = "new" if now else "old"
            with figures.container(key=f"{age}-figures-{news.number}"):  # the style dims those of an earlier setting
                chips.draw(now or visit.trail.last)
            draw_charts(plots, drawn)
    with take.container():
        offer(visit, news)


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


def draw_charts(place: DeltaGenerator, drawn: tuple[Chart, ...]) -> None:
    """Accuracy against each cost. A figure that stays the same is not mounted again, and keeps its zoom."""
    dark = st.context.theme.type == "dark"
    for column, data in zip(place.columns(len(drawn)), drawn, strict=True):
        column.plotly_chart(charts.figure(data, dark=dark), alt=data.alt, config=charts.CONFIG)


def offer(visit: Visit, news: News) -> None:
    """The file and the recipe, to take along."""
    if news.file:
        name = words.file_name(visit.subject, visit.recipe)
        st.download_button("Download .onnx", news.file.read_bytes(), name, on_click="ignore", type="primary")
    yaml, command = st.tabs(["Recipe as YAML", "Command line"])
    yaml.code(visit.recipe.to_yaml(), language="yaml")
    command.code(words.command(visit.subject, visit.recipe), language="bash")


page()
