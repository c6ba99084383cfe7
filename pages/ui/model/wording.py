"""Numbers and recipes as text: units, signs, and how many digits are worth reading."""

import math
import os
import re
import shlex
import string
from collections.abc import Sequence
from functools import lru_cache

from compression.language import N_, _, current, n_, p_, shown
from compression.recipe import Recipe
from compression.recipe.machine_defaults import default_of
from compression.records.measurement import OPERATORS, Reached
from compression.steps import STEPS, Settings
from pages.ui.model.subject import Subject

BASELINE = N_("fp32 baseline")
UNITS = (N_("steps"), N_("values"))
"""Units of settings that have another name in another language."""

BIT = "bit"

SAME = 0.0005
"""Shares that differ by less look the same."""


def plain(text: str) -> str:
    """Text for a label, in which nothing is a sign of Markdown."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", text)


def quoted(text: str) -> str:
    """A name, or a sentence that may quote what somebody brought, as it is, for Markdown.

    It makes no link, picture, formula or emphasis.
    """
    return re.sub(r"([\\`*\[\]<$~]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def said(sentence: str) -> str:
    """The same of a finished sentence of the engine, in the visitor's language."""
    return quoted(shown(sentence))


def told(sentences: Sequence[str]) -> str:
    """Several, as they were noted in English, in the language that is spoken now."""
    return in_a_row(*map(said, sentences))


def in_a_row(*sentences: str) -> str:
    """Those that are not empty, with a space between them; none follows a full stop of Chinese."""
    return " ".join(filter(None, sentences)).replace("。 ", "。")


def place(path: str) -> str:
    """'~/.local/share/compression-lab/store.sqlite': as a shell would take it, without the name of the user."""
    own = f"{os.path.expanduser('~')}/"  # which stays as it is where there is no home folder
    return f"~/{path.removeprefix(own)}" if path.startswith(own) else path


def percent(share: float, n: int) -> str:
    """'94.02%' of at least 5,000 images, '94.0%' of fewer: one image more or less should not show as nothing."""
    return f"{100 * share:.{_digits(n)}f}%"


def points(change: float, n: int) -> str:
    """A change of a share in percentage points: '-0.12 points'; '' where it rounds to none."""
    text = f"{100 * change:+.{_digits(n)}f}"
    return _("{text} points", text=text) if float(text) else ""


def interval(low: float, high: float, n: int) -> str:
    """'93.5 to 94.4%'."""
    return _("{low:.{digits}f} to {high}", digits=_digits(n), low=100 * low, high=percent(high, n))


def half_width(low: float, high: float, n: int) -> str:
    """Half of an interval of shares, in points: '± 0.47'."""
    return f"± {_up(100 * (high - low) / 2, _digits(n)):.{_digits(n)}f}"


def ratio(value: float, low: float, high: float) -> str:
    """'× 0.52 ± 0.01'."""
    return f"× {value:.2f} ± {_up((high - low) / 2, 2):.2f}"


def times(smaller: float) -> str:
    """'6.1 times smaller'; '' for a file that is not smaller."""
    return _("{smaller:.1f}× smaller", smaller=smaller) if smaller > 1 else ""


def size(size_bytes: int) -> str:
    """'87.3 KB' or '1.09 MB', in powers of ten."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} KB"
    return f"{size_bytes / 1_000_000:.2f} MB"


def milliseconds(ms: float) -> str:
    """'0.21 ms', or '8.7 µs' below a tenth of one."""
    if ms < 0.1:
        return f"{1000 * ms:.2g} µs" if ms < 0.01 else f"{1000 * ms:.0f} µs"
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.0f} ms"


def rounded(value: float | None, digits: int = 3) -> float | None:
    """The number to so many significant digits, however small it is: 0.00321, 7.51, 1390."""
    return None if value is None else float(f"{value:.{digits}g}")


def change(ratio: float) -> str:
    """A ratio to the baseline as a change: '-48%'; '' where it rounds to none."""
    rounded = round(100 * (ratio - 1))
    return f"{rounded:+d}%" if rounded else ""


def counted(count: int, what: str) -> str:
    """'1 run', '2,000 runs'."""
    return n_(f"{{n:,}} {what}", f"{{n:,}} {what}s", count)


def recipe_lines(recipe: Recipe) -> list[str]:
    """One line for each step, 'Prune weights: sparsity 50%', and one for what else is not as usual."""
    if not recipe.steps:
        return [_(BASELINE)]
    unusual = [
        f"{shown(str(Recipe.model_fields[name].title)).lower()} {setting_text(Recipe, name, value)}"
        for name, value in _unusual(recipe)
    ]
    return [
        *(_("{step}: {values}", step=shown(step.title), values=step_values(step)) for step in recipe.steps),
        *([_(", ").join(unusual)] if unusual else []),
    ]


def recipe_line(recipe: Recipe) -> str:
    """The steps on one line."""
    return _line(recipe, current())


@lru_cache(maxsize=10_000)
def _line(recipe: Recipe, language: str) -> str:
    return _("; ").join(recipe_lines(recipe))


def setting_text(settings: type[Settings], name: str, value: object) -> str:
    """A setting's value: '50%' of 0.5, '4 bits' of 4, and of a choice what it is called in the visitor's language."""
    return value_text(value, unit_of(settings, name), f"{settings.kind}.{name}")


def value_text(value: object, unit: str | None, setting: str = "") -> str:
    """The same of any value; `setting` is the context in which its name is translated."""
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if unit == "%" and isinstance(value, float):
        return f"{100 * value:g}%"
    if unit == BIT and isinstance(value, int):
        return n_("{n} bit", "{n} bits", value)
    return f"{value} {_(unit)}" if unit else p_(setting, str(value))


MEASURES = {"macs": "MACs", "channels": "channels", "weights": "weights"}


def reached(found: Reached) -> str:
    """'Removed 52.1% of the MACs (requested: 50%).'; '' where a step did just what it was asked for."""
    if found.measure == OPERATORS:
        return shown(found.note)
    if found.requested is not None and abs(found.requested - found.reached) < SAME:
        return ""
    asked = "" if found.requested is None else _(" (requested: {requested:.3g}%)", requested=100 * found.requested)
    return _(
        "Removed {reached:.1f}% of the {get}{asked}.",
        reached=100 * found.reached,
        get=_(MEASURES.get(found.measure, found.measure)),
        asked=asked,
    )


def unit_of(settings: type[Settings], name: str) -> str | None:
    """The unit that stands on the field, if any."""
    extra = settings.model_fields[name].json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) and "unit" in extra else None


def is_main(settings: type[Settings], name: str) -> bool:
    """True for a choice that belongs beside what has a unit."""
    extra = settings.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("main"))


def command(subject: Subject, recipe: Recipe) -> str:
    """The same on the command line: every setting of each step, and what else is not as usual."""
    settings = [(f"{s.kind}.{name}", value) for s in recipe.steps for name, value in s.model_dump().items()]
    settings += _unusual(recipe)
    options = [*subject.options(), *(("--set", f"{path}={value}") for path, value in settings)]
    options.append(("--out", file_name(subject, recipe)))
    lines = (f"{name} {shlex.quote(value)}" for name, value in options)
    return " \\\n  ".join([_("python -m compression compress"), *lines])


def file_name(subject: Subject, recipe: Recipe) -> str:
    """'resnet20-fashion-mnist-1a2b3c4d.onnx'; the hex digits are the recipe's."""
    return f"{subject.model}-{subject.weights}-{recipe.hash[:8]}.onnx"


def _up(value: float, digits: int) -> float:
    """Rounded up, so that an interval never looks narrower than it is."""
    return math.ceil(round(value * 10**digits, 6)) / 10**digits


def _digits(n: int) -> int:
    return 2 if n >= 5_000 else 1


def _unusual(recipe: Recipe) -> list[tuple[str, object]]:
    """The values beside the steps that are not the defaults."""
    fields = ((name, field) for name, field in Recipe.model_fields.items() if name != "steps")
    return [(name, getattr(recipe, name)) for name, field in fields if getattr(recipe, name) != field.default]


def step_values(step: Settings) -> str:
    """What a person would say of a step: everything with a unit, and what is not as usual."""
    told = []
    for name, field in STEPS[step.kind].model_fields.items():
        value, unit = getattr(step, name), unit_of(type(step), name)
        if unit or value != default_of(field):
            said = str(value) if unit == BIT else setting_text(type(step), name, value)  # 'weight bits 4' has its unit
            told.append(f"{shown(str(field.title)).lower()} {said}")
    return _(", ").join(told)
