"""What a worker does for users who add networks and images of their own, and look at how both fit.

They are sent by `Lab.ask`. Importing this module is cheap; see `worker`.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from compression.jobs.messages import Refusal
from compression.jobs.worker import refusal_on_error
from compression.records.preprocess import Preprocess
from compression.team import Act, require

if TYPE_CHECKING:
    import numpy as np

    from compression.data.class_names import ClassMap
    from compression.data.preparing import Progress, Stop
    from compression.models import Card

EXAMPLES = 6
"""Pictures that are shown as the network gets them."""

RANKED = 64
"""Training pictures that preprocessings are tried on: some seconds for most networks."""


class LibraryNetwork(NamedTuple):
    """A network of a library: how it is named in `models.add`, and what is known of it; else '' or None."""

    source: str
    parameters: int | None
    macs: int | None
    accuracy: float | None
    licence: str
    height: int
    width: int
    classes: int


@dataclass(frozen=True, eq=False)
class Inputs:
    """How a dataset's images reach a network.

    `pictures`: uint8 [H, W, 3] or [H, W], with a class each where labelled. `rankable`: whether preprocessings can be
    told apart (`ranked_preprocessings`), which takes labels, and a preprocessing that is the user's to choose.
    `classes` is None where the classes are the network's own, or there are no labels.
    """

    images: dict[str, int]
    labelled: bool
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    pictures: tuple["np.ndarray", ...]
    captions: tuple[str, ...]
    rankable: bool
    classes: "ClassMap | None"


class Ranking(NamedTuple):
    """`ranked`: (title, preprocessing, share of `tried` training pictures in [0, 1]), best first; () where no class of
    the pictures is one of the network's.
    """

    ranked: tuple[tuple[str, Preprocess, float], ...]
    tried: int


def library_networks() -> tuple[LibraryNetwork, ...]:
    """Every classifier that torchvision and timm have weights for. The first call takes seconds."""
    from compression.models import libraries

    return tuple(
        LibraryNetwork(
            each.source, each.parameters, each.macs, each.accuracy, each.licence,
            each.preprocess.height, each.preprocess.width, each.classes,
        )
        for each in libraries.entries()
    )  # fmt: skip


def add_network(
    name: str, source: str, file_name: str = "", content: bytes = b"", *, progress: "Progress | None" = None,
    stop: "Stop | None" = None,
) -> "Card | Refusal":  # fmt: skip
    """Takes a network into the list as `name`: that of `source`, with weights in a file where there is one.

    Without a source, `content` is a network's whole file, which the user calls `file_name`.
    """
    from compression import models

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"network{Path(file_name).suffix.lower()}"

        def task() -> "Card":
            if content:
                path.write_bytes(content)
            origin = " with ".join(filter(None, (source, file_name)))
            weights = path if source and content else None
            return models.add(name, source or str(path), weights=weights, origin=origin, progress=progress, stop=stop)

        found = refusal_on_error(task)
    return Refusal(found.sentence.replace(str(path), file_name)) if isinstance(found, Refusal) else found


def import_network(
    content: bytes, name: str, dataset: str, mean: str, std: str, *, progress: "Progress | None" = None,
    stop: "Stop | None" = None,
) -> "Card | Refusal":  # fmt: skip
    """Takes the network in a `.pt2` file's `content` into the list, by `name`; see `models.bring`.

    `mean` and `std` say how its images are normalised; an empty text is the dataset's own.
    """
    from compression import data, models

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"  # the name is not known to be one yet

        def task() -> "Card":
            images = data.load(dataset, progress=progress, stop=stop)
            if progress:
                progress("Reading the network and checking it on images", 0.8)
            texts = mean.strip() or None, std.strip() or None
            images = data.normalized(images, *texts, titles=("The mean", "The standard deviation"))
            path.write_bytes(content)
            return models.bring(path, name, images)

        found = refusal_on_error(task)
    return Refusal(found.sentence.replace(str(path), f"{name}.pt2")) if isinstance(found, Refusal) else found


def dismiss_network(name: str) -> None:
    """Takes a network off the list of all. Raises `UnknownName`, and `NotAllowed` for all but admins of a team."""
    from compression import models

    require(Act.ADMINISTER)
    models.dismiss(name)


def inputs_of(
    model: str, weights: str, dataset: str, *, progress: "Progress | None" = None, stop: "Stop | None" = None
) -> Inputs | Refusal:
    """How the images of `dataset` reach a network: what it sees, and which class is which output."""
    return refusal_on_error(lambda: _inputs_of(model, weights, dataset, progress, stop))


def _inputs_of(model: str, weights: str, dataset: str, progress: "Progress | None", stop: "Stop | None") -> Inputs:
    from compression import data, models
    from compression.data.folder import FOLDER_PREFIX

    card = models.card(model, weights)
    made = card.preprocess
    loaded = data.load(dataset, made, progress=progress, stop=stop)
    images, labels = loaded.test.images[:EXAMPLES], loaded.test.labels[:EXAMPLES]
    return Inputs(
        images={part: len(getattr(loaded, part)) for part in ("train", "validation", "test")},
        labelled=loaded.labelled,
        skipped=loaded.skipped,
        notes=loaded.notes,
        pictures=tuple(_shown(image.numpy(), made) for image in images),
        captions=tuple(loaded.classes[int(label)] if loaded.labelled else "" for label in labels),
        rankable=made is not None and loaded.labelled and dataset.startswith(FOLDER_PREFIX),
        classes=data.class_map(loaded, card.classes, card.class_names) if loaded.labelled else None,
    )


def _shown(pixels: "np.ndarray", made: Preprocess | None) -> "np.ndarray":
    """uint8 [C, H, W] as pages draw it: [H, W, 3] in red, green and blue, or [H, W]."""
    if len(pixels) == 1:
        return pixels[0]
    return pixels[:: -1 if made and made.channels == "BGR" else 1].transpose(1, 2, 0)


def ranked_preprocessings(
    model: str, weights: str, dataset: str, *, progress: "Progress | None" = None, stop: "Stop | None" = None
) -> Ranking | Refusal:
    """The usual preprocessings by how often a network of the user's is right with them on training pictures."""
    from compression import models

    return refusal_on_error(lambda: _ranked(models.card(model, weights), dataset, progress, stop))


def _ranked(card: "Card", dataset: str, progress: "Progress | None", stop: "Stop | None") -> Ranking:
    """Candidates by accuracy on training pictures."""
    from compression import models
    from compression.data import class_names, names_of
    from compression.models.preprocessing_candidates import Picture, rank_preprocessings, training_pictures

    pictures, classes = training_pictures(dataset, RANKED)
    outputs = class_names.match(classes, names_of(card.classes, card.class_names)).indices
    if len(classes) == card.classes and None in outputs:
        outputs = tuple(range(card.classes))
    known = [Picture(p.path, output) for p in pictures if (output := outputs[p.label]) is not None]
    if not known:
        return Ranking((), 0)
    channels, height, width = card.input_shape
    network = models.network(card.model, card.dataset)
    found = rank_preprocessings(network, known, (height, width), channels=channels, progress=progress, stop=stop)
    return Ranking(tuple((each.title, each.preprocess, each.accuracy) for each in found), found[0].n)


def choose_preprocessing(model: str, preprocess: Preprocess) -> "Card | Refusal":
    """Has a network of the user's get its images by `preprocess` from now on."""
    from compression import models

    return refusal_on_error(lambda: models.correct(model, preprocess=preprocess))
