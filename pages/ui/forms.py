"""Fields of settings to widgets. Bounds, steps, units, defaults and help are read off the fields."""

from typing import Any

import streamlit as st
from pydantic.fields import FieldInfo

from compression.data import DATASETS
from compression.recipe import Recipe
from compression.steps import STEPS, Settings, bounds_of, choices_of, step
from compression.zoo import ARCHITECTURES, Card
from pages.ui import words
from pages.ui.subject import FOLDER, Subject, dataset_title, fitting

SEGMENTS = 3
"""Up to so many choices stand side by side; more become a list of words, or a slider over numbers."""


def subject(current: Subject, key: str) -> tuple[Subject | None, str]:
    """The pickers for images and network; while they name nothing that can be tried, a sentence says why."""
    dataset = _dataset(current, key)
    if not dataset:
        return None, "Name a folder of images with train/CLASS/IMAGE and test/CLASS/IMAGE inside."
    known = fitting(dataset)
    if not known:
        return None, (
            f"There is no trained network for {dataset_title(dataset)} yet. Train one with "
            f"`python -m compression zoo train resnet20 {dataset}`."
        )
    chosen = st.selectbox(
        "Network", known, _place(current, known), key=f"{key}.network.{dataset}",
        format_func=lambda card: _network(card, dataset),
    )  # fmt: skip
    return Subject(chosen.model, chosen.dataset, dataset), ""


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
    """A group for each technique, and what all of them share.

    Raises `InvalidSetting` or `InvalidRecipe` for values that do not go together, when all widgets are drawn.
    """
    groups = {kind: _group(current, kind, settings, f"{key}.{kind}") for kind, settings in STEPS.items()}
    with st.expander("Seed and calibration"):
        names = [name for name in Recipe.model_fields if name != "steps"]
        shared = _controls(Recipe, current, names, key)
    steps = tuple(step(kind, **values) for kind, values in groups.items() if values is not None)
    return Recipe(steps=steps, **shared)


def _group(current: Recipe, kind: str, settings: type[Settings], key: str) -> dict[str, Any] | None:
    """A technique's switch and values: what is measured in a unit at once, the finer choices folded away."""
    present = current.get(kind)
    with st.container(border=True):
        if not st.toggle(f"**{STEPS[kind].title}**", present is not None, key=f"{key}.on", help=settings.__doc__):
            return None
        main = [name for name in settings.model_fields if words.unit_of(settings, name)]
        finer = [name for name in settings.model_fields if name not in main]
        values = _controls(settings, present, main, key)
        if finer:
            with st.expander("Options"):
                values |= _controls(settings, present, finer, key)
    return values


def _controls(settings: type[Settings], present: Settings | None, names: list[str], key: str) -> dict[str, Any]:
    """The widgets of some fields, and what they say; `present` is what they start from, else the defaults."""
    starts = {name: getattr(present, name, settings.model_fields[name].default) for name in names}
    return {name: control(settings, name, start, f"{key}.{name}") for name, start in starts.items()}


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
    if all(isinstance(choice, str) for choice in choices):
        return st.selectbox(label, choices, choices.index(value), format_func=text, **about)
    return st.select_slider(label, choices, value, format_func=text, **about)


def _slider(label: str, field: FieldInfo, value: float, unit: str | None, about: dict[str, Any]) -> float:
    low, high = (None if bound is None else float(bound) for bound in bounds_of(field))
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    pace = float(str(extra.get("step", 0.01)))
    chosen = st.slider(label, low, high, float(value), pace, format="percent" if unit == "%" else None, **about)
    return round(chosen, 10)  # the browser counts in steps: 0.57 comes back as 0.5700000000000001


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
