"""Folders of images that came from another machine: whole, as they were, once; and what is refused of strangers."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compression.data import edition, load, sent_folders
from compression.data.sent_folders import Standing, begin, finish, key_of, packed, pieces, place_of, put, standing
from compression.errors import InvalidData, Unsupported
from tests.data.test_data import save_images

SHA = hashlib.sha256(b"").hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "worker"))
    return tmp_path / "worker"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images")


def travelled(root: Path, title: str = "photos") -> Path:
    listed = packed(root, title)
    for piece in pieces(root, listed, begin(listed)):
        put(key_of(listed), piece)
    finish(key_of(listed))
    found = place_of(key_of(listed))
    assert found is not None
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_arrives_as_it_is_once_and_is_loaded_as_the_one_that_it_stands_for(
    root: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "train" / "empty").mkdir()
    (root / "train" / "large.png").write_bytes(b"x" * 5000)
    (root / "train" / "elsewhere.png").symlink_to(tmp_path / "nowhere.png")
    (root / os.fsdecode(b"train/caf\xe9.png")).write_bytes(b"no picture")
    before = contents(root)
    for hidden in ("train/.hidden.png", "notes.md", "run.py"):
        (root / hidden).write_bytes(b"secret")
    monkeypatch.setattr(sent_folders, "MOST_FILE", 4000)
    monkeypatch.setattr(sent_folders, "PIECE_FILES", 3)
    monkeypatch.setattr(sent_folders, "KEEP_FREE", 0)
    found = travelled(root)
    assert contents(found) == before | {"train/large.png": b"x" * 4000, "train/elsewhere.png": b""}
    assert (found / "train" / "empty").is_dir() and found.name == "photos"
    listed = packed(root, "photos")
    assert begin(listed) == []
    finish(key_of(listed))
    assert [path.name for path in (home / "datasets" / "sent").iterdir()] == [key_of(listed)]
    for odd in (*(root / "train").glob("*.png"), *(found / "train").glob("*.png")):
        odd.unlink()  # in no class
    assert place_of(key_of(listed)) is None  # it is no longer as it came
    name = f"folder:{root}"
    ours, known = load(name), edition(name)
    with standing({f"{name}::test=3": Standing(root, "x"), name: Standing(travelled(root), known)}):
        theirs = load(name)
        assert edition(f"{name}::test=3") == known
    assert (theirs.classes, theirs.fingerprint, theirs.title) == (ours.classes, ours.fingerprint, "photos")
    assert edition(name) == known
    (root / "train" / "empty").rmdir()
    assert key_of(packed(root, "photos")) != key_of(listed)


def test_tables_of_labels_come_along_where_they_are_looked_for(root: Path, tmp_path: Path) -> None:
    for place in ("diary.txt", "train/cat/diary.txt"):
        (root / place).write_text("secret")
    sent = {path for path, _, _ in sent_folders.read_list(packed(root, "")).files}
    assert "diary.txt" in sent and "train/cat/diary.txt" not in sent
    outer = tmp_path / "outer"
    (outer / "inner" / "pictures").mkdir(parents=True)
    rows = []
    for number, path in enumerate(sorted((root / "train").rglob("*.png"))):
        (outer / "inner" / "pictures" / f"{number}.png").write_bytes(path.read_bytes())
        rows.append(f"pictures/{number}.png,{'ab'[number % 2]}")
    (outer / "inner" / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    (outer / "inner" / "more").mkdir()
    with standing({f"folder:{outer}": Standing(travelled(outer), "x")}):
        assert load(f"folder:{outer}").classes == ("a", "b")


def test_a_transfer_that_broke_off_goes_on_and_what_changed_on_the_way_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = packed(root, "")
    key, missing = key_of(listed), begin(listed)
    first, rest = missing[:1], missing[1:]
    [piece] = pieces(root, listed, first)
    put(key, piece)
    assert begin(listed) == rest
    with pytest.raises(Unsupported, match="not whole"):
        finish(key)
    with pytest.raises(Unsupported, match="changed while it was sent"):
        put(key, {rest[0]: b"another"})
    with pytest.raises(Unsupported, match="no file -1"):
        put(key, {-1: b""})
    assert place_of(key) is None and begin(listed) == rest
    [piece] = pieces(root, listed, rest)
    put(key, piece)
    finish(key)
    found = place_of(key)
    assert found is not None and found.name == "images" and contents(found) == contents(root)
    put(key, {0: b"another"})  # somebody else's, late
    assert contents(found) == contents(root)


def test_what_was_not_used_for_longest_makes_room_and_a_full_disk_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = packed(root, "first"), packed(root, "second")
    old = travelled(root, "first")
    os.utime(old.parent, (1, 1))
    new = travelled(root, "second")
    size = sum(map(len, contents(root).values()))
    monkeypatch.setattr(sent_folders, "MOST_KEPT", 2 * size)
    third = travelled(root, "third")
    assert third.is_dir() and new.is_dir() and not old.exists()
    monkeypatch.setattr(sent_folders, "MOST_KEPT", 1 << 60)
    monkeypatch.setattr(sent_folders, "KEEP_FREE", 1 << 60)
    with pytest.raises(Unsupported, match="disk is too full"):
        begin(first)
    assert begin(second) == []
    monkeypatch.setattr(sent_folders, "MOST_BYTES", size - 1)
    with pytest.raises(Unsupported, match="it is not sent to workers; copy it"):
        packed(root, "")
    with pytest.raises(Unsupported, match="GiB; at most"):
        begin(second)


def test_a_pipe_named_like_an_image_is_not_waited_for(root: Path, home: Path) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "endless.png").symlink_to("/dev/zero")
    listed: list[bytes] = []
    waiting = threading.Thread(target=lambda: listed.append(packed(root, "photos")), daemon=True)
    waiting.start()
    waiting.join(30)
    files = {name: size for name, size, _ in json.loads(listed[0])["files"]}
    assert (files["pipe.png"], files["endless.png"]) == (0, 0)


def test_links_in_circles_are_refused_before_anything_is_sent(root: Path) -> None:
    (root / "train" / "again").symlink_to(root)
    with pytest.raises(InvalidData, match="leads back"):
        packed(root, "")


NAMES = (
    "../a.png", "/a.png", "a/../b.png", "a//b.png", ".a.png", "a/.b/c.png", "", "a\0.png", "x/" * 40 + "a.png",
    "\ud800.png", "b" * 2000 + ".png", 3, None,
)  # fmt: skip
NO_LISTS: tuple[Any, ...] = (
    3, None, [], {}, {"title": 3, "folders": [], "files": []}, {"title": "", "files": []},
    {"title": "", "folders": "abc", "files": []}, {"title": "", "folders": [], "files": 3},
    {"title": "", "folders": [], "files": [[1, 2]]},
)  # fmt: skip


def lists() -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        yield f"name {str(name)[:9]!a}", {"title": "", "folders": [], "files": [[name, 0, SHA]]}
        yield f"folder {str(name)[:9]!a}", {"title": "", "folders": [name], "files": []}
    for name in ("a.py", "a.pth", "sitecustomize", "a.png.so"):
        yield name, {"title": "", "folders": [], "files": [[name, 0, SHA]]}
    for size in (-1, 1 << 40, 1.5, "1", None, True):
        yield f"size {size}", {"title": "", "folders": [], "files": [["a.png", size, SHA]]}
    for digest in ("", "0" * 63, "../x", None, 7):
        yield f"digest {digest}", {"title": "", "folders": [], "files": [["a.png", 0, digest]]}
    for number, told in enumerate(NO_LISTS):
        yield f"list {number}", told


@pytest.mark.parametrize("told", [told for _, told in lists()], ids=[name for name, _ in lists()])
def test_a_list_that_this_program_does_not_write_is_refused_and_writes_nothing(told: Any, home: Path) -> None:
    with pytest.raises(Unsupported) as refused:
        begin(json.dumps(told).encode())
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".") and str(refused.value).isprintable()
    assert not home.exists()


@pytest.mark.parametrize("listed", [
    b"", b"\xff", b"[" * 5000, b"{" + b" " * 1000, b'{"title": 1, "folders": [], "files": []}',
])  # fmt: skip
def test_bytes_that_are_no_list_are_refused(listed: bytes) -> None:
    with pytest.raises(Unsupported, match="cannot be read"):
        begin(listed)


@pytest.mark.parametrize("title", ["..", "../../x", "/etc", ".state", "a\0b", "", "x" * 5000, "图片" * 100, "\u202e\n"])
def test_a_title_names_one_folder_within(title: str, home: Path, root: Path) -> None:
    found = travelled(root, title)
    assert found.parent.parent == home / "datasets" / "sent" and not found.name.startswith(".")


@pytest.mark.parametrize("key", ["", "..", "0" * 63, "0" * 64 + "\n", "A" * 64, None])
def test_keys_are_hashes(key: Any) -> None:
    for act in (place_of, finish, lambda key: put(key, {})):
        with pytest.raises(Unsupported, match="No images are kept"):
            act(key)
    with pytest.raises(Unsupported, match="cannot keep the images"):
        put("0" * 64, {})


def test_two_names_for_one_file_are_refused(root: Path, home: Path) -> None:
    listed = json.dumps({"title": "", "folders": [], "files": [["a.png", 0, SHA], ["a.png", 0, SHA]]}).encode()
    begin(listed)
    put(key_of(listed), {0: b"", 1: b""})
    with pytest.raises(Unsupported, match="differ only by case"):
        finish(key_of(listed))
    clash = json.dumps({"title": "", "folders": ["a.png"], "files": [["a.png", 0, SHA]]}).encode()
    begin(clash)
    with pytest.raises(Unsupported, match="cannot keep the images"):
        put(key_of(clash), {0: b""})
