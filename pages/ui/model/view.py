"""How the points are looked at: the charts' axes, the panel below them, and the budget. A link carries it."""

import re
from dataclasses import dataclass, field
from typing import Any, Self

from compression.errors import InvalidSetting, UnknownName, shown
from compression.language import N_, _
from pages.ui.model.axes import AXES, START, Name
from pages.ui.model.budget import WISHES, Budget
from pages.ui.model.words import Words

PANELS = (N_("Points"), N_("Bytes"), N_("Speed"), N_("Layers"), N_("Learning"), N_("Recipe"), N_("Files"))


PARTS = ("charts", "panel", "budget", "machine")
"""The names in a link."""


LIMITS = {"drop": (0.0, 10.0, 0.1), "size": (1.0, 1_000.0, 1.0), "latency": (0.05, 1.5, 0.05)}
"""Lowest and highest limit, and the step of its control: points, KB, share of fp32."""


Pair = tuple[Name, Name]


@dataclass(frozen=True)
class View:
    """`charts` are (x, y) of each chart; `machine` is the key of another one, whose milliseconds they show."""

    charts: tuple[Pair, ...] = START
    panel: str = PANELS[0]
    budget: Budget = field(default_factory=Budget)
    machine: str = ""

    def to_query(self) -> dict[str, str]:
        """The part of a link that names what is not as usual: 'charts=size-accuracy,macs-accuracy,size-latency'."""
        usual, told = View(), {}
        if self.charts != usual.charts:
            told["charts"] = ",".join(f"{x}-{y}" for x, y in self.charts)
        if self.panel != usual.panel:
            told["panel"] = self.panel.lower()
        if self.budget != usual.budget:
            limits = {name: getattr(self.budget, name) for name in LIMITS}
            told["budget"] = ",".join(
                [*(f"{name}:{limit:g}" for name, limit in limits.items() if limit is not None), self.budget.wish]
            )
        return told | ({"machine": self.machine} if self.machine else {})

    @classmethod
    def from_query(cls, query: dict[str, str]) -> Self:
        """The inverse of `to_query`; raises `UnknownName` or `InvalidSetting`."""
        usual = cls()
        charts = tuple(_pair(text) for text in query["charts"].split(",")) if "charts" in query else usual.charts
        if len(charts) != len(usual.charts):
            raise InvalidSetting(
                _("A link names {count} charts, not {count_2}.", count=len(usual.charts), count_2=len(charts))
            )
        panel = next((p for p in PANELS if p.lower() == query.get("panel", usual.panel.lower())), None)
        if panel is None:
            raise UnknownName("panel", query["panel"], [name.lower() for name in PANELS])
        machine = query.get("machine", "")
        if not re.fullmatch("([0-9a-f]{16})?", machine):
            raise InvalidSetting(
                _("A link names a machine by 16 hexadecimal digits, not {machine}.", machine=shown(machine))
            )
        return cls(charts, panel, _budget(query["budget"]) if "budget" in query else usual.budget, machine)


def _pair(text: str) -> Pair:
    names = text.split("-")
    for name in names:
        if name not in AXES:
            raise UnknownName("axis", name, AXES)
    if len(names) != 2 or names[0] == names[1]:
        raise InvalidSetting(_("A chart has two different axes, not {text!r}.", text=text))
    return names[0], names[1]  # type: ignore[return-value]


def _budget(text: str) -> Budget:
    *limits, wish = text.split(",")
    if wish not in WISHES:
        raise UnknownName("wish", wish, WISHES)
    found: dict[str, float] = {}
    for limit in limits:
        name, _colon, value = limit.partition(":")
        if name not in LIMITS:
            raise UnknownName("limit", name, LIMITS)
        try:
            found[name] = float(value)
        except ValueError:
            raise InvalidSetting(
                _("The limit of {name} must be a number, not {value!r}.", name=name, value=value)
            ) from None
        low, high, _rest = LIMITS[name]
        if not low <= found[name] <= high:
            raise InvalidSetting(
                _(
                    "The limit of {name} must be a number from {low:g} to {high:g}, not {value}.",
                    name=name,
                    low=low,
                    high=high,
                    value=value,
                )
            )
    return Budget(**found, wish=wish)


def fill(view: View) -> dict[str, Any]:
    """What each widget of the view shows."""
    filled: dict[str, Any] = {f"axis.{i}.{side}": name for i, pair in enumerate(view.charts)
                             for side, name in zip("xy", pair, strict=True)}  # fmt: skip
    for name, (low, high, _rest) in LIMITS.items():
        limit = getattr(view.budget, name)
        filled[f"budget.{name}.on"] = limit is not None
        filled[f"budget.{name}"] = limit if limit is not None else USUAL[name]
        assert low <= filled[f"budget.{name}"] <= high
    return filled | {"budget.wish": view.budget.wish, "panel": view.panel, "machine": view.machine}


USUAL = {"drop": 1.0, "size": 150.0, "latency": 0.6}
"""What a limit is when it is switched on for the first time."""


def labels(words: Words) -> dict[str, tuple[str, str]]:
    """What each limit is called, and what it is."""
    labels = {"drop": (words.limit, words.limit_about), **LABELS}
    return {name: (_(label), _(about)) for name, (label, about) in labels.items()}


LABELS = {
    "size": (N_("File size, KB"), N_("Maximum file size in KB.")),
    "latency": (N_("Latency, fp32 = 1"), N_("Maximum latency for one image, relative to the fp32 file.")),
}
