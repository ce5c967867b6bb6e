"""Which means over folds can UAR and UF1 have, given the clips of each class in every test fold?"""

import functools
import itertools

import numpy as np

from hsta_lib.paper_check.possible import MOST, all_false, band

ABSENT = ("zero", "left out", "one")


def fold_range(folds, uar, *, absent):
    """UF1 that a mean over folds can have when the mean UAR prints as given.

    Outside is impossible; inside need not be possible. For any slope s the mean of UF1 - s UAR over folds is
    at most the mean of each fold's own maximum, which its finitely many confusion matrices give: a bound of
    UF1 for every s, and the lowest of many is taken; likewise from below.

    Parameters
    ----------
    folds : sequence of sequence of int, shape (n_folds, n_classes)
        Clips of each class in each test fold; classes may be absent.
    uar : float
        Percent: the mean over folds.
    absent : {"zero", "left out", "one"}
        What a fold counts for a class it lacks. ``zero``: recall and F1 are 0. ``left out``: both are means
        over the classes of the fold. ``one``: recall is 1, and F1 is 1 unless the class is predicted.

    Returns
    -------
    low, high : float
        Percent; NaN where no folds have that mean UAR.

    Raises
    ------
    ValueError
        If the convention is unknown, the score lies outside 0..100, or a fold is empty, too large to go
        through, or has a count that is negative or no integer.
    """
    folds = _check_folds(folds, absent)
    ends = np.array(band("uar", uar))
    low, high = np.mean([_fold_pairs(fold, absent)[1][[0, -1], 0] for fold in folds], axis=0)
    if ends[1] < low or ends[0] > high:
        return np.nan, np.nan
    slopes = _slopes()[:, None] * np.clip(ends, low, high)
    highest, lowest = np.mean([_supports(fold, absent) for fold in folds], axis=0)
    bounds = (lowest[:, None] + slopes).min(axis=1).max(), (highest[:, None] + slopes).max(axis=1).min()
    return float(100 * bounds[0]), float(100 * bounds[1])


def folds_with(folds, uar, uf1, rng, *, absent, n_starts=59):
    """Look for scores of single folds whose means print as given, of some confusion matrix of each fold.

    UAR and UF1 in percent, float, shape (n_folds, 2), or None, which is no proof. From corners in common
    directions, those first whose means are nearest, one fold after the other takes that of its possible pairs
    which brings the means nearest.
    """
    low, high = fold_range(folds, uar, absent=absent)
    if not low - 0.05 <= uf1 <= high + 0.05:
        return None
    folds = _check_folds(folds, absent)
    ends = np.array([band("uar", uar), band("uf1", uf1)]) * len(folds)
    target = ends.mean(axis=1)
    points = [_fold_pairs(fold, absent)[0] for fold in folds]
    starts = np.stack([_corners(fold, absent) for fold in folds], axis=1)
    nearest = ((starts.sum(axis=1) - target) ** 2).sum(axis=1).argsort(kind="stable")
    for chosen in starts[nearest[:n_starts]]:
        for fold in rng.permutation(np.tile(np.arange(len(folds)), 3)):
            rest = target - (chosen.sum(axis=0) - chosen[fold])
            chosen[fold] = points[fold][((points[fold] - rest) ** 2).sum(axis=1).argmin()]
            reached = chosen.sum(axis=0)
            if (reached >= ends[:, 0]).all() and (reached <= ends[:, 1]).all():
                return 100 * chosen
    return None


def _corners(fold, absent, n_directions=719):
    """The pair of a fold that lies furthest in each direction."""
    angles = np.linspace(0, 2 * np.pi, n_directions, endpoint=False)
    ends = _fold_pairs(fold, absent)[1]
    return ends[(ends @ [np.cos(angles), np.sin(angles)]).argmax(axis=0)]


def _check_folds(folds, absent):
    if absent not in ABSENT:
        raise ValueError(f"absent {absent!r} is unknown; choose one of {', '.join(ABSENT)}")
    for fold in folds:
        array = np.asarray(fold)
        if array.ndim != 1 or array.dtype.kind not in "iu" or (array < 0).any() or not array.sum():
            raise ValueError(f"fold {fold}: give non-negative integers, at least one of them positive")
    if len({len(fold) for fold in folds}) != 1:
        raise ValueError(f"folds {folds}: give the same number of classes for each of one or more folds")
    return [tuple(int(n) for n in fold) for fold in folds]


def _slopes():
    return np.tan(np.linspace(-np.pi / 2, np.pi / 2, 1441)[1:-1])


@functools.cache
def _supports(fold, absent):
    """Highest and lowest UF1 - s UAR of a fold, for each slope s."""
    uar, uf1 = _fold_pairs(fold, absent)[1].T
    values = uf1 - _slopes()[:, None] * uar
    return values.max(axis=1), values.min(axis=1)


def _fold_pairs(counts, absent):
    """Possible (UAR, UF1), alike to four decimals only once; and lowest and highest UF1, by rising UAR."""
    return _enumerate(counts, absent if 0 in counts else "zero")


@functools.cache
def _enumerate(counts, absent):
    counts = np.array(counts)
    if np.prod(counts + 1.0) * counts.sum() ** (len(counts) - 1.0) > 5 * MOST:
        raise ValueError(f"fold {counts.tolist()} is too large to enumerate; give smaller folds")
    pairs, ends = [], []
    for hits in itertools.product(*(range(n + 1) for n in counts)):
        uar, uf1 = _scores_of(np.array(hits), counts, absent)
        pairs.append(np.column_stack([np.full(len(uf1), uar), uf1]))
        ends += [(uar, uf1.min()), (uar, uf1.max())]
    pairs = np.concatenate(pairs)
    _, first = np.unique(np.rint(pairs * 1e4).astype(int) @ [100_000, 1], return_index=True)
    return pairs[first], np.array(sorted(ends))


def _scores_of(hits, counts, absent):
    there = counts > 0
    size = hits + counts + all_false(hits, counts)
    recall = np.where(there, hits / np.maximum(counts, 1), absent == "one")
    f1 = np.where(size > 0, 2 * hits / np.maximum(size, 1), absent == "one")
    used = there if absent == "left out" else np.ones_like(there)
    return recall[used].mean(), np.unique(f1[:, used].mean(axis=1))
