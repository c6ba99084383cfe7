"""Everything that can go wrong because of what a user gave us, one class for each kind.

CompressionError
├── Cancelled            a newer request or the user stopped the work
├── WorkerLost           the process that computed is gone
└── UserError            the message is one sentence: what was wrong, the value, what is allowed
    ├── UnknownName      no such model, dataset, method or field
    ├── InvalidSetting   a value outside its bounds
    ├── InvalidRecipe    steps that do not fit together, or text that is no recipe
    ├── InvalidModel     a model or weights that do not fit
    ├── InvalidData      images or labels that do not fit
    ├── DataUnavailable  a dataset that could not be reached
    ├── WeightsUnavailable  a network's weights that could not be reached
    ├── InvalidFile      a file that is not what it should be
    ├── StoreUnavailable a database that cannot be opened, read or written
    ├── OutOfMemory      more memory than the process may have
    ├── NotAllowed       what somebody's role or quota does not allow
    └── Unsupported      well-formed, but outside what the engine can do
"""

import math
import re
import reprlib
from collections.abc import Iterable

LONGEST = 1_000
"""Characters of a sentence; what is beyond is left out."""


def at_most(share: float) -> str:
    """A limit in [0, 1] as a percentage that is not more than it."""
    return f"At most {math.floor(1000 * share + 1e-9) / 1000:.1%}"


class _Short(reprlib.Repr):
    """`repr` of what may be huge or nested: a part of it, in time that does not depend on the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 2, 100, 100, 100

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write whole numbers of more than 4,300 digits in decimal."""
        return super().repr_int(x, level) if x.bit_length() <= 1_000 else f"a number of {x.bit_length():,} bits"


def shown(value: object) -> str:
    """A value that somebody gave, as a sentence about it shows it: its `repr`, cut where that is long or nested."""
    text = _Short().repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def one_line(text: str) -> str:
    """A text as one line of printable characters, cut after `LONGEST`."""
    line = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]} …."


class CompressionError(Exception):
    """Base of all errors raised on purpose."""


class Cancelled(CompressionError):
    """The work was stopped before its end."""


class WorkerLost(CompressionError):
    """The process that computed has died; its request can be sent again."""


class UserError(CompressionError):
    """Something the user can mend; `str(error)` is one sentence fit for a page, however long what it names is."""

    def __init__(self, sentence: str):
        super().__init__(one_line(sentence))


class UnknownName(UserError):
    """`kind` (a noun) has no entry called `name`."""

    def __init__(self, kind: str, name: object, known: Iterable[object]):
        super().__init__(f"Unknown {kind} {shown(name)}; known are {', '.join(map(str, known)) or 'none'}.")

    def __reduce__(self) -> tuple[object, ...]:
        """How it crosses to another process: by its sentence, as its parts are not kept."""
        return _unknown, (str(self),)


def _unknown(sentence: str) -> UnknownName:
    error = UnknownName.__new__(UnknownName)
    error.args = (sentence,)
    return error


class InvalidSetting(UserError):
    """A value that its field does not allow."""


class InvalidRecipe(UserError):
    """A recipe that cannot be read or whose steps do not fit together."""


class InvalidModel(UserError):
    """A network or its weights that cannot be used."""


class InvalidData(UserError):
    """Images, labels or a folder of them that cannot be used."""


class DataUnavailable(UserError):
    """A dataset that none of its sources could give."""


class WeightsUnavailable(UserError):
    """Weights that the place where they lie could not give."""


class InvalidFile(UserError):
    """A file that cannot be read as what it is said to be."""


class StoreUnavailable(UserError):
    """The store's database is damaged, locked, newer than the program, or does not answer."""


class OutOfMemory(UserError):
    """What takes more memory than there is for it."""


class NotAllowed(UserError):
    """What somebody's role in the team or their quota does not allow."""


class Unsupported(UserError):
    """A valid request that the engine does not carry out; the message says why."""
