"""Settings compared on the same clips: predictions swapped subject by subject, families corrected together.

If two settings read faces equally well, a subject's predictions by one may be exchanged for those by the
other, all seeds together. The p values are about the networks that were trained: they say nothing about
training them again, which the intervals do where there are several seeds.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from hsta_lib.evaluation.intervals import check_matrices, effective_subjects, score_interval
from hsta_lib.evaluation.metrics import scores

_EXACT = 12  # subjects, up to which all swaps are gone through
_CHUNK = 512  # swaps at a time, for memory
_ROUNDING = 1e-9  # what still counts as a tie


class Comparison(NamedTuple):
    """Weighted sum of differences, ``second`` less ``first``, of settings that are swapped two by two.

    A setting may occur in several pairs.
    """

    first: tuple
    second: tuple
    weights: tuple


class Compared(NamedTuple):
    """A family of comparisons, each array of shape (n_comparisons, 3).

    ``estimate``, ``low``, ``high``: difference and 95 % interval, see `intervals.score_interval`; ``p``:
    of each comparison alone; ``p_adjusted``: with all of the family, for each score apart.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_adjusted: np.ndarray


class Peak(NamedTuple):
    """Where the best setting is: ``at`` in the data; ``shares``, how often each is it in resamples."""

    at: int
    shares: np.ndarray


def pair(first, second):
    """The comparison of two settings: the second less the first.

    Parameters
    ----------
    first, second : int
        Settings, counted from 0.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If they are the same.
    """
    if first == second:
        raise ValueError(f"setting {first} cannot be compared with itself")
    return Comparison((first,), (second,), (1.0,))


def trend(settings):
    """The comparison of ordered settings with their reverse: the slope per step of a straight line.

    A subject's predictions are swapped between the first and the last setting, the second and the last but
    one, and so on. Only the order of the settings counts, not the distance between them; a curve that rises
    and falls by the same amount has no trend.

    Parameters
    ----------
    settings : sequence of int
        Two or more, in order.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If there are fewer, or one occurs twice.
    """
    settings = tuple(settings)
    if len(settings) < 2 or len(set(settings)) < len(settings):
        raise ValueError(f"settings {settings}: a trend needs two or more, each once")
    half = len(settings) // 2
    steps = np.arange(len(settings)) - (len(settings) - 1) / 2
    weights = -steps[:half] / (steps**2).sum()
    return Comparison(settings[:half], settings[::-1][:half], tuple(weights.tolist()))


def group_means(first, second):
    """The comparison of two groups of settings: the mean of the second less that of the first.

    Every setting has a partner of the other group that its predictions are swapped with. In groups of unequal
    size the settings of the smaller one have several.

    Parameters
    ----------
    first, second : sequence of int
        One or more settings each.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a group is empty, or a setting occurs twice.

    Notes
    -----
    With unequal groups p is exact where differences are symmetric, as for comparisons that share a setting in
    `compare`.
    """
    first, second = tuple(first), tuple(second)
    if not first or not second or len({*first, *second}) < len(first) + len(second):
        raise ValueError(f"groups {first} and {second}: both need settings, each once")
    n_pairs = math.lcm(len(first), len(second))
    repeated = (group * (n_pairs // len(group)) for group in (first, second))
    return Comparison(*repeated, (1 / n_pairs,) * n_pairs)


def compare(matrices, family, rng, n_swaps=9999):
    """Test a family of comparisons that was fixed beforehand, by the same swaps for all.

    The largest of all comparisons under a swap decides, each divided by its root mean square over the swaps:
    otherwise those that scatter most would decide alone. p values are adjusted step by step (Westfall and
    Young 1993). Up to 12 subjects all swaps are gone through; above, random ones, the data as they are among
    them, so that no p is below ``1 / (n_swaps + 1)``.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        As for `hsta_lib.evaluation.intervals.score_interval`.
    family : sequence of Comparison
        From `pair`, `trend` and `group_means`.
    rng : numpy.random.Generator
    n_swaps : int
        Random swaps where there are too many for all.

    Returns
    -------
    Compared
        The last axis in the order of `hsta_lib.evaluation.metrics.METRICS`. p values are two-sided.

    Raises
    ------
    ValueError
        As `intervals.check_matrices`, or if the family is empty or names a setting that is not there.

    Notes
    -----
    Adjusted p values of comparisons that share a setting are exact where their differences are symmetric
    together, which sums over many clips nearly are.
    """
    matrices = check_matrices(matrices)
    swapped = np.abs(_standardised(_swapped(matrices, family, rng, n_swaps)))
    reached = swapped >= swapped[:1] - _ROUNDING
    found = score_interval(matrices, _contrasts(family, len(matrices)))
    return Compared(found.estimate, found.low, found.high, reached.mean(axis=0), _step_down(swapped))


def peak(estimates, draws):
    """Which of some settings is the best, in the data and under resampling.

    Parameters
    ----------
    estimates : array_like, shape (n_settings,)
        One score of each setting.
    draws : array_like, shape (n_boot, n_settings)
        The same under resampling, from `hsta_lib.evaluation.intervals.bootstrap_scores`.

    Returns
    -------
    Peak
        Of equal settings the first is named; in ``shares`` they share a draw equally.

    Raises
    ------
    ValueError
        If both do not have the same settings.
    """
    estimates, draws = np.asarray(estimates), np.asarray(draws)
    if draws.ndim != 2 or estimates.shape != draws.shape[1:]:
        raise ValueError(f"draws {draws.shape} must have a column for each of estimates {estimates.shape}")
    best = draws == draws.max(axis=1, keepdims=True)
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return Peak(int(estimates.argmax()), shares)


def detectable(matrices, family, rng, *, alpha=0.05, power=0.8, n_swaps=9999):
    """Smallest differences that these data would show, with the family corrected together.

    It uses how far differences scatter when predictions are swapped, not which sign they have: it can be
    printed before any result. A difference widens that scatter itself; as much as it could is allowed for, so
    with few subjects the power is higher than asked (``benchmarks/coverage.py`` measures it).

    Parameters
    ----------
    matrices, family, rng, n_swaps
        As for `compare`.
    alpha, power : float
        Level of the family, and probability to find the difference; in 0..1.

    Returns
    -------
    ndarray of float, shape (n_comparisons, 3)
        Infinite where there are too few subjects for any difference.

    Raises
    ------
    ValueError
        As `compare`.
    """
    matrices = check_matrices(matrices)
    swapped = _swapped(matrices, family, rng, n_swaps)
    largest = np.sort(np.abs(_standardised(swapped)).max(axis=1), axis=0)
    critical = np.array([_critical(values, alpha) for values in largest.T])
    # A difference d of n effective subjects is found if d - z s > c sqrt(s^2 + d^2 / n), solved for d.
    effective = effective_subjects(matrices[0, 0].sum(axis=(1, 2)))
    z, left = ndtri(power), 1 - critical**2 / effective
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (z + np.sqrt(z**2 + left * (critical**2 - z**2))) / left
        found = factor * _root_mean_square(swapped)
    return np.where(left > 0, found, np.inf)


def _swapped(matrices, family, rng, n_swaps):
    """Comparisons under swaps, shape (n, n_comparisons, 3); the first as the data are."""
    known = range(len(matrices))
    unknown = [name for one in family for name in (*one.first, *one.second) if name not in known]
    if not len(family) or unknown:
        raise ValueError(
            f"family of {len(family)} comparisons names settings {unknown}, not in 0..{len(matrices) - 1}"
        )
    signs = _signs(matrices.shape[2], rng, n_swaps)
    chunks = np.array_split(signs, np.ceil(len(signs) / _CHUNK))
    return np.stack(
        [np.concatenate([_differences(matrices, one, chunk) for chunk in chunks]) for one in family], axis=1
    )


def _signs(n_subjects, rng, n_swaps):
    """Whose predictions are swapped (-1), shape (n, n_subjects); the first row swaps none."""
    if n_subjects <= _EXACT:
        return np.array(list(itertools.product((1, -1), repeat=n_subjects)))
    drawn = rng.integers(2, size=(n_swaps, n_subjects))
    return np.concatenate([np.ones((1, n_subjects), dtype=int), 1 - 2 * drawn])


def _differences(matrices, one, signs):
    first, second = matrices[list(one.first)], matrices[list(one.second)]
    both = (first + second).sum(axis=2)
    by_subject = np.moveaxis(second - first, 2, 0)
    moved = (signs @ by_subject.reshape(len(by_subject), -1)).reshape(len(signs), *both.shape)
    difference = scores((both + moved) / 2) - scores((both - moved) / 2)
    return np.tensordot(difference.mean(axis=2), one.weights, axes=(1, 0))


def _root_mean_square(swapped):
    return np.sqrt((swapped**2).mean(axis=0))


def _standardised(swapped):
    scatter = _root_mean_square(swapped)
    return np.divide(swapped, scatter, out=np.zeros_like(swapped), where=scatter > _ROUNDING)


def _step_down(swapped):
    """Adjusted p values from absolute standardised comparisons, the first row as the data are."""
    adjusted = np.empty(swapped.shape[1:])
    for score in range(swapped.shape[2]):
        order = np.argsort(swapped[0, :, score])  # the least first
        largest = np.maximum.accumulate(swapped[:, order, score], axis=1)
        p = (largest >= swapped[0, order, score] - _ROUNDING).mean(axis=0)
        adjusted[order, score] = np.maximum.accumulate(p[::-1])[::-1]
    return adjusted


def _critical(values, alpha):
    """Smallest of sorted values that at most a share alpha of them reaches; infinite if there is none."""
    reached = 1 - np.searchsorted(values, values - _ROUNDING) / len(values)
    allowed = values[reached <= alpha]
    return allowed[0] if len(allowed) else np.inf


def _contrasts(family, n_settings):
    weights = np.zeros((len(family), n_settings))
    for row, one in zip(weights, family, strict=True):
        np.subtract.at(row, list(one.first), one.weights)
        np.add.at(row, list(one.second), one.weights)
    return weights
