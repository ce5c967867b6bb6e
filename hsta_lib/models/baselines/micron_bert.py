"""Micron-BERT (Nguyen et al., CVPR 2023, arXiv 2304.03195): onset and apex, compared patch by patch.

A vision transformer encodes both frames apart; diagonal micro-attention weighs each patch of the one by how
well it finds its own place in the other. First stage: half of a frame's patches are taken from the other
frame, and the network restores it.

As published (``models/mae.py`` of the authors' repository): encoder, diagonal attention, decoder, fixed
positions, ImageNet normalisation, squared error over all patches. Left out: the patch-of-interest term, which
trains a second encoder on random crops. Guessed, as no fine-tuning code is released: the apex is the frame
whose patches are exchanged and asked about, the onset the reference; the mean of the attended patches is
classified; and the two frames of a first-stage pair, there any two of a film, are onset and apex.

**The published numbers cannot be reproduced with this file.** They rest on weights trained on about 8 million
unlabelled frames of CAS(ME)^3: the frames are licensed, and the weights cannot be had here. Here the first
stage sees the training clips alone. The protocol of the original's own evaluation, and with it which epoch it
reports, is not known.
"""

import torch
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import ImagenetPixels, Network, check_sizes, onset_and_apex

prepare = onset_and_apex  # the network's input
EXCHANGED = 0.5  # of a frame's patches, in the first stage

_EPS = 1e-6  # of every LayerNorm, as published


def sincos_grid(side, d):
    """Fixed positions of a square of patches, ``(1 + side^2, d)``; zeros for the contextual token first.

    Half of the channels hold the row, half the column, each as the sine and then the cosine of ``d / 4``
    rates from 1 down to nearly 1 / 10000.
    """
    rate = 10000.0 ** (-torch.arange(d // 4, dtype=torch.float64) / (d // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * rate
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = repeat(axis, "row d -> (row column) d", column=side)
    columns = repeat(axis, "column d -> (row column) d", row=side)
    return functional.pad(torch.cat([rows, columns], dim=1), (0, 0, 1, 0)).float()


def exchange_patches(frames, reference, patch_size):
    """Frames ``(b, 3, h, w)`` with half of their patches, drawn anew for each, taken from a reference."""
    rows, columns = (size // patch_size for size in frames.shape[2:])
    rank = torch.rand(len(frames), rows * columns, device=frames.device).argsort(dim=1).argsort(dim=1)
    taken = rank < round(EXCHANGED * rows * columns)
    taken = repeat(taken, "b (i j) -> b 1 (i p) (j q)", i=rows, p=patch_size, q=patch_size)
    return torch.where(taken, reference, frames)


def layers_of(n, d, heads):
    """``n`` layers of a vision transformer: pre-norm attention, then a GELU network four times as wide."""
    return nn.Sequential(
        *(
            nn.TransformerEncoderLayer(
                d, heads, 4 * d, dropout=0.0, activation="gelu", layer_norm_eps=_EPS, batch_first=True,
                norm_first=True,
            )
            for _ in range(n)
        )
    )  # fmt: skip


class Encoder(nn.Module):
    """Patches and a contextual token through a vision transformer."""

    def __init__(self, *, patch_size, d, layers, heads):
        super().__init__()
        self.project = nn.Conv2d(3, d, kernel_size=patch_size, stride=patch_size)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.layers = layers_of(layers, d, heads)
        self.norm = nn.LayerNorm(d, eps=_EPS)

    def forward(self, frames, positions):
        """Frames ``(b, 3, h, w)`` and positions ``(1 + n, d)`` to tokens ``(b, 1 + n, d)``."""
        tokens = rearrange(self.project(frames), "b d i j -> b (i j) d")
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.norm(self.layers(tokens + positions))


class DiagonalAttention(nn.Module):
    """How far each patch attends to its own place in the reference, times its value.

    Of ``softmax(Q K^T / sqrt(d))`` only the diagonal is kept. One head.
    """

    def __init__(self, d):
        super().__init__()
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d, bias=False)  # a bias would change nothing: softmax does not see it
        self.value = nn.Linear(d, d)
        self.projection = nn.Linear(d, d)

    def forward(self, tokens, reference):
        """Patches ``(b, n, d)`` of a frame and of the reference; the same shape out."""
        q, k = self.query(tokens), self.key(reference)
        scores = q @ rearrange(k, "b n d -> b d n") / q.shape[-1] ** 0.5
        own = scores.softmax(dim=-1).diagonal(dim1=1, dim2=2)
        return self.projection(rearrange(own, "b n -> b n 1") * self.value(tokens))


class Decoder(nn.Module):
    """Attended patches back to the pixels of a frame."""

    def __init__(self, *, patch_size, d, layers, heads):
        super().__init__()
        self.embed = nn.Linear(d, d)
        self.layers = layers_of(layers, d, heads)
        self.norm = nn.LayerNorm(d, eps=_EPS)
        self.pixels = nn.Linear(d, 3 * patch_size**2)

    def forward(self, tokens, positions):
        """Tokens ``(b, n, d)`` and positions ``(n, d)`` to patches ``(b, n, 3 * patch_size ** 2)``."""
        return self.pixels(self.norm(self.layers(self.embed(tokens) + positions)))


class MicronBERT(Network):
    """Encoder, diagonal attention between onset and apex, linear head; a decoder for the first stage.

    Parameters
    ----------
    image_size, patch_size : int
        px, square; the patch must divide the image.
    d, layers, heads : int
        Width, depth and heads of the encoder; 4 and the heads must divide the width.
    decoder_layers : int
        Of the first stage.
    """

    def __init__(
        self, n_classes, *, image_size=224, patch_size=8, d=512, layers=4, heads=4, decoder_layers=4
    ):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2))
        if image_size % patch_size:
            raise ValueError(
                f"image_size = {image_size} px is not divisible by patch_size = {patch_size} px; "
                f"choose a multiple"
            )
        if d % heads or d % 4:
            raise ValueError(f"d = {d} must be divisible by heads = {heads} and, for its positions, by 4")
        self.patch_size = patch_size
        sizes = {"patch_size": patch_size, "d": d, "heads": heads}
        self.encoder = Encoder(layers=layers, **sizes)
        self.attention = DiagonalAttention(d)
        self.decoder = Decoder(layers=decoder_layers, **sizes)
        self.norm = nn.LayerNorm(d, eps=_EPS)
        self.head = nn.Linear(d, n_classes)
        self.register_buffer("positions", sincos_grid(image_size // patch_size, d), persistent=False)
        self.normalised = ImagenetPixels()
        self._initialise()

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.encoder.project.weight.flatten(1))
        nn.init.normal_(self.encoder.cls, std=0.02)

    def forward(self, x):
        """Class scores (logits) of onset and apex, uint8 ``(b, 2, 3, image_size, image_size)``."""
        onset, apex = self.normalised(x).unbind(dim=1)
        # Averaged before the LayerNorm: one for each patch would undo the weight that attention gave it.
        return self.head(self.norm(self._attended(apex, onset).mean(dim=1)))

    def pretraining_loss(self, x, _labels):
        """Mean squared error, in normalised pixels, of the apex, restored from half of its patches."""
        onset, apex = self.normalised(x).unbind(dim=1)
        mixed = exchange_patches(apex, onset, self.patch_size)
        restored = self.decoder(self._attended(mixed, onset), self.positions[1:])
        size = {"p": self.patch_size, "q": self.patch_size}
        return functional.mse_loss(restored, rearrange(apex, "b c (i p) (j q) -> b (i j) (p q c)", **size))

    def _attended(self, frames, reference):
        tokens = self.encoder(torch.cat([frames, reference]), self.positions)[:, 1:]
        return self.attention(*tokens.chunk(2))
