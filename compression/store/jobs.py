"""The table of long jobs: the state of each, its learning curve, and what other programs ask of it."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, cast

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from compression.errors import UnknownName
from compression.records.measurement import LearningPoint
from compression.store.database import Database
from compression.store.reading import checked, fitting, load, parsed, readable
from compression.store.records import OPEN, RESUMABLE, JobRecord, JobState, dump
from compression.store.tables import FileRow, JobRow, PointRow

Wish = Literal["cancel"]
TICK = timedelta(milliseconds=1)  # the coarsest of the databases' clocks, SQLite's: jobs of one tick keep their order


class JobBook:
    """Jobs by id. Every method raises `StoreUnavailable`, and those that take an id `UnknownName`.

    Heartbeats are timed by the database's clock: the clocks of the machines that share it may differ.
    """

    def __init__(self, database: Database):
        self._database = database

    def now(self) -> datetime:
        """The database's clock (UTC)."""
        with self._database.read() as connection:
            return self._database.now(connection)

    def add(
        self, job: str, *, kind: str, title: str, request: dict[str, Any], app: dict[str, Any], priority: int = 0
    ) -> None:
        """Adds a waiting job. `request` is plain data, enough to begin again; `app` names the program that runs it."""
        values = {
            "id": job, "kind": kind, "title": title, "request": dump(request), "priority": priority,
            "state": "waiting", "sentence": "", "share": 0.0, "app": dump(app),
        }  # fmt: skip
        with self._database.write() as connection:
            now = self._database.now(connection)
            tick = JobRow.created.between(now, now + TICK)
            last = connection.execute(select(func.max(JobRow.created)).where(tick)).scalar_one()
            created = last + timedelta(microseconds=1) if last else now
            connection.execute(insert(JobRow), values | {"created": created, "heard": now})

    def put(self, job: str, *, while_open: bool = False, **changes: Any) -> None:
        """Updates a job: any of state, sentence, share, progress, priority, run_id, and times.

        With `while_open`, a job that has ended meanwhile stays as it is.
        """
        if "progress" in changes:
            changes["progress"] = dump(changes["progress"])
        with self._database.write() as connection:
            change = update(JobRow).where(JobRow.id == job)
            change = change.where(JobRow.state.in_(OPEN)) if while_open else change
            connection.execute(change.values(heard=self._database.now(connection), **changes))

    def hear(self, jobs: Collection[str]) -> dict[str, Wish]:
        """Records a heartbeat of these jobs, and returns what other programs ask of them."""
        with self._database.write() as connection:
            heard = self._database.now(connection)
            connection.execute(update(JobRow).where(JobRow.id.in_(jobs)).values(heard=heard))
            rows = connection.execute(
                select(JobRow.id, JobRow.wanted).where(JobRow.id.in_(jobs), JobRow.wanted.is_not(None))
            )
            return {job: cast(Wish, wish) for job, wish in rows}

    def ask(self, job: str, wish: Wish) -> bool:
        """Asks the program that carries out an open job for something; False where the job has ended already."""
        self.get(job)
        with self._database.write() as connection:
            asked = update(JobRow).where(JobRow.id == job, JobRow.state.in_(OPEN)).values(wanted=wish)
            return connection.execute(asked).rowcount == 1

    def claim(self, job: str, app: dict[str, Any]) -> bool:
        """Takes over a job that has stopped, to go on with it; False where another program did so before."""
        values = {"state": "waiting", "sentence": "", "wanted": None, "ended": None, "app": dump(app)}
        with self._database.write() as connection:
            taken = update(JobRow).where(JobRow.id == job, JobRow.state.in_(RESUMABLE))
            return connection.execute(taken.values(**values, heard=self._database.now(connection))).rowcount == 1

    def interrupt(self, job: str, heard: datetime) -> bool:
        """Marks an open job as interrupted, unless it was heard of since `heard`."""
        values = {"state": "interrupted", "ended": heard, "sentence": "The program that carried it out has stopped."}
        with self._database.write() as connection:
            found = update(JobRow).where(JobRow.id == job, JobRow.state.in_(OPEN), JobRow.heard <= heard)
            return connection.execute(found.values(**values)).rowcount == 1

    def get(self, job: str) -> JobRecord:
        """One job."""
        with self._database.read() as connection:
            row = connection.execute(select(JobRow).where(JobRow.id == job)).first()
            if row is None:
                raise UnknownName("job", job, ["those that `jobs list` shows"])
            return _record(row)

    def all(self, *, states: Collection[JobState] | None = None, limit: int | None = None) -> list[JobRecord]:
        """Jobs, those that are open first, the newest of each first."""
        chosen = select(JobRow).order_by(JobRow.state.not_in(OPEN), JobRow.created.desc()).limit(limit)
        if states is not None:
            chosen = chosen.where(JobRow.state.in_(states))
        with self._database.read() as connection:
            return readable(connection.execute(chosen).all(), _record, "a job of the store")

    def forget(self, job: str) -> bool:
        """Deletes an ended job; its result stays, with its curve. False where the job is open."""
        with self._database.write() as connection:
            gone = connection.execute(delete(JobRow).where(JobRow.id == job, JobRow.state.not_in(OPEN))).rowcount == 1
            if gone and not connection.execute(select(FileRow.id).where(FileRow.job_id == job)).first():
                connection.execute(delete(PointRow).where(PointRow.source == job))
            return gone

    def learn(self, source: str, points: Iterable[LearningPoint]) -> None:
        """Adds points to the curve of a job or a run; a step that is there already is replaced."""
        rows = [{"source": source, "step": point.step, "record": dump(point)} for point in points]
        if not rows:
            return
        with self._database.write() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            row = dialect.insert(PointRow)
            key = {"index_elements": ["source", "step"], "set_": {"record": row.excluded.record}}
            connection.execute(row.on_conflict_do_update(**key), rows)

    def curve(self, source: str, *, after: int = -1) -> list[LearningPoint]:
        """The points of a curve beyond step `after`, in order."""
        chosen = select(PointRow.record).where(PointRow.source == source, PointRow.step > after).order_by(PointRow.step)
        with self._database.read() as connection:
            records = connection.execute(chosen).scalars().all()
        return readable(records, partial(load, LearningPoint), "a point of a learning curve")


def _record(row: Any) -> JobRecord:
    """Raises `Unreadable`."""
    return checked(
        JobRecord,
        id=row.id,
        kind=row.kind,
        title=row.title,
        request=parsed(row.request),
        priority=row.priority,
        state=row.state,
        sentence=row.sentence,
        share=row.share,
        progress=fitting(LearningPoint, row.progress) if row.progress else {},
        app=parsed(row.app) if row.app else {},
        wanted=row.wanted,
        run=row.run_id,
        created=row.created,
        started=row.started,
        ended=row.ended,
        heard=row.heard,
    )
