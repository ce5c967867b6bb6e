"""OFF-ApexNet, optical flow features from apex frame network (Gan, Liong, Yau, Huang and Tan, 2019).

Two streams of two convolutions each, one for the horizontal and one for the vertical flow from onset to
apex, and two hidden layers. No strain. It is not listed in the tables of the HSTA paper.

As in the port in the repository of Off-TANet, which agrees with the depth that the paper of STSTNet gives:
sizes of all layers and dropout. That paper counts 2.77 M parameters, the port and this one 2.66 M. The port
has no ReLU after the convolutions; here they have one, since without it two layers of convolution have
nothing but pooling between them. Guessed: the input, that of `dual_inception.prepare`, and
PyTorch's initial weights. No selection of an epoch on the test subject is known of the original, which names
3000 epochs.
"""

import torch
from torch import nn

from hsta_lib.models.baselines.layers import Network, check_sizes


def stream():
    """Two convolutions, each with ReLU and pooling: ``(b, 1, h, w)`` to ``(b, 16 * (h // 4) * (w // 4))``."""
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip


class OffApexNet(Network):
    """A stream for u, another for v, and two hidden layers of one width on both.

    The pictures have ``image_size`` px; sizes that do not fit are refused, see `layers.check_sizes`.
    """

    def __init__(self, n_classes, *, image_size=28, hidden=1024):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, 4), hidden=(hidden, 1))
        self.stream_u, self.stream_v = stream(), stream()
        self.head = nn.Sequential(
            nn.Linear(2 * 16 * (image_size // 4) ** 2, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, n_classes),
        )  # fmt: skip

    def forward(self, x):
        """Class scores (logits) of flow pictures ``(b, 2, image_size, image_size)``."""
        u, v = x.split(1, dim=1)
        return self.head(torch.cat([self.stream_u(u), self.stream_v(v)], dim=1))
