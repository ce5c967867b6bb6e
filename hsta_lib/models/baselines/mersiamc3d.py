"""MERSiamC3D (Zhao et al., Neurocomputing 2021), an approximation: a 3-D convolutional network on flow maps.

No code of the authors was found. Their structure, unconfirmed: the optical flow of a sequence of key frames
and two stages. In the first, two copies of a 3-D network with shared weights learn from pairs of clips by a
contrastive loss. In the second, a single copy is fine-tuned on the classes.

Approximated here: key frames are evenly spaced instead of chosen for each clip; the number of frames, all
sizes, the margin, the focal loss and the flow method (DIS) are ours. The original's evaluation leaves one
subject out; which epoch it reports is not known.
"""

from itertools import pairwise

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import check_rgb, check_sizes, focal_loss

N_FRAMES = 9
IMAGE_SIZE = 56  # px, of the flow maps
WIDTHS = (16, 32, 64, 96)
EMBEDDING = 64
MARGIN = 1.0

_SMALLEST = 12  # px; OpenCV's DIS refuses less


def prepare(frames):
    """Optical flow, right and down, between nine evenly spaced frames: float32 ``(2, 8, 56, 56)``.

    In px of these maps; onset and apex are not used. The flow is found at the frames' own size, 12 px or more
    each way, and averaged: the larger they are, the better it is. See `registry.System`.
    """
    check_rgb(frames, smallest=_SMALLEST)
    if len(frames) != N_FRAMES + 2:
        raise ValueError(
            f"frames has {len(frames) - 2} frames besides onset and apex, {N_FRAMES} are needed: "
            f"choose n_frames = {N_FRAMES}"
        )
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:N_FRAMES]]
    search = _dis()
    flows = [_flow_map(search, first, second) for first, second in pairwise(grey)]
    return rearrange(np.stack(flows), "t h w c -> c t h w").copy()


def _dis():
    # Movement is below a pixel: full resolution, and a refinement that goes by grey values' gradients alone,
    # which a drifting light changes less; as in `hsta_lib.data.flow`.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setVariationalRefinementAlpha(14)
    search.setVariationalRefinementDelta(0)
    return search


def _flow_map(search, first, second):
    height, width = first.shape
    size, flow = (IMAGE_SIZE, IMAGE_SIZE), search.calc(first, second, None)
    in_px = np.float32([IMAGE_SIZE / width, IMAGE_SIZE / height])
    return cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * in_px


def contrastive_loss(embeddings, labels):
    """Margin loss of all pairs of a batch ``(b, d)`` (Hadsell, Chopra and LeCun 2006), 0 for one clip."""
    if len(embeddings) < 2:
        return 0.0 * embeddings.sum()
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    distance = functional.pdist(embeddings)
    apart = (MARGIN - distance).clamp(min=0)
    return 0.5 * torch.where(labels[first] == labels[second], distance, apart).square().mean()


class MERSiamC3D(nn.Module):
    """Four 3-D convolutions, an embedding, a linear head; about 0.24 million parameters."""

    def __init__(self, n_classes):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2))
        # Rows and columns are halved after each convolution, time from the second on: 8, 4, 2 maps are left.
        pooling = (nn.MaxPool3d((1, 2, 2)), nn.MaxPool3d(2), nn.MaxPool3d(2), nn.AdaptiveAvgPool3d(1))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv3d(d_in, d_out, 3, padding=1, bias=False), nn.BatchNorm3d(d_out), nn.ReLU(), pool
                )
                for d_in, d_out, pool in zip((2, *WIDTHS[:-1]), WIDTHS, pooling, strict=True)
            )
        )
        self.embedding = nn.Linear(WIDTHS[-1], EMBEDDING)
        self.head = nn.Linear(EMBEDDING, n_classes)

    def embed(self, x):
        """Flow maps, see `forward`, to embeddings ``(b, 64)``."""
        return self.embedding(self.blocks(x).flatten(1))

    def forward(self, x):
        """Class scores (logits) of flow maps ``(b, 2, t, h, w)``: t from 4 on, h and w from 8 on."""
        return self.head(self.embed(x))

    def loss(self, x, labels):
        """See `focal_loss`."""
        return focal_loss(self(x), labels)

    def pretraining_loss(self, x, labels):
        """See `contrastive_loss`."""
        return contrastive_loss(self.embed(x), labels)
