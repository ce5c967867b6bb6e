"""How much of a test fold training has seen: clips of its subjects, of its recordings, of the same moment."""

import numpy as np
import pandas as pd

_NEAR = 30  # frames: one second of CAS(ME)^3
_NEEDED = ["clip_id", "subject_id", "recording_id", "onset", "offset", "expression_type"]
COUNTS = ["subject in training", "recording in training", "intersects", "half covered", "closer than 1 s"]


def overlap(clips, folds):
    """Count the test clips of each fold that training has clips near to.

    ``clips``: with ``clip_id, subject_id, recording_id, onset, offset, expression_type``; frame numbers
    inclusive. A ValueError if a column, an onset or an offset is missing, or an offset lies before its onset.

    Returns
    -------
    DataFrame
        Index ``training`` (which training clips count: ``micro``, and, where a fold trains on macro clips,
        ``micro and macro``) and ``fold`` (its number from 0, or ``all``: the sum). ``test clips``, and how
        many of them have a training clip

        - ``subject in training``: of their subject,
        - ``recording in training``: of their recording,
        - ``intersects``: of their recording, with a frame in common,
        - ``half covered``: of their recording, which alone holds half of their frames or more,
        - ``closer than 1 s``: of their recording, that intersects them or has fewer than 30 frames between it
          and them: one second at the 30 frames a second of CAS(ME)^3, less where a dataset has more.
    """
    _check(clips)
    is_macro = (clips["expression_type"] == "macro").to_numpy()
    kinds = {"micro": ~is_macro}
    if any(is_macro[train].any() for train, _ in folds):
        kinds["micro and macro"] = np.full(len(clips), True)
    parts = {
        kind: _totalled([_count(clips, train[counts[train]], test) for train, test in folds])
        for kind, counts in kinds.items()
    }
    return pd.concat(parts, names=["training", "fold"])


def recording_in_training(clips, folds):
    """Which clips have, in the fold that tests them, another clip of their recording in training.

    By ``clip_id``; clips that are never tested are not in it. ``clips``: with ``clip_id`` and
    ``recording_id``.
    """
    recordings, names = clips["recording_id"].to_numpy(), clips["clip_id"].to_numpy()
    found = {}
    for train, test in folds:
        seen = np.isin(recordings[test], recordings[train])
        found.update(zip(names[test], seen.tolist(), strict=True))
    return found


def _check(clips):
    lacking = [name for name in _NEEDED if name not in clips]
    if lacking:
        raise ValueError(f"the clip table lacks the column {lacking[0]!r}")
    is_bad = clips[["onset", "offset"]].isna().any(axis=1) | (clips["offset"] < clips["onset"])
    if is_bad.any():
        clip = clips[is_bad].iloc[0]
        raise ValueError(
            f"clip {clip['clip_id']}: onset {clip['onset']} to offset {clip['offset']} is no interval"
        )


def _totalled(rows):
    table = pd.DataFrame(rows, columns=["test clips", *COUNTS])
    table.index = table.index.astype(object)
    table.loc["all"] = table.sum()
    return table


def _count(clips, train, test):
    names = ["subject_id", "recording_id", "onset", "offset"]
    trained, tested = clips[names].iloc[train], clips[names].iloc[test]
    flags = np.array([_of_one(clip, trained) for clip in tested.itertuples()], dtype=bool)
    return [len(test), *flags.reshape(-1, len(COUNTS)).sum(axis=0)]


def _of_one(clip, trained):
    """The flags of one test clip, in the order of `COUNTS`."""
    near = trained[(trained["recording_id"] == clip.recording_id).to_numpy()]
    onset, offset = near["onset"].to_numpy(dtype=int), near["offset"].to_numpy(dtype=int)
    # Frames in common; where there are none, minus the frames in between.
    common = np.minimum(offset, clip.offset) - np.maximum(onset, clip.onset) + 1
    return [
        (trained["subject_id"] == clip.subject_id).any(),
        len(near) > 0,
        (common > 0).any(),
        (2 * common >= clip.offset - clip.onset + 1).any(),
        (common > -_NEAR).any(),
    ]
