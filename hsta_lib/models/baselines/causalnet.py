"""CausalNet: motion there and back, and where it goes, in four places of the face (Zhang et al., ICCV 2025).

Four pictures of a clip are seen: its flow from onset to apex and from apex to offset, and the directions of
both. Each is cut into HTNet's four windows, and HTNet's hierarchy makes one vector in each of four places.
One network reads the flows, one the directions. The directions attend to each other and are added to the
flows (the article's position learning); then both flows attend to each other, forwards and backwards (its
causal attention).

Sizes, recipe and the order of the layers are the authors' code's. There a place gives nothing to the one
across the diagonal, but takes weight for it; and of the second attention's layers there is one, although the
first has as many as the hierarchy's last level. Approximated: the windows lie where HTNet's do here.

The authors' script keeps, for every left-out subject, the predictions of the epoch that scored best on that
subject, in a grid of depths and ``gamma``.
"""

import numpy as np
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.htnet import WINDOW_CENTRES, HTNet

N_PICTURES = 4
OTHER_GAMMAS = 0.3, 0.4  # of the authors' grid, beside the default
_HALF = 7  # px, half the side of a window


def prepare(clip):
    """Four windows of each picture, tiled two by two, as they are, 0..255: uint8 ``(4, 3, 28, 28)``.

    The pictures are uint8 ``(4 or more, 28, 28, 3)``: the flow from onset to apex, that from apex to offset,
    and the directions of both.
    """
    windows = [clip[:N_PICTURES, y - _HALF : y + _HALF, x - _HALF : x + _HALF] for x, y in WINDOW_CENTRES]
    tiled = rearrange(np.stack(windows), "(down right) n h w c -> n c (down h) (right w)", down=2)
    return np.ascontiguousarray(tiled)


class PlaceAttention(nn.Module):
    """Attention of four places, in which the one across the diagonal takes weight and gives nothing.

    The logit of that place is ``-gamma`` times its number, from 1; ``scale`` multiplies the others.
    """

    def __init__(self, d, heads, gamma, scale):
        super().__init__()
        self.heads, self.scale = heads, scale
        self.q, self.kv, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        across = torch.eye(4).flip(1)  # places in reading order: 0 and 3, 1 and 2
        self.register_buffer("near", 1 - across, persistent=False)
        self.register_buffer("across", -gamma * torch.arange(1.0, 5) * across, persistent=False)

    def forward(self, x, context):
        """Tokens ``(b, 4, d)`` read those of another sequence, or of their own; the same shape out."""
        q, k, v = (in_heads(part, self.heads) for part in (self.q(x), *self.kv(context).chunk(2, dim=-1)))
        logits = self.scale * q @ k.transpose(-1, -2) * self.near + self.across
        return self.out(rearrange(logits.softmax(-1) * self.near @ v, "b h n e -> b n (h e)"))


def in_heads(tokens, heads):
    return rearrange(tokens, "b n (h e) -> b h n e", h=heads)


def feed_forward(d):
    return nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))


class PositionLayer(nn.Module):
    """The directions of both motions attend to each other, the first first."""

    def __init__(self, d, heads, gamma):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(d), PlaceAttention(d, heads, gamma, scale=d**-0.5)
        self.feed_forward = feed_forward(d)

    def forward(self, there, back):
        """Tokens ``(b, 4, d)`` of each."""
        normed = self.norm(there), self.norm(back)
        there = there + self.attention(normed[0], back)
        back = back + self.attention(normed[1], there)
        return there + self.feed_forward(there), back + self.feed_forward(back)


class MotionAttention(nn.Module):
    """Each motion attends within itself; then the second, in each place, to that place of both."""

    def __init__(self, d, heads, gamma):
        super().__init__()
        self.heads, self.scale = heads, (d // heads) ** -0.5
        self.within = PlaceAttention(d, heads, gamma, self.scale)
        self.q, self.kv, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)

    def forward(self, first, second):
        """Tokens ``(b, 4, d)`` of each."""
        first, second = first + self.within(first, first), second + self.within(second, second)
        q = in_heads(self.q(second), self.heads)
        pairs = [self.kv(tokens).chunk(2, dim=-1) for tokens in (first, second)]
        k, v = (
            torch.stack([in_heads(part, self.heads) for part in parts], 3)
            for parts in zip(*pairs, strict=True)
        )
        weights = (self.scale * (q[..., None, :] * k).sum(-1)).softmax(-1)
        read = rearrange((weights[..., None] * v).sum(3), "b h n e -> b n (h e)")
        return first, second + self.out(read)


class Relation(nn.Module):
    """The end of the way there asks the end of the way back; both are added."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))

    def forward(self, there, back):
        """Tokens ``(b, 4, d)`` of each in, one such out."""
        both = there + back
        q, k, v = (in_heads(x, self.heads) for x in (self.q(there), self.k(back), self.v(both)))
        read = functional.scaled_dot_product_attention(q, k, v)
        return self.out(rearrange(read, "b h n e -> b n (h e)") + both)


class CausalNet(nn.Module):
    """The whole network; the defaults are the published sizes.

    Parameters
    ----------
    d, heads, depths, patch_size
        Of the hierarchies, see `htnet.HTNet`, also for errors. The attention of the directions is as deep as
        their last level.
    place_heads : int
        Of all other attention; must divide the channels of a place.
    gamma : float
        See `PlaceAttention`.
    """

    def __init__(
        self, n_classes, *, d=256, heads=3, depths=(3, 3, 9), patch_size=7, place_heads=8, gamma=0.5
    ):
        super().__init__()
        sizes = {"d": d, "heads": heads, "depths": depths, "patch_size": patch_size}
        self.of_flow, self.of_direction = hierarchy(**sizes), hierarchy(**sizes)
        width = d * 2 ** (len(depths) - 1) // 4
        if width % place_heads:
            raise ValueError(
                f"a place has {width} channels, which place_heads = {place_heads} does not divide"
            )
        self.positions = nn.ModuleList(PositionLayer(width, place_heads, gamma) for _ in range(depths[-1]))
        self.norm, self.motion = nn.LayerNorm(width), MotionAttention(width, place_heads, gamma)
        self.feed_forward, self.relation = feed_forward(width), Relation(width, place_heads)
        self.head = nn.Sequential(nn.Linear(12 * width, 8 * width), nn.Linear(8 * width, n_classes))

    def forward(self, x):
        """Class scores (logits) of pictures ``(b, 4, 3, 28, 28)``, uint8 or float, from `prepare`."""
        pictures = x.float().unbind(1)
        there, back = (in_places(self.of_flow(picture)) for picture in pictures[:2])
        directions = [in_places(self.of_direction(picture)) for picture in pictures[2:]]
        for layer in self.positions:
            directions = layer(*directions)
        there, back = there + directions[0], back + directions[1]
        forwards, backwards = self._moved(there, back), self._moved(back, there)
        related = self.relation(forwards[1], backwards[1])
        return self.head(torch.cat([related, forwards[0], backwards[0]], dim=1).flatten(1))

    def _moved(self, first, second):
        first, second = self.motion(self.norm(first), self.norm(second))
        return first + self.feed_forward(first), second + self.feed_forward(second)

    def loss(self, x, labels):
        """Mean cross-entropy."""
        return functional.cross_entropy(self(x), labels)


def hierarchy(**sizes):
    """HTNet up to its last level: a picture ``(b, 3, 28, 28)`` to ``(b, width, 1, 1)``."""
    network = HTNet(2, **sizes)
    return nn.Sequential(network.embed, network.levels)


def in_places(grid):
    """The channels of one token as four places of a quarter of them each: ``(b, 4, d)``."""
    return rearrange(grid, "b (d n) 1 1 -> b n d", n=4)
