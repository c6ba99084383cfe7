"""Who is at this tab, where the app has a team: known by what their sign-in says of them."""

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression import team
from compression.team import Member


def has_team() -> bool:
    """Whether people have to sign in: a team's file is named, or the app's secrets have a provider of sign-ins."""
    return bool(os.environ.get(team.TEAM)) or can_sign_in()


def can_sign_in() -> bool:
    """Whether the app's secrets (`.streamlit/secrets.toml`, [auth]) name a provider of sign-ins."""
    try:
        return st.secrets.load_if_toml_exists() and "auth" in st.secrets
    except (StreamlitAPIException, FileNotFoundError):
        return False


def is_signed_in() -> bool:
    """Whether somebody has signed in at this tab."""
    return bool(st.user.is_logged_in) if can_sign_in() else False


def member() -> Member | None:
    """Who is at the tab that this thread draws; None for nobody, or somebody without a role. Raises `UserError`."""
    if get_script_run_ctx() is None or not is_signed_in():
        return None
    return team.read_team().member(name_of(claims()))


def name_of(said: Mapping[str, Any]) -> str:
    """How a team knows who has signed in: the e-mail address where the provider has verified it, else the subject."""
    email = said.get("email")
    if isinstance(email, str) and said.get("email_verified") is True:
        return email
    return str(said.get("sub") or "")


def signed_in_as() -> str:
    """The name under which the team's file would list who has signed in."""
    return name_of(claims())


def claims() -> Mapping[str, Any]:
    """What the provider says of who has signed in."""
    return st.user.to_dict()


def watch_the_door() -> None:
    """From now on what is asked of the engine is asked by who is at the tab, where the app has a team."""
    team.identify_by(member if has_team() else None)
