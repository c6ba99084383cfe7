"""Fields of settings to widgets. Bounds, steps, units, defaults and help are read off the fields.

Widgets are named by what they set, and `fill` says what they show; `state` puts that in before they are drawn. What may
come and go has a slot of its own, so that nothing else moves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st
from pydantic.fields import FieldInfo
from streamlit.delta_generator import DeltaGenerator

from compression.data import DATASETS, added_folders
from compression.data.test_samples import ALL, base_of
from compression.language import N_, _
from compression.language import shown as shown_in
from compression.models import OWN, title
from compression.recipe import Recipe
from compression.steps import STEPS, Settings, bounds_of, choices_of, step
from pages.ui.model import wording
from pages.ui.model.subject import FOLDER, Pair, Subject, fitting, trainable
from pages.ui.model.widget_values import QUALITY, SEGMENTS, SHARED, Positions, Shown
from pages.ui.page.test_images import sampled
from pages.ui.state import put, shown_or_none

UNTRAINED = N_("Networks at the end of the list may have no weights for this dataset yet; they can be trained here.")


def subject() -> tuple[Subject | None, str]:
    """The pickers for images and network; while they name nothing that can be tried, a sentence says why.

    A network of the zoo that has no weights for the images yet can be chosen too, in order to train it.
    """
    added = added_folders()
    if shown_or_none("images") not in (None, *DATASETS, *added, FOLDER):  # removed meanwhile
        put("images", FOLDER)
    titles = {name: DATASETS[name].title for name in DATASETS} | {FOLDER: _("Image folder")}
    titles |= {name: _("{said} (imported)", said=said) for name, said in added.items()}
    kind = st.selectbox(_("Dataset"), titles, key="images", format_func=titles.__getitem__)
    folder, network = st.empty(), st.empty()
    dataset = _folder(folder) if kind == FOLDER else _named(folder, kind)
    like = FOLDER if kind in added else kind
    if dataset == FOLDER:
        return None, _("Enter the path of an image folder with train/CLASS/IMAGE and test/CLASS/IMAGE.")
    known = [*fitting(dataset), *trainable(dataset)]
    chosen = network.selectbox(
        _("Network"), known, key=f"network.{like}", format_func=lambda pair: _network(pair, dataset), help=_(UNTRAINED)
    )  # fmt: skip
    return Subject(*chosen, dataset), ""


def _folder(slot: Any) -> str:
    about = _("Layout: train/CLASS/IMAGE and test/CLASS/IMAGE.")
    with slot.container():
        path = st.text_input(_("Folder"), key="folder", placeholder="/path/to/images", help=about).strip()
        return sampled(f"{FOLDER}{path}", "test_images") if path else FOLDER


LARGE = 64
"""Pixels of a side from which on it takes a while to measure on all test images of a dataset with a name."""


def _named(slot: DeltaGenerator, name: str) -> str:
    """A dataset with a name; of one with large images, or where a link names a sample, how many are tested."""
    small = name in DATASETS and DATASETS[name].input_shape[1] < LARGE
    if small and shown_or_none("test_images") in (None, ALL):
        return name
    with slot.container():
        return sampled(name, "test_images")


def _network(pair: Pair, dataset: str) -> str:
    model, trained_on = pair
    if trained_on in (base_of(dataset), OWN):
        return title(model) if trained_on != OWN else _("{title} (imported)", title=title(model))
    return _("{title}, trained on {dataset}", title=title(model), dataset=DATASETS[trained_on].title)


def recipe(
    draw_seed: Callable[[], None], positions: Positions, slots: dict[str, DeltaGenerator], shown: Shown
) -> Recipe:
    """A group for each technique, and what all of them share; `slots` gets a place for a remark in each group.

    Raises `InvalidSetting` or `InvalidRecipe` for values that do not go together, when all widgets are drawn.
    """
    groups = {kind: _group(kind, settings, positions, slots, shown) for kind, settings in STEPS.items()}
    shared = {QUALITY: control(Recipe, QUALITY, QUALITY)}
    rest = {name: name for name in SHARED if name != QUALITY}
    values, place = _folded(_("Seed and calibration"), "shared", Recipe, rest, shown)
    if place:
        place.button(_("New random seed"), on_click=draw_seed, width="stretch")
    shared |= values
    steps = tuple(step(kind, **values) for kind, values in groups.items() if values is not None)
    return Recipe(steps=steps, **shared)


def _group(
    kind: str, settings: type[Settings], positions: Positions, slots: dict[str, DeltaGenerator], shown: Shown
) -> dict[str, Any] | None:
    """A technique's switch and values: what has a unit or is marked as main at once, the finer choices folded away."""
    with st.container(border=True, key=f"group-{kind}", gap="small"):
        on = st.toggle(f"**{shown_in(STEPS[kind].title)}**", key=f"{kind}.on", help=shown_in(settings.__doc__ or ""))
        body = st.empty()
    if not on:
        return None
    main = [
        name for name in settings.model_fields if wording.unit_of(settings, name) or wording.is_main(settings, name)
    ]
    finer = {name: f"{kind}.{name}" for name in settings.model_fields if name not in main}
    with body.container():
        values = {name: control(settings, name, f"{kind}.{name}", positions) for name in main}
        slots[kind] = st.empty()
        if finer:
            values |= _folded(_("Options"), kind, settings, finer, shown)[0]
    return values


def _folded(
    title: str, name: str, settings: type[Settings], keys: dict[str, str], shown: Shown
) -> tuple[dict[str, Any], DeltaGenerator | None]:
    """Fields that are drawn where the user has unfolded them, as many widgets take time; what they say in any case.

    And the place where they are drawn, if they are.
    """
    with (folded := st.expander(title, key=f"{name}.folded", on_change="rerun")):
        if folded.open:
            return {field: control(settings, field, key) for field, key in keys.items()}, folded
    return {field: _said(shown(key)) for field, key in keys.items()}, None


def control(settings: type[Settings], name: str, key: str, positions: Positions | None = None) -> Any:
    """The widget for one field, and what it says."""
    field = settings.model_fields[name]
    label, unit = shown_in(str(field.title)), wording.unit_of(settings, name)
    about: dict[str, Any] = {"key": key, "help": shown_in(field.description or "") or None}
    if stops := (positions or {}).get(key):
        return st.select_slider(
            label, stops, format_func=lambda stop: wording.setting_text(settings, name, stop), **about
        )
    if choices := choices_of(field):
        return _choice(label, choices, partial(wording.setting_text, settings, name), about)
    if field.annotation is bool:
        return st.toggle(label, **about)
    if field.annotation is str:
        return st.text_input(label, **about)
    low, high = bounds_of(field)
    if field.annotation is int:
        return st.number_input(label, int(low or 0), None if high is None else int(high), step=1, **about)
    return _slider(label, field, unit, about)


def _choice(label: str, choices: tuple[Any, ...], text: Callable[[Any], str], about: dict[str, Any]) -> Any:
    if len(choices) <= SEGMENTS:
        return st.segmented_control(label, choices, format_func=text, required=True, width="stretch", **about)
    if all(isinstance(choice, str) for choice in choices):
        return st.selectbox(label, choices, format_func=text, **about)
    return st.select_slider(label, choices, format_func=text, **about)


def _slider(label: str, field: FieldInfo, unit: str | None, about: dict[str, Any]) -> float:
    low, high = (None if bound is None else float(bound) for bound in bounds_of(field))
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    pace = float(str(extra.get("step", 0.01)))
    return _said(st.slider(label, low, high, step=pace, format="percent" if unit == "%" else None, **about))


def _said(value: Any) -> Any:
    """What a widget says; the browser counts a slider in steps, so that 0.57 comes back as 0.5700000000000001."""
    return round(value, 10) if isinstance(value, float) else value
