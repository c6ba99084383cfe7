"""The entrance of an app with a team: nobody gets in by mistake, and without a team nothing is different."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from compression import team
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
    yield monkeypatch
    team.identify_by(None)


def test_a_team_without_a_provider_of_sign_ins_lets_nobody_in(with_team: pytest.MonkeyPatch) -> None:
    page = opened()
    assert [error.value for error in page.error] == [entrance.NO_PROVIDER]
    assert not page.button and not page.slider


def signed_in(patch: pytest.MonkeyPatch, claims: Mapping[str, object] | None) -> None:
    for place in (entrance, sign_in):
        patch.setattr(place, "can_sign_in", lambda: True)
        patch.setattr(place, "is_signed_in", lambda: claims is not None)
    patch.setattr(sign_in, "claims", lambda: claims or {})


def test_who_has_not_signed_in_or_has_no_role_sees_no_more_than_the_entrance(with_team: pytest.MonkeyPatch) -> None:
    signed_in(with_team, None)
    page = opened()
    assert [button.label for button in page.button] == ["Sign in"] and not page.slider
    for claims in ({"sub": "1", "email": "ann@x.org"}, {"email": "ann@x.org", "email_verified": "yes"}, {}):
        signed_in(with_team, claims)
        page = opened()
        assert [button.label for button in page.button] == ["Sign out"] and not page.slider
        assert "has no role" in page.error[0].value


def test_a_broken_file_of_the_team_lets_nobody_in(with_team: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("members: [")
    signed_in(with_team, {"email": "ann@x.org", "email_verified": True})
    page = opened()
    assert "cannot be used" in page.error[0].value and not page.slider


def test_a_viewer_gets_in_and_may_look(with_team: pytest.MonkeyPatch) -> None:
    signed_in(with_team, {"email": "Ann@X.org", "email_verified": True})
    page = opened(page="lab/compare")
    assert "Sign out" in [button.label for button in page.button]
    assert any("ann@x.org · viewer" in caption.value for caption in page.sidebar.caption)
    assert sign_in.name_of({"email": "a@b", "email_verified": False, "sub": "7"}) == "7"


def test_without_a_team_there_is_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TEAM, raising=False)
    state.watch_the_door()
    assert not state.has_team() and team.asking() is team.ONLY_USER
    assert Member("x", Role.VIEWER).quota == team.Quota()
