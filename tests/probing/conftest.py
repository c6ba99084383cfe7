"""A network on Digits, a run of it in a store, and the zip for another machine, unpacked."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compression import models
from compression.data import load
from compression.export import tflite as tflite_file
from compression.pipeline import compress, measuring
from compression.pipeline.candidate import Prepared
from compression.probing.package import Packed, package
from compression.recipe import Recipe
from compression.steps import Quantize
from compression.store import Store, Subject
from tests.probing.board import NAME, ran


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    return compress.prepare(models.load("lenet300", "digits"), load("digits"), calibration_images=64)


@pytest.fixture(scope="session")
def made(prepared: Prepared) -> Any:
    recipe = Recipe(steps=(Quantize(weight_bits=8),), quality="fast")
    candidate = compress.compress_prepared(prepared, recipe)
    return recipe, candidate, measuring.measure(candidate, prepared)


@pytest.fixture(scope="session")
def tflite(prepared: Prepared, made: Any) -> bytes:
    return tflite_file.export(made[1].books.graph, (1, 8, 8), prepared.calibration.images)


@pytest.fixture(scope="session")
def unpacked(prepared: Prepared, made: Any, tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the zip was unpacked."""
    folder = tmp_path_factory.mktemp("there")
    fp32 = Packed("fp32", "fp32", prepared.baseline.onnx, baseline=True)
    files = [fp32, Packed("ours", "ours", made[1].onnx, tflite=tflite), Packed("again", "the same", made[1].onnx)]
    content = package(files, prepared.data, prepared.data.fingerprint)
    assert content == package(files, prepared.data, prepared.data.fingerprint)
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    return folder


@pytest.fixture(scope="session")
def report(unpacked: Path) -> bytes:
    """What `probe.py` writes there."""
    done = ran(unpacked, "--seconds", "0.05", "--threads", "1,2", "--name", NAME)
    assert done.returncode == 0, done.stderr
    assert "of 200 images right" in done.stdout
    return (unpacked / "report.json").read_bytes()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("COMPRESSION_DATABASE", f"sqlite:///{tmp_path}/store.sqlite")
    opened = Store.open()
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store, prepared: Prepared, made: Any) -> str:
    subject = Subject("lenet300", "digits", "digits", "a" * 64, prepared.data.fingerprint)
    return store.add(subject, made[0], made[2], engine="e")
