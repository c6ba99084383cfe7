"""What a search remembers of its trials is what it would find among all of them, and does not grow with them."""

import gc
import weakref
from dataclasses import replace
from random import Random

import dask
import pytest

from compression.jobs import sending
from compression.records.search import Found, Trial, TrialState
from compression.searching import history, objectives
from compression.searching.history import History
from compression.searching.settings import SearchSettings


def trials(count: int, seed: int) -> list[Trial]:
    random, made = Random(seed), []
    for number in range(count):
        state: TrialState = random.choice(("complete", "complete", "cut", "failed"))
        size, drop = random.randrange(10_000, 90_000), random.random() * 0.2
        found = Found(drop, 0.95, 0.9, size, 1, 0.1, 500, latency_ratio=random.random())
        made.append(Trial(number, state, "all images", f"recipe {number}", {}, found, seconds=random.random()))
    for at in range(0, count - 1, 3):  # trials do not end in the order in which they began
        made[at], made[at + 1] = made[at + 1], made[at]
    return made


@pytest.mark.parametrize(
    "asked", [{}, {"drop": 0.1}, {"minimise": "size"}, {"size_bytes": 40_000}, {"minimise": "drop"}], ids=str
)
def test_a_history_finds_what_stands_among_all_trials(
    asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOKED_BACK", 20)
    settings = SearchSettings.model_validate(asked)
    for seed in range(5):
        known, made = History(settings), trials(150, seed)
        for each in made:
            known.add(each)
        numbered = sorted(made, key=lambda trial: trial.number)
        assert known.count == 150
        assert known.longest == max(trial.seconds for trial in made if trial.state == "complete")
        assert known.front == objectives.best_front(numbered, settings)
        assert known.best == objectives.best(numbered, settings)
        older = [trial for trial in numbered[:-20] if trial in known.front]
        assert known.looked_at == older + numbered[-20:]
        assert all(known.has(trial.recipe) for trial in made) and not known.has("recipe 150")


def test_a_history_lets_go_of_all_but_its_front_its_best_and_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LOOKED_BACK", 20)
    known, made = History(SearchSettings(drop=0.05)), trials(400, 0)
    watched = {trial.number: weakref.ref(trial) for trial in made}
    for each in made:
        known.add(each)
    kept = {trial.number for trial in known.looked_at} | {known.best.number if known.best else 0}
    del made, each
    gc.collect()
    assert {number for number, trial in watched.items() if trial() is not None} == kept
    assert len(kept) < 60


def test_a_history_of_long_recipes_is_bounded_by_their_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_CHARACTERS", 5_000)
    known, made = History(SearchSettings()), trials(60, 0)
    for each in made:
        known.add(replace(each, recipe=each.recipe.ljust(1_000), state="cut"))
    assert [trial.number for trial in known.looked_at] == [55, 56, 57, 58, 59]
    known.add(replace(made[0], number=60, recipe="x" * 9_000, state="cut"))
    assert [trial.number for trial in known.looked_at] == [60]
    assert known.count == 61 and all(known.has(each.recipe.ljust(1_000)) for each in made)


def test_dask_keeps_short_logs_of_what_it_sent_and_did() -> None:
    """Of messages it would keep 1,000 for each connection, with the recipes and files to beat that they carry."""
    assert dask.config.get("distributed.admin.low-level-log-length") == sending.LOG_LENGTH <= 20
    of_children = dask.config.collect()
    assert dask.config.get("distributed.admin.low-level-log-length", config=of_children) == sending.LOG_LENGTH
