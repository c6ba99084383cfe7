"""Memory that runs out is one sentence, whoever says so."""

import gc
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from google.protobuf.message import EncodeError
from torch import nn

from compression.errors import OutOfMemory, UserError
from compression.host.process_memory import enough_memory, give_back, importing, resident_bytes
from compression.jobs.messages import Refusal
from compression.jobs.worker import refusal_on_error
from compression.pipeline import compress as pipeline

HUGE = 1 << 50


@pytest.mark.parametrize(
    ("work", "asked"),
    [
        (lambda: torch.empty(HUGE, dtype=torch.uint8), f"{HUGE / 1e9:,.1f} GB"),
        (lambda: np.empty(HUGE, np.uint8), f"{HUGE / 1e9:,.1f} GB"),
        (lambda: bytearray(HUGE), "for this network and recipe;"),
    ],
)
def test_what_torch_numpy_and_python_lack_is_told(work, asked):
    with pytest.raises(OutOfMemory, match="There is not enough memory") as told, enough_memory():
        work()
    assert asked in str(told.value)
    assert "fewer calibration images" in str(told.value)


@pytest.mark.parametrize("error", [EncodeError("Failed to serialize proto"), OSError(12, "Cannot allocate memory")])
def test_what_others_say_of_it(error: Exception) -> None:
    with pytest.raises(OutOfMemory), enough_memory():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        OSError(2, "No such file"),
        ValueError("memory"),
        OSError(122, "Disk quota exceeded"),
        OSError(2, "No such file", "out of memory"),
    ],
)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, enough_memory():
        raise error
    assert passed.value is error


def test_a_job_and_the_pipeline_refuse_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = refusal_on_error(lambda: torch.empty(HUGE, dtype=torch.uint8))
    assert isinstance(answer, Refusal)
    assert "not enough memory" in answer.sentence
    monkeypatch.setattr(pipeline, "traced", lambda *given: torch.empty(HUGE, dtype=torch.uint8))
    with pytest.raises(UserError, match="not enough memory"):
        pipeline.prepare(nn.Identity(), None)  # type: ignore[arg-type]


def test_freed_memory_goes_back() -> None:
    give_back()
    if os.path.exists("/proc/self/status"):
        assert 0 < (resident_bytes() or 0) < 1 << 44


def test_collections_pass_over_what_was_imported() -> None:
    gc.unfreeze()
    try:
        with importing():
            assert not gc.isenabled()
            module: list[dict[str, list[int]]] = [{"a module": []}]
        assert gc.isenabled() and gc.get_freeze_count()
        assert not any(each is module for each in gc.get_objects())
        later: list[list[int]] = [[]]
        assert any(each is later for each in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(each is module for each in gc.get_objects())


FAULTS = """
import resource, torch
from compression.host.process_memory import keep_freed
keep_freed()
def maps():
    return [torch.ones(6_000_000) for _ in range(4)]  # 24 MB each, all freed at once
for _ in range(10):
    maps()  # until small things have found places between them
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    maps()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_pages_of_feature_maps_are_used_again_unless_the_environment_says_what_to_keep() -> None:
    def faults(**environment: str) -> int:
        known = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-c", FAULTS], env=known | environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert 20 * faults() < faults(MALLOC_TRIM_THRESHOLD_="1000000")
