"""HTNet, a hierarchical transformer over four windows of the flow (Wang et al. 2023).

As published: windows round both eyes and both corners of the mouth are cut out of the picture of flow and
strain. They are tiled to one picture and cut into patches; attention stays within a window, and from level
to level four windows become one of twice the width. Sizes and order of the layers are the authors' code's.

In that configuration every window holds one token at every level. Softmax over one score is 1: the attention
is a linear map of its own token, and only the convolutions between levels and the mean at the end join
places. Smaller patches in fewer levels (``patch_size=2``, two ``depths``) make it mix.

Approximated: the authors look for landmarks in the apex face and, where the detector fails, take fixed
points. Faces are aligned here and nothing looks for landmarks, so those fixed points serve every clip. Their
code reads a point's x as its row and takes the second eye for a corner of the mouth; here the windows lie
where they are meant to. Values run from 0 to 255, as in their pictures of the flow.

The authors' script keeps, for every left-out subject, the predictions of the epoch that scored best on that
subject, and prints scores of these.
"""

import numpy as np
import torch
from einops import rearrange
from torch import nn

from hsta_lib.models.baselines.layers import Network, SelfAttention, feed_forward, stretched

SIZE = 28  # px, of the flow and of the four windows together
_HALF = 7  # px, half the side of a window
# Column and row, px, in reading order: the eyes, the corners of the mouth. The authors' fixed points, clamped
# to 7..21 so that no window leaves the picture, then cut to whole px.
WINDOW_CENTRES = ((9, 11), (21, 10), (10, 21), (20, 21))


def prepare(flow):
    """Four windows of the flow, tiled two by two, each channel first stretched to 0..255 over the whole face.

    The flow has 28 px, the result is float32 ``(3, 28, 28)``, a constant channel 0: left eye of the picture,
    right eye; left corner of the mouth, right corner. See `registry.System`.
    """
    if flow.shape != (SIZE, SIZE, 3):
        raise ValueError(f"flow must have shape ({SIZE}, {SIZE}, 3), found {flow.shape}; use {SIZE} px")
    face = 255 * stretched(flow)
    windows = [face[:, y - _HALF : y + _HALF, x - _HALF : x + _HALF] for x, y in WINDOW_CENTRES]
    return rearrange(np.stack(windows), "(down right) c h w -> c (down h) (right w)", down=2)


class Layer(nn.Module):
    """Attention, then a network of two linears with GELU between; both normalise first and add."""

    def __init__(self, d, heads):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.attention = SelfAttention(d, heads, bias=False)
        self.feed_forward = feed_forward(d, 4, eps=1e-5)

    def forward(self, tokens):
        """Tokens ``(b, n, d)`` of windows in, the same shape out."""
        tokens = tokens + self.attention(self.norm(tokens))
        return tokens + self.feed_forward(tokens)


class Level(nn.Module):
    """Layers of attention within windows, of which there are so many along each side."""

    def __init__(self, d, *, heads, depth, windows, n_tokens):
        super().__init__()
        self.windows = windows
        # One number per place, the same in every window and channel.
        self.positions = nn.Parameter(torch.randn(n_tokens))
        self.layers = nn.Sequential(*(Layer(d, heads) for _ in range(depth)))

    def forward(self, grid):
        """Grid of tokens ``(b, d, h, w)`` in, the same shape out."""
        sides = {"down": self.windows, "right": self.windows, "h": grid.shape[2] // self.windows}
        pattern = "b d (down h) (right w) -> (b down right) (h w) d"
        tokens = rearrange(grid, pattern, **sides) + self.positions[:, None]
        back = "(b down right) (h w) d -> b d (down h) (right w)"
        return rearrange(self.layers(tokens), back, **sides)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(b, d, h, w)``."""

    def forward(self, grid):
        """Same shape in and out."""
        return rearrange(super().forward(rearrange(grid, "b d h w -> b h w d")), "b h w d -> b d h w")


def merge(d):
    """Halve each side of a grid and double its width: windows of the next level are four of this one's."""
    return nn.Sequential(
        nn.Conv2d(d, 2 * d, 3, padding=1), ChannelNorm(2 * d), nn.MaxPool2d(3, stride=2, padding=1)
    )


class HTNet(Network):
    """The whole network; the defaults are the published sizes.

    Parameters
    ----------
    image_size, patch_size : int
        px.
    d, heads : int
        Width and attention heads of the first level, doubled from level to level.
    depths : sequence of int
        Layers of every level. The first of n levels has 2^(n - 1) windows along each side, the last has one.

    Raises
    ------
    ValueError
        If the patch does not divide the image, the windows not the grid of patches, or there are more heads
        than channels.
    """

    def __init__(self, n_classes, *, image_size=SIZE, patch_size=7, d=256, heads=3, depths=(2, 2, 10)):
        super().__init__()
        windows, patches = 2 ** (len(depths) - 1), image_size // patch_size
        if image_size % patch_size:
            raise ValueError(f"image_size = {image_size} px is not divisible by patch_size = {patch_size} px")
        if patches % windows:
            raise ValueError(
                f"depths = {tuple(depths)} need a grid of patches divisible by {windows}, "
                f"image_size = {image_size} and patch_size = {patch_size} px make {patches}; "
                f"choose fewer levels or another patch_size"
            )
        if heads > d:
            raise ValueError(f"heads = {heads} is more than d = {d}; choose at most d heads")
        self.embed = nn.Conv2d(3, d, patch_size, stride=patch_size)
        n_tokens = (patches // windows) ** 2
        levels = []
        for i, depth in enumerate(depths):
            level = {"heads": heads * 2**i, "depth": depth, "windows": windows // 2**i, "n_tokens": n_tokens}
            levels += [merge(d * 2 ** (i - 1))] if i else []
            levels += [Level(d * 2**i, **level)]
        self.levels = nn.Sequential(*levels)
        width = d * 2 ** (len(depths) - 1)
        self.norm = ChannelNorm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, x):
        """Class scores (logits) of windows ``(b, 3, image_size, image_size)`` from `prepare`."""
        return self.head(self.norm(self.levels(self.embed(x))).mean(dim=(2, 3)))
