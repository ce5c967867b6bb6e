"""Reference rows: predictors that set a floor or a ceiling for the scores of a table."""

import cv2
import numpy as np
import pandas as pd

from hsta_lib.data.synthetic import build, population
from hsta_lib.data.synthetic import clips as synthetic

_FLOW_GRID = 16  # px; the true flow is averaged to this size for the linear model


def predicted(clips, folds, fit_predict):
    """Predictions of every fold's test clips.

    Columns: ``clip_id, subject_id, y_true, y_pred, fold, seed``, as of all functions here.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id, subject_id, label``.
    fit_predict : callable
        Of ``train, test, labels``: rows of both, and the labels of the training clips alone. Returns a class,
        or one for each test clip.
    """
    parts, labels = [], clips["label"].to_numpy()
    for number, (train, test) in enumerate(folds):
        rows = clips.iloc[test][["clip_id", "subject_id", "label"]].rename(columns={"label": "y_true"})
        y_pred = np.asarray(fit_predict(train, test, labels[train]), dtype=int)
        parts.append(rows.assign(y_pred=y_pred, fold=number, seed=0))
    return pd.concat(parts, ignore_index=True)


def majority(clips, folds):
    """Predict every test clip to be of its training fold's most frequent class (ties: the first)."""
    return predicted(clips, folds, lambda train, test, labels: np.bincount(labels).argmax())


def ceiling(dataset, folds, spec):
    """Best guess from the true action units of a synthetic benchmark (best expected UAR).

    Only for the seven emotions, which the generator draws the action units from, and without the ties of
    ``tied_labels``, by which film and recording tell more than the action units do.
    """
    best = dataset.clips["clip_id"].map(population.balanced_bayes(spec).map(dataset.classes.index)).to_numpy()
    return predicted(dataset.clips, folds, lambda train, test, labels: best[test])


def true_motion(dataset, spec, variant=""):
    """True onset-to-apex flow of a synthetic benchmark, head motion included, for `linear`.

    It is the motion that any model of the pixels would first have to find. ``spec`` and ``variant``: the
    benchmark and its layout, see `hsta_lib.data.synthetic.build.drawn_from`. Shape (n_clips, n_features), px.
    """
    # The movement does not depend on the size of the frames, and small ones cost less.
    small = spec.model_copy(update={"frame_size": 4 * _FLOW_GRID})
    drawn = build.drawn_from(variant, small, dataset.clips["clip_id"])
    flow = [synthetic.true_flow(*clip, size=_FLOW_GRID, with_drift=True) for clip in drawn]
    return np.stack(flow).reshape(len(drawn), -1)


def difference(dataset, size):
    """Apex less onset of each clip, at most ``size`` px a side, for `linear` and `forest`.

    Shape (n_clips, n_features), from -1 to 1.
    """
    frames = dataset.frames()
    pictures = [frame[-1].astype(np.float32) - frame[-2] for frame in frames]
    if size < frames.shape[2]:
        pictures = [cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in pictures]
    return np.stack(pictures).reshape(len(frames), -1) / 255


def linear(clips, folds, features):
    """Ridge classifier on some features, one row per clip; classes weigh the same."""
    from sklearn import linear_model, pipeline, preprocessing  # slow to import

    ridge = linear_model.RidgeClassifier(alpha=1000, class_weight="balanced")
    return _predicted(clips, folds, features, pipeline.make_pipeline(preprocessing.StandardScaler(), ridge))


def forest(clips, folds, features):
    """Random forest on some features, one row per clip; classes weigh the same."""
    from sklearn.ensemble import RandomForestClassifier  # slow to import

    trees = RandomForestClassifier(300, class_weight="balanced", random_state=0)
    return _predicted(clips, folds, features, trees)


def _predicted(clips, folds, features, model):
    return predicted(
        clips, folds, lambda train, test, labels: model.fit(features[train], labels).predict(features[test])
    )
