"""Colour photographs in lessons: taken from the user's CIFAR-10 where there is one, and read as data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compression import models
from compression.data import cache
from compression.data.cache import Decoded
from compression.data.catalog import DATASETS
from compression.lessons import images, networks, pruning

NAMES = tuple(f"class {number}" for number in range(10))


def colours(*, classes: tuple[str, ...] = NAMES, side: int = 32) -> Decoded:
    """A made-up dataset of squares in 16 colours, shaped like CIFAR-10: image i of the test split has class i % 10."""
    draw = torch.Generator().manual_seed(0)
    squares = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8, generator=draw)
    pixels = squares.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)
    labels = torch.arange(30) % 10
    return Decoded(pixels[:10].clone(), labels[:10].clone(), pixels, labels, classes, "made up")


@pytest.fixture
def own_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The made-up dataset in a home of its own."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    cache.write("cifar10", colours())
    return colours()


def test_two_photographs_of_each_class_are_taken_from_the_users_dataset(own_cifar: Decoded) -> None:
    photo = images.photographs()
    assert photo is not None
    assert photo.places.tolist() == [place for c in range(10) for place in (c, c + 10)]
    assert (photo.pixels == own_cifar.test_images[photo.places].numpy()).all()
    assert photo.title(3) == "class 1 (test image 11)"
    assert (photo.picture(3) == own_cifar.test_images[11].permute(1, 2, 0).numpy()).all()
    spec = DATASETS["cifar10"]
    pixel = own_cifar.test_images[11, :, 5, 7].numpy() / 255
    assert photo.inputs[3, :, 5, 7] == pytest.approx((pixel - spec.mean) / spec.std, abs=1e-5)


def test_without_the_dataset_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    assert images.photographs() is None
    cache.write("cifar10", colours())
    assert images.photographs() is not None  # fetched while the app is open
    cache.path_of("cifar10").unlink()
    assert images.photographs() is None


@pytest.mark.parametrize("wrong", [colours(classes=NAMES[:9]), colours(side=28)])
def test_another_dataset_under_that_name_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Decoded
) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    cache.write("cifar10", wrong)
    assert images.photographs() is None


@pytest.mark.parametrize("content", [b"", b"no safetensors file", b"\xff" * 64])
def test_a_damaged_file_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    cache.path_of("cifar10").parent.mkdir(parents=True)
    cache.path_of("cifar10").write_bytes(content)
    assert images.photographs() is None


def test_what_is_told_of_a_photograph_is_what_the_network_says(own_cifar: Decoded) -> None:
    photo = images.photographs()
    assert photo is not None
    network = models.load("resnet20", "cifar10").eval()
    with torch.inference_mode():
        dense = network(torch.tensor(photo.inputs)).softmax(1)
        layer = network.get_submodule(pruning.STUDIED)
        weight = networks.layer("resnet20", "cifar10", pruning.STUDIED).weight
        layer.weight.copy_(torch.tensor(weight * pruning.mask(weight, 0.95, "filters")))  # type: ignore[operator]
        cut = network(torch.tensor(photo.inputs)).softmax(1)
    seen = pruning.sight(pruning.STUDIED, 0.95, "filters", 3, photo)
    for told, shares in ((seen.dense_answer, dense[3]), (seen.cut_answer, cut[3])):
        assert told == f"{NAMES[int(shares.argmax())]} with {float(shares.max()):.1%} confidence"
    changes = pruning.changed(pruning.STUDIED, 0.95, "filters", photo)
    moved = np.flatnonzero((dense.argmax(1) != cut.argmax(1)).numpy())
    assert len(moved) and [change.image for change in changes] == moved.tolist()
    first = changes[0]
    assert (first.label, first.dense, first.cut) == tuple(
        NAMES[int(c)] for c in (photo.labels[moved[0]], dense[moved[0]].argmax(), cut[moved[0]].argmax())
    )
    assert pruning.changed(pruning.STUDIED, 0.0, "weights", photo) == ()
