"""Clips that show the same pictures under two names: a leak that no split by names can see."""

from functools import lru_cache
from hashlib import sha256
from itertools import combinations

import cv2
import numpy as np

_SIZE = 32  # px at which pictures are compared
_ROUNDING = 1e-3  # grey levels, of means
_NEAR = 1  # grey levels of mean absolute difference; clips of synthetic faces differ by 1.6 and more
# Of pictures of flow, 28 px small: a JPEG of quality 75 of one differs from it by 4.5 at most, pictures of
# different subjects differ by 7.7 and more.
OF_FLOW = {"size": 7, "near": 5}


def count_twins(clips, frames_path, folds, *, subject_dependent):
    """Look for test clips whose pixels are those of a training clip; how many there are, over all folds.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id`` and ``subject_id``; one row per row of the file.
    frames_path : Path
        Of cached frames, see `hsta_lib.data.frames.cache_frames`.
    subject_dependent : bool
        Whether training may see a test clip's subject.

    Raises
    ------
    ValueError
        If there is one, unless the folds are subject-dependent; the message names fold and clips.
    """
    if not frames_path.is_file():  # a dataset of which only the clips are known, as for `make plan`
        return 0
    stat, found = frames_path.stat(), 0
    digests = _digests(frames_path, stat.st_mtime_ns, stat.st_size)
    for number, (train, test) in enumerate(folds):
        trained = dict(zip(digests[train], train, strict=True))
        twins = [(row, trained[digests[row]]) for row in test if digests[row] in trained]
        if twins and not subject_dependent:
            tested, other = (clips.iloc[row] for row in twins[0])
            raise ValueError(
                f"fold {number} tests {tested['clip_id']} and trains on {other['clip_id']}, which has the "
                "same pixels: one clip under two names. Leave one out of the sheet, or give both one subject "
                f"(now {tested['subject_id']} and {other['subject_id']})"
            )
        found += len(twins)
    return found


@lru_cache(maxsize=4)
def _digests(path, _time, _size):
    """SHA-256 of each clip's frames."""
    return np.array([sha256(clip).hexdigest() for clip in np.load(path, mmap_mode="r")])


def near_twins(clips, frames_path, size=_SIZE, near=_NEAR):
    """One film under two names, maybe encoded anew or cut otherwise: clips that look alike or share frames.

    ``clips`` (DataFrame): with ``clip_id, subject_id, recording_id, folder, onset, offset``, one row per row
    of the cached frames. The first and the middle frame of each video are compared, at ``size`` px.

    Returns
    -------
    list of tuple
        ``(where, clip_id, problem, action)`` of each pair of different recordings less than ``near`` grey
        levels apart on average, and of each other pair of different subjects with frames in common.
    """
    pictures = np.stack([_small(clip, size) for clip in np.load(frames_path, mmap_mode="r")])
    # Means differ by no more than the pictures, be it of the whole or of lines: only neighbours in order of
    # their means are compared, first by lines.
    lines = pictures.reshape(len(pictures), -1, 3 * size).mean(axis=2)
    means = lines.mean(axis=1)
    order, found = np.argsort(means, kind="stable"), _sharing_frames(clips)
    pictures, lines, means = pictures[order], lines[order], means[order]
    rows = clips.iloc[order].reset_index(drop=True)
    recordings = rows["recording_id"].to_numpy()
    for row, end in enumerate(np.searchsorted(means, means + near + _ROUNDING)):
        by_lines = np.abs(lines[row + 1 : end] - lines[row]).mean(axis=1)
        for other in row + 1 + np.flatnonzero(by_lines < near + _ROUNDING):
            difference = np.abs(pictures[other] - pictures[row]).mean()
            if difference < near and recordings[row] != recordings[other]:
                pair = rows.iloc[[row, other]].sort_values("clip_id")
                first, second = pair["clip_id"]
                alike = f"looks like {first}: {difference:.1f} grey levels apart on average"
                where = str(pair["folder"].iloc[1] or "pictures of flow")
                found[first, second] = (where, second, alike, "kept")
    return sorted(found.values())


def _sharing_frames(clips):
    """Problems of clips of different subjects that have frames of one folder in common, by both ids."""
    n_subjects = clips.groupby("folder", sort=False)["subject_id"].transform("nunique")
    found = {}
    for folder, rows in clips[n_subjects > 1].groupby("folder", sort=False):
        for first, second in combinations(rows.sort_values("clip_id").itertuples(), 2):
            n = min(first.offset, second.offset) - max(first.onset, second.onset) + 1
            if n > 0 and first.subject_id != second.subject_id:
                shared = f"has frames of {first.clip_id}, which is of another subject: {n}"
                found[first.clip_id, second.clip_id] = (str(folder), second.clip_id, shared, "kept")
    return found


def _small(clip, size):
    frames = clip[[0, (len(clip) - 2) // 2]]
    shrunk = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.float32(shrunk).ravel()
