"""MMNet, the muscle motion-guided network: motion and position from two frames (Li et al., IJCAI 2022).

As published: one branch sees the apex minus the onset frame, through convolutions whose maps are weighted
place by place; the other sees the onset frame alone, shrunk to one pixel per place of the first one's last
map, through a transformer. Their sum is flattened and classified. Sizes, order of the layers and starting
weights are those of the authors' three-class code; what it builds and never reads is not here.

Approximated: the onset is shrunk by averaging blocks (how the authors' resizing samples depends on its
version). Left out: what the authors do to training pairs at random, flips, turns by up to 4 degrees, shifts
by up to 4 px, and other frames close to onset and apex.

The authors' script keeps, for every left-out subject, the epoch with the best F1 on that subject, and another
with the best accuracy. As published it cannot be built: two groups do not divide three colours. One group, as
in their five-class script, is used here.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import (
    ImagenetPixels,
    Network,
    SelfAttention,
    feed_forward,
    onset_and_apex,
    skip_connection,
)
from hsta_lib.models.hsta import StochasticDepth

REDUCTION = 16  # image px along each side of a place of the last map

prepare = onset_and_apex  # the network's input


class AttentionBlock(nn.Module):
    """Residual block whose output is weighted place by place (the authors' continuous attention block)."""

    def __init__(self, d_in, d, stride):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(d_in, d, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(d), nn.ReLU(),
            nn.Conv2d(d, d, 1, bias=False), nn.BatchNorm2d(d),
        )  # fmt: skip
        self.skip = skip_connection(d_in, d, stride)
        self.weigh = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, x, weights=None):
        """Maps and their weights in 0..1; those of the block before, already shrunk, are multiplied in."""
        x = torch.relu(self.branch(x) + self.skip(x))
        own = self.weigh(torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1))
        weights = own if weights is None else own * weights
        return x * weights, weights


class Motion(nn.Module):
    """Convolutions over the difference of two frames, ending in one place per 16 px."""

    def __init__(self, stem, widths):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(),
            nn.Conv2d(stem, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(),
        )  # fmt: skip
        first, *others = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.first = AttentionBlock(*first, stride=1)
        self.others = nn.ModuleList(AttentionBlock(*widths, stride=2) for widths in others)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, difference):
        """``(b, 3, h, w)`` to ``(b, d, h / 16, w / 16)``."""
        x, weights = self.first(self.stem(difference))
        for block in self.others:
            x, weights = block(x, functional.max_pool2d(weights, 3, stride=2, padding=1))
        return x


class Layer(nn.Module):
    """Attention, then two linears with GELU between; both normalise first and add.

    In training either is left out for some clips, at rate ``drop_path``, and scaled up for the others.
    """

    def __init__(self, d, heads, drop_path):
        super().__init__()
        self.drop_path = StochasticDepth(drop_path)
        self.attention = nn.Sequential(nn.LayerNorm(d, eps=1e-6), SelfAttention(d, heads))
        self.feed_forward = feed_forward(d, 2, eps=1e-6)

    def forward(self, tokens):
        """Tokens ``(b, n, d)`` in, the same shape out."""
        tokens = tokens + self.drop_path(self.attention(tokens))
        return tokens + self.drop_path(self.feed_forward(tokens))


class Position(nn.Module):
    """Transformer over the shrunk onset frame, one token per pixel of it; rates of dropping rise from 0."""

    def __init__(self, side, *, d, heads, depth, drop_path):
        super().__init__()
        self.side = side
        self.embed = nn.Conv2d(3, d, 1)
        self.positions = nn.Parameter(torch.empty(1, side**2, d))
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.layers = nn.Sequential(*(Layer(d, heads, rate) for rate in rates), nn.LayerNorm(d, eps=1e-6))
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, onset):
        """Frames ``(b, 3, h, w)`` to maps ``(b, d, side, side)``."""
        small = functional.adaptive_avg_pool2d(onset, self.side)
        tokens = rearrange(self.embed(small), "b d h w -> b (h w) d") + self.positions
        return rearrange(self.layers(tokens), "b (h w) d -> b d h w", h=self.side)


class MMNet(Network):
    """Both branches and the classifier; the defaults are the published sizes.

    Parameters
    ----------
    image_size : int
        px, square, a multiple of 16.
    stem : int
        Channels of the first convolution.
    widths : sequence of int
        Channels of the four blocks; the last, a multiple of ``heads``, is the transformer's width too.
    heads, depth : int
        Of the transformer.
    drop_path : float
        Rate at which its last layer is left out in training.
    """

    def __init__(
        self, n_classes, *, image_size=224, stem=180, widths=(128, 128, 256, 512), heads=4, depth=3,
        drop_path=0.3,
    ):  # fmt: skip
        super().__init__()
        if image_size % REDUCTION:
            raise ValueError(f"image_size = {image_size} px is no multiple of {REDUCTION}; choose one")
        d, side = widths[-1], image_size // REDUCTION
        if d % heads:
            raise ValueError(f"widths end in {d}, no multiple of heads = {heads}; choose one")
        self.motion = Motion(stem, widths)
        self.position = Position(side, d=d, heads=heads, depth=depth, drop_path=drop_path)
        self.head = nn.Linear(d * side**2, n_classes)
        self.normalised = ImagenetPixels()

    def forward(self, x):
        """Class scores (logits) of RGB onset and apex, uint8 ``(b, 2, 3, image_size, image_size)``."""
        onset, apex = self.normalised(x).unbind(dim=1)
        maps = self.motion(apex - onset) + self.position(onset)
        return self.head(rearrange(maps, "b d h w -> b (d h w)"))
