"""Who asks: the app says once how that is found out, for whichever thread asks. Whoever cannot be told is nobody."""

from collections.abc import Callable

from compression.errors import NotAllowed
from compression.team.policy import ONLY_USER, Act, Member, Usage, refusal

NOBODY = "Sign in first: nobody without a role in the team can do that."

_identify: list[Callable[[], Member | None]] = []


def identify_by(identify: Callable[[], Member | None] | None) -> None:
    """From now on `identify` tells who asks in the current thread; None: the program has one user."""
    _identify[:] = [identify] if identify else []


def asking() -> Member:
    """Who asks in this thread. Raises `NotAllowed` for somebody who has no role."""
    member = _identify[0]() if _identify else ONLY_USER
    if member is None:
        raise NotAllowed(NOBODY)
    return member


def require(act: Act, used: Usage | None = None, wanted: Usage | None = None) -> Member:
    """Who asks in this thread, if they may do something. Raises `NotAllowed` otherwise."""
    member = asking()
    if why := refusal(member, act, used, wanted):
        raise NotAllowed(why)
    return member
