"""What was measured on this machine and kept: a file that another program wrote or damaged is as good as none."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from compression.analysis import layer_sensitivity
from compression.host import channel_multiple, placements
from compression.host.channel_multiple import Rounding, Timed
from compression.host.placements import Placement
from compression.records.analysis import LayerSensitivity, SensitivityPoint

PLACEMENT = Placement(("conv1",), 3, "measured", {"everywhere": 0.9, "measured": 0.8}, "onnxruntime 1")
ROUNDING = Rounding(4, "Because.", "onnxruntime 1", (Timed("int8", 12, 16, 0.8, 0.79, 0.81, 0.75),))
CURVES = LayerSensitivity("conv1", 0.9, (SensitivityPoint("bits", 4.0, 0.8, 100),))
DAMAGED = [
    "", "null", "[]", "{}", "[" * 100_000, "{", '"x"', "\0", json.dumps({**asdict(PLACEMENT), "ratios": {"a": "fast"}}),
    json.dumps({**asdict(PLACEMENT), "of": None}), json.dumps({**asdict(ROUNDING), "multiple": 3}),
    json.dumps({**asdict(ROUNDING), "timed": [{"kernel": "x"}]}), json.dumps({**asdict(ROUNDING), "reason": 7}),
    json.dumps({**asdict(CURVES), "dense": "most"}),
    json.dumps({**asdict(CURVES), "points": [{"technique": "bits", "level": [], "accuracy": None, "n": 1}]}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    return tmp_path


def test_what_was_kept_comes_back(home: Path) -> None:
    placements.save("a" * 32, PLACEMENT)
    channel_multiple.save(ROUNDING)
    layer_sensitivity._write(home / "curves.json", CURVES)
    assert (placements.known("a" * 32), channel_multiple.known()) == (PLACEMENT, ROUNDING)
    assert layer_sensitivity._read(home / "curves.json") == CURVES


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_damaged_is_as_good_as_none(home: Path, text: str) -> None:
    for place in (placements._path("a" * 32), channel_multiple._path(), home / "curves.json"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert (placements.known("a" * 32), channel_multiple.known(), channel_multiple.multiple()) == (None, None, 8)
    assert layer_sensitivity._read(home / "curves.json") is None
