"""A search as an Optuna study: what a program that dies leaves open is tried again."""

from random import Random

import optuna
import pytest

from compression.errors import Unsupported
from compression.searching import proposals
from compression.searching.settings import SearchSettings
from compression.searching.study import SPACE, Study


def test_what_a_program_left_open_is_closed_and_tried_again() -> None:
    storage, settings = optuna.storages.InMemoryStorage(), SearchSettings()
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


def test_a_search_of_another_version_is_not_gone_on_with() -> None:
    study = Study(optuna.storages.InMemoryStorage(), "s", SearchSettings())
    study.check()
    study.keep(SPACE, "another")
    with pytest.raises(Unsupported, match="started by another version"):
        study.check()
