"""AlexNet on optical flow: the RGB and RGB-D rows of CAS(ME)³ (Li et al., TPAMI 2022).

As published: the network of Krizhevsky (2014, "One weird trick for parallelizing convolutional neural
networks"), in torchvision's form, with dropout before the first two of three fully connected layers.

What CAS(ME)³ fed it is not published as code and not confirmed here. Guessed, from what the authors released:
flow and strain between onset and apex for RGB; for RGB-D one channel more, the change of depth from onset to
apex, an approximation of their flow in three dimensions. Values run from 0 to 255, as in the pictures of the
flow that others of the field train AlexNet on. Whether the authors started from ImageNet's weights is not
known; here all weights are random. Nor is it known which epoch their evaluation took.
"""

import numpy as np
from einops import rearrange
from torch import nn

from hsta_lib.models.baselines.layers import Network, stretched

# Quantiles that the change of depth is cut to: the outline of a head that moves before a wall changes by a
# hundred times as much as the skin.
_DEPTH_KEPT = (0.1, 0.9)


def prepare(flow):
    """Flow with each channel stretched to 0..255, depth without its extremes: float32 ``(c, h, w)``.

    There are 3 channels, or 4 with the change of depth; a constant one becomes 0. See `registry.System`.
    """
    if flow.ndim != 3 or flow.shape[2] not in (3, 4):
        raise ValueError(
            f"flow must have shape (h, w, 3), or (h, w, 4) with the change of depth, found {flow.shape}"
        )
    if flow.shape[2] == 4:
        clipped = np.clip(flow[..., 3], *np.quantile(flow[..., 3], _DEPTH_KEPT))
        flow = np.dstack([flow[..., :3], clipped.astype(np.float32)])
    return 255 * stretched(flow)


class AlexNet(Network):
    """Five convolutions, three of them followed by max-pooling, and three fully connected layers.

    Parameters
    ----------
    in_channels : int
        3, or 4 with the change of depth.
    image_size : int
        px, square; a ValueError if nothing is left of it after the last pooling.
    widths : sequence of int
        Channels of the five convolutions.
    stride : int
        Of the first convolution, px.
    pooled : int
        Side that the last feature map is averaged to.
    hidden : int
        Width of the fully connected layers.
    """

    def __init__(
        self, n_classes, *, in_channels=3, image_size=224, widths=(64, 192, 384, 256, 256), stride=4,
        pooled=6, hidden=4096,
    ):  # fmt: skip
        super().__init__()
        smallest = 14 * stride + 7  # the three poolings need a first map of 15 px, which becomes 7, 3 and 1
        if image_size < smallest:
            raise ValueError(
                f"image_size = {image_size} px leaves nothing after the last pooling with stride = {stride}; "
                f"choose image_size >= {smallest} or a smaller stride"
            )
        one, two, three, four, five = widths
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, one, 11, stride=stride, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(one, two, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(two, three, 3, padding=1), nn.ReLU(),
            nn.Conv2d(three, four, 3, padding=1), nn.ReLU(),
            nn.Conv2d(four, five, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            nn.AdaptiveAvgPool2d(pooled),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(five * pooled**2, hidden), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, n_classes),
        )  # fmt: skip

    def forward(self, x):
        """Class scores (logits) of flow from `prepare`, ``(b, in_channels, image_size, image_size)``."""
        return self.classifier(rearrange(self.features(x), "b d h w -> b (d h w)"))
