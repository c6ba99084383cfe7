"""How folders are meant: parts in all spellings, classes by folder, table or name, and none; splits by a seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compression.data import Dataset, edition, folder, load, pixel_files
from compression.data.layouts import Listing, list_folder
from compression.data.test_samples import ALL, TestSample, named, parted
from compression.errors import Cancelled, InvalidData, InvalidSetting
from compression.records.preprocess import Preprocess
from tests.data.test_decoding import picture

P = Preprocess(24, 24, resize_to=28)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


def photos(root: Path, *places: str) -> Path:
    """Photos of several sizes, each of its own pixels, at the places."""
    for i, place in enumerate(places):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(30 + 7 * (i % 3), 28 + 5 * (i % 4), seed=i).save(path, format="PNG")
    return root


def numbered(template: str, count: int) -> list[str]:
    return [template.format(i) for i in range(count)]


def loaded(root: Path, preprocess: Preprocess | None = P, **options: object) -> Dataset:
    return load(f"folder:{root}", preprocess, **options)  # type: ignore[arg-type]


def names(listing: Listing, part: str) -> list[str]:
    return [Path(path).name for path in listing.parts[part].paths]


def every(data: Dataset) -> Counter[bytes]:
    return Counter(image.numpy().tobytes() for s in (data.train, data.validation, data.test) for image in s.images)


# --- parts ---


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("test", ["test", "testing", "val", "valid", "validation", "Val"])
def test_parts_may_be_spelled_as_is_usual(tmp_path: Path, train: str, test: str) -> None:
    root = photos(
        tmp_path / "p", *numbered(f"{train}/a/{{}}.png", 6), *numbered(f"{train}/b/{{}}.png", 6),
        *numbered(f"{test}/a/{{}}.png", 2), f"{test}/b/0.png",
    )  # fmt: skip
    listing = list_folder(root)
    assert [len(listing.parts[part]) for part in ("train", "test")] == [12, 3]
    data = loaded(root)
    assert data.classes == ("a", "b") and data.test.labels.tolist() == [0, 0, 1] and data.labelled
    assert [len(data.train), len(data.validation)] == [10, 2]


def test_three_parts_are_the_three_splits(tmp_path: Path) -> None:
    root = photos(
        tmp_path / "p", *numbered("train/a/{}.png", 4), *numbered("train/b/{}.png", 4),
        *numbered("valid/a/{}.png", 3), "test/b/0.png",
    )  # fmt: skip
    data = loaded(root)
    assert [len(data.train), len(data.validation), len(data.test)] == [8, 3, 1]
    assert data.validation.labels.tolist() == [0, 0, 0] and data.test.labels.tolist() == [1]


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", "train/a/0.png", "train/b/0.png", "val/a/0.png", "valid/b/0.png")
    with pytest.raises(InvalidData, match=r"valid and .*val both stand for validation; keep one"):
        list_folder(root)


def test_a_class_may_be_missing_in_a_part(tmp_path: Path) -> None:
    root = photos(
        tmp_path / "p", *numbered("train/a/{}.png", 3), *numbered("train/c/{}.png", 3), "test/a/0.png", "test/b/0.png",
    )  # fmt: skip
    (root / "train/empty").mkdir()
    data = loaded(root)
    assert data.classes == ("a", "b", "c", "empty") and data.test.labels.tolist() == [0, 1]
    assert set(data.train.labels.tolist()) == {0, 2}


@pytest.mark.parametrize("inner", ["p", "p/photos", "p/imagenet/val"])
def test_a_folder_a_class_is_split_by_seed_in_every_class(tmp_path: Path, inner: str) -> None:
    places = [f"n0{c}440764/{i}.png" for c in range(4) for i in range(10)]
    photos(tmp_path / inner, *places)
    data = loaded(tmp_path / "p")
    assert data.classes == ("n00440764", "n01440764", "n02440764", "n03440764")
    assert data.test.labels.bincount().tolist() == [5] * 4
    assert data.train.labels.bincount().tolist() == [4] * 4 and data.validation.labels.bincount().tolist() == [1] * 4
    assert len(every(data)) == 40
    assert loaded(tmp_path / "p").fingerprint == data.fingerprint


def test_classes_of_one_photo_each_are_split_together(tmp_path: Path) -> None:
    """As in a sample of one photo for each of ImageNet's classes."""
    root = photos(tmp_path / "p", *[f"n0{i:07}_name.png" for i in range(40)])
    listing = list_folder(root)
    assert listing.classes == tuple(f"n0{i:07}" for i in range(40))
    data = loaded(root)
    assert [len(data.train), len(data.validation), len(data.test)] == [18, 2, 20]
    assert len(set(torch.cat([s.labels for s in (data.train, data.validation, data.test)]).tolist())) == 40


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("IMG_{}.png", 20))
    data = loaded(root)
    assert not data.labelled and data.classes == ()
    assert [len(data.train), len(data.validation), len(data.test)] == [9, 1, 10]
    assert all((s.labels == -1).all() for s in (data.train, data.validation, data.test)) and len(every(data)) == 20
    flat = photos(tmp_path / "q", *numbered("train/{}.png", 8), *numbered("test/{}.png", 3))
    assert not loaded(flat).labelled and len(loaded(flat).test) == 3


def test_a_stray_photo_does_not_cost_the_classes(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("a/{}.png", 10), *numbered("b/{}.png", 10), "cover.png")
    data = loaded(root)
    assert data.classes == ("a", "b") and data.skipped == ("cover.png: it is in no class folder",)
    mixed = photos(tmp_path / "q", "a/0.png", "b/0.png", *numbered("{}.png", 8))
    assert not list_folder(mixed).labelled and len(list_folder(mixed)) == 10


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], "holds 0 images .*at least 2 are needed"),
        (["a.png"], "holds 1 images"),
        (["train/a/0.png", "train/a/1.png", "test/a/0.png"], "has images of 1 class, 'a'; at least 2"),
        (["a.png", "b.png"], "leaves no images for"),
    ],
)
def test_too_few_are_one_sentence(tmp_path: Path, places: list[str], words: str) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(InvalidData, match=words):
        loaded(photos(tmp_path / "p", *places))


def test_three_photos_are_enough_to_try(tmp_path: Path) -> None:
    data = loaded(photos(tmp_path / "p", *numbered("{}.png", 3)))
    assert [len(data.train), len(data.validation), len(data.test)] == [1, 1, 1]


# --- tables ---


def table(root: Path, name: str, text: str) -> Path:
    (root / name).write_text(text)
    return root


TABLES = {
    "with a header": ("labels.csv", "path,label\na/0.png,dog\na/1.png,cat\nb/2.png,dog\n"),
    "semicolons": ("x.csv", "Label;Filename\ndog;0.png\ncat;1.png\ndog;2.png\n"),
    "tabs": ("x.tsv", "image_id\tspecies\n0\tdog\n1\tcat\n2\tdog\n"),
    "without a header": ("val.csv", "a/0.png,dog\na/1.png,cat\nb/2.png,dog\n"),
    "lines": ("val.txt", "0.png dog\n1.png cat\n2.png dog\n"),
    "quotes and a mark": ("x.csv", '\ufeffpath,label\r\n"a/0.png","dog"\r\n.\\a\\1.png, cat\r\n\r\n2.png,dog'),
    "Kaggle's boxes": ("x.csv", "ImageId,PredictionString\n0,dog\n1,cat\n2,dog\n"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_labels(tmp_path: Path, kind: str) -> None:
    root = table(photos(tmp_path / "p", "a/0.png", "a/1.png", "b/2.png", "b/3.png"), *TABLES[kind])
    listing = list_folder(root)
    assert listing.classes == ("cat", "dog")
    assert names(listing, "train") == ["0.png", "1.png", "2.png"] and listing.parts["train"].labels == (1, 0, 1)


def test_a_table_may_say_the_part(tmp_path: Path) -> None:
    rows = [f"{i}.png,{i % 2},{part}" for i, part in enumerate(["train"] * 6 + ["valid"] * 2 + ["Test"] * 2)]
    root = table(photos(tmp_path / "p", *numbered("{}.png", 10)), "x.csv", "file,label,split\n" + "\n".join(rows))
    data = loaded(root)
    assert [len(data.train), len(data.validation), len(data.test)] == [6, 2, 2]
    assert data.test.labels.tolist() == [0, 1]


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    rows = "\n".join(f"{i}.png,{i * 3}" for i in range(6))
    root = table(photos(tmp_path / "p", *numbered("{}.png", 6)), "x.csv", f"path,label\n{rows}")
    assert list_folder(root).classes == ("0", "3", "6", "9", "12", "15")


def test_imagenets_validation_photos_in_one_folder(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *[f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, 9)])
    rows = [f"ILSVRC2012_val_{i:08},n0{i % 2}440764 10 20 30 40 " for i in range(1, 9)]
    table(root, "LOC_val_solution.csv", "ImageId,PredictionString\n" + "\n".join(rows))
    listing = list_folder(root)
    assert listing.classes == ("n00440764", "n01440764") and len(listing) == 8


def test_rows_that_do_not_fit_cost_themselves_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    root = photos(tmp_path / "p", "a/0.png", "a/1.png", "b/2.png", "b/0.png", "3.png")
    rows = (
        "path,label\n../secret.png,dog\n/etc/passwd,dog\nC:\\x.png,dog\ngone.png,dog\n0.png,dog\n1.png,\n2.png,cat\n"
        "b/2.png,cat\nb/2.png,dog\n3.png,dog\n,dog\n"
    )
    listing = list_folder(table(root, "x.csv", rows))
    assert names(listing, "train") == ["2.png", "3.png"]
    assert listing.skipped == (
        "../secret.png: it points outside the folder", "/etc/passwd: it points outside the folder",
        "C:\\x.png: it points outside the folder", "gone.png: there is no such image",
        "0.png: several images have this name", "1.png: it has no label",
        "b/2.png: it has two labels, 'cat' and 'dog'", "a row without a path: there is no such image",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path,label\n0.png,a\n" + b"1.png,b\n" * 20_000 + b"x" * 200_000 + b",1\n", "in UTF-8: field larger than"),
        (b"path,label\n0.png,a\n" + b"1.png,b\n" * 20_000 + b"\xff\xfe,a\n", "is not a label table in UTF-8"),
        (b"path,label\n", "names 0 images, none of which can be used."),
        (b"path,label\ngone.png,1", r"names 1 images, none of which can be used, first gone\.png: there is no such"),
    ],
)
def test_tables_that_cannot_be_used_are_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    root = photos(tmp_path / "p", "0.png", "1.png", "2.png")
    (root / "x.csv").write_bytes(content)
    with pytest.raises(InvalidData, match=words) as caught:
        list_folder(root)
    assert str(caught.value).isprintable() and str(caught.value).endswith(".")
    (root / "x.csv").write_bytes(b"\xff\xfe\0p\0a\0")
    assert not list_folder(root).labelled


def test_a_table_of_something_else_is_left_alone(tmp_path: Path) -> None:
    root = table(photos(tmp_path / "p", "0.png", "1.png", "2.png"), "classes.csv", "index,synset,name\n0,n01,tench\n")
    assert not list_folder(root).labelled


def test_another_table_is_another_edition(tmp_path: Path) -> None:
    root = table(photos(tmp_path / "p", "0.png", "1.png", "2.png"), "x.csv", "path,label\n0.png,a\n1.png,b\n2.png,b\n")
    before, data = edition(f"folder:{root}"), loaded(root)
    table(root, "x.csv", "path,label\n0.png,a\n1.png,b\n2.png,aa\n")
    assert edition(f"folder:{root}") != before and loaded(root).fingerprint != data.fingerprint


# --- pixels, in files that are mapped ---


def test_pixels_are_decoded_as_asked_and_mapped(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("a/{}.png", 6), *numbered("b/{}.png", 6))
    data = loaded(root)
    assert data.input_shape == (3, 24, 24) and (data.mean, data.std, data.given) == (P.mean, P.std, True)
    from compression.data.decoding import decode

    expected = Counter(decode(str(path), P).tobytes() for path in root.glob("*/*.png"))
    assert every(data) == expected
    base = data.train.images.untyped_storage().data_ptr()
    assert data.validation.images.untyped_storage().data_ptr() == base == data.test.images.untyped_storage().data_ptr()
    assert loaded(root, Preprocess(24, 24, "exact")).fingerprint != data.fingerprint
    other_numbers = Preprocess(24, 24, resize_to=28, mean=(0.5,) * 3, std=(0.5,) * 3)
    again = loaded(root, other_numbers)
    assert torch.equal(again.train.images, data.train.images) and again.fingerprint != data.fingerprint
    assert len(list((tmp_path / "home/datasets/cache").iterdir())) == 2


def mapped_bytes(folder: Path) -> int:
    """How much of the mapped files below a folder is in this process's memory (proc(5), smaps)."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:  # an area's first line: addresses, …, path
            counts = str(folder) in line
        elif counts and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="the system does not tell what is mapped")
def test_a_pass_over_more_pixels_than_may_be_mapped_leaves_the_process_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_files, "MOST_MAPPED", 1 << 20)
    large = Preprocess(256, 256, "exact")
    data = loaded(photos(tmp_path / "p", *numbered("a/{}.png", 24), *numbered("b/{}.png", 24)), large)
    expected, before = every(data), mapped_bytes(tmp_path)
    assert before >= 48 * 3 * 256 * 256  # all was read as it stands, so all is there
    seen = Counter[bytes]()
    for split in (data.train, data.validation, data.test):
        for start in range(0, len(split), 2):
            seen.update(image.numpy().tobytes() for image in split.pixels(slice(start, start + 2)))
            assert seen.total() < 8 or mapped_bytes(tmp_path) <= 3 << 20
    assert seen == expected


def test_sizes_that_differ_are_scaled_and_it_is_said(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("a/{}.png", 6), *numbered("b/{}.png", 6))
    data = loaded(root, None)
    assert data.input_shape == (3, 224, 224)
    assert "12 sizes: the shorter side was scaled to 224 pixels and the centre of 224×224 cut out" in data.source
    assert loaded(root, None, size=(32, 40)).input_shape == (3, 32, 40)


def test_a_few_of_another_size_are_scaled_to_that_of_the_others(tmp_path: Path) -> None:
    root = tmp_path / "p"
    for i in range(8):
        (root / f"c{i % 2}").mkdir(parents=True, exist_ok=True)
        picture(*((12, 10) if i else (600, 600)), seed=i).save(root / f"c{i % 2}/{i}.png")
    data = loaded(root, None)
    assert data.input_shape == (3, 10, 12) and "1 images of other sizes were scaled to 12×10" in data.source
    own = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in root.glob("*/[1-9].png")}
    assert own <= set(every(data))


def test_large_photos_of_one_size_are_scaled(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "p").mkdir(exist_ok=True)
        picture(640, 600, seed=i).save(tmp_path / f"p/{i}.jpg")
    assert loaded(tmp_path / "p", None).input_shape == (3, 224, 224)


def test_a_sample_of_the_test_images_is_drawn_by_seed(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("{}.png", 40))
    whole, five = loaded(root), load(f"folder:{root}::test=5", P)
    assert len(five.test) == 5 and torch.equal(five.train.images, whole.train.images)
    assert {i.numpy().tobytes() for i in five.test.images} < {i.numpy().tobytes() for i in whole.test.images}
    assert torch.equal(load(f"folder:{root}::test=5", P).test.images, five.test.images)
    assert not torch.equal(load(f"folder:{root}::test=5,seed=1", P).test.images, five.test.images)
    assert five.fingerprint != whole.fingerprint
    assert five.notes == ("Measured on 5 of the 20 test images, drawn by seed 0; the intervals are for this sample.",)
    all_of_them = load(f"folder:{root}::test=1000", P)
    assert len(all_of_them.test) == 20 and not all_of_them.notes
    digits = load("digits::test=100")
    assert len(digits.test) == 100 and torch.equal(load("digits::test=100").test.images, digits.test.images)
    assert digits.name == "digits"


def test_a_sample_in_a_name_is_read_strictly() -> None:
    for sample in (ALL, TestSample(1000), TestSample(5, 7)):
        assert parted(named("folder:/photos", sample)) == ("folder:/photos", sample)
    assert named("folder:/a::test=5", TestSample(9)) == "folder:/a::test=9"
    for written in ("0", "-5", "1e3", "9" * 11, "5,seed=", "5,seed=x", "5 ", "5,seed=2147483648", "", "５"):
        with pytest.raises(InvalidSetting, match="sample"):
            load(f"digits::test={written}")


def test_decoding_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("{}.png", 40))
    told = list[tuple[str, float]]()
    with pytest.raises(Cancelled):
        loaded(root, stop=lambda: len(told) > 1, progress=lambda text, share: told.append((text, share)))
    assert list((tmp_path / "home/datasets/cache").iterdir()) == []
    loaded(root, progress=lambda text, share: told.append((text, share)))
    assert told[-1] == ("Decoding image 33 of 40", 0.8)


def test_a_damaged_file_of_pixels_is_made_again(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("{}.png", 10))
    data = loaded(root)
    (file,) = (tmp_path / "home/datasets/cache").iterdir()
    content = file.read_bytes()
    damaged = [b"", content[:7], content[:-1], content[100:], content[:-24] + b"{" * 8 + content[-16:]]
    for each in (*damaged, content[:-16] + (2**62).to_bytes(8, "little") + content[-8:]):
        file.write_bytes(each)
        assert loaded(root).fingerprint == data.fingerprint
        assert file.read_bytes() == content


def test_a_disk_that_is_too_small_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compression.data import pixel_files

    monkeypatch.setattr(pixel_files, "KEEP_FREE", 1 << 60)
    with pytest.raises(InvalidData, match=r"take 0\.0 GiB once decoded, but the disk of .* has 0\.0 GiB to spare"):
        loaded(photos(tmp_path / "p", *numbered("{}.png", 10)))


def test_a_whole_disk_and_what_is_too_large_are_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidData, match="/ is a whole disk"):
        load("folder:/")
    root = photos(tmp_path / "p", *[f"{c}/{i}.png" for c in range(5) for i in range(5)])
    monkeypatch.setattr(folder, "MAX_ENTRIES", 20)
    with pytest.raises(InvalidData, match="p holds more than 20 files and folders"):
        list_folder(root)


def test_a_named_dataset_can_be_had_in_another_size(tmp_path: Path) -> None:
    from compression.data.decoding import decode

    digits, grown = load("digits"), load("digits", P)
    assert grown.input_shape == (3, 24, 24) and (grown.mean, grown.given) == (P.mean, True)
    assert torch.equal(grown.test.labels, digits.test.labels) and grown.classes == digits.classes
    assert np.array_equal(grown.test.images[7].numpy(), decode(digits.test.images[7, 0].numpy(), P))
