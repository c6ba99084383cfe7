"""The engine that the pages ask."""

from collections.abc import Iterator

import pytest

from pages.ui import state


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The workers' locks are not those of others on this machine, for whom a training would wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
        yield
        state.lab().close()
        state.lab.clear()
