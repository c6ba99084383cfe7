"""A search as an Optuna study: samplers propose what they would with Optuna's own storage, and the rows are its own."""

import json
from math import nan
from random import Random
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from compression.errors import Unsupported
from compression.records.search import Found, Trial
from compression.searching import proposals
from compression.searching.sampling import _sampler, _suggested
from compression.searching.settings import SearchSettings
from compression.searching.study import RECORD, SPACE, SPENT, Study


def test_what_a_program_left_open_is_closed_and_tried_again(storage: BaseStorage) -> None:
    settings = SearchSettings()
    study = Study(storage, "s", settings)
    first, second = (proposals.random_params(study.space, Random(seed)) for seed in (1, 2))
    assert study.ask(first, "seed") == (0, first)
    study._optuna.enqueue_trial(second)  # the program dies between proposing a trial and taking it up
    again = Study(storage, "s", settings)
    assert again.left_open() == [first]
    assert again.left_open() == []
    third = proposals.random_params(study.space, Random(3))
    assert again.ask(third, "seed") == (2, third)
    assert again.trials == []


def test_a_search_of_another_version_is_not_gone_on_with(storage: BaseStorage) -> None:
    study = Study(storage, "s", SearchSettings())
    study.check()
    study.keep(SPACE, "another")
    with pytest.raises(Unsupported, match="started by another version"):
        study.check()


def test_two_programs_at_one_search_number_its_trials_together(storage: BaseStorage) -> None:
    settings = SearchSettings(sampler="tpe")
    ours, theirs = (Study(storage, "s", settings) for _ in range(2))
    asked = [each.ask(None, "test") for each in (ours, ours, theirs, ours, theirs, theirs)]
    assert [number for number, _ in asked] == list(range(6))
    for each, at in ((ours, 0), (theirs, 2), (ours, 3), (theirs, 4)):
        each.tell(came_to(*asked[at]))
    found = Study(storage, "s", settings)
    assert [(t.number, t.params) for t in found.trials] == [asked[at] for at in (0, 2, 3, 4)]


def came_to(number: int, params: dict[str, Any]) -> Trial:
    """A trial of such parameters at its end: most have a file, some were cut or failed."""
    random = Random(json.dumps(params))
    found = Found(
        drop=random.random() / 20, agreement=0.97, worst_class=0.8, size_bytes=random.randrange(10_000, 90_000),
        macs=1_000, divergence=random.random(), images=500, latency_ratio=nan if number == 7 else random.random(),
    )  # fmt: skip
    plain = Trial(number, "complete", "all images", f"recipe {number}", params, found, size_bytes=found.size_bytes)
    if number % 5 == 3:
        return Trial(number, "cut", "simulated", "", params, why="too large", size_bytes=found.size_bytes)
    return Trial(number, "failed", "simulated", "", params, why="no memory") if number % 11 == 6 else plain


def with_optuna_alone(settings: SearchSettings, trials: int) -> list[FrozenTrial]:
    """The trials of a search that asks and tells Optuna one by one, five under way; the first are random."""
    rules = Study.__new__(Study)
    rules.settings, space, random = settings, proposals.Space(settings.techniques), Random(0)
    study = optuna.create_study(storage=InMemoryStorage(), sampler=_sampler(settings), directions=["minimize"] * 3)
    under_way = []
    for number in range(trials):
        if number < 25:
            study.enqueue_trial(proposals.random_params(space, random))
        asked = study.ask()
        params = space.complete(lambda name, domain, asked=asked: _suggested(asked, name, domain))  # type: ignore[misc]
        under_way.append((asked, params))
        if len(under_way) == 5:
            asked, params = under_way.pop(2)
            trial = came_to(asked.number, params)
            told = rules._values(trial)
            for name, broken in (rules._constraints(trial) if told else {}).items():
                asked.set_constraint(name, broken)
            study.tell(asked, told, state=None if told else TrialState.FAIL)
    return study.trials


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_samplers_propose_what_they_would_with_optuna_alone_and_go_on_from_the_database(
    storage: BaseStorage, sampler: str
) -> None:
    settings, random = SearchSettings(sampler=sampler, drop=0.03), Random(0)  # type: ignore[arg-type]
    expected = with_optuna_alone(settings, 80)
    study, under_way = Study(storage, "s", settings), list[tuple[int, dict[str, Any]]]()
    for number in range(80):
        given = proposals.random_params(study.space, random) if number < 25 else None
        under_way.append(study.ask(given, "test"))
        if len(under_way) == 5:
            study.tell(came_to(*under_way.pop(2)), seconds=float(number))
    found = Study(storage, "s", settings)._optuna.trials
    assert len({str(each.params) for each in found}) > 70
    for theirs, ours in zip(expected, found, strict=True):
        assert (ours.number, ours.state, ours.values, ours.params) == (
            theirs.number, theirs.state, theirs.values, theirs.params
        )  # fmt: skip
        assert (ours.distributions, ours.constraints) == (theirs.distributions, theirs.constraints)
        assert (ours.datetime_complete is None) == (ours.state == TrialState.RUNNING)
        assert ours.user_attrs["origin"] == "test" and (RECORD in ours.user_attrs) == ours.state.is_finished()
        assert ours.system_attrs.items() >= {k: v for k, v in theirs.system_attrs.items() if "fixed" not in k}.items()
    assert study._optuna.user_attrs[SPENT] == study.spent == 79.0
    assert [t.number for t in study.trials] == [t.number for t in found if t.state.is_finished()]
    again = Study(storage, "s", settings)
    assert len(again.left_open()) == 4
    number, params = again.ask(None, "test")
    assert number == 80 and params == again.space.completed(params)
