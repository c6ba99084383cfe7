"""A database of results: runs with their measurements, long jobs, and the user's notes.

    store = Store.open()                           # SQLite in the user's folder, or COMPRESSION_DATABASE
    for run in store.runs(dataset="fashion-mnist"):
        print(run.id, run.accuracy.value, run.size_bytes, run.latency)
    store.annotate(run.id, "smallest without a loss")

A run is a file with what was measured on it. Its id is a hash of what it is: it never changes, and is the same for all
who share a database. Milliseconds of other machines never stand in `Run.latency`.

Importing this package is cheap: SQLAlchemy is loaded when a store is opened.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compression.store.records import JobRecord, JobState, Run, StoredLatency, Subject

if TYPE_CHECKING:
    from compression.store.run_table import FORMS, export, frame
    from compression.store.runs import Store

__all__ = ["FORMS", "JobRecord", "JobState", "Run", "Store", "StoredLatency", "Subject", "export", "frame"]

_HOMES = {"Store": "runs", "FORMS": "run_table", "export": "run_table", "frame": "run_table"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
