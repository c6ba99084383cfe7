"""The team's file: COMPRESSION_TEAM names a YAML file that says who has which role, and what each role may use.

default: none            # or the role of everybody else who can sign in
members:
  ann@example.org: admin
  bob@example.org: user
quotas:
  user: {minutes: 120, uploads: 20, gigabytes: 10}
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


@dataclass(frozen=True)
class Team:
    """Roles by name (e-mail address or subject id, in lower case), the role of all others, and quotas by role."""

    roles: dict[str, Role] = field(default_factory=dict)
    default: Role | None = None
    quotas: dict[Role, Quota] = field(default_factory=dict)

    def member(self, name: str) -> Member | None:
        """Who signs in by that name; None for somebody without a role."""
        known = name.strip().lower()
        role = self.roles.get(known, self.default)
        if role is None or not known or len(known) > LONGEST_NAME:
            return None
        return Member(known, role, self.quotas.get(role, UNLIMITED))


def read_team() -> Team:
    """The team of COMPRESSION_TEAM, read again whenever the file changes; without one, a team without members.

    Raises `InvalidSetting` for a file that cannot be read: nobody has a role then.
    """
    place = os.environ.get(TEAM)
    if not place:
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
    parts = _table(said, "the file", ("default", "members", "quotas"))
    members = _table(parts.get("members") or {}, "members")
    quotas = _table(parts.get("quotas") or {}, "quotas", tuple(ROLES))
    default = parts.get("default", NO_ROLE)
    return Team(
        {str(name).strip().lower(): _role(role, str(name)) for name, role in members.items()},
        None if default is None or default == NO_ROLE else _role(default, "default"),
        {ROLES[role]: _quota(quota, role) for role, quota in quotas.items()},
    )


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
    for name, most in limits.items():
        number = isinstance(most, int | float) and not isinstance(most, bool)
        if most is not None and not (number and 0 <= most < math.inf):
            raise ValueError(f"{name} of {role} is {shown(most)}, not a number from 0")
    return Quota(**limits)
