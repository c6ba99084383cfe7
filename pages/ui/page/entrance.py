"""The entrance of an app with a team: who has not signed in, or has no role, sees nothing else."""

import streamlit as st

from compression.errors import UserError
from compression.team import ONLY_USER, TEAM, Member
from pages.ui.model import wording
from pages.ui.state import can_sign_in, has_team, is_signed_in, member, signed_in_as, watch_the_door

NO_PROVIDER = (
    f"This app has a team ({TEAM}) but no provider of sign-ins: `.streamlit/secrets.toml` needs a section `[auth]`. "
    "docs/TEAM.md describes it."
)


def entered() -> Member:
    """Who may go on; for all others the page ends here. Without a team, everybody."""
    watch_the_door()
    if not has_team():
        return ONLY_USER
    try:
        found = member() if can_sign_in() else None
    except UserError as error:  # the team's file cannot be read
        st.error(wording.said(str(error)))
        st.stop()
    if found is None:
        _outside()
        st.stop()
    return found


def _outside() -> None:
    st.subheader("Compression Lab", anchor=False)
    if not can_sign_in():
        st.error(NO_PROVIDER)
    elif not is_signed_in():
        st.write("Sign in to go on.")
        st.button("Sign in", type="primary", on_click=st.login)
    else:
        st.error(f"{wording.said(signed_in_as())} has no role in this team; ask an admin to add it.")
        st.button("Sign out", on_click=st.logout)


def way_out(found: Member) -> None:
    """In the sidebar of an app with a team: who is signed in, their role, and the way out."""
    if found is not ONLY_USER:
        with st.sidebar.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{wording.said(found.name)} · {found.role.name.lower()}")
            st.button("Sign out", key="sign.out", type="tertiary", on_click=st.logout)
