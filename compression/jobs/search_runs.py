"""A search at work: it proposes recipes, has workers try them, keeps what comes, and tests the final front.

It runs in a thread of the program that started it; all that it knows lies in the database, so that after a crash, of a
worker or of the program, it goes on where it was.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from distributed import Future
from distributed.client import ClosedClientError

from compression.errors import UserError, WorkerLost
from compression.jobs import search_tasks
from compression.jobs.cluster import ClusterConnection
from compression.jobs.job import Job, result, run_of
from compression.jobs.joined import LONG
from compression.jobs.messages import Finished, Refusal, Request, Searching
from compression.jobs.result_recorder import ResultRecorder
from compression.jobs.search_tasks import Begun, Tried
from compression.jobs.worker import run_patiently
from compression.recipe import Recipe
from compression.records.measurement import Measurement
from compression.records.search import Trial
from compression.searching import proposals
from compression.searching.allocation import Harms
from compression.searching.history import LOOKED_BACK, History
from compression.searching.settings import SearchSettings
from compression.searching.space import params_of, recipe
from compression.searching.study import BASELINE, HARMS, Study

POLL_S = 0.02
AHEAD = 1
"""So many trials wait at the workers, so that none is idle while the next is thought of."""

TRIES = 2
"""So often a trial is sent whose worker dies."""

FRUITLESS = 40
"""After so many proposals in a row that were tried before, a search ends."""

TESTED = 16
"""So many points of the final front are tested at most."""

RESERVED = 0.3
"""At most this share of the time is kept for testing the final front."""

LATENCY_S = 2.0
"""What timing a file precisely takes, with what is around it, for the plan of the end."""

KNOWN_RECIPES = 12
"""So many of the newest recipes that the store has of the network are tried too."""

TPE_SHARE = 0.1
"""Of the proposals that are no seeds; the others are neighbours of the front, which found more (docs/BENCHMARKS.md)."""

GONE = (ClosedClientError, OSError, RuntimeError, TimeoutError)
LOST_TWICE = "Its worker stopped twice, perhaps for lack of memory."


@dataclass
class Running:
    """A trial under way, or the test of one: its number, what was asked, what sends its task, and its future."""

    number: int
    params: dict[str, Any]
    request: Request
    send: Callable[[], Future]
    future: Future
    origin: str
    begun: float
    tries: int = 1


class SearchRun:
    """One search, from its begin or from where it was left to its end."""

    def __init__(
        self, job: Job, work: Searching, connection: Callable[[], ClusterConnection], recorder: ResultRecorder,
        topic: str,
    ):  # fmt: skip
        self._job, self._work, self._topic = job, work, topic
        self._connection, self._recorder = connection, recorder
        self.settings = SearchSettings.from_json(work.settings)
        self._plain = Recipe()
        self._running: list[Running] = []
        self._sentence = "Running the first trials"

    def run(self) -> Finished | Refusal | None:
        """What it came to; None where the job was stopped. Raises `UserError` and `WorkerLost`."""
        self._study = Study(self._recorder.store.studies(), f"search {self._job.id}", self.settings)
        self._study.check()
        self._began = time.monotonic() - self._study.spent
        self._take_stock()
        self._beside = self._connection().side_by_side(self.settings.workers, self.settings.device)
        begun = self._begin()
        if begun is not None:
            return begun
        with self._connection().searching(self.settings.workers) as self._workers:
            try:
                self._search()
                self._test()
            finally:
                self._give_up()
        return Finished(self._told()) if self._wanted else None

    @property
    def _wanted(self) -> bool:
        return self._job.news.state == "working"

    @property
    def elapsed(self) -> float:
        """Seconds that were worked on it, in all programs."""
        return time.monotonic() - self._began

    def _request(self, made: Recipe) -> Request:
        return Request(self._work.model, self._work.weights, self._work.dataset, made.to_json())

    def _begin(self) -> Refusal | None:
        """Has the network prepared, unless the study knows what is needed of it; why not, where that fails."""
        self._queue = [(params, "again") for params in self._study.left_open()]
        if self._study.kept(HARMS) is None:
            found = self._first()
            if not isinstance(found, Begun):
                return found if isinstance(found, Refusal) else Refusal(LOST_TWICE)
            self._recorder.keep(found.baseline)
            base = found.baseline.measurement
            self._study.keep(BASELINE, {
                "size_bytes": base.size_bytes, "accuracy": found.accuracy, "images": found.images,
                "tests": found.tests, "test_accuracy": base.accuracy.value, "reference": base.accuracy.reference,
            })  # fmt: skip
            self._study.keep(HARMS, found.harms)
        self._base = self._study.kept(BASELINE)
        self._harms = Harms.from_plain(self._study.kept(HARMS))
        random = Random(self.settings.seed + self._history.count)
        self._neighbours = proposals.Neighbours(
            self._study.space, self.settings, self._plain, self._base["size_bytes"], random
        )
        self._random = random
        if self.settings.sampler != "random":
            self._queue += [(p, "seed") for p in proposals.seeds(self._study.space, self._known())]
        return None

    def _first(self) -> Any:
        """What `search_tasks.begin` returns, however often its worker dies before."""
        found = None
        for _ in range(TRIES):
            if found is None and self._wanted:
                future = self._submit(search_tasks.begin, self._request(self._plain), self._beside)
                self._job.hold(future)
                found = result(future)
                self._job.let_go()
        return found

    def _known(self) -> list[dict[str, Any]]:
        """The newest recipes that the store has of the network, whatever came of them: test results choose nothing."""
        found = self._recorder.store.runs(model=self._work.model, dataset=self._work.dataset, limit=KNOWN_RECIPES)
        return [params_of(run.readable) for run in found if run.readable and run.readable.steps]

    def _search(self) -> None:
        """Tries recipes until the time is over, less what the final tests will take.

        What is still under way when the whole time is over is cancelled, and not a part of the study.
        """
        fruitless = 0
        while self._wanted and not self._late:
            over = self.elapsed > self._end or self._enough or fruitless >= FRUITLESS
            if over and not self._running:
                return
            if not over and len(self._running) < self._workers + AHEAD:
                fruitless = 0 if self._start_trial() else fruitless + 1
                continue
            self._collect()
        if self._wanted:
            self._leave()

    def _leave(self) -> None:
        """Keeps what has come by now, and has the rest neither carried out nor tried again."""
        self._collect()
        for each in self._running:
            self._study.drop(each.number)
        self._give_up()

    @property
    def _late(self) -> bool:
        """Whether the whole time is over."""
        return self.elapsed > 60 * self.settings.minutes

    def _take_stock(self) -> None:
        """Reads the trials of a search that is gone on with."""
        self._history = History(self.settings)
        for trial in self._study.trials:
            self._history.add(trial)

    @property
    def _enough(self) -> bool:
        asked = self.settings.trials
        return bool(asked) and self._history.count + len(self._running) >= asked

    @property
    def _end(self) -> float:
        """Seconds after which no trial is begun: then the final front is tested."""
        whole = 60 * self.settings.minutes
        points = min(len(self._history.front), TESTED)
        images = self._base["tests"] / max(self._base["images"], 1)
        answering = self._history.longest * 0.1 * images
        return whole - min(points * (answering + LATENCY_S), RESERVED * whole)

    def _start_trial(self) -> bool:
        """Sends a trial that is new; False where what was proposed was tried before or cannot be."""
        given, origin = self._proposal()
        if given is not None and self._is_known(given):
            return False
        number, params = self._study.ask(given, origin)
        try:
            made = recipe(params, self._plain, self._harms)
        except UserError as error:
            failed = Trial(number, "failed", "simulated", "", params, why=str(error), origin=origin)
            self._study.tell(failed)
            self._history.add(failed)
            return False
        text = made.to_json()
        if self._history.has(text):
            self._study.drop(number)
            return False
        self._history.note(text)
        request = self._request(made)
        self._put_under_way(number, params, request, partial(self._send, request), origin)
        return True

    def _is_known(self, given: dict[str, Any]) -> bool:
        """Whether proposed parameters lead to a recipe that was tried: then nothing is written."""
        try:
            return self._history.has(recipe(self._study.space.completed(given), self._plain, self._harms).to_json())
        except UserError:
            return False

    def _put_under_way(
        self, number: int, params: dict[str, Any], request: Request, send: Callable[[], Future], origin: str
    ) -> None:
        self._running.append(Running(number, params, request, send, send(), origin, time.monotonic()))

    def _proposal(self) -> tuple[dict[str, Any] | None, str]:
        if self._queue:
            return self._queue.pop(0)
        if self.settings.sampler != "auto":
            return None, self.settings.sampler
        many = self._history.count > LOOKED_BACK  # Optuna's sampler goes by all
        if many:
            self._study.sample_no_more()
        neighbours = many or self._random.random() >= TPE_SHARE
        if neighbours and (near := self._neighbours.propose(self._history.looked_at, self._harms)):
            return near, "neighbour"
        return (proposals.random_params(self._study.space, self._random), "random") if many else (None, "tpe")

    def _send(self, request: Request) -> Future:
        return self._submit(search_tasks.carry_out, request, self._history.bar, self._beside)

    def _submit(self, task: Callable[..., Any], *about: Any) -> Future:
        try:
            connection = self._connection()
            workers = connection.workers(LONG, self.settings.workers, about, self.settings.device)
            return connection.send(
                run_patiently, task, *about, self._topic, self._job.id, workers=workers,
                key=f"search-{self._job.id}-{time.monotonic_ns()}",
            )  # fmt: skip
        except GONE as error:
            raise WorkerLost("The cluster is gone.") from error

    def _ended(self) -> Iterator[tuple[Running, Any]]:
        """What has come to an end, and what it came to; what lost its worker is sent once more."""
        time.sleep(POLL_S)
        for each in [each for each in self._running if each.future.done()]:
            found = result(each.future)
            each.future.release()
            if found is None and each.tries < TRIES and self._wanted and not self._late:
                each.future, each.tries = each.send(), each.tries + 1
                continue
            self._running.remove(each)
            if self._wanted:
                yield each, found

    def _collect(self) -> None:
        """Takes what has come, and writes down how the search stands."""
        for each, found in self._ended():
            self._tell(each, found)
            self._sentence = f"{self._history.count} trials, {len(self._history.front)} Pareto-optimal"
        self._say(self._sentence)

    def _tell(self, each: Running, found: Any) -> None:
        trial = Trial(
            each.number, "failed", "simulated", each.request.recipe, each.params, origin=each.origin,
            ended=self.elapsed, seconds=time.monotonic() - each.begun,
        )  # fmt: skip
        if isinstance(found, Tried):
            trial = replace(
                trial, state="cut" if found.cut else "complete", stage=found.stage, found=found.found, why=found.cut,
                seconds=found.seconds, machine=found.machine, size_bytes=found.size_bytes,
                divergence=found.divergence,
            )  # fmt: skip
            if found.outcome is not None and self._recorder.keep(
                found.outcome, self._job.id, member=self._job.meter.member.name
            ):
                trial = replace(trial, run=run_of(found.outcome))
        else:
            trial = replace(trial, why=found.sentence if isinstance(found, Refusal) else LOST_TWICE)
        self._study.tell(trial, self.elapsed)
        self._history.add(trial)

    def _say(self, sentence: str) -> None:
        share = min(self.elapsed / (60 * self.settings.minutes), 1.0)
        if self.settings.trials:
            share = max(share, min(self._history.count / self.settings.trials, 1.0))
        if (sentence, round(share, 2)) != (self._job.news.sentence, round(self._job.news.share, 2)):
            self._job.put(sentence=sentence, share=share)

    def _test(self) -> None:
        """Reads the test split for the final front, once; the best first, then spread over the whole of it.

        When the time is over only what is under way is waited for, and the best is tested all the same.
        """
        chosen, first = self._history.front, self._history.best
        if len(chosen) > TESTED:
            chosen = [chosen[round(i * (len(chosen) - 1) / (TESTED - 1))] for i in range(TESTED)]
        chosen = [*([first] if first else []), *(t for t in chosen if first is None or t.number != first.number)]
        waiting = [t for t in chosen if t.test_accuracy is None and t.run]
        numbered = {t.number: t for t in waiting}
        begun = tested = 0
        while self._wanted and (waiting or self._running):
            while waiting and len(self._running) < self._workers and not (self._late and begun):
                begun += self._start_test(waiting.pop(0))
            if self._late:
                waiting = []
            for each, found in self._ended():
                self._take_test(numbered[each.number], each.origin, found)
                tested += 1
                self._say(f"Measuring the Pareto front on test images: {tested} of {begun + len(waiting)}")
        self._study.spend(self.elapsed)

    def _start_test(self, trial: Trial) -> bool:
        """Sends the file of a trial to be tested; False where the store has it no more."""
        run = self._recorder.store.run(trial.run)
        content = self._recorder.content(run.file_hash)
        if content is None:
            return False
        request = Request(self._work.model, self._work.weights, self._work.dataset, trial.recipe)
        send = partial(self._submit, search_tasks.read_test_split, request, content, run.measurement)
        self._put_under_way(trial.number, trial.params, request, send, run.id)
        return True

    def _take_test(self, trial: Trial, run: str, found: Any) -> None:
        if not isinstance(found, Measurement):
            return
        if self._recorder.keep_measurement(run, replace(found, provenance="measured")):
            self._study.amend(replace(trial, test_accuracy=found.accuracy.value, test_drop=found.accuracy.drop))

    def _give_up(self) -> None:
        """Cancels what is under way."""
        for each in self._running:
            try:
                each.future.cancel()
            except GONE:  # the program is ending
                continue
        self._running = []

    def _told(self) -> str:
        first = self._history.best
        told = f"{self._history.count} trials, {len(self._history.front)} Pareto-optimal"
        if first is None or first.found is None:
            return f"{told}; none within the limits"
        return f"{told}; the best has {first.found.size_bytes / 1000:,.1f} KB"
