"""Tables of path and label that lie beside pictures: CSV, TSV, or lines of "name label" as in ImageNet's val.txt.

Paths are looked up among the pictures that lie in the folder, so no row can lead out of it: by path from the folder,
else by name, with or without its ending.
"""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compression.data.folder import entries, named, pictures_below
from compression.errors import InvalidData, shown

ENDINGS = (".csv", ".tsv", ".txt")
MAX_FILE_BYTES = 64 << 20
MAX_ROWS = 1_000_000
MAX_LABEL = 200  # characters
_MOST_FILES = 20  # that are looked into
_LOOKED_AT = 200  # rows, to find out whether a file is a table of labels
_LINE = 100_000  # bytes that hold the first rows

PATHS = (
    "path", "image", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img", "img_path",
    "image_id", "imageid", "id", "photo", "picture",
)  # fmt: skip
LABELS = (
    "label", "class", "category", "target", "synset", "classid", "class_id", "class_name", "classname", "species",
    "breed", "y", "predictionstring",
)  # fmt: skip
PARTS = ("split", "part", "set", "subset", "partition")
"""Names of the columns, in any case; of several, the first of these lists counts."""


@dataclass(frozen=True)
class Row:
    """A picture's path, its label and the part that it is said to belong to, "" where none is."""

    path: str
    label: str
    part: str


@dataclass(frozen=True)
class Labels:
    """The rows whose pictures are there, in the order of the file, and what was left out and why."""

    rows: tuple[Row, ...]
    skipped: tuple[str, ...]


def find(folder: Path) -> str | None:
    """The path of the first file in a folder that is a table of path and label, or None."""
    files = sorted(e.path for e in entries(str(folder)) if e.name.lower().endswith(ENDINGS) and e.is_file())
    return next((file for file in files[:_MOST_FILES] if _is_table(file)), None)


def _is_table(file: str) -> bool:
    with open(file, "rb") as opened:
        start = opened.read(_LINE)
    try:
        rows = list(_rows(file, start[: start.rfind(b"\n") + 1] or start, _LOOKED_AT))
    except InvalidData:
        return False
    if not rows:
        return False
    if not file.lower().endswith(".txt") and _columns(rows[0]):
        return True
    return all(len(row) == 2 and _looks_like_picture(row[0]) for row in rows)


def _looks_like_picture(text: str) -> bool:
    ending = os.path.splitext(text)[1].lower()
    return ending in (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")


def read(file: str, folder: Path) -> Labels:
    """The table in `file` for the pictures in `folder`. Raises InvalidData where it names none of them."""
    if (size := os.stat(file).st_size) > MAX_FILE_BYTES:
        raise InvalidData(f"{named(file)} takes {size >> 20} MiB; a table of labels may take {MAX_FILE_BYTES >> 20}.")
    rows = list(_rows(file, Path(file).read_bytes(), MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise InvalidData(f"{named(file)} has more than {MAX_ROWS:,} rows.")
    columns = _columns(rows[0]) if not file.lower().endswith(".txt") else None
    labels = _matched(rows[1:] if columns else rows, columns or {"path": 0, "label": 1}, folder)
    if not labels.rows:
        first = f", first {labels.skipped[0]}" if labels.skipped else ""
        raise InvalidData(f"{named(file)} names {len(labels.skipped):,} images, none of which can be used{first}.")
    return labels


def _rows(file: str, content: bytes, most: int) -> Iterator[list[str]]:
    """Rows that are not empty, fields stripped. Raises InvalidData where it is no text or no table."""
    try:
        text = content.decode("utf-8-sig")
        head = text[: text.find("\n")] if "\n" in text else text
        comma = max(",;\t", key=head.count)
        delimiter = "\t" if file.lower().endswith(".tsv") else comma if head.count(comma) else " "
        count = 0
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
            if fields := [field.strip() for field in row]:
                if (count := count + 1) > most:
                    return
                yield fields
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidData(f"{named(file)} is not a label table in UTF-8: {error}.") from None


def _columns(header: list[str]) -> dict[str, int] | None:
    """Places of the columns "path", "label" and, if it is there, "part"; None where the row names no such columns."""
    names = [name.lower().replace(" ", "_") for name in header]
    found = {
        kind: names.index(known)
        for kind, knowns in (("part", PARTS), ("label", LABELS), ("path", PATHS))
        for known in reversed(knowns) if known in names
    }  # fmt: skip
    return found if {"path", "label"} <= set(found) and found["path"] != found["label"] else None


def _matched(rows: list[list[str]], columns: dict[str, int], folder: Path) -> Labels:
    pictures, found, skipped = _Pictures(folder), dict[str, Row](), list[str]()
    for row in rows:
        fields = {kind: row[place] if place < len(row) else "" for kind, place in columns.items()}
        path, label = fields["path"], _label(fields["label"])
        if why := pictures.refusal(path) or (None if label else "it has no label"):
            skipped.append(f"{_written(path)}: {why}")
        elif known := found.get(place := pictures.find(path)):
            if known.label != label:
                skipped.append(f"{_written(path)}: it has two labels, {shown(known.label)} and {shown(label)}")
        else:
            found[place] = Row(place, label, fields.get("part", ""))
    return Labels(tuple(found.values()), tuple(skipped))


def _label(text: str) -> str:
    """What Kaggle's ImageNet writes as "n03995372 85 1 499 272" is a synset and a box."""
    words = text.split()
    boxed = len(words) >= 5 and len(words[0]) == 9 and words[0][0] == "n" and words[0][1:].isdigit()
    return words[0] if boxed else text[:MAX_LABEL]


def _written(path: str) -> str:
    return path[:MAX_LABEL] or "a row without a path"


class _Pictures:
    """The pictures below a folder, by what a row may call them."""

    def __init__(self, folder: Path):
        self._by_name: dict[str, str | None] = {}  # None: several are called so
        paths = pictures_below(folder)
        for path in paths:
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            name = os.path.basename(relative)
            for call in {name, os.path.splitext(name)[0], os.path.splitext(relative)[0]} - {relative}:
                self._by_name[call] = None if call in self._by_name else path
        for path in paths:
            self._by_name[os.path.relpath(path, folder).replace(os.sep, "/")] = path

    def refusal(self, path: str) -> str | None:
        """Why a row's path is no picture here, or None where it is one."""
        plain = _plain(path)
        if plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":":
            return "it points outside the folder"
        if plain in self._by_name:
            return None if self._by_name[plain] else "several images have this name"
        return "there is no such image"

    def find(self, path: str) -> str:
        """The picture's path, where nothing speaks against it."""
        return str(self._by_name[_plain(path)])


def _plain(path: str) -> str:
    plain = path.replace("\\", "/")
    return plain.removeprefix("./")
