"""Several people at one app: who asks (`asking`), their roles and quotas (`members`), and who may do what (`policy`).

Without a team, whoever uses the program is its only user and may do everything.
"""

from compression.team.asking import asking, identify_by, require
from compression.team.members import SUBJECT, TEAM, Team, read_team
from compression.team.policy import ONLY_USER, Act, Member, Quota, Role, Usage, refusal

__all__ = [
    "ONLY_USER", "SUBJECT", "TEAM", "Act", "Member", "Quota", "Role", "Team", "Usage", "asking", "identify_by",
    "read_team", "refusal", "require",
]  # fmt: skip
