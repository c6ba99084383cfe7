"""The preprocessing that a network was made for comes first, found on training images alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compression.data import layouts
from compression.errors import Cancelled, InvalidData
from compression.models.preprocessing_candidates import (
    Picture,
    candidates,
    rank_preprocessings,
    training_pictures,
)

SIZE = (32, 32)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes by colour, each photo darker or brighter, of several sizes."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))
    generator = np.random.default_rng(0)
    for name, colour in {"blue": (0, 0, 1), "grey": (0.6, 0.6, 0.6), "red": (1, 0, 0)}.items():
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(20):
            shape = (40 + i, 70 - i, 3)
            pixels = generator.uniform(60, 250) * np.array(colour) + generator.uniform(0, 5, shape)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "p" / name / f"{i}.png")
    return tmp_path / "p"


def network_for(title: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Names the colour of a picture that is normalised by that candidate, and nothing sensible of another's."""
    preprocess = next(p for name, p in candidates(SIZE) if name.startswith(title))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))

    def network(images: torch.Tensor) -> torch.Tensor:
        pixels = images * std + mean
        pixels = (pixels.flip(1) if preprocess.channels == "BGR" else pixels).mean((2, 3))  # red, green, blue
        sane = ((pixels > -0.01) & (pixels < 1.01)).all(1)
        scores = torch.stack([pixels[:, 2] - pixels[:, 0], pixels[:, 1] * 1.5, pixels[:, 0] - pixels[:, 2]], 1)
        return torch.where(sane[:, None], scores * 20, torch.tensor([0.0, 0.0, 0.0]))

    return network


@pytest.mark.parametrize("title", ["ImageNet", "0 to 1", "-1 to 1", "0 to 255", "Caffe"])
def test_the_right_one_is_first(root: Path, title: str) -> None:
    pictures, classes = training_pictures(f"folder:{root}", 24)
    assert classes == ("blue", "grey", "red") and len(pictures) == 24
    ranked = rank_preprocessings(network_for(title), pictures, SIZE)
    assert len(ranked) == 11 and ranked[0].n == 24
    assert [each.preprocess.interpolation for each in ranked].count("bicubic") == 1
    best = max(each.accuracy for each in ranked)
    assert ranked[0].accuracy == best == 1.0
    assert any(each.title.startswith(title) and each.accuracy == best for each in ranked[:4])
    assert [each.accuracy for each in ranked] == sorted((each.accuracy for each in ranked), reverse=True)


def test_no_test_picture_is_looked_at(root: Path) -> None:
    pictures, _ = training_pictures(f"folder:{root}", 1000)
    splits = layouts.in_splits(layouts.list_folder(root))
    assert {p.path for p in pictures} == set(splits["train"].paths)
    assert not {p.path for p in pictures} & {*splits["test"].paths, *splits["validation"].paths}


def test_candidates_are_what_they_say() -> None:
    found = dict(candidates((224, 224)))
    pixel = {title: (255 / 255 - p.mean[0]) / p.std[0] for title, p in found.items() if "centre" in title}
    assert {p.resize_to for title, p in found.items() if "centre" in title} == {256}
    white = [round(pixel[title], 3) for title in pixel]
    assert white == [2.249, 1.0, 1.0, 255.0, 151.061]
    assert len(candidates((28, 28), channels=1)) == 6


def test_what_cannot_be_ranked_is_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="None of 1 training images can be decoded"):
        rank_preprocessings(network_for("0 to 1"), [Picture(str(tmp_path / "gone.png"), 0)], SIZE)
    pictures, _ = training_pictures(f"folder:{root}", 4)
    with pytest.raises(Cancelled):
        rank_preprocessings(network_for("0 to 1"), pictures, SIZE, stop=lambda: True)
    with pytest.raises(InvalidData, match="is not an image folder"):
        training_pictures("digits")
    for i in range(3):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{i}.png")
    (tmp_path / "flat").mkdir()
    for i in range(3):
        Image.new("RGB", (9, 9)).save(tmp_path / f"flat/{i}.png")
    with pytest.raises(InvalidData, match="has no labels"):
        training_pictures(f"folder:{tmp_path / 'flat'}")
