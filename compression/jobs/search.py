"""A search from a program or the command line, and what is to be seen of one from any program that shares the store.

found = search("resnet20", "fashion-mnist", drop=0.01, size_bytes=100_000, minutes=10)
found.best.recipe, found.best.found.size_bytes
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from compression.data.test_samples import base_of
from compression.errors import InvalidSetting, Unsupported, UserError, WorkerLost
from compression.jobs.lab import Lab
from compression.jobs.messages import Searching
from compression.models import OWN, brought
from compression.recipe import Recipe
from compression.records.measurement import Reference
from compression.records.search import Trial
from compression.searching import objectives
from compression.searching.settings import SearchSettings
from compression.searching.study import BASELINE, Study, is_there
from compression.store import JobRecord, Store
from compression.store.reading import Unreadable, checked
from compression.store.records import StoredLatency

_views: dict[tuple[str, str], "SearchView"] = {}
MOST_VIEWS = 8
"""So many searches are kept with what was found out of their trials, for pages that look at them again and again."""

NOTHING_KEEPS = "No file is within these limits"


@dataclass(frozen=True)
class SearchView:
    """A search as it stands. `baseline` says of the fp32 file: size_bytes, accuracy on `images` validation images.

    `timings` has by run how long the file took, where its trial was carried out.
    """

    job: str
    settings: SearchSettings
    trials: tuple[Trial, ...]
    baseline: dict[str, Any]
    seconds: float
    timings: Mapping[str, StoredLatency] = field(default_factory=dict, repr=False)

    @cached_property
    def front(self) -> list[Trial]:
        """What nothing beats on validation images, the smallest first."""
        return objectives.best_front(self.trials, self.settings)

    @cached_property
    def best(self) -> Trial | None:
        """The best that keeps every limit; None where none does, or nothing is known yet."""
        return objectives.best(self.trials, self.settings)

    @cached_property
    def volumes(self) -> list[tuple[float, float]]:
        """(seconds, share of the box that is dominated) as the search went on."""
        return objectives.volumes(self.trials, self.baseline["size_bytes"]) if self.baseline else []

    @property
    def complete(self) -> int:
        """How many trials were carried out to the end."""
        return sum(trial.state == "complete" for trial in self.trials)

    @property
    def reason(self) -> str:
        """Why there is no best, in a sentence; empty where there is one."""
        if self.best is not None:
            return ""
        done = [t.found for t in objectives.complete(self.trials) if t.found]
        if not done:
            return "No trial is complete yet."
        near = min(done, key=lambda found: max(self.settings.violations(found).values(), default=0.0))
        return (
            f"{NOTHING_KEEPS}; the closest has {near.size_bytes / 1000:,.1f} KB, a drop of {100 * near.drop:.2f} "
            f"points and a latency ratio of {near.latency_ratio:.2f}."
        )


def search_of(model: str, dataset: str, settings: SearchSettings) -> Searching:
    """The search as a job, for a network of the zoo or of the user's list."""
    own = model in [card.model for card in brought()]
    return Searching(model, OWN if own else base_of(dataset), dataset, settings.to_json())


def search(
    model: str,
    dataset: str,
    *,
    progress: Callable[[str, float], None] | None = None,
    lab: Lab | None = None,
    **settings: Any,
) -> SearchView:
    """Searches for the best recipes of a network in the list of models; `settings` are those of `SearchSettings`.

    Every trial that was carried out to its end is a run in the store. The same search goes on where it was stopped, in
    whatever program. All is chosen on validation images; the test images are read for the final front. Raises
    `UserError` or `WorkerLost`.
    """
    wanted = SearchSettings(**settings)
    ours = lab or Lab()
    try:
        job = ours.long.start(search_of(model, dataset, wanted))
        news = job.news
        while news.state == "working":
            if progress:
                progress(news.sentence, min(news.share, 1.0))
            news = job.wait(after=news.number, timeout=1.0)
        if news.state == "refused":
            raise InvalidSetting(news.sentence)
        if news.state == "lost":
            raise WorkerLost(news.sentence)
        found = search_view(ours.store, job.id)
        if found is None:
            raise Unsupported("The search was stopped before it began.")
        return found
    finally:
        if lab is None:
            ours.close()


def search_view(store: Store, job: str) -> SearchView | None:
    """A search as the database has it; None where it has none of that job, or cannot be read here."""
    record = store.jobs.get(job)
    if record.kind != "search" or not is_there(store.studies(), f"search {job}"):
        return None
    settings = SearchSettings.from_json(str(record.request.get("settings", "")))
    study = Study(store.studies(), f"search {job}", settings)
    trials, baseline = tuple(map(_readable, study.trials)), _fp32(study.kept(BASELINE))
    known = _views.get((store.place, job))
    if known is not None and (known.settings, known.trials, known.baseline) == (settings, trials, baseline):
        view = copy(known)  # with what was found out of the same trials
        object.__setattr__(view, "seconds", study.spent)
    else:
        timings = _timings(store, trials, known.timings if known else {})
        view = SearchView(job, settings, trials, baseline, study.spent, timings)
    _views[store.place, job] = view
    for old in list(_views)[:-MOST_VIEWS]:
        _views.pop(old, None)
    return view


@dataclass(frozen=True)
class _Fp32:
    size_bytes: int
    accuracy: float
    images: int
    reference: Reference = "labels"


def _fp32(kept: Any) -> dict[str, Any]:
    """What is kept of the fp32 file; {} where nothing is, or nothing that can be read."""
    try:
        found = checked(_Fp32, **kept) if isinstance(kept, dict) else None
    except Unreadable:
        return {}
    return kept if found and found.size_bytes > 0 and 0 <= found.accuracy <= 1 <= found.images else {}


def _readable(trial: Trial) -> Trial:
    """The trial; one that failed where this version cannot read its recipe."""
    try:
        if trial.state == "complete":
            Recipe.from_json(trial.recipe)
        return trial
    except UserError:
        return replace(trial, state="failed", found=None, why="Its recipe was written by another version.")


def _timings(store: Store, trials: Sequence[Trial], known: Mapping[str, StoredLatency]) -> Mapping[str, StoredLatency]:
    """By run, its newest time on the machine of its trial; else on any."""
    found = dict(known)
    for trial in objectives.complete(trials):
        if trial.run and trial.run not in found and (taken := store.latencies(trial.run)):
            found[trial.run] = next((each for each in taken if each.machine.id == trial.machine), taken[0])
    return found


def search_importances(store: Store, job: str) -> dict[str, dict[str, float]]:
    """For each figure, how much of its variation each parameter explains; empty where there are too few trials."""
    record = store.jobs.get(job)
    if not is_there(store.studies(), f"search {job}"):
        return {}
    return Study(
        store.studies(), f"search {job}", SearchSettings.from_json(str(record.request["settings"]))
    ).importances()


def searches(store: Store, model: str, dataset: str) -> list[JobRecord]:
    """The searches of a network and images, those that are at work first, the newest of each first."""
    found = [job for job in store.jobs.all() if job.kind == "search" and _is_readable(job)]
    return [job for job in found if (job.request.get("model"), job.request.get("dataset")) == (model, dataset)]


def _is_readable(job: JobRecord) -> bool:
    """Whether this version can read what the search was asked for."""
    try:
        SearchSettings.from_json(str(job.request.get("settings")))
    except UserError:
        return False
    return True
