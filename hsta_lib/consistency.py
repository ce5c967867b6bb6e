"""Check a printed table against itself: which scores do class counts and other printed numbers allow?

No training, no pictures: arithmetic on the published numbers. Scores are in percent, as printed, wherever
a caller sees them. ``uar`` is the mean recall and ``uf1`` the mean F1 (Eq. 17). With ``average="weighted"``
both means weigh classes by their clips, which makes them accuracy and weighted F1; with ``"weighted f1"``
only the mean F1 does.
"""

import functools
import itertools

import numpy as np
import pandas as pd

from hsta_lib.metrics import METRICS, scores
from hsta_lib.paper import load_table

# Clips per class. MEGC2019's official list: negative, positive, surprise. CAS(ME)^3 from the authors' sheet
# (v2): negative, positive, surprise; disgust, surprise, others, fear, anger, sad, happy; classes I to VII.
COUNTS = {
    "SMIC": (70, 51, 43),
    "SAMM": (92, 26, 15),
    "CASME II": (88, 32, 25),
    "CAS(ME)^3, emotion3": (457, 55, 187),
    "CAS(ME)^3, emotion3, HTNet's list": (449, 54, 184),
    "CAS(ME)^3, emotion7": (250, 187, 161, 86, 64, 57, 55),
    "CAS(ME)^3, objective7": (15, 151, 234, 37, 47, 3, 373),
}
# The same per subject (MEGC2019's official list), for leave-one-subject-out.
_SUBJECTS = {
    "SMIC": "3/2/1 0/1/5 22/11/6 10/4/5 1/0/1 2/0/2 9/4/0 0/1/3 3/3/1 0/8/1 0/10/0 3/2/5 1/1/2 2/0/5 0/1/1"
    " 14/3/5",
    "SAMM": "9/0/2 1/5/2 3/0/1 4/0/0 13/7/0 2/0/1 6/0/0 2/7/1 2/0/1 2/1/2 3/0/1 2/0/1 0/1/0 2/2/0 2/0/0 3/2/0"
    " 1/0/0 1/0/0 9/0/0 1/0/2 3/0/0 1/0/0 4/0/0 4/1/0 3/0/0 7/0/1 1/0/0 1/0/0",
    "CASME II": "2/1/0 5/1/3 4/0/1 2/0/0 0/1/5 1/1/2 5/0/0 1/0/0 5/5/0 4/0/0 5/2/4 0/2/0 0/3/0 1/1/1 1/2/0"
    " 23/7/1 3/3/5 2/0/0 1/0/0 2/0/0 7/1/0 2/0/1 3/0/2 9/2/0",
}
SUBJECTS = {
    name: tuple(tuple(map(int, subject.split("/"))) for subject in text.split())
    for name, text in _SUBJECTS.items()
}
# The released five test folds of the emotion labels; others, disgust, surprise, fear, anger, sad, happy.
EMOTION_FOLDS = (
    (33, 43, 35, 16, 21, 11, 13),
    (35, 50, 33, 15, 14, 12, 13),
    (29, 47, 41, 20, 10, 13, 12),
    (36, 60, 31, 18, 7, 9, 11),
    (28, 50, 47, 17, 12, 12, 6),
)

AVERAGES = ("macro", "weighted", "weighted f1")
ABSENT = ("zero", "left out", "one")
KINDS = ("arithmetic", "text", "inherited", "unsupported", "omission")
_MOST = 20_000_000  # combinations that are enumerated at most


# --- input ------------------------------------------------------------------------------------------------


def _band(name, value, digits):
    """Fractions that print as a percentage; either neighbour of a tie, to be safe."""
    if not 0 <= value <= 100:
        raise ValueError(f"{name} is {value}: scores are in percent, 0 to 100")
    half = 0.5 * 10.0**-digits + 1e-9
    return (value - half) / 100, (value + half) / 100


def check_counts(counts, total=None):
    """Class counts as an array.

    Parameters
    ----------
    counts : sequence of int
        Clips of each class, at least two classes.
    total : int, optional
        What they must add up to.

    Returns
    -------
    ndarray of int, shape (n_classes,)

    Raises
    ------
    ValueError
        If a count is not a positive integer or they do not add up to ``total``.
    """
    array = np.asarray(counts)
    if array.ndim != 1 or len(array) < 2 or array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(f"class counts {counts}: give a positive integer for each of two or more classes")
    if total is not None and array.sum() != total:
        raise ValueError(
            f"class counts {counts} add up to {array.sum()}, not to {total}: correct one of them"
        )
    return array.astype(int)


def _known(name, value, known):
    if value not in known:
        raise ValueError(f"{name} {value!r} is unknown; choose one of {', '.join(map(repr, known))}")


def _weights(counts, average):
    """Weights of the classes in the mean recall, and in the mean F1."""
    _known("average", average, AVERAGES)
    equal, by_size = np.full(len(counts), 1 / len(counts)), counts / counts.sum()
    return {"macro": (equal, equal), "weighted": (by_size, by_size), "weighted f1": (equal, by_size)}[average]


# --- one confusion matrix, exactly ------------------------------------------------------------------------


def uf1_range(counts, uar, *, digits=1, average="macro"):
    """Lowest and highest UF1 of all confusion matrices whose UAR prints as given. Exact, for few classes.

    A matrix enters UF1 through its hits TP and its false positives FP alone: the mean over classes of
    2 TP_c / (TP_c + n_c + FP_c). With E errors in all, e_c of them in class c, the FP that some matrix has
    are the integers with sum E and 0 <= FP_c <= E - e_c (Hall's condition: two classes or more can take
    errors from anywhere). UF1 is convex in FP and separable, so its minimum is reached by placing one false
    positive after the other where UF1 falls most, its maximum at a vertex: all FP but one at an end.
    All TP of that UAR are tried.

    Parameters
    ----------
    counts : sequence of int
        Clips of each class.
    uar : float
        Percent.
    digits : int
        Decimals printed.
    average : {"macro", "weighted", "weighted f1"}
        ``weighted``: classes count by their clips in both scores; ``uar`` is then accuracy. ``weighted f1``:
        in UF1 alone.

    Returns
    -------
    low, high : float
        Percent; NaN where no matrix has that UAR.

    Raises
    ------
    ValueError
        If a score lies outside 0..100, a count is not a positive integer, the average is unknown, or the
        classes are too many or too large to be enumerated; `bounds` has no such limit.

    Examples
    --------
    >>> low, high = uf1_range((70, 51, 43), 78.0)
    >>> round(low, 1), round(high, 1)
    (71.5, 80.8)
    """
    counts = check_counts(counts)
    in_recall, weights = _weights(counts, average)
    hits = _hits_within(counts, in_recall, _band("uar", uar, digits))
    if not len(hits):
        return np.nan, np.nan
    high = _f1(hits, _highest(hits, counts, weights), counts, weights).max()
    return float(100 * _lowest_of_all(hits, counts, weights)), float(100 * high)


def uar_range(counts, uf1, *, digits=1, average="macro"):
    """Lowest and highest UAR of all confusion matrices whose UF1 prints as given. Exact, for few classes.

    As `uf1_range`, the other way round: hits are tried in the order of their UAR, from either end, until
    some false positives give that UF1.

    Returns
    -------
    low, high : float
        Percent; NaN where no matrix has that UF1.
    """
    counts = check_counts(counts)
    in_recall, weights = _weights(counts, average)
    low, high = _band("uf1", uf1, digits)
    hits = _hits_within(counts, in_recall, (-1, 2))
    at_most = 2 * hits / (hits + counts) @ weights  # without any false positive
    hits = hits[(_at_least(hits, counts, weights) <= high) & (at_most >= low)]
    hits = hits[np.argsort(hits / counts @ in_recall)]
    ends = [_first(order, counts, weights, (low, high)) for order in (hits, hits[::-1])]
    return tuple(np.nan if found is None else float(100 * (found[0] / counts @ in_recall)) for found in ends)


def matrix_with(counts, uar, uf1, *, digits=1, average="macro"):
    """A confusion matrix whose UAR and UF1 print as given, or None if there is none. Exact, for few classes.

    Every hits vector of that UAR and every admissible false positives vector (see `uf1_range`) is tried.

    Returns
    -------
    ndarray of int, shape (n_classes, n_classes), or None
        Rows are reference, columns predicted classes: the proof that the pair is possible.

    Raises
    ------
    ValueError
        As `uf1_range`.

    Examples
    --------
    >>> matrix_with((2, 3, 2), 100.0, 100.0).tolist()
    [[2, 0, 0], [0, 3, 0], [0, 0, 2]]
    >>> matrix_with((70, 51, 43), 78.0, 84.7) is None
    True
    """
    counts = check_counts(counts)
    in_recall, weights = _weights(counts, average)
    hits = _hits_within(counts, in_recall, _band("uar", uar, digits))
    found = _first(hits, counts, weights, _band("uf1", uf1, digits))
    return None if found is None else _matrix(*found, counts)


def _hits_within(counts, weights, band):
    """All hits whose mean recall lies in a band; int, shape (n, n_classes)."""
    if np.prod(counts + 1.0) > _MOST:
        raise ValueError(f"class counts {counts.tolist()} are too many to enumerate; use `bounds`")
    axes = np.ogrid[tuple(slice(n + 1) for n in counts)]
    recall = sum(w * axis / n for w, axis, n in zip(weights, axes, counts, strict=True))
    return np.argwhere((recall >= band[0]) & (recall <= band[1]))


def _f1(hits, false, counts, weights):
    return 2 * hits / (hits + counts + false) @ weights


def _room(hits, counts):
    """Errors in all, shape (n, 1), and the false positives each class can take at most."""
    errors = counts - hits
    total = errors.sum(axis=1, keepdims=True)
    return total, total - errors


def _at_least(hits, counts, weights):
    """Lower bound of F1 by Cauchy-Schwarz, see `bounds`."""
    return np.sqrt(weights * hits).sum(axis=1) ** 2 / counts.sum()


def _lowest_of_all(hits, counts, weights, chunk=499):
    """Lowest F1 of any of the hits, those with the lowest bound first, until no bound is lower."""
    bound = _at_least(hits, counts, weights)
    order, lowest = np.argsort(bound), np.inf
    for start in range(0, len(hits), chunk):
        part = order[start : start + chunk]
        if bound[part[0]] > lowest:
            break
        false = _lowest(hits[part], counts, weights)
        lowest = min(lowest, _f1(hits[part], false, counts, weights).min())
    return lowest


def _lowest(hits, counts, weights):
    """False positives of the lowest F1."""
    total, room = _room(hits, counts)
    false, rows = np.zeros_like(hits), np.arange(len(hits))
    for step in range(total.max(initial=0)):
        size = hits + counts + false
        fall = np.where(false < room, weights * hits / (size * (size + 1.0)), -1)
        false[rows, fall.argmax(axis=1)] += total[:, 0] > step
    return false


def _highest(hits, counts, weights):
    """False positives of the highest F1."""
    total, room = _room(hits, counts)
    best, chosen = np.full(len(hits), -1.0), np.zeros_like(hits)
    for free, full in itertools.product(
        range(len(counts)), itertools.product((0, 1), repeat=len(counts) - 1)
    ):
        false = room * np.insert(full, free, 0)
        false[:, free] = total[:, 0] - false.sum(axis=1)
        fits = (false[:, free] >= 0) & (false[:, free] <= room[:, free])
        f1 = np.where(fits, _f1(hits, np.where(fits[:, None], false, 0), counts, weights), -1)
        chosen[f1 > best] = false[f1 > best]
        best = np.maximum(best, f1)
    return chosen


def _first(hits, counts, weights, band, chunk=499):
    """First hits, with false positives, whose F1 lies in the band; None if there are none."""
    for start in range(0, len(hits), chunk):
        part = hits[start : start + chunk]
        part = part[_f1(part, _highest(part, counts, weights), counts, weights) >= band[0]]
        if len(part):
            part = part[_f1(part, _lowest(part, counts, weights), counts, weights) <= band[1]]
        for one in part:
            false = _all_false(one, counts)
            f1 = _f1(one, false, counts, weights)
            inside = np.flatnonzero((f1 >= band[0]) & (f1 <= band[1]))
            if len(inside):
                return one, false[inside[0]]
    return None


def _all_false(hits, counts):
    """All false positives that go with hits; int, shape (n, n_classes)."""
    errors = counts - hits
    room = errors.sum() - errors
    if np.prod(room[:-1] + 1.0) > _MOST:
        raise ValueError(
            f"class counts {np.asarray(counts).tolist()} are too many to enumerate; use `bounds`"
        )
    free = np.indices(room[:-1] + 1).reshape(len(counts) - 1, -1).T
    last = errors.sum() - free.sum(axis=1)
    fits = (last >= 0) & (last <= room[-1])
    return np.column_stack([free[fits], last[fits]])


def _matrix(hits, false, counts):
    """A confusion matrix with these hits and false positives."""
    matrix, errors, false = np.diag(hits), counts - hits, false.copy()
    # A class with errors + false positives equal to all that is left must take part in the next step, and
    # there are at most two such classes: take the two largest.
    while errors.sum():
        load = errors + false
        first = load.argmax()
        other = false if errors[first] else errors
        second = np.where((np.arange(len(load)) != first) & (other > 0), load, -1).argmax()
        source, target = (first, second) if errors[first] else (second, first)
        matrix[source, target] += 1
        errors[source] -= 1
        false[target] -= 1
    return matrix


def search_matrix(counts, uar, uf1, rng, *, digits=1, n_tries=199):
    """Look for a confusion matrix whose UAR and UF1 print as given; for many classes.

    Random hits of that UAR; then false positives are moved one by one from those of the lowest to those of
    the highest UF1, and each step is admissible (see `uf1_range`).

    Returns
    -------
    ndarray of int, shape (n_classes, n_classes), or None
        None proves nothing.
    """
    counts = check_counts(counts)
    weights, (low, high) = _weights(counts, "macro")[0], _band("uf1", uf1, digits)
    recall_low, recall_high = _band("uar", uar, digits)
    largest = counts.argmax()
    for _ in range(n_tries):
        recalls = np.clip(uar / 100 + rng.normal(scale=rng.uniform(0, 0.5), size=len(counts)), 0, 1)
        hits = np.rint(recalls * counts).astype(int)
        missing = uar / 100 * len(counts) - (hits / counts).sum()
        hits[largest] = np.clip(hits[largest] + np.rint(missing * counts[largest]), 0, counts[largest])
        if recall_low <= hits / counts @ weights <= recall_high:
            false = _path(hits, counts, weights)
            f1 = _f1(hits, false, counts, weights)
            inside = np.flatnonzero((f1 >= low) & (f1 <= high))
            if len(inside):
                return _matrix(hits, false[inside[0]], counts)
    return None


def _path(hits, counts, weights):
    """False positives from those of the lowest to those of the highest F1, one moved at a time."""
    start, end = (find(hits[None], counts, weights)[0] for find in (_lowest, _highest))
    classes = np.arange(len(counts))
    leave, enter = (np.repeat(classes, np.maximum(d, 0)) for d in (start - end, end - start))
    steps = (enter[:, None] == classes).astype(int) - (leave[:, None] == classes)
    return start + np.concatenate([np.zeros((1, len(counts)), dtype=int), steps.cumsum(axis=0)])


# --- any number of classes, by proof ----------------------------------------------------------------------


def bounds(score, value, *, n_classes=None, counts=None, digits=1):
    """Ranges that one pooled score leaves to the other two, proved for any number of classes.

    Let r_c be recalls, t_c hits, p_c predicted clips, N all clips, C classes, U, F, A the three scores.
    Below: sum (n_c + p_c) = 2 N, so by Cauchy-Schwarz F >= (sum sqrt t_c)^2 / (C N) >= A / C; the middle term
    is concave in t, so over all t with a given U or A it is least where all r_c but one are 0 or 1.
    Above: F_c <= 2 r_c / (1 + r_c), concave, so F <= 2 U / (1 + U) by Jensen. With known counts also: F is
    convex in the false positives, so it is highest with all of them in one class k, where
    F_k = 2 t_k / (n_k + N - sum_{c != k} t_c); bound that sum by giving the largest classes their hits first.
    A and U: U C is the sum, A N the sum weighted by counts, of recalls in 0..1: again all but one at an end.

    Parameters
    ----------
    score : {"acc", "uar", "uf1"}
    value : float
        Percent.
    n_classes : int, optional
        Needed without ``counts``.
    counts : sequence of int, optional
        Clips of each class; makes the ranges narrower.
    digits : int
        Decimals printed.

    Returns
    -------
    dict of str to (float, float)
        Percent. What lies outside is impossible; what lies inside need not be possible.

    Raises
    ------
    ValueError
        If the score is unknown, the value lies outside 0..100, or neither counts nor classes are given.

    Examples
    --------
    >>> [round(end, 1) for end in bounds("uar", 50, n_classes=2)["uf1"]]
    [0.0, 66.7]
    """
    _known("score", score, METRICS)
    low, high = np.clip(_band(score, value, digits), 0, 1)
    if counts is not None:
        found = _bounds_of_counts(score, low, high, check_counts(counts))
    elif n_classes is not None and n_classes >= 2:
        found = _bounds_of_any(score, low, high, n_classes)
    else:
        raise ValueError(f"n_classes is {n_classes}: give counts, or a number of classes from 2 on")
    return {name: (float(100 * ends[0]), float(100 * ends[1])) for name, ends in found.items()}


def _bounds_of_any(score, low, high, n):
    def least(uar):  # recall of the worst class, hence also accuracy
        return max(0.0, 1 - n * (1 - uar))

    if score == "uar":
        return {"acc": (least(low), min(1.0, n * high)), "uf1": (least(low) / n, 2 * high / (1 + high))}
    if score == "acc":
        top = 1 - (1 - high) / n
        return {"uar": (low / n, top), "uf1": (low / n, 2 * top / (1 + top))}
    bottom = low / (2 - low)
    return {"acc": (least(bottom), min(1.0, n * high)), "uar": (bottom, min(1.0, 1 - 1 / n + high))}


def _bounds_of_counts(score, low, high, counts):
    n, total = len(counts), counts.sum()
    if score == "acc":
        at_low, at_high = (_vertices(counts, value * total) for value in (low, high))
        uar = at_low.mean(axis=1).min(), at_high.mean(axis=1).max()
        return {"uar": uar, "uf1": (_least_f1(at_low, counts), _most_f1(uar[1], counts))}
    if score == "uar":
        at_low, at_high = (_vertices(np.ones(n), value * n) for value in (low, high))
        acc = (at_low @ counts).min() / total, (at_high @ counts).max() / total
        return {"acc": acc, "uf1": (_least_f1(at_low, counts), _most_f1(high, counts))}
    # Both bounds of UF1 rise with UAR: turn them round. The returned end is on the excluded side.
    uar = (
        _last(lambda u: _most_f1(u, counts) < low, 0.0, 1.0),
        _last(lambda u: _least_f1(_vertices(np.ones(n), u * n), counts) > high, 1.0, 0.0),
    )
    acc = [_bounds_of_counts("uar", u, u, counts)["acc"][end] for end, u in enumerate(uar)]
    # sum sqrt t_c <= sqrt(C N F): A N = sum t_c is largest with the largest classes right.
    left, hits = np.sqrt(n * total * high), 0.0
    for root in np.sqrt(np.sort(counts)[::-1]):
        hits, left = hits + min(root, left) ** 2, left - min(root, left)
    return {"acc": (acc[0], min(acc[1], hits / total)), "uar": uar}


def _vertices(weights, total):
    """Recalls in 0..1 with a given weighted sum, all but one of them 0 or 1; shape (n, n_classes)."""
    found = []
    for free in range(len(weights)):
        ends = np.array(list(itertools.product((0.0, 1.0), repeat=len(weights) - 1)))
        recalls = np.insert(ends, free, 0, axis=1)
        recalls[:, free] = (total - recalls @ weights) / weights[free]
        found.append(recalls[(recalls[:, free] > -1e-9) & (recalls[:, free] < 1 + 1e-9)])
    return np.clip(np.concatenate(found), 0, 1)


def _least_f1(recalls, counts):
    return (np.sqrt(recalls * counts).sum(axis=1) ** 2).min() / (len(counts) * counts.sum())


def _most_f1(uar, counts, n_cells=997):
    n, total = len(counts), counts.sum()
    edges = np.linspace(max(0, n * uar - (n - 1)), min(1, n * uar), n_cells + 1)
    # Within a cell each term is bounded at the edge where it is largest.
    rest = n * uar - edges[:-1]
    mean = np.clip(rest / (n - 1), 0, 1)
    others = (n - 1) * 2 * mean / (1 + mean)
    best = 0.0
    for k in range(n):
        largest_first = np.sort(np.delete(counts, k))[::-1].cumsum()
        hits = np.interp(rest, np.arange(n), [0, *largest_first])
        best = max(best, (others + 2 * counts[k] * edges[1:] / (counts[k] + total - hits)).max())
    return min(best / n, 2 * uar / (1 + uar))


def _last(excluded, start, stop):
    """Last value from ``start`` towards ``stop`` that is still excluded; ``start`` if none is."""
    if excluded(stop):
        return stop
    for _ in range(30):
        middle = (start + stop) / 2
        start, stop = (middle, stop) if excluded(middle) else (start, middle)
    return start


# --- means over folds -------------------------------------------------------------------------------------


def fold_range(folds, uar, *, absent, digits=1):
    """UF1 that a mean over folds can have when the mean UAR prints as given.

    Every fold has finitely many pairs (UAR, UF1); a sum over folds lies in the sum of their convex hulls,
    whose edges are those of the folds in the order of their slopes. Outside that range is impossible; inside,
    gaps are possible but small (Shapley and Folkman: all folds but two are at a corner of their hull).

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
        If the convention is unknown, a score lies outside 0..100, or a fold is empty or has a count that is
        negative or no integer.
    """
    folds = _check_folds(folds, absent)
    low, high = _band("uar", uar, digits)
    ends = []
    for sign in (-1, 1):
        x, y = _hull_of_mean(folds, absent, sign)
        if high < x[0] or low > x[-1]:
            return np.nan, np.nan
        inner = x[(x > low) & (x < high)]
        where = np.concatenate([np.clip([low, high], x[0], x[-1]), inner])
        ends.append(100 * sign * (sign * np.interp(where, x, y)).max())
    return float(ends[0]), float(ends[1])


def folds_with(folds, uar, uf1, rng, *, absent, digits=1, n_starts=59):
    """Look for scores of single folds whose means print as given.

    From corners of the folds' hulls, one fold after the other takes that of its possible pairs which brings
    the means nearest.

    Returns
    -------
    ndarray of float, shape (n_folds, 2), or None
        UAR and UF1 of each fold, in percent, each of some confusion matrix of that fold. None proves nothing.
    """
    folds = _check_folds(folds, absent)
    bands = np.array([_band("uar", uar, digits), _band("uf1", uf1, digits)]) * len(folds)
    points = [_fold_pairs(fold, absent)[0] for fold in folds]
    target = bands.mean(axis=1)
    for chosen in _starts(folds, absent, target, n_starts):
        for fold in rng.permutation(np.tile(np.arange(len(folds)), 3)):
            rest = target - (chosen.sum(axis=0) - chosen[fold])
            chosen[fold] = points[fold][((points[fold] - rest) ** 2).sum(axis=1).argmin()]
            reached = chosen.sum(axis=0)
            if (reached >= bands[:, 0]).all() and (reached <= bands[:, 1]).all():
                return 100 * chosen
    return None


def _starts(folds, absent, target, n_starts, n_directions=719):
    """Corners of the folds' hulls in common directions, those first whose sum is nearest to the target."""
    angles = np.linspace(0, 2 * np.pi, n_directions, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    corners = [np.concatenate([_chain(fold, absent, sign) for sign in (1, -1)]) for fold in folds]
    starts = np.stack([corner[(corner @ directions).argmax(axis=0)] for corner in corners], axis=1)
    distance = ((starts.sum(axis=1) - target) ** 2).sum(axis=1)
    return starts[np.argsort(distance, kind="stable")[:n_starts]]


def _check_folds(folds, absent):
    _known("absent", absent, ABSENT)
    for fold in folds:
        array = np.asarray(fold)
        if array.ndim != 1 or array.dtype.kind not in "iu" or (array < 0).any() or not array.sum():
            raise ValueError(f"fold {fold}: give non-negative integers, at least one of them positive")
    if len({len(fold) for fold in folds}) != 1:
        raise ValueError(f"folds {folds}: give the same number of classes for each of one or more folds")
    return [tuple(int(n) for n in fold) for fold in folds]


def _fold_pairs(counts, absent):
    """Possible (UAR, UF1) of a fold, alike to four decimals only once; and lowest and highest UF1 by UAR."""
    return _enumerate_fold(counts, "zero" if all(counts) else absent)


@functools.cache
def _enumerate_fold(counts, absent):
    counts = np.array(counts)
    if np.prod(counts + 1.0) * counts.sum() ** (len(counts) - 1.0) > 5 * _MOST:
        raise ValueError(f"fold {counts.tolist()} is too large to enumerate; give smaller folds")
    there = counts > 0
    pairs = []
    for hits in itertools.product(*(range(n + 1) for n in counts)):
        hits = np.array(hits)
        false = _all_false(hits, counts)
        recall = np.where(there, hits / np.maximum(counts, 1), absent == "one")
        size = hits + counts + false
        f1 = np.where(size > 0, 2 * hits / np.maximum(size, 1), absent == "one")
        used = there if absent == "left out" else np.ones_like(there)
        f1 = np.unique(f1[:, used].mean(axis=1))
        pairs.append(np.column_stack([np.full(len(f1), recall[used].mean()), f1]))
    pairs = np.concatenate(pairs)
    keys = np.rint(pairs * 1e4).astype(int) @ [100_000, 1]
    ordered = pairs[np.lexsort(pairs.T[::-1])]
    first = np.flatnonzero(np.diff(ordered[:, 0], prepend=-1))
    ends = np.union1d(first, np.append(first[1:], len(ordered)) - 1)
    return pairs[np.unique(keys, return_index=True)[1]], ordered[ends]


@functools.cache
def _chain(counts, absent, sign):
    """Corners of a fold's upper (sign 1) or lower (sign -1) hull, from low to high UAR."""
    corners = []
    for x, y in _fold_pairs(counts, absent)[1] * [1, sign]:
        # Float noise may make two recalls of one value differ; a step that small is one value.
        while corners and (
            (x - corners[-1][0] < 1e-12 and y >= corners[-1][1])
            or (len(corners) > 1 and _turns_left(*corners[-2], *corners[-1], x, y))
        ):
            corners.pop()
        if not corners or x - corners[-1][0] >= 1e-12:
            corners.append((x, y))
    return np.array(corners) * [1, sign]


def _turns_left(x0, y0, x1, y1, x2, y2):
    return (x1 - x0) * (y2 - y0) >= (x2 - x0) * (y1 - y0)


def _hull_of_mean(folds, absent, sign):
    chains = [_chain(fold, absent, sign) for fold in folds]
    start = sum(chain[0] for chain in chains)
    edges = np.concatenate([np.diff(chain, axis=0) for chain in chains])
    edges = edges[np.argsort(-sign * edges[:, 1] / edges[:, 0])]
    return (np.concatenate([[start], start + edges.cumsum(axis=0)]) / len(folds)).T


# --- reported pairs ---------------------------------------------------------------------------------------

_READINGS = {"macro": "pooled", "weighted": "weighted", "weighted f1": "weighted f1"}
# What makes a pair that cannot be pooled less surprising: (kind, best innocent explanation).
_PAIR_NOTES = {
    ("HSTA", "SMIC"): ("arithmetic", "a mean over subjects was printed, or the cell repeats SAMM's 84.7"),
    ("LBP-TOP", "SMIC"): ("inherited", "the baseline as MEGC2019 printed it, copied faithfully"),
    ("MMNet", "CASME II"): ("inherited", "a re-run whose source is not named; possibly a misprint"),
}


def impossible_pairs(table, counts, folds=None, *, seed=0):
    """Check reported pairs (UF1, UAR) against class counts.

    Parameters
    ----------
    table : DataFrame
        With ``method``, ``dataset``, ``uf1``, ``uar``, in percent with one decimal.
    counts : dict of str to sequence of int
        Clips of each class by dataset.
    folds : dict of str to sequence of sequence of int, optional
        The same by test fold; without them means over folds are not considered.
    seed : int
        Of the searches, which can only turn "undecided" into a proof.

    Returns
    -------
    DataFrame
        One row per row of ``table``: ``row`` (from 1), ``method``, ``dataset``, ``uf1``, ``uar``; the UF1
        that this UAR allows, ``<reading>_low`` and ``<reading>_high``, NaN where nothing has that UAR;
        ``verdict``: possible, only as an average over folds, impossible or undecided; ``absent``, the
        conventions under which an average gives the pair; ``kind`` and ``innocent``, empty where it is
        possible. Readings: ``pooled`` (Eq. 17; exact for three classes, else a bound); ``weighted`` (both
        scores weighted by class size, so ``uar`` is accuracy) and ``weighted f1`` (UF1 alone), NaN beyond
        three classes; ``folds zero``, ``folds left out``, ``folds one`` (see `fold_range`), NaN without
        folds. The verdict does not depend on the weighted readings.

    Raises
    ------
    ValueError
        If a column or a dataset's counts are missing.
    """
    missing = {"method", "dataset", "uf1", "uar"} - set(table)
    if missing:
        raise ValueError(f"table lacks column {sorted(missing)[0]!r}; it has {list(table)}")
    unknown = set(table["dataset"]) - set(counts)
    if unknown:
        raise ValueError(f"counts lack dataset {sorted(unknown)[0]!r}; they have {sorted(counts)}")
    rng = np.random.default_rng(seed)
    rows = [
        _pair_row(row, number, counts[row.dataset], (folds or {}).get(row.dataset), rng)
        for number, row in enumerate(table.itertuples(), start=1)
    ]
    return pd.DataFrame(rows)


def _pair_row(row, number, counts, folds, rng):
    ranges, pooled_possible = _pooled_readings(row, counts, rng)
    by_fold, reached = _fold_readings(row, folds, rng)
    ranges |= by_fold
    if pooled_possible:
        verdict = "possible"
    elif pooled_possible is None:
        verdict = "undecided"
    elif reached:
        verdict = "only as an average over folds"
    else:
        outside = not any(_inside(row.uf1, ranges[f"folds {absent}"]) for absent in ABSENT)
        verdict = "impossible" if outside else "undecided"
    default = ("arithmetic" if row.method == "HSTA" else "inherited", "a misprint")
    kind, innocent = _PAIR_NOTES.get((row.method, row.dataset), default)
    accused = verdict not in ("possible", "undecided")
    return {
        "row": number, "method": row.method, "dataset": row.dataset, "uf1": row.uf1, "uar": row.uar,
        **{f"{name}_{end}": ends[end == "high"] for name, ends in ranges.items() for end in ("low", "high")},
        "verdict": verdict, "absent": ", ".join(reached),
        "kind": kind if accused else "", "innocent": innocent if accused else "",
    }  # fmt: skip


def _inside(value, ends, digits=1):
    half = 0.5 * 10.0**-digits + 1e-9
    return ends[0] - half <= value <= ends[1] + half


def _pooled_readings(row, counts, rng):
    """UF1 range by reading, and whether the pair is possible as Eq. 17 pooled (None: not known)."""
    if len(counts) <= 3:
        possible = matrix_with(counts, row.uar, row.uf1) is not None
        return {_READINGS[name]: uf1_range(counts, row.uar, average=name) for name in AVERAGES}, possible
    ranges = dict.fromkeys(_READINGS.values(), (np.nan, np.nan))
    ranges["pooled"] = bounds("uar", row.uar, counts=counts)["uf1"]
    if not _inside(row.uf1, ranges["pooled"]):
        return ranges, False
    return ranges, True if search_matrix(counts, row.uar, row.uf1, rng) is not None else None


def _fold_readings(row, folds, rng):
    """UF1 range by convention, and the conventions for which folds with these means were found."""
    ranges, reached = {}, []
    for absent in ABSENT:
        ends = (np.nan, np.nan) if folds is None else fold_range(folds, row.uar, absent=absent)
        ranges[f"folds {absent}"] = ends
        if _inside(row.uf1, ends) and folds_with(folds, row.uar, row.uf1, rng, absent=absent) is not None:
            reached.append(absent)
    return ranges, reached


def check_table5():
    """`impossible_pairs` of Table 5: MEGC2019's three-class sets, folds that leave one subject out."""
    return impossible_pairs(load_table("table5"), COUNTS, SUBJECTS)


def check_table6():
    """`impossible_pairs` of Table 6, pooled: CAS(ME)^3 with three and with seven emotion classes."""
    table = load_table("table6")
    dataset = "CAS(ME)^3, emotion" + table["n_classes"].astype(str)
    return impossible_pairs(
        table.assign(dataset=dataset.mask(table["method"] == "HTNet", dataset + ", HTNet's list")), COUNTS
    )


# --- the other tables and the text ------------------------------------------------------------------------


def shared_cells():
    """Settings that several tables print, and whether they agree.

    Returns
    -------
    DataFrame
        One row per setting and score that two or more rows print: ``csta``, ``m``, ``l_v``, ``l_s``,
        ``score``, ``printed`` (text: table, row and value) and ``agree``.
    """
    cells = _all_cells()
    rows = []
    for key, same in cells.groupby(["csta", "m", "l_v", "l_s"]):
        if len(same) > 1:
            for score in METRICS:
                printed = ", ".join(f"{row.where} {getattr(row, score)}" for row in same.itertuples())
                rows.append((*key, score, printed, same[score].nunique() == 1))
    return pd.DataFrame(rows, columns=["csta", "m", "l_v", "l_s", "score", "printed", "agree"])


def _all_cells():
    """Rows of Tables 1 to 4 and the first of Table 7 with one set of keys."""
    tables = {number: load_table(f"table{number}") for number in (1, 2, 3, 4, 7)}
    video = tables[1]["branch"] == "video"
    layers = tables[1]["n_layers"]
    tables[1] = tables[1].assign(csta=False, m=1, l_v=layers.where(video, 0), l_s=layers.where(~video, 0))
    tables[2] = tables[2].assign(m=1)
    tables[3] = tables[3].assign(csta=True)
    tables[4] = tables[4].assign(csta=True)
    tables[7] = tables[7].head(1).assign(csta=True, m=4, l_v=2, l_s=1)  # the setting section 4.2 chooses
    parts = [
        table.assign(where=[f"Table {number} row {row}" for row in range(1, len(table) + 1)])
        for number, table in tables.items()
    ]
    return pd.concat(parts)[["csta", "m", "l_v", "l_s", *METRICS, "where"]]


def constant_prediction(folds=EMOTION_FOLDS):
    """UF1 that a network can reach that does not read its input: Table 2, a1.

    With no layer in either branch and no CSTA, the class tokens never meet the frames, so each fold's network
    predicts one class. All choices of one class per fold are tried.

    Parameters
    ----------
    folds : sequence of sequence of int, shape (n_folds, n_classes)
        Clips of each class in each test fold.

    Returns
    -------
    Series
        Percent: ``printed`` UF1; the highest UF1 possible with ``one class`` in all folds, pooled; as
        ``mean over folds``, classes chosen freely; ``class per fold``, pooled; ``at printed scores``, the
        same where ACC and UAR print as in a1 (NaN if they never do).
    """
    folds = np.array(_check_folds(folds, "zero"))
    n_folds, n_classes = folds.shape
    choices = np.array(list(itertools.product(range(n_classes), repeat=n_folds)))
    matrices = np.zeros((len(choices), n_folds, n_classes, n_classes), dtype=int)
    trial, fold = np.ogrid[: len(choices), :n_folds]
    matrices[trial, fold, :, choices] = folds
    pooled = 100 * scores(matrices.sum(axis=1))
    printed = load_table("table2").set_index("setting").loc["a1"]
    as_printed = (np.abs(pooled[:, :2] - printed[["acc", "uar"]].to_numpy(float)) <= 0.05 + 1e-9).all(axis=1)
    return pd.Series(
        {
            "printed": printed["uf1"],
            "one class": pooled[(choices == choices[:, :1]).all(axis=1), 2].max(),
            "mean over folds": 100 * scores(matrices)[..., 2].mean(axis=1).max(),
            "class per fold": pooled[:, 2].max(),
            "at printed scores": pooled[as_printed, 2].max(initial=-np.inf) if as_printed.any() else np.nan,
        }
    )


_RULES = {
    "rising": lambda values, _: (np.diff(values) > 0).all(),
    "falling": lambda values, _: (np.diff(values) < 0).all(),
    "rises then falls": lambda values, _: (
        0 < values.argmax() < len(values) - 1
        and (np.diff(values[: values.argmax() + 1]) > 0).all()
        and (np.diff(values[values.argmax() :]) < 0).all()
    ),
    "gain": lambda values, stated: abs(values[-1] - values[0] - stated) < 0.5,
}


def check_sentences():
    """The text of section 4 against the tables it speaks of (``paper/sentences.csv``, restated).

    Returns
    -------
    DataFrame
        One row per sentence and score: ``item``, ``kind``, ``section``, ``claim``, ``table``, ``rule``,
        ``score``, ``printed`` (the values in the order of the sentence), ``holds``, ``innocent``.
    """
    sentences = load_table("sentences").dropna(subset="rule").fillna({"innocent": ""})
    rows = []
    for sentence in sentences.itertuples():
        cells = load_table(sentence.table).query(sentence.rows).sort_values(sentence.order_by, kind="stable")
        for score in sentence.scores.split():
            values = cells[score].to_numpy()
            holds = bool(_RULES[sentence.rule](values, sentence.value))
            rows.append({"score": score, "printed": values.tolist(), "holds": holds, **sentence._asdict()})
    columns = ["item", "kind", "section", "claim", "table", "rule", "score", "printed", "holds", "innocent"]
    return pd.DataFrame(rows)[columns]


# --- Table 4: signal or noise -----------------------------------------------------------------------------


def most_disagreement(counts, acc, uar):
    """Share of clips, in percent, on which two independent models of these scores disagree in correctness."""
    counts = check_counts(counts)
    recalls = _recalls(counts, acc, uar)
    return float(100 * (2 * recalls * (1 - recalls)) @ counts / counts.sum())


def simulate_spread(counts, acc, uar, disagreement, rng, *, n_models=30, n_draws=97):
    """Spread of the scores of equally good models on the same clips.

    Each clip has its own probabilities of being taken for each class, drawn from a Dirichlet distribution
    around its class's mean; models draw from them independently. The narrower that distribution, the more the
    clips alone decide which models fail, from equal models (0) to independent ones (`most_disagreement`).
    Recall rises linearly with class size so that ACC and UAR are as given; errors go to the other classes in
    proportion to their size. Clips of one subject are taken as no more alike than others.

    Parameters
    ----------
    counts : sequence of int
        Clips of each class.
    acc, uar : float
        Percent: of every model, in expectation.
    disagreement : float
        Percent of clips that one of two models has right and the other wrong, in expectation.
    rng : numpy.random.Generator
    n_models, n_draws : int

    Returns
    -------
    ndarray of float, shape (n_draws, 2, 3)
        Standard deviation (ddof 1) and max - min over the models, in points, of `METRICS`.

    Raises
    ------
    ValueError
        If the disagreement is not between 0 and `most_disagreement`, or no recalls have these ACC and UAR.
    """
    counts = check_counts(counts)
    recalls = _recalls(counts, acc, uar)
    most = most_disagreement(counts, acc, uar)
    if not 0 < disagreement < most:
        raise ValueError(f"disagreement is {disagreement}: must be above 0 and below {most:.1f} %")
    # Beta distributed correctness with sum s of its parameters: 2 p (1 - p) has mean 2 r (1 - r) s / (s + 1).
    alphas = _mean_rows(counts, recalls) * disagreement / (most - disagreement)
    y_true = np.tile(np.repeat(np.arange(len(counts)), counts), n_models)
    model = np.repeat(np.arange(n_models), counts.sum())
    shape = n_models, len(counts), len(counts)
    draws = np.empty((n_draws, 2, 3))
    for draw in draws:
        shares = np.concatenate([rng.dirichlet(a, size=n) for a, n in zip(alphas, counts, strict=True)])
        uniform = rng.random((n_models, counts.sum(), 1))
        y_pred = (uniform > shares.cumsum(axis=1)[:, :-1]).sum(axis=2).ravel()
        cells = np.ravel_multi_index((model, y_true, y_pred), shape)
        of_models = 100 * scores(np.bincount(cells, minlength=np.prod(shape)).reshape(shape))
        draw[:] = of_models.std(axis=0, ddof=1), np.ptp(of_models, axis=0)
    return draws


def _recalls(counts, acc, uar):
    """Recalls that rise linearly with class size and give ACC and UAR."""
    for name, value in (("acc", acc), ("uar", uar)):
        _band(name, value, 1)
    above = counts - counts.mean()
    tilt = (above * counts).sum() / counts.sum()
    if not tilt and acc != uar:
        raise ValueError(f"acc {acc} and uar {uar} differ, but with equal classes they are the same")
    recalls = (uar + (acc - uar) * above / (tilt or 1)) / 100
    if recalls.min() <= 0 or recalls.max() >= 1:
        raise ValueError(f"acc {acc} and uar {uar} need recalls {recalls.round(3).tolist()} outside 0..1")
    return recalls


def _mean_rows(counts, recalls):
    """Mean confusion matrix with rows that sum to one."""
    rows = np.tile(counts.astype(float), (len(counts), 1))
    np.fill_diagonal(rows, 0)
    rows *= ((1 - recalls) / rows.sum(axis=1))[:, None]
    return rows + np.diag(recalls)


def table4_noise(disagreements=(2, 5, 10, 15, 20, 27, 36), *, seed=0, n_draws=97):
    """Spread of Table 4's thirty cells against that of thirty equally good models, by disagreement.

    The models have the mean ACC and UAR of Table 4, on the 860 clips of CAS(ME)^3 with seven emotions. Which
    disagreement the paper's networks had is not known.

    Parameters
    ----------
    disagreements : sequence of float
        Percent of clips, see `simulate_spread`.
    seed, n_draws : int

    Returns
    -------
    DataFrame
        One row per disagreement and score: ``sd_printed``, ``range_printed``; ``sd`` and ``range`` of equally
        good models (medians, in points); ``p_sd``, ``p_range``: share of draws with at least the printed
        spread. Where it is not small, noise alone makes that spread.
    """
    cells = load_table("table4")[list(METRICS)]
    printed = np.stack([cells.std(), np.ptp(cells, axis=0)])
    acc, uar, _ = cells.mean()
    rng, rows = np.random.default_rng(seed), []
    for disagreement in disagreements:
        draws = simulate_spread(
            COUNTS["CAS(ME)^3, emotion7"], acc, uar, disagreement, rng, n_models=len(cells), n_draws=n_draws
        )
        median, p = np.median(draws, axis=0), (draws >= printed - 1e-9).mean(axis=0)
        rows += [
            (disagreement, score, *printed[:, k], *median[:, k], *p[:, k]) for k, score in enumerate(METRICS)
        ]
    columns = ["disagreement", "score", "sd_printed", "range_printed", "sd", "range", "p_sd", "p_range"]
    return pd.DataFrame(rows, columns=columns)


def product_of_eight():
    """Table 4's cells with M x L_v = 8 against the rest, and UF1 against M.

    Returns
    -------
    DataFrame
        By score: ``mean_eight``, ``mean_rest``; ``p``, the share of all choices of as many cells whose mean
        is at least that high (the product was chosen after seeing the table, so p is too small);
        ``rank_correlation`` with M of the ten cells with L_v = L_s = 1.
    """
    table = load_table("table4")
    eight = (table["m"] * table["l_v"] == 8).to_numpy()
    chosen = np.array(list(itertools.combinations(range(len(table)), eight.sum())))
    single = table[(table["l_v"] == 1) & (table["l_s"] == 1)]
    rows = {}
    for score in METRICS:
        values = table[score].to_numpy()
        p = (values[chosen].mean(axis=1) >= values[eight].mean() - 1e-9).mean()
        correlation = single["m"].rank().corr(single[score].rank())
        rows[score] = (values[eight].mean(), values[~eight].mean(), p, correlation)
    columns = ["mean_eight", "mean_rest", "p", "rank_correlation"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


# --- all of it --------------------------------------------------------------------------------------------


def findings(pairs=None, noise=None):
    """What the printed numbers and sentences do not allow, do not support or leave out.

    Parameters
    ----------
    pairs : DataFrame, optional
        From `impossible_pairs`; default: of Tables 5 and 6.
    noise : DataFrame, optional
        From `table4_noise`.

    Returns
    -------
    DataFrame
        ``kind``: one of `KINDS`, where ``inherited`` is another work's slip and not this paper's; ``where``,
        ``claim``, ``found`` and ``innocent``, the best innocent explanation.
    """
    if pairs is None:
        pairs = pd.concat([check_table5(), check_table6()])
    if noise is None:
        noise = table4_noise()
    found = [
        *_cell_findings(),
        _constant_finding(),
        *_pair_findings(pairs),
        *_sentence_findings(),
        _eight_finding(noise),
    ]
    told = load_table("sentences")
    told = told[told["rule"].isna()].rename(columns={"section": "where"})
    columns = ["kind", "where", "claim", "found", "innocent"]
    table = pd.concat([pd.DataFrame(found, columns=columns), told[columns]], ignore_index=True)
    return table.sort_values(
        "kind", key=lambda kinds: kinds.map(KINDS.index), kind="stable", ignore_index=True
    )


def _cell_findings():
    cells = shared_cells()
    for cell in cells[~cells["agree"]].itertuples():
        claim = f"M = {cell.m}, L_v = {cell.l_v}, L_s = {cell.l_s}: one setting in several tables"
        found = (
            f"{cell.score.upper()} differs: {cell.printed};"
            f" {cells['agree'].sum()} of {len(cells)} shared scores agree"
        )
        yield "arithmetic", "Tables 1 to 4 and 7", claim, found, "a misprint, or the setting was run twice"


def _constant_finding():
    best = constant_prediction()
    found = (
        f"printed UF1 {best['printed']}; without reading the input at most {best['one class']:.1f}, as a mean"
        f" over folds {best['mean over folds']:.1f}; with another class in each fold, pooled,"
        f" {best['class per fold']:.1f} ({best['at printed scores']:.1f} at the printed ACC and UAR)"
    )
    claim = "a1: no layer in either branch, no CSTA, so the output cannot depend on the input"
    innocent = "the file behind a1 is not released and may hold another network; or a misprint"
    return "arithmetic", "Table 2", claim, found, innocent


def _sentence_findings():
    for claim, lines in check_sentences().groupby("claim", sort=False):
        if not lines["holds"].all():
            found = "; ".join(
                f"{line.score.upper()} {', '.join(map(str, line.printed))}"
                + (" (so it is)" if line.holds else " (not so)")
                for line in lines.itertuples()
            )
            first = lines.iloc[0]
            yield first["kind"], f"{first['section']}, {first['table']}", claim, found, first["innocent"]


def _eight_finding(noise):
    eight = product_of_eight()
    usual = noise[noise["p_sd"] >= 0.5].groupby("score")["disagreement"].min()
    parts = [
        f"{score.upper()} {printed:.2f} ({f'from {usual[score]} % on' if score in usual else 'never'})"
        for score, printed in noise.groupby("score", sort=False)["sd_printed"].first().items()
    ]
    found = (
        "no noise is reported; s.d. of the thirty cells, and the disagreement from which thirty equally good"
        f" models mostly spread as much: {', '.join(parts)}"
    )
    innocent = (
        f"the cells with M x L_v = 8 are above the rest (p {eight['p'].min():.3f} to {eight['p'].max():.3f},"
        " the product chosen afterwards), and UF1 rises with M for L_v = L_s = 1 (rank correlation"
        f" {eight.loc['uf1', 'rank_correlation']:.2f})"
    )
    return "unsupported", "4.2, Table 4", "M x L near 8 is best", found, innocent


def _pair_findings(pairs):
    for pair in pairs[pairs["kind"] != ""].itertuples():
        claim = f"{pair.method} on {pair.dataset}: UF1 {pair.uf1}, UAR {pair.uar}"
        found = f"pooled, this UAR allows UF1 {pair.pooled_low:.1f} to {pair.pooled_high:.1f}: {pair.verdict}"
        if pair.absent:
            found += f" (absent classes: {pair.absent})"
        yield pair.kind, "Tables 5 and 6", claim, found, pair.innocent
