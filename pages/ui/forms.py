"""Fields of settings to widgets. Bounds, steps, units, defaults and help are read off the fields."""

from typing import Any

import streamlit as st
from pydantic.fields import FieldInfo

from compression.data import DATASETS
from compression.recipe import Recipe
from compression.steps import STEPS, Settings, Step, bounds_of, choices_of, step
from compression.zoo import ARCHITECTURES, Card
from pages.ui import words
from pages.ui.subject import FOLDER, Subject, dataset_title, fitting

SEGMENTS = 3
"""Up to so many choices stand side by side; more become a slider over them."""


def subject(current: Subject, key: str) -> Subject | None:
    """The pickers for images and network; None while they name nothing that can be tried."""
    dataset = _dataset(current, key)
    if not dataset:
        return None
    known = fitting(dataset)
    if not known:
        st.info(
            f"No trained network for {dataset_title(dataset)} yet. Train one with "
            f"`python -m compression zoo train resnet20 {dataset}`."
        )
        return None
    chosen = st.selectbox(
        "Network", known, _place(current, known), key=f"{key}.network.{dataset}",
        format_func=lambda card: _network(card, dataset),
    )  # fmt: skip
    return Subject(chosen.model, chosen.dataset, dataset)


def _dataset(current: Subject, key: str) -> str:
    """A dataset's name or 'folder:PATH'; '' while no folder is named."""
    names = [*DATASETS, FOLDER]
    now = current.dataset if current.dataset in DATASETS else FOLDER
    chosen = st.selectbox("Images", names, index=names.index(now), key=f"{key}.images", format_func=_images)
    if chosen != FOLDER:
        return chosen
    path = st.text_input(
        "Folder", current.dataset.removeprefix(FOLDER) if now == FOLDER else "", key=f"{key}.folder",
        placeholder="/path/to/images", help="With train/CLASS/IMAGE and test/CLASS/IMAGE inside.",
    )  # fmt: skip
    return f"{FOLDER}{path.strip()}" if path.strip() else ""


def _images(name: str) -> str:
    return DATASETS[name].title if name in DATASETS else "A folder of images"


def _network(card: Card, dataset: str) -> str:
    title = ARCHITECTURES[card.model].title
    return title if card.dataset == dataset else f"{title}, trained on {DATASETS[card.dataset].title}"


def _place(current: Subject, known: list[Card]) -> int:
    wanted = [(current.model, current.weights), *((current.model, c.dataset) for c in known)]
    pairs = [(c.model, c.dataset) for c in known]
    return next((pairs.index(pair) for pair in wanted if pair in pairs), 0)


def recipe(current: Recipe, key: str) -> Recipe:
    """A group for each technique, and what all of them share."""
    steps = [made for kind, settings in STEPS.items() if (made := _group(current, kind, settings, f"{key}.{kind}"))]
    with st.expander("Seed and calibration"):
        names = [name for name in Recipe.model_fields if name != "steps"]
        shared = {name: control(Recipe, name, getattr(current, name), f"{key}.{name}") for name in names}
    return Recipe(steps=tuple(steps), **shared)


def _group(current: Recipe, kind: str, settings: type[Settings], key: str) -> Step | None:
    present = current.get(kind)
    with st.container(border=True):
        if not st.toggle(f"**{STEPS[kind].title}**", present is not None, key=f"{key}.on", help=settings.__doc__):
            return None
        values = {
            name: control(settings, name, getattr(present, name, field.default), f"{key}.{name}")
            for name, field in settings.model_fields.items()
        }
    return step(kind, **values)


def control(settings: type[Settings], name: str, value: Any, key: str) -> Any:
    """The widget for one field, and what it says."""
    field = settings.model_fields[name]
    label = str(field.title)
    about: dict[str, Any] = {"key": key, "help": field.description}
    if choices := choices_of(field):
        return _choice(label, choices, value, words.unit_of(settings, name), about)
    if field.annotation is bool:
        return st.toggle(label, value, **about)
    if field.annotation is int:
        low, high = bounds_of(field)
        return st.number_input(label, _whole(low), _whole(high), value, **about)
    return _slider(label, field, value, words.unit_of(settings, name), about)


def _choice(label: str, choices: tuple[Any, ...], value: Any, unit: str | None, about: dict[str, Any]) -> Any:
    def text(choice: Any) -> str:
        return words.value_text(choice, unit)

    if len(choices) <= SEGMENTS:
        about |= {"required": True, "width": "stretch"}
        return st.segmented_control(label, choices, default=value, format_func=text, **about)
    return st.select_slider(label, choices, value, format_func=text, **about)


def _slider(label: str, field: FieldInfo, value: float, unit: str | None, about: dict[str, Any]) -> float:
    low, high = (None if bound is None else float(bound) for bound in bounds_of(field))
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    pace = float(str(extra.get("step", 0.01)))
    chosen = st.slider(label, low, high, float(value), pace, format="percent" if unit == "%" else None, **about)
    return round(chosen, 10)  # the browser counts in steps: 0.57 comes back as 0.5700000000000001


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
