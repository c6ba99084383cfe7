"""Folders of images: what torchvision's ImageFolder reads, channels as the network takes them, and hostile ones."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder

from compression.data import Dataset, edition, folder, layouts, load, normalized
from compression.errors import InvalidData, InvalidModel, InvalidSetting
from compression.host.onnx_runtime import session
from compression.models import loading
from compression.pipeline.compress import prepare
from compression.pipeline.measuring import measure_file
from tests.data.test_data import save_images


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


def refusal(root: Path) -> str:
    """The one sentence that refuses a folder, the same whether its images or its edition are asked for."""
    with pytest.raises(InvalidData) as caught:
        load(f"folder:{root}")
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and sentence.isprintable()
    return sentence


# --- which files ---


def test_what_imagefolder_reads_is_read_in_its_order(tmp_path: Path, root: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    picture = (root / "train/cat/0.png").read_bytes()
    for place in ("train/cat/a/1.png", "train/cat/a-b/2.PNG", "train/cat/a/x/3.Png", "test/dog/deep/er/4.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(picture)
    (elsewhere / "5.png").write_bytes(picture)
    (root / "train/dog/linked").symlink_to(elsewhere)
    (root / "train/dog/linked.png").symlink_to(elsewhere / "5.png")
    (root / "train/Zebra").mkdir()
    (root / "test/Zebra").symlink_to(elsewhere)
    for name in ("6.png", "7.png", "notes.txt"):
        (root / "train/Zebra" / name).write_bytes(picture)
    (root / "train/read.me").write_bytes(picture)
    listing = layouts.list_folder(root)
    for part in ("train", "test"):
        oracle = ImageFolder(root / part)
        assert list(listing.classes) == oracle.classes
        assert list(zip(listing.parts[part].paths, listing.parts[part].labels, strict=True)) == oracle.samples
    data = load(f"folder:{root}")
    assert data.classes == ("Zebra", "cat", "dog") and len(data.test) == 1 + 2 + 3


def test_what_is_hidden_is_no_image_and_no_class(root: Path) -> None:
    before = layouts.list_folder(root)
    (root / "train/.ipynb_checkpoints").mkdir()
    (root / "train/cat/.thumbnails").mkdir()
    for name in ("train/cat/.thumbnails/0.png", "train/cat/._0.png"):
        (root / name).write_bytes(b"no image")
    assert layouts.list_folder(root) == before


def left_out(root: Path) -> tuple[str, ...]:
    """What is said of the pictures that cannot be read; the others are."""
    data = load(f"folder:{root}")
    assert len(data.train) + len(data.validation) == 8 and len(data.test) == 4
    assert edition(f"folder:{root}")
    return data.skipped


@pytest.mark.parametrize("place", ["train/cat/more", "train/emu"])
def test_a_link_to_nothing_is_no_folder(root: Path, place: str) -> None:
    (root / place).symlink_to(root / "gone")
    assert left_out(root) == ()


def test_a_link_to_no_picture_is_named(root: Path) -> None:
    (root / "train/cat/9.png").symlink_to(root / "gone")
    assert left_out(root) == ("train/cat/9.png: it cannot be read as an image: No such file or directory",)


def test_links_in_circles_are_named(root: Path) -> None:
    (root / "train/cat/around").symlink_to(root / "train/cat")
    assert "around is a link that leads back to a folder above it" in refusal(root)
    (root / "train/cat/around").unlink()
    (root / "train/cat/self.png").symlink_to(root / "train/cat/self.png")
    assert left_out(root)[0].startswith("train/cat/self.png: it cannot be read as an image: Too many levels")
    (root / "whole").symlink_to(root / "whole")
    assert "is not the path of a folder" in refusal(root / "whole")


def test_links_that_multiply_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = root / "train/cat/0"
    for i in range(30):
        place.mkdir()
        for name in "ab":
            (place / name).symlink_to(root / f"train/cat/{i + 1}")
        place = root / f"train/cat/{i + 1}"
    place.mkdir()
    monkeypatch.setattr(folder, "MAX_ENTRIES", 5_000)
    assert "images holds more than 5,000 files and folders" in refusal(root)


def test_what_is_no_file_is_named_and_nothing_waits_for_it(root: Path) -> None:
    place, said = root / "train/cat/9.png", ("train/cat/9.png: it is named like an image but is not a file",)
    os.mkfifo(place)
    assert left_out(root) == said
    place.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        assert "train/cat/9.png: it cannot be read as an image" in left_out(root)[0]
    place.unlink()
    place.symlink_to("/dev/zero")
    assert left_out(root) == said


def test_a_folder_that_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, scan = str(root / "train/cat/shut"), os.scandir
    os.mkdir(shut)

    def refuse(path: str) -> object:
        if path == shut:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(root) == f"{shut} cannot be read: Permission denied."


def test_names_that_are_not_utf8_are_read_and_shown(root: Path) -> None:
    os.rename(root / "train/cat/0.png", os.fsencode(root) + b"/train/cat/caf\xe9.png")
    for part in ("train", "test"):
        os.rename(root / part / "dog", os.fsencode(root / part) + b"/chi\xe9n")
    data = load(f"folder:{root}")
    assert data.classes == ("cat", "chi\\xe9n") and len(data.test) == 4
    assert load(f"folder:{root}").fingerprint == data.fingerprint  # from the cache
    (root / os.fsdecode(b"train/cat/caf\xe9.png")).write_bytes(b"no image")
    assert load(f"folder:{root}").skipped == ("train/cat/caf\\xe9.png: it cannot be read as an image",)


@pytest.mark.parametrize("path", ["a\0b", "caf\udce9", "~nobody-of-this-name/x", "x" * 5000])
def test_what_is_no_path_is_one_sentence(path: str) -> None:
    for ask in (load, edition):
        with pytest.raises(InvalidData) as caught:
            ask(f"folder:{path}")
        assert str(caught.value).isprintable()


# --- what is in them ---


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_pictures_without_colours_have_one_channel(root: Path, mode: str) -> None:
    for path in root.glob("*/*/*.png"):
        Image.open(path).convert(mode).save(path)
    data = load(f"folder:{root}")
    assert data.input_shape == (1, 10, 12)
    expected = np.asarray(Image.open(root / "test/dog/1.png").convert("L"))
    assert np.array_equal(data.test.images[3, 0].numpy(), expected)


# --- channels follow the network ---


def saved_as(root: Path, mode: str) -> Dataset:
    """The folder's images, saved anew in another mode."""
    other = root.with_name(mode)
    for path in root.glob("*/*/*.png"):
        place = other / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert(mode).save(place)
    return load(f"folder:{other}")


def small(channels: int, classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes)
    return nn.Sequential(*layers).eval()


def test_channels_are_those_of_pillow(root: Path) -> None:
    colours, grey = load(f"folder:{root}"), saved_as(root, "L")
    assert colours.input_shape == (3, 10, 12) and grey.input_shape == (1, 10, 12)
    assert colours.with_channels(1).fingerprint == grey.fingerprint
    assert grey.with_channels(3).fingerprint == saved_as(root.with_name("L"), "RGB").fingerprint
    assert colours.with_channels(3) is colours


@pytest.mark.parametrize(("stored_as", "channels"), [("L", 3), ("RGB", 1)])
def test_a_network_gets_the_channels_that_it_takes(root: Path, stored_as: str, channels: int) -> None:
    data, network = saved_as(root, stored_as), small(channels)
    prepared = prepare(network, data, calibration_images=16)
    expected = data.with_channels(channels)
    assert prepared.data.fingerprint == expected.fingerprint
    with torch.no_grad():
        wanted = network(expected.normalize(expected.test.images)).argmax(1)
    found = prepared.baseline_predictions
    assert np.array_equal(found.classes, wanted[found.images].numpy())
    onnx = prepared.baseline.onnx
    assert session(onnx).get_inputs()[0].shape[1] == channels
    assert np.array_equal(measure_file(onnx, data).predictions.classes, found.classes)


def test_statistics_say_how_many_channels_the_network_takes(root: Path) -> None:
    grey = saved_as(root, "L")
    given = normalized(grey, "0.485,0.456,0.406", "0.2,0.3,0.4", titles=("--mean", "--std"))
    assert given.input_shape == (3, 10, 12) and given.mean == (0.485, 0.456, 0.406) and given.std == (0.2, 0.3, 0.4)
    assert prepare(small(3), given, calibration_images=16).data.mean == given.mean
    with pytest.raises(InvalidSetting, match="given for 3 channels, but the network takes images of 1"):
        prepare(small(1), given, calibration_images=16)
    with pytest.raises(InvalidSetting, match="--mean and --std must hold equally many numbers, not 3 and 1"):
        normalized(grey, "0.1,0.2,0.3", "1", titles=("--mean", "--std"))


def test_weights_of_a_network_for_colours_fit_grey_images(root: Path, tmp_path: Path) -> None:
    grey = saved_as(root, "L")
    for channels in (1, 3):
        network = loading.build("resnet8", input_shape=(channels, 10, 12), classes=2, seed=channels)
        loading.write_weights(network, tmp_path / "own.safetensors")
        found = loading.read_fitting("resnet8", tmp_path / "own.safetensors", grey)
        assert next(found.parameters()).shape[1] == channels
    loading.write_weights(loading.build("resnet8", input_shape=(3, 10, 12), classes=5), tmp_path / "own.safetensors")
    with pytest.raises(InvalidModel, match="do not fit"):
        loading.read_fitting("resnet8", tmp_path / "own.safetensors", grey)


def test_a_refusal_for_another_reason_is_the_first_one(root: Path) -> None:
    with pytest.raises(InvalidModel, match="batches of 3×10×12"):
        prepare(small(7), load(f"folder:{root}"))
