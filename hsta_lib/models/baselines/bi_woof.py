"""Bi-WOOF with a linear support vector machine: directions of the flow from onset to apex, weighted twice.

Bi-weighted oriented optical flow is by Liong, See, Wong and Phan (Signal Processing: Image Communication
2018). As in its authors' script: TV-L1 flow; 5 x 5 blocks; eight bins of 45 degrees whose lower bounds are
-180 to 135, 180 itself counted in the last; a pixel's vote weighs its magnitude; a block's histogram, of sum
1, weighs the sum of the block's strain; the whole vector has length 1.

Approximated: the script's blocks overlap by about a pixel; here neighbouring blocks share one row or column
of pixels, and their sizes differ by one where the image does not divide. Unconfirmed: C = 1, which is that of
a public benchmark's code, while 10,000 is reported too.

The usual evaluation leaves one subject out and pools the predictions; there is no epoch to choose. The scores
of the article itself are micro-averaged F1 of five classes.
"""

from itertools import pairwise

import numpy as np

from hsta_lib.models.baselines.linear_svm import LinearSVM

_GRID = 5  # blocks along height and along width
_BINS = 8


class BiWOOF(LinearSVM):
    """Linear machine on the descriptors that `prepare` makes; the class of Bi-WOOF in the tables."""


def prepare(flow):
    """Where the blocks of a clip move, weighted by how far their skin is strained: float32 ``(200,)``.

    Axes (row of blocks, column of blocks, bin) laid out in one, of length 1; all zeros if no block has both
    motion and strain, as when the head shifts. Angles run from x towards y. The flow, see `registry.System`,
    must be finite and have 6 px each way.
    """
    if flow.ndim != 3 or flow.shape[2] != 3:
        raise ValueError(f"flow must be of shape (h, w, 3): u, v, strain; found {flow.shape}")
    if min(flow.shape[:2]) < _GRID + 1:
        raise ValueError(f"flow of shape {flow.shape} is too small, {_GRID + 1} px each way are needed")
    if not np.isfinite(flow).all():
        raise ValueError("flow holds values that are not finite (NaN or inf); compute it again")
    u, v, strain = np.moveaxis(flow.astype(np.float64), 2, 0)
    bins, magnitude = orientation_bins(u, v), np.hypot(u, v)
    descriptor = np.stack(
        [_histogram(bins[block], magnitude[block]) * strain[block].sum() for block in _blocks(*u.shape)]
    )
    length = np.linalg.norm(descriptor)
    return (descriptor / (length or 1)).astype(np.float32).ravel()


def orientation_bins(u, v):
    """Bin, 0..7, of each direction ``(u, v)``: bin b starts at ``45 b - 180`` degrees; 180 is in the last."""
    # Zero is added because that makes a negative zero positive: straight left is 180 degrees, never -180.
    degrees = np.degrees(np.arctan2(v + 0.0, u))
    width = 360 / _BINS
    return np.minimum((degrees + 180) // width, _BINS - 1).astype(int)


def _blocks(height, width):
    """Slices of the blocks, row by row; neighbours share the pixels between them."""
    rows, columns = (np.rint(np.linspace(0, n - 1, _GRID + 1)).astype(int) for n in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom + 1), slice(left, right + 1)


def _histogram(bins, magnitude):
    votes = np.bincount(bins.ravel(), magnitude.ravel(), minlength=_BINS)
    return votes / (votes.sum() or 1)
