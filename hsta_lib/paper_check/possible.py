"""Which pairs of UAR and UF1 (Eq. 17) can one confusion matrix have, given the clips of each class?"""

import itertools

import numpy as np

AVERAGES = ("macro", "weighted", "weighted f1")
MOST = 20_000_000  # combinations that are enumerated at most
_HALF = 0.05 + 1e-9  # of the last printed digit; either neighbour of a tie, to be safe


def band(name, value):
    """Fractions that print as a percentage.

    Raises
    ------
    ValueError
        If the score lies outside 0..100.
    """
    if not 0 <= value <= 100:
        raise ValueError(f"{name} is {value}: scores are in percent, 0 to 100")
    return (value - _HALF) / 100, (value + _HALF) / 100


def check_counts(counts, totals=None):
    """Class counts as an array, int, shape (n_classes,).

    Parameters
    ----------
    counts : sequence of int
        Clips of each class, at least two classes.
    totals : sequence of int, optional
        The same as added up from elsewhere.

    Raises
    ------
    ValueError
        If a count is not a positive integer, or they are not the totals.
    """
    array = np.asarray(counts)
    if array.ndim != 1 or len(array) < 2 or array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(f"class counts {counts}: give a positive integer for each of two or more classes")
    if totals is not None and list(totals) != list(counts):
        raise ValueError(f"class counts {counts} are not what the folds add up to: {list(map(int, totals))}")
    return array.astype(int)


def is_small(counts):
    """Whether all hits can be gone through: up to three classes."""
    return len(counts) <= 3 and np.prod(np.asarray(counts) + 1.0) <= MOST


def uf1_range(counts, uar, average="macro"):
    """Lowest and highest UF1 of all confusion matrices whose UAR prints as given.

    Exact for up to three classes. A matrix enters UF1 through its hits TP and its false positives FP alone:
    the mean over classes of 2 TP_c / (TP_c + n_c + FP_c). With E errors in all, e_c of them in class c, the
    FP that some matrix has are the integers with sum E and 0 <= FP_c <= E - e_c (Hall's condition: two
    classes or more can take errors from anywhere). UF1 is convex in FP and separable, so its minimum is
    reached by placing one false positive after the other where UF1 falls most, its maximum at a vertex: all
    FP but one at an end. All TP of that UAR are tried.

    A proven bound for more. With N clips, C classes, recalls r_c, p_c predicted clips: sum (n_c + p_c) = 2 N,
    so by Cauchy and Schwarz UF1 >= (sum sqrt TP_c)^2 / (C N), which is concave in the r_c and so least where
    all but one are 0 or 1, the ones in the smallest classes. And F1_c <= 2 r_c / (1 + r_c), which is concave,
    so UF1 <= 2 UAR / (1 + UAR) by Jensen.

    Parameters
    ----------
    counts : sequence of int
        Clips of each class.
    uar : float
        Percent.
    average : {"macro", "weighted", "weighted f1"}
        ``weighted``: classes count by their clips in both scores; ``uar`` is then accuracy. ``weighted f1``:
        in UF1 alone. Beyond three classes ``macro`` only.

    Returns
    -------
    low, high : float
        Percent: what lies outside is impossible. NaN where no matrix has that UAR.

    Raises
    ------
    ValueError
        If the score lies outside 0..100, a count is not a positive integer, or the average is unknown.

    Examples
    --------
    >>> low, high = uf1_range((70, 51, 43), 78.0)
    >>> round(low, 1), round(high, 1)
    (71.5, 80.8)
    """
    counts = check_counts(counts)
    in_recall, weights = _weights(counts, average)
    low, high = band("uar", uar)
    if not is_small(counts):
        return _bounds(counts, max(low, 0), min(high, 1))
    hits = _hits_within(counts, in_recall, (low, high))
    if not len(hits):
        return np.nan, np.nan
    highest = _f1(hits, _highest(hits, counts, weights), counts, weights).max()
    return float(100 * _lowest_of_all(hits, counts, weights)), float(100 * highest)


def is_possible(counts, uar, uf1, rng):
    """Whether some confusion matrix has a UAR and a UF1 that print as given; arguments: see `uf1_range`.

    Up to three classes all hits of that UAR and all their false positives are gone through. Beyond, a search
    with ``rng``: random hits, then false positives moved one by one from those of the lowest to those of the
    highest UF1. What it does not find is not excluded either: None.
    """
    counts, ends = check_counts(counts), band("uf1", uf1)
    low, high = uf1_range(counts, uar)
    if not low - 100 * _HALF <= uf1 <= high + 100 * _HALF:
        return False
    weights, small = _weights(counts, "macro")[0], is_small(counts)
    for hits, false in (_exhaust if small else _search)(counts, uar, ends, weights, rng):
        f1 = _f1(hits, false, counts, weights)
        if ((f1 >= ends[0]) & (f1 <= ends[1])).any():
            return True
    return False if small else None


def all_false(hits, counts):
    """All false positives that go with hits (see `uf1_range`); int, shape (n, n_classes)."""
    errors = counts - hits
    room = errors.sum() - errors
    free = np.indices(room[:-1] + 1).reshape(len(counts) - 1, -1).T
    last = errors.sum() - free.sum(axis=1)
    fits = (last >= 0) & (last <= room[-1])
    return np.column_stack([free[fits], last[fits]])


def _weights(counts, average):
    """Weights of the classes in the mean recall, and in the mean F1."""
    if average not in AVERAGES or (average != "macro" and not is_small(counts)):
        raise ValueError(
            f"average {average!r} is not one of {', '.join(AVERAGES)}, or not known for {len(counts)} classes"
        )
    equal, by_size = np.full(len(counts), 1 / len(counts)), counts / counts.sum()
    return {"macro": (equal, equal), "weighted": (by_size, by_size), "weighted f1": (equal, by_size)}[average]


def _bounds(counts, low, high):
    whole = min(int(len(counts) * low), len(counts) - 1)
    roots = np.sqrt(np.sort(counts))
    least = roots[:whole].sum() + np.sqrt(len(counts) * low - whole) * roots[whole]
    return float(100 * least**2 / (len(counts) * counts.sum())), float(100 * 2 * high / (1 + high))


def _hits_within(counts, weights, ends):
    """All hits whose mean recall lies between two ends; int, shape (n, n_classes)."""
    axes = np.ogrid[tuple(slice(n + 1) for n in counts)]
    recall = sum(w * axis / n for w, axis, n in zip(weights, axes, counts, strict=True))
    return np.argwhere((recall >= ends[0]) & (recall <= ends[1]))


def _f1(hits, false, counts, weights):
    return 2 * hits / (hits + counts + false) @ weights


def _lowest_of_all(hits, counts, weights, chunk=499):
    """Lowest F1 of any of the hits, those with the lowest bound first, until no bound is lower."""
    bound = np.sqrt(weights * hits).sum(axis=1) ** 2 / counts.sum()
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
    total = (counts - hits).sum(axis=1, keepdims=True)
    room = total - (counts - hits)
    false, rows = np.zeros_like(hits), np.arange(len(hits))
    for step in range(total.max(initial=0)):
        size = hits + counts + false
        fall = np.where(false < room, weights * hits / (size * (size + 1.0)), -1)
        false[rows, fall.argmax(axis=1)] += total[:, 0] > step
    return false


def _highest(hits, counts, weights):
    """False positives of the highest F1."""
    total = (counts - hits).sum(axis=1, keepdims=True)
    room = total - (counts - hits)
    best, chosen = np.full(len(hits), -1.0), np.zeros_like(hits)
    for free in range(len(counts)):
        for full in itertools.product((0, 1), repeat=len(counts) - 1):
            false = room * np.insert(full, free, 0)
            false[:, free] = total[:, 0] - false.sum(axis=1)
            fits = (false[:, free] >= 0) & (false[:, free] <= room[:, free])
            f1 = np.where(fits, _f1(hits, np.where(fits[:, None], false, 0), counts, weights), -1)
            chosen[f1 > best] = false[f1 > best]
            best = np.maximum(best, f1)
    return chosen


def _exhaust(counts, uar, ends, weights, rng, chunk=499):
    """Hits of a UAR that can reach an F1, each with all its false positives."""
    hits = _hits_within(counts, weights, band("uar", uar))
    for start in range(0, len(hits), chunk):
        part = hits[start : start + chunk]
        part = part[_f1(part, _highest(part, counts, weights), counts, weights) >= ends[0]]
        part = part[_f1(part, _lowest(part, counts, weights), counts, weights) <= ends[1]]
        yield from ((one, all_false(one, counts)) for one in part)


def _search(counts, uar, ends, weights, rng, n_tries=59):
    """Random hits of a UAR, each with false positives from those of the lowest to those of the highest F1."""
    low, high = band("uar", uar)
    largest = counts.argmax()
    for _ in range(n_tries):
        recalls = np.clip(uar / 100 + rng.normal(scale=rng.uniform(0, 0.5), size=len(counts)), 0, 1)
        hits = np.rint(recalls * counts).astype(int)
        missing = uar / 100 * len(counts) - (hits / counts).sum()
        hits[largest] = np.clip(hits[largest] + np.rint(missing * counts[largest]), 0, counts[largest])
        if low <= hits / counts @ weights <= high:
            yield hits, _path(*(find(hits[None], counts, weights)[0] for find in (_lowest, _highest)))


def _path(start, end):
    """From one count of false positives to another, one moved at a time."""
    classes = np.arange(len(start))
    leave, enter = (np.repeat(classes, np.maximum(d, 0)) for d in (start - end, end - start))
    steps = (enter[:, None] == classes).astype(int) - (leave[:, None] == classes)
    return start + np.concatenate([np.zeros((1, len(start)), dtype=int), steps.cumsum(axis=0)])
