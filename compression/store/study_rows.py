"""A study's trials as rows of Optuna's tables, written in one transaction when one begins and one when it ends.

Optuna's own storage takes about ten transactions for a trial, and looks at all trials before it to number one. What is
written here is what it would have written, and what it reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, func, insert, select, update

from compression.store.studies import patient

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STUDIES, TRIALS = models.StudyModel.__table__, models.TrialModel.__table__
VALUES = models.TrialValueModel.__table__
PARAMS, OF_STUDY = models.TrialParamModel.__table__, models.StudyUserAttributeModel.__table__
USER, SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__


@dataclass
class _UnderWay:
    """A trial that has begun here: its row, and which of Optuna's attributes are written."""

    id: int
    system: set[str]


class StudyRows:
    """The trials of one study as this program begins and ends them. Its methods raise `StoreUnavailable`."""

    def __init__(self, engine: Engine, place: str, study: int):
        self._engine, self._study = engine, study
        self._last: tuple[int, int] | None = None  # row and number of the newest trial
        self._under_way = dict[int, _UnderWay]()
        self.begin, self.end = patient(self._begin, place), patient(self._end, place)

    def has(self, number: int) -> bool:
        """Whether a trial is under way that began here."""
        return number in self._under_way

    def _begin(self, trial: "FrozenTrial") -> int:
        """Writes a trial that is under way; its number."""
        with self._engine.begin() as connection:
            self._lock(connection)
            values = {"study_id": self._study, "state": trial.state, "datetime_start": _now()}
            row = connection.execute(insert(TRIALS).values(values).returning(TRIALS.c.trial_id)).scalar_one()
            number = self._next_number(connection, row)
            connection.execute(update(TRIALS).where(TRIALS.c.trial_id == row).values(number=number))
            self._add(connection, PARAMS, row, _params(trial))
            self._add(connection, USER, row, _attributes(trial.user_attrs))
            self._add(connection, SYSTEM, row, _attributes(trial.system_attrs))
        self._last = row, number
        self._under_way[number] = _UnderWay(row, set(trial.system_attrs))
        return number

    def _lock(self, connection: Connection) -> None:
        """Waits while another program begins a trial of the study, unseen by this one; in SQLite each write waits."""
        connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == self._study).with_for_update())

    def _next_number(self, connection: Connection, row: int) -> int:
        """The number of a new trial with that row: the newest has one less; counted where others write too."""
        earlier = (TRIALS.c.study_id == self._study, TRIALS.c.trial_id < row)
        newest = connection.execute(select(func.max(TRIALS.c.trial_id)).where(*earlier)).scalar_one()
        if self._last is not None and newest == self._last[0]:
            return self._last[1] + 1
        return connection.execute(select(func.count()).select_from(TRIALS).where(*earlier)).scalar_one()

    def _end(
        self, number: int, trial: "FrozenTrial", attributes: Mapping[str, Any], of_study: Mapping[str, Any]
    ) -> None:
        """Closes a trial with its state, values and attributes; `of_study` are attributes of the whole study.

        One that another program has closed meanwhile, as it went on with the study, stays as it is.
        """
        known = self._under_way[number]
        open_ = (TRIALS.c.trial_id == known.id, TRIALS.c.state == TrialState.RUNNING)
        closed = {"state": trial.state, "datetime_complete": _now()}
        with self._engine.begin() as connection:
            if connection.execute(update(TRIALS).where(*open_).values(closed)).rowcount:
                self._add(connection, VALUES, known.id, _values(trial))
                self._add(connection, USER, known.id, _attributes(attributes))
                added = {name: value for name, value in trial.system_attrs.items() if name not in known.system}
                self._add(connection, SYSTEM, known.id, _attributes(added))
            for row in _attributes(of_study):
                self._put(connection, row)
        del self._under_way[number]

    def _put(self, connection: Connection, row: dict[str, Any]) -> None:
        """An attribute of the study, whether it had one of that name or not."""
        there = (OF_STUDY.c.study_id == self._study, OF_STUDY.c.key == row["key"])
        if not connection.execute(update(OF_STUDY).where(*there).values(value_json=row["value_json"])).rowcount:
            connection.execute(insert(OF_STUDY).values(study_id=self._study, **row))

    @staticmethod
    def _add(connection: Connection, table: Any, row: int, values: list[dict[str, Any]]) -> None:
        if values:
            connection.execute(insert(table), [{"trial_id": row, **each} for each in values])


def _now() -> datetime:
    """As Optuna keeps times: UTC without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


def _params(trial: "FrozenTrial") -> list[dict[str, Any]]:
    return [
        {
            "param_name": name,
            "param_value": about.to_internal_repr(trial.params[name]),
            "distribution_json": distribution_to_json(about),
        }
        for name, about in trial.distributions.items()
    ]


def _attributes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value_json": json.dumps(value)} for name, value in found.items()]


def _values(trial: "FrozenTrial") -> list[dict[str, Any]]:
    stored = map(models.TrialValueModel.value_to_stored_repr, trial.values or ())
    return [{"objective": i, "value": value, "value_type": kind} for i, (value, kind) in enumerate(stored)]
