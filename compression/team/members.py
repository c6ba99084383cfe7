"""The team's file: COMPRESSION_TEAM names a YAML file that says who has which role, and what each role may use.

default: none            # or the role of everybody else who can sign in
members:
  ann@example.org: admin
  bob@example.org: user
  sub:8f1c2a: viewer     # by the provider's subject, where it gives no verified e-mail address
quotas:
  user: {minutes: 120, uploads: 20, gigabytes: 10}
sign_in_hours: 12
"""

import math
import os
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from compression.errors import InvalidSetting, shown
from compression.records.documents import read_yaml
from compression.team.policy import UNLIMITED, Member, Quota, Role

TEAM = "COMPRESSION_TEAM"
NO_ROLE = "none"
ROLES = {role.name.lower(): role for role in Role}
LONGEST_NAME = 200
SUBJECT = "sub:"
"""What the names of those begin with who are known by the provider's subject: no e-mail address begins so."""

LATE_S = 300.0
"""How far the provider's clock may be ahead of this one."""


@dataclass(frozen=True)
class Team:
    """Roles by name (e-mail address, or `sub:` and the subject), the role of all others, and quotas by role."""

    roles: dict[str, Role] = field(default_factory=dict)
    default: Role | None = None
    quotas: dict[Role, Quota] = field(default_factory=dict)
    sign_in_hours: float = 12.0

    def holds(self, signed_in: Any, now: float) -> bool:
        """Whether a sign-in still holds, by when it was (`iat` of its token, in seconds as `now`); never without it."""
        if not isinstance(signed_in, int | float) or isinstance(signed_in, bool) or not abs(signed_in) < 1 << 53:
            return False
        return -LATE_S <= now - signed_in < self.sign_in_hours * 3600

    def member(self, name: str) -> Member | None:
        """Who signs in by that name; None for somebody without a role."""
        known = _known(name)
        role = self.roles.get(known, self.default)
        if role is None or not known or len(known) > LONGEST_NAME:
            return None
        return Member(known, role, self.quotas.get(role, UNLIMITED))


def read_team() -> Team:
    """The team of COMPRESSION_TEAM, read again whenever the file changes; without one, a team without members.

    Raises `InvalidSetting` for a file that cannot be read: nobody has a role then.
    """
    place = os.environ.get(TEAM)
    if place is None:
        return Team()
    try:
        about = Path(place).stat()
        return _read(place, about.st_mtime_ns, about.st_size)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidSetting(f"The team's file {shown(place)} ({TEAM}) cannot be used: {why}.") from None


@lru_cache(maxsize=4)
def _read(place: str, written: int, size: int) -> Team:
    return team_of(read_yaml(Path(place).read_text(encoding="utf-8")))


def team_of(said: Any) -> Team:
    """The team that plain data describes. Raises ValueError with a reason."""
    parts = _table(said, "the file", tuple(each.name.replace("roles", "members") for each in fields(Team)))
    members = _table(parts.get("members") or {}, "members")
    quotas = _table(parts.get("quotas") or {}, "quotas", tuple(ROLES))
    default = parts.get("default", NO_ROLE)
    return Team(
        _roles(members),
        None if default is None or default == NO_ROLE else _role(default, "default"),
        {ROLES[role]: _quota(quota, role) for role, quota in quotas.items()},
        _amount(parts.get("sign_in_hours", Team.sign_in_hours), "sign_in_hours"),
    )


def _known(name: str) -> str:
    """E-mail addresses in lower case; what is not ASCII is left alone, where other letters become the same."""
    return name if name.startswith(SUBJECT) or not name.isascii() else name.lower()


def _roles(members: dict[Any, Any]) -> dict[str, Role]:
    found: dict[str, Role] = {}
    for name, role in members.items():
        if (known := _known(str(name).strip())) in found:
            raise ValueError(f"{shown(known)} has two roles")
        found[known] = _role(role, str(name))
    return found


def _table(value: Any, called: str, known: tuple[str, ...] | None = None) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{called} is no table")
    if known and (unknown := [key for key in value if key not in known]):
        raise ValueError(f"{called} has {shown(unknown[0])}; known are {', '.join(known)}")
    return value


def _role(value: Any, of: str) -> Role:
    if not isinstance(value, str) or value not in ROLES:
        raise ValueError(f"the role of {shown(of)} is {shown(value)}; known are {', '.join(ROLES)}")
    return ROLES[value]


def _quota(value: Any, role: str) -> Quota:
    limits = _table(value, f"the quota of {role}", tuple(each.name for each in fields(Quota)))
    return Quota(
        **{name: None if most is None else _amount(most, f"{name} of {role}") for name, most in limits.items()}
    )


def _amount(value: Any, called: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{called} is {shown(value)}, not a number from 0")
    return value
