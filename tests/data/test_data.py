"""Datasets: the same splits every time, nothing drawn from test, and one sentence for whatever does not fit."""

import gzip
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from compression import data
from compression.data import cache, edition, preparing, sources
from compression.data.augmentation import Augmentation
from compression.data.cache import Decoded
from compression.data.dataset import Dataset, split_off
from compression.data.loading import load
from compression.errors import DataUnavailable, InvalidData, InvalidFile, UnknownName


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def offline(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(sources, "SYSTEM_FASHION_MNIST", empty_home / "nowhere")


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


FINGERPRINTS = {
    "RGB": "d31c77eabcd89569706e8d845e732bc7b0af471c5dd6b56e2c67abe394f497ff",
    "L": "a3542b5b500aaf42d5175b7863141f7a446cd61d4ade6c616cd7c27cba9a6168",
}
"""Of `save_images`, as they were when folders were kept in memory."""


def save_images(root: Path, *, sizes: dict[str, tuple[int, int]] | None = None, mode: str = "RGB") -> Path:
    """Four training and two test images of two classes; `sizes` gives single files another size (width, height)."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                relative = f"{part}/{name}/{index}.png"
                width, height = (sizes or {}).get(relative, (12, 10))
                shape = (height, width) if mode == "L" else (height, width, 3)
                Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(root / relative)
    return root


# --- splits ---


def test_splits_of_digits_are_disjoint_complete_and_the_same_every_time(digits: Dataset) -> None:
    parts = [rows(split.images) for split in (digits.train, digits.validation, digits.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert load("digits").fingerprint == digits.fingerprint
    assert all(split.labels.bincount(minlength=10).min() >= 10 for split in (digits.validation, digits.test))


def test_fashion_mnist_keeps_5000_of_60000_for_validation() -> None:
    try:
        dataset = load("fashion-mnist")
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [55_000, 5_000, 10_000]
    assert dataset.validation.labels.bincount().tolist() == [500] * 10
    assert dataset.test.labels[:5].tolist() == [9, 2, 1, 1, 6]  # the published order
    assert dataset.train.images.shape[1:] == dataset.input_shape == (1, 28, 28)


def test_split_off_leaves_no_class_without_images() -> None:
    labels = torch.tensor([0] * 50 + [1] * 2 + [2])
    rest, part = split_off(labels, 5)
    assert set(labels[rest].tolist()) == {0, 1, 2}
    assert labels[part].bincount().tolist() == [5, 1]


def test_calibration_draws_from_train_alone(digits: Dataset) -> None:
    drawn = digits.calibration(500, seed=3)
    assert drawn.dtype == torch.uint8
    assert len(rows(drawn)) == 500
    assert rows(drawn) <= rows(digits.train.images)
    assert not rows(drawn) & (rows(digits.validation.images) | rows(digits.test.images))
    assert torch.equal(drawn, digits.calibration(500, seed=3))
    assert not torch.equal(drawn, digits.calibration(500, seed=4))
    assert len(digits.calibration(10**6)) == len(digits.train)


def test_fingerprint_sees_one_pixel(digits: Dataset) -> None:
    changed = load("digits")
    changed.test.images[0, 0, 0, 0] += 1
    assert changed.fingerprint != digits.fingerprint


@pytest.mark.parametrize("statistics", [{}, {"mean": (0.1,), "std": (0.7,)}])
def test_normalize_is_the_textbook_formula(digits: Dataset, statistics: dict[str, tuple[float, ...]]) -> None:
    images = digits.test.images[:20]
    mean, std = statistics.get("mean", digits.mean)[0], statistics.get("std", digits.std)[0]
    expected = (images.numpy().astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(digits.normalize(images, **statistics).numpy(), expected, atol=1e-6)


# --- sources ---


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"fashion-mnist.*digits.*cifar100.*folder:PATH"):
        load("imagenet")


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "cifar10", "cifar100"])
def test_without_any_source_one_sentence_names_digits(offline: None, name: str) -> None:
    with pytest.raises(DataUnavailable, match=r"could not be downloaded .* 'digits' always works") as caught:
        load(name)
    assert str(caught.value).count(".") <= 2  # a sentence, and a dot in a path at most
    assert len(load("digits").test) == 359


def test_the_systems_copy_is_used_and_named(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, count in (("train", 60), ("t10k", 20)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", (np.arange(count * 784) % 251).reshape(count, 28, 28))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    monkeypatch.setattr(sources, "SYSTEM_FASHION_MNIST", tmp_path)
    dataset = load("fashion-mnist")
    assert str(tmp_path) in dataset.source
    assert dataset.test.images.flatten().tolist() == [i % 251 for i in range(20 * 784)]
    assert dataset.test.labels.tolist() == [i % 10 for i in range(20)]


def write_idx(path: Path, array: np.ndarray, *, kind: int = 8, cut: int = 0) -> Path:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    path.write_bytes(gzip.compress((header + array.astype(np.uint8).tobytes())[: -cut or None]))
    return path


def test_damaged_idx_files_are_refused(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(sources.read_idx(write_idx(tmp_path / "good.gz", array)), array)
    with pytest.raises(InvalidFile, match="does not hold exactly as many"):
        sources.read_idx(write_idx(tmp_path / "short.gz", array, cut=1))
    with pytest.raises(InvalidFile, match="not an IDX file"):
        sources.read_idx(write_idx(tmp_path / "floats.gz", array, kind=13))
    (tmp_path / "text.gz").write_text("no gzip at all")
    with pytest.raises(InvalidFile, match="cannot be read"):
        sources.read_idx(tmp_path / "text.gz")


def test_listing_datasets_and_models_does_not_import_torch() -> None:
    loaded = "from compression import data, models; models.cards(); data.DATASETS"
    code = f"import sys; {loaded}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_every_public_name_is_there() -> None:
    assert all(getattr(data, name) for name in data.__all__)
    with pytest.raises(AttributeError):
        _ = data.missing


# --- cache ---


def decoded(value: int) -> Decoded:
    images, labels = torch.full((30, 1, 8, 8), value, dtype=torch.uint8), torch.full((30,), value)
    return Decoded(
        images, labels, images.clone(), labels.clone(), classes=tuple("abcdefghij"), source=f"Made of {value}."
    )


def test_cache_gives_back_what_was_kept(empty_home: Path) -> None:
    assert cache.read("x") is None
    cache.write("x", decoded(7), "state")
    kept = cache.read("x", "state")
    assert kept is not None
    assert (kept.classes, kept.source) == (tuple("abcdefghij"), "Made of 7.")
    assert torch.equal(kept.train_images, decoded(7).train_images)
    assert cache.read("x", "another state") is None


@pytest.mark.parametrize("keep", [0, 4, 300, 3000])
def test_half_a_cached_file_is_made_again(empty_home: Path, keep: int) -> None:
    cache.write("x", decoded(7))
    cache.path_of("x").write_bytes(cache.path_of("x").read_bytes()[:keep])
    assert cache.read("x") is None
    cache.write("x", decoded(8))
    assert (cache.read("x") or decoded(7)).source == "Made of 8."


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("train_labels", torch.full((30,), -7)),
        ("test_labels", torch.full((30,), -1)),
        ("test_labels", torch.zeros(29, dtype=torch.int64)),
        ("train_labels", torch.zeros(30)),
        ("train_images", torch.zeros(30, 1, 8, 8)),
        ("train_images", torch.zeros(30, 3, 8, 8, dtype=torch.uint8)),
        ("test_images", torch.zeros(30, 64, dtype=torch.uint8)),
    ],
)
def test_a_cached_file_of_another_program_is_made_again(empty_home: Path, name: str, tensor: torch.Tensor) -> None:
    kept = decoded(7)
    object.__setattr__(kept, name, tensor)
    cache.write("x", kept)
    assert cache.read("x") is None


@pytest.mark.parametrize("classes", [None, "", "7", "[" * 100_000, "{"])
def test_a_cached_file_without_classes_is_made_again(empty_home: Path, classes: str | None) -> None:
    kept = decoded(7)
    tensors = {each.name: getattr(kept, each.name) for each in fields(kept) if each.name not in ("classes", "source")}
    about = {"format": cache.FORMAT, "state": "", "source": "s"} | ({} if classes is None else {"classes": classes})
    cache.path_of("x").parent.mkdir(parents=True)
    save_file(tensors, cache.path_of("x"), metadata=about)
    assert cache.read("x") is None


def test_writers_at_once_never_show_a_mixed_file(empty_home: Path) -> None:
    def write(value: int) -> None:
        for _ in range(20):
            cache.write("x", decoded(value))

    writers = [threading.Thread(target=write, args=(value,)) for value in (1, 2)]
    cache.write("x", decoded(1))
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen = cache.read("x")
        assert seen is not None
        assert seen.train_images.unique().tolist() == seen.test_labels.unique().tolist()
    assert [path.name for path in cache.path_of("x").parent.iterdir()] == ["x.safetensors"]


def test_a_folder_that_cannot_be_written_costs_only_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "file"))
    cache.write("x", decoded(7))
    assert cache.read("x") is None


# --- folders ---


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folder_gives_the_pixels_of_its_files(empty_home: Path, tmp_path: Path, mode: str, channels: int) -> None:
    root = save_images(tmp_path / "images", mode=mode)
    for _ in range(2):  # decoded, then from the cache
        dataset = load(f"folder:{root}")
        assert dataset.input_shape == (channels, 10, 12)
        assert dataset.classes == ("cat", "dog")
        assert dataset.test.labels.tolist() == [0, 0, 1, 1]
        expected = np.asarray(Image.open(root / "test/dog/1.png")).reshape(10, 12, channels).transpose(2, 0, 1)
        assert np.array_equal(dataset.test.images[3].numpy(), expected)
        assert [len(dataset.train), len(dataset.validation)] == [6, 2]


def test_folder_statistics_are_those_of_its_training_images(empty_home: Path, tmp_path: Path) -> None:
    root = save_images(tmp_path / "images")
    dataset = load(f"folder:{root}")
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(root.glob("train/*/*.png"))]) / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), atol=1e-4)


def test_folder_is_decoded_once_and_again_when_it_changes(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save_images(tmp_path / "images")
    before, told = load(f"folder:{root}"), edition(f"folder:{root}")
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "make", None)  # calling it would fail
        assert load(f"folder:{root}").fingerprint == before.fingerprint
    Image.new("RGB", (12, 10), "red").save(root / "test/cat/0.png")
    assert load(f"folder:{root}").fingerprint != before.fingerprint
    assert edition(f"folder:{root}") != told
    assert len(list(cache.path_of("x").parent.iterdir())) == 1


def test_one_colour_image_makes_the_set_a_coloured_one(empty_home: Path, tmp_path: Path) -> None:
    root = save_images(tmp_path / "images", mode="L")
    Image.new("RGB", (12, 10), "red").save(root / "train/cat/0.png")
    dataset = load(f"folder:{root}")
    assert dataset.input_shape == (3, 10, 12)
    assert torch.equal(dataset.test.images[:, 0], dataset.test.images[:, 2])


@pytest.mark.parametrize(("mode", "known"), FINGERPRINTS.items())
def test_a_folder_of_one_size_is_what_it_was_before_sizes_were_free(
    empty_home: Path, tmp_path: Path, mode: str, known: str
) -> None:
    """Results in the store are found by this hash of pixels, labels, splits and statistics."""
    for _ in range(2):  # decoded, then mapped
        assert load(f"folder:{save_images(tmp_path / mode, mode=mode)}").fingerprint == known


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_a_file_that_is_no_image_costs_itself_alone(empty_home: Path, tmp_path: Path, content: bytes) -> None:
    root = save_images(tmp_path / "images")
    (root / "test/dog/0.png").write_bytes(content)
    for _ in range(2):
        dataset = load(f"folder:{root}")
        assert dataset.skipped == ("test/dog/0.png: it cannot be read as an image",)
        assert dataset.test.labels.tolist() == [0, 0, 1] and len(dataset.train) + len(dataset.validation) == 8
        expected = np.asarray(Image.open(root / "test/dog/1.png")).transpose(2, 0, 1)
        assert np.array_equal(dataset.test.images[2].numpy(), expected)


def test_a_folder_that_cannot_be_decoded_at_all_is_one_sentence(empty_home: Path, tmp_path: Path) -> None:
    root = save_images(tmp_path / "images")
    for path in root.glob("test/*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InvalidData, match=r"No image for test can be decoded; 4 were left out, first test/cat/0"):
        load(f"folder:{root}")
    for path in root.glob("train/*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InvalidData, match=r"None of 12 images can be read, first .*train/cat/.\.png: it"):
        load(f"folder:{root}")
    assert list(cache.path_of("x").parent.glob("*")) == []


# --- augmentation ---

FILL = torch.tensor([9], dtype=torch.uint8)


def augmented(augmentation: Augmentation, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmentation(images, torch.Generator().manual_seed(seed), FILL)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.arange(64 * 80).remainder(251).add(1).to(torch.uint8).view(64, 1, 8, 10)


def test_flip_mirrors_about_half_and_nothing_else(images: torch.Tensor) -> None:
    result = augmented(Augmentation(flip=True), images)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    assert ((result == images).flatten(1).all(1) ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_shift_moves_whole_images_by_at_most_its_pixels(images: torch.Tensor) -> None:
    result = augmented(Augmentation(shift=2), images)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    moves = set()
    for index in range(len(images)):
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(result[index], padded[index, :, y : y + 8, x : x + 10])
        ]
        assert len(found) == 1
        moves.update(found)
    assert len(moves) > 15


def test_erase_fills_squares_in_its_share_of_the_images(images: torch.Tensor) -> None:
    holes = (augmented(Augmentation(erase=3, erase_share=0.5), images) != images).flatten(1).sum(1)
    assert 16 < (holes > 0).sum() < 48
    assert holes.max() == 9
    everywhere = augmented(Augmentation(erase=100, erase_share=1.0), images)
    assert (everywhere == 9).all()


def test_augmentation_depends_on_the_seed_alone(images: torch.Tensor) -> None:
    everything = Augmentation(flip=True, shift=2, erase=3)
    assert torch.equal(augmented(everything, images, 1), augmented(everything, images, 1))
    assert not torch.equal(augmented(everything, images, 1), augmented(everything, images, 2))
