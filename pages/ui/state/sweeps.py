"""The sensitivities of a network's layers, as far as a visit knows them."""

from dataclasses import dataclass, field

from compression.jobs import Job, Sweeping
from compression.records.analysis import LayerSensitivity
from pages.ui.model.subject import Subject
from pages.ui.state.server import lab


@dataclass
class Sweep:
    """By layer, of one network and its images.

    `stage` tells how far the job was when they were asked for; None where they never were.
    """

    subject: Subject
    curves: dict[str, LayerSensitivity] = field(default_factory=dict)
    stage: str | None = None
    begun: Job | None = None

    @property
    def job(self) -> Job | None:
        """The job that measures them, in whichever tab it was begun; the last one of this visit where none works."""
        return lab().long.find(self._work) or self.begun

    @property
    def _work(self) -> Sweeping:
        return Sweeping(self.subject.model, self.subject.weights, self.subject.dataset)

    def begin(self) -> None:
        """Has those measured that are not known yet."""
        self.begun = lab().long.start(self._work)

    def end(self) -> None:
        """Stops that; what is known stays so."""
        if (job := self.job) is not None:
            lab().long.cancel(job.id)
