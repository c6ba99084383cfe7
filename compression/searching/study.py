"""A search as an Optuna study: its trials, with all that is known of them, lie in the database and survive a crash.

Optuna samples (TPE or NSGA-II, with several objectives and constraints) and ranks; what a trial came to, as
`records.search.Trial`, stands in its attributes. A trial that was cut is told as one that breaks a constraint: samplers
learn from it, and it is never on a front.
"""

import json
import logging
import warnings
from collections.abc import Mapping
from functools import partial
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, Any

from compression.errors import Unsupported
from compression.records.documents import read_json
from compression.records.search import Trial
from compression.searching.objectives import OBJECTIVES, WORST_DROP, keeps, values
from compression.searching.proposals import random_params
from compression.searching.settings import SearchSettings
from compression.searching.space import Domain, Space, Span, version

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

MOST_CHARACTERS = 5_000_000
"""Of one document: bits do something to each of some thousand layers."""

RECORD, SPENT, SPACE = "compression:trial", "compression:seconds", "compression:space"
HARMS, BASELINE = "compression:harms", "compression:baseline"
POPULATION = 24
STARTUP = 20
LIKELY_RATIO = {8: 0.6, 32: 1.0}
"""Share of the fp32 file's time, by bits of activations, that a trial is told with where it was not timed."""


class Study:
    """One search's trials. Raises `StoreUnavailable`; see `store.studies`."""

    def __init__(self, storage: "BaseStorage", name: str, settings: SearchSettings):
        import optuna

        self.settings, self.space, self._storage = settings, Space(settings.techniques), storage
        self.random = Random(settings.seed)
        if is_there(storage, name):  # to create one that is there would write, and fail
            self._optuna: OptunaStudy = optuna.load_study(study_name=name, storage=storage, sampler=_sampler(settings))
            return
        self._optuna = optuna.create_study(
            storage=storage, study_name=name, sampler=_sampler(settings),
            directions=["minimize"] * len(OBJECTIVES[settings.minimise]),
        )  # fmt: skip
        self.keep(SPACE, version())

    def check(self) -> None:
        """Raises `Unsupported` where the study was begun with other parameters than this version has."""
        if self.kept(SPACE) != version():
            raise Unsupported("This search was started by another version of the program; start a new one.")

    @property
    def trials(self) -> list[Trial]:
        """Every trial that has come to something, in the order in which they were begun, as last amended."""
        attributes = self._optuna.user_attrs
        frozen = self._optuna.get_trials(deepcopy=False)
        texts = (attributes.get(f"{RECORD}:{each.number}") or each.user_attrs.get(RECORD) for each in frozen)
        return [trial for text in texts if text and (trial := _read(text))]

    def left_open(self) -> list[dict[str, Any]]:
        """Parameters of the trials that a program was at when it died; they are closed, to be tried again."""
        from optuna.trial import TrialState

        found = []
        for frozen in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.params:
                found.append(self.space.completed(frozen.params))
            self.drop(frozen.number)
        for _ in self._optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.drop(self._optuna.ask().number)  # proposed and not yet taken up: only what is asked for can be closed
        return found

    @property
    def spent(self) -> float:
        """Seconds that were worked on it."""
        return float(self._optuna.user_attrs.get(SPENT, 0.0))

    def spend(self, seconds: float) -> None:
        """Writes down the seconds that were worked on it."""
        self._optuna.set_user_attr(SPENT, seconds)

    def keep(self, name: str, value: Any) -> None:
        """Keeps something of the whole search; `value` is plain data."""
        self._optuna.set_user_attr(name, json.dumps(value))

    def kept(self, name: str) -> Any:
        """What was kept; None where nothing was. Raises `Unsupported` where it cannot be read."""
        text = self._optuna.user_attrs.get(name)
        try:
            return None if text is None else read_json(str(text), MOST_CHARACTERS)
        except ValueError as error:
            raise Unsupported(f"The stored search cannot be read: {error}.") from None

    def ask(self, params: Mapping[str, Any] | None, origin: str) -> tuple[int, dict[str, Any]]:
        """A new trial's number and parameters: those given, or what the sampler says."""
        if params is None and self.settings.sampler == "random":
            params = random_params(self.space, self.random)
        if params is not None:
            return self._begun(self.space.completed(params), origin)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = self._optuna.ask()
            found = self.space.complete(lambda name, domain: _suggested(asked, name, domain))
        asked.set_user_attr("origin", origin)
        return asked.number, found

    def _begun(self, params: dict[str, Any], origin: str) -> tuple[int, dict[str, Any]]:
        """A trial under way, written at once: to propose and then to ask reads all trials and writes each parameter."""
        from optuna.trial import TrialState, create_trial

        template = create_trial(
            state=TrialState.RUNNING, params=params, user_attrs={"origin": origin},
            distributions={name: _distribution(self.space.domain(name)) for name in params},
        )  # fmt: skip
        identity = self._storage.create_new_trial(self._optuna._study_id, template_trial=template)
        return self._storage.get_trial_number_from_id(identity), params

    def tell(self, trial: Trial) -> None:
        """Closes a trial, as what it came to."""
        from optuna.trial import Trial as Asked
        from optuna.trial import TrialState

        study = self._optuna._study_id
        asked = Asked(self._optuna, self._storage.get_trial_id_from_study_id_trial_number(study, trial.number))
        asked.set_user_attr(RECORD, json.dumps(trial.to_plain()))
        told = self._values(trial)
        if told is None:
            self._optuna.tell(trial.number, state=TrialState.FAIL)
            return
        for name, broken in self._constraints(trial).items():
            asked.set_constraint(name, broken)
        self._optuna.tell(trial.number, told)

    def drop(self, number: int) -> None:
        """Closes a trial that was proposed before, unseen."""
        from optuna.trial import TrialState

        self._optuna.tell(number, state=TrialState.FAIL)

    def amend(self, trial: Trial) -> None:
        """Changes what stands of a closed trial; it stands with the study, as Optuna keeps those as they are."""
        self._optuna.set_user_attr(f"{RECORD}:{trial.number}", json.dumps(trial.to_plain()))

    def importances(self) -> dict[str, dict[str, float]]:
        """For each objective, how much of its variation each parameter explains (fANOVA; Hutter et al. 2014).

        Empty where there are too few trials. Parameters that only some trials have are left out: Optuna compares what
        all have.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if sum(t.state in ("complete", "cut") for t in self.trials) < STARTUP:
            return {}
        found = {}
        for number, name in enumerate(OBJECTIVES[self.settings.minimise]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shares = get_param_importances(
                    self._optuna, evaluator=FanovaImportanceEvaluator(seed=0, n_trees=32),
                    target=partial(_value, number),
                )  # fmt: skip
            found[name] = {parameter: float(share) for parameter, share in shares.items()}
        return found

    def _values(self, trial: Trial) -> tuple[float, ...] | None:
        """What a trial is told with; a guess, on the bad side, for what was cut. None where nothing is known."""
        if trial.found and trial.found.latency_ratio is not None:
            return values(trial.found, self.settings.minimise)
        if trial.state != "cut" or trial.size_bytes is None:
            return None
        lost = trial.found.drop if trial.found else WORST_DROP
        bits = int(trial.params.get("quantize.activation_bits", 32))
        known = {"drop": lost, "size_bytes": float(trial.size_bytes), "latency_ratio": LIKELY_RATIO[bits]}
        told = tuple(known[name] for name in OBJECTIVES[self.settings.minimise])
        return told if all(map(isfinite, told)) else None

    def _constraints(self, trial: Trial) -> dict[str, float]:
        """Above 0 where broken."""
        if trial.state == "cut" or not trial.found:
            return {"cut": 1.0}
        broken = {f"limit {name}": float(by) for name, by in self.settings.violations(trial.found).items()}
        return broken | {"cut": 0.0, "kept": 0.0 if keeps(self.settings, trial.found) else 1e-6}


def _read(text: object) -> Trial | None:
    """A trial; None where it cannot be read, which is logged."""
    try:
        return Trial.from_plain(read_json(str(text), MOST_CHARACTERS))
    except ValueError as error:
        log.warning("a trial of a search cannot be read: %s", str(error).splitlines()[0])
        return None


def _value(at: int, frozen: "FrozenTrial") -> float:
    return float(frozen.values[at])


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
    from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

    if settings.sampler == "random":
        return RandomSampler(seed=settings.seed)
    if settings.sampler == "nsga2":
        return NSGAIISampler(seed=settings.seed, population_size=POPULATION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `group` is called experimental
        return TPESampler(seed=settings.seed, multivariate=True, group=True, n_startup_trials=STARTUP)


def is_there(storage: "BaseStorage", name: str) -> bool:
    """Whether there is a study of that name."""
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True
