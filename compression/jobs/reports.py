"""Reports of other machines that pages take in."""

from collections import OrderedDict
from threading import Lock

from compression.errors import InvalidSetting
from compression.jobs import permits
from compression.probing.receiver import Receiver
from compression.records.probe import MOST_CHARACTERS, read_report
from compression.store import Store
from compression.store.probes import Added
from compression.store.records import digest
from compression.team import Act, require

REMEMBERED = 1000
MOST_RECEIVERS = 4

_counted: OrderedDict[str, None] = OrderedDict()
_receivers: list[Receiver[Added]] = []
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


def open_receiver(address: str, seconds: float) -> Receiver[Added]:
    """A port on one of this machine's addresses that takes in one report, by `take_report`. No team has one.

    Raises `InvalidSetting` and `NotAllowed`.
    """
    permits.check_receiver()
    with _lock:
        _receivers[:] = [each for each in _receivers if each.state == "open"]
        if len(_receivers) >= MOST_RECEIVERS:
            raise InvalidSetting(f"At most {MOST_RECEIVERS} receivers can be open at a time; stop one first.")
        _receivers.append(Receiver(take_report, address, seconds))
        return _receivers[-1]
