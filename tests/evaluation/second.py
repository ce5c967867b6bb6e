"""Scores and intervals a second time: scikit-learn, labels in lists, pseudo-values, roots found by search.

Nothing here is shared with `hsta_lib.evaluation`, whose matrices and closed forms it is compared with.
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


def weighted(clips, weights):
    """Scores by seed with weights of clips, shape (n_seeds, n_weightings, 3)."""
    truth = np.eye(clips.n_classes)[clips.y_true]
    found = []
    for y_pred in clips.y_pred:
        said = np.eye(clips.n_classes)[y_pred]
        right, there, named = (weights @ table for table in (truth * said, truth, said))
        recall, f1 = right / np.maximum(there, 1e-9), 2 * right / np.maximum(there + named, 1e-9)
        found.append(np.stack([right.sum(1) / there.sum(1), recall.mean(1), f1.mean(1)], axis=1))
    return np.array(found)


def _pseudo_values(settings, weights, real):
    """Scores by setting and seed, pseudo-values of subjects, and the degrees of freedom of these."""
    names = np.unique(settings[0].subjects)
    without = weights * (settings[0].subjects != names[:, None])
    of_seeds = np.array([weighted(clips, weights[None])[:, 0] for clips in settings])
    table = np.array([weighted(clips, without) for clips in settings])  # settings, seeds, subjects, scores
    sizes = np.array([(real == name).sum() for name in np.unique(real)])
    free = max(sizes.sum() ** 2 / (sizes**2).sum() - 1, 1)
    return of_seeds, len(names) * of_seeds[:, :, None] - (len(names) - 1) * table, free


def _variance(settings, shares, weights, real):
    """A weighted sum of the settings' scores, its variance and degrees of freedom, from pseudo-values."""
    *both, free = _pseudo_values(settings, weights, real)
    of_seeds, table = (np.tensordot(shares, part, axes=1) for part in both)
    n_seeds, n = table.shape[:2]
    of_subjects = table.mean(axis=0).var(axis=0, ddof=1) / n
    if n_seeds < 3:
        return of_seeds.mean(axis=0), of_subjects, np.full(3, free)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean(axis=(0, 1))
    both = (rest**2).sum(axis=(0, 1)) / ((n - 1) * (n_seeds - 1)) / (n * n_seeds)
    seeds = of_seeds.var(axis=0, ddof=1) / n_seeds
    total = of_subjects + seeds - np.minimum(both, np.minimum(seeds, of_subjects))
    parts = of_subjects**2 / free + seeds**2 / (n_seeds - 1) + both**2 / free / (n_seeds - 1)
    return of_seeds.mean(axis=0), total, np.where(parts > 0, total**2 / np.maximum(parts, 1e-99), free)


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


def interval(settings, shares=(1,)):
    """A weighted sum of the settings' scores, and where it is a t quantile of its standard errors away.

    Shape (3 values and ends, 3 scores).
    """
    more = [_with_imagined(clips) for clips in settings]
    subjects = settings[0].subjects
    plain = _variance(settings, shares, np.ones(len(subjects)), subjects)
    imagined = _variance([clips for clips, _ in more], shares, more[0][1], subjects)
    least, most = sum(min(share, 0) for share in shares), sum(max(share, 0) for share in shares)
    found = []
    for i, value in enumerate(plain[0]):
        room = [(at[i] - least) * (most - at[i]) for at, *_ in (plain, imagined)]
        known = [
            (part[1][i] / room_of if room_of > 1e-12 else 0, part[2][i])
            for part, room_of in zip((plain, imagined), room, strict=True)
        ]
        spread, degrees = max(known, key=lambda one: one[0])
        found.append((value, *_ends(value, spread * student.ppf(0.975, degrees) ** 2, least, most)))
    return np.transpose(found)


def _ends(value, scale, least, most):
    """Where the square of the distance to a value is so many times the room to both bounds."""

    def beyond(end):
        return (end - value) ** 2 - scale * (end - least) * (most - end)

    low = brentq(beyond, least, value, xtol=1e-14) if value > least else least
    return low, brentq(beyond, value, most, xtol=1e-14) if value < most else most


def _detectable(settings, contrasts, n_contrasts):
    """Differences that are found four times in five where settings scatter so, by contrast and score."""
    of_seeds, table, free = _pseudo_values(settings, np.ones(len(settings[0].y_true)), settings[0].subjects)
    n_seeds, n = table.shape[1:3]
    if n_seeds < 3:
        return np.full((len(contrasts), 3), np.nan)
    degrees = len(settings) * (n_seeds - 1)
    apart = (table - table.mean(axis=1, keepdims=True)).var(axis=2, ddof=1).sum(axis=(0, 1)) / n / degrees
    seeds = np.maximum(of_seeds.var(axis=1, ddof=1).mean(axis=0), apart)
    known = seeds**2 / (apart**2 / free + seeds**2 / degrees + apart**2 / (free * degrees))
    quantiles = student.ppf(1 - 0.025 / n_contrasts, known) + student.ppf(0.8, known)
    return np.array([quantiles * np.sqrt(np.square(shares).sum() / n_seeds * seeds) for shares in contrasts])


def _of_contrasts(settings, contrasts, weights, real):
    """Weighted sums of the settings' scores, their variance and degrees of freedom; each a row by score."""
    of_seeds, table, free = _pseudo_values(settings, weights, real)
    n_seeds, n = table.shape[1:3]
    degrees = (len(settings) - 1) * (n_seeds - 1)

    def left_over(values):
        both_ways = values.mean(axis=1, keepdims=True) + values.mean(axis=0) - values.mean(axis=(0, 1))
        return ((values - both_ways) ** 2).sum(axis=(0, 1)) / degrees

    centred = table - table.mean(axis=2, keepdims=True)
    for shares in contrasts:
        value = sum(share * scores.mean(axis=0) for share, scores in zip(shares, of_seeds, strict=True))
        pseudo = sum(share * rows.mean(axis=0) for share, rows in zip(shares, table, strict=True))
        of_subjects = pseudo.var(axis=0, ddof=1) / n
        if n_seeds < 3:
            yield value, of_subjects, np.full(3, free)
            continue
        squares = np.square(shares) / n_seeds
        own = np.tensordot(squares, of_seeds.var(axis=1, ddof=1), axes=1)
        seeds = np.maximum(squares.sum() * left_over(of_seeds), own)
        both = squares.sum() * left_over(centred).sum(axis=0) / (n * (n - 1))
        total = of_subjects + seeds - np.minimum(both, np.minimum(of_subjects, seeds))
        parts = of_subjects**2 / free + seeds**2 / degrees + both**2 / (free * degrees)
        yield value, total, np.where(parts > 0, total**2 / np.maximum(parts, 1e-99), free)


def differences(settings, contrasts, n_contrasts):
    """The ends of each contrast's interval and its p, corrected for so many, and what is detectable.

    ``contrasts``: a share of each setting, positive ones sum up to 1 and negative ones to -1. Shape
    (n, 3 scores, 5): value, ends, p and the smallest detectable difference.
    """
    subjects = settings[0].subjects
    more = [_with_imagined(clips) for clips in settings]
    plain = _of_contrasts(settings, contrasts, np.ones(len(subjects)), subjects)
    imagined = _of_contrasts([clips for clips, _ in more], contrasts, more[0][1], subjects)
    found, smallest = [], _detectable(settings, contrasts, n_contrasts)
    for *both, of_both in zip(plain, imagined, smallest, strict=True):
        for i, value in enumerate(both[0][0]):
            known = [(v[i] / (1 - at[i] ** 2), degrees[i]) for at, v, degrees in both]
            spread, degrees = max(known, key=lambda one: one[0])
            t = student.ppf(1 - 0.025 / n_contrasts, degrees)
            ends = _ends(value, spread * t**2, -1, 1)
            p = 2 * student.sf(abs(value) / np.sqrt(spread), degrees)
            found.append((value, *ends, min(n_contrasts * p, 1), of_both[i]))
    return np.array(found).reshape(len(contrasts), 3, 5)


def difference(settings, pair, n_pairs):
    """Of the second of a pair of settings less the first: as `differences`, each by score."""
    shares = np.zeros(len(settings))
    shares[list(pair)] = -1, 1
    return differences(settings, [shares], n_pairs)[0].T
