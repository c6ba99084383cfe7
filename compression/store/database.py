"""The database behind the store: opened, brought up to date, and its failures turned into sentences."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from compression.errors import InvalidSetting, StoreUnavailable
from compression.store.reading import Unreadable
from compression.store.tables import VERSION_TABLE

HEAD = "0002"
"""The newest migration. That it is what alembic finds in `migrations/versions` is tested."""

BUSY_S = 10
MIGRATION_LOCK = 0x436F6D7072  # PostgreSQL's advisory locks go by number
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


class Database:
    """An open database whose tables are those of this version. `place` is how to name it to people."""

    def __init__(self, url: str):
        self.url = _url(url)
        self.place = self.url.database or "memory" if self.is_file else _shown_address(self.url)
        with self._said():
            if self.is_file:
                Path(self.place).parent.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(self.url)
            self._upgrade()

    @property
    def is_file(self) -> bool:
        """Whether it is a SQLite file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view. Raises `StoreUnavailable`."""
        with self._said(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All of what is written inside, or nothing. Raises `StoreUnavailable`."""
        with self._said(), self._engine.execution_options(write=True).begin() as connection:
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The database's clock, which is the same for all programs that share it (UTC)."""
        if self.is_file:
            found = connection.execute(text("SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')")).scalar_one()
            return datetime.fromisoformat(found)
        return connection.execute(text("SELECT clock_timestamp()")).scalar_one().astimezone(UTC)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _upgrade(self) -> None:
        if self._version() != HEAD:
            with self.write() as connection:
                if not self.is_file:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
                _migrate(connection, self.place)

    def _version(self) -> str | None:
        with self._engine.begin() as connection:
            return _version(connection)

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise StoreUnavailable(_sentence(error, self.place)) from error
        except Unreadable as error:
            raise StoreUnavailable(f"{self.place} holds what this program cannot read: {error}.") from error
        except (UnicodeError, OverflowError) as error:  # half a character, a number of 70 bits
            raise InvalidSetting(f"The store can neither keep nor look for that: {error}.") from None


def _url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        given = re.sub(".*@", "…@", url)  # a password may stand before
        raise StoreUnavailable(
            "COMPRESSION_DATABASE must be an address like postgresql://user@host/name or sqlite:////path, "
            f"not {given!r}."
        ) from None
    if parsed.get_backend_name() not in DRIVERS:
        given = _shown_address(parsed)
        raise StoreUnavailable(f"COMPRESSION_DATABASE must begin with postgresql:// or sqlite:///, not '{given}'.")
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _shown_address(url: URL) -> str:
    """The address for people. A password may stand in the query too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_S})
        engine = create_engine(url, connect_args={"timeout": BUSY_S, "check_same_thread": False})
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreUnavailable(f"The driver of COMPRESSION_DATABASE is not installed: {error}.") from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, so that changes of tables are part of a transaction too
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    end = time.monotonic() + BUSY_S
    while True:  # SQLite does not wait by itself where two programs turn on the log at once
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its turn at the beginning: one that reads first and writes then would fail instead of waiting."""
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _migrate(connection: Connection, place: str) -> None:
    """Runs what is missing of the migrations. Another program may have done so a moment ago."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = _version(connection)
    if found is not None and found not in known:
        raise StoreUnavailable(
            f"The store at {place} was written by a newer version of this program (it has schema {found}, and this "
            f"version reads up to {HEAD}); update the program, or name another store in COMPRESSION_DATABASE."
        )
    if found != HEAD:
        command.upgrade(config, HEAD)


def _sentence(error: BaseException, place: str) -> str:
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    first = reason.splitlines()[0].rstrip(".") if reason else type(error).__name__
    if "locked" in reason or "lock timeout" in reason:
        return f"The store at {place} has been locked by another program for more than {BUSY_S} s; try again."
    if any(sign in reason for sign in ("malformed", "not a database", "disk image")):
        return f"The store at {place} is damaged ({first}); move the file away to begin a new one, or put back a copy."
    if "full" in reason:
        return f"The store at {place} cannot be written: the disk is full."
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout) and not place.endswith((".sqlite", ".db")):
        return f"The database {place} does not answer: {first}."
    return f"The store at {place} cannot be used: {first}."
