"""What a share of the test images is called: accuracy or, of images without labels, agreement with the fp32 file."""

from collections.abc import Iterable
from dataclasses import dataclass

from compression.language import N_
from compression.records.measurement import Accuracy, Reference


@dataclass(frozen=True)
class Words:
    """How pages speak of it. `like` is what a file is on an image: 'right'; `limit` names the budget's limit.

    `best` is the wish for most of it, `flattered` the warning where one file was chosen among many.
    """

    measure: str
    title: str
    short: str
    about: str
    like: str
    limit: str
    limit_about: str
    best: str
    lost: str
    flattered: str
    validation: str


WORDS: dict[Reference, Words] = {
    "labels": Words(
        measure=N_("Accuracy"), title=N_("Accuracy, %"), short=N_("accuracy"),
        about=N_("Share of test images classified correctly, ± half of the 95% interval."),
        like=N_("right"), limit=N_("Accuracy drop, points"),
        limit_about=N_("Maximum accuracy drop from the fp32 file, in percentage points."),
        best=N_("most accurate"), lost=N_("accuracy drop"),
        flattered=N_("Selected on the test images, so its accuracy is slightly optimistic."),
        validation=N_("Accuracy"),
    ),
    "fp32": Words(
        measure=N_("Agreement"), title=N_("Agreement with fp32, %"), short=N_("agreement with fp32"),
        about=N_("Share of test images that this file and the fp32 file classify alike, ± half of the 95% interval. "
        "This dataset has no labels."),
        like=N_("as fp32"), limit=N_("Disagreement with fp32, points"),
        limit_about=N_("Maximum share of images that the file classifies differently from the fp32 file, in percent."),
        best=N_("closest to fp32"), lost=N_("disagreement with fp32"),
        flattered=N_("Selected on the test images, so its agreement is slightly optimistic."),
        validation=N_("Agreement"),
    ),
}  # fmt: skip


def of(accuracies: Iterable[Accuracy]) -> Words:
    """The words for accuracies of one network and its images: all are of one kind."""
    return WORDS[next((found.reference for found in accuracies), "labels")]
