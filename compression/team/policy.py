"""Who may do what: roles, quotas and the one decision about them. Nothing here reads a clock, a file or a database."""

from dataclasses import dataclass, fields
from enum import IntEnum


class Role(IntEnum):
    """What somebody is in a team; each may do what those before it may."""

    VIEWER = 1
    USER = 2
    ADMIN = 3


class Act(IntEnum):
    """What somebody wants to do. Its value is that of the lowest role that may."""

    LOOK = Role.VIEWER
    WORK = Role.USER
    ADMINISTER = Role.ADMIN


BELOW = {
    Act.LOOK: "Your role does not let you look at results; ask an admin of your team.",
    Act.WORK: "As a viewer you cannot start jobs, upload files or change what is stored; ask an admin of your team.",
    Act.ADMINISTER: "Only admins of your team can do that.",
}
TOO_MUCH = {
    "minutes": "Your quota of {0} minutes of computing a day does not allow that; ask an admin of your team.",
    "uploads": "Your quota of {0} uploads a day does not allow that; ask an admin of your team.",
    "gigabytes": "Your quota of {0} GB on disk does not allow that; ask an admin of your team.",
}


@dataclass(frozen=True)
class Usage:
    """What somebody has used, or wants to use: seconds of computing and uploads of a day, and bytes on disk."""

    seconds: float = 0.0
    uploads: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.seconds + other.seconds, self.uploads + other.uploads, self.size_bytes + other.size_bytes)


@dataclass(frozen=True)
class Quota:
    """How much somebody may use: minutes of computing and uploads a day, gigabytes on disk. None: as much as wanted."""

    minutes: float | None = None
    uploads: int | None = None
    gigabytes: float | None = None

    def exceeded_by(self, used: Usage) -> str:
        """What there is too much of, in a sentence; empty where all is within the quota."""
        spent = _spent(used)
        for each in fields(self):
            most = getattr(self, each.name)
            if most is not None and spent[each.name] > most:
                return TOO_MUCH[each.name].format(f"{most:g}")
        return ""

    def left(self, used: Usage) -> "Quota":
        """What may still be used, never below 0; None stays: as much as wanted."""
        most = vars(self)
        return Quota(**{name: None if most[name] is None else max(most[name] - of, 0)
                        for name, of in _spent(used).items()})  # fmt: skip


def _spent(used: Usage) -> dict[str, float]:
    """What was used, in the units of a quota."""
    return {"minutes": used.seconds / 60, "uploads": used.uploads, "gigabytes": used.size_bytes / 1e9}


UNLIMITED = Quota()


@dataclass(frozen=True)
class Member:
    """Somebody who uses the app. `name` is how the team's file and the records of use know them."""

    name: str
    role: Role
    quota: Quota = UNLIMITED


ONLY_USER = Member("", Role.ADMIN)
"""Who uses a program without a team: everything is allowed and nothing is counted."""


def refusal(member: Member, act: Act, used: Usage | None = None, wanted: Usage | None = None) -> str:
    """Why a member who has used so much may not do something that takes what is `wanted`; empty where they may."""
    if member.role < act:
        return BELOW[act]
    if act < Act.WORK:
        return ""
    return member.quota.exceeded_by((used or Usage()) + (wanted or Usage()))
