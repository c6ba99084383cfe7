"""A source becomes a network, with what is known of its images, classes and origin.

opened = open_source("timm:efficientnet_lite0.ra_in1k")      # downloaded where it is not here yet
opened = open_source("torchvision:resnet18", weights=Path("mine.pth"))
opened = open_source("network.onnx")
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compression import confined
from compression.errors import InvalidModel, Unsupported, WeightsUnavailable
from compression.models import downloads, hub, libraries
from compression.models.downloads import Progress, Stop
from compression.models.foreign_files import format_of
from compression.models.libraries import Entry
from compression.models.sources import FORMS, Source, parse
from compression.models.weights_files import Tensors, classes_of, head_of, put_, read_tensors, renamed
from compression.network.pt2 import load_pt2
from compression.records.preprocess import Preprocess

CHECKED = 16
"""Random images on which an ONNX file is compared with the network that is read from it."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A network in float32 and eval mode, and what its source tells. What is not known is None, () or ''.

    `architecture` ("timm:resnet18") and `arguments` are what its library rebuilds it from; `file` is the network's own.
    `classes` are as many as scores. `notes` are sentences.
    """

    network: nn.Module
    source: Source
    input_shape: tuple[int, int, int] | None
    classes: int | None
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    licence: str = ""
    architecture: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    notes: tuple[str, ...] = ()


def open_source(
    text: str, *, weights: Path | None = None, progress: Progress | None = None, stop: Stop | None = None
) -> Opened:
    """The network that `text` names, with its library's weights or with those in the file `weights`.

    Raises `InvalidModel` for what names none and for weights that do not fit, `UnknownName` for a name that its library
    does not have, `InvalidFile` and `Unsupported` for files that are not read, and `WeightsUnavailable`.
    """
    source = parse(text)
    if source.kind == "file":
        return _file(source, weights)
    if source.kind == "name":
        raise InvalidModel(f"{text!r} is a name in the list or none; {FORMS} are possible.")
    if source.kind == "hub":
        return _from_hub(source, weights, progress, stop)
    return _own_weights(source, weights) if weights else _published(source, progress, stop)


def _published(source: Source, progress: Progress | None, stop: Stop | None) -> Opened:
    """A library's network with the weights that come with it."""
    entry = libraries.entry(source)
    library = libraries.library(entry.library)
    path = _obtain(entry, progress, stop)
    tensors, notes = read_tensors(path)
    model = fitted(f"{entry.library}:{entry.name}", {}, tensors, entry.classes, path.name)
    return Opened(
        model, parse(entry.source), entry.input_shape, entry.classes, entry.preprocess, library.class_names(entry),
        entry.licence, f"{entry.library}:{entry.name}", notes=notes,
    )  # fmt: skip


def _own_weights(source: Source, weights: Path) -> Opened:
    """A library's network with weights of the user's; how many classes there are, the weights tell."""
    libraries.check_architecture(source)
    architecture = f"{source.library}:{source.name}"
    tensors, notes = read_tensors(weights)
    classes = _count(architecture, {}, tensors, weights.name)
    model = fitted(architecture, {}, tensors, classes, weights.name)
    made = libraries.preprocess_of(source)
    shape = libraries.shape_of(made)
    told = (
        *notes,
        f"The preprocessing is that of {source.library}'s own weights; correct it where yours is another.",
    )
    return Opened(model, source, shape, classes, made, architecture=architecture, notes=told)


def _from_hub(source: Source, weights: Path | None, progress: Progress | None, stop: Stop | None) -> Opened:
    try:
        found = hub.read_repository(source.name, progress=progress, stop=stop)
        file = weights or downloads.download(found.remote, progress=progress, stop=stop)
    except WeightsUnavailable as refusal:
        kept = hub.remote(source.name, hub.CONFIGURATION).name.removesuffix(hub.CONFIGURATION)
        raise WeightsUnavailable(_otherwise(str(source), [str(refusal)], f"{kept}*")) from None
    tensors, notes = read_tensors(file)
    architecture = f"timm:{found.architecture}"
    model = fitted(architecture, found.arguments, tensors, found.classes, file.name)
    return Opened(
        model, source, libraries.shape_of(found.preprocess), found.classes, found.preprocess, found.class_names,
        found.licence, architecture, found.arguments, notes=notes,
    )  # fmt: skip


def _obtain(entry: Entry, progress: Progress | None, stop: Stop | None) -> Path:
    """The file of an entry's weights: from the places that its library names, one after the other."""
    refusals = []
    for remote in entry.remotes:
        try:
            return downloads.download(remote, progress=progress, stop=stop)
        except WeightsUnavailable as refusal:
            refusals.append(str(refusal))
    if not refusals:
        raise Unsupported(f"The weights of {entry.source} are in a format that timm alone converts; choose others.")
    raise WeightsUnavailable(_otherwise(entry.source, refusals, entry.remotes[0].name))


def _otherwise(source: str, refusals: list[str], file: str) -> str:
    """Why weights are not here, and what works without their host."""
    return (
        f"The weights of {source} are not here: {'; '.join(refusals)}. What works without: a file of them with "
        f"--weights, or put into {downloads.folder()} as {file}; an .onnx or .pt2 file; and the networks of the zoo."
    )


def _count(architecture: str, arguments: Mapping[str, Any], tensors: Tensors, file: str) -> int:
    """How many classes the weights tell apart."""
    name, library = architecture.partition(":")[2], libraries.library(architecture.partition(":")[0])
    head = head_of(lambda classes: library.build(name, classes, arguments))
    expected = library.build(name, 2, arguments).state_dict()
    classes = classes_of(renamed(tensors, expected), head)
    if classes is None:
        classes = classes_of(library.converted(name, tensors, 1000, arguments), head)
    if classes is None or classes < 2:
        wanted = " or ".join(part.name for part in head[:2])
        raise InvalidModel(
            f"The weights in {file} have no classifier of {name}: there is no {wanted} among their {len(tensors)} "
            "tensors, or it has one class."
        )
    return classes


def fitted(architecture: str, arguments: Mapping[str, Any], tensors: Tensors, classes: int, file: str) -> nn.Module:
    """The library's network with `tensors` in it, under today's names or under those of its older versions."""
    title, _, name = architecture.partition(":")
    library = libraries.library(title)
    model: nn.Module = library.build(name, classes, arguments)
    plain = renamed(tensors, model.state_dict())
    try:
        return put_(model, plain, file)
    except InvalidModel as refusal:
        converted = library.converted(name, plain, classes, arguments)
        try:
            return put_(model, renamed(converted, model.state_dict()), file)
        except InvalidModel:
            raise refusal from None


def _file(source: Source, weights: Path | None) -> Opened:
    """A whole network in a file."""
    form = format_of(source.path)
    if weights:
        raise InvalidModel(f"--weights goes with a network by name; {source.path.name} brings its own.")
    if form == "onnx":
        return _onnx(source)
    if form == "pt2":
        confined.attempt("pt2", source.path, input_shape=None)
        network = load_pt2(source.path)
        return Opened(network, source, network.program.shape, None, file=source.path)
    raise InvalidModel(
        f"{source.path.name} holds weights, not what they are of: name the network too, for example "
        f"torchvision:resnet18 with --weights {source.path.name}."
    )


def _onnx(source: Source) -> Opened:
    from compression.network.onnx_reader import attempt_onnx, check_onnx, read_onnx

    attempt_onnx(source.path)
    network, facts = read_onnx(source.path)
    images = torch.randn(CHECKED, *facts.input_shape, generator=torch.Generator().manual_seed(0))
    check = check_onnx(source.path, network, images)
    told = (
        f"Against ONNX Runtime on {CHECKED} random images: {check.same_classes:.0%} of the classes are the same, and "
        f"answers differ by {check.relative_error:.1e} of their size."
    )
    return Opened(network, source, facts.input_shape, facts.classes, file=source.path, notes=(*facts.notes, told))


def rebuilt(architecture: str, arguments: Mapping[str, Any], classes: int, path: Path) -> nn.Module:
    """The library's network with the tensors in a file of ours."""
    title, _, name = architecture.partition(":")
    return put_(libraries.library(title).build(name, classes, arguments), read_tensors(path)[0], path.name)
