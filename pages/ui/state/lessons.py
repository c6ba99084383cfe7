"""How far a tab's lessons are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from pages.ui.state.tab import elsewhere


@dataclass
class Learning:
    """The first prediction for each question of each lesson in this tab, as the number of the option."""

    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    hits: set[tuple[str, str]] = field(default_factory=set)

    def answer(self, lesson: str, question: str, option: int, *, right: bool) -> None:
        """Keeps a prediction; the first one counts."""
        if (lesson, question) not in self.answers:
            self.answers[lesson, question] = option
            self.hits |= {(lesson, question)} if right else set()

    def answered(self, lesson: str) -> int:
        """How many questions of a lesson have been answered."""
        return sum(name == lesson for name, _ in self.answers)

    def right(self, lesson: str) -> int:
        """How many of them rightly."""
        return sum(name == lesson for name, _ in self.hits)


def learning() -> Learning:
    """How far this tab's lessons are. A link that leads from a lesson to Explore is taken up there."""
    elsewhere()
    if "learning" not in st.session_state:
        st.session_state["learning"] = Learning()
    return st.session_state["learning"]


def chosen_lesson(known: Sequence[str]) -> str:
    """The lesson that the link names, or the first."""
    named = st.query_params.get("lesson", "")
    return named if named in known else known[0]
