"""LBP-TOP with a linear support vector machine, the hand-made baseline of micro-expression recognition.

Local binary patterns on three orthogonal planes are by Zhao and Pietikäinen (IEEE TPAMI 2007). The paper on
HSTA cites for them the article on CASME II (Yan et al., PLoS ONE 2014).

As published: each pixel is compared with eight neighbours on a circle in the planes XY, XT and YT, those
between pixels interpolated bilinearly; a neighbour as bright as the centre counts as brighter; patterns of at
most two changes around the circle have a bin each and all others share one, 59 in all; one histogram per
plane and block of the face. Only pixels that have all their neighbours in the clip are counted, on every
plane.

Unconfirmed: radius 1, blocks of 5 x 5 x 1 and the linear machine are what the baseline of the MEGC 2019
challenge is thought to be; C is not known, and 10 is taken, with which training clips are fitted.
Approximated: patterns are found in the whole clip and blocks then cut from them; a descriptor made block by
block would lose the border of each. Blocks do not overlap, and their sizes differ by a pixel at most. No
frames are interpolated in time, since every clip comes with as many as were asked for.

The usual evaluation leaves one subject out and pools the predictions; there is no epoch to choose.
"""

import cv2
import numpy as np

from hsta_lib.models.baselines.layers import check_rgb
from hsta_lib.models.baselines.linear_svm import LinearSVM

_GRID = 5  # blocks along height and along width
_CODES = 59
# Axes (t, y, x) that are a plane's rows and columns: XY, XT, YT.
_PLANES = ((1, 2), (0, 2), (0, 1))
# Rows and columns from the centre to the four neighbours on the axes, turning as angles do: x, -y, -x, y.
_AXES = ((0, 1), (-1, 0), (0, -1), (1, 0))


class LBPTOP(LinearSVM):
    """Linear machine on the descriptors that `prepare` makes; the class of LBP-TOP in the tables."""


def prepare(frames):
    """Histograms of a clip's patterns, one per block of the face and plane: float32 ``(4425,)``.

    Axes (row of blocks, column of blocks, plane XY, XT, YT, code) laid out in one; each histogram over codes
    sums to 1. Onset and apex are not used. Three frames or more are needed, and 7 px each way; see
    `registry.System`.
    """
    check_rgb(frames, smallest=_GRID + 2)
    t, height, width = len(frames) - 2, *frames.shape[1:3]
    if t < 3:
        raise ValueError(
            f"t = {t} frames of video: LBP-TOP compares each with the next, 3 or more are needed"
        )
    tall = frames[:t].reshape(t * height, width, 3)
    grey = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY).reshape(t, height, width)
    return _histograms(_UNIFORM[patterns(grey)])


def patterns(grey):
    """Local binary patterns of grey frames uint8 ``(t, h, w)``: uint8 ``(3, t - 2, h - 2, w - 2)``.

    On the planes XY, XT and YT, of every pixel but the outermost; 3 or more each way are needed. Bit k
    belongs to the neighbour at k times 45 degrees, from the plane's columns (x, x, y) against its rows (y, t,
    t): in XY bit 0 is right, bit 2 above.
    """
    return np.stack([_plane_patterns(grey.astype(np.int16), *axes) for axes in _PLANES])


def _plane_patterns(grey, rows, columns):
    def difference(down, right):
        first = [1, 1, 1]
        first[rows] += down
        first[columns] += right
        moved = tuple(slice(i, i + n - 2) for i, n in zip(first, grey.shape, strict=True))
        return grey[moved] - centre

    centre = grey[1:-1, 1:-1, 1:-1]
    on_axes = [difference(*step) for step in _AXES]
    codes = np.zeros(centre.shape, np.uint8)
    for k, step in enumerate(_AXES):
        near, following = on_axes[k], on_axes[(k + 1) % 4]
        corner = difference(*np.add(step, _AXES[(k + 1) % 4]))
        codes |= (near >= 0).astype(np.uint8) << np.uint8(2 * k)
        codes |= _brighter_between(near, following, corner).astype(np.uint8) << np.uint8(2 * k + 1)
    return codes


def _brighter_between(first, second, corner):
    """Whether the grey value at 45 degrees on the circle, interpolated, is the centre's or brighter.

    With a = cos 45 degrees it exceeds the centre by a^2 corner + a (1 - a) (first + second), here divided by
    a. Float32 gets the sign right: for whole numbers p and q below 1024 either both are 0 or a p + q is
    beyond 1 / 4096, since (a p + q) (a p - q) is a multiple of a half.
    """
    both = first + second
    return np.float32(np.sqrt(0.5)) * (corner - both) + both >= 0


def _uniform_codes():
    """Code of each of the 256 patterns: 0..57 if it changes at most twice around the circle, else 58."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    codes = np.full(256, _CODES - 1, np.uint8)
    codes[uniform] = np.arange(uniform.sum())
    return codes


_UNIFORM = _uniform_codes()


def _histograms(codes):
    rows, columns = (np.arange(n) * _GRID // n for n in codes.shape[2:])
    planes = np.arange(len(_PLANES))[:, None, None, None]
    block = rows[:, None] * _GRID + columns
    histogram = block * len(_PLANES) + planes
    n_bins = _GRID * _GRID * len(_PLANES) * _CODES
    counts = np.bincount((histogram * _CODES + codes).ravel(), minlength=n_bins).reshape(-1, _CODES)
    return (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32).ravel()
