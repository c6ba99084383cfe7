"""How a task in a worker reports to the program that asked for it, and learns that it is no longer wanted."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

from compression.jobs.messages import Baseline
from compression.records.measurement import LearningPoint, Measurement

Tell = Callable[..., None]
"""Sends an event: its kind, and what belongs to it by name."""

Stop = Callable[[], bool]
"""Whether the task is cancelled; may wait meanwhile, while a latency measurement needs the machine."""


def without_numbers(sentence: str) -> str:
    """What is the same in 'Decoding image 7 of 40' and 'Decoding image 8 of 40'."""
    return re.sub(r"\d[\d,.]*", "", sentence)


class TaskChannel(NamedTuple):
    """`tell` sends events as `Job.hear` reads them; `stop` is asked often."""

    tell: Tell
    stop: Stop

    def progress(self, sentence: str, share: float | None) -> None:
        """What is being done; `share` in [0, 1] of the whole, None where that stays as it is."""
        self.tell("progress", sentence=sentence, share=share)

    def measuring(self, sentence: str, share: float) -> None:
        """What is being done once the file is there; `share` in [0, 1] of that."""
        self.progress(sentence, 0.9 + 0.1 * share)

    def learned(self, point: LearningPoint) -> None:
        """A point of the learning curve."""
        self.tell("learned", point=asdict(point))

    def baseline(self, baseline: Baseline) -> None:
        """What the file is compared with."""
        self.tell("baseline", baseline=asdict(baseline))

    def measured(self, measurement: Measurement, *, full: bool) -> None:
        """A measurement; `full` is over the whole test split."""
        self.tell("measured", full=full, measurement=measurement.to_plain())

    def throttled(self, pause: float = 0.05) -> "TaskChannel":
        """The same, but with progress of one sentence, whatever its numbers, at most once in `pause` seconds."""
        last: tuple[str, float] = ("", 0.0)

        def tell(kind: str, **news: object) -> None:
            nonlocal last
            now = time.monotonic()
            if kind == "progress":
                said = without_numbers(str(news["sentence"]))
                if said == last[0] and now - last[1] < pause:
                    return
                last = (said, now)
            self.tell(kind, **news)

        return self._replace(tell=tell)
