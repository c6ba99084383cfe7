"""What a search is asked for: limits, the wish, the budget, the techniques."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from compression.language import N_, _, shown
from compression.searching.settings import TECHNIQUES, SearchSettings
from compression.steps import STEPS
from pages.ui import state

ANY = N_("any")
WISHES = {
    "front": N_("Whole Pareto front"),
    "size": N_("Smallest"),
    "latency": N_("Fastest"),
    "drop": N_("Most accurate"),
}
LIMITS: dict[str, tuple[str, float, float, float, float, str]] = {
    "drop": (N_("Accuracy drop, points"), 0.0, 100.0, 0.1, 0.01, "%.2f"),
    "size_bytes": (N_("File size, KB"), 0.1, 1e6, 10.0, 1000, "%.1f"),
    "latency": (N_("Latency, fp32 = 1"), 0.05, 10.0, 0.05, 1, "%.2f"),
    "worst_class": (N_("Worst-class accuracy, %"), 0.0, 100.0, 1.0, 0.01, "%.1f"),
    "agreement": (N_("Agreement with fp32, %"), 0.0, 100.0, 0.5, 0.01, "%.1f"),
    "macs": (N_("MACs, million"), 0.001, 1e7, 1.0, 1e6, "%.2f"),
    "memory_bytes": (N_("Peak memory, KB"), 0.1, 1e7, 10.0, 1000, "%.1f"),
}
"""Each limit: its label, lowest and highest value, pace, what one of its unit is, and how it is written."""

MAIN = ("drop", "size_bytes", "latency", "worst_class")


def form(begin: Callable[[], None]) -> None:
    """The form; `begin` is called when its button is pressed and reads what is `asked`."""
    st.markdown(_("**Limits**"), help=_("Empty fields set no limit."))
    _limits(MAIN)
    with st.expander(_("More limits")):
        _limits(tuple(name for name in LIMITS if name not in MAIN))
    st.segmented_control(
        _("Objective"), list(WISHES), default="front", format_func=lambda wish: _(WISHES[wish]), required=True,
        key="search.wish",
    )  # fmt: skip
    devices = _devices()
    places = st.columns(4 if devices else 3)
    places[0].number_input(_("Minutes"), 0.1, 10_000.0, 10.0, 1.0, "%g", help=_about("minutes"), key="search.minutes")
    places[1].number_input(
        _("Trials"), 0, 100_000, None, placeholder=_(ANY), help=_about("trials"), key="search.trials"
    )
    places[2].number_input(_("Workers"), 1, 64, 1, help=_about("workers"), key="search.workers")
    if devices:
        places[3].selectbox(
            _("Device"), ["", *devices], key="search.device", format_func=lambda name: name or _(ANY),
            help=_about("device"),
        )  # fmt: skip
    st.pills(
        _("Techniques"), TECHNIQUES, default=TECHNIQUES, selection_mode="multi", key="search.techniques",
        format_func=lambda kind: shown(STEPS[kind].title),
    )  # fmt: skip
    st.button(_("Search"), type="primary", on_click=begin)


def asked() -> SearchSettings:
    """What the form says. Raises `InvalidSetting`."""
    said = state.shown
    return SearchSettings(
        **{name: _limit(name) for name in LIMITS}, minimise=said("search.wish"), minutes=float(said("search.minutes")),
        trials=int(said("search.trials") or 0), workers=int(said("search.workers")),
        techniques=tuple(said("search.techniques")), device=state.shown_or_none("search.device") or "",
    )  # fmt: skip


def _devices() -> list[str]:
    """Devices to choose from: those that workers have told of, and what is chosen although its workers are gone."""
    told = state.lab().devices
    chosen = state.shown_or_none("search.device")
    return [*told, *([chosen] if chosen and chosen not in told else [])]


def _limits(names: tuple[str, ...]) -> None:
    for name, place in zip(names, st.columns(len(names)), strict=True):
        label, low, high, pace, _unit, form = LIMITS[name]
        place.number_input(
            _(label), low, high, None, pace, form, placeholder=_(ANY), help=_about(name), key=f"search.{name}"
        )


def _limit(name: str) -> Any:
    """A limit in the units of a search."""
    value, unit = state.shown(f"search.{name}"), LIMITS[name][4]
    whole = SearchSettings.model_fields[name].annotation == int | None
    return None if value is None else round(value * unit) if whole else round(value * unit, 9)


def _about(name: str) -> str | None:
    return shown(SearchSettings.model_fields[name].description or "") or None
