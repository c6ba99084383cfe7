"""A search as an Optuna study: its trials, with all that is known of them, lie in the database and survive a crash.

Optuna samples (TPE or NSGA-II, with several objectives and constraints) and ranks; what a trial came to, as
`records.search.Trial`, stands in its attributes. A trial that was cut is told as one that breaks a constraint: samplers
learn from it, and it is never on a front.
"""

import json
import logging
import warnings
from collections.abc import Mapping
from functools import cached_property, partial
from math import isfinite, isnan
from random import Random
from typing import TYPE_CHECKING, Any

from compression.errors import Unsupported
from compression.records.documents import read_json
from compression.records.search import Trial
from compression.searching.objectives import OBJECTIVES, WORST_DROP, keeps, values
from compression.searching.proposals import random_params
from compression.searching.sampling import STARTUP, Sampling, begun, ended
from compression.searching.settings import SearchSettings
from compression.searching.space import Space, version

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

MOST_CHARACTERS = 5_000_000
"""Of one document: bits do something to each of some thousand layers."""

RECORD, SPENT, SPACE = "compression:trial", "compression:seconds", "compression:space"
HARMS, BASELINE = "compression:harms", "compression:baseline"
LIKELY_RATIO = {8: 0.6, 32: 1.0}
"""Share of the fp32 file's time, by bits of activations, that a trial is told with where it was not timed."""


class Study:
    """One search's trials. Raises `StoreUnavailable`; see `store.studies`."""

    def __init__(self, storage: "BaseStorage", name: str, settings: SearchSettings):
        import optuna

        self.settings, self.space, self._storage = settings, Space(settings.techniques), storage
        self.random = Random(settings.seed)
        self._sampled: Sampling | None = None
        if is_there(storage, name):  # to create one that is there would write, and fail
            self._optuna: OptunaStudy = optuna.load_study(study_name=name, storage=storage)
            return
        self._optuna = optuna.create_study(
            storage=storage, study_name=name, directions=["minimize"] * len(OBJECTIVES[settings.minimise])
        )
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
        spent = self._optuna.user_attrs.get(SPENT, 0.0)
        return float(spent) if isinstance(spent, int | float) and 0 <= spent < 1e12 else 0.0

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
        if params is None:
            asked, found = self._sampling().ask(self.space)
        else:
            found = self.space.completed(params)
            asked = begun(self.space, found)
            if self._sampled:
                self._sampled.add(asked)
        asked.user_attrs = {"origin": origin}
        number = self._rows.begin(asked)
        if self._sampled and self._sampled.newest != number:  # another program writes the same study
            self._sampled = None
        return number, found

    def sample_no_more(self) -> None:
        """From here on every trial is asked for with parameters: lets go of what the sampler knows."""
        self._sampled = None

    def tell(self, trial: Trial, seconds: float | None = None) -> None:
        """Closes a trial, as what it came to; `seconds` is `spent` by then."""
        told = self._values(trial)
        constraints = {} if told is None else self._constraints(trial)
        if self._sampled:
            self._sampled.tell(trial.number, told, constraints)
        spent = {} if seconds is None else {SPENT: seconds}
        self._rows.end(trial.number, ended(told, constraints), {RECORD: json.dumps(trial.to_plain())}, spent)

    def drop(self, number: int) -> None:
        """Closes a trial that was proposed before, unseen."""
        from optuna.trial import TrialState

        if self._sampled:
            self._sampled.tell(number, None, {})
        if self._rows.has(number):
            self._rows.end(number, ended(None, {}), {}, {})
        else:  # another program began it
            self._optuna.tell(number, state=TrialState.FAIL)

    def _sampling(self) -> Sampling:
        """What samples, by all trials that are there; made when it is first asked."""
        if self._sampled is None:
            self._sampled = Sampling(self.settings, self._optuna.get_trials(deepcopy=False))
        return self._sampled

    @cached_property
    def _rows(self) -> Any:
        """The study's rows, as `store.study_rows.StudyRows` writes them."""
        return self._storage.rows(self._optuna._study_id)  # type: ignore[attr-defined]

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
            told = values(trial.found, self.settings.minimise)
            return None if any(map(isnan, told)) else told
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


def is_there(storage: "BaseStorage", name: str) -> bool:
    """Whether there is a study of that name."""
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True
