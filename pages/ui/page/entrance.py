"""The entrance of an app with a team: who has not signed in, or has no role, sees nothing else."""

import streamlit as st

from compression.errors import UserError
from compression.language import N_, _
from compression.team import ONLY_USER, TEAM, Member
from pages.ui.model import wording
from pages.ui.state import can_sign_in, has_expired, has_team, is_signed_in, member, signed_in_as, watch_the_door

NO_PROVIDER = N_(
    "This app has a team ({name}) but no provider of sign-ins: `.streamlit/secrets.toml` needs a section `[auth]`. "
    "docs/TEAM.md describes it."
)
ROLES = {"viewer": N_("viewer"), "user": N_("user"), "admin": N_("admin")}


def entered() -> Member:
    """Who may go on; for all others the page ends here. Without a team, everybody."""
    watch_the_door()
    try:
        found = _found()
    except UserError as error:  # the team's file, or the secrets, cannot be read
        st.error(wording.said(str(error)))
        st.stop()
    if found is None:
        _outside()
        st.stop()
    return found


def _found() -> Member | None:
    if not has_team():
        return ONLY_USER
    return member() if can_sign_in() else None


def _outside() -> None:
    st.subheader("Compression Lab", anchor=False)
    if not can_sign_in():
        st.error(_(NO_PROVIDER, name=TEAM))
    elif not is_signed_in() or has_expired():
        st.write(_("Sign in to go on."))
        st.button(_("Sign in"), type="primary", on_click=st.login)
    else:
        name = wording.said(signed_in_as()) or _("Who has signed in")
        st.error(_("{name} has no role in this team; ask an admin to add it.", name=name))
        st.button(_("Sign out"), on_click=st.logout)


def way_out(found: Member) -> None:
    """In the sidebar of an app with a team: who is signed in, their role, and the way out."""
    if found is not ONLY_USER:
        with st.sidebar.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{wording.quoted(found.name)} · {_(ROLES[found.role.name.lower()])}")
            st.button(_("Sign out"), key="sign.out", type="tertiary", on_click=st.logout)
