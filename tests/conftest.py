"""What every test shares: our package first, a home of the tests' own, and the browser."""

import atexit
import os
import shutil
import tempfile

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several test processes: a core each, and turns of their own
    os.environ["OMP_NUM_THREADS"] = "1"
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="compression-lab-tests-")
    os.chmod(tempfile.tempdir, 0o755)  # PostgreSQL runs as somebody else
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

import before_compression  # noqa: F401

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from compression import confined
from compression.data import user_folder
from compression.host import channel_multiple
from tests import tenth
from tests.tenth import pytest_addoption  # noqa: F401  an option of every run

settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")  # how fast a machine is that others use too is no property of the code

TOGETHER = ("browser", "pages")
"""Folders whose tests share one app, or one engine."""
LONGEST_FIRST = (*TOGETHER, "jobs", "cli", "models")
"""Folders that begin first where tests run side by side: what is left then takes little, and so all end at once."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out slow tests as `tenth` does; where tests run side by side, folders that take longest begin."""
    tenth.pytest_collection_modifyitems(config, items)
    if "PYTEST_XDIST_WORKER" in os.environ:
        ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


class Groups(LoadScopeScheduling):
    """Where tests run side by side, those of a file stay together, and all that share the one app or engine.

    Slow tests, of which only some run, are spread one by one. Marks of groups would say the same, but pytest-xdist 3.8
    does not see them under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        if self.config.getoption("tenth") is not None and path.parent.name != "browser":
            return nodeid
        return next((name for name in TOGETHER if name == path.parent.name), str(path))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    return Groups(config, log)


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test keeps lands among the user's things; only the datasets there are shared."""
    datasets = user_folder() / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("home")
    (folder / "datasets").mkdir()
    for there in datasets.iterdir():
        if there.name != "uploads":
            (folder / "datasets" / there.name).symlink_to(there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSION_HOME", str(folder))
        patch.setenv("COMPRESSION_IDLE", "0")  # nothing is measured that a test has not asked for
        channel_multiple.save(channel_multiple.Rounding(8, "Multiples of 8, as the tests say.", ort.__version__))
        yield folder


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of `.pt2` files are read in this process only, which starts none that has to import PyTorch first.

    That is for tests of what comes after: what the other process answers, and how it ends, has tests of its own.
    """

    def attempt(kind: str, path: Path, **about: Any) -> None:
        import_module(confined.READERS[kind]).read(path, **about)

    monkeypatch.setattr(confined, "attempt", attempt)


@pytest.fixture(scope="session")
def chromium_path() -> str | None:
    """The system's Chromium for Playwright's `executable_path`; None means the one that Playwright brought."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
