"""Teachers: what they say is asked once."""

from dataclasses import replace

import torch
from torch import nn

from compression.data import load
from compression.data.augmentation import Augmentation
from compression.data.dataset import Dataset
from compression.training import Batch
from compression.training.teachers import scores_of


class Counted(nn.Module):
    """Answers by sums that a mirror image changes, and counts the images that it is asked about."""

    asked = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += len(images)
        return torch.stack([images[..., :3].sum((1, 2, 3)), images[..., 3:].sum((1, 2, 3))], 1)


def heard(data: Dataset, augmentation: Augmentation) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Images asked about in two variants, each in batches of another order, and the scores told in each."""
    model, images = Counted(), data.normalize(data.train.images[:48])
    teacher, told = scores_of(model, data, augmentation), []
    for variant, shown in enumerate((images, images.flip(3))):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(variant))
        scores = torch.empty(48, 2)
        for part in order.split(16):
            scores[part] = teacher.answers(Batch(shown[part], data.train.labels[part], part, 48, variant)).float()
        told.append(scores)
    return model.asked, told[0], told[1]


def test_mirror_images_are_told_the_same_and_asked_about_once() -> None:
    mirrors = replace(load("digits"), mirror=True)
    asked, one, other = heard(mirrors, Augmentation(flip=True))
    assert asked == 2 * 48  # each image and its mirror image
    assert torch.equal(one, other)
    again, anew, mirrored = heard(mirrors, Augmentation(flip=True, shift=1))
    assert again == 2 * asked
    torch.testing.assert_close(one, anew)
    torch.testing.assert_close(other, mirrored, atol=2e-3, rtol=2e-3)
