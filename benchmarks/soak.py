"""A team for a while: ten browsers at one app, and workers that are killed at random.

`scripts/team-local.sh` starts PostgreSQL, a scheduler, two machines' workers, the app and a provider of sign-ins. Ten
browsers (`benchmarks.visitors`) do what users do. Each minute two workers are ended with SIGKILL: a process that
computes, which its nanny starts anew, or all processes of a machine, which the script starts anew. In the end what the
browsers saw is looked for in the store: each measured recipe must be there, once; so must each trial of a search.
"""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from benchmarks.ui import ROOT, _await
from benchmarks.visitors import Seen, visit
from compression.cli.console import Progress
from compression.data import user_folder
from compression.errors import Unsupported
from compression.host.machine import this_machine
from compression.jobs import search_view
from compression.store import Store
from compression.store.records import OPEN

PORT, SAMPLE_S, SETTLE_S = 8701, 10.0, 240.0
KILLS, KILL_EVERY_S = 2, 60.0
WHOLE_MACHINE = 0.25
"""So often not one process is killed, but all of a machine's workers at once."""

PARTS = 6
"""Memory is told of so many equal parts of the time."""


@dataclass
class Team:
    """The processes of the script: ids by name, and where the database is."""

    folder: Path
    ids: dict[str, int]
    database: str

    @property
    def address(self) -> str:
        """The app's."""
        return f"http://localhost:{PORT}"

    def machines(self) -> list[psutil.Process]:
        """What starts a machine's workers again, of each machine."""
        return [psutil.Process(self.ids[name]) for name in self.ids if name.startswith("worker-")]

    def computing(self) -> list[psutil.Process]:
        """The processes that carry out tasks: children of nannies."""
        found = []
        for machine in self.machines():
            with suppress(psutil.Error):
                found += [each for each in machine.children(recursive=True) if _is_worker(each)]
        return found

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the app, the scheduler and, on average, a process that computes."""
        sizes = {name: _rss(psutil.Process(self.ids[name])) for name in ("app", "scheduler")}
        workers = [size for each in self.computing() if (size := _rss(each))]
        return sizes | ({"workers": sum(workers) / len(workers), "largest worker": max(workers)} if workers else {})


@dataclass
class Course:
    """What happened beside the browsers."""

    killed: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


def run(
    minutes: float, browsers: int, quiet: Quiet, progress: Progress, *, logs: Path | None = None, seed: int = 0
) -> Report:
    """The whole of it; raises `Unsupported` where the team does not start. A folder for `logs` is kept."""
    place = Path(logs or tempfile.mkdtemp())
    with _team(place) as team:
        seen, course = asyncio.run(_both(team, minutes, browsers, progress, seed))
        progress("Comparing with the store", 1.0)
        found = _compared(team, seen)
        log = (place / "app.log").read_text(errors="replace")
    if logs is None:
        shutil.rmtree(place, ignore_errors=True)
    failures = [line for line in log.splitlines() if "unexpected failure of a page" in line]
    values = _values(seen, course, found) | {"minutes": minutes, "browsers": browsers, "failures_in_log": failures}
    return Report("soak", "team", "digits", this_machine(), quiet, values, _markdown(values))


@contextmanager
def _team(folder: Path) -> Iterator[Team]:
    """The script's processes, with homes that share this user's images."""
    for name in ("app", "worker-1", "worker-2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "datasets").symlink_to(user_folder() / "datasets", target_is_directory=True)
    command = ["sh", str(ROOT / "scripts" / "team-local.sh"), str(folder), str(PORT)]
    environment = {**os.environ, "PYTHON": sys.executable}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as script:
        assert script.stdout
        told = []
        try:
            for line in script.stdout:
                told.append(line)
                if line.startswith("app: http"):
                    break
            text = "".join(told)
            ids = {name: int(number) for name, number in re.findall(r"^(\S+): process (\d+)", text, re.M)}
            database = re.search(r"^database: (\S+)", text, re.M)
            if "app" not in ids or database is None:
                raise Unsupported(f"The team did not start; PostgreSQL's programs are needed. It said: {text}")
            _await(f"http://localhost:{PORT}/_stcore/health")
            yield Team(folder, ids, database[1])
        finally:
            script.send_signal(signal.SIGTERM)
            script.wait(timeout=60)


async def _both(team: Team, minutes: float, browsers: int, progress: Progress, seed: int) -> tuple[list[Seen], Course]:
    """Browsers and kills at once, from when everybody has signed in."""
    course, beside = Course(), list[asyncio.Task[None]]()

    def begin() -> float:
        end = time.monotonic() + 60 * minutes
        beside.append(asyncio.create_task(_watch(team, course, end, minutes, progress, random.Random(seed))))
        return end

    progress("Signing in", 0.0)
    seen = await visit(team.address, browsers, begin, seed)
    await asyncio.gather(*beside)
    return seen, course


async def _watch(team: Team, course: Course, end: float, minutes: float, progress: Progress, chance: Any) -> None:
    """Samples memory and kills workers, until the end; then memory alone, until the browsers have left."""
    begun = time.monotonic()
    next_kill = begun + KILL_EVERY_S / 2
    while (now := time.monotonic()) < end:
        progress(
            f"{(now - begun) / 60:.1f} of {minutes:g} minutes, {course.killed.total()} killed",
            (now - begun) / (60 * minutes),
        )
        for name in list(team.ids):
            if not psutil.pid_exists(team.ids[name]):
                course.ended.append(name)
        with suppress(psutil.Error):
            course.memory.append((now - begun, team.memory_mb()))
        if now >= next_kill:
            for _ in range(KILLS):
                course.killed[_kill(team, chance)] += 1
            next_kill += KILL_EVERY_S
        await asyncio.sleep(min(SAMPLE_S, max(end - now, 0)))


def _kill(team: Team, chance: Any) -> str:
    """Ends one process that computes, or a whole machine's; what was ended."""
    if chance.random() < WHOLE_MACHINE:
        machine = chance.choice(team.machines())
        for each in machine.children(recursive=True):
            with suppress(psutil.Error):
                each.kill()
        return "machine"
    if not (there := team.computing()):
        return "none was there"
    with suppress(psutil.Error):
        chance.choice(there).kill()
    return "process"


def _is_worker(process: psutil.Process) -> bool:
    """Whether a process was spawned by a nanny to compute."""
    with suppress(psutil.Error):
        words = process.cmdline()
        return any("spawn_main" in word for word in words)
    return False


def _rss(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def _compared(team: Team, seen: list[Seen]) -> dict[str, Any]:
    """What the browsers saw beside what the store has."""
    store = Store.open(team.database)
    deadline = time.monotonic() + SETTLE_S
    while (left := [job for job in store.jobs.all() if job.state in OPEN]) and time.monotonic() < deadline:
        time.sleep(2)
    runs = store.runs()
    kept = {run.recipe_hash for run in runs}
    files: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in runs:
        files[each.subject.id, each.recipe_hash, each.engine].add(each.id)
    measured = {recipe for each in seen for recipe in each.measured}
    jobs = store.jobs.all()
    trials = [trial for job in jobs if (view := search_view(store, job.id)) for trial in view.trials]
    of_trials = [trial.run for trial in trials if trial.run]
    ids = {each.id for each in runs}
    store.close()
    return {
        "runs": len(runs),
        "measured": len(measured),
        "lost": sorted(measured - kept),
        "twice": sorted(" ".join(key) for key, found in files.items() if len(found) > 1),
        "searches_begun": sum(each.searches for each in seen),
        "searches": len(jobs),
        "states": dict(Counter(job.state for job in jobs)),
        "left_open": [job.id for job in left],
        "trials": len(trials),
        "trial_states": dict(Counter(trial.state for trial in trials)),
        "why_failed": dict(Counter(trial.why for trial in trials if trial.state == "failed")),
        "trials_lost": sorted(set(of_trials) - ids),
        "trials_twice": len(of_trials) - len(set(of_trials)),
    }


def _values(seen: list[Seen], course: Course, found: dict[str, Any]) -> dict[str, Any]:
    counts = {
        name: dict(sum((getattr(each, name) for each in seen), Counter[str]())) for name in ("acts", "told", "late")
    }
    return counts | {
        "errors": [error for each in seen for error in each.errors],
        "killed": dict(course.killed), "ended": course.ended, "memory": course.memory, "store": found,
    }  # fmt: skip


def _markdown(values: dict[str, Any]) -> str:
    store, memory = values["store"], values["memory"]
    rows = [
        ("acts of the browsers", ", ".join(f"{count} {name}" for name, count in sorted(values["acts"].items()))),
        ("workers killed", ", ".join(f"{count} {name}" for name, count in values["killed"].items())),
        ("error pages", str(len(values["errors"]) + len(values["failures_in_log"]))),
        ("recipes that browsers saw measured; lost", f"{store['measured']}; {len(store['lost'])}"),
        ("runs in the store; with two files of one recipe", f"{store['runs']}; {len(store['twice'])}"),
        ("searches begun; in the store", f"{store['searches_begun']}; {store['searches']} ({store['states']})"),
        ("trials; failed; whose run is lost, is twice", f"{store['trials']}; {store['trial_states'].get('failed', 0)}; "
         f"{len(store['trials_lost'])}, {store['trials_twice']}"),
    ]  # fmt: skip
    heading = f"{values['browsers']} browsers, {values['minutes']:g} minutes."
    parts = [[sample for _, sample in memory[round(i * len(memory) / PARTS) : round((i + 1) * len(memory) / PARTS)]]
             for i in range(PARTS)]  # fmt: skip
    names = ("app", "scheduler", "workers", "largest worker")
    sizes = [(name, *(_median(part, name) for part in parts)) for name in names]
    told = table(("what", "found"), rows)
    grown = table(("median MB in each sixth", *map(str, range(1, PARTS + 1))), sizes)
    lists = "\n".join(
        f"- {name}: {values[name]}" for name in ("errors", "failures_in_log", "told", "late", "ended") if values[name]
    )
    return f"{heading}\n\n{told}\n\n{grown}\n\n{lists}"


def _median(samples: list[dict[str, float]], name: str) -> str:
    found = [sample[name] for sample in samples if name in sample]
    return f"{np.median(found):.0f}" if found else "–"
