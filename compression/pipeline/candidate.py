"""What the pipeline hands on: a prepared network, and a file with the recipe that made it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnxruntime as ort
import torch
from torch import fx

from compression.calibration import Calibration
from compression.data import Dataset
from compression.errors import Cancelled
from compression.host.advance import advancing
from compression.host.onnx_runtime import session
from compression.measure.accuracy import join, order, predict
from compression.pipeline.layer_reports import LayerReports
from compression.recipe import Recipe
from compression.records.measurement import LayerReport, LearningPoint, Ledger, Predictions, Reached

FIRST = 2000
"""Test images at most that a first point is measured on."""

SOON_S = 2.0
"""Seconds in which a stage ends without saying how long it still takes."""

Progress = Callable[[str, float], None]


Stop = Callable[[], bool]


Learn = Callable[[LearningPoint], None]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An ONNX file and the recipe that made it; `seconds` is what making it took.

    `reached` is what steps that remove something were asked for and did. What stands in the books (`layers`, `ledger`)
    is looked up when somebody asks: whoever waits for a first number does not wait for that too.
    """

    recipe: Recipe
    macs: int
    parameters: int
    seconds: float
    books: LayerReports = field(repr=False)
    images: torch.Tensor = field(repr=False)
    reached: tuple[Reached, ...] = ()

    @property
    def onnx(self) -> bytes:
        """The file."""
        return self.books.exported.onnx

    @cached_property
    def layers(self) -> tuple[LayerReport, ...]:
        """A report for each layer."""
        return self.books.layers(self.images)

    @property
    def ledger(self) -> Ledger:
        """Where the file's bytes went."""
        return self.books.ledger

    @cached_property
    def file_hash(self) -> str:
        """SHA-256 of the file's bytes."""
        return hashlib.sha256(self.onnx).hexdigest()


class Answers:
    """What a file answers to test images, in their fixed order, found out as far as somebody has asked."""

    def __init__(self, runner: ort.InferenceSession, data: Dataset):
        self._runner, self._data = runner, data
        self.images = order(len(data.test))
        self._known: Predictions | None = None

    @property
    def known(self) -> Predictions:
        """Those that are there, at least those of one batch."""
        return self._known or self.ask(0.0)

    def ask(self, seconds: float, stop: Stop | None = None, *, most: int | None = None) -> Predictions:
        """Asks for more of them for about so many seconds, until the first `most` are known; all that are then."""
        before = self._known
        left = self.images[len(before) if before else 0 : most]
        if len(left):
            new = predict(self._runner, self._data, left, seconds=seconds, stop=stop)
            self._known = join(before, new) if before else new
        assert self._known is not None
        return self._known

    def first(self, n: int, stop: Stop | None = None) -> Predictions:
        """Those to the first `n` images, and maybe more."""
        known = self.known
        if len(known) < n:
            rest = predict(self._runner, self._data, self.images[len(known) : n], stop=stop)
            known = self._known = join(known, rest)
        return known


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is found out once about a network and a dataset, and used by every recipe after.

    Large test images are answered by the fp32 file (`answers`) while files are compared with it.
    """

    dense: fx.GraphModule
    data: Dataset
    calibration: Calibration
    baseline: Candidate
    answers: Answers
    baseline_session: ort.InferenceSession
    _sessions: dict[int, ort.InferenceSession] = field(default_factory=dict, repr=False)

    def baseline_on(self, threads: int) -> ort.InferenceSession:
        """A session of the fp32 file with so many threads: one for all files that are timed beside it."""
        if threads == 1:
            return self.baseline_session
        if threads not in self._sessions:
            self._sessions[threads] = session(self.baseline.onnx, threads=threads)
        return self._sessions[threads]

    @property
    def baseline_predictions(self) -> Predictions:
        """The fp32 file's answers to all test images."""
        return self.answers.first(len(self.data.test))

    @cached_property
    def choosing(self) -> Dataset:
        """`data` with validation images to choose by: without labels, what the fp32 file answers takes their place."""
        if self.data.labelled:
            return self.data
        validation = self.data.validation
        seen = replace(self.data, test=validation)
        found = predict(self.baseline_session, seen, np.arange(len(validation)))
        labels = torch.from_numpy(found.classes.astype(np.int64))
        return replace(self.data, validation=replace(validation, labels=labels))


class Reporter:
    """Says what happens and how far it is; raises `Cancelled` where the work was stopped."""

    def __init__(self, progress: Progress | None, stop: Stop | None):
        self._progress, self._stop = progress, stop

    def __call__(self, sentence: str, share: float) -> None:
        """`share` in [0, 1] of the whole is done."""
        if self._stop and self._stop():
            raise Cancelled("The work was stopped.")
        if self._progress:
            self._progress(sentence, share)

    @contextmanager
    def stage(self, sentence: str, share: float, until: float) -> Iterator[None]:
        """Inside, what takes more than `SOON_S` seconds is said with those that remain.

        They follow from the time taken and from what `advanced` tells of a pass over the network. A second pass ends
        that: how many there are is not known.
        """
        self(sentence, share)
        begun, last, passes = time.perf_counter(), 0.0, 1

        def tell(done: float) -> None:
            nonlocal last, passes
            took = time.perf_counter() - begun
            if done < last and passes == 1:
                passes = 2
                self(sentence, until)
            left = took * (1 - done) / done
            if passes == 1 and took > SOON_S and left >= 1:
                self(f"{sentence}, about {left:.0f} s left", share + (until - share) * done)
            last = done

        with advancing(tell):
            yield
