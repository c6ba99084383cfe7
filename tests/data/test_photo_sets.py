"""torchvision's further datasets by name: tiny copies laid out as torchvision lays them out, read by its own code."""

import io
import json
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import utils

from compression.data import load, photo_sets
from compression.data.catalog import DATASETS
from compression.data.decoding import decode
from compression.errors import Cancelled, DataUnavailable
from compression.records.preprocess import Preprocess
from tests.data.test_layouts import photos

P = Preprocess(24, 24, resize_to=28)
urlopen = urllib.request.urlopen


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of datasets; there is no network, and no file has its published checksum."""
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path))
    monkeypatch.setattr(utils, "check_md5", lambda path, md5: True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def eurosat(kept: Path) -> None:
    names = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial")
    photos(kept, *[f"eurosat/2750/{name}/{name}_{i}.jpg" for name in names for i in range(4)])


def gtsrb(kept: Path) -> None:
    photos(kept / "gtsrb/GTSRB/Training", *[f"{c:05}/{i}.ppm" for c in range(3) for i in range(4)])
    photos(kept / "gtsrb/GTSRB/Final_Test/Images", *[f"{i:05}.ppm" for i in range(4)])
    rows = "".join(f"{i:05}.ppm;30;30;5;5;25;25;{i % 3}\n" for i in range(4))
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    (kept / "gtsrb/GT-final_test.csv").write_text(head + rows)


def flowers(kept: Path) -> None:
    root = photos(kept / "flowers-102", *[f"jpg/image_{i:05}.jpg" for i in range(1, 13)])
    savemat(root / "imagelabels.mat", {"labels": np.array([[1 + i % 3 for i in range(12)]])})
    savemat(root / "setid.mat", {"trnid": [[1, 2, 3, 4]], "valid": [[5, 6]], "tstid": [[7, 8, 9, 10, 11, 12]]})


def pets(kept: Path) -> None:
    root = kept / "oxford-iiit-pet"
    (root / "annotations").mkdir(parents=True)
    ids = [f"{name}_{i}" for i in range(5) for name in ("Abyssinian", "great_pyrenees")]
    photos(root / "images", *[f"{each}.jpg" for each in ids])
    lines = [f"{each} {1 + i % 2} {1 + i % 2} 1\n" for i, each in enumerate(ids)]
    (root / "annotations/trainval.txt").write_text("".join(lines[:6]))
    (root / "annotations/test.txt").write_text("".join(lines[6:]))


def food(kept: Path) -> None:
    root = kept / "food-101"
    (root / "meta").mkdir(parents=True)
    for split, numbers in {"train": range(4), "test": range(4, 6)}.items():
        ids = {name: [f"{name}/{i}" for i in numbers] for name in ("apple_pie", "waffles")}
        photos(root / "images", *[f"{each}.jpg" for each in (*ids["apple_pie"], *ids["waffles"])])
        (root / f"meta/{split}.json").write_text(json.dumps(ids))


def imagenette(kept: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        places = [f"{c}/{c}_{i}.JPEG" for c in ("n01440764", "n02102040") for i in range(count)]
        photos(kept / "imagenette2" / split, *places)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)


def svhn(kept: Path) -> None:
    for split in ("train", "test"):
        digits = np.arange(30).reshape(30, 1) % 10 + 1  # 10 stands for 0
        savemat(kept / f"{split}_32x32.mat", {"X": noise(32, 32, 3).transpose(1, 2, 3, 0), "y": digits})


def stl10(kept: Path) -> None:
    (kept / "stl10_binary").mkdir()
    for part in ("train", "test", "unlabeled"):
        (kept / f"stl10_binary/{part}_X.bin").write_bytes(noise(3, 96, 96).transpose(0, 1, 3, 2).tobytes())
        (kept / f"stl10_binary/{part}_y.bin").write_bytes(bytes(1 + i % 10 for i in range(30)))
    (kept / "stl10_binary/class_names.txt").write_text("airplane\nbird\ncar\n")


SETS: dict[str, tuple[Callable[[Path], None], tuple[int, int, int], list[int], str]] = {
    "eurosat": (eurosat, (9, 1, 10), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], "AnnualCrop"),
    "gtsrb": (gtsrb, (9, 3, 4), [0, 1, 2, 0], "0"),
    "flowers102": (flowers, (4, 2, 6), [0, 1, 2, 0, 1, 2], "pink primrose"),
    "oxford-pets": (pets, (4, 2, 4), [0, 1, 0, 1], "Abyssinian"),
    "food101": (food, (6, 2, 4), [0, 0, 1, 1], "apple_pie"),
    "imagenette": (imagenette, (6, 2, 4), [0, 0, 1, 1], "tench"),
}


@pytest.mark.parametrize("name", SETS)
def test_pictures_and_labels_are_torchvisions(kept: Path, name: str) -> None:
    make, counts, labels, first = SETS[name]
    make(kept)
    data = load(name, P)
    assert sum((len(data.train), len(data.validation), len(data.test))) == sum(counts)
    assert data.test.labels.tolist() == labels and data.classes[0] == first
    assert data.source == f"{DATASETS[name].title} from the copy in {kept}." and data.skipped == ()
    assert (data.input_shape, data.mean, data.given) == ((3, 24, 24), P.mean, True)
    listing, _ = photo_sets.obtain(name, lambda sentence, share: None, lambda: False)
    if "test" in listing.parts:
        assert np.array_equal(data.test.images[1].numpy(), decode(listing.parts["test"].paths[1], P))
    plain = load(f"{name}::test=2")
    assert plain.input_shape == DATASETS[name].input_shape and plain.mean == DATASETS[name].mean
    assert len(plain.test) == 2 and plain.mirror == DATASETS[name].mirror


def test_a_damaged_picture_costs_itself_alone(kept: Path) -> None:
    imagenette(kept)
    (kept / "imagenette2/val/n02102040/n02102040_0.JPEG").write_bytes(b"x")
    data = load("imagenette", P)
    assert data.skipped == ("val/n02102040/n02102040_0.JPEG: it cannot be read as an image",)
    assert data.test.labels.tolist() == [0, 0, 1]


def test_arrays_of_svhn_and_stl10(kept: Path) -> None:
    svhn(kept)
    pixels, large = noise(32, 32, 3), noise(3, 96, 96)
    data = load("svhn")
    assert torch.equal(data.test.images, torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    assert data.test.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1] and data.classes[3] == "3"
    assert np.array_equal(load("svhn", P).test.images[4].numpy(), decode(pixels[4], P))
    stl10(kept)
    data = load("stl10")
    assert torch.equal(data.test.images, torch.from_numpy(large)) and data.classes[:2] == ("airplane", "bird")
    assert data.test.labels[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["svhn", "stl10", *SETS])
def test_without_any_source_one_sentence(kept: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataUnavailable, match=r"could not be downloaded and there is no copy of it in .*'digits' always"
    ):
        load(name)
    assert list(kept.glob("*")) == [] and list(kept.glob(".partial*")) == []


def test_a_copy_that_is_not_whole_is_named(kept: Path) -> None:
    food(kept)
    (kept / "food-101/meta/test.json").write_text("{")
    with pytest.raises(DataUnavailable, match=r"copy of Food-101 in .*food-101 is not whole .*; remove it to download"):
        load("food101")
    pets(kept)
    (kept / "oxford-iiit-pet/annotations/test.txt").write_text("Abyssinian_1 99 1 1\n")
    with pytest.raises(DataUnavailable, match="labels do not fit its 2 classes"):
        load("oxford-pets")


def test_a_download_stands_under_its_name_when_it_is_complete(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, download_root: str, md5: str) -> None:
        imagenette(Path(download_root))
        (Path(download_root) / "imagenette2/x.tgz").write_bytes(b"archive")
        assert not (kept / "imagenette2").exists()

    monkeypatch.setattr("torchvision.datasets.imagenette.download_and_extract_archive", download)
    data = load("imagenette", P)
    assert data.source == f"Imagenette, downloaded by torchvision into {kept}." and len(data.test) == 4
    assert sorted(path.name for path in kept.iterdir()) == ["cache", "imagenette2"]
    assert not (kept / "imagenette2/x.tgz").exists()


PUBLISHED: dict[str, tuple[Callable[[Path], None], dict[str, tuple[str, str]]]] = {
    "svhn": (svhn, {f"{split}_32x32.mat": ("", f"{split}_32x32.mat") for split in ("train", "test")}),
    "stl10": (stl10, {"stl10_binary.tar.gz": ("", "stl10_binary")}),
    "eurosat": (eurosat, {"EuroSAT.zip": ("eurosat", "2750")}),
    "gtsrb": (gtsrb, {
        "GTSRB-Training_fixed.zip": ("gtsrb", "GTSRB/Training"),
        "GTSRB_Final_Test_Images.zip": ("gtsrb", "GTSRB/Final_Test"),
        "GTSRB_Final_Test_GT.zip": ("gtsrb", "GT-final_test.csv"),
    }),
    "flowers102": (flowers, {
        "102flowers.tgz": ("flowers-102", "jpg"),
        **{f"{name}.mat": ("flowers-102", f"{name}.mat") for name in ("imagelabels", "setid")},
    }),
    "oxford-pets": (pets, {f"{name}.tar.gz": ("oxford-iiit-pet", name) for name in ("images", "annotations")}),
    "food101": (food, {"food-101.tar.gz": ("", "food-101")}),
    "imagenette": (imagenette, {"imagenette2.tgz": ("", "imagenette2")}),
}  # fmt: skip
"""What lies on their servers: of each file its name, and which part of the copy it holds, seen from which folder."""


def packed(root: Path, member: str, name: str) -> bytes:
    if name.endswith(".mat"):
        return (root / member).read_bytes()
    content, places = io.BytesIO(), [path for path in [root / member, *(root / member).rglob("*")] if path.is_file()]
    if name.endswith(".zip"):
        with zipfile.ZipFile(content, "w") as archive:
            for path in places:
                archive.write(path, path.relative_to(root))
    else:
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            tar.add(root / member, member)
    return content.getvalue()


class Answer(io.BytesIO):
    """What a server sends."""

    code, status, msg = 200, 200, "OK"

    def __init__(self, content: bytes, url: str) -> None:
        super().__init__(content)
        self.url, self.length = url, len(content)

    def info(self) -> HTTPMessage:
        return HTTPMessage()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Puts a dataset's files on the servers that torchvision knows; returns a list in which it keeps what was asked."""

    def serve(name: str) -> list[str]:
        make, published = PUBLISHED[name]
        make(there := tmp_path / "there")
        files = {file: packed(there / folder, member, file) for file, (folder, member) in published.items()}
        asked: list[str] = []

        def answer(handler: object, request: urllib.request.Request) -> Answer:
            asked.append(request.full_url.rpartition("/")[2])
            return Answer(files[asked[-1]], request.full_url)

        monkeypatch.setattr(urllib.request.HTTPHandler, "http_open", answer)
        monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", answer)
        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return asked

    (tmp_path / "there").mkdir()
    return serve


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_is_downloaded_told_of_and_read(
    kept: Path, served: Callable[[str], list[str]], name: str
) -> None:
    asked, told = served(name), list[tuple[str, float]]()
    with pytest.raises(Cancelled):
        load(name, stop=lambda: len(asked) > 1)  # the first question is where redirections lead
    assert [path.name for path in kept.iterdir()] == [] and len(asked) == 2
    data = load(name, progress=lambda sentence, share: told.append((sentence, share)))
    assert {*asked} == {*PUBLISHED[name][1]}
    title = DATASETS[name].title
    assert any(sentence.startswith(f"Downloading {title} from ") and share == 1.0 for sentence, share in told)
    assert data.source.startswith(f"{title}, downloaded by torchvision") and len(data.test) and len(data.train)
    seen = len(asked)
    assert torch.equal(load(name).test.images, data.test.images) and len(asked) == seen
