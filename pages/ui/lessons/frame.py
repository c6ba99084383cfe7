"""The frame of every lesson: head with progress, prose, predict-then-reveal questions, measured tables, sources."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from compression.language import N_, _
from compression.lessons import measured
from compression.lessons.measured import Row
from compression.recipe import Recipe
from pages.ui.charts import lesson_figures
from pages.ui.lessons.lesson import LESSONS, Exercise, Facts, LessonText, Question, page_of, read
from pages.ui.model import wording
from pages.ui.model.links import link_of
from pages.ui.model.subject import Subject
from pages.ui.page.table import columns
from pages.ui.state import Learning, learning, shown

EXPLORE = "pages/lab/explore.py"
SHEETS = "pages/learn/teacher.py"


def opened(name: str, facts: Facts) -> LessonText:
    """The lesson, with its head drawn: what it claims, how long it takes, how far this visit is."""
    lesson, here = read(name, facts), learning()
    done, count = here.answered(name), len(lesson.questions)
    st.title(lesson.title, anchor=False)
    st.markdown(lesson.claim, unsafe_allow_html=True)
    st.caption(
        _(
            "Lesson {index} of {count} · about {minutes} minutes",
            index=list(LESSONS).index(name) + 1,
            count=len(LESSONS),
            minutes=lesson.minutes,
        )
    )
    st.progress(
        done / count,
        _("{done} of {count} predictions made, {right} correct", done=done, count=count, right=here.right(name)),
    )
    return lesson


def text(lesson: LessonText, section: str) -> None:
    """One section of prose."""
    st.markdown(lesson.sections[section], unsafe_allow_html=True)


def ask(lesson: LessonText, key: str) -> bool:
    """A question; True once it is answered, which is when the page shows what is the case."""
    question, here = lesson.questions[key], learning()
    chosen = here.answers.get((lesson.name, key))
    with st.container(border=True, key=f"question-{lesson.name}-{key}"):
        st.markdown(_("**Predict.** {ask}", ask=question.ask), unsafe_allow_html=True)
        picked = st.radio(
            _("Your prediction"), range(len(question.options)), index=chosen, key=f"pick-{lesson.name}-{key}",
            format_func=lambda number: question.options[number].text, label_visibility="collapsed",
            disabled=chosen is not None,
        )  # fmt: skip
        if chosen is None:
            st.button(
                _("Reveal"), key=f"reveal-{lesson.name}-{key}", type="primary", disabled=picked is None,
                on_click=_answer, args=(here, lesson.name, question),
            )  # fmt: skip
        else:
            _feedback(question, chosen)
    return chosen is not None


def _answer(here: Learning, lesson: str, question: Question) -> None:
    """What is picked now: since the button was drawn, that may be another one."""
    picked = shown(f"pick-{lesson}-{question.key}")
    here.answer(lesson, question.key, picked, right=picked == question.right)


def _feedback(question: Question, chosen: int) -> None:
    option, right = question.options[chosen], question.options[question.right]
    if option.right:
        st.success(_("**Correct.** {says}", says=option.says))
        return
    st.warning(_("**Not quite.** {says}", says=option.says))
    st.info(f"**{right.text}** {right.says}")


def draw(figure: go.Figure, alt: str, place: Any = st, key: str | None = None) -> None:
    """A chart with its text for those who cannot see it."""
    place.plotly_chart(figure, alt=alt, config=lesson_figures.CONFIG, key=key)


def table(rows: Sequence[Row], alt: str) -> None:
    """Measured rows as a chart, with what they were measured on and the numbers behind it."""
    draw(lesson_figures.ladder(rows), alt)
    st.caption(provenance(rows))
    with st.expander(_("Table of results")):
        numbers = [_numbers(row) for row in rows]
        st.dataframe(numbers, hide_index=True, column_config=columns(numbers))


def provenance(rows: Sequence[Row]) -> str:
    """What the rows were measured on, and which of them were not."""
    found = [row.measurement for row in rows if row.measurement]
    where = measured.machine()
    missing = [row.planned.name for row in rows if row.measurement is None]
    told = _("Not measured yet: {missing}.", missing=", ".join(missing)) if missing else ""
    if not found or where is None:
        return told
    images = _("{n:,} test images", n=found[0].accuracy.n)
    on = Subject(rows[0].planned.model, rows[0].planned.dataset, rows[0].planned.dataset).title
    bars = _("bars are 95% intervals")
    return _(
        "Measured on the exported files: {on}, {images}, {bars}. {cpu}, {measured_at}. {told}",
        on=on,
        images=images,
        bars=bars,
        cpu=where.cpu,
        measured_at=measured.measured_at()[:10],
        told=told,
    )


def measured_on(what: str) -> str:
    """'Measured: Digits, five seeds. Intel(R) …, 2026-11-24.'"""
    where = measured.machine()
    return _(
        "Measured: {what}. {value}, {measured_at}.",
        what=what,
        value=where.cpu if where else "",
        measured_at=measured.measured_at()[:10],
    )


def _numbers(row: Row) -> dict[str, Any]:
    found = row.measurement
    if found is None:
        return {"Recipe": row.planned.name, "Accuracy": measured.NOT_MEASURED}
    accuracy, latency = found.accuracy, found.latency
    return {
        "Recipe": row.planned.name,
        "Accuracy": wording.percent(accuracy.value, accuracy.n),
        N_("95% interval"): wording.interval(accuracy.interval.low, accuracy.interval.high, accuracy.n),
        "File size": wording.size(found.size_bytes),
        "Latency, fp32 = 1": f"{latency.ratio:.2f}" if latency else measured.NOT_MEASURED,
        "Latency, one image": wording.milliseconds(latency.p50_ms) if latency else measured.NOT_MEASURED,
        "MACs": f"{found.macs:,}" if found.macs else "",
    }


def explore(steps: Sequence[dict[str, Any]], label: str, model: str = "resnet20", data: str = "fashion-mnist") -> None:
    """A link that carries a recipe over to Explore."""
    link = link_of(Subject(model, data, data), Recipe.from_dict({"steps": list(steps), "quality": "fast"}))
    st.page_link(EXPLORE, label=_("Open in Explore: {label}", label=label), query_params=link)


def explore_run(subject: Subject, recipe: Recipe) -> None:
    """A link that opens a measured run's recipe in Explore."""
    st.page_link(EXPLORE, label=_("Open in Explore"), query_params=link_of(subject, recipe))


def closing(lesson: LessonText) -> None:
    """Where to read on, the teacher's sheet, and the way to the next lesson."""
    text(lesson, "deeper")
    st.markdown("\n".join(_source(s.title, s.where, s.link) for s in lesson.sources), unsafe_allow_html=True)
    st.page_link(SHEETS, label=_("Printable teacher's sheet"), query_params={"lesson": lesson.name})
    after = list(LESSONS)[list(LESSONS).index(lesson.name) + 1 :]
    if after:
        st.page_link(page_of(after[0]), label=_("Next lesson: {title}", title=_(LESSONS[after[0]])))


def sheet(lesson: LessonText) -> None:
    """The teacher's sheet: objectives, timing, discussion, exercises with their solutions."""
    st.title(_("{title}: teacher's sheet", title=lesson.title), anchor=False)
    st.markdown(lesson.claim, unsafe_allow_html=True)
    for heading, points in (
        (_("Objectives"), lesson.teacher.objectives), (_("Timing"), lesson.teacher.timing),
        (_("Discussion"), lesson.teacher.discussion),
    ):  # fmt: skip
        st.markdown(f"#### {heading}\n" + "\n".join(f"- {point}" for point in points), unsafe_allow_html=True)
    st.markdown(_("#### Questions and answers") + "\n" + "\n".join(map(_key, lesson.questions.values())),
                unsafe_allow_html=True)  # fmt: skip
    st.markdown(_("#### Exercises"))
    for number, exercise in enumerate(lesson.teacher.exercises, 1):
        _exercise(number, exercise)


def _key(question: Question) -> str:
    right = question.options[question.right]
    return f"- {question.ask} **{right.text}** {right.says}"


def _exercise(number: int, exercise: Exercise) -> None:
    st.markdown(
        _(
            "**{number}.** {task}\n\n*Solution.* {solution}",
            number=number,
            task=exercise.task,
            solution=exercise.solution,
        ),
        unsafe_allow_html=True,
    )
    if exercise.recipe is not None:
        recipe = Recipe.from_dict(exercise.recipe)
        subject = Subject(exercise.model, exercise.dataset, exercise.dataset)
        st.code(recipe.to_yaml(), language="yaml")
        st.page_link(EXPLORE, label=_("Open in Explore"), query_params=link_of(subject, recipe))


def _source(title: str, where: str, link: str) -> str:
    return f"- [{title}]({link}): {where}" if link else f"- {title}: {where}"
