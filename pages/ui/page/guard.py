"""What stands between a failure and the user: a sentence in place of a traceback."""

import logging
import uuid
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from compression.errors import UserError
from compression.language import _
from pages.ui.model import wording
from pages.ui.page.fragment import fragment

log = logging.getLogger(__name__)
P = ParamSpec("P")


def guarded(draw: Callable[P, object], tell: Callable[[str], object] = st.error) -> Callable[P, None]:
    """`draw`, for a page or a part of it; what it could not do is told, and where that is our fault, logged."""

    @wraps(draw)
    def tried(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except UserError as error:
            tell(wording.said(str(error)))
        except Exception:  # the one boundary: nobody should see a traceback on a page
            number = uuid.uuid4().hex[:8]
            log.exception("%s: unexpected failure of a page", number)
            tell(_("Something went wrong on this page. See the log, entry {number}.", number=number))

    return tried


def heard(act: Callable[P, object]) -> Callable[P, None]:
    """`act`, for the callback of a widget."""
    return guarded(act, st.toast)


def repeated(draw: Callable[[], object], seconds: float | None) -> None:
    """Draws a part of a page, and again every so many seconds, alone."""
    fragment(guarded(draw), every=seconds)()
