"""A database in which studies lie."""

from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from compression.store.database import Database
from compression.store.studies import study_storage


@pytest.fixture
def storage(tmp_path: Path) -> BaseStorage:
    return study_storage(Database(f"sqlite:///{tmp_path / 'studies.db'}"))
