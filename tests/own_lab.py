"""A program of a test module's own: with a home and locks that no other test has."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compression.jobs.lab import Lab


@contextmanager
def own_lab(name: str, own_home: Path, folders: pytest.TempPathFactory) -> Iterator[Lab]:
    """Its weights take the place of those that come with the program; datasets are those of `own_home`."""
    home, temporary = folders.mktemp(name), folders.mktemp("locks")
    (home / "datasets").symlink_to(own_home / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSION_HOME", str(home))
        patch.setenv("TMPDIR", str(temporary))  # of the workers: their locks are not those of others on this machine
        lab = Lab()
        yield lab
        lab.close()
