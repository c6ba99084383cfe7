"""Everything that can come from a stranger, damaged and forged by chance from a seed, sent through every way in.

    python -m tests.mutations 10000              # a table of what happened; --seed N, --only WAY, --case N

A case is right where its input is taken or refused with one sentence (`UserError`). Counted is what must not be: code
that comes with the input and runs (it leaves a marker, or the interpreter's audit hook sees a program started or a
pickle read), any other exception, a file made or changed outside of the case's own folder, and more than 30 seconds.
"""

import before_compression  # noqa: F401

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from tests.damage import MARKER
from tests.strangers import Way, check, ways

HANG_S = 30.0


@dataclass
class Figures:
    """What happened to the cases of one way, and how to bring about again what should not have."""

    taken: int = 0
    refused: int = 0
    broken: int = 0
    tracebacks: int = 0
    code_run: int = 0
    written: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Watch:
    """What the interpreter tells of files, programs and pickles while a case is under way; see `sys.addaudithook`."""

    RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class", "pty.spawn",
            "subprocess.Popen")  # fmt: skip
    CHANGES: ClassVar = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.chmod": 0, "os.truncate": 0,
               "os.link": 1, "os.symlink": 1, "shutil.rmtree": 0}  # fmt: skip

    def __init__(self, *inside: Path):
        self.inside = tuple(str(path.resolve()) for path in inside)
        self.on = False
        self.ran: list[str] = []
        self.wrote: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, about: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "subprocess.Popen" and about[0] == sys.executable:
            return  # ours, to read in
        if event in self.RUNS:
            self.ran.append(f"{event} {about[:2]!r:.200}")
        elif event == "open" and isinstance(about[2], int) and about[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._change(about[0])
        elif event in self.CHANGES:
            self._change(about[self.CHANGES[event]], about[-1] if event != "os.truncate" else None)

    def _change(self, path: object, beside: object = None) -> None:
        """`beside` is the open folder in which the path begins, -1 or None where that is the current one."""
        if isinstance(path, str | bytes | os.PathLike):
            folder = os.readlink(f"/proc/self/fd/{beside}") if isinstance(beside, int) and beside >= 0 else ""
            where = os.path.realpath(os.path.join(folder, os.fsdecode(path)))
            if not where.startswith(self.inside) and where != os.devnull:
                self.wrote.append(where)

    @contextmanager
    def case(self) -> Iterator[None]:
        """Watches what is done inside."""
        self.ran, self.wrote, self.on = [], [], True
        try:
            yield
        finally:
            self.on = False


def run(count: int, seed: int, only: str = "", case: int | None = None) -> dict[str, Figures]:
    """Sends `count` cases through the ways in, and says what happened."""
    base = Path(tempfile.mkdtemp(prefix="mutations-")).resolve()
    os.environ["COMPRESSION_HOME"], os.environ["HOME"] = str(base / "home"), str(base / "home")
    for name in ("home", "case", "marked"):
        (base / name).mkdir()
    all_ways = ways(base, only)
    os.chdir(base / "marked")
    for library in ("compression.pipeline.compress", "distributed"):  # what they do when loaded is no case's doing
        import_module(library)
    import_module("compression.data").load("digits")
    watch = Watch(base / "home", base / "case")
    order = [way for way in all_ways for _ in range(way.share)]
    random.Random(seed).shuffle(order)
    found = {way.name: Figures() for way in all_ways}
    try:
        for number in range(count) if case is None else [case]:
            way = order[number % len(order)]
            _case(way, f"{seed}/{number}", base, watch, found[way.name], loud=case is not None)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return found


def _case(way: Way, name: str, base: Path, watch: Watch, figures: Figures, *, loud: bool) -> None:
    from compression.errors import UserError

    rng, folder, outside = random.Random(name), base / "case", _listing(base)
    given = way.make(rng, folder)
    begin = time.monotonic()
    late = threading.Timer(2 * HANG_S, _given_up, [f"hangs {way.name} {name}"])
    late.start()
    try:
        with watch.case():
            way.enter(given)
        figures.taken += 1
    except UserError as error:
        figures.refused += 1
        if loud:
            print(error)
        try:
            check(str(error))
        except (AssertionError, UnicodeError) as wrong:
            _fault(figures, "tracebacks", f"{way.name} {name}: {wrong}")
    except Exception as error:
        if loud:
            traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/compression/" in frame.filename or "/pages/" in frame.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "here"
        figures.broken += 1
        text = f"{type(error).__name__}: {str(error)[:120]!r} ({place})"
        _fault(figures, "tracebacks", f"{way.name} {name}: {text}")
    late.cancel()
    took = time.monotonic() - begin
    figures.slowest_s = max(figures.slowest_s, took)
    if took > HANG_S:
        _fault(figures, "hangs", f"{way.name} {name}: {took:.0f} s")
    if watch.ran or any((base / "marked").iterdir()):
        _fault(figures, "code_run", f"{way.name} {name}: {watch.ran[:2] or 'marked'}")
    if watch.wrote or _listing(base) != outside:
        _fault(figures, "written", f"{way.name} {name}: {watch.wrote[:3]}")
    (base / "marked" / MARKER).unlink(missing_ok=True)
    shutil.rmtree(base / "home" / "zoo", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _given_up(fault: str) -> None:
    """Ends everything where a case does not end."""
    print(json.dumps({"faults": [fault], "cases": 0}), flush=True)
    os._exit(3)


def _listing(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def _fault(figures: Figures, kind: str, text: str) -> None:
    setattr(figures, kind, getattr(figures, kind) + 1)
    figures.faults.append(f"{kind} {text}")


COUNTED = ("taken", "refused", "code_run", "tracebacks", "written", "hangs")


def table(found: dict[str, Figures]) -> str:
    """The figures as a Markdown table."""
    heads = (
        "way in",
        "cases",
        "taken",
        "refused",
        "code run",
        "tracebacks",
        "files outside",
        "over 30 s",
        "slowest, s",
    )
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    total: Counter[str] = Counter()
    for way, figures in found.items():
        numbers = {name: getattr(figures, name) for name in COUNTED}
        numbers = {"cases": figures.taken + figures.refused + figures.broken, **numbers}
        total.update(numbers)
        lines.append(_line(way, numbers, figures.slowest_s))
    return "\n".join([*lines, _line("all", total, max(figures.slowest_s for figures in found.values()))])


def _line(way: str, numbers: Mapping[str, int], slowest_s: float) -> str:
    return f"| {way} | {' | '.join(f'{numbers[name]:,}' for name in ('cases', *COUNTED))} | {slowest_s:.1f} |"


def main() -> None:
    """See above; the last line is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--case", type=int)
    given = parser.parse_args()
    found = run(given.count, given.seed, given.only, given.case)
    faults = [fault for figures in found.values() for fault in figures.faults]
    print("\n".join(faults))
    print(table(found))
    print(json.dumps({"faults": faults, "cases": given.count}))


if __name__ == "__main__":
    main()
