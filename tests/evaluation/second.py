"""Scores and intervals a second time: scikit-learn, labels in lists, pseudo-values, roots found by search.

Nothing here is shared with `hsta_lib.evaluation`, whose matrices and closed forms it is compared with. Both
rules of intervals are here: records that name none were made by the first, ``jackknife-t``.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, precision_recall_fscore_support


class Clips(NamedTuple):
    """Labels of the same clips: ``y_pred`` of shape (n_seeds, n_clips), ``subjects`` their names."""

    y_true: np.ndarray
    y_pred: np.ndarray
    subjects: np.ndarray
    n_classes: int


def sklearn_scores(clips):
    """ACC, UAR and UF1, the mean over seeds, by scikit-learn."""
    found = []
    for y_pred in clips.y_pred:
        classes = list(range(clips.n_classes))
        _, recall, f1, _ = precision_recall_fscore_support(
            clips.y_true, y_pred, labels=classes, zero_division=0
        )
        found.append([accuracy_score(clips.y_true, y_pred), recall.mean(), f1.mean()])
    return np.mean(found, axis=0)


def _weighted(clips, weights):
    """Scores by seed with weights of clips, shape (n_seeds, n_weightings, 3)."""
    truth = np.eye(clips.n_classes)[clips.y_true]
    found = []
    for y_pred in clips.y_pred:
        said = np.eye(clips.n_classes)[y_pred]
        right, there, named = (weights @ table for table in (truth * said, truth, said))
        recall, f1 = right / np.maximum(there, 1e-9), 2 * right / np.maximum(there + named, 1e-9)
        found.append(np.stack([right.sum(1) / there.sum(1), recall.mean(1), f1.mean(1)], axis=1))
    return np.array(found)


def _variance(clips, own, old):
    """Scores, their variance and degrees of freedom from a table of pseudo-values, seeds by subjects."""
    names = np.unique(clips.subjects)
    n, n_seeds = len(names), len(clips.y_pred)
    without = own * (clips.subjects != names[:, None])
    of_seeds = _weighted(clips, own[None])[:, 0]
    table = n * of_seeds[:, None] - (n - 1) * _weighted(clips, without)
    of_subjects = table.mean(axis=0).var(axis=0, ddof=1) / n
    real = np.array([(clips.subjects == name).sum() for name in names if not name.startswith("imagined")])
    free = max(real.sum() ** 2 / (real**2).sum() - 1, 1)
    if n_seeds < (2 if old else 3):
        return of_seeds.mean(axis=0), of_subjects, np.full(3, free)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean(axis=(0, 1))
    both = (rest**2).sum(axis=(0, 1)) / ((n - 1) * (n_seeds - 1)) / (n * n_seeds)
    seeds = of_seeds.var(axis=0, ddof=1) / n_seeds
    added = seeds - np.minimum(both, seeds if old else np.minimum(seeds, of_subjects))
    parts = of_subjects**2 / free + (added if old else seeds) ** 2 / (n_seeds - 1)
    parts += 0 if old else both**2 / free / (n_seeds - 1)
    total = of_subjects + added
    return of_seeds.mean(axis=0), total, np.where(parts > 0, total**2 / np.maximum(parts, 1e-99), free)


def jackknife_t(clips):
    """Ends of the symmetric intervals of records without a rule, cut off at 0 and 1."""
    score, variance, degrees = _variance(clips, np.ones(len(clips.y_true)), old=True)
    reach = student.ppf(0.975, degrees) * np.sqrt(variance)
    return np.maximum(score - reach, 0), np.minimum(score + reach, 1)


def _with_imagined(clips):
    """A clip more of each class, of a subject of its own: by half right, the rest spread over the others."""
    k = clips.n_classes
    truth, said = np.repeat(np.arange(k), k), np.tile(np.arange(k), k)
    names = np.array([f"imagined {c}" for c in truth])
    more = Clips(
        np.concatenate([clips.y_true, truth]),
        np.concatenate([clips.y_pred, np.tile(said, (len(clips.y_pred), 1))], axis=1),
        np.concatenate([clips.subjects, names]),
        k,
    )
    share = np.where(truth == said, 1 / 2, 1 / (2 * (k - 1)))
    return more, np.concatenate([np.ones(len(clips.y_true)), share])


def wilson_t(clips):
    """Ends of the intervals: where a value is a t quantile of its own standard errors from the score."""
    plain = _variance(clips, np.ones(len(clips.y_true)), old=False)
    imagined = _variance(*_with_imagined(clips), old=False)
    ends = []
    for i, score in enumerate(plain[0]):
        known = [
            (variance[i] / (at[i] * (1 - at[i])) if 0 < at[i] < 1 else 0, degrees[i])
            for at, variance, degrees in (plain, imagined)
        ]
        spread, degrees = max(known, key=lambda one: one[0])
        t = student.ppf(0.975, degrees)

        def beyond(value, score=score, scale=spread * t**2):
            return (value - score) ** 2 - scale * value * (1 - value)

        low = brentq(beyond, 0, score, xtol=1e-14) if score > 0 else 0
        ends.append((low, brentq(beyond, score, 1, xtol=1e-14) if score < 1 else 1))
    return np.transpose(ends)


RULES = {"jackknife-t": jackknife_t, "wilson-t": wilson_t}
