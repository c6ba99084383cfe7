"""A team's database while its programs are killed: two apps and four workers' results, nothing lost, nothing twice."""

import random
import subprocess
import sys
import threading
from collections import Counter

from sqlalchemy import create_engine, text

from compression.jobs.cluster import ROOT
from compression.records.measurement import Machine
from compression.store import Store
from compression.team import Usage
from tests.postgres import needs_postgres

KEEP = """
import sys
import before_compression
import numpy as np
from compression.recipe import Recipe
from compression.records.measurement import (
    Accuracy, Interval, LayerReport, LearningPoint, Machine, Measurement, Latency, Predictions, order,
)
from compression.store import Store, Subject
from compression.team import Member, Role, Usage
url, who, begin, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
here = Machine("A CPU", 2, True, "Linux x86_64", "3.11", "2.15", "1.32", id="here")
store, subject = Store.open(url, machine=here), Subject("resnet20", "digits", "digits", "a" * 64, "b" * 64)
layers = [LayerReport(str(i), "Linear", (10, 64), 640, 32, 0.0, 640, 2560, None, "raw") for i in range(2)]
answers = Predictions(order(500), np.zeros(500, np.uint16), np.ones(500, np.float16))
for i in range(begin, end):
    recipe = Recipe(seed=i)
    found = Accuracy(0.9, Interval(0.8, 1.0), 500, 0.9, 0.0)
    took = Latency(0.1, 0.2, 0.3, 0.4, Interval(0.3, 0.5), 9, 9, 1, 1, 0.0, 0.1)
    measured = Measurement(recipe.hash, f"{i:064x}", found, 1, 1, took, 1, 1, 500, 1.0, here, answers)
    run = store.add(subject, recipe, measured, engine="e1", layers=layers, job=who)
    print(f"kept {i} {run}", flush=True)
    store.usage.take(Member("ann", Role.USER), Usage(seconds=1, uploads=1))
    print(f"took {i}", flush=True)
    store.jobs.learn(who, [LearningPoint(i, 0.1, 0.5, 0.01, None, None)])
"""
EACH, KILLS = 10, 1
WRITERS = {app: [f"{app}-{number}" for number in (1, 2)] for app in ("app1", "app2")}


def kept_on(url: str, who: str, begin: int, chance: random.Random, said: list[str]) -> None:
    """Keeps `EACH` results, begun anew after each kill where the last confirmed one was; `said` is what it printed."""
    done, kills = begin, 0
    while done < begin + EACH:
        command = [sys.executable, "-c", KEEP, url, who, str(done), str(begin + EACH)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stderr is not None
        dies_after = chance.randrange(1, 8) if kills < KILLS else None
        for number, line in enumerate(process.stdout, 1):
            said.append(line.strip())
            if line.startswith("took"):
                done = int(line.split()[1]) + 1
            if number == dies_after:
                process.kill()  # SIGKILL, in the middle of the next transaction
                kills += 1
        trouble = process.stderr.read()
        process.stderr.close()
        process.stdout.close()
        assert process.wait(60) == 0 or dies_after is not None, trouble


@needs_postgres
def test_four_writers_of_two_apps_are_killed_and_nothing_is_lost_or_there_twice(postgres: str) -> None:
    said: dict[str, list[str]] = {name: [] for names in WRITERS.values() for name in names}
    threads = [
        threading.Thread(target=kept_on, args=(postgres, name, place * EACH, random.Random(place), said[name]))
        for place, name in enumerate(said)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    confirmed = Counter(line for lines in said.values() for line in lines if line.startswith("kept"))
    took = sum(line.startswith("took") for lines in said.values() for line in lines)
    here = Machine("A CPU", 2, True, "Linux x86_64", "3.11", "2.15", "1.32", id="here")
    store = Store.open(postgres, machine=here)
    runs = store.runs()
    assert len({run.file_hash for run in runs}) == len(runs) == EACH * len(said)
    assert {line.split()[2] for line in confirmed} <= {run.id for run in runs}
    for run in runs:
        assert len(store.layers(run.id)) == 2 and len(store.predictions(run.id) or ()) == 500 and run.full
        assert confirmed[f"kept {int(run.file_hash, 16)} {run.id}"] <= len(store.latencies(run.id)) <= 1 + KILLS
    killed = KILLS * len(said)  # what a killed program had written without being able to say so
    used = store.usage.of("ann")
    assert took <= used.uploads <= took + killed and used == Usage(used.uploads, used.uploads)
    for name in said:
        assert [point.step for point in store.jobs.curve(name)] == sorted({p.step for p in store.jobs.curve(name)})
    for who in ("bob", "eve", "bob"):
        store.usage.made(runs[0].id, who, 700)
    assert (store.usage.of("bob"), store.usage.of("eve")) == (Usage(size_bytes=700), Usage())
    store.usage.unmade(runs[0].id)
    assert store.usage.of("bob") == Usage()
    store.close()
    with create_engine(postgres.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        orphans = "SELECT count(*) FROM compression_files f LEFT JOIN compression_accuracies a ON a.file_id = f.id WHERE a.file_id IS NULL"  # noqa: E501
        assert connection.execute(text(orphans)).scalar() == 0
