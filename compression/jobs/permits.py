"""What members of a team may have done: asked where jobs are submitted and uploads are kept, and counted here.

Without a team nothing is refused or counted, and the store is not touched.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from compression.data.archives import uploads
from compression.data.folder import FOLDER_PREFIX
from compression.data.test_samples import base_of
from compression.errors import NotAllowed, StoreUnavailable, UserError
from compression.models.sources import parse
from compression.store import JobRecord, Store
from compression.team import ONLY_USER, Act, Member, Usage, asking, refusal, require

COUNT_S = 15.0
"""How often the time of a long job is counted while it works."""

UPLOADS = {"add_network", "import_network"}
"""Questions that take in a file."""

READING = {
    "browser_images", "class_map_of", "compare_deployment", "compare_predictions", "inputs_of",
    "known_sensitivities", "library_networks", "network_structure", "reachable_amounts", "write_format",
    "write_with_preprocessing",
}  # fmt: skip
"""Questions that only read what is there, which a viewer may ask too. All others are work."""

FOLDERS = "Only admins of your team name folders and files of the server; upload the images or the network."
PORTS = "An app with a team opens no port of its own; upload report.json instead."
OWN = "The job belongs to somebody else; only they and admins can do that."


def check_work(*about: Any) -> Member:
    """Who asks in this thread, if they may have something done. Raises `NotAllowed`."""
    member = require(Act.WORK)
    if member.name:
        _check_images(member, about)
        require(Act.WORK, _book().of(member.name), Usage(seconds=1.0))
    return member


def check_question(question: Callable[..., Any], *about: Any) -> None:
    """Whether a worker may be asked that. Raises `NotAllowed`."""
    if question.__name__ in UPLOADS:
        _check_source(question, about)
        check_upload(sum(len(each) for each in about if isinstance(each, bytes)))
    elif question.__name__ in READING:
        _check_images(require(Act.LOOK), about)
    else:
        check_work(*about)


def check_images(dataset: str) -> None:
    """Whether who asks in this thread may have a page look at the images of that name. Raises `NotAllowed`."""
    _check_images(require(Act.LOOK), [dataset])


def check_upload(size_bytes: int) -> Member:
    """Counts one upload of so many bytes. Raises `NotAllowed`, and counts nothing, for who may not."""
    member = require(Act.WORK)
    if member.name:
        _book().take(member, Usage(uploads=1, size_bytes=size_bytes))
    return member


def check_receiver() -> None:
    """Whether who asks in this thread may open a port for a report. Raises `NotAllowed` for every member of a team."""
    if require(Act.WORK).name:
        raise NotAllowed(PORTS)


def check_owner(read: Callable[[], JobRecord]) -> None:
    """Whether who asks in this thread may stop, resume or remove the job that `read` gives. Raises `NotAllowed`."""
    member = require(Act.WORK)
    if member.name and refusal(member, Act.ADMINISTER) and read().app.get("member") != member.name:
        raise NotAllowed(OWN)


def count_bytes(member: Member, size_bytes: int) -> None:
    """Counts so many bytes more on disk, or fewer."""
    if member.name and size_bytes:
        _book().count(member.name, Usage(size_bytes=size_bytes))


def can_work(*about: Any) -> bool:
    """Whether who asks in this thread may have something done."""
    try:
        return bool(check_work(*about))
    except UserError:
        return False


def _check_images(member: Member, about: Iterable[Any]) -> None:
    """Only admins name folders of the server: others get the images that were uploaded. Raises `NotAllowed`."""
    if not member.name:
        return
    for each in about:
        name = getattr(each, "dataset", each)
        if isinstance(name, str) and name.startswith(FOLDER_PREFIX):
            folder = Path(base_of(name).removeprefix(FOLDER_PREFIX))
            if not folder.resolve().is_relative_to(uploads().resolve()) and refusal(member, Act.ADMINISTER):
                raise NotAllowed(FOLDERS)


def _check_source(question: Callable[..., Any], about: Sequence[Any]) -> None:
    """Only admins name networks of the server's files. Raises `NotAllowed`, and `InvalidModel` for no source."""
    source = about[1] if question.__name__ == "add_network" and len(about) > 1 else ""
    if source and not parse(source).library and refusal(require(Act.WORK), Act.ADMINISTER):
        raise NotAllowed(FOLDERS)


def _book() -> Any:
    return Store.shared().usage


class Meter:
    """The computing time of one job, counted for the member who started it. Its methods may be called anywhere."""

    def __init__(self, member: Member | None = None) -> None:
        self.member = member or who()
        self._begun: float | None = None
        self._looked = False
        self._counted = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The job has begun to compute; said again, nothing changes."""
        if self._begun is None:
            self._begun = time.monotonic()

    def count(self, every: float = 0.0) -> str:
        """Counts what has not been counted yet, if it is `every` seconds or more; why the job may not go on."""
        if not self.member.name or self._begun is None:
            return ""
        with self._lock, suppress(StoreUnavailable):  # counted the next time
            new = time.monotonic() - self._begun - self._counted
            if new < every and self._looked:
                return ""
            self._looked = True  # one that waited long is looked at when it begins
            _book().count(self.member.name, Usage(seconds=new))
            self._counted += new
            return refusal(self.member, Act.WORK, _book().of(self.member.name))
        return ""


def who() -> Member:
    """Who asks; what the program does by itself is done for nobody, and not counted."""
    try:
        return asking()
    except UserError:
        return ONLY_USER
