"""What users say of classes that do not match by themselves: read from a CSV, kept in the user's folder as JSON."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from compression.data.test_samples import base_of
from compression.errors import InvalidFile, InvalidSetting, shown
from compression.host.atomic_files import atomic_write
from compression.host.folders import user_folder
from compression.records.documents import MOST_CHARACTERS, read_json

HEADER = ("class", "output")
MOST = 10_000
"""Classes at most in one table."""

LONGEST = 200
"""Characters of a name at most."""


def read_corrections(path: Path) -> dict[str, str]:
    """The table in a CSV or TSV file: CLASS,OUTPUT in each line, with or without that header.

    OUTPUT is a number or name, or nothing for a class to be left out. Raises `InvalidFile`.
    """
    text = _text(path)
    try:
        rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ","))
    except csv.Error as error:
        raise InvalidFile(f"{path.name} is not a class table: {error}.") from None
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and tuple(cell.casefold() for cell in cells) == HEADER):
            continue
        if len(cells) != 2 or not cells[0]:
            raise InvalidFile(f"Line {number} of {path.name} is {shown(','.join(row))}; CLASS,OUTPUT is needed.")
        if found.setdefault(cells[0], cells[1]) != cells[1]:
            raise InvalidFile(f"{path.name} names two outputs for class {shown(cells[0])}; one is needed.")
    return _checked(found, path.name)


def kept(outputs: Sequence[str], dataset: str) -> dict[str, str]:
    """What is kept for a network with these outputs and a dataset; {} without anything that can be read."""
    try:
        found = read_json(_place(outputs, dataset).read_text(encoding="utf-8"))
        return _checked(found["corrections"], "the kept table") if isinstance(found, dict) else {}
    except (OSError, ValueError, KeyError, InvalidFile):
        return {}


def state(outputs: Sequence[str], dataset: str) -> str:
    """Changes when what is kept does; '' where nothing is."""
    found = kept(outputs, dataset)
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:16] if found else ""


def keep(outputs: Sequence[str], dataset: str, corrections: Mapping[str, str]) -> None:
    """Keeps a user's corrections beside those that stand already. Raises `InvalidSetting` where they are no table."""
    try:
        whole = _checked({**kept(outputs, dataset), **corrections}, "the table")
    except InvalidFile as error:
        raise InvalidSetting(str(error)) from None
    with atomic_write(_place(outputs, dataset)) as partial:
        partial.write_text(json.dumps({"dataset": dataset, "corrections": whole}, indent=1) + "\n", encoding="utf-8")


def forget(outputs: Sequence[str], dataset: str) -> None:
    """Goes back to what matches by itself."""
    _place(outputs, dataset).unlink(missing_ok=True)


def _place(outputs: Sequence[str], dataset: str) -> Path:
    about = hashlib.sha256(json.dumps([list(outputs), base_of(dataset)]).encode()).hexdigest()[:16]
    return user_folder() / "class_maps" / f"{about}.json"


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InvalidFile(f"{str(path)!r} cannot be read: {reason}.") from None
    if len(text) > MOST_CHARACTERS:
        raise InvalidFile(f"{path.name} has more than {MOST_CHARACTERS:,} characters; no table of classes is so long.")
    return text


def _checked(found: object, what: str) -> dict[str, str]:
    """A table of short names, not too many. Raises `InvalidFile`."""
    if not isinstance(found, dict) or len(found) > MOST:
        raise InvalidFile(f"In {what} up to {MOST:,} classes can stand, each with its output.")
    for name, output in found.items():
        if not (isinstance(name, str) and isinstance(output, str)) or max(len(name), len(output)) > LONGEST:
            raise InvalidFile(f"In {what}, {shown(name)}: names have up to {LONGEST} characters.")
    return dict(found)
