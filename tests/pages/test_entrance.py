"""The entrance of an app with a team: nobody gets in by mistake, and without a team nothing is different."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from compression import team
from compression.errors import UserError
from compression.language import LANGUAGES
from compression.team import TEAM, Member, Role
from pages.ui import state
from pages.ui.page import entrance
from pages.ui.state import sign_in
from tests.pages.running_app import opened


@pytest.fixture
def with_team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    path = tmp_path / "team.yaml"
    path.write_text("members: {ann@x.org: viewer}\n")
    monkeypatch.setenv(TEAM, str(path))
    monkeypatch.setattr(sign_in, "_had_team", [])
    yield monkeypatch
    team.identify_by(None)


def test_a_team_without_a_provider_of_sign_ins_lets_nobody_in(with_team: pytest.MonkeyPatch) -> None:
    page = opened()
    assert [error.value for error in page.error] == [entrance.NO_PROVIDER.format(name=TEAM)]
    assert not buttons(page) and not page.slider


def buttons(page: AppTest) -> list[str]:
    """Labels of the buttons, but of that for the language, which all may press."""
    return [button.label for button in page.button if button.label not in LANGUAGES.values()]


def signed_in(patch: pytest.MonkeyPatch, claims: Mapping[str, object] | None) -> None:
    for place in (entrance, sign_in):
        patch.setattr(place, "can_sign_in", lambda: True)
        patch.setattr(place, "is_signed_in", lambda: claims is not None)
    patch.setattr(sign_in, "claims", lambda: claims or {})


def test_who_has_not_signed_in_or_has_no_role_sees_no_more_than_the_entrance(with_team: pytest.MonkeyPatch) -> None:
    signed_in(with_team, None)
    page = opened()
    assert buttons(page) == ["Sign in"] and not page.slider
    for claims in ({"sub": "1", "email": "ann@x.org"}, {"email": "ann@x.org", "email_verified": "yes"},
                   {"sub": "ann@x.org"}, {"email": ["ann@x.org"], "email_verified": True}, {}):  # fmt: skip
        signed_in(with_team, {**claims, "iat": time.time()})
        page = opened()
        assert buttons(page) == ["Sign out"] and not page.slider
        assert "has no role" in page.error[0].value


@pytest.mark.parametrize("when", [None, "now", True, 0, -1e9, float("nan"), float("inf")])
def test_a_sign_in_that_is_too_old_or_does_not_say_when_it_was_is_over(
    when: object, with_team: pytest.MonkeyPatch
) -> None:
    signed_in(with_team, {"email": "ann@x.org", "email_verified": True, "iat": when})
    page = opened()
    assert buttons(page) == ["Sign in"] and not page.slider
    assert not state.may_look()


def test_a_broken_file_of_the_team_lets_nobody_in(with_team: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("members: [")
    signed_in(with_team, {"email": "ann@x.org", "email_verified": True, "iat": time.time()})
    page = opened()
    assert "cannot be used" in page.error[0].value and not page.slider


def test_a_viewer_gets_in_and_may_look(with_team: pytest.MonkeyPatch) -> None:
    signed_in(with_team, {"email": "Ann@X.org", "email_verified": True, "iat": time.time() - 60})
    page = opened(page="lab/compare")
    assert "Sign out" in [button.label for button in page.button]
    assert any("ann@x.org · viewer" in caption.value for caption in page.sidebar.caption)
    assert sign_in.name_of({"email": "a@b", "email_verified": False, "sub": "7"}) == "sub:7"


@pytest.mark.parametrize("content", [b"[auth", b"[auth]\nx = \xff", b"auth = 1\nauth = 2"])
def test_secrets_that_cannot_be_read_let_nobody_in(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TEAM, raising=False)
    (tmp_path / "secrets.toml").write_bytes(content)
    monkeypatch.setattr(sign_in, "_had_team", [])
    monkeypatch.setattr(sign_in, "_places", lambda: [str(tmp_path / "secrets.toml")])
    monkeypatch.setattr(type(st.secrets), "_parse", lambda self: self._parse_toml_file(sign_in._places()[0])[0])
    try:
        page = opened()
        assert ["secrets.toml" in error.value and "nobody is let in" in error.value for error in page.error] == [True]
        assert not buttons(page) and not page.slider and not state.may_look()
        with pytest.raises(UserError, match="Sign in first"):
            team.require(team.Act.LOOK)
        (tmp_path / "secrets.toml").unlink()
        state.watch_the_door()
        assert team.asking() is team.ONLY_USER
    finally:
        team.identify_by(None)


def test_an_app_that_had_a_team_has_one_until_it_ends(with_team: pytest.MonkeyPatch) -> None:
    state.watch_the_door()
    with_team.delenv(TEAM)
    state.watch_the_door()
    with pytest.raises(UserError):
        team.asking()
    page = opened()
    assert len(page.error) == 1 and not page.slider


def test_without_a_team_there_is_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TEAM, raising=False)
    monkeypatch.setattr(sign_in, "_had_team", [])
    state.watch_the_door()
    assert not state.has_team() and team.asking() is team.ONLY_USER
    assert Member("x", Role.VIEWER).quota == team.Quota()
