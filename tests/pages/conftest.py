"""The engine that the pages ask."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from compression.jobs.lab import Lab
from pages.ui import state

HERE = Path(__file__).parent

_until_left = ExitStack()
_begun: list[Lab] = []


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whichever engine a page of these tests starts takes turns with nobody else, and ends with them.

    Its workers know the folder of their locks from the variable that they are started with; the tests of other folders
    need that as it was, and nothing that still computes.
    """
    if _is_entered():
        return
    patch, start = _until_left.enter_context(pytest.MonkeyPatch.context()), Lab.__init__
    _until_left.callback(_close)

    def started(lab: Lab) -> None:
        _begun.append(lab)
        start(lab)

    patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
    patch.setattr(Lab, "__init__", started)


def _is_entered() -> bool:
    return Lab.__init__.__name__ == "started"


def _close() -> None:
    for lab in _begun:
        if not lab._closing.is_set():
            lab.close()
    _begun.clear()
    state.lab.clear()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test here: pytest has no scope of a folder without `__init__.py`."""
    if nextitem is None or HERE not in nextitem.path.parents:
        _until_left.close()
