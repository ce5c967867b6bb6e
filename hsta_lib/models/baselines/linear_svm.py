"""Linear support vector machine, the classifier of the baselines with hand-made descriptors."""

import numpy as np


class LinearSVM:
    """Linear soft-margin machines, one for each pair of classes that training shows (libsvm).

    Nothing in it is random. Features are taken as they are, and classes weigh as many clips as they have.
    ``c`` (float): price of a clip inside the margin. It must be above 0 and ``n_classes`` 2 or more.
    """

    def __init__(self, n_classes, *, c=1.0):
        if n_classes < 2:
            raise ValueError(f"n_classes = {n_classes}: a classifier needs 2 or more")
        if not c > 0:
            raise ValueError(f"c = {c}: it must be above 0")
        self.n_classes = n_classes
        self.c = c

    def fit(self, x, labels):
        """Learn from descriptors ``(n, d)`` and labels ``(n,)``; returns itself.

        If all labels are the same, that class will win every clip. No clips, another number of labels, or a
        label outside 0..n_classes-1 is a ValueError.
        """
        from sklearn.svm import SVC  # slow to import

        labels = np.asarray(labels)
        if not len(x) or len(x) != len(labels):
            raise ValueError(f"x has {len(x)} rows for {len(labels)} labels: one of each per clip is needed")
        outside = set(labels.tolist()) - set(range(self.n_classes))
        if outside:
            raise ValueError(f"labels {sorted(outside)} lie outside 0..{self.n_classes - 1}; check n_classes")
        self._present = np.unique(labels)
        several = len(self._present) > 1
        self._machines = SVC(kernel="linear", C=self.c).fit(x, labels) if several else None
        return self

    def scores(self, x):
        """Score of each class for descriptors ``(n, d)``: float64 ``(n, n_classes)``, higher is more likely.

        Of three classes or more: comparisons with another class that were won, plus less than a half from the
        margins, by which ties are broken. Of two: the signed margin. A class without a training clip has
        -inf.
        """
        scores = np.full((len(x), self.n_classes), -np.inf)
        scores[:, self._present] = self._among_present(x)
        return scores

    def _among_present(self, x):
        if self._machines is None:
            return 0.0
        margins = self._machines.decision_function(x)
        return margins if margins.ndim == 2 else np.stack([-margins, margins], axis=1)
