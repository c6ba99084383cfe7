"""Images whose classes are a network's outputs: labels point at them, whatever the folder's own classes are."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from compression.data.class_names import ClassMap, kept, match, output_names
from compression.data.dataset import Dataset, Split
from compression.errors import InvalidData, shown

FOLDER_PREFIX = "folder:"
ENOUGH = 0.9
"""Share of equally many classes that must be ImageNet's by name, before their order in the folder counts no more."""


def for_outputs(data: Dataset, count: int, names: Sequence[str] = ()) -> Dataset:
    """`data` with the `count` outputs of a network as its classes, called `names` where these are known.

    A folder's classes are matched to the outputs (`class_names.match`) with the corrections that the user has kept.
    Without names, equally many classes are taken in their order, 1,000 for ImageNet's where that is what they are
    called, and classes that are numbers for the outputs with these numbers. What does not fit is returned as it is.
    Raises `InvalidData` where outputs have names, and none is a class of `data`.
    """
    if data.outputs:
        return data
    given = tuple(names) if len(names) == count else ()
    known = given or output_names(count) or tuple(map(str, range(count)))
    if not data.labelled:
        return replace(data, classes=known, outputs=True)
    if given and given == data.classes:
        return replace(data, outputs=True)
    found = match(data.classes, known, kept(known, data.name) | dict(data.corrections))
    share = sum(index is not None for index in found.indices) / len(data.classes)
    if not given and len(data.classes) == count:
        return mapped(data, found) if known != tuple(map(str, range(count))) and share >= ENOUGH else data
    if not given and not output_names(count) and (share < 1 or not data.name.startswith(FOLDER_PREFIX)):
        return data
    return mapped(data, found)


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
    parts = {name: _relabelled(getattr(data, name), output) for name in ("train", "validation", "test")}
    for name in ("train", "test"):
        if not len(parts[name]):
            raise InvalidData(f"No {name}ing image of {data.title} is of a class that the network knows.")
    return replace(data, classes=found.outputs, outputs=True, notes=(*data.notes, *found.sentences), **parts)


def _relabelled(split: Split, output: torch.Tensor) -> Split:
    """`split` with the labels `output` [classes] has for its own; images whose label becomes -1 are left out."""
    labels = output[split.labels]
    if (labels >= 0).all():
        return replace(split, labels=labels)
    fitting = (labels >= 0).nonzero().flatten()
    return replace(split.subset(fitting), labels=labels[fitting])


def _some(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
