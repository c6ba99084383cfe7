"""Roles and quotas: more of a role allows more, more use allows less, and nobody gets beyond a quota."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compression.errors import InvalidSetting, NotAllowed
from compression.team import (
    ONLY_USER,
    TEAM,
    Act,
    Member,
    Quota,
    Role,
    Team,
    Usage,
    identify_by,
    read_team,
    refusal,
    require,
)
from compression.team.asking import asking
from compression.team.members import team_of

amounts = st.one_of(st.none(), st.floats(0, 1e6))
quotas = st.builds(Quota, amounts, st.one_of(st.none(), st.integers(0, 10_000)), amounts)
usages = st.builds(Usage, st.floats(0, 1e8), st.integers(0, 20_000), st.integers(0, 10**16))
members = st.builds(Member, st.just("ann"), st.sampled_from(Role), quotas)


@given(members, st.sampled_from(Act), usages, usages)
def test_a_higher_role_may_do_what_a_lower_one_may(member: Member, act: Act, used: Usage, wanted: Usage) -> None:
    if not refusal(member, act, used, wanted):
        assert not any(refusal(replace(member, role=role), act, used, wanted) for role in Role if role > member.role)


@given(quotas, usages)
def test_what_is_left_may_be_used_up_and_no_more(quota: Quota, used: Usage) -> None:
    left = quota.left(used)
    for name, most in vars(quota).items():
        rest = getattr(left, name)
        assert (rest is None) == (most is None)
        assert rest is None or 0 <= rest <= most
    if quota.exceeded_by(used):
        assert 0 in vars(left).values()
    if not quota.exceeded_by(used) and left.uploads is not None:
        only = Quota(uploads=quota.uploads)
        assert not only.exceeded_by(used + Usage(uploads=left.uploads))
        assert only.exceeded_by(used + Usage(uploads=left.uploads + 1))


@given(quotas, st.sampled_from([Act.WORK, Act.ADMINISTER]), usages)
def test_a_viewer_only_looks_and_the_only_user_may_do_everything(quota: Quota, act: Act, used: Usage) -> None:
    viewer = Member("ann", Role.VIEWER, quota)
    assert "admin" in refusal(viewer, act, used)
    assert not refusal(viewer, Act.LOOK, used)
    assert not refusal(ONLY_USER, act, used)


@given(members, usages, usages)
def test_what_is_refused_stays_refused_after_more_use(member: Member, used: Usage, more: Usage) -> None:
    if refusal(member, Act.WORK, used):
        assert refusal(member, Act.WORK, used, more)


@given(quotas, st.lists(usages, max_size=8))
def test_what_was_allowed_together_is_within_the_quota(quota: Quota, wishes: list[Usage]) -> None:
    member, used = Member("ann", Role.USER, quota), Usage()
    for wish in wishes:
        if not refusal(member, Act.WORK, used, wish):
            used = used + wish
    assert not quota.exceeded_by(used)


def test_the_sentence_says_what_there_is_too_much_of() -> None:
    member = Member("ann", Role.USER, Quota(minutes=10, uploads=2, gigabytes=1))
    assert "10 minutes of computing a day" in refusal(member, Act.WORK, Usage(seconds=601))
    assert "2 uploads a day" in refusal(member, Act.WORK, Usage(uploads=2), Usage(uploads=1))
    assert "1 GB on disk" in refusal(member, Act.WORK, Usage(size_bytes=10**9 + 1))


def written(folder: Path, text: str, patch: pytest.MonkeyPatch) -> None:
    (folder / "team.yaml").write_text(text)
    patch.setenv(TEAM, str(folder / "team.yaml"))


def test_the_teams_file_gives_roles_and_quotas_and_nobody_else_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "members: {Ann@x.org: admin, bob: user}\nquotas: {user: {minutes: 5}}\n", monkeypatch)
    team = read_team()
    assert team.member("ann@X.org") == Member("ann@x.org", Role.ADMIN)
    assert team.member("bob") == Member("bob", Role.USER, Quota(minutes=5))
    assert [team.member(name) for name in ("eve", "", " ")] == [None] * 3
    written(tmp_path, "default: viewer\nmembers: {bob: admin}\n", monkeypatch)
    assert read_team().member("eve") == Member("eve", Role.VIEWER)
    assert read_team().member("") is None


@pytest.mark.parametrize("text", [
    "- a", "members: [a]", "members: {ann: boss}", "default: root", "quotas: {user: {minutes: -1}}",
    "quotas: {user: {minutes: .nan}}", "quotas: {boss: {}}", "quotas: {user: {hours: 1}}", "else: 1",
    "quotas: {user: {uploads: true}}", "members: &a {ann: user}", "members: {ann: [admin]}", "",
    "sign_in_hours: -1", "sign_in_hours: yes",
    "roles: {ann: admin}", "members: {Ann: viewer, ann: admin}",
])  # fmt: skip
def test_a_file_that_is_wrong_gives_nobody_a_role(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, text, monkeypatch)
    with pytest.raises(InvalidSetting, match="The team's file"):
        read_team()


def test_who_cannot_be_told_is_nobody() -> None:
    assert asking() is ONLY_USER
    try:
        identify_by(lambda: None)
        for act in Act:
            with pytest.raises(NotAllowed, match="Sign in first"):
                require(act)
        identify_by(lambda: Member("ann", Role.VIEWER))
        assert require(Act.LOOK).name == "ann"
        with pytest.raises(NotAllowed, match="viewer"):
            require(Act.WORK)
    finally:
        identify_by(None)


@pytest.mark.parametrize("when", [10**400, -(10**400), float("nan"), float("inf"), True, "1", None])
def test_a_sign_in_at_no_time_does_not_hold(when: object) -> None:
    assert not Team().holds(when, 1e9)


@pytest.mark.parametrize("name", ["ann@x.org ", "\u2003ann@x.org", "sub:1 ", " sub:1", "sub:1\x85"])
def test_a_name_that_only_looks_like_a_members_is_somebody_else(name: str) -> None:
    team = team_of({"members": {"ann@x.org": "admin", "sub:1": "admin"}})
    assert team.member(name) is None
    assert team.member(name.strip()) == Member(name.strip(), Role.ADMIN)
