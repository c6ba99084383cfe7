"""The engine that the pages ask."""

import os
from collections.abc import Iterator

import pytest

from pages.ui import state

STARTED_S = 180


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The workers' locks are not those of others on this machine, for whom a training would wait.

    They have it from the variable that they are started with; the tests of other folders need it as it was.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
        state.lab().ask(os.getpid).result(STARTED_S)
    yield
    state.lab().close()
    state.lab.clear()
