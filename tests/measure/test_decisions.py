"""Which class scores name, in NumPy and in torch, and that nothing but the one place decides it."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compression.data import load
from compression.errors import InvalidFile, InvalidModel
from compression.models.model_cards import WEIGHTS, read
from compression.network.decisions import NONE, classes, every_class
from compression.pipeline.compress import prepare

ROOT = Path(__file__).resolve().parents[2]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("make", [np.array, torch.tensor])
@pytest.mark.parametrize(
    ("scores", "named"),
    [
        ([0.0, 2.0, 1.0], 1),
        ([1.0, 1.0, 0.0], 0),
        ([-INF, -3.0, -INF], 1),
        ([NAN, 2.0, 1.0], NONE),
        ([0.0, 2.0, NAN], NONE),
        ([NAN, NAN, NAN], NONE),
        ([0.0, INF, 1.0], NONE),
        ([-INF, -INF, -INF], NONE),
        ([-INF, NAN, 0.0], NONE),
    ],
)
def test_a_class_is_named_by_a_finite_highest_score(make, scores, named):
    assert classes(make([scores, [0.0, 0.0, 7.0]])).tolist() == [named, 2]


def test_no_images_have_no_classes():
    assert classes(np.zeros((0, 3))).tolist() == classes(torch.zeros(0, 3)).tolist() == []


def test_scores_stay_as_they_are():
    scores = torch.tensor([[NAN, 1.0]])
    classes(scores)
    assert scores[0].isnan().tolist() == [True, False]


def test_who_must_answer_every_image_is_named():
    assert every_class(torch.eye(3), "The teacher").tolist() == [0, 1, 2]
    with pytest.raises(InvalidModel, match="The teacher answers 2 of 3 images with NaN"):
        every_class(torch.tensor([[NAN, 1.0], [0.0, 1.0], [INF, 0.0]]), "The teacher")


@pytest.mark.parametrize("part", ["compression", "pages", "benchmarks"])
def test_no_other_place_turns_scores_into_classes(part):
    """Along an axis: the largest of all elements is no class of an image.

    `probe.py` goes to other machines without the engine; that it refuses such scores too has a test beside its others.
    """
    found = []
    for path in (ROOT / part).rglob("*.py"):
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        found += [
            path.name for call in calls if ast.unparse(call.func).endswith("argmax") and (call.args or call.keywords)
        ]
    assert sorted(found) == (["decisions.py", "probe.py"] if part == "compression" else [])


class Nowhere(nn.Linear):
    """Answers infinite scores for every image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1)) * float("inf")


def test_a_network_that_names_no_class_is_not_prepared():
    with pytest.raises(InvalidModel, match="The network answers 8 of 8 images with NaN"):
        prepare(Nowhere(64, 10), load("digits"))


@pytest.mark.parametrize(("field", "words"), [("mean", "123.7 is 0.485 here"), ("std", "123.7 is 0.485 here")])
def test_a_card_with_statistics_of_bytes_is_refused(tmp_path, field, words):
    plain = json.loads((WEIGHTS / "lenet5-digits.json").read_text())
    (tmp_path / "lenet5-digits.json").write_text(json.dumps(plain | {field: [123.7]}))
    with pytest.raises(InvalidFile, match=words):
        read(tmp_path / "lenet5-digits.json")
