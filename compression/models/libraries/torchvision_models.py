"""torchvision's classifiers: its table of weights knows preprocessing, parameters, work, accuracy and classes."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from compression.models.libraries.entry import Entry, Remote
from compression.records.preprocess import Interpolation, Preprocess

INTERPOLATIONS: dict[InterpolationMode, Interpolation] = {
    InterpolationMode.NEAREST: "nearest", InterpolationMode.NEAREST_EXACT: "nearest",
    InterpolationMode.BILINEAR: "bilinear", InterpolationMode.BICUBIC: "bicubic", InterpolationMode.LANCZOS: "lanczos",
}  # fmt: skip

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Beginnings of the names of tensors that only training reads."""


@cache
def architectures() -> tuple[str, ...]:
    """The classifiers of images that torchvision can build."""
    return tuple(models.list_models(module=models))


def entries() -> list[Entry]:
    """Every set of weights that classifies images."""
    found = []
    for name in architectures():
        kinds = models.get_model_weights(name)
        found += [_entry(name, weights, weights is kinds.DEFAULT) for weights in kinds if _classifies(weights)]
    return found


def _classifies(weights: WeightsEnum) -> bool:
    return isinstance(weights.transforms(), ImageClassification) and bool(weights.meta.get("categories"))


def _entry(name: str, weights: WeightsEnum, is_default: bool) -> Entry:
    meta = weights.meta
    metrics = meta.get("_metrics", {}).get("ImageNet-1K", {})
    digest = re.search(r"-([0-9a-f]{8,})\.\w+$", weights.url)
    remote = Remote(weights.url, weights.url.rpartition("/")[2], digest[1] if digest else "")
    return Entry(
        library="torchvision", name=name, tag=weights.name, is_default=is_default, classes=len(meta["categories"]),
        preprocess=_preprocess(weights.transforms()), parameters=meta.get("num_params"),
        macs=round(meta["_ops"] * 1e9) if "_ops" in meta else None,
        accuracy=metrics["acc@1"] / 100 if "acc@1" in metrics else None, licence=meta.get("license", ""),
        size_bytes=round(meta["_file_size"] * 2**20) if "_file_size" in meta else None, remotes=(remote,),
    )  # fmt: skip


def _preprocess(transforms: Any) -> Preprocess:
    """What `ImageClassification` does: the shorter side resized, the centre cropped, normalised."""
    side = transforms.crop_size[0]
    return Preprocess(
        side, side, resize="shorter", resize_to=transforms.resize_size[0],
        interpolation=INTERPOLATIONS[transforms.interpolation], mean=tuple(transforms.mean), std=tuple(transforms.std),
    )  # fmt: skip


def class_names(entry: Entry) -> tuple[str, ...]:
    """The names of the classes, in the order of the scores."""
    return tuple(models.get_model_weights(entry.name)[entry.tag].meta["categories"])


def build(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights, in eval mode, without the heads that only training uses.

    The two networks that scale their images themselves where they have torchvision's weights do so here.
    """
    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        more = {"init_weights": False, "aux_logits": False, "transform_input": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.get_model(name, weights=None, num_classes=classes, **more).eval()


def converted(
    name: str, tensors: dict[str, torch.Tensor], classes: int, arguments: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors under the names that the network has today: DenseNet's were others."""
    kept = {key: value for key, value in tensors.items() if not key.startswith(AUXILIARY)}
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
    return {re.sub(old, r"\1\2", key): value for key, value in kept.items()}


def usual_preprocess(name: str) -> Preprocess:
    """What most networks of torchvision take."""
    return Preprocess(224, 224, resize="shorter", resize_to=256)
