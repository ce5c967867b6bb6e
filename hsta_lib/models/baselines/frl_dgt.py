"""FRL-DGT (Zhai et al., CVPR 2023, arXiv 2304.04420), an approximation: learnt displacement and transformers.

No code of the authors was found. From the paper's abstract: only onset and apex are used; a convolutional
network, the displacement generation module, is trained jointly with the classifier by a self-supervised
loss; transformers fuse its output in three parts: within and across regions of action units, and over the
full face. That the self-supervised loss warps the onset frame to the apex, and that there are about nine
regions, is unconfirmed.

Approximated here: all sizes, the weights of the losses, and the regions, which are nine overlapping squares
in three rows and columns instead of cuts around landmarks. The original's evaluation leaves one subject out;
which epoch it reports is not known.
"""

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import check_rgb, check_sizes

IMAGE_SIZE = 112  # px; displacements have half of it
WIDTHS = (12, 24, 48)  # of the displacement network at 56, 28 and 14 px
# px of the 56 px map: three regions by three of four patches each; patches of the whole map.
REGION, REGION_STRIDE, REGION_PATCH, FACE_PATCH = 20, 18, 10, 8
WIDTH, HEADS = 64, 4  # of the transformers
SMOOTHNESS = 0.1  # weight of the displacement's differences, against 1 of the warped frame and the classes

_SIDE = IMAGE_SIZE // 2
_SMALLEST_STD = 1.0  # grey level; a plain pair stays plain


def prepare(frames):
    """Onset and apex, grey, less their common mean, by their common deviation: float32 ``(2, 112, 112)``."""
    check_rgb(frames)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames[-2:]]
    pair = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in grey])
    return (pair - pair.mean()) / max(pair.std(), np.float32(_SMALLEST_STD))


def warp(pictures, displacement):
    """Pictures ``(b, c, h, w)`` at places displaced by px right and down ``(b, 2, h, w)``.

    Linear between pixels, beyond the border as at it.
    """
    h, w = pictures.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(h, device=pictures.device), torch.arange(w, device=pictures.device), indexing="ij"
    )
    x, y = displacement[:, 0] + columns, displacement[:, 1] + rows
    grid = torch.stack([2 * x / (w - 1) - 1, 2 * y / (h - 1) - 1], dim=-1)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=True)


def displacement_loss(pair, displacement):
    """How far onset, displaced, is from apex, and how rough the displacement, in px ``(b, 2, h, w)``."""
    onset, apex = pair.split(1, dim=1)
    missed = (warp(onset, displacement) - apex).abs().mean()
    rough = displacement.diff(dim=3).abs().mean() + displacement.diff(dim=2).abs().mean()
    return missed + SMOOTHNESS * rough


def _block(d_in, d_out, stride):
    return nn.Sequential(
        nn.Conv2d(d_in, d_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(d_out), nn.ReLU()
    )


class DisplacementGeneration(nn.Module):
    """A U-Net of three levels, from the pair to the displacement at half its size."""

    def __init__(self):
        super().__init__()
        first, second, third = WIDTHS
        self.down1 = _block(2, first, stride=2)
        self.down2 = _block(first, second, stride=2)
        self.down3 = _block(second, third, stride=2)
        self.up2 = _block(third + second, second, stride=1)
        self.up1 = _block(second + first, first, stride=1)
        self.displacement = nn.Conv2d(first, 2, 3, padding=1)
        self.enlarge = nn.Upsample(scale_factor=2)

    def forward(self, pair):
        """Onset and apex ``(b, 2, h, w)`` to px right and down ``(b, 2, h / 2, w / 2)``."""
        level1 = self.down1(pair)
        level2 = self.down2(level1)
        level3 = self.down3(level2)
        level2 = self.up2(torch.cat([self.enlarge(level3), level2], dim=1))
        level1 = self.up1(torch.cat([self.enlarge(level2), level1], dim=1))
        return self.displacement(level1)


class Fusion(nn.Module):
    """Mean of tokens after one transformer layer: learnt positions, pre-norm, LayerNorm behind."""

    def __init__(self, n):
        super().__init__()
        self.positions = nn.Parameter(torch.empty(n, WIDTH).normal_(std=0.02))
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens):
        """``(b, n, 64)`` to ``(b, 64)``."""
        return self.norm(self.layer(tokens + self.positions)).mean(dim=1)


class FRLDGT(nn.Module):
    """Displacement generation, three fusions, linear head; about 0.2 million parameters."""

    def __init__(self, n_classes):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2))
        self.generate = DisplacementGeneration()
        self.embed_region = nn.Linear(2 * REGION_PATCH**2, WIDTH)
        self.embed_face = nn.Linear(2 * FACE_PATCH**2, WIDTH)
        self.within_region = Fusion((REGION // REGION_PATCH) ** 2)
        self.across_regions = Fusion(((_SIDE - REGION) // REGION_STRIDE + 1) ** 2)
        self.full_face = Fusion((_SIDE // FACE_PATCH) ** 2)
        self.head = nn.Linear(2 * WIDTH, n_classes)

    def forward(self, x):
        """Class scores (logits) of pairs ``(b, 2, 112, 112)`` from `prepare`."""
        return self._classify(self.generate(x))

    def loss(self, x, labels):
        """Cross-entropy plus `displacement_loss` at half the size."""
        displacement = self.generate(x)
        seen = displacement_loss(functional.avg_pool2d(x, 2), displacement)
        return functional.cross_entropy(self._classify(displacement), labels) + seen

    def _classify(self, displacement):
        patches = self.embed_region(region_patches(displacement))
        regions = self.within_region(rearrange(patches, "b r n d -> (b r) n d"))
        regions = self.across_regions(rearrange(regions, "(b r) d -> b r d", b=len(displacement)))
        size = {"p": FACE_PATCH, "q": FACE_PATCH}
        face = rearrange(displacement, "b c (i p) (j q) -> b (i j) (c p q)", **size)
        return self.head(torch.cat([regions, self.full_face(self.embed_face(face))], dim=1))


def region_patches(displacement):
    """Patches, row by row, of overlapping regions of a map ``(b, 2, 56, 56)``: ``(b, 9, 4, 200)``."""
    regions = displacement.unfold(2, REGION, REGION_STRIDE).unfold(3, REGION, REGION_STRIDE)
    size = {"p": REGION_PATCH, "q": REGION_PATCH}
    return rearrange(regions, "b c i j (k p) (l q) -> b (i j) (k l) (c p q)", **size)
