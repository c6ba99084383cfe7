"""Images whose classes are a network's outputs: labels point at them, whatever the folder's own classes are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from compression.data.class_names import ClassMap, kept, match, output_names
from compression.data.dataset import Dataset, Split
from compression.data.folder import FOLDER_PREFIX
from compression.errors import InvalidData, shown

ENOUGH = 0.9
"""Share of equally many classes that must be ImageNet's by name, before their order in the folder counts no more."""


def for_outputs(data: Dataset, count: int, names: Sequence[str] = ()) -> Dataset:
    """`data` with the `count` outputs of a network as its classes, called `names` where these are known.

    A folder's classes become outputs as `class_map` says; what does not fit is returned as it is. Raises `InvalidData`
    where outputs have names, and none is a class of `data`.
    """
    if data.outputs:
        return data
    if not data.labelled:
        return replace(data, classes=names_of(count, names), outputs=True)
    found = class_map(data, count, names)
    return data if found is None else mapped(data, found)


def corrected(data: Dataset, corrections: Mapping[str, str]) -> Dataset:
    """`data` with what a user says of its classes. Raises `InvalidData` for a class that it does not have."""
    if unknown := [name for name in corrections if name not in data.classes]:
        raise InvalidData(f"The class table names {shown(unknown[0])}, which is not a class of {data.title}.")
    return replace(data, corrections=(*data.corrections, *corrections.items())) if corrections else data


def names_of(count: int, names: Sequence[str] = ()) -> tuple[str, ...]:
    """What the outputs are called: `names` if there are as many, else ImageNet's where that may be, else numbers."""
    return tuple(names) if len(names) == count else output_names(count) or tuple(map(str, range(count)))


def class_map(data: Dataset, count: int, names: Sequence[str] = ()) -> ClassMap | None:
    """Which of a network's `count` outputs each class of `data` is, by `class_names.match` and the user's corrections.

    Without names, equally many classes are taken in their order, unless they are called like ImageNet's 1,000, and
    classes that are numbers for the outputs with these numbers. None where classes stay what they are.
    """
    given, known = len(names) == count, names_of(count, names)
    found = match(data.classes, known, kept(known, data.name) | dict(data.corrections))
    share = sum(index is not None for index in found.indices) / len(data.classes)
    if given or any(each.how in ("corrected", "left out") for each in found.classes):
        return found
    imagenet = bool(output_names(count))
    if len(data.classes) == count:
        return found if imagenet and share >= ENOUGH else None
    return found if imagenet or (share == 1 and data.name.startswith(FOLDER_PREFIX)) else None


def mapped(data: Dataset, found: ClassMap) -> Dataset:
    """`data` with labels that point at outputs; images of classes without one are left out, and `notes` say so.

    Raises `InvalidData` where no class has an output, or one of the parts is left without an image.
    """
    if all(index is None for index in found.indices):
        raise InvalidData(
            f"None of the {len(data.classes):,} classes of {data.title} ({_some(data.classes)}) is one of the network's"
            f" {len(found.outputs):,} ({_some(found.outputs)}); say which is which in a CSV with lines of CLASS,OUTPUT."
        )
    output = torch.tensor([-1 if index is None else index for index in found.indices])
    train, validation, test = (_relabelled(split, output) for split in (data.train, data.validation, data.test))
    for name, split in (("training", train), ("test", test)):
        if not len(split):
            raise InvalidData(f"No {name} image of {data.title} is of a class that the network knows.")
    return replace(
        data, classes=found.outputs, outputs=True, notes=(*data.notes, *found.sentences),
        train=train, validation=validation, test=test,
    )  # fmt: skip


def _relabelled(split: Split, output: torch.Tensor) -> Split:
    """`split` with the labels `output` [classes] has for its own; images whose label becomes -1 are left out."""
    labels = output[split.labels]
    if (labels >= 0).all():
        return replace(split, labels=labels)
    fitting = (labels >= 0).nonzero().flatten()
    return replace(split.subset(fitting), labels=labels[fitting])


def _some(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
