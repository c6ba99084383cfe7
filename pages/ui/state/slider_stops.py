"""Where sliders stop: at the shares of channels that can really be removed, which a worker finds out."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from math import floor
from typing import Any

import streamlit as st

from compression import jobs
from compression.recipe import Recipe
from compression.steps import STEPS, bounds_of
from pages.ui.model.choice import Choice
from pages.ui.state.tab import asked_about

AMOUNT = "channels.amount"
MOST = bounds_of(STEPS["channels"].model_fields["amount"])[1] or 1.0


@dataclass
class SliderStops:
    """`positions` are the only values that a setting's slider takes, by path; `answer` is what they come from."""

    positions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    answer: Future[Any] | None = None

    def ask(self, choice: Choice) -> Future[Any] | None:
        """Which shares of channels can be removed exactly: the worker's answer; None where none are removed."""
        channels = choice.recipe.get("channels")
        if channels is None:
            return None
        shown = channels.model_dump() | {
            "step": channels.kind,
            "amount": STEPS["channels"].model_fields["amount"].default,
        }
        alone = Recipe.from_dict({**choice.recipe.to_dict(), "quality": "best", "steps": [shown]})
        request = choice.with_recipe(alone).request
        return asked_about(choice.subject, "reachable", jobs.reachable_amounts, request)

    def update(self, choice: Choice) -> None:
        """Has sliders stop where something is reached, if that is known; to be called before they are drawn."""
        answer, amount = self.ask(choice), st.session_state.get(AMOUNT)
        self.answer = answer if answer and answer.done() else None
        known = self.answer.result() if self.answer and self.answer.exception() is None else ()
        stops = {floor(100 * share + 1e-9) / 100 for share in known}
        positions = {AMOUNT: tuple(sorted({0.0, *(s for s in stops if s <= MOST), amount}))} if stops else {}
        if positions != self.positions:
            self.positions = positions
            st.session_state[AMOUNT] = amount  # another widget now, or other stops: it keeps its value
