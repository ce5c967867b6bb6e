"""Intervals over subjects: one bootstrap for all settings at once, and the jackknife for intervals.

Subjects are few and of very unequal size, so an interval that is right for many equal ones is too short.
``benchmarks/coverage.py`` measures how often each kind contains the truth.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from hsta_lib.evaluation.metrics import scores


class Interval(NamedTuple):
    """Scores, or contrasts of scores, with their intervals; each of shape (n_contrasts, 3)."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_scores(matrices, n_boot, rng):
    """Pooled scores under resampling of subjects, and of seeds where there are several.

    The clips of a subject are not independent, so subjects are drawn, not clips. Every setting sees the
    same draws: differences and means of settings are taken draw by draw.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        Confusion matrix of each setting, seed and subject.
    n_boot : int
        Number of draws.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float, shape (n_boot, n_settings, 3)
        In the order of `metrics.METRICS`: the mean over the drawn seeds of the score pooled over
        the drawn subjects. A class that vanishes from a draw counts 0; how often, see `vanishing`.
    """
    matrices = np.asarray(matrices, dtype=float)
    n_settings, n_seeds, n_subjects, *square = matrices.shape
    by_subject = np.moveaxis(matrices, 2, 0).reshape(n_subjects, -1)
    draws = np.empty((n_boot, n_settings, 3))
    for draw in draws:
        subjects = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects))
        seeds = rng.integers(n_seeds, size=n_seeds)
        pooled = (subjects @ by_subject).reshape(n_settings, n_seeds, *square)
        draw[:] = scores(pooled)[:, seeds].mean(axis=1)
    return draws


def interval(draws, level=0.95):
    """Percentile interval along the first axis; of few subjects too short, unlike `score_interval`.

    Parameters
    ----------
    draws : array_like, shape (n_boot, ...)
    level : float
        Coverage in 0..1.

    Returns
    -------
    low, high : ndarray, shape (...)
    """
    tail = (1 - level) / 2
    return np.quantile(draws, tail, axis=0), np.quantile(draws, 1 - tail, axis=0)


def score_interval(matrices, contrasts=None, level=0.95):
    """Intervals of pooled scores, or of contrasts of settings: jackknife-t over subjects, with seeds.

    The variance over subjects is the jackknife's: each is left out once, of all seeds together. Where there
    are several seeds, their variance is added, less that of subjects within seeds, which both contain. The
    degrees of freedom are the effective number of subjects less one, combined with those of the seeds after
    Satterthwaite. With one seed the interval is about the networks that were trained, not about training
    them again.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        As for `bootstrap_scores`; subjects without clips are passed over.
    contrasts : array_like, shape (n_contrasts, n_settings), optional
        Weights of the settings, e.g. ``[[-1, 1]]`` for the second less the first; by default each setting.
    level : float
        Coverage in 0..1.

    Returns
    -------
    Interval
        The last axis in the order of `hsta_lib.evaluation.metrics.METRICS`; of single settings within 0..1.

    Raises
    ------
    ValueError
        As `check_matrices`, or if the contrasts do not fit the settings.

    Notes
    -----
    Of jackknife-t, bootstrap-t and percentile bootstrap this one is used at every number of subjects: in
    ``benchmarks/coverage.py`` it is never far from its level, while the percentile bootstrap is too short
    with few subjects, most of all for UF1. Bootstrap-t does as well but hangs on random draws.
    """
    matrices = check_matrices(matrices)
    weights = np.eye(len(matrices)) if contrasts is None else np.asarray(contrasts, dtype=float)
    if weights.ndim != 2 or weights.shape[1] != len(matrices):
        raise ValueError(
            f"contrasts of shape {weights.shape} need a column for each of {len(matrices)} settings"
        )
    without = matrices.sum(axis=2, keepdims=True) - matrices
    of_seeds = np.tensordot(weights, scores(matrices.sum(axis=2)), axes=1)
    left_out = np.tensordot(weights, scores(without), axes=1)
    found = jackknife(of_seeds, left_out, matrices[0, 0].sum(axis=(1, 2)), level)
    if contrasts is None:
        return found._replace(low=found.low.clip(0, 1), high=found.high.clip(0, 1))
    return found


def jackknife(of_seeds, left_out, sizes, level=0.95):
    """Intervals of any scores of which is known what they are without each subject; see `score_interval`.

    Parameters
    ----------
    of_seeds : ndarray, shape (n_scores, n_seeds, 3)
        Scores of each seed.
    left_out : ndarray, shape (n_scores, n_seeds, n_subjects, 3)
        The same without each subject.
    sizes : ndarray, shape (n_subjects,)
        Clips of each subject.
    level : float
        Coverage in 0..1.

    Returns
    -------
    Interval
    """
    variance, degrees = _variance(of_seeds, left_out, effective_subjects(sizes))
    estimate = of_seeds.mean(axis=1)
    reach = stdtrit(degrees, (1 + level) / 2) * np.sqrt(variance)
    return Interval(estimate, estimate - reach, estimate + reach)


def _variance(of_seeds, left_out, effective):
    """Variance of the mean over seeds and its degrees of freedom.

    ``of_seeds`` has shape (n_contrasts, n_seeds, 3), ``left_out`` (n_contrasts, n_seeds, n_subjects, 3).
    """
    n_seeds, n_subjects = left_out.shape[1:3]
    deviation = left_out - left_out.mean(axis=2, keepdims=True)
    mean_deviation = deviation.mean(axis=1, keepdims=True)
    jackknife = (n_subjects - 1) / n_subjects
    subjects = jackknife * (mean_deviation[:, 0] ** 2).sum(axis=1)
    degrees = np.full(subjects.shape, max(effective - 1, 1.0))
    if n_seeds == 1:
        return subjects, degrees
    within = jackknife * ((deviation - mean_deviation) ** 2).sum(axis=(1, 2)) / (n_seeds * (n_seeds - 1))
    seeds = np.maximum(of_seeds.var(axis=1, ddof=1) / n_seeds - within, 0)
    total = subjects + seeds
    combined = subjects**2 / degrees + seeds**2 / (n_seeds - 1)
    return total, np.divide(total**2, combined, out=degrees, where=combined > 0)


def effective_subjects(sizes):
    """Number of equal subjects that would weigh as much: ``(sum n)^2 / sum n^2`` (Kish 1965).

    Parameters
    ----------
    sizes : array_like, shape (n_subjects,)
        Clips of each subject.

    Returns
    -------
    float
        Between 1 and the number of subjects.

    Raises
    ------
    ValueError
        If there are no clips, or fewer than none.

    Examples
    --------
    >>> effective_subjects([8, 1, 1])
    1.5151515151515151
    """
    sizes = np.asarray(sizes, dtype=float)
    if sizes.ndim != 1 or not sizes.sum() > 0 or sizes.min() < 0:
        raise ValueError(f"sizes must be a list of numbers of clips, not all 0, found {sizes.tolist()}")
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def without_largest(matrices):
    """Pooled scores without the subject that has most clips (the first of several such).

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)

    Returns
    -------
    ndarray of float, shape (n_settings, 3)
        Means over seeds, in the order of `hsta_lib.evaluation.metrics.METRICS`.

    Raises
    ------
    ValueError
        As `check_matrices`.
    """
    matrices = check_matrices(matrices)
    largest = matrices[0, 0].sum(axis=(1, 2)).argmax()
    return scores(np.delete(matrices, largest, axis=2).sum(axis=2)).mean(axis=1)


def vanishing(matrices):
    """Probability of each class to be absent from a bootstrap draw of subjects, where it counts 0.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)

    Returns
    -------
    ndarray of float, shape (n_classes,)
        1 for a class without clips.

    Raises
    ------
    ValueError
        As `check_matrices`.
    """
    has_class = check_matrices(matrices)[0, 0].sum(axis=-1) > 0
    return (1 - has_class.mean(axis=0)) ** len(has_class)


def check_matrices(matrices):
    """Confusion matrices by setting, seed and subject that can be resampled and compared.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)

    Returns
    -------
    ndarray of float
        The same without the subjects that have no clips.

    Raises
    ------
    ValueError
        If the shape is another, a count is negative or not finite, settings or seeds differ in a subject's
        clips, or fewer than two subjects or two classes have clips.
    """
    matrices = np.asarray(matrices, dtype=float)
    if matrices.ndim != 5 or matrices.shape[3] != matrices.shape[4] or 0 in matrices.shape:
        wanted = "(n_settings, n_seeds, n_subjects, n_classes, n_classes)"
        raise ValueError(f"matrices of shape {matrices.shape} must be of shape {wanted}, all above 0")
    if not (np.isfinite(matrices) & (matrices >= 0)).all():
        raise ValueError("matrices hold a negative or not finite count")
    clips = matrices.sum(axis=-1)
    differs = ~np.isclose(clips, clips[0, 0]).all(axis=(0, 1, 3))
    if differs.any():
        raise ValueError(
            f"settings or seeds differ in the clips of subject {differs.argmax()}; "
            "give predictions of the same clips"
        )
    occurs = clips[0, 0] > 0
    subjects, n_classes = occurs.any(axis=1), occurs.any(axis=0).sum()
    if subjects.sum() < 2:
        raise ValueError(f"{subjects.sum()} subject with clips; resampling subjects needs two or more")
    if n_classes < 2:
        raise ValueError(f"{n_classes} class with clips; scores over classes need two or more")
    return matrices[:, :, subjects]
