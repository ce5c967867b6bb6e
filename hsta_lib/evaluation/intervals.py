"""Intervals over subjects: one bootstrap for all settings at once, and the jackknife for intervals.

Subjects are few and of very unequal size, so an interval that is right for many equal ones is too short.
Near 100 % a symmetric one is too short as well: its upper end is where nothing can be.
``benchmarks/coverage.py`` measures how often each kind contains the truth.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from hsta_lib.evaluation.metrics import scores

RULE = "wilson-t"  # the name of `score_interval`'s rule in records
MIN_SEEDS = 3  # fewer say too little about training again
_ROUNDING = 1e-12


class Interval(NamedTuple):
    """Scores, or contrasts of scores, with their intervals; each of shape (n_contrasts, 3)."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_scores(matrices, n_boot, rng):
    """Pooled scores under resampling of subjects, and of seeds where there are several.

    The clips of a subject are not independent, so subjects are drawn, not clips. Every setting sees the same
    draws: differences and means of settings are taken draw by draw.

    Parameters
    ----------
    matrices : array_like, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        Confusion matrix of each setting, seed and subject.
    n_boot : int
        Number of draws.

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

    ``draws``: shape (n_boot, ...); ``level``: coverage in 0..1. Each end has the shape of a draw.
    """
    tail = (1 - level) / 2
    return np.quantile(draws, tail, axis=0), np.quantile(draws, 1 - tail, axis=0)


def score_interval(matrices, contrasts=None, level=0.95):
    """Intervals of pooled scores, or of contrasts of settings: by the rule ``wilson-t``, one for all.

    Three steps. The jackknife gives the variance over subjects: each is left out once, of all seeds together.
    With three seeds or more their variance is added, less that of subjects within seeds, which both contain;
    with fewer the interval is about the networks that were trained, not about training them again. The
    degrees of freedom are Satterthwaite's, of the effective number of subjects and of the seeds.

    Then ``variance / (score (1 - score))`` says how many independent clips would be known as well. Imagined
    clips make that number honest where no error was seen: it is found again with one clip more of each class,
    right by half, and the smaller number counts.

    Last, the interval holds every value that is no more than a t quantile of standard errors from the score,
    the error taken at that value (Wilson 1927). It is not symmetric, never leaves what is possible, and is
    wider towards the middle. A contrast is treated the same between the least and the most that it can be.

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
        The last axis in the order of `hsta_lib.evaluation.metrics.METRICS`. Its width is zero only where
        nothing can vary: of the difference of settings with the same predictions.

    Raises
    ------
    ValueError
        As `check_matrices`, or if the contrasts do not fit the settings.

    Notes
    -----
    ``benchmarks/coverage.py`` compares it with jackknife-t, the jackknife on a logit scale, bootstrap-t and
    percentiles: it alone contains the truth in at least 93 % of studies everywhere, at UAR .95 too, and it
    is no wider than jackknife-t.
    """
    matrices = check_matrices(matrices)
    weights = np.eye(len(matrices)) if contrasts is None else np.asarray(contrasts, dtype=float)
    if weights.ndim != 2 or weights.shape[1] != len(matrices):
        raise ValueError(
            f"contrasts of shape {weights.shape} need a column for each of {len(matrices)} settings"
        )
    return within_possible(known(matrices, weights, _contrast_variance), level)


class Known(NamedTuple):
    """How well contrasts are known; each of shape (n_contrasts, 3), ``low`` and ``high`` (n_contrasts, 1).

    ``estimate``; ``spread``: one over the number of independent clips that would be known as well;
    ``degrees`` of freedom; ``low`` and ``high``: the least and the most that is possible.
    """

    estimate: np.ndarray
    spread: np.ndarray
    degrees: np.ndarray
    low: np.ndarray
    high: np.ndarray


def known(matrices, weights, variance_of):
    """How well contrasts of settings are known (`Known`), with imagined clips or without: the less of both.

    Parameters
    ----------
    matrices : ndarray, shape (n_settings, n_seeds, n_subjects, n_classes, n_classes)
        From `check_matrices`.
    weights : ndarray, shape (n_contrasts, n_settings)
    variance_of : callable
        Of ``of_seeds, deviations, weights, effective`` as in `deviations_of`; returns variance and degrees.
    """
    low, high = (part(weights, 0).sum(axis=1)[:, None] for part in (np.minimum, np.maximum))
    effective = effective_subjects(matrices[0, 0].sum(axis=(1, 2)))
    found = []
    for counted in (matrices, _with_imagined(matrices)):
        of_seeds, deviations = deviations_of(counted)
        estimate = weights @ of_seeds.mean(axis=1)
        estimate[np.abs(estimate) < _ROUNDING] = 0
        found.append((estimate, *variance_of(of_seeds, deviations, weights, effective)))
    return _least_known(found, low, high)


def _least_known(found, low, high):
    """Of estimates with their variance and degrees the first, as well known as the least known of them."""
    spreads = [_ratio(variance, (estimate - low) * (high - estimate)) for estimate, variance, _ in found]
    least = np.argmax(spreads, axis=0)
    degrees = np.choose(least, [np.broadcast_to(part[2], least.shape) for part in found])
    return Known(found[0][0], np.max(spreads, axis=0), degrees, low, high)


def within_possible(found, level=0.95):
    """The `Interval` of values that a `Known` contrast does not contradict.

    ``level`` (float or ndarray, shape (3,)): coverage in 0..1.
    """
    estimate, spread, degrees, low, high = found
    times = stdtrit(degrees, (1 + np.asarray(level)) / 2) ** 2 * spread
    middle = estimate + times * (low + high) / 2
    reach = np.sqrt(
        times * np.maximum((estimate - low) * (high - estimate), 0) + (times * (high - low) / 2) ** 2
    )
    ends = ((middle + side * reach) / (1 + times) for side in (-1, 1))
    return Interval(estimate, *(np.clip(end, low, high) for end in ends))  # within rounding


def _with_imagined(matrices):
    """The same with a subject more for each of `imagined_clips`."""
    clips = imagined_clips(matrices.shape[-1])
    return np.concatenate([matrices, np.broadcast_to(clips, (*matrices.shape[:2], *clips.shape))], axis=2)


def imagined_clips(n_classes):
    """Confusion matrices of one clip of each class, right by half; shape (n_classes,) * 3."""
    wrong = (1 - np.eye(n_classes)) / (2 * max(n_classes - 1, 1))
    clips = np.zeros((n_classes,) * 3)
    clips[range(n_classes), range(n_classes)] = np.eye(n_classes) / 2 + wrong
    return clips


def deviations_of(matrices):
    """Scores of each setting and seed, and how far they move when a subject is left out.

    Shapes (n_settings, n_seeds, 3) and (n_settings, n_seeds, n_subjects, 3). The second is scaled: its
    squares sum to the jackknife's variance. ``matrices``: from `check_matrices`.
    """
    pooled = matrices.sum(axis=2)
    return scores(pooled), _scaled(scores(pooled[:, :, None] - matrices))


def _scaled(left_out):
    n_subjects = left_out.shape[2]
    return np.sqrt((n_subjects - 1) / n_subjects) * (left_out - left_out.mean(axis=2, keepdims=True))


def jackknife(found, sizes, level=0.95, possible=None):
    """Intervals of any scores of which is known what they are without each subject; see `score_interval`.

    Parameters
    ----------
    found : sequence of (ndarray, ndarray)
        Scores of each seed, shape (n_scores, n_seeds, 3), and the same without each subject, shape (n_scores,
        n_seeds, n_subjects, 3). What follows the first pair has `imagined_clips`: the least known counts.
    sizes : ndarray, shape (n_subjects,)
        Clips of each subject.
    level : float
        Coverage in 0..1.
    possible : tuple of float, optional
        The least and the most that a score can be; without, the interval is symmetric, of a t quantile.
    """
    each, effective = np.eye(len(found[0][0])), effective_subjects(sizes)
    known_by = [
        (of_seeds.mean(axis=1), *_contrast_variance(of_seeds, _scaled(left_out), each, effective))
        for of_seeds, left_out in found
    ]
    estimate, variance, degrees = known_by[0]
    if possible is not None:
        low, high = (np.full((len(estimate), 1), end) for end in possible)
        return within_possible(_least_known(known_by, low, high), level)
    reach = stdtrit(degrees, (1 + level) / 2) * np.sqrt(variance)
    return Interval(estimate, estimate - reach, estimate + reach)


def _contrast_variance(of_seeds, deviations, weights, effective):
    """Variance of contrasts of means over seeds, and its degrees of freedom."""
    n_seeds = of_seeds.shape[1]
    of_seeds, deviations = (np.tensordot(weights, part, axes=1) for part in (of_seeds, deviations))
    mean = deviations.mean(axis=1, keepdims=True)
    subjects = (mean[:, 0] ** 2).sum(axis=1)
    if n_seeds < MIN_SEEDS:
        return subjects, np.full(subjects.shape, max(effective - 1, 1.0))
    both = ((deviations - mean) ** 2).sum(axis=(1, 2)) / (n_seeds * (n_seeds - 1))
    return crossed(subjects, of_seeds.var(axis=1, ddof=1) / n_seeds, both, effective, n_seeds - 1)


def crossed(subjects, seeds, both, effective, degrees):
    """Variance where subjects and seeds are crossed, and its degrees of freedom after Satterthwaite.

    The variance is never less than that over subjects or over seeds.

    Parameters
    ----------
    subjects, seeds, both : ndarray
        Variance over subjects, over seeds, and of subjects within seeds, which the first two contain.
    effective : float
        Effective number of subjects.
    degrees : float
        Degrees of freedom of ``seeds``.
    """
    of_subjects = float(max(effective - 1, 1))
    subjects, seeds, both = (np.where(part > _ROUNDING**2, part, 0) for part in (subjects, seeds, both))
    total = subjects + seeds - np.minimum(both, np.minimum(subjects, seeds))
    parts = subjects**2 / of_subjects + seeds**2 / degrees + both**2 / (of_subjects * degrees)
    return total, np.divide(total**2, parts, out=np.full(total.shape, of_subjects), where=parts > 0)


def _ratio(variance, room):
    return np.divide(variance, room, out=np.zeros_like(variance), where=room > _ROUNDING)


def effective_subjects(sizes):
    """Number of equal subjects that would weigh as much: ``(sum n)^2 / sum n^2`` (Kish 1965).

    It lies between 1 and the number of subjects. ``sizes`` (shape (n_subjects,)): clips of each subject.

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

    Means over seeds, float, shape (n_settings, 3), in the order of `hsta_lib.evaluation.metrics.METRICS`.
    ``matrices``: as for `score_interval`.
    """
    matrices = check_matrices(matrices)
    largest = matrices[0, 0].sum(axis=(1, 2)).argmax()
    return scores(np.delete(matrices, largest, axis=2).sum(axis=2)).mean(axis=1)


def vanishing(matrices):
    """Probability of each class to be absent from a bootstrap draw of subjects, where it counts 0.

    Float, shape (n_classes,); 1 for a class without clips. ``matrices``: as for `score_interval`.
    """
    has_class = check_matrices(matrices)[0, 0].sum(axis=-1) > 0
    return (1 - has_class.mean(axis=0)) ** len(has_class)


def check_matrices(matrices):
    """Confusion matrices as for `score_interval`, without the subjects that have no clips.

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
