"""What a repository gains by scoring the best epoch on the test, and what chance alone would gain by it."""

from typing import NamedTuple

import numpy as np

from hsta_lib.evaluation.intervals import Interval, imagined_clips, jackknife
from hsta_lib.evaluation.metrics import METRICS, confusion, scores

LAST, POOLED, BY_FOLD = "last epoch", "best epoch on the pooled test", "best epoch of each fold"
BY_OTHERS = "for each fold the best epoch of all others"  # looks at no clip that it is scored on
CHOICES = (LAST, POOLED, BY_FOLD, BY_OTHERS)
_UF1 = METRICS.index("uf1")


class Chosen(NamedTuple):
    """Scores of each of `CHOICES`, what each is above the last epoch, and what chance alone is above it.

    The first two are intervals over subjects, of shape (4, 3); ``chance`` has the mean and the ends of the
    middle 95 % over random labels. ``epoch`` is the number, from 0, of the best one on the pooled test.
    """

    scores: Interval
    gains: Interval
    chance: Interval
    epoch: int


def compare(y_true, y_pred, subject, fold, n_classes, rng, n_shuffles=200):
    """Score the last epoch and those that each of `CHOICES` finds best.

    An epoch is best by UF1 over all classes of the protocol; of equal ones the first is. A single fold has no
    others to choose by: it gets its first epoch. Each choice is made
    anew without each subject, so that the intervals know of it. They are of this one training per fold.

    Parameters
    ----------
    y_true : array_like of int, shape (n_clips,)
    y_pred : array_like of int, shape (n_epochs, n_clips)
        In the order of training.
    subject, fold : array_like of int, shape (n_clips,)
        Numbered from 0.
    n_shuffles : int
        How often labels are dealt out anew among all clips, for what chance gains by the same choices.
    """
    y_true, y_pred, subject, fold = (np.asarray(values) for values in (y_true, y_pred, subject, fold))
    groups, group = np.unique(np.stack([fold, subject]), axis=1, return_inverse=True)
    fold_of, subject_of = groups

    def counted(labels):
        epochs = np.repeat(np.arange(len(y_pred)), len(labels))
        every = [np.tile(values, len(y_pred)) for values in (labels, group.ravel())]
        return confusion(every[0], y_pred.ravel(), n_classes, by=(epochs, every[1]))

    counts = counted(y_true)
    sizes = np.bincount(subject)[np.unique(subject)]
    found = _with_left_out(counts, fold_of, subject_of), _with_left_out(*_imagined(counts, *groups))
    above = [[_above_last(values) for values in part] for part in found]
    shuffled = [_above_last(_choices(counted(rng.permutation(y_true)), fold_of)) for _ in range(n_shuffles)]
    return Chosen(
        jackknife(found, sizes, possible=(0, 1)),
        jackknife(above, sizes, possible=(-1, 1)),
        Interval(np.mean(shuffled, axis=0), *np.quantile(shuffled, [0.025, 0.975], axis=0)),
        int(_best(counts.sum(axis=1))),
    )


def _with_left_out(counts, fold_of, subject_of):
    """Scores of each choice, and without each subject: shapes (4, 1, 3) and (4, 1, n_subjects, 3)."""
    kept = [subject_of != name for name in np.unique(subject_of)]
    left_out = [_choices(counts[:, others], fold_of[others]) for others in kept]
    return _choices(counts, fold_of)[:, None], np.stack(left_out, axis=1)[:, None]


def _imagined(counts, fold_of, subject_of):
    """The same with imagined clips, each a subject and a fold of its own; see `intervals.score_interval`."""
    clips = imagined_clips(counts.shape[-1])
    every = np.broadcast_to(clips, (len(counts), *clips.shape))
    new = np.arange(len(clips))
    more = [np.concatenate([names, names.max() + 1 + new]) for names in (fold_of, subject_of)]
    return np.concatenate([counts, every], axis=1), *more


def _choices(counts, fold_of):
    """Scores of each choice, shape (4, 3), of counts of shape (n_epochs, n_groups, n_classes, n_classes)."""
    pooled = counts.sum(axis=1)
    by_fold, by_others = np.zeros((2, *pooled.shape[1:]))
    for fold in np.unique(fold_of):
        of_fold = counts[:, fold_of == fold].sum(axis=1)
        by_fold += of_fold[_best(of_fold)]
        by_others += of_fold[_best(pooled - of_fold)]
    return scores(np.stack([pooled[-1], pooled[_best(pooled)], by_fold, by_others]))


def _best(matrices):
    """The first epoch of the highest UF1."""
    return scores(matrices)[:, _UF1].argmax()


def _above_last(values):
    return values - values[:1]
