"""Dual-Inception (Zhou, Mao and Xue, FG 2019): two streams of two Inception blocks on u and v.

As in the authors' code (xly135846/MEGC2019): sizes of all layers, ReLU after every convolution, pictures in
0..1. There every picture is read as three equal grey channels. Here it has one, which can compute the same:
the weights of equal channels add up. The first convolutions then have fewer parameters, too few to show in
the 6.45 M of the original. Guessed: that a picture spans the range of its channel, and Keras' usual initial
weights, since that code is in Keras. The paper's flow is said to end halfway between onset and offset, which
is unconfirmed; here it ends at the apex.

The original trains on two of the three databases of MEGC2019 alone, and takes the epoch with the lowest loss
on the remaining subjects of the third; all of this in a hundred rounds, whose scores it stores. Whether the
best round was reported is unconfirmed. Here it has the fixed epochs of every other system.
"""

import torch
from torch import nn

from hsta_lib.models.baselines.layers import InceptionBlock, Network, check_sizes, min_max_picture


def prepare(flow):
    """u and v, each stretched to 0..1: float32 ``(2, h, w)``; see `layers.min_max_picture`."""
    return min_max_picture(flow)[:2]


class Trunk(nn.Module):
    """A stream for u, another for v, of ``image_size`` px, 4 or more: all before the first hidden layer."""

    def __init__(self, image_size):
        super().__init__()
        self.stream_u, self.stream_v = self._stream(), self._stream()
        self.n_features = 2 * 64 * (image_size // 4) ** 2

    @staticmethod
    def _stream():
        return nn.Sequential(
            InceptionBlock(1, 6), nn.MaxPool2d(2), InceptionBlock(24, 16), nn.MaxPool2d(2), nn.Flatten()
        )

    def forward(self, x):
        """``(b, 2, image_size, image_size)`` to ``(b, n_features)``, those of u first."""
        u, v = x.split(1, dim=1)
        return torch.cat([self.stream_u(u), self.stream_v(v)], dim=1)


def initialise_as_keras(model):
    """Glorot's uniform weights and zero biases in all convolutions and linear layers of a model."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


class DualInception(Network):
    """Two Inception streams and one hidden layer.

    The pictures have ``image_size`` px; sizes that do not fit are refused, see `layers.check_sizes`.
    """

    def __init__(self, n_classes, *, image_size=28, hidden=1024):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, 4), hidden=(hidden, 1))
        self.trunk = Trunk(image_size)
        self.hidden = nn.Linear(self.trunk.n_features, hidden)
        self.head = nn.Linear(hidden, n_classes)
        initialise_as_keras(self)

    def forward(self, x):
        """Class scores (logits) of flow pictures ``(b, 2, image_size, image_size)`` from `prepare`."""
        return self.head(self.hidden(self.trunk(x)).relu())
