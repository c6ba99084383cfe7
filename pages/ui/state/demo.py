"""Where a tab's demo stands."""

from dataclasses import dataclass

import streamlit as st


@dataclass
class Tale:
    """Where the demo stands."""

    story: int = 0
    slide: int = 0

    def open(self, story: int) -> None:
        """Another story begins with its first slide."""
        if story != self.story:
            self.story, self.slide = story, 0

    def turn(self, by: int) -> None:
        """To a slide before or after; the page keeps it within the story."""
        self.slide = max(0, self.slide + by)


def tale() -> Tale:
    """This tab's place in the demo."""
    if "tale" not in st.session_state:
        st.session_state["tale"] = Tale()
    return st.session_state["tale"]
