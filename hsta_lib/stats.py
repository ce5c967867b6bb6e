"""Intervals over subjects: one bootstrap for all settings at once, so that settings can be compared."""

import numpy as np

from hsta_lib.metrics import scores


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
        In the order of `hsta_lib.metrics.METRICS`: the mean over the drawn seeds of the score pooled over
        the drawn subjects. A class that vanishes from a draw counts 0.
    """
    matrices = np.asarray(matrices)
    n_seeds, n_subjects = matrices.shape[1:3]
    draws = np.empty((n_boot, len(matrices), 3))
    for draw in draws:
        subjects = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects))
        seeds = rng.integers(n_seeds, size=n_seeds)
        pooled = np.tensordot(matrices[:, seeds], subjects, axes=(2, 0))
        draw[:] = scores(pooled).mean(axis=1)
    return draws


def interval(draws, level=0.95):
    """Percentile interval along the first axis.

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
