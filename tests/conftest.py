"""What every test shares: our package first, a home of the tests' own, and the browser."""

import before_compression  # noqa: F401

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort
import pytest

from compression import rounding
from compression.data import home

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test keeps lands among the user's things; only the datasets there are shared."""
    datasets = home() / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("home")
    (folder / "datasets").symlink_to(datasets, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSION_HOME", str(folder))
        rounding.keep(rounding.Rounding(8, "Multiples of 8, as the tests say.", ort.__version__))
        yield folder


@pytest.fixture(scope="session")
def chromium_path() -> str | None:
    """The system's Chromium for Playwright's `executable_path`; None means the one that Playwright brought."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
