"""No shortcut in the synthetic benchmark: only the movement of the face tells the emotion."""

import os

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from hsta_lib.config import Synthetic
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.data.synthetic import population

SPEC = Synthetic(generator_seed=2, n_subjects=30, n_micro=300, frame_size=64)
CHANCE = 1 / 7


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return synthetic.ensure(SPEC, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clips():
    return population.sample_clips(SPEC)


@pytest.fixture(scope="module")
def paths(root, clips):
    """Frame files of every clip, in time."""
    rows = []
    for clip in clips.itertuples():
        folder = root / "part_A" / clip.subject / clip.film / "color"
        rows.append([folder / f"{number}.jpg" for number in range(clip.onset, clip.offset + 1)])
    return rows


@pytest.fixture(scope="module")
def moments(paths, clips):
    """Onset, apex and offset frames as read from disk: float32, (n_clips, 3, size, size, 3)."""
    rows = zip(paths, clips["apex"] - clips["onset"], strict=True)
    return np.stack([[_read(row[0]), _read(row[apex]), _read(row[-1])] for row, apex in rows])


@pytest.fixture(scope="module")
def still_moments(clips):
    """Onset and apex frames of the same clips rendered without their expressions."""
    frames = (synthetic.clip_frames(SPEC, clip, zero_field=True) for clip in clips["clip_id"])
    rows = zip(frames, clips["apex"] - clips["onset"], strict=True)
    return np.stack([[row[0], row[apex]] for row, apex in rows]).astype(np.float32)


def _read(path):
    return cv2.imread(str(path))[..., ::-1].astype(np.float32)


def score_and_chance(features, labels, subjects, n_draws=4000):
    """UAR of a small classifier on subjects it never saw, and the 99.9 % interval of chance.

    The classifier is ridge regression on standardised features, towards class membership over class
    frequency. Its predictions are linear in the labels, so the interval comes from thousands of
    permutations of the labels: exact, as the benchmark deals its labels out to its clips at random.
    """
    classes = pd.get_dummies(labels).to_numpy(float)
    share = classes.mean(axis=0)
    weights = _ridge(np.asarray(features, np.float64).reshape(len(labels), -1), subjects)
    rng = np.random.default_rng(0)
    orders = [np.arange(len(labels)), *(rng.permutation(len(labels)) for _ in range(n_draws))]
    scores = []
    for order in orders:
        predicted = ((weights @ classes[order]) / share).argmax(axis=1)
        truth = classes[order].argmax(axis=1)
        scores.append(np.bincount(truth[predicted == truth], minlength=len(share)) / classes.sum(axis=0))
    score, *null = np.mean(scores, axis=1)
    return score, *np.quantile(null, [0.0005, 0.9995])


def _ridge(features, subjects):
    """Weight of every clip's label in the prediction of every clip; 0 for clips of its own fold."""
    weights = np.zeros((len(features), len(features)))
    for train, test in GroupKFold(5).split(features, groups=subjects):
        scaler = StandardScaler().fit(features[train])
        known, new = (scaler.transform(features[rows]) / np.sqrt(features.shape[1]) for rows in (train, test))
        centre = np.eye(len(train)) - 1 / len(train)
        solved = np.linalg.solve(known @ known.T + np.eye(len(train)), centre)
        weights[np.ix_(test, train)] = new @ known.T @ solved
    return weights


def _difference(first, second):
    """What changed in the face between two frames."""
    return _grey((second - first)[:, 12:-12, 12:-12])


def _grey(images, size=32):
    """Small grey pictures, one flat row per clip."""
    small = [cv2.resize(image.mean(axis=2), (size, size), interpolation=cv2.INTER_AREA) for image in images]
    return np.reshape(small, (len(images), -1))


def _sharpness(images, cells=8):
    """Energy of the finest detail in each cell of a grid over the picture, in log units."""
    rows = []
    for image in images:
        detail = cv2.Laplacian(image.mean(axis=2), cv2.CV_32F) ** 2
        rows.append(np.log(cv2.resize(detail, (cells, cells), interpolation=cv2.INTER_AREA)).ravel())
    return np.array(rows)


def _ring(images, width=3):
    inside = np.ones(images.shape[1:3], bool)
    inside[width:-width, width:-width] = False
    return images[:, inside].reshape(len(images), -1)


def _modification_times(paths):
    return np.array([[os.stat(path).st_mtime_ns for path in (row[0], row[-1])] for row in paths], float) / 1e9


def test_the_expression_can_be_learned(moments, clips):
    score, _, high = score_and_chance(
        _difference(moments[:, 0], moments[:, 1]), clips["emotion"], clips["subject"]
    )
    assert score > high
    assert score > 2 * CHANCE


@pytest.fixture(scope="module")
def shortcuts(moments, still_moments, paths, clips):
    """What a classifier might use instead of the expression: name to features."""
    onset, _, offset = np.moveaxis(moments, 1, 0)
    still_onset, still_apex = np.moveaxis(still_moments, 1, 0)
    thirds = [(row[0], row[len(row) // 2], row[-1]) for row in paths]
    colours = np.array([[_read(path).mean(axis=(0, 1)) for path in row] for row in thirds])
    sizes = np.array([[os.path.getsize(path) for path in row] for row in thirds])
    poses = [synthetic._find(SPEC, clip).poses() for clip in clips["clip_id"]]
    poses = np.array([[pose[0], pose[len(pose) // 2] - pose[0], pose[-1] - pose[0]] for pose in poses])
    rise, n_frames = clips["apex"] - clips["onset"], clips["offset"] - clips["onset"] + 1
    number = clips["subject"].str.removeprefix("spNO.").astype(int)
    return {
        "amplitude 0": _difference(still_onset, still_apex),
        "onset frame": _grey(onset),
        "offset frame": _grey(offset),
        "offset minus onset": _difference(onset, offset),
        "onset frame six times": np.tile(_grey(onset, 16), 6),
        "mean colour": colours[:, 0],
        "colour drift": colours[:, 1:] - colours[:, :1],
        "sharpness": _sharpness(still_apex),
        "change of sharpness": _sharpness(still_apex) - _sharpness(still_onset),
        "file bytes": np.column_stack([sizes[:, 0], sizes[:, 2], sizes[:, 2] / sizes[:, 0]]),
        "frame count": np.array([len(row) for row in paths]),
        "modification time": _modification_times(paths),
        "apex position": np.column_stack([rise, rise / n_frames]),
        "row order": np.arange(len(clips)),
        "names": np.column_stack([pd.get_dummies(clips["film"]), number, clips["onset"]]),
        "background ring": _ring(moments.mean(axis=1)),
        "change of the ring": _ring(moments[:, 1] - moments[:, 0]),
        "head pose and drift": poses,
    }


SHORTCUTS = [
    "amplitude 0", "onset frame", "offset frame", "offset minus onset", "onset frame six times",
    "mean colour", "colour drift", "sharpness", "change of sharpness", "file bytes", "frame count",
    "modification time", "apex position", "row order", "names", "background ring", "change of the ring",
    "head pose and drift",
]  # fmt: skip


@pytest.mark.parametrize("name", SHORTCUTS)
def test_no_shortcut(shortcuts, clips, name):
    score, low, high = score_and_chance(shortcuts[name], clips["emotion"], clips["subject"])
    assert low <= score <= high
    assert low < CHANCE < high < 0.3


def test_one_image_size(paths):
    assert {_read(row[len(row) // 2]).shape for row in paths} == {(64, 64, 3)}


def test_every_shortcut_is_tested(shortcuts):
    assert list(shortcuts) == SHORTCUTS


def test_a_planted_colour_leak_is_caught(shortcuts, clips):
    tint = clips["emotion"].map(population.EMOTIONS.index).to_numpy()
    tinted = shortcuts["mean colour"] + 8 * np.eye(7)[tint, :3]
    score, _, high = score_and_chance(tinted, clips["emotion"], clips["subject"])
    assert score > high


def test_planted_modification_times_are_caught(paths, clips):
    before = [[os.stat(path).st_mtime_ns for path in row] for row in paths]
    for row, emotion in zip(paths, clips["emotion"], strict=True):
        for path in (row[0], row[-1]):
            os.utime(path, ns=(0, 10**9 * population.EMOTIONS.index(emotion)))
    score, _, high = score_and_chance(_modification_times(paths), clips["emotion"], clips["subject"])
    for row, times in zip(paths, before, strict=True):
        for path, time in zip(row, times, strict=True):
            os.utime(path, ns=(time, time))
    assert score > high


def test_no_frame_twice(paths):
    content = [path.read_bytes() for row in paths for path in row]
    assert len(set(content)) == len(content)


def test_warping_does_not_blur(moments, still_moments):
    # The mean over clips of the log ratio of fine detail, apex to onset; 0.02 is 2 %.
    still = _sharpness(still_moments[:, 1], 1) - _sharpness(still_moments[:, 0], 1)
    assert abs(still.mean()) < 0.02
    moved = _sharpness(moments[:, 1], 1) - _sharpness(moments[:, 0], 1)
    assert abs(moved.mean()) < 0.04  # features narrow and widen, so not exactly nothing


def test_films_leave_a_trace(moments, clips):
    # What ties of labels to films would be seen by: without it they could not be a shortcut.
    score, _, high = score_and_chance(_ring(moments[:, 0]), clips["film"], clips["subject"])
    assert score > high
