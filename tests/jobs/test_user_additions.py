"""Networks and images that users add, as pages ask for them: taken in, looked at together, corrected."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compression import models
from compression.data.archives import added_folders, keep_pictures, title_of
from compression.jobs import additions
from compression.jobs.additions import Inputs, Ranking
from compression.jobs.messages import Refusal, Request
from compression.jobs.questions import class_map_of, correct_classes
from compression.models import Card
from compression.recipe import Recipe

COLOURS = ("blue", "green", "red")


class Strongest(nn.Module):
    """Scores of blue, green and red: which of them is strongest in pixels from -1 to 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(images)).mean((2, 3))

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.layer.weight[..., 0, 0] = torch.eye(3).flip(0)


pytestmark = pytest.mark.usefixtures("read_here")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "strongest.onnx"
    with pytest.warns(DeprecationWarning, match="TorchScript-based ONNX export"):
        torch.onnx.export(Strongest().eval(), (torch.zeros(1, 3, 32, 32),), path, dynamo=False)
    yield path
    for card in models.brought():
        models.dismiss(card.model)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Ten pictures a class, of several sizes, in folders called Blue, GREEN and rot; one file is damaged."""
    generator = np.random.default_rng(0)
    for name, channel in (("Blue", 2), ("GREEN", 1), ("rot", 0)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = generator.integers(100, 140, (40 + i, 50 + i, 3), np.uint8)
            pixels[..., channel] += 90
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "rot" / "damaged.png").write_bytes(b"none")
    return f"folder:{tmp_path / 'photos'}"


def added(network: Path) -> Card:
    card = additions.add_network("strongest", "", network.name, network.read_bytes())
    assert isinstance(card, Card)
    return card


def test_a_file_is_added_with_what_is_assumed_of_it(network: Path) -> None:
    card = added(network)
    assert (card.origin, card.input_shape, card.classes) == ("strongest.onnx", (3, 32, 32), 3)
    assert card.preprocess is not None
    assert (card.preprocess.resize, card.preprocess.mean) == ("exact", (0.0, 0.0, 0.0))
    assert "pixels from 0 to 1 are assumed" in card.checked


def test_a_file_that_is_none_is_refused_without_the_place_it_was_read_at() -> None:
    told = additions.add_network("mine", "", "holiday.onnx", b"nothing")
    assert isinstance(told, Refusal)
    assert "not an ONNX file" in told.sentence and "/tmp" not in told.sentence


def test_a_network_that_no_library_has_is_refused() -> None:
    told = additions.add_network("mine", "timm:nonsense_of_this_name")
    assert isinstance(told, Refusal)
    assert "nonsense_of_this_name" in told.sentence


def test_classes_are_matched_corrected_and_ranked_by(network: Path, photos: str) -> None:
    models.add("strongest", str(network), classes=COLOURS)
    request = Request("strongest", models.OWN, photos, Recipe().to_json())
    found = class_map_of(request)
    assert found is not None and found.indices == (0, 1, None)
    assert (corrected := correct_classes(request, {"rot": "red"})) and corrected.indices == (0, 1, 2)
    seen = additions.inputs_of("strongest", models.OWN, photos)
    assert isinstance(seen, Inputs)
    assert seen.labelled and len(seen.skipped) == 1 and "damaged.png" in seen.skipped[0]
    assert seen.classes is not None and seen.classes.indices == (0, 1, 2)
    assert {picture.shape for picture in seen.pictures} == {(32, 32, 3)}
    assert seen.rankable
    told = additions.ranked_preprocessings("strongest", models.OWN, photos)
    assert isinstance(told, Ranking)
    assert told.ranked[0][2] == 1.0
    caffe = next(share for title, _, share in told.ranked if title.startswith("Caffe"))
    assert caffe < 0.7  # the outer channels are turned round


def test_another_preprocessing_is_what_the_network_gets_from_then_on(network: Path, photos: str) -> None:
    card = added(network)
    assert card.preprocess is not None
    other = replace(card.preprocess, channels="BGR", mean=(0.5,) * 3, std=(0.5,) * 3)
    told = additions.choose_preprocessing("strongest", other)
    assert isinstance(told, Card)
    assert models.card("strongest", models.OWN).preprocess == other
    seen = additions.inputs_of("strongest", models.OWN, photos)
    assert isinstance(seen, Inputs)
    shades = {name: picture.mean((0, 1)).argmax() for name, picture in zip(seen.captions, seen.pictures, strict=True)}
    assert shades.items() <= {"Blue": 2, "GREEN": 1, "rot": 0}.items()  # drawn in true colours


def test_what_is_called_alike_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the browser knows its entries by what they say: with equal ones it chose another than was clicked."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))
    kept = []
    for shade in (10, 200, 90):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / "one.png")
        kept.append(keep_pictures((f"{i}.png", (tmp_path / "one.png").read_bytes()) for i in range(2)).dataset)
    titles = added_folders()
    assert [titles[dataset] for dataset in kept] == ["2 pictures", "2 pictures (2)", "2 pictures (3)"]


def test_pictures_without_labels_are_told_as_such(network: Path, tmp_path: Path) -> None:
    added(network)
    Image.new("RGB", (50, 40), "red").save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    kept = keep_pictures((f"{i}.png", content) for i in range(16))
    assert added_folders()[kept.dataset] == title_of(kept.folder) == "16 pictures"
    seen = additions.inputs_of("strongest", models.OWN, kept.dataset)
    assert isinstance(seen, Inputs)
    assert not seen.labelled and not seen.rankable and seen.classes is None
    assert sum(seen.images.values()) == 16
