"""What several baselines share: checks of sizes and inputs, stretched flow, layers, losses."""

import numpy as np
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}  # of pixels in 0..1


def check_sizes(**sizes):
    """Refuse sizes of a network that cannot be: a ValueError names the size, its value and the smallest.

    ``sizes`` (tuple of int): of each size, by its name, its value and the smallest that is possible.
    """
    for name, (value, smallest) in sizes.items():
        if value < smallest:
            raise ValueError(f"{name} = {value} is too small; choose at least {smallest}")


def check_rgb(frames, smallest=1):
    """Refuse what are no RGB frames of a clip, uint8 ``(t + 2, h, w, 3)``, the last two onset and apex.

    ``smallest`` (int): px that are needed each way. A ValueError names dtype and shape.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) < 2:
        raise ValueError(
            f"frames must be RGB uint8 of shape (t + 2, h, w, 3), onset and apex last, "
            f"found {frames.dtype} {frames.shape}"
        )
    height, width = frames.shape[1:3]
    if min(height, width) < smallest:
        raise ValueError(f"frames of {height} x {width} px are too small, {smallest} px each way are needed")


def onset_and_apex(frames):
    """Both frames of a clip, uint8 ``(2, 3, h, w)``; ``frames`` and errors as those of `check_rgb`."""
    check_rgb(frames)
    return rearrange(frames[-2:], "t h w c -> t c h w").copy()


def stretched(flow):
    """A flow ``(h, w, c)``, every channel over its own range: ``(c, h, w)`` in 0..1; a constant one is 0."""
    picture = np.ascontiguousarray(flow.transpose(2, 0, 1))
    low, high = (end(picture, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return (picture - low) / np.where(high > low, high - low, 1)


def min_max_picture(flow):
    """Flow and strain as a picture, every channel stretched to 0..1 by its own range; a constant one is 0.

    Where nothing moves is then not the same grey in every clip, and which channel moves most is lost.

    Parameters
    ----------
    flow : ndarray, float32, shape (h, w, 3)
        u and v in px, x right and y down, and optical strain, from onset to apex.

    Returns
    -------
    ndarray, float32, shape (3, h, w)

    Raises
    ------
    ValueError
        If it is no such array, or not finite.
    """
    if flow.dtype != np.float32 or flow.ndim != 3 or flow.shape[2] != 3:
        raise ValueError(
            f"flow must be float32 of shape (h, w, 3): u, v, strain; found {flow.dtype} {flow.shape}"
        )
    if not np.isfinite(flow).all():
        raise ValueError("flow holds values that are not finite; leave the clip out or mend its frames")
    return stretched(flow)


class Network(nn.Module):
    """A network that is trained by the cross-entropy of its class scores, unless it says otherwise."""

    def loss(self, x, labels):
        """Mean cross-entropy, see `registry.System`."""
        return functional.cross_entropy(self(x), labels)


class ImagenetPixels(nn.Module):
    """Pixels 0..255, channels on the last axis but two, less ImageNet's mean, by its deviation."""

    def __init__(self):
        super().__init__()
        for name, value in _IMAGENET.items():
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, pixels):
        """Uint8 in, float32 of the same shape out."""
        return (pixels / 255 - self.mean) / self.deviation


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1; a ReLU after each.

    Parameters
    ----------
    n_in, width : int
        Channels read, and channels of each branch.
    bottleneck : int, optional
        Channels before the 3x3 and the 5x5 convolution; as many as a branch has.
    norm : bool
        Whether a batch normalisation follows every convolution.
    """

    def __init__(self, n_in, width, bottleneck=None, norm=False):
        super().__init__()
        narrow = bottleneck or width

        def step(d_in, d, size):
            layers = [nn.Conv2d(d_in, d, size, padding=size // 2), nn.BatchNorm2d(d) if norm else None]
            return [layer for layer in (*layers, nn.ReLU()) if layer is not None]

        branches = (
            step(n_in, width, 1),
            step(n_in, narrow, 1) + step(narrow, width, 3),
            step(n_in, narrow, 1) + step(narrow, width, 5),
            [nn.MaxPool2d(3, stride=1, padding=1), *step(n_in, width, 1)],
        )
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x):
        """``(b, n_in, h, w)`` to ``(b, 4 * width, h, w)``."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def skip_connection(d_in, d, stride):
    """Of a residual block: the identity where shapes allow, else a strided 1x1 convolution."""
    # Made in either case, since the weights that follow are drawn after its own.
    shrink = nn.Sequential(nn.Conv2d(d_in, d, 1, stride=stride, bias=False), nn.BatchNorm2d(d))
    return nn.Identity() if stride == 1 and d_in == d else shrink


class SelfAttention(nn.Module):
    """Every token attends to every other; heads are ``d // heads`` wide, what is left over is not used."""

    def __init__(self, d, heads, bias=True):
        super().__init__()
        self.heads, inner = heads, d // heads * heads
        self.qkv = nn.Linear(d, 3 * inner, bias=bias)
        self.project = nn.Linear(inner, d)

    def forward(self, tokens):
        """Tokens ``(b, n, d)`` in, the same shape out."""
        q, k, v = rearrange(self.qkv(tokens), "b n (three h e) -> three b h n e", three=3, h=self.heads)
        return self.project(rearrange(scaled_dot_product_attention(q, k, v), "b h n e -> b n (h e)"))


def feed_forward(d, factor, eps):
    """LayerNorm, then two linears with GELU between, ``factor`` times as wide."""
    first, second = nn.Linear(d, factor * d), nn.Linear(factor * d, d)
    return nn.Sequential(nn.LayerNorm(d, eps=eps), first, nn.GELU(), second)


def focal_loss(scores, labels):
    """Cross-entropy in which clips that are already right count less (Lin and others, ICCV 2017).

    The mean of ``-(1 - p)^2 log p``, p being the softmax of ``scores (b, n_classes)`` at ``labels (b,)``.
    """
    log_p = -functional.cross_entropy(scores, labels, reduction="none")
    return -((1 - log_p.exp()) ** 2 * log_p).mean()
