"""The values of a form's widgets, and the recipe that they stand for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compression.data import DATASETS, added_folders
from compression.data.test_samples import parted
from compression.recipe import Recipe
from compression.recipe.machine_defaults import default_of
from compression.steps import STEPS
from pages.ui.model.subject import FOLDER, Pair, Subject, fitting, trainable

SEGMENTS = 3
"""Up to so many choices stand side by side; more become a list of words, or a slider over numbers."""


QUALITY = "quality"


SHARED = tuple(name for name in Recipe.model_fields if name != "steps")


def fill(subject: Subject, recipe: Recipe) -> dict[str, Any]:
    """What each widget shows for this choice; those of a technique that is switched off, their defaults."""
    base, sample = parted(subject.dataset)
    named = base in DATASETS or base in added_folders()
    shown: dict[str, Any] = {"images": base if named else FOLDER, "test_images": sample}
    shown["folder"] = "" if named else base.removeprefix(FOLDER)
    for name in (*DATASETS, FOLDER):
        shown[f"network.{name}"] = _preferred(subject, [*fitting(name), *trainable(name)])
    for kind, settings in STEPS.items():
        present = recipe.get(kind)
        shown[f"{kind}.on"] = present is not None
        for name, field in settings.model_fields.items():
            shown[f"{kind}.{name}"] = getattr(present, name, default_of(field))
    return shown | {name: getattr(recipe, name) for name in SHARED}


def _preferred(subject: Subject, known: list[Pair]) -> Pair | None:
    """The subject's own pair of network and weights, else the same network, else the first."""
    own = (subject.model, subject.weights)
    same = [pair for pair in known if pair[0] == subject.model]
    return own if own in known else next(iter([*same, *known]), None)


Positions = Mapping[str, Sequence[float]]
"""Of settings by path, the only values that their sliders stop at."""


Shown = Callable[[str], Any]
"""What a widget shows, or would show if it were drawn."""
