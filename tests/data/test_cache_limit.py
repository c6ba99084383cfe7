"""What decoded pictures take on disk: shown, limited, removed from what was not used for longest."""

import os
from pathlib import Path

import pytest

from compression.data import cache_limit, load
from compression.data.cache_limit import DEFAULT_LIMIT, clean, limit, set_limit, usage
from compression.errors import InvalidSetting
from compression.records.preprocess import Preprocess
from tests.data.test_layouts import numbered, photos


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


def decoded(root: Path, side: int) -> Path:
    """The file of the folder's pictures in that size."""
    before = set(cache_limit.folder().glob("*.pixels"))
    load(f"folder:{root}", Preprocess(side, side))
    (made,) = set(cache_limit.folder().glob("*.pixels")) - before
    return made


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", *numbered("{}.png", 6))
    files = [decoded(root, side) for side in (16, 24, 32)]
    sizes = [file.stat().st_size for file in files]
    assert usage() == cache_limit.Usage(sum(sizes), 3, DEFAULT_LIMIT)
    for age, file in enumerate(files):
        os.utime(file, (10**9 + age, 10**9 + age))
    load(f"folder:{root}", Preprocess(16, 16))  # used now
    assert clean(sum(sizes) - 1) == sizes[1]
    assert [file.is_file() for file in files] == [True, False, True]
    data = load(f"folder:{root}", Preprocess(32, 32))
    before = data.test.images.clone()
    assert clean() == sizes[0] + sizes[2] and usage().size_bytes == 0
    assert (data.test.images == before).all()  # who reads goes on


def test_a_new_file_stays_and_others_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(tmp_path / "p", *numbered("{}.png", 6))
    first = decoded(root, 16)
    monkeypatch.setattr(cache_limit, "LEAST_LIMIT", 1)
    assert set_limit(10).files == 0 and limit() == 10 and not first.exists()
    second = decoded(root, 24)
    assert second.is_file() and usage().files == 1
    assert decoded(root, 32).is_file() and not second.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"-5", b"1e400", b"true", b"[" * 900, b"\xff", b"9" * 900])
def test_a_damaged_limit_is_the_default(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "home/datasets").mkdir(parents=True)
    (tmp_path / "home/datasets/cache-limit.json").write_bytes(content)
    assert limit() == DEFAULT_LIMIT


@pytest.mark.parametrize("size", [0, -1, 2**60])
def test_limits_have_bounds(size: int) -> None:
    with pytest.raises(InvalidSetting, match="1 to 1,048,576 are allowed"):
        set_limit(size)
