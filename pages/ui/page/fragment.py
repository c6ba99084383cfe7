"""Parts of a page that are drawn anew by themselves."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from pages.ui.state import may_look

P = ParamSpec("P")


def fragment(draw: Callable[P, object], *, every: float | None = None) -> Callable[P, None]:
    """`st.fragment` in a container of its own; drawn again every so many seconds where `every` is given.

    When a fragment runs again, Streamlit drops what it has drawn for it but not sent yet, and sends what stands behind
    it. Elements that lie beside those of the rest of the page then have places that the browser does not know, and it
    shows an empty page ("Bad delta path index"); in a container of their own they take no neighbour's place.
    """

    def allowed(*args: P.args, **kwargs: P.kwargs) -> None:
        if not may_look():  # no longer: the whole page says why
            st.rerun()
        draw(*args, **kwargs)

    alone = st.fragment(allowed, run_every=every)

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        with st.container():
            alone(*args, **kwargs)

    return drawn
