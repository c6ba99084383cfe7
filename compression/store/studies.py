"""Optuna's tables, beside ours in the same database: ours all begin with `compression_`."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from compression.errors import StoreUnavailable
from compression.store.database import BUSY_S, Database, _prepare_sqlite

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

PAUSES_S = (0.1, 0.5, 2.0)
"""After these what failed is tried again: another program may just have held the database."""

_opening = threading.Lock()


def study_storage(database: Database) -> "BaseStorage":
    """Where studies lie. Raises `StoreUnavailable`.

    A writer begins its transaction as one (`IMMEDIATE`): one that reads first and writes then fails in SQLite where
    another program has written meanwhile, instead of waiting.
    """
    import optuna
    from optuna.storages import RDBStorage, get_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = database.url.render_as_string(hide_password=False)
    with _opening, failures(database.place):
        if not database.is_file:
            return _sure(get_storage(RDBStorage(url, engine_kwargs={"pool_pre_ping": True})), database.place)
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_S, "isolation_level": "IMMEDIATE"}})
        event.listen(storage.engine, "connect", _settle_sqlite)
        storage.engine.dispose()  # connections that were opened before are not prepared
        return _sure(get_storage(storage), database.place)


def _sure(storage: "BaseStorage", place: str) -> "BaseStorage":
    """The storage, each of whose methods tries a few times and then raises `StoreUnavailable`.

    What it has besides is `rows(study)`, the `StudyRows` of a study by its id.
    """
    from optuna.storages import BaseStorage

    from compression.store.study_rows import StudyRows

    for name in BaseStorage.__abstractmethods__:
        setattr(storage, name, patient(getattr(storage, name), place))
    storage.rows = partial(StudyRows, storage._backend.engine, place)  # type: ignore[attr-defined]
    return storage


def patient(act: Callable[..., Any], place: str) -> Callable[..., Any]:
    """`act`, tried again after each pause; a transaction that failed has written nothing."""

    @wraps(act)
    def tried(*about: Any, **how: Any) -> Any:
        for pause in PAUSES_S:
            try:
                with failures(place):
                    return act(*about, **how)
            except StoreUnavailable:
                time.sleep(pause)
        with failures(place):
            return act(*about, **how)

    return tried


@contextmanager
def failures(place: str) -> Iterator[None]:
    """Turns what the database or Optuna's storage fails with into a sentence."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, OSError, json.JSONDecodeError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise StoreUnavailable(f"The studies in {place} cannot be used: {first}.") from error


def _settle_sqlite(connection: object, record: object) -> None:
    kept = connection.isolation_level  # type: ignore[attr-defined]
    _prepare_sqlite(connection, record)  # type: ignore[arg-type]
    connection.isolation_level = kept  # type: ignore[attr-defined]
