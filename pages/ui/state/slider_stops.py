"""Where sliders stop: at the shares of channels that can really be removed, which the worker finds out."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from math import floor
from typing import TYPE_CHECKING, Any

import streamlit as st

from compression import jobs
from compression.recipe import Recipe
from compression.steps import STEPS, bounds_of

if TYPE_CHECKING:
    from pages.ui.state.visit import Visit

AMOUNT = "channels.amount"
MOST = bounds_of(STEPS["channels"].model_fields["amount"])[1] or 1.0


@dataclass
class Stops:
    """`positions` are the only values that a setting's slider takes, by path; `told` is the answer they come from."""

    positions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    told: Future[Any] | None = None

    def ask(self, visit: "Visit") -> Future[Any] | None:
        """Which shares of channels can be removed exactly: the worker's answer; None where none are removed."""
        channels = visit.recipe.get("channels")
        if channels is None:
            return None
        shown = channels.model_dump() | {
            "step": channels.kind,
            "amount": STEPS["channels"].model_fields["amount"].default,
        }
        alone = visit.request_for(Recipe.from_dict({**visit.plain.to_dict(), "quality": "best", "steps": [shown]}))
        return visit.answer("reachable", jobs.reachable_amounts, alone)

    def find(self, visit: "Visit") -> None:
        """Has sliders stop where something is reached, if that is known; to be called before they are drawn."""
        told, amount = self.ask(visit), st.session_state.get(AMOUNT)
        self.told = told if told and told.done() else None
        known = self.told.result() if self.told and self.told.exception() is None else ()
        stops = {floor(100 * share + 1e-9) / 100 for share in known}
        positions = {AMOUNT: tuple(sorted({0.0, *(s for s in stops if s <= MOST), amount}))} if stops else {}
        if positions != self.positions:
            self.positions = positions
            st.session_state[AMOUNT] = amount  # another widget now, or other stops: it keeps its value
