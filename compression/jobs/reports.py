"""Reports of other machines that pages take in."""

from collections import OrderedDict
from threading import Lock

from compression.jobs import permits
from compression.records.probe import MOST_CHARACTERS, read_report
from compression.store import Store
from compression.store.probes import Added
from compression.store.records import digest
from compression.team import Act, require

REMEMBERED = 1000

_counted: OrderedDict[str, None] = OrderedDict()
_lock = Lock()


def take_report(content: bytes) -> Added:
    """What a report brought. A page that is drawn again gives the same one again, which counts as one upload.

    Raises `InvalidFile`, `NotAllowed` and `StoreUnavailable`.
    """
    content = content[: MOST_CHARACTERS + 1]  # longer ones are refused below
    mark = digest(require(Act.WORK).name, content.hex())
    with _lock:
        if mark not in _counted:
            permits.check_upload(0)  # its rows in the database are not the member's bytes on disk
            _counted[mark] = None
            if len(_counted) > REMEMBERED:
                _counted.popitem(last=False)
    return Store.shared().probes.add(read_report(content))
