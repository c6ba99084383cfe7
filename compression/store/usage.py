"""What members of a team have used: counted up by day, and held to their quotas in the same transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from compression.errors import NotAllowed
from compression.store.database import Database
from compression.store.reading import checked
from compression.store.tables import MakerRow, UsageRow
from compression.team import Act, Member, Usage, refusal, require

OTHERS = "The run is somebody else's; only they and admins of your team can delete or restore it."
NOTHING = Usage()


@dataclass(frozen=True)
class MemberUse:
    """What a member has used: `now` as quotas count it, `whole` of all days, and how many files they had made first."""

    now: Usage = NOTHING
    whole: Usage = NOTHING
    runs: int = 0


class UsageBook:
    """Use by member and day (UTC, the database's clock). Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database):
        self._database = database

    def of(self, member: str) -> Usage:
        """Seconds and uploads of today, and the bytes of all days."""
        with self._database.read() as connection:
            return _used(connection, member, _day(self._database.now(connection)))

    def take(self, member: Member, wanted: Usage) -> None:
        """Counts what a member is about to use. Raises `NotAllowed`, and counts nothing, where that is too much.

        Two that take at once wait for each other: together they stay within the quota, too.
        """
        with self._database.write() as connection:
            self._count(connection, member.name, wanted)
            used = _used(connection, member.name, _day(self._database.now(connection)))
            if why := refusal(member, Act.WORK, used):
                raise NotAllowed(why)

    def count(self, member: str, used: Usage) -> None:
        """Counts what a member has used, whatever the quota."""
        with self._database.write() as connection:
            self._count(connection, member, used)

    def all(self) -> dict[str, MemberUse]:
        """What each member has used, those of whom anything is known."""
        with self._database.read() as connection:
            day = _day(self._database.now(connection))
            counts = connection.execute(select(MakerRow.member, func.count()).group_by(MakerRow.member)).all()
            made = {member: int(count) for member, count in counts}
            sums = (func.sum(getattr(UsageRow, name)) for name in vars(NOTHING))
            whole = {
                member: Usage(float(seconds), int(uploads), int(size_bytes))
                for member, seconds, uploads, size_bytes in connection.execute(
                    select(UsageRow.member, *sums).group_by(UsageRow.member)
                )
            }
            return {
                name: MemberUse(_used(connection, name, day), whole.get(name, NOTHING), made.get(name, 0))
                for name in sorted(made.keys() | whole.keys())
            }

    def made(self, run: str, member: str, size_bytes: int) -> None:
        """Keeps who had a run's file made, if nobody else had it before, and counts its bytes."""
        if not member:
            return
        with self._database.write() as connection:
            row = _dialect(connection).insert(MakerRow).values(file_id=run, member=member, size_bytes=size_bytes)
            if connection.execute(row.on_conflict_do_nothing().returning(MakerRow.file_id)).first() is not None:
                self._count(connection, member, Usage(size_bytes=size_bytes))

    def unmade(self, run: str) -> None:
        """Gives back the bytes of a run's file, which is erased."""
        with self._database.write() as connection:
            gone = delete(MakerRow).where(MakerRow.file_id == run).returning(MakerRow.member, MakerRow.size_bytes)
            for member, size_bytes in connection.execute(gone).all():
                self._count(connection, member, Usage(size_bytes=-size_bytes))

    def check_maker(self, run: str) -> None:
        """Raises `NotAllowed` for who may not hide a run: in a team its maker and admins may."""
        member = require(Act.WORK)
        if member.name and refusal(member, Act.ADMINISTER):
            with self._database.read() as connection:
                maker = connection.execute(select(MakerRow.member).where(MakerRow.file_id == run)).scalar()
            if maker != member.name:
                raise NotAllowed(OTHERS)

    def forget(self, member: str) -> bool:
        """Begins to count anew for a member; False where nothing was counted."""
        with self._database.write() as connection:
            return connection.execute(delete(UsageRow).where(UsageRow.member == member)).rowcount > 0

    def _count(self, connection: Connection, member: str, used: Usage) -> None:
        """One row more for the day, or its numbers go up. PostgreSQL locks it until the transaction's end."""
        values = {"member": member, "day": _day(self._database.now(connection)), **vars(used)}
        row = _dialect(connection).insert(UsageRow).values(**values)
        more = {name: getattr(UsageRow, name) + getattr(used, name) for name in vars(used)}
        connection.execute(row.on_conflict_do_update(index_elements=["member", "day"], set_=more))


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _used(connection: Connection, member: str, day: str) -> Usage:
    today = select(UsageRow.seconds, UsageRow.uploads).where(UsageRow.member == member, UsageRow.day == day)
    seconds, uploads = connection.execute(today).one_or_none() or (0.0, 0)
    size = connection.execute(select(func.sum(UsageRow.size_bytes)).where(UsageRow.member == member)).scalar()
    return checked(Usage, seconds=seconds, uploads=uploads, size_bytes=int(size or 0))


def _day(now: datetime) -> str:
    return now.date().isoformat()
