"""What a tab and the server hold: the only place that touches `st.session_state` and the link."""

from pages.ui.state.comparison import Table, table
from pages.ui.state.demo import tale
from pages.ui.state.lessons import Learning, chosen_lesson, learning
from pages.ui.state.server import kept, known, lab, store
from pages.ui.state.sign_in import (
    can_sign_in,
    has_expired,
    has_team,
    is_signed_in,
    may_look,
    member,
    signed_in_as,
    watch_the_door,
)
from pages.ui.state.tab import (
    asked,
    awaited_once,
    begun,
    came,
    elsewhere,
    forgotten,
    is_replaced,
    key_showing,
    put,
    shown,
    shown_or_none,
    taken,
    watched,
    watched_beside,
)
from pages.ui.state.visit import Visit, opened

__all__ = [
    "Learning", "Table", "Visit", "asked", "awaited_once", "begun", "came", "can_sign_in", "chosen_lesson",
    "elsewhere", "forgotten", "has_expired", "has_team", "is_replaced", "is_signed_in", "kept", "key_showing",
    "known", "lab", "learning", "may_look", "member", "opened", "put", "shown", "shown_or_none", "signed_in_as",
    "store", "table", "taken", "tale", "watch_the_door", "watched", "watched_beside",
]  # fmt: skip
