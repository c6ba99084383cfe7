"""timm's classifiers: its table of weights knows preprocessing, classes, licence and where the weights lie."""

import logging
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_url
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn

from compression.errors import InvalidSetting
from compression.models.libraries.entry import Entry, Remote
from compression.records.preprocess import Interpolation, Preprocess, Resize

WEIGHTS_FILE = "model.safetensors"
"""What timm's own repositories keep weights in."""

INTERPOLATIONS: dict[str, Interpolation] = {
    "nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "lanczos", "random": "bilinear",
}  # fmt: skip

MODES: dict[str, Resize] = {"center": "shorter", "squash": "exact", "border": "letterbox"}

ARGUMENTS = ("img_size", "global_pool")
"""What a repository may ask of the network besides its number of classes."""

CONVERSION_ERRORS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What timm's conversions of older weights raise for weights that are of something else."""

log = logging.getLogger(__name__)


@cache
def architectures() -> tuple[str, ...]:
    """The networks that timm can build."""
    return tuple(timm.list_models())


def entries() -> list[Entry]:
    """Every set of weights that classifies images."""
    defaults: dict[str, str] = {}
    found = []
    for full in timm.list_pretrained():
        name, _, tag = full.partition(".")
        known = get_pretrained_cfg(full)
        if known is None or known.num_classes < 2 or not (made := _preprocess(known.to_dict())):
            continue
        default = defaults.setdefault(name, getattr(get_pretrained_cfg(name), "tag", "") or "")
        found.append(_entry(name, tag, known, made, tag == default))
    return found


def _entry(name: str, tag: str, known: PretrainedCfg, made: Preprocess, is_default: bool) -> Entry:
    return Entry(
        library="timm", name=name, tag=tag, is_default=is_default, classes=known.num_classes, preprocess=made,
        licence=known.license or "", remotes=tuple(_remotes(known)),
    )  # fmt: skip


def _remotes(known: PretrainedCfg) -> list[Remote]:
    """Where the weights lie: the repository first, as timm itself does, then the file of an older release."""
    found = []
    if known.hf_hub_id and known.custom_load != "hf":
        repository, _, revision = known.hf_hub_id.partition("@")
        file = known.hf_hub_filename or WEIGHTS_FILE
        url = hf_hub_url(repository, file, revision=revision or None)
        found.append(Remote(url, f"{repository.replace('/', '--')}--{file}"))
    if known.url and not known.custom_load:
        url, name = known.url if isinstance(known.url, tuple) else (known.url, known.url.rpartition("/")[2])
        digest = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
        found.append(Remote(url, name, digest[1] if digest else ""))
    return found


def _preprocess(known: Mapping[str, Any]) -> Preprocess | None:
    """What timm's evaluation does with a picture (`create_transform`); None for inputs that are no pictures.

    The shorter side is resized to the input's over `crop_pct`, and the centre cropped.
    """
    asked = resolve_data_config(pretrained_cfg=known)
    channels, height, width = asked["input_size"]
    mode = MODES.get(asked["crop_mode"] or "center", "shorter")
    try:
        return Preprocess(
            height, width, resize=mode,
            resize_to=math.floor(max(height, width) / asked["crop_pct"]) if mode == "shorter" else None,
            interpolation=INTERPOLATIONS.get(asked["interpolation"], "bilinear"),
            channels="grey" if channels == 1 else "RGB", mean=tuple(asked["mean"]), std=tuple(asked["std"]),
        )  # fmt: skip
    except InvalidSetting as error:
        log.debug("left out: %s", error)
        return None


def preprocess_of(known: Mapping[str, Any]) -> Preprocess | None:
    """The preprocessing that a repository's configuration tells."""
    return _preprocess(known)


def usual_preprocess(name: str) -> Preprocess | None:
    """What timm does with images for an architecture without weights."""
    known = get_pretrained_cfg(name, allow_unregistered=True)
    return _preprocess(known.to_dict()) if known else None


def class_names(entry: Entry) -> tuple[str, ...]:
    """The names of the classes, in the order of the scores; () where timm knows none."""
    subset = infer_imagenet_subset({"num_classes": entry.classes})
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()


def build(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, num_classes=classes, **_known(name, arguments)).eval()


def converted(
    name: str, tensors: dict[str, torch.Tensor], classes: int, arguments: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors as timm reads them into today's network: weights of older versions and of other programs.

    As they are where timm cannot. Those of the package efficientnet_pytorch, and of ports with its names, stand in the
    order of timm's.
    """
    if "_conv_stem.weight" in tensors and "_fc.weight" in tensors:
        places = build(name, len(tensors["_fc.weight"]), arguments).state_dict()
        return dict(zip(places, tensors.values(), strict=True)) if len(places) == len(tensors) else tensors
    source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": 0, "source": None}
    try:
        made = timm.create_model(
            name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=source, **_known(name, arguments)
        )
    except CONVERSION_ERRORS as error:
        log.debug("timm does not read these weights of %s: %s", name, error)
        return tensors
    return dict(made.state_dict())


def _known(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `arguments` that a repository may give."""
    return {key: arguments[key] for key in ARGUMENTS if key in arguments}
