"""CapsuleNet on the apex frame (Van Quang, Chun and Tokuyama, FG 2019).

As published: the first stages of ResNet-18 without the pooling after its first convolution, one more
convolution, primary capsules, and one capsule per class, reached by dynamic routing (Sabour et al., NeurIPS
2017). A capsule is a vector; the length of a class's capsule is that class's score. Sizes, loss and the
spread of the capsules' starting weights are those of the authors' code.

Approximated: the authors start from ImageNet's weights, here all weights are random. Left out: the frames
next to the apex, which they add to training; turns, flips, crops and changes of colour at random. In their
test the turns stay on.

The authors' script keeps, for every left-out subject, the epoch with the best UF1 on that subject.
"""

import torch
from einops import einsum, rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import ImagenetPixels, onset_and_apex, skip_connection

CAPSULE, CLASS_CAPSULE = 8, 16  # lengths of a primary and of a class capsule
ITERATIONS = 3  # of the routing
PRESENT, ABSENT, ABSENT_WEIGHT = 0.99, 0.01, 0.5  # margins of the loss, and the weight of absent classes


def prepare(frames):
    """Apex frame of a clip, uint8 ``(3, h, w)``; see `layers.onset_and_apex`."""
    return onset_and_apex(frames)[1].copy()


def squash(s):
    """Shrink vectors ``(..., d)`` to a length below 1: ``v = |s|^2 / (1 + |s|^2) * s / |s|``; 0 stays 0."""
    length = torch.linalg.vector_norm(s, dim=-1, keepdim=True)
    return s * length / (1 + length**2)


def route(votes):
    """Dynamic routing by agreement: votes ``(b, n, n_classes, d)`` of n capsules to ``(b, n_classes, d)``.

    Every primary capsule deals its vote out over the classes, evenly at first, then more to those whose
    capsule points its way. As in the authors' code gradients flow through the last iteration alone.
    """
    fixed = votes.detach()
    agreement = torch.zeros_like(fixed[..., 0])
    for _ in range(ITERATIONS - 1):
        capsules = _combine(agreement, fixed)
        agreement = agreement + einsum(fixed, capsules, "b n k d, b k d -> b n k")
    return _combine(agreement, votes)


def _combine(agreement, votes):
    return squash(einsum(agreement.softmax(dim=-1), votes, "b n k, b n k d -> b k d"))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection (He et al., CVPR 2016)."""

    def __init__(self, d_in, d, stride):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(d_in, d, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(d), nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1, bias=False), nn.BatchNorm2d(d),
        )  # fmt: skip
        self.skip = skip_connection(d_in, d, stride)

    def forward(self, x):
        """``(b, d_in, h, w)`` to ``(b, d, h / stride, w / stride)``."""
        return torch.relu(self.branch(x) + self.skip(x))


def resnet_stages(d):
    """ResNet-18 up to its third stage, no max-pooling: ``(b, 3, h, w)`` to ``(b, 4 d, h / 8, w / 8)``."""
    return nn.Sequential(
        nn.Conv2d(3, d, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(d), nn.ReLU(),
        ResidualBlock(d, d, 1), ResidualBlock(d, d, 1),
        ResidualBlock(d, 2 * d, 2), ResidualBlock(2 * d, 2 * d, 1),
        ResidualBlock(2 * d, 4 * d, 2), ResidualBlock(4 * d, 4 * d, 1),
    )  # fmt: skip


class CapsuleNet(nn.Module):
    """The whole network; the defaults are the published sizes.

    Parameters
    ----------
    image_size : int
        px, square; a ValueError if no place is left for a capsule.
    d : int
        Channels of the first stage; the third has four times as many.
    d_capsules : int
        Channels of the convolution after it and of the primary capsules, a multiple of 8.
    kernel : int
        Side of the kernels of these two.
    """

    def __init__(self, n_classes, *, image_size=224, d=64, d_capsules=256, kernel=9):
        super().__init__()
        if d_capsules % CAPSULE:
            raise ValueError(f"d_capsules = {d_capsules} is not divisible by {CAPSULE}; choose a multiple")
        places = -(-image_size // 8) - kernel + 1  # along each side of the map that the capsules read
        if places < kernel:
            raise ValueError(
                f"image_size = {image_size} px leaves no place for a capsule with kernel = {kernel}; "
                f"choose image_size > {8 * (2 * kernel - 2)} or a smaller kernel"
            )
        n = ((places - kernel) // 2 + 1) ** 2 * d_capsules // CAPSULE
        self.features = nn.Sequential(resnet_stages(d), nn.Conv2d(4 * d, d_capsules, kernel), nn.ReLU())
        self.primary = nn.Conv2d(d_capsules, d_capsules, kernel, stride=2)
        self.votes = nn.Parameter(0.01 * torch.randn(n, n_classes, CLASS_CAPSULE, CAPSULE))
        self.normalised = ImagenetPixels()

    def forward(self, x):
        """Lengths in 0..1 of the class capsules of apex frames from `prepare`, ``(b, n_classes)``."""
        maps = self.primary(self.features(self.normalised(x)))
        capsules = squash(rearrange(maps, "b (c e) h w -> b (h w c) e", e=CAPSULE))
        votes = einsum(self.votes, capsules, "n k d e, b n e -> b n k d")
        return torch.linalg.vector_norm(route(votes), dim=-1)

    def loss(self, x, labels):
        """See `margin_loss`."""
        return margin_loss(self(x), labels)


def margin_loss(lengths, labels):
    """Ask the right class's capsule of ``(b, n_classes)`` to be long, others short (Sabour et al. 2017)."""
    right = functional.one_hot(labels, lengths.shape[1])
    missing = torch.relu(PRESENT - lengths) ** 2
    excess = torch.relu(lengths - ABSENT) ** 2
    return (right * missing + ABSENT_WEIGHT * (1 - right) * excess).sum(dim=1).mean()
