"""Networks of every source taken into the list: checked, kept in the user's folder, described by a card."""

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import fx, nn

from compression.errors import InvalidModel, InvalidSetting, shown
from compression.host.atomic_files import atomic_write
from compression.host.onnx_assembly import assemble, checked
from compression.models import model_cards
from compression.models.catalog import ARCHITECTURES, NAME, OWN
from compression.models.downloads import Progress, Stop, digest_of
from compression.models.libraries import shape_of
from compression.models.model_cards import FORMATS, Card, user_weights, write
from compression.models.opening import Opened, open_source
from compression.network.tracing import trace
from compression.records.preprocess import MAX_SIDE, MIN_SIDE, Preprocess

MOST_NAMES = 2_000
"""Classes whose names a card keeps; those of larger tables are the library's to tell."""

PHOTOGRAPH = 64
"""Pixels from which on images are taken for photographs."""

CROP = 0.875
"""Share of the shorter side that ImageNet's networks see: 224 of 256 pixels."""

LONGEST_NAME = 80
"""Characters of a class's name on a card."""


def add(
    name: str,
    source: str,
    *,
    weights: Path | None = None,
    classes: tuple[str, ...] | None = None,
    preprocess: Preprocess | None = None,
    origin: str = "",
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Card:
    """Takes the network of `source` into the list as `name`, in place of an earlier one of that name.

    Nothing is measured: no images are needed. `weights` is a file of weights for a library's network; `classes` are the
    names of its classes and `preprocess` what makes its images, where the source does not tell or tells wrongly.
    `origin` is what its card calls the source, where that is another than `source`.

    Raises `InvalidSetting` for a name that is taken or no name, what `open_source` and `trace` raise, and
    `InvalidModel` where classes or preprocessing do not fit the network.
    """
    check_name(name)
    say = progress or (lambda sentence, share: None)
    say("Reading the network", 0.0)
    opened = open_source(source, weights=weights, progress=_part(say, 0.0, 0.6), stop=stop)
    told = preprocess or opened.preprocess
    made = told or assumed(opened.input_shape)
    shape = shape_of(made) or opened.input_shape
    if shape is None:
        raise InvalidModel(f"{source} takes images of any size; set one in the preprocessing.")
    say("Making one graph of it, and comparing their answers", 0.6)
    graph = trace(opened.network, shape)
    count = _classes(graph, shape)
    names = _class_names(classes, opened, count)
    say("Keeping it", 0.9)
    place = user_weights() / f"{name}-{OWN}.json"
    kept = _keep(opened, place)
    card = _card(name, opened, graph, shape, count, names, made, kept, assumed=told is None, origin=origin)
    write(place, card)
    for suffix in FORMATS:
        if suffix != kept.suffix:
            place.with_suffix(suffix).unlink(missing_ok=True)
    return card


def assumed(shape: tuple[int, int, int] | None) -> Preprocess | None:
    """What most networks of such images are trained with, where a file does not tell: ImageNet's for photographs.

    None for shapes that are no pictures'.
    """
    if shape is None or shape[0] not in (1, 3) or not all(MIN_SIDE <= side <= MAX_SIDE for side in shape[1:]):
        return None
    channels, height, width = shape
    if channels == 3 and min(height, width) >= PHOTOGRAPH:
        return Preprocess(height, width, resize_to=min(round(max(height, width) / CROP), MAX_SIDE))
    plain: dict[str, Any] = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return Preprocess(height, width, "exact", channels="RGB" if channels == 3 else "grey", **plain)


def _usual(made: Preprocess | None) -> str:
    if made is None or made.resize == "exact":
        return "pixels from 0 to 1 are"
    return f"ImageNet's mean and deviation after a shorter side of {made.resize_to} pixels are"


def check_name(name: str) -> None:
    """Raises `InvalidSetting` for what a network of the user's cannot be called."""
    if not NAME.fullmatch(name):
        raise InvalidSetting(f"A network's name is up to 31 of a-z, 0-9 and _, a letter first, not {shown(name)}.")
    if name in ARCHITECTURES:
        raise InvalidSetting(f"There is a network {name!r} in the zoo already; choose another name.")


def correct(name: str, *, preprocess: Preprocess | None = None, classes: tuple[str, ...] | None = None) -> Card:
    """Another preprocessing, or other names of the classes, for a network in the list; what is None stays.

    Raises `UnknownName`, and `InvalidModel` for classes or a size of images that are not the network's.
    """
    known = model_cards.card(name, OWN)
    if classes is not None and len(classes) not in (0, known.classes):
        raise InvalidModel(f"{name} has {known.classes} classes, not {len(classes)}.")
    if preprocess is not None:
        if shape_of(preprocess) != known.input_shape:
            asked, has = _sides(shape_of(preprocess)), _sides(known.input_shape)
            raise InvalidModel(f"{name} takes images of {has}, not {asked}; add it again for another size.")
        known = replace(known, preprocess=preprocess, mean=preprocess.mean, std=preprocess.std)
    if classes is not None:
        known = replace(known, class_names=tuple(each[:LONGEST_NAME] for each in classes))
    place = user_weights() / f"{name}-{OWN}.json"
    write(place, known)
    return known


def _part(say: Progress, low: float, high: float) -> Progress:
    return lambda sentence, share: say(sentence, low + (high - low) * share)


def _sides(shape: tuple[int, ...] | None) -> str:
    return "×".join(map(str, shape or ()))


@torch.inference_mode()
def _classes(graph: fx.GraphModule, shape: tuple[int, int, int]) -> int:
    scores = graph(torch.zeros(1, *shape))
    if scores.shape[1] < 2:
        raise InvalidModel(f"The network answers with {scores.shape[1]} score an image; a classifier has at least 2.")
    return int(scores.shape[1])


def _class_names(given: tuple[str, ...] | None, opened: Opened, count: int) -> tuple[str, ...]:
    """What the user gives, else what the source tells; () where neither does or there are too many."""
    if given is not None and len(given) != count:
        raise InvalidModel(f"{len(given)} names of classes are given, and the network answers with {count} scores.")
    names = given if given is not None else opened.class_names
    return tuple(name[:LONGEST_NAME] for name in names) if len(names) == count <= MOST_NAMES else ()


def _keep(opened: Opened, place: Path) -> Path:
    """Writes what the network is read from again: the file itself, or a library's weights. Returns the file's path."""
    suffix = opened.file.suffix.lower() if opened.file else ".safetensors"
    kept = place.with_suffix(suffix)
    with atomic_write(kept) as partial:
        if opened.file:
            partial.write_bytes(whole_file(opened.file))
        else:
            save_file(tensors_of(opened.network), partial)
    return kept


def whole_file(path: Path) -> bytes:
    """A network's file; of an ONNX file whose weights lie in others, one that holds them."""
    content = path.read_bytes()
    return assemble(content, checked(content), path.parent).content if path.suffix.lower() == ".onnx" else content


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's tensors, each in memory of its own, as safetensors files need it."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}


def _card(
    name: str, opened: Opened, graph: fx.GraphModule, shape: tuple[int, int, int], count: int, names: tuple[str, ...],
    made: Preprocess | None, kept: Path, *, assumed: bool, origin: str,
) -> Card:  # fmt: skip
    mean, std = (made.mean, made.std) if made else ((0.0,) * shape[0], (1.0,) * shape[0])
    said = (
        f"Traced for {_sides(shape)}; its graph gives the original's outputs on random images.", *opened.notes,
        f"Its file does not specify the preprocessing: {_usual(made)} assumed." if assumed else "",
    )  # fmt: skip
    return Card(
        model=name, dataset=OWN, source=origin or str(opened.source), input_shape=shape, classes=count,
        mean=mean, std=std,
        recipe={}, seed=0, best_epoch=0, validation_accuracy=None, validation_images=0, test_accuracy=None,
        test_images=0, parameters=sum(p.numel() for p in graph.parameters()), size_bytes=kept.stat().st_size,
        sha256=digest_of(kept), data_fingerprint="", training_seconds=0.0, hardware=platform.machine(),
        versions={"torch": torch.__version__}, notes="Added, not trained here.", preprocess=made, class_names=names,
        licence=opened.licence, origin=origin or str(opened.source), checked=" ".join(filter(None, said)),
        architecture=opened.architecture, arguments=dict(opened.arguments),
    )  # fmt: skip
