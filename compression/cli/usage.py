"""The command that tells an admin what each member of the team has used, and what is left of their quotas."""

from typing import TYPE_CHECKING, Any

import typer

from compression.cli.console import JsonOption, Row, print_json, print_table
from compression.language import N_, _
from compression.team import Member, Quota, Usage, read_team
from compression.team.members import NO_ROLE
from compression.team.policy import UNLIMITED

if TYPE_CHECKING:
    from compression.store.usage import MemberUse

HEAD = (N_("MEMBER"), N_("ROLE"), N_("RUNS"), N_("COMPUTING TODAY"), N_("UPLOADS TODAY"), N_("ON DISK"),
        N_("COMPUTING EVER"))  # fmt: skip


def usage(as_json: JsonOption = False) -> None:
    """Show what each member of the team has used and what is left. Computing is the time of jobs, on CPU or GPU."""
    from compression.store import Store
    from compression.store.usage import MemberUse

    team, used = read_team(), Store.shared().usage.all()
    names = sorted({*team.roles, *used})
    rows = [(name, team.member(name), used.get(name, MemberUse())) for name in names]
    if as_json:
        return print_json([_plain(*row) for row in rows])
    if not rows:
        typer.echo(_("There is no team here: COMPRESSION_TEAM names no file, and nothing was counted."), err=True)
    print_table([tuple(map(_, HEAD)), *(_row(*row) for row in rows)])


def _plain(name: str, member: Member | None, used: "MemberUse") -> dict[str, Any]:
    """Today's (UTC) seconds and uploads with the bytes of all days, as quotas count them, and what is left of them."""
    quota = member.quota if member else UNLIMITED
    return {
        "member": name, "role": _role(member), "runs": used.runs, "used": vars(used.now),
        "used_ever": vars(used.whole), "quota": vars(quota), "left": vars(quota.left(used.now)),
    }  # fmt: skip


def _row(name: str, member: Member | None, used: "MemberUse") -> Row:
    quota = member.quota if member else UNLIMITED
    return name, _role(member), f"{used.runs:,}", *_amounts(used.now, quota), _minutes(used.whole.seconds)


def _amounts(used: Usage, quota: Quota) -> tuple[str, str, str]:
    """Minutes, uploads and disk, each with what is left of the quota."""
    left = quota.left(used)
    return (
        _of(_minutes(used.seconds), None if left.minutes is None else _minutes(60 * left.minutes)),
        _of(f"{used.uploads:,}", None if left.uploads is None else f"{left.uploads:,g}"),
        _of(_gigabytes(used.size_bytes / 1e9), None if left.gigabytes is None else _gigabytes(left.gigabytes)),
    )


def _of(used: str, left: str | None) -> str:
    return used if left is None else _("{used} ({left} left)", used=used, left=left)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min"


def _gigabytes(gigabytes: float) -> str:
    return f"{gigabytes:,.3f} GB"


def _role(member: Member | None) -> str:
    return member.role.name.lower() if member else NO_ROLE
