"""Lesson 4, distillation: soft answers, the loss, and a student that learns while one watches."""

import streamlit as st

from compression.language import _
from compression.language import shown as spoken
from compression.lessons import distillation
from compression.lessons.distillation import ALPHAS, EPOCHS, TEMPERATURES, Course
from compression.lessons.images import CLASSES, fashion
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.page.fragment import fragment


def page() -> None:
    """See it, predict, try it, reveal, why, where it breaks, go deeper."""
    with st.container(key="lesson"):
        lesson = frame.opened("distillation", distillation.facts())
        frame.text(lesson, "see")
        look()
        if frame.ask(lesson, "temperature"):
            frame.text(lesson, "dark")
        if frame.ask(lesson, "shirt"):
            frame.text(lesson, "classes")
            neighbours()
        frame.text(lesson, "why")
        if frame.ask(lesson, "gradient"):
            frame.text(lesson, "scaled")
            lines = lesson_figures.lines(
                distillation.gradients(), _("Temperature"), _("Mean gradient magnitude"), log_y=True
            )
            frame.draw(lines, _("The gradient by temperature, with and without the factor."))
        frame.text(lesson, "try")
        teach()
        if frame.ask(lesson, "labels") and frame.ask(lesson, "alpha"):
            frame.text(lesson, "outcomes")
            outcomes()
            frame.text(lesson, "breaks")
        frame.explore(
            [{"step": "quantize", "weight_bits": 2}, {"step": "recover", "steps": 100}], _("2 bits with recovery")
        )
        frame.closing(lesson)


@fragment
def look() -> None:
    """One image and the teacher's softened answer."""
    photo = fashion()
    left, right = st.columns(2)
    image = left.select_slider(
        _("Image"), range(len(photo.labels)), 12, format_func=lambda number: spoken(photo.title(number)), key="image"
    )
    temperature = right.select_slider(_("Temperature"), TEMPERATURES, 1.0, key="temperature")
    left, right = st.columns([1, 2])
    frame.draw(lesson_figures.image(photo.pixels[image, 0], height=220), spoken(photo.title(image)), left)
    answer = lesson_figures.bars(distillation.soft(image, temperature), height=300, percent=True)
    frame.draw(answer, _("Probability of each class."), right)


@fragment
def neighbours() -> None:
    """Which classes the teacher thinks of, class by class."""
    temperature = st.select_slider(_("Temperature"), TEMPERATURES, 4.0, key="table-temperature")
    table = lesson_figures.table(distillation.affinity(temperature), CLASSES, CLASSES, height=440)
    frame.draw(table, _("Mean softened output by class."))


@fragment
def teach() -> None:
    """A course of the reader's choice, learned on the spot beside one with labels alone."""
    left, middle, right = st.columns(3)
    course = Course(
        left.select_slider(_("Temperature for the student"), TEMPERATURES, 4.0, key="course-temperature"),
        middle.slider(_("Teacher weight (alpha)"), 0.1, 1.0, 0.9, 0.1, key="course-alpha"),
        seed=right.number_input(_("Seed"), 0, 99, 0, key="course-seed"),
    )
    place = st.empty()
    if not st.button(_("Train the student"), key="teach", type="primary"):
        return
    with st.spinner(_("Training the student")):
        for pair in distillation.side_by_side(course):
            if pair.pause:
                frame.draw(lesson_figures.learning(pair, EPOCHS), _("Learning curves of two students."), place)
    st.markdown(
        _(
            "Test accuracy: distilled **{taught_accuracy:.1%}**, labels only **{alone_accuracy:.1%}**. "
            "Seed {seed}, {EPOCHS} epochs.",
            taught_accuracy=pair.taught_accuracy,
            alone_accuracy=pair.alone_accuracy,
            seed=course.seed,
            EPOCHS=EPOCHS,
        )
    )


def outcomes() -> None:
    """The measured table of courses."""
    found = distillation.cells()
    if found is None:
        st.caption(_("Not measured yet."))
        return
    rows, columns = [f"α = {alpha:g}" for alpha in ALPHAS], [f"T = {t:g}" for t in TEMPERATURES]
    frame.draw(
        lesson_figures.table(found, rows, columns, form=".1%", height=300), _("Accuracy by temperature and alpha.")
    )
    st.caption(frame.measured_on(_("Digits, 359 test images, five seeds")))


page()
