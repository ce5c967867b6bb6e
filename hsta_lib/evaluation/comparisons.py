"""Settings compared on the same clips, a family of comparisons corrected together.

A difference is uncertain twice: other subjects would be other faces, and a network trained again reads the
same faces otherwise. Both are in p and in the interval, which are one statement: p is below 0.05 where the
interval lies off zero. Of fewer than three seeds both are about the networks that were trained.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from hsta_lib.evaluation.intervals import (
    MIN_SEEDS,
    check_matrices,
    crossed,
    deviations_of,
    effective_subjects,
    known,
    within_possible,
)


class Comparison(NamedTuple):
    """Weighted sum of differences, ``second`` less ``first``, of settings two by two.

    A setting may occur in several pairs.
    """

    first: tuple
    second: tuple
    weights: tuple


class Compared(NamedTuple):
    """A family of comparisons, each array of shape (n_comparisons, 3).

    ``estimate``, ``low``, ``high``: difference and interval, 95 % for all of the family together; ``p``: of
    each comparison alone; ``p_adjusted``: with all of the family.
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
    """The comparison of two settings, counted from 0: the second less the first.

    Raises
    ------
    ValueError
        If they are the same.
    """
    if first == second:
        raise ValueError(f"setting {first} cannot be compared with itself")
    return Comparison((first,), (second,), (1.0,))


def group_means(first, second):
    """The comparison of two groups of one or more settings: the mean of the second less that of the first.

    Raises
    ------
    ValueError
        If a group is empty, or a setting occurs twice.
    """
    first, second = tuple(first), tuple(second)
    if not first or not second or len({*first, *second}) < len(first) + len(second):
        raise ValueError(f"groups {first} and {second}: both need settings, each once")
    n_pairs = math.lcm(len(first), len(second))
    repeated = (group * (n_pairs // len(group)) for group in (first, second))
    return Comparison(*repeated, (1 / n_pairs,) * n_pairs)


def compare(matrices, family, alpha=0.05):
    """Test a family of comparisons that was fixed beforehand.

    Every comparison is a contrast as in `intervals.score_interval`. How much training again changes a
    setting is a residual of all settings here, as in an analysis of variance, or the compared settings' own,
    whichever is larger: few seeds say little of one setting alone. The family is corrected after Bonferroni,
    a comparison that occurs twice counted once.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        As for `hsta_lib.evaluation.intervals.score_interval`.
    family : sequence of Comparison
        From `pair` and `group_means`.
    alpha : float
        Share of families without any difference of which an interval may lie off zero.

    Returns
    -------
    Compared
        The last axis in the order of `hsta_lib.evaluation.metrics.METRICS`. p values are two-sided;
        ``p_adjusted`` is below ``alpha`` exactly where the interval lies off zero.

    Raises
    ------
    ValueError
        As `intervals.check_matrices`, or if the family is empty or names a setting that is not there.
    """
    matrices = check_matrices(matrices)
    weights = _contrasts(family, len(matrices))
    found, n = known(matrices, weights, _pooled_variance), _n_distinct(weights)
    p = _p_of(found)
    return Compared(*within_possible(found, 1 - alpha / n), p, np.minimum(n * p, 1))


def _n_distinct(weights):
    """Number of comparisons that are neither another one nor its reverse."""
    scaled = weights / np.abs(weights).max(axis=1, keepdims=True)
    first = scaled[np.arange(len(scaled)), (scaled != 0).argmax(axis=1)]
    return len(np.unique((scaled * np.sign(first)[:, None]).round(9), axis=0))


def _p_of(found):
    """Two-sided p of no difference, by the same quantity as the interval."""
    error = np.sqrt(found.spread * -found.low * found.high)
    t = np.divide(np.abs(found.estimate), error, out=np.zeros_like(error), where=error > 0)
    return 2 * stdtr(found.degrees, -t)


def _pooled_variance(of_seeds, deviations, weights, effective):
    """Variance of contrasts and its degrees of freedom; seeds scatter alike in all settings, or more."""
    n_settings, n_seeds = of_seeds.shape[:2]
    subjects = (np.tensordot(weights, deviations.mean(axis=1), axes=1) ** 2).sum(axis=1)
    if n_seeds < MIN_SEEDS:
        return subjects, np.full(subjects.shape, max(effective - 1, 1.0))
    degrees = (n_settings - 1) * (n_seeds - 1)
    seeds = _residuals(of_seeds).sum(axis=(0, 1)) / degrees
    both = _residuals(deviations).sum(axis=(0, 1, 2)) / degrees
    squares = (weights**2) / n_seeds
    own = squares @ of_seeds.var(axis=1, ddof=1)
    alike = squares.sum(axis=1)[:, None]
    return crossed(subjects, np.maximum(alike * seeds, own), alike * both, effective, degrees)


def _residuals(values):
    """Squares of what neither the setting (first axis) nor the seed (second) explains."""
    rest = values - values.mean(axis=1, keepdims=True)
    return (rest - rest.mean(axis=0)) ** 2


def peak(estimates, draws):
    """Which of some settings is the best, in the data and under resampling.

    Of equal settings the first is named; in ``shares`` they share a draw equally.

    Parameters
    ----------
    estimates : array_like, shape (n_settings,)
        One score of each setting.
    draws : array_like, shape (n_boot, n_settings)
        The same under resampling, from `hsta_lib.evaluation.intervals.bootstrap_scores`.

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


def detectable(matrices, family, alpha=0.05, power=0.8):
    """Smallest differences that are found four times in five, with the family corrected together.

    It is fixed by how far the seeds of one setting lie apart, not by how far the settings do: no difference
    that is to be tested enters, and it can be printed before any result. Settings whose networks differ in
    which subjects they read, beyond what seeds do, need larger differences.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        Of settings that are like the compared ones; one is enough. The mean over their seeds is compared.
    family
        As for `compare`; its settings need not be among ``matrices``.
    alpha, power : float
        Level of the family, and probability to find the difference; in 0..1.

    Returns
    -------
    ndarray of float, shape (n_comparisons, 3)
        Infinite where no possible difference is found so often; NaN with one seed or equal ones, which
        tell nothing.
    """
    matrices = check_matrices(matrices)
    weights = _contrasts(family, 1 + max(max(*one.first, *one.second) for one in family) if family else 0)
    if matrices.shape[1] < 2:
        return np.full((len(family), 3), np.nan)
    degrees = len(matrices) * (matrices.shape[1] - 1)
    variance, degrees, critical = _noise(matrices, weights, matrices.shape[1], degrees, alpha)
    found = (critical + stdtrit(degrees, power)) * np.sqrt(variance)
    possible = np.maximum(weights, 0).sum(axis=1)[:, None]
    return np.where(variance > 0, np.where(found < possible, found, np.inf), np.nan)


def chances(trainings, family, differences, n_seeds, alpha=0.05):
    """How often differences of some size are found, as assumed trainings of one setting scatter.

    Shape (n_differences, n_comparisons, 3). ``family`` and ``alpha``: as for `detectable`.

    Parameters
    ----------
    trainings : array_like, shape (n_trainings, n_subjects, n_classes, n_classes)
        Two or more.
    differences : sequence of float
        In 0..1.
    n_seeds : int
        Of the design that is asked about.
    """
    matrices = check_matrices(np.asarray(trainings)[None])
    weights = _contrasts(family, 1 + max(max(*one.first, *one.second) for one in family))
    degrees = (np.count_nonzero(weights.any(axis=0)) - 1) * (n_seeds - 1)  # as `compare` counts them
    variance, degrees, critical = _noise(matrices, weights, n_seeds, degrees, alpha)
    return stdtr(degrees, np.array(differences)[:, None, None] / np.sqrt(variance) - critical)


def _noise(matrices, weights, n_seeds, degrees, alpha):
    """Variance of contrasts of settings alike, its degrees of freedom, and the critical t of the family."""
    of_seeds, deviations = deviations_of(matrices)
    both = (deviations - deviations.mean(axis=1, keepdims=True)) ** 2
    alike = (weights**2).sum(axis=1)[:, None] / n_seeds
    both = alike * both.sum(axis=(0, 1, 2)) / (len(matrices) * (matrices.shape[1] - 1))
    effective = effective_subjects(matrices[0, 0].sum(axis=(1, 2)))
    variance, degrees_of_all = both, np.full(both.shape, max(effective - 1, 1.0))
    if n_seeds >= MIN_SEEDS:
        seeds = np.maximum(alike * of_seeds.var(axis=1, ddof=1).mean(axis=0), both)
        variance, degrees_of_all = crossed(both, seeds, both, effective, degrees)
    return variance, degrees_of_all, stdtrit(degrees_of_all, 1 - alpha / _n_distinct(weights) / 2)


def _contrasts(family, n_settings):
    there = range(n_settings)
    unknown = [name for one in family for name in (*one.first, *one.second) if name not in there]
    if not len(family) or unknown:
        raise ValueError(
            f"family of {len(family)} comparisons names settings {unknown}, not in 0..{n_settings - 1}"
        )
    weights = np.zeros((len(family), n_settings))
    for row, one in zip(weights, family, strict=True):
        np.subtract.at(row, list(one.first), one.weights)
        np.add.at(row, list(one.second), one.weights)
    return weights
