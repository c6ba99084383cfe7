"""Archives of pictures: unpacked once, under the hash of their content; hostile ones leave nothing."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compression.data import archives, load
from compression.data.archives import extract, keep_pictures
from compression.errors import Cancelled, InvalidFile
from compression.records.preprocess import Preprocess
from tests.data.test_decoding import picture


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSION_HOME", str(tmp_path / "home"))


def content(seed: int = 0) -> bytes:
    kept = io.BytesIO()
    picture(30, 20, seed).save(kept, "PNG")
    return kept.getvalue()


Entries = list[tuple[str, bytes]]
PHOTOS: Entries = [(f"photos/{name}/{i}.png", content(i + 10 * (name == "b"))) for name in "ab" for i in range(6)]


def zipped(path: Path, entries: Entries) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def tarred(path: Path, entries: Entries, mode: str = "w", **special: object) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for key, value in special.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))
    return path


KINDS: dict[str, Callable[[Path, Entries], Path]] = {
    "a.zip": zipped,
    "a.tar": tarred,
    "a.tar.gz": lambda path, entries: tarred(path, entries, "w:gz"),
    "a.tgz": lambda path, entries: tarred(path, entries, "w:gz", pax_headers={"comment": "x" * 100}),
}


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "home/datasets/uploads").iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_a_dataset(tmp_path: Path, kind: str) -> None:
    more = [*PHOTOS, ("__MACOSX/photos/a/._0.png", b"x"), ("photos/notes.pdf", b"x"), (".hidden/0.png", b"x")]
    archive = KINDS[kind](tmp_path / kind, more)
    found = extract(archive)
    assert (found.pictures, found.ignored) == (12, 3)
    assert sorted(str(p.relative_to(found.folder)) for p in found.folder.rglob("[!.]*.*")) == [
        name for name, _ in PHOTOS
    ]
    data = load(found.dataset, Preprocess(16, 16))
    assert data.classes == ("a", "b") and len(data.test) == 6
    again = extract(io.BytesIO(archive.read_bytes()), "renamed.zip")  # as a browser hands it over
    assert again.folder == found.folder and left(tmp_path) == [found.folder.name]


def test_tables_come_along(tmp_path: Path) -> None:
    table = b"path,label\n" + b"\n".join(f"{i}.png,{'ab'[i % 2]}".encode() for i in range(4))
    flat = [(f"x/{i}.png", content(i)) for i in range(4)]
    data = load(extract(zipped(tmp_path / "a.zip", [*flat, ("x/labels.csv", table)])).dataset, Preprocess(16, 16))
    assert data.classes == ("a", "b")


def link(kind: bytes) -> Callable[[Path], Path]:
    return lambda path: tarred(path, [("a/0.png", b"")], type=kind, linkname="/etc/passwd", devmajor=1, devminor=5)


def zip_link(path: Path) -> Path:
    entry = zipfile.ZipInfo("a/0.png")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    return path


def encrypted(path: Path) -> Path:
    data = bytearray(zipped(path, PHOTOS).read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(data)
    return path


def long_header(path: Path) -> Path:
    """A header that says of itself that it takes 8 GB, which tarfile would read whole."""
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = tarfile.XHDTYPE, 8_000_000_000
    path.write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)))
    return path


def chained(path: Path) -> Path:
    """Headers that follow each other: tarfile reads each in a deeper call."""
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = tarfile.XHDTYPE, 0
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) * 5_000 + bytes(1024))
    return path


def zeros(path: Path) -> Path:
    return zipped(path, [("a/0.png", bytes(300 << 20))])


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "traversal": (lambda p: zipped(p, [("a/../../b.png", b"x")]), "points outside the folder"),
    "absolute": (lambda p: tarred(p, [("/tmp/b.png", b"x")]), "points outside the folder"),
    "backslashes": (lambda p: zipped(p, [("..\\b.png", b"x")]), "points outside the folder"),
    "a drive": (lambda p: zipped(p, [("C:/b.png", b"x")]), "points outside the folder"),
    "a symbolic link": (link(tarfile.SYMTYPE), "is a link, a device"),
    "a hard link": (link(tarfile.LNKTYPE), "is a link, a device"),
    "a device": (link(tarfile.CHRTYPE), "is a link, a device"),
    "a pipe": (link(tarfile.FIFOTYPE), "is a link, a device"),
    "a file with holes": (link(tarfile.GNUTYPE_SPARSE), "is a link, a device|damaged"),
    "a link in a zip": (zip_link, "is a link or a device"),
    "two cases": (lambda p: zipped(p, [("a/0.png", b"x"), ("A/0.PNG", b"x")]), "differ by case alone"),
    "encrypted": (encrypted, "it is encrypted"),
    "another packing": (lambda p: _lzma(p), "in another way than by deflate"),
    "a bomb": (zeros, "come out of it; 100 times its size"),
    "a bomb in a tar": (lambda p: tarred(p, [("a/x.bin", bytes(300 << 20))], "w:gz"), "come out of it"),
    "a long header": (long_header, "a header in it is too long"),
    "a chain of headers": (chained, "damaged"),
    "a folder and a file": (
        lambda p: zipped(p, [("a.png", b"x"), ("a.png/b.png", b"x")]),
        "damaged|cannot be unpacked",
    ),
    "a deep path": (lambda p: zipped(p, [("a/" * 40 + "b.png", b"x")]), "a path that is too long"),
    "a long name": (lambda p: zipped(p, [("b" * 400 + ".png", b"x")]), "cannot be unpacked|damaged"),
    "no pictures": (lambda p: zipped(p, [("a.txt", b"x")]), "it has no images"),
    "empty": (lambda p: _bytes(p, b""), "damaged or no .zip"),
    "something else": (lambda p: _bytes(p, b"Rar!" + bytes(2000)), "damaged or no .zip"),
    "half a zip": (lambda p: _bytes(p, zipped(p, PHOTOS).read_bytes()[:-200]), "damaged or no .zip"),
    "half a gzip": (lambda p: _bytes(p, tarred(p, PHOTOS, "w:gz").read_bytes()[:-200]), "damaged or no .zip"),
    "a changed byte": (lambda p: _changed(p), "damaged or no .zip"),
}


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _lzma(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/0.png", b"x")
    return path


def _changed(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/0.png", b"pixels")
    return _bytes(path, path.read_bytes().replace(b"pixels", b"pixelz"))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    make, words = HOSTILE[name]
    archive = make(tmp_path / "strange.zip")
    before = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    with pytest.raises(InvalidFile, match=words) as caught:
        extract(archive)
    assert str(caught.value).startswith("strange.zip ") and str(caught.value).isprintable()
    assert left(tmp_path) == []
    assert sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts) == before


def test_too_many_entries_are_refused_before_they_are_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 20)
    many = [(f"{i}", b"") for i in range(60)]
    with pytest.raises(InvalidFile, match="more than 20 entries"):
        extract(tarred(tmp_path / "a.tar", many))
    archive = zipped(tmp_path / "a.zip", many)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # calling it would fail
    with pytest.raises(InvalidFile, match="more than 20 entries"):
        extract(archive)


def test_a_list_of_entries_that_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    data = zipped(tmp_path / "a.zip", PHOTOS).read_bytes()
    at = data.rindex(b"PK\5\6")
    for size, offset in ((0xFFFFFFFF, 0), (2**31, 0), (0, 2**31)):
        (tmp_path / "a.zip").write_bytes(data[: at + 12] + struct.pack("<II", size, offset) + data[at + 20 :])
        with pytest.raises(InvalidFile):
            extract(tmp_path / "a.zip")
    assert left(tmp_path) == []


def test_unpacking_can_be_stopped_and_tells_how_far_it_is(tmp_path: Path) -> None:
    archive, told = zipped(tmp_path / "a.zip", PHOTOS), list[tuple[str, float]]()
    with pytest.raises(Cancelled):
        extract(archive, stop=lambda: len(told) > 4, progress=lambda text, share: told.append((text, share)))
    assert left(tmp_path) == []
    extract(archive, progress=lambda text, share: told.append((text, share)))
    assert told[-1][0] == "Unpacking 12 of 12"


def test_single_pictures_are_kept_in_a_folder(tmp_path: Path) -> None:
    pictures = [
        ("IMG_1.png", content(1)), ("img_1.PNG", content(2)), ("../../evil.png", content(3)),
        ("C:\\x\\y.png", content(4)), ("notes.txt", b"x"), (".hidden.png", b"x"), ("\0.png", content(5)),
    ]  # fmt: skip
    found = keep_pictures(pictures)
    names = sorted(path.name for path in found.folder.glob("[!.]*"))
    assert names == ["IMG_1.png", "evil.png", "img_1-1.PNG", "y.png"] and (found.pictures, found.ignored) == (4, 3)
    assert keep_pictures(pictures).folder == found.folder and left(tmp_path) == [found.folder.name]
    assert len(load(found.dataset, Preprocess(16, 16)).test) == 2
    with pytest.raises(InvalidFile, match="None of 1 files is an image"):
        keep_pictures([("x.txt", b"")])
