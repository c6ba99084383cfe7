"""Classifiers of torchvision and timm with random weights, and random images for them: no download is needed."""

import torch
from torch import nn

from compression.data.dataset import Dataset, Split

Shape = tuple[int, int, int]
CALIBRATION, VALIDATION, TEST = 16, 8, 32
BATCH_NORM_IMAGES = 16


def built(name: str) -> tuple[nn.Module, Shape]:
    """The network with random weights and measured batch norms, and its native input's shape (C, H, W)."""
    library, _, called = name.partition(":")
    torch.manual_seed(0)
    if library == "torchvision":
        from torchvision import models

        more = {"init_weights": False, "aux_logits": False} if called in ("googlenet", "inception_v3") else {}
        side = models.get_model_weights(called).DEFAULT.transforms().crop_size[0]
        model, shape = models.get_model(called, weights=None, **more), (3, side, side)
    else:
        import timm

        model = timm.create_model(called, pretrained=False)
        shape = timm.data.resolve_model_data_config(model)["input_size"]
    draw_zeros_(model)
    measure_batch_norms_(model, shape)
    return model.eval(), shape


def draw_zeros_(model: nn.Module) -> None:
    """Random weights for layers that begin with zeros, with which all images have the same answer."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.any():
            nn.init.trunc_normal_(layer.weight, std=0.02)


def measure_batch_norms_(model: nn.Module, shape: Shape) -> None:
    """Statistics of random images, so that answers neither vanish nor explode: untrained ones say 0 and 1."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None
    if norms:
        with torch.no_grad():
            model(pictures(BATCH_NORM_IMAGES, shape))
    for norm in norms:
        norm.momentum = 0.1


def pictures(count: int, shape: Shape, seed: int = 0) -> torch.Tensor:
    """Smooth random images with some noise, normalised: float32 [count, C, H, W]."""
    draw = torch.Generator().manual_seed(seed)
    channels, *sides = shape
    smooth = torch.nn.functional.interpolate(
        torch.randn(count, channels, 7, 7, generator=draw), size=sides, mode="bicubic"
    )
    return smooth + 0.2 * torch.randn(count, *shape, generator=draw)


def images(shape: Shape, classes: int, sizes: tuple[int, int, int] = (CALIBRATION, VALIDATION, TEST)) -> Dataset:
    """Random images as a dataset of `classes` classes, of mean 0.5 and deviation 0.25; sizes of its three splits."""
    pixels = pictures(sum(sizes), shape, seed=1).mul(64).add(128).clamp(0, 255).round().to(torch.uint8)
    labels = torch.arange(len(pixels)) % classes
    train, validation, test = map(Split, pixels.split(list(sizes)), labels.split(list(sizes)))
    mean, std = (0.5,) * shape[0], (0.25,) * shape[0]
    names = tuple(map(str, range(classes)))
    return Dataset(
        "random", "Random images", names, shape, mean, std, "a generator", False, train, validation, test
    )  # fmt: skip
