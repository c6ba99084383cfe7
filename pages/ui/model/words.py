"""What a share of the test images is called: accuracy or, of images without labels, agreement with the fp32 file."""

from collections.abc import Iterable
from dataclasses import dataclass

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
        measure="Accuracy", title="Accuracy, %", short="accuracy",
        about="Share of the test images that the file answers rightly, ± half of its 95% interval.",
        like="right", limit="Accuracy drop, points",
        limit_about="At most so many percentage points below the fp32 file.",
        best="most accurate", lost="accuracy drop",
        flattered="Chosen on the test images, so its accuracy looks a little better than it is.",
        validation="Accuracy",
    ),
    "fp32": Words(
        measure="Agreement", title="Agreement with fp32, %", short="agreement with fp32",
        about="Share of the test images that get the same class from this file as from the fp32 file, ± half of its "
        "95% interval. These images have no labels.",
        like="as fp32", limit="Disagreement with fp32, points",
        limit_about="At most so many percent of the images may get another class than from the fp32 file.",
        best="most like fp32", lost="disagreement with fp32",
        flattered="Chosen on the test images, so its agreement looks a little better than it is.",
        validation="Agreement",
    ),
}  # fmt: skip


def of(accuracies: Iterable[Accuracy]) -> Words:
    """The words for accuracies of one network and its images: all are of one kind."""
    return WORDS[next((found.reference for found in accuracies), "labels")]
