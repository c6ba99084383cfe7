"""Random changes to a batch that keep its classes: mirror, shift, erase. Whole batches at a time, on bytes."""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How a batch is varied. `flip`: mirror half of the images; `shift` and `erase` in pixels, 0 is off."""

    flip: bool = False
    shift: int = 0  # each image moves by up to this many pixels both ways; what comes in is black
    erase: int = 0  # side of a square filled with the mean colour (Zhong et al. 2020, DeVries & Taylor 2017)
    erase_share: float = 0.5  # share of the images that get one

    @property
    def only_mirrors(self) -> bool:
        """Whether an image stays as it is, or becomes its mirror image."""
        return not (self.shift or self.erase)

    def __call__(self, images: torch.Tensor, generator: torch.Generator, fill: torch.Tensor) -> torch.Tensor:
        """uint8 [n, C, H, W] → the same shape; `fill` uint8 [C] is the mean colour. Draws from `generator` (CPU)."""
        if self.flip:
            images = _flip(images, generator)
        if self.shift:
            images = _shift(images, self.shift, generator)
        if self.erase:
            images = _erase(images, self.erase, self.erase_share, generator, fill)
        return images


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    chosen = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def _shift(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = images.shape
    padded = functional.pad(images, (most,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [n, C, 2·most+1, 2·most+1, H, W], a view
    down, right = torch.randint(2 * most + 1, (2, n), generator=generator).to(images.device)
    return windows[torch.arange(n, device=images.device), :, down, right]  # [n, C, H, W]


def _erase(
    images: torch.Tensor, side: int, share: float, generator: torch.Generator, fill: torch.Tensor
) -> torch.Tensor:
    """Squares are placed by their centres, which lie anywhere in the image, so that some are cut by its border."""
    n, _, height, width = images.shape
    centre = torch.rand(2, n, 1, generator=generator).to(images.device)
    rows = (torch.arange(height, device=images.device) + 0.5 - centre[0] * height).abs() <= side / 2  # [n, H]
    columns = (torch.arange(width, device=images.device) + 0.5 - centre[1] * width).abs() <= side / 2  # [n, W]
    chosen = torch.rand(n, 1, generator=generator).to(images.device) < share
    hole = (rows & chosen).unsqueeze(2) & columns.unsqueeze(1)  # [n, H, W]
    return torch.where(hole.unsqueeze(1), fill.view(1, -1, 1, 1), images)
