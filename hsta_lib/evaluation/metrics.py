"""ACC, UF1 and UAR (Eq. 17), from labels or from confusion matrices. numpy in, numbers out."""

import numpy as np

METRICS = ("acc", "uar", "uf1")


def confusion(y_true, y_pred, n_classes, by=()):
    """Confusion matrix over all classes of the protocol.

    Parameters
    ----------
    y_true, y_pred : array_like of int, shape (n_clips,)
        Reference and predicted class of the same clips in the same order, in ``0..n_classes-1``.
    n_classes : int
        Classes of the *protocol* (3, 4 or 7), not those that happen to occur.
    by : sequence of array_like of int, shape (n_clips,)
        Groups to count apart, numbered from 0: cells, seeds, subjects, folds.

    Returns
    -------
    ndarray of int, shape (*n_groups, n_classes, n_classes)
        Rows are reference, columns predicted classes.

    Raises
    ------
    ValueError
        If the lengths differ, there are no clips, or a label lies outside the range.

    Examples
    --------
    >>> confusion([0, 0, 1], [0, 1, 1], n_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim != 1 or not len(y_true):
        raise ValueError(f"y_true {y_true.shape} and y_pred {y_pred.shape} must be lists of equal length")
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(f"{name} must hold integers in 0..{n_classes - 1}, found {np.unique(labels)}")
    matrices = np.zeros([np.max(group) + 1 for group in by] + [n_classes, n_classes], dtype=int)
    np.add.at(matrices, (*by, y_true, y_pred), 1)
    return matrices


def scores(matrices):
    """ACC, UAR and UF1 of confusion matrices, pooled: sum the matrices of all folds first.

    UF1 is the mean over classes of ``2 TP / (2 TP + FP + FN)``, UAR of ``TP / n`` (Eq. 17); a class
    with a zero denominator counts 0, so the mean is always over all classes of the protocol. Pooling
    is the rule of MEGC2019; it is not the mean of per-fold scores, for which see `per_fold_means`.

    Parameters
    ----------
    matrices : array_like, shape (..., n_classes, n_classes)
        Rows are reference, columns predicted classes; counts or weighted counts.

    Returns
    -------
    ndarray of float, shape (..., 3)
        In the order of `METRICS`, each in ``[0, 1]``.

    Examples
    --------
    >>> scores(confusion([0, 0, 1, 2], [0, 1, 1, 1], n_classes=3)).round(4).tolist()
    [0.5, 0.5, 0.3889]
    """
    matrices = np.asarray(matrices, dtype=float)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    reference, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    accuracy = _ratio(hits.sum(axis=-1), reference.sum(axis=-1))
    recall = _ratio(hits, reference).mean(axis=-1)
    f1 = _ratio(2 * hits, reference + predicted).mean(axis=-1)
    return np.stack([accuracy, recall, f1], axis=-1)


def per_fold_means(matrices, absent="skipped"):
    """Mean over folds of each fold's scores, as the released code reports them; shown beside the pooled.

    Parameters
    ----------
    matrices : array_like, shape (..., n_folds, n_classes, n_classes)
        A fold without clips does not count.
    absent : {"skipped", "zero"}
        What a class counts in UAR and UF1 of a fold whose reference labels lack it: nothing, so that they are
        means over the classes that occur; or 0.

    Returns
    -------
    ndarray of float, shape (..., 3)
        In the order of `METRICS`.

    Raises
    ------
    ValueError
        If ``absent`` is neither.
    """
    if absent not in ("skipped", "zero"):
        raise ValueError(f"absent = {absent!r} must be 'skipped' or 'zero'")
    matrices = np.asarray(matrices)
    occurring = (matrices.sum(axis=-1) > 0).sum(axis=-1)
    of_folds = scores(matrices)
    if absent == "skipped":
        of_folds[..., 1:] *= matrices.shape[-1] / np.maximum(occurring, 1)[..., None]
    return of_folds.sum(axis=-2) / (occurring > 0).sum(axis=-1)[..., None]


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
