"""The record of a network's preprocessing: bounds, hashes, to and from plain data."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from compression.errors import InvalidSetting
from compression.records.preprocess import Preprocess

IMAGENET = Preprocess(224, 224, resize_to=256)


def test_plain_data_and_back() -> None:
    assert Preprocess.from_plain(json.loads(json.dumps(asdict(IMAGENET)))) == IMAGENET


def test_hashes_tell_pixels_from_normalization() -> None:
    unscaled = replace(IMAGENET, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert unscaled.hash != IMAGENET.hash
    assert unscaled.pixels_hash == IMAGENET.pixels_hash != replace(IMAGENET, channels="BGR").pixels_hash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 4}, "height is 4 pixels; 8 to 1024 are allowed."),
        ({"resize_to": 100}, "A shorter side of 100 pixels is less than the crop of 224×224."),
        ({"channels": "grey"}, "mean and std have 3 and 3 numbers; grey images need 1."),
        ({"std": (0.0, 1.0, 1.0)}, "std from 0.000001 to 1000"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "must be finite"),
    ],
)
def test_what_is_out_of_bounds_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said.replace("(", r"\(")):
        replace(IMAGENET, **changes)


@pytest.mark.parametrize(
    "values", [[], {"height": "x", "width": 8}, {"height": 8, "width": 8, "resize": "stretch"}, None]
)
def test_plain_data_of_another_form_is_refused(values: Any) -> None:
    with pytest.raises(InvalidSetting):
        Preprocess.from_plain(values)
