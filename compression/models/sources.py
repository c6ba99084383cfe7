"""Where a network comes from, as a user writes it: a name in a library or in the list, or a file. No torch in here.

torchvision:NAME[.TAG]    timm:NAME[.TAG]    timm:hf_hub:OWNER/REPOSITORY    FILE.onnx    FILE.pt2    NAME
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compression.errors import InvalidModel, shown

LIBRARIES = ("torchvision", "timm")
FILES = (".onnx", ".pt2")
FORMS = "torchvision:NAME, timm:NAME, timm:hf_hub:OWNER/REPOSITORY, FILE.onnx, FILE.pt2 or a name from `models list`"

_NAME = re.compile(r"([A-Za-z0-9_]{1,80})(?:\.([A-Za-z0-9_.-]{1,80}))?")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(?:@[\w.-]{1,80})?", re.ASCII)
_HUBS = ("hf_hub:", "hf-hub:")

Kind = Literal["torchvision", "timm", "hub", "file", "name"]


@dataclass(frozen=True)
class Source:
    """`kind` says what `name` is: an architecture of a library, a repository, a file's path, or a name in the list."""

    kind: Kind
    name: str
    tag: str = ""

    def __str__(self) -> str:
        """As a user writes it."""
        if self.kind == "hub":
            return f"timm:hf_hub:{self.name}"
        prefix = f"{self.kind}:" if self.kind in LIBRARIES else ""
        return f"{prefix}{self.name}{'.' if self.tag else ''}{self.tag}"

    @property
    def library(self) -> str:
        """The library that builds it, '' where none does."""
        return "timm" if self.kind == "hub" else self.kind if self.kind in LIBRARIES else ""

    @property
    def path(self) -> Path:
        """The file of a source that is one."""
        return Path(self.name)


def parse(text: str) -> Source:
    """What `text` names. Raises `InvalidModel` for a text of no such form."""
    library, colon, rest = text.partition(":")
    if colon and library in LIBRARIES:
        return _of_library(library, rest)
    if _is_path(text):
        return Source("file", text)
    if re.fullmatch(r"[a-z][a-z0-9_]{0,30}", text):
        return Source("name", text)
    raise InvalidModel(f"{shown(text)} names no network; {FORMS} are possible.")


def _is_path(text: str) -> bool:
    """Whether a text names a file or a folder: by its ending, by a separator, or as one is there."""
    return "\0" not in text and bool(Path(text).suffix or "/" in text or "\\" in text)


def _of_library(library: str, rest: str) -> Source:
    hub = next((prefix for prefix in _HUBS if rest.startswith(prefix)), None)
    if hub and library == "timm":
        repository = rest.removeprefix(hub)
        if not _REPOSITORY.fullmatch(repository):
            raise InvalidModel(f"{shown(repository)} is not a repository; write OWNER/NAME, optionally with @REVISION.")
        return Source("hub", repository)
    found = _NAME.fullmatch(rest)
    if not found:
        raise InvalidModel(f"{shown(rest)} is no network of {library}: its names are NAME or NAME.TAG.")
    return Source("torchvision" if library == "torchvision" else "timm", found[1], found[2] or "")
