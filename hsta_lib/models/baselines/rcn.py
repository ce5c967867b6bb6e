"""RCN-A, RCN-S and RCN-W, recurrent convolutional networks (Xia, Peng, Khor, Feng and Zhao, IEEE TIP 2020).

A first convolution, one recurrent layer that applies the same convolution several times, a pooled grid and
a linear layer. The three differ in what is added: attention without parameters (A), shortcuts between all
steps of the recurrent layer (S), or three streams of different dilation in place of the first convolution
(W). They are not listed in the tables of the HSTA paper.

As in the authors' code (xiazhaoqiang/ParameterFreeRCNs-MicroExpressionRec): the layers, their order,
dropout, initial weights, 64 filters and a grid of 7 x 7, pictures in 0..1. Its RCN-S holds a third
convolution with batch normalisation that is never called; it is left out here and is the whole difference in
parameters. Guessed: that the range of each channel of the flow becomes 0..1. The 60 x 60 px of the input
are those of another implementation, in the repository MEB.

Of the six forms of the original, P and F stop with an error and C joins the three built here. The original
scores the last epoch. Its script makes a schedule that halves the rate every ten epochs but never takes a
step of it, so that its rate is constant.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.ststnet import check_sizes


def convolution(n_in, n_out, kernel_size, padding=0):
    """A convolution, batch normalisation and ReLU."""
    layer = nn.Conv2d(n_in, n_out, kernel_size, padding=padding)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU())


def pooled_and_dropped():
    """Halves both sides, then leaves out half of what is left."""
    return nn.Sequential(nn.MaxPool2d(2), nn.Dropout(0.5))


class RecurrentLayer(nn.Module):
    """One convolution applied twice to the sum of the layer's input and its last state."""

    def __init__(self, width):
        super().__init__()
        self.first = convolution(width, width, 1)
        self.repeated = convolution(width, width, 3, padding=1)
        self.end = pooled_and_dropped()

    def forward(self, x):
        """``(b, width, h, w)`` to ``(b, width, h // 2, w // 2)``."""
        state = self.first(x)
        for _ in range(2):
            state = self.repeated(x + state)
        return self.end(state)


class ShortcutLayer(RecurrentLayer):
    """One convolution applied three times to the sum of the layer's input and all states so far."""

    def forward(self, x):
        """``(b, width, h, w)`` to ``(b, width, h // 2, w // 2)``."""
        total, state = x, self.first(x)
        for _ in range(3):
            total = total + state
            state = self.repeated(total)
        return self.end(state)


class DilatedStreams(nn.Module):
    """Three convolutions of stride 3 side by side, dilated 1, 2 and 3 times: half, a quarter, a quarter."""

    def __init__(self, width):
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, n_out, 3, stride=3, padding=dilation, dilation=dilation),
                nn.ReLU(), nn.BatchNorm2d(n_out), nn.Dropout(0.5),
            )
            for dilation, n_out in enumerate((width // 2, width // 4, width // 4), start=1)
        )  # fmt: skip

    def forward(self, x):
        """``(b, 3, h, w)`` to ``(b, width, ceil(h / 3), ceil(w / 3))``."""
        return torch.cat([stream(x) for stream in self.streams], dim=1)


def first_convolution(width):
    """``(b, 3, h, w)`` to ``(b, width, (h - 4) // 2, (w - 4) // 2)``."""
    return nn.Sequential(convolution(3, width, 5), pooled_and_dropped())


class _RCN(nn.Module):
    """What the three networks have in common; ``stem`` and ``layer`` are theirs."""

    def __init__(self, n_classes, *, width, pool, stem, layer):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), width=(width, 1), pool=(pool, 1))
        self.pool = pool
        self.stem, self.layer = stem(width), layer(width)
        self.head = nn.Linear(width * pool * pool, n_classes)
        self._initialise()

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        """Class scores (logits) of pictures.

        Parameters
        ----------
        x : Tensor, float, shape (b, 3, h, w)
            From `prepare`, at least 8 px each way; the original has 60.

        Returns
        -------
        Tensor, shape (b, n_classes)
        """
        x = x.contiguous(memory_format=torch.channels_last)  # a sixth less time on a CPU
        return self.head(self._features(self.stem(x)).flatten(1))

    def _features(self, x):
        """What the linear layer reads, ``(b, width, pool, pool)``, of what the stem gives."""
        return functional.adaptive_avg_pool2d(self.layer(x), self.pool)

    def loss(self, x, labels):
        """Mean cross-entropy of a batch: pictures as for `forward`, labels int64 of shape (b,)."""
        return functional.cross_entropy(self(x), labels)


class RCNA(_RCN):
    """RCN-A: where the linear layer's own weights answer to the first convolution, features count more.

    Parameters
    ----------
    n_classes : int
    width : int
        Filters of every convolution; the original also names 32.
    pool : int
        Side of the grid that the linear layer reads; with 32 filters the original has 5.

    Raises
    ------
    ValueError
        If there are fewer than two classes or a size is below 1.
    """

    def __init__(self, n_classes, *, width=64, pool=7):
        super().__init__(n_classes, width=width, pool=pool, stem=first_convolution, layer=RecurrentLayer)

    def _features(self, x):
        pooled = functional.adaptive_avg_pool2d(x, self.pool)
        return super()._features(x) * attention_map(pooled, self.head.weight)


def attention_map(features, weight):
    """Attention without parameters: mean over classes of each one's activation map, stretched to 0..1.

    Parameters
    ----------
    features : Tensor, float, shape (b, d, p, p)
        Of the first convolution, pooled.
    weight : Tensor, float, shape (n_classes, d * p * p)
        Of the linear layer.

    Returns
    -------
    Tensor, shape (b, 1, p, p)
        The map of a class, before it is stretched, is the mean over channels of features times weights. If
        it is constant it is 0 (in the original, not a number).
    """
    grid = rearrange(weight, "k (d h w) -> k d h w", h=features.shape[2], w=features.shape[3])
    maps = torch.einsum("bdhw,kdhw->bkhw", features, grid) / features.shape[1]
    maps = maps - maps.amin(dim=(2, 3), keepdim=True)
    largest = maps.amax(dim=(2, 3), keepdim=True)
    return (maps / torch.where(largest > 0, largest, 1)).mean(dim=1, keepdim=True)


class RCNS(_RCN):
    """RCN-S: shortcuts between all steps of the recurrent layer.

    Parameters
    ----------
    n_classes, width, pool : int
        As for `RCNA`, which also says what is raised.
    """

    def __init__(self, n_classes, *, width=64, pool=7):
        super().__init__(n_classes, width=width, pool=pool, stem=first_convolution, layer=ShortcutLayer)


class RCNW(_RCN):
    """RCN-W: three dilated streams in place of the first convolution.

    Parameters
    ----------
    n_classes, width, pool : int
        As for `RCNA`; ``width`` is a multiple of 4.

    Raises
    ------
    ValueError
        As for `RCNA`, or if ``width`` cannot be divided among the streams.
    """

    def __init__(self, n_classes, *, width=64, pool=7):
        if width % 4:
            raise ValueError(f"width = {width} cannot be divided among the streams; choose a multiple of 4")
        super().__init__(n_classes, width=width, pool=pool, stem=DilatedStreams, layer=RecurrentLayer)
