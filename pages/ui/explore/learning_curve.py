"""How a network recovers: its learning curve as it grows, and what the teacher shows it at a temperature."""

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from compression import jobs, models
from compression.language import N_, _, shown
from compression.records.measurement import LearningPoint
from compression.steps import STEPS, Recover
from pages.ui.charts import pictures
from pages.ui.charts.plot import plot
from pages.ui.model.words import WORDS
from pages.ui.page.waiting import awaited
from pages.ui.state import Visit

LOSS, ACCURACY, TEACHER = "#808790", "#D55E00", "#3987C9"
IMAGES = 6
BARS = 20
OFF = N_("Switch on “{title}” to fine-tune the compressed network. Its learning curve appears here.")
UNLABELLED = N_("This dataset has no labels: the network learns from the teacher’s outputs only.")


def learning(visit: Visit) -> None:
    """The curve, and the teacher's answers softened by the recipe's temperature."""
    step = visit.recipe.get("recover")
    if step is None:
        st.caption(_(OFF).format(title=shown(STEPS["recover"].title)))
    if visit.trail.words is WORDS["fp32"]:
        st.caption(_(UNLABELLED))
    curve, teacher = st.columns(2, gap="large")
    with curve:
        st.markdown(_("**Learning curve**"))
        drawn = curve_figure(visit.curve, ended=visit.training is None)
        plot(drawn, _("Learning curve of {count} points.", count=len(visit.curve)), key="learning.curve")
    with teacher:
        teaching(visit, step if isinstance(step, Recover) else Recover(temperature=1.0))


def teaching(visit: Visit, step: Recover) -> None:
    """Real images with the teacher's probabilities, as the student is shown them."""
    if step.method == "fine-tune":
        st.caption(_("Fine-tuning uses no teacher, only the labels."))
        return
    temperature, request = step.temperature, visit.request_for(visit.plain)
    who = _("teacher") if step.teacher == "self" else _("teacher ({title})", title=models.title(step.teacher))
    st.markdown(_("**Outputs of the {who} at temperature {temperature:g}**", who=who, temperature=temperature))
    answer = visit.answer("teach", jobs.teacher_scores, request, step.teacher, tuple(range(IMAGES)))
    told = awaited(answer, _("Running the teacher"))
    if told is None:
        return
    captions = (f"{i + 1}. {label}".rstrip() for i, label in enumerate(told.labels))
    pictures.row(zip(told.pictures, captions, strict=True), width=80)
    chosen = st.segmented_control(_("Image"), list(range(IMAGES)), key="learning.image", default=0, required=True,
                                  format_func=lambda i: str(i + 1))  # fmt: skip
    softened = jobs.softmax(told.scores[chosen], temperature)
    plot(
        softened_figure(told.classes, softened),
        _("Probabilities at temperature {temperature:g}.", temperature=temperature),
        key="learning.soft",
    )


def curve_figure(points: Sequence[LearningPoint], height: int = 340, *, ended: bool) -> go.Figure:
    """Loss, and accuracy or agreement on validation images where it was measured; with room until it `ended`."""
    end = (points[-1].step if ended else points[-1].steps) if points else 0
    layout = go.Layout(
        template="none", height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, uirevision="curve",
        xaxis={"title": _("Step"), "range": [0, end] if end else None},
        yaxis={"title": _("Loss"), "rangemode": "tozero", "nticks": 4},
        yaxis2={"title": _("Validation, %"), "overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto",
                "nticks": 4, "tickformat": ".1f"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )  # fmt: skip
    fig = go.Figure(layout=layout)
    if not points:
        fig.update_xaxes(showticklabels=False)
        fig.update_yaxes(showticklabels=False)
        fig.add_annotation(
            text=_("The learning curve appears here."), showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5
        )
    learned = [point for point in points if point.step > 0]
    fig.add_trace(go.Scatter(x=[p.step for p in learned], y=[p.loss for p in learned], mode="lines", name=_("Loss"),
                             line={"color": LOSS, "width": 1.5}))  # fmt: skip
    tested = [(p.step, 100 * p.accuracy) for p in points if p.accuracy is not None]
    fig.add_trace(go.Scatter(x=[x for x, _ in tested], y=[y for _, y in tested], name=_("Validation"),
                             mode="lines+markers", yaxis="y2", line={"color": ACCURACY},
                             marker={"size": 8}))  # fmt: skip
    return fig


def softened_figure(classes: Sequence[str], probabilities: Sequence[float]) -> go.Figure:
    """A bar for each class; of more than `BARS`, for the most probable ones."""
    likely = sorted(range(len(classes)), key=lambda i: -probabilities[i])[:BARS]
    shown = sorted(likely)
    layout = go.Layout(
        template="none", height=260, margin={"l": 8, "r": 8, "t": 8, "b": 8}, uirevision="soft",
        xaxis={"type": "category"}, yaxis={"title": _("Probability, %"), "range": [0, 100]},
    )  # fmt: skip
    return go.Figure(go.Bar(x=[classes[i] for i in shown], y=[100 * probabilities[i] for i in shown],
                            marker={"color": TEACHER},
                            hovertemplate="%{x}: %{y:.1f}%<extra></extra>"), layout)  # fmt: skip
