"""What a design can find, told before anything is trained: from its clips and seeds alone. No torch."""

import numpy as np
from IPython.display import Markdown
from scipy.special import ndtri

from hsta_lib.evaluation.comparisons import chances, pair
from hsta_lib.evaluation.metrics import METRICS, confusion
from hsta_lib.reporting.tables import LEVEL, counted

# What is assumed: the recall of every class, how alike two trainings of a setting are (the correlation over
# clips of whether each is right), and by how much their recall differs on endlessly many clips (its standard
# deviation). The stored trainings of Table 4 that fit have 0.52, 0.43 and 0.026.
_RECALL, _ALIKE, _SCATTER = 0.5, 0.5, 0.027
_N_TRAININGS = 100
_DIFFERENCES = (2, 3, 5, 10)  # points of UAR


def assumed(dataset):
    """Counts of trainings that are right of every class in about half of the clips, alike as assumed.

    Int, shape (n_trainings, n_subjects, n_classes, n_classes), of the tested clips of ``dataset``.
    """
    clips, n_classes, rng = dataset.tested, len(dataset.classes), np.random.default_rng(0)
    scale = (1 / _ALIKE - 1) * _RECALL
    easy = rng.beta(scale, scale * (1 - _RECALL) / _RECALL, size=len(clips))
    # Trainings differ in clips that are neither surely right nor surely wrong.
    better = _SCATTER * ndtri((np.arange(_N_TRAININGS)[:, None] + 0.5) / _N_TRAININGS)
    better = better * easy * (1 - easy) / (_RECALL * (1 - _RECALL) * (1 - _ALIKE))
    shape = _N_TRAININGS, len(clips)
    wrong = rng.integers(1, max(n_classes, 2), size=shape) * (rng.random(shape) >= easy + better)
    labels = np.broadcast_to(clips["label"].to_numpy(), shape)
    subjects = np.broadcast_to(np.unique(clips["subject_id"], return_inverse=True)[1], shape)
    by = [np.repeat(np.arange(_N_TRAININGS), len(clips)), subjects.ravel()]
    return confusion(labels.ravel(), ((labels + wrong) % n_classes).ravel(), n_classes, by=by)


def power(study, dataset, n_rows):
    """What differences are found between the first of a design's ``n_rows`` and each of the others."""
    family = [pair(0, row) for row in range(1, n_rows)]
    return Markdown(told(study, dataset, [(assumed(dataset), family)] if family else []))


def told(study, dataset, families, about=""):
    """How often differences in UAR are found, in a paragraph about the comparison that is hardest to decide.

    Parameters
    ----------
    dataset : hsta_lib.data.dataset.Dataset
        Whose clips are counted.
    families : list of (ndarray, list of Comparison)
        Of each group of rows with the same clips: what `assumed` gives, and what is compared.
    about : str
        Said before the number of comparisons.
    """
    clips, n_seeds = dataset.tested, len(study.seeds)
    sizes = f"{len(clips):,} test clips of {counted(clips['subject_id'].nunique(), 'subject')}"
    opened = f"**The design, before training**: {sizes}, {counted(n_seeds, 'seed')}; {about}"
    if not families:
        return f"{opened}no comparison."
    asked, alpha, uar = np.array(_DIFFERENCES) / 100, LEVEL / len(families), METRICS.index("uar")
    found = [chances(trainings, family, asked, n_seeds, alpha)[..., uar] for trainings, family in families]
    least = 100 * np.concatenate(found, axis=1).min(axis=1)
    shares = [f"{points} points: {share:.0f} %" for points, share in zip(_DIFFERENCES, least, strict=True)]
    compared = counted(sum(len(family) for _, family in families), "comparison")
    return (
        f"{opened}{compared}, corrected together. Its power, the share of such studies that find a "
        f"difference in UAR: {', '.join(shares)}. Assumed: every class has a recall of "
        f"{100 * _RECALL:.0f} %; recalls of one setting's trainings have a standard deviation of "
        f"{100 * _SCATTER:.1f} points; which clips two trainings get right correlates by {_ALIKE:g}."
    )
