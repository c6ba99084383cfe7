"""Optuna's samplers (TPE or NSGA-II, with several objectives and constraints) over a search's trials in memory.

The database has the same trials; asked there, a sampler would read all that are under way and write each parameter.
"""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compression.searching.objectives import OBJECTIVES
from compression.searching.settings import SearchSettings
from compression.searching.space import Domain, Params, Space, Span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

POPULATION = 24
STARTUP = 20


class Sampling:
    """A study in memory: its trials have the numbers that they have in the database, and no records."""

    def __init__(self, settings: SearchSettings, trials: Iterable["FrozenTrial"] = ()):
        import optuna

        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), sampler=_sampler(settings),
            directions=["minimize"] * len(OBJECTIVES[settings.minimise]),
        )  # fmt: skip
        for trial in trials:
            self.add(trial)

    @property
    def newest(self) -> int:
        """The number of the newest trial."""
        return self._study._storage.get_n_trials(self._study._study_id) - 1

    def add(self, trial: "FrozenTrial") -> None:
        """One more trial, the next by its number: under way or at its end."""
        bare = copy.copy(trial)
        bare.user_attrs = {}
        self._study._storage.create_new_trial(self._study._study_id, template_trial=bare)

    def ask(self, space: Space) -> tuple["FrozenTrial", dict[str, Any]]:
        """The next trial, under way, and its parameters."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = self._study.ask()
            found = space.complete(lambda name, domain: _suggested(asked, name, domain))
        return copy.copy(self._study._storage.get_trial(asked._trial_id)), found

    def tell(self, number: int, values: Sequence[float] | None, constraints: Mapping[str, float]) -> None:
        """Closes a trial with its values; one that failed has none."""
        from optuna.trial import Trial, TrialState

        if values is None:
            self._study.tell(number, state=TrialState.FAIL)
            return
        asked = Trial(self._study, number)  # here a trial's row is its number
        for name, broken in constraints.items():
            asked.set_constraint(name, broken)
        self._study.tell(number, values)


def begun(space: Space, params: Params) -> "FrozenTrial":
    """A trial of such parameters that is under way, as Optuna has it."""
    from optuna.trial import TrialState, create_trial

    distributions = {name: _distribution(space.domain(name)) for name in params}
    return create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions)


def ended(values: Sequence[float] | None, constraints: Mapping[str, float]) -> "FrozenTrial":
    """How a trial ends, as Optuna has it: complete, or failed without values."""
    from optuna.trial import TrialState, create_trial

    state = TrialState.FAIL if values is None else TrialState.COMPLETE
    return create_trial(state=state, values=values, constraints=dict(constraints))


def _distribution(domain: Domain) -> "BaseDistribution":
    """What Optuna knows of a parameter, as `_suggested` tells it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(domain, Span):
        return FloatDistribution(domain.low, domain.high, step=domain.step)
    return CategoricalDistribution(domain.values)


def _suggested(asked: Any, name: str, domain: Domain) -> Any:
    if isinstance(domain, Span):
        return round(asked.suggest_float(name, domain.low, domain.high, step=domain.step), 6)
    return asked.suggest_categorical(name, domain.values)


def _sampler(settings: SearchSettings) -> "BaseSampler":
    from optuna.samplers import NSGAIISampler, TPESampler

    if settings.sampler == "nsga2":
        return NSGAIISampler(seed=settings.seed, population_size=POPULATION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `group` is called experimental
        return TPESampler(seed=settings.seed, multivariate=True, group=True, n_startup_trials=STARTUP)
