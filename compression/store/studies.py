"""Optuna's tables, beside ours in the same database: ours all begin with `compression_`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from compression.errors import StoreUnavailable
from compression.store.database import BUSY_S, Database, _prepare_sqlite

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

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
            return get_storage(RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_S, "isolation_level": "IMMEDIATE"}})
        event.listen(storage.engine, "connect", _settle_sqlite)
        storage.engine.dispose()  # connections that were opened before are not prepared
        return get_storage(storage)


@contextmanager
def failures(place: str) -> Iterator[None]:
    """Turns what the database or Optuna's storage fails with into a sentence."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, OSError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise StoreUnavailable(f"The studies in {place} cannot be used: {first}.") from error


def _settle_sqlite(connection: object, record: object) -> None:
    kept = connection.isolation_level  # type: ignore[attr-defined]
    _prepare_sqlite(connection, record)  # type: ignore[arg-type]
    connection.isolation_level = kept  # type: ignore[attr-defined]
