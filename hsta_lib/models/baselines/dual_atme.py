"""Dual-ATME (Zhou and others, 2023): the whole flow picture beside a puzzle of facial regions.

Two branches of two Inception blocks: one for the picture of the onset-to-apex flow, one for a puzzle of
regions cut out of it. The attention module CBAM stands at the end of both; one hidden layer follows.

As in the authors' code (HaoliangZhou/Dual-ATME): all layers and sizes, range -1 to 1, focal loss and the
term that draws the branches together, PyTorch's initial weights. One CBAM serves both branches there; the
paper is said to have attention on one branch only, which is unconfirmed. Approximated: the regions, of
which neither the list nor the cut is in that repository; the three strips of `REGIONS` are ours. Guessed:
that the picture holds u, v and strain, each stretched over its own range.

The original scores the last epoch. Its script stops as published, on options that it does not define; it
makes a schedule that halves the rate every ten epochs but never takes a step of it.
"""

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import InceptionBlock, check_sizes, focal_loss, min_max_picture

# Approximation: top, bottom, left and right edge of eyebrows, eyes and mouth, in sides of a picture that
# shows the face and little else.
REGIONS = ((0.10, 0.32, 0.10, 0.90), (0.25, 0.46, 0.10, 0.90), (0.62, 0.90, 0.20, 0.80))
_SMALLEST = 8  # px; below, a region would be less than one pixel high
_BOTTLENECK = 6  # channels before the 3x3 and 5x5 convolutions
_COSINE_WEIGHT = 0.01


def prepare(flow):
    """The flow as a picture, each channel stretched to -1..1, and its `puzzle`: float32 ``(2, 3, h, w)``.

    A constant channel is -1. At least 8 px each way; see `layers.min_max_picture`.
    """
    picture = 2 * min_max_picture(flow) - 1
    if min(picture.shape[1:]) < _SMALLEST:
        raise ValueError(f"flow of shape {flow.shape} is too small; {_SMALLEST} px each way are needed")
    return np.stack([picture, puzzle(picture)])


def puzzle(picture):
    """Eyebrows, eyes and mouth of a picture ``(c, h, w)``, pasted below each other in its full width."""
    _, height, width = picture.shape
    scale = (height, height, width, width)
    ends = [round(height * i / len(REGIONS)) for i in range(len(REGIONS) + 1)]
    strips = []
    for region, start, end in zip(REGIONS, ends[:-1], ends[1:], strict=True):
        top, bottom, left, right = (round(edge * side) for edge, side in zip(region, scale, strict=True))
        cut = np.ascontiguousarray(rearrange(picture[:, top:bottom, left:right], "c h w -> h w c"))
        strips.append(cv2.resize(cut, (width, end - start), interpolation=cv2.INTER_LINEAR))
    return rearrange(np.concatenate(strips), "h w c -> c h w")


class CBAM(nn.Module):
    """Convolutional block attention module (Woo, Park, Lee and Kweon, ECCV 2018): channels, then places."""

    def __init__(self, d, reduction=16):
        super().__init__()
        self.channels = nn.Sequential(nn.Linear(d, d // reduction), nn.ReLU(), nn.Linear(d // reduction, d))
        self.places = nn.Conv2d(2, 1, kernel_size=3, padding=1)

    def forward(self, x):
        """``(b, d, h, w)`` in, the same shape out."""
        weight = self.channels(x.mean(dim=(2, 3))) + self.channels(x.amax(dim=(2, 3)))
        x = x * rearrange(weight.sigmoid(), "b d -> b d 1 1")
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.places(summary).sigmoid()


class DualATME(nn.Module):
    """A branch for the flow picture, another for the puzzle, one CBAM for both, one hidden layer.

    The pictures have ``image_size`` px; sizes that do not fit are refused, see `layers.check_sizes`.
    """

    def __init__(self, n_classes, *, image_size=28, hidden=1024):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, _SMALLEST), hidden=(hidden, 1))
        self.branch_picture, self.branch_puzzle = self._branch(), self._branch()
        self.cbam = CBAM(48)
        self.head = nn.Sequential(
            nn.Linear(2 * 48 * (image_size // 4) ** 2, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(hidden, n_classes),
        )  # fmt: skip

    @staticmethod
    def _branch():
        blocks = [InceptionBlock(n_in, width, _BOTTLENECK, norm=True) for n_in, width in ((3, 6), (24, 12))]
        return nn.Sequential(blocks[0], nn.MaxPool2d(2), blocks[1], nn.MaxPool2d(2))

    def _features(self, x):
        """Of both branches, each ``(b, 48 * (image_size // 4)^2)``."""
        branches = (self.branch_picture, self.branch_puzzle)
        return [self.cbam(branch(x[:, i])).flatten(1) for i, branch in enumerate(branches)]

    def forward(self, x):
        """Class scores (logits) of pictures and puzzles, ``(b, 2, 3, image_size, image_size)``."""
        return self.head(torch.cat(self._features(x), dim=1))

    def loss(self, x, labels):
        """Focal loss and, times 0.01, the mean of ``1 - cosine`` of the branches' features."""
        picture, regions = self._features(x)
        apart = 1 - functional.cosine_similarity(picture, regions)
        focal = focal_loss(self.head(torch.cat([picture, regions], dim=1)), labels)
        return focal + _COSINE_WEIGHT * apart.mean()
