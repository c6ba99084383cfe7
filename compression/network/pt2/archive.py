"""The entries of a `.pt2` archive: an exact list of names, stored uncompressed, each read only where it is data.

`torch.export.save` writes a zip archive with one folder at its root. Entries that hold pickles (sample inputs) and
what belongs to no network (extra files) may be there; they are never read.
"""

import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from compression.network.pt2.fields import Malformed, shown

GRAPH = "models/model.json"
WEIGHTS, CONSTANTS = "data/weights/", "data/constants/"
CONFIGS = {WEIGHTS: "model_weights_config.json", CONSTANTS: "model_constants_config.json"}

MARKS = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
"""Entries with one possible content."""

READ = re.compile(
    r"archive_format|archive_version|byteorder|models/model\.json"
    r"|data/weights/(weight_[0-9]{1,7}|model_weights_config\.json)"
    r"|data/constants/(tensor_[0-9]{1,7}|model_constants_config\.json)"
)
IGNORED = re.compile(r"\.data/(version|serialization_id)|data/sample_inputs/model\.pt|extra/[^/\\:]{1,200}")

MOST_JSON = 64 << 20
"""Bytes of one JSON entry; a vision transformer of 24 blocks has 4 MB."""

MOST_ENTRIES = 100_000

ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError, OverflowError, struct.error)
"""What the standard library raises for damaged archives."""


class Archive:
    """A `.pt2` file that is open. Raises `Malformed` where it holds anything but what torch.export.save writes."""

    def __init__(self, path: Path):
        try:
            self._zip = zipfile.ZipFile(path)
        except ZIP_ERRORS as error:
            raise Malformed(str(error).rstrip(".") or "it is not a zip archive") from None
        self.size_bytes = path.stat().st_size
        try:
            self._entries = self._checked()
            for name, content in MARKS.items():
                if self.read(name) != content:
                    raise Malformed(f"its {name} is {shown(self.read(name))}, not {content!r}")
        except Malformed:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        """Entries by name without the root folder."""
        found: dict[str, zipfile.ZipInfo] = {}
        seen: set[str] = set()
        roots = set()
        infos = self._zip.infolist()
        if len(infos) > MOST_ENTRIES:
            raise Malformed(f"it has {len(infos)} entries; up to {MOST_ENTRIES} are possible")
        for info in infos:
            root, _, name = info.filename.partition("/")
            roots.add(root)
            _check_entry(info, name)
            if name.casefold() in seen:
                raise Malformed(f"it holds {shown(name)} twice")
            seen.add(name.casefold())
            found[name] = info
        if len(roots) != 1:
            raise Malformed(f"it has {len(roots)} folders at its root, not one")
        if sum(info.file_size for info in infos) > self.size_bytes:
            raise Malformed("its entries overlap")
        return found

    def length(self, name: str) -> int:
        """Bytes of an entry, which must be there."""
        if name not in self._entries:
            raise Malformed(f"it holds no {shown(name)}")
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """The content of an entry that is data."""
        self.length(name)
        assert READ.fullmatch(name)
        try:
            return self._zip.read(self._entries[name])
        except ZIP_ERRORS as error:
            raise Malformed(f"its {name} cannot be read: {str(error).rstrip('.') or 'it is cut off'}") from None

    def read_json(self, name: str) -> Any:
        """The value that a JSON entry holds."""
        if self.length(name) > MOST_JSON:
            raise Malformed(f"its {name} has {self.length(name)} bytes; up to {MOST_JSON} are possible")
        try:
            return json.loads(self.read(name))
        except RecursionError:
            raise Malformed(f"its {name} is nested too deeply") from None
        except ValueError:
            raise Malformed(f"its {name} is not valid JSON") from None


def _check_entry(info: zipfile.ZipInfo, name: str) -> None:
    if info.filename != info.orig_filename or not (READ.fullmatch(name) or IGNORED.fullmatch(name)):
        raise Malformed(
            f"it holds {shown(name or info.filename)}, which would run code to load or is not part of a network"
        )
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        raise Malformed(f"its {name} is compressed or encrypted; entries are stored as they are")
