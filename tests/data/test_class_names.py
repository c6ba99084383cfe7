"""Classes of folders and outputs of networks: what matches, what is left open, and what users correct."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compression.data import Dataset, Split, for_outputs, load
from compression.data.class_names import LEFT_OUT, forget, keep, kept, match, output_names, read_corrections
from compression.data.class_names.imagenet import BACKGROUND, synsets
from compression.errors import InvalidData, InvalidFile, InvalidSetting

IMAGENET = output_names(1000)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


@pytest.fixture
def digits() -> Dataset:
    return load("digits")


def folder(digits: Dataset, *classes: str) -> Dataset:
    """Digits as a folder with so many classes, called like this."""

    def first(split: Split) -> Split:
        return split.subset((split.labels < len(classes)).nonzero().flatten())

    train, validation, test = map(first, (digits.train, digits.validation, digits.test))
    return replace(
        digits, name="folder:/photos", title="photos", classes=classes, train=train, validation=validation, test=test
    )


def unlabelled(data: Dataset) -> Dataset:
    def without(split: Split) -> Split:
        return replace(split, labels=torch.full_like(split.labels, -1))

    train, validation, test = map(without, (data.train, data.validation, data.test))
    return replace(
        data, name="folder:/photos", title="photos", classes=("photos",), labelled=False,
        train=train, validation=validation, test=test,
    )  # fmt: skip


# --- names ---


def test_imagenets_names_come_in_the_order_of_outputs() -> None:
    assert len(IMAGENET) == 1000 and IMAGENET[0] == "n01440764 tench, Tinca tinca"
    assert IMAGENET[999].endswith("toilet tissue, toilet paper, bathroom tissue")
    assert output_names(1001) == (BACKGROUND, *IMAGENET)
    assert output_names(10) == ()


@pytest.mark.parametrize(
    ("name", "output", "how"),
    [
        ("tench", 0, "name"), ("Tinca_tinca", 0, "name"), ("n01440764", 0, "synset"), ("n01440764_tench", 0, "synset"),
        ("Great White-Shark", 2, "name"), ("goldfishes", 1, "name"), ("tabby cat", 281, "name"), ("7", 7, "number"),
        ("007", 7, "number"), ("sunglasses", 837, "name"), ("crane", None, "ambiguous"), ("no such", None, "none"),
        ("Cardigan", None, "ambiguous"), ("", None, "none"), ("n99999999", None, "none"), ("-1", None, "none"),
    ],
)  # fmt: skip
def test_a_class_is_found_by_name_synset_or_number(name: str, output: int | None, how: str) -> None:
    found = match([name], IMAGENET).classes[0]
    assert (found.output, found.how) == (output, how)


def test_what_may_be_several_outputs_lists_them() -> None:
    found = match(["crane", "xyz", "tench"], IMAGENET)
    assert found.classes[0].candidates == (134, 517)
    assert [each.name for each in found.open] == ["crane", "xyz"]
    ambiguous, none = found.sentences
    assert "1 of 3 classes match several" in ambiguous and "'crane'" in ambiguous
    assert "none of the network's classes" in none and "'xyz'" in none
    assert match(["tench"], IMAGENET).sentences == ()


def test_torchvisions_names_are_known_to_be_imagenets() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert match(synsets(), _IMAGENET_CATEGORIES).indices == tuple(range(1000))
    back = match(_IMAGENET_CATEGORIES, IMAGENET)
    assert all(index in (None, i) for i, index in enumerate(back.indices)) and len(back.open) <= 5


def test_names_that_differ_by_case_alone_are_the_networks_own() -> None:
    assert match(["a", "A"], ["A", "a"]).indices == (1, 0)
    assert match(["b"], ["B", "c"]).indices == (0,)


def test_numbers_that_may_count_from_one_are_left_open() -> None:
    found = match([str(i) for i in range(1, 11)], [f"class {c}" for c in "abcdefghij"])
    assert {each.how for each in found.classes} == {"ambiguous"}
    assert found.classes[0].candidates == (0, 1) and found.classes[9].candidates == (9,)
    assert match(["0", "9"], ["a"] * 10).indices == (0, 9)


# --- corrections ---


def test_corrections_come_first() -> None:
    found = match(["crane", "xyz", "tench"], IMAGENET, {"crane": "517", "xyz": "goldfish", "tench": LEFT_OUT})
    assert found.indices == (517, 1, None) and found.open == ()
    assert "left out as requested: 'tench'" in found.sentences[0]


@pytest.mark.parametrize(("wanted", "why"), [("crane", "several"), ("1000", "none"), ("x" * 5000, "none")])
def test_a_correction_that_names_no_output_is_refused(wanted: str, why: str) -> None:
    with pytest.raises(InvalidSetting, match=f"names {why} of the network's 1,000 classes") as caught:
        match(["a"], IMAGENET, {"a": wanted})
    assert len(str(caught.value)) < 400


def test_a_table_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("\ufeffclass,output\ncrane,517\n\n 'b' , \n\"x, y\",tench\n", encoding="utf-8")
    assert read_corrections(path) == {"crane": "517", "'b'": "", "x, y": "tench"}
    path.write_text("crane\t517\n")
    assert read_corrections(path) == {"crane": "517"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,c\n", "Line 1"), (b"a\n", "CLASS,OUTPUT"), (b"a,1\na,2\n", "two outputs"), (b"\xff\xfe\x00", "UTF-8"),
        (b"a," + b"1" * 300_000, "no table of classes is so long"), (b"a," + b"1" * 300, "up to 200 characters"),
        (b"".join(b"%d,1\n" % i for i in range(20_000)), "10,000"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=said) as caught:
        read_corrections(path)
    assert "\n" not in str(caught.value)


def test_corrections_are_kept_for_a_network_and_a_dataset() -> None:
    keep(IMAGENET, "folder:/a", {"crane": "517"})
    keep(IMAGENET, "folder:/a", {"x": ""})
    assert kept(IMAGENET, "folder:/a") == {"crane": "517", "x": ""}
    assert kept(IMAGENET, "folder:/b") == {} == kept(IMAGENET[:10], "folder:/a")
    with pytest.raises(InvalidSetting):
        keep(IMAGENET, "folder:/a", {"x": "y" * 1000})
    forget(IMAGENET, "folder:/a")
    assert kept(IMAGENET, "folder:/a") == {}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"corrections": 3}', '{"corrections": {"a": 1}}', "[" * 90_000])
def test_a_kept_table_that_was_damaged_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    keep(IMAGENET, "folder:/a", {"crane": "517"})
    (path,) = (tmp_path / "home" / "class_maps").glob("*.json")
    path.write_text(content)
    assert kept(IMAGENET, "folder:/a") == {}


# --- images ---


def test_labels_become_outputs_and_images_of_other_classes_are_left_out(digits: Dataset) -> None:
    data = folder(digits, "tench", "xyz", "n01443537")
    found = for_outputs(data, 1000)
    assert found.classes == IMAGENET and found.outputs and "'xyz'" in found.notes[0]
    for name in ("train", "validation", "test"):
        before, after = getattr(data, name), getattr(found, name)
        kept_ones = before.labels != 1
        assert torch.equal(after.labels, before.labels[kept_ones] // 2)
        assert torch.equal(after.images, before.images[kept_ones])
    assert for_outputs(found, 1000) is found
    assert found.fingerprint != data.fingerprint


def test_where_all_classes_have_outputs_no_image_is_copied(digits: Dataset) -> None:
    data = folder(digits, "goldfish", "tench")
    found = for_outputs(data, 1000)
    assert found.train.images is data.train.images and torch.equal(found.train.labels, 1 - data.train.labels)


def test_a_networks_own_names_count_before_the_order(digits: Dataset) -> None:
    data = folder(digits, "cat", "dog", "eel")
    assert torch.equal(for_outputs(data, 3).test.labels, data.test.labels)  # no names: in the folder's order
    found = for_outputs(data, 3, ("eels", "Cat", "DOG"))
    assert torch.equal(found.test.labels, (data.test.labels + 1) % 3)


def test_kept_corrections_and_those_of_a_csv_are_used(digits: Dataset) -> None:
    data = folder(digits, "one", "two")
    keep(("a", "b", "c"), data.name, {"one": "c", "two": "a"})
    assert set(for_outputs(data, 3, ("a", "b", "c")).test.labels.tolist()) == {2, 0}
    data = replace(data, corrections=(("one", "b"),))
    assert set(for_outputs(data, 3, ("a", "b", "c")).test.labels.tolist()) == {1, 0}


def test_no_class_in_common_is_refused(digits: Dataset) -> None:
    with pytest.raises(InvalidData, match="None of the 2 classes of photos") as caught:
        for_outputs(folder(digits, "one", "two"), 3, ("a", "b", "c"))
    assert "CLASS,OUTPUT" in str(caught.value)


def test_what_nothing_is_known_of_stays_as_it_is(digits: Dataset) -> None:
    data = folder(digits, "one", "two")
    assert for_outputs(data, 7) is data
    assert for_outputs(digits, 12) is digits  # a set with a name has the classes that it has


def test_numbers_name_outputs(digits: Dataset) -> None:
    data = folder(digits, "3", "011")
    assert set(for_outputs(data, 12).test.labels.tolist()) == {3, 11}


def test_images_without_labels_have_the_networks_outputs_as_classes(digits: Dataset) -> None:
    data = unlabelled(digits)
    assert data.truth is None and data.label_of(0) == ""
    assert for_outputs(data, 3).classes == ("0", "1", "2")
    assert for_outputs(data, 1000).classes == IMAGENET
    assert for_outputs(data, 2, ("a", "b")).classes == ("a", "b")
