"""Controls of the charts: which axes, and the budget."""

import streamlit as st

from compression.language import N_, _
from pages.ui.model.axes import AXES, Name
from pages.ui.model.budget import WISHES, Budget, Wish, called
from pages.ui.model.view import LIMITS, Pair, labels
from pages.ui.model.words import Words

UNKNOWN = N_("unknown machine")


def axes(number: int, words: Words) -> Pair:
    """The two small lists above a chart: what stands on its vertical and on its horizontal axis, which differ."""
    short = {name: axis.called(words).short for name, axis in AXES.items()}
    up, along = st.columns(2, gap="small", vertical_alignment="bottom")
    y = up.selectbox(
        _("Vertical axis"), list(AXES), key=f"axis.{number}.y", label_visibility="collapsed",
        format_func=lambda name: f"{short[name][:1].upper()}{short[name][1:]}",
    )  # fmt: skip
    x = along.selectbox(
        _("Horizontal axis"),
        list(AXES),
        key=f"axis.{number}.x",
        format_func=lambda name: _("against {short}", short=short[name]),
        label_visibility="collapsed",
    )
    return (x if x != y else _other(y), y)


def _other(name: Name) -> Name:
    """What stands on the other axis where the same was chosen twice."""
    return "size" if name != "size" else "latency"


def machine(known: dict[str, str], chosen: str) -> str:
    """Whose milliseconds the charts show: the key of a machine in `known`, by its title, or '' for this one."""
    if not known and not chosen:
        return ""
    names = {chosen: _(UNKNOWN), **known, "": _("this machine")}
    return st.selectbox(_("Latencies of"), ["", *filter(None, names)], key="machine", format_func=names.__getitem__,
                        help=_("Machines with a probe report (see Deploy)."))  # fmt: skip


SHADED = N_("Shaded on the charts. The best measured point within the budget is shown below.")
WIDTHS = (8, 20, 16, 18, 26)
"""Of the budget's title, its three limits and the objective: each label is readable where the page is 1280 wide."""


def budget(words: Words) -> Budget:
    """A switch and a number for each limit, and what is wished for within them, in one row."""
    limits: dict[str, float | None] = {}
    title, *places, last = st.columns(WIDTHS, gap="xsmall", vertical_alignment="bottom")
    title.markdown(_("**Budget**"), help=_(SHADED))
    for place, (name, (low, high, pace)) in zip(places, LIMITS.items(), strict=True):
        label, about = labels(words)[name]
        on = place.toggle(label, key=f"budget.{name}.on", help=about)
        value = place.number_input(
            label, low, high, step=pace, key=f"budget.{name}", disabled=not on, label_visibility="collapsed",
            format="%.0f" if pace >= 1 else "%.2f" if pace < 0.1 else "%.1f",
        )  # fmt: skip
        limits[name] = float(value) if on else None
    wish: Wish = (
        last.segmented_control(
            _("Objective"), WISHES, key="budget.wish", required=True, width="stretch",
            format_func=lambda wish: called(wish, words),
        )
        or WISHES[0]
    )  # fmt: skip
    return Budget(**limits, wish=wish)
