"""Who is at this tab, where the app has a team: known by what their sign-in says of them."""

import os
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit import config
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compression import team
from compression.errors import InvalidSetting, UserError, shown
from compression.language import N_, _
from compression.team import Member

UNREADABLE = N_(
    "The app's secrets file {name} cannot be read, and nobody is let in; mend it, or remove it if there is no team."
)

_had_team: list[bool] = []


def has_team() -> bool:
    """Whether people have to sign in: a team's file is named, or the app's secrets have a provider of sign-ins.

    An app that had a team has one until it ends. Raises `InvalidSetting` where the secrets cannot be read.
    """
    if not _had_team and (team.TEAM in os.environ or can_sign_in()):
        _had_team.append(True)
    return bool(_had_team)


def can_sign_in() -> bool:
    """Whether the app's secrets (`.streamlit/secrets.toml`, [auth]) name a provider of sign-ins.

    Raises `InvalidSetting` for a file of secrets that is there and cannot be read: whether there is a team is not
    known then.
    """
    try:
        if st.secrets.load_if_toml_exists():
            return "auth" in st.secrets
    except (StreamlitAPIException, OSError, ValueError):
        pass
    if there := [place for place in _places() if os.path.lexists(place)]:
        raise InvalidSetting(_(UNREADABLE, name=shown(there[0])))
    return False


def _places() -> list[str]:
    return [os.path.expanduser(place) for place in config.get_option("secrets.files")]


def is_signed_in() -> bool:
    """Whether somebody has signed in at this tab."""
    return bool(st.user.is_logged_in) if can_sign_in() else False


def member() -> Member | None:
    """Who is at the tab that this thread draws; None for nobody, or somebody without a role. Raises `UserError`."""
    if get_script_run_ctx() is None or not is_signed_in():
        return None
    found = team.read_team()
    return found.member(name_of(claims())) if found.holds(claims().get("iat"), time.time()) else None


def has_expired() -> bool:
    """Whether the sign-in at this tab is too long ago, or does not say when it was. Raises `UserError`."""
    return not team.read_team().holds(claims().get("iat"), time.time())


def name_of(said: Mapping[str, Any]) -> str:
    """How a team knows who has signed in: the e-mail address where the provider has verified it, else sub:SUBJECT."""
    email, subject = said.get("email"), said.get("sub")
    if isinstance(email, str) and email and said.get("email_verified") is True:
        return "" if email.startswith(team.SUBJECT) else email
    return f"{team.SUBJECT}{subject}" if isinstance(subject, str) and subject else ""


def signed_in_as() -> str:
    """The name under which the team's file would list who has signed in."""
    return name_of(claims())


def claims() -> Mapping[str, Any]:
    """What the provider says of who has signed in."""
    return st.user.to_dict()


def watch_the_door() -> None:
    """From now on what is asked of the engine is asked by who is at the tab, where the app has, or may have, a team."""
    try:
        team.identify_by(member if has_team() else None)
    except UserError:
        team.identify_by(member)


def may_look() -> bool:
    """Whether who is at the tab may still see pages; always, without a team."""
    try:
        team.asking()
    except UserError:  # nobody with a role, or the team's file or the secrets cannot be read
        return False
    return True
