"""What a network still sees of an image after a cut: feature maps, and photographs that get another class."""

import plotly.graph_objects as go
import streamlit as st

from compression.language import N_, _
from compression.language import shown as spoken
from compression.lessons import pruning
from compression.lessons.images import Images, fashion, photographs
from compression.lessons.pictures import Picture
from compression.lessons.pruning import Change
from pages.ui.charts import lesson_figures
from pages.ui.lessons import frame
from pages.ui.lessons.lesson import LessonText
from pages.ui.model import wording

ACROSS = 5
COLOUR = N_("Photographs of CIFAR-10, in ResNet-20 for CIFAR-10: the same layer, pattern and share.")
GREY = N_("For colour photographs here, run `python -m compression data fetch cifar10` once.")


def draw(lesson: LessonText, name: str, share: float, pattern: str) -> None:
    """One image's feature maps, in colour where this user has photographs, and whose predictions the cut changes."""
    colour = photographs()
    photo = colour or fashion()
    frame.text(lesson, "look")
    st.caption(_(COLOUR if colour else GREY))
    maps(name, share, pattern, photo)
    if colour:
        changes(pruning.changed(name, share, pattern, colour), len(colour.labels))


def maps(name: str, share: float, pattern: str, photo: Images) -> None:
    """The image, and what the dense and the pruned layer make of it."""
    images = [spoken(photo.title(number)) for number in range(len(photo.labels))]
    number = st.select_slider(_("Image"), range(len(images)), 3, format_func=images.__getitem__, key="sight")
    sight = pruning.sight(name, share, pattern, number, photo)
    left, right = st.columns([1, 2])
    dense, cut = (wording.quoted(spoken(answer)) for answer in (sight.dense_answer, sight.cut_answer))
    show = (
        (left, _("Input image"), lesson_figures.image(sight.image, height=200), ""),
        (right, _("**Dense**: {answer}", answer=dense), _maps(sight.dense), "dense"),
        (right, _("**Pruned**: {answer}", answer=cut), _maps(sight.cut), "cut"),
    )  # fmt: skip
    for place, caption, figure, which in show:
        frame.draw(figure, caption, place, f"maps-{which}")
        place.caption(caption)


def _maps(shown: Picture) -> go.Figure:
    return lesson_figures.picture(shown, height=200, maps=True)


def changes(found: tuple[Change, ...], total: int) -> None:
    """The photographs that get another class, each with both predictions."""
    st.caption(
        _("Changed predictions: {count} of {total} photographs.", count=len(found), total=total)
        if found
        else _("No prediction changes: {total} photographs.", total=total)
    )
    for place, change in zip(st.columns(ACROSS) * (len(found) // ACROSS + 1), found, strict=False):
        told = _("{label}: {dense} → {cut}", label=change.label, dense=change.dense, cut=change.cut)
        frame.draw(lesson_figures.image(change.picture, height=120), told, place, f"changed-{change.image}")
        place.caption(wording.quoted(told))
