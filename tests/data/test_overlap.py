"""Overlap of test and training on hand-counted tables."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.overlap import COUNTS, overlap, recording_in_training
from hsta_lib.data.splits import Fold, make_folds


def table(rows):
    """Clips from ``(recording, onset, offset)``, or with ``"macro"`` as a fourth."""
    clips = []
    for recording, onset, offset, *kind in rows:
        clips.append(
            {
                "clip_id": f"{recording}/{onset}",
                "subject_id": recording.split("/")[0],
                "recording_id": recording,
                "onset": onset,
                "offset": offset,
                "expression_type": kind[0] if kind else "micro",
            }
        )
    return pd.DataFrame(clips)


def flags(tested, *trained):
    """The five counts of one tested clip."""
    clips = table([tested, *trained])
    counts = overlap(clips, [Fold(np.arange(1, len(clips)), np.array([0]))])
    return counts.loc[("micro", 0), COUNTS].tolist()


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        (("s2/a", 100, 109), [0, 0, 0, 0, 0]),
        (("s1/b", 100, 109), [1, 0, 0, 0, 0]),
        (("s1/a", 900, 909), [1, 1, 0, 0, 0]),
        (("s1/a", 140, 149), [1, 1, 0, 0, 0]),  # frames 110..139 in between: thirty
        (("s1/a", 139, 149), [1, 1, 0, 0, 1]),
        (("s1/a", 60, 69), [1, 1, 0, 0, 0]),  # 70..99: thirty
        (("s1/a", 60, 70), [1, 1, 0, 0, 1]),
        (("s1/a", 110, 119), [1, 1, 0, 0, 1]),
        (("s1/a", 109, 119), [1, 1, 1, 0, 1]),
        (("s1/a", 91, 100), [1, 1, 1, 0, 1]),
        (("s1/a", 106, 119), [1, 1, 1, 0, 1]),  # four of ten frames
        (("s1/a", 105, 119), [1, 1, 1, 1, 1]),
        (("s1/a", 101, 105), [1, 1, 1, 1, 1]),
        (("s1/a", 1, 999), [1, 1, 1, 1, 1]),
    ],
)
def test_a_clip_of_ten_frames_beside_one_other(trained, expected):
    assert flags(("s1/a", 100, 109), trained) == expected


def test_half_is_covered_by_one_clip_not_by_several():
    assert flags(("s1/a", 100, 109), ("s1/a", 95, 103), ("s1/a", 106, 112)) == [1, 1, 1, 0, 1]


def test_a_clip_of_one_frame():
    assert flags(("s1/a", 7, 7), ("s1/a", 7, 7)) == [1, 1, 1, 1, 1]


def test_clips_are_counted_once_and_folds_are_summed():
    clips = table(
        [
            ("s1/a", 1, 10),
            ("s1/a", 5, 12),
            ("s1/a", 300, 310),
            ("s1/b", 1, 10),
            ("s2/a", 1, 10),
            ("s2/a", 20, 30),
        ]
    )
    folds = [Fold(np.array([1, 2, 3]), np.array([0, 4, 5])), Fold(np.array([0, 4, 5]), np.array([1, 2, 3]))]
    counts = overlap(clips, folds)
    assert list(counts.columns) == ["test clips", *COUNTS]
    assert counts.index.names == ["training", "fold"]
    assert counts.index.tolist() == [("micro", 0), ("micro", 1), ("micro", "all")]
    # Fold 0: of the first clip six of ten frames are in the second. Fold 1: six of eight.
    assert counts.to_numpy().tolist() == [[3, 1, 1, 1, 1, 1], [3, 3, 2, 1, 1, 1], [6, 4, 3, 2, 2, 2]]


def test_macro_clips_count_apart():
    clips = table([("s1/a", 1, 10), ("s2/a", 1, 10), ("s1/a", 8, 99, "macro"), ("s2/b", 1, 10, "macro")])
    folds = [Fold(np.array([1, 2, 3]), np.array([0])), Fold(np.array([0, 2, 3]), np.array([1]))]
    counts = overlap(clips, folds)
    assert counts.loc["micro"].to_numpy().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0, 0],
    ]
    assert counts.loc["micro and macro"].to_numpy().tolist() == [
        [1, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0], [2, 2, 1, 1, 0, 1],
    ]  # fmt: skip


def test_a_split_by_subject_shares_nothing():
    rng = np.random.default_rng(0)
    rows = [
        (f"s{s}/{'abc'[i % 3]}", on := int(rng.integers(1, 400)), on + 20)
        for s in range(11)
        for i in range(7)
    ]
    clips = table(rows).drop_duplicates("clip_id", ignore_index=True).assign(label=0)
    options = {"n_folds": 5, "stratify": False, "split_seed": 0}
    shares = {
        split: overlap(clips, make_folds(clips, split=split, **options)) for split in ("subject", "paper")
    }
    assert shares["subject"].loc[("micro", "all")].tolist() == [len(clips), 0, 0, 0, 0, 0]
    assert (shares["paper"].loc[("micro", "all")] > 0).all()


def test_a_recording_in_training_is_found_in_the_fold_that_tests_the_clip():
    clips = table([("s1/a", 1, 9), ("s1/a", 20, 29), ("s1/b", 1, 9), ("s2/a", 1, 9), ("s2/a", 20, 29)])
    folds = [Fold(np.array([1, 2]), np.array([0, 3])), Fold(np.array([0, 3, 4]), np.array([1, 2]))]
    expected = {"s1/a/1": True, "s2/a/1": False, "s1/a/20": True, "s1/b/1": False}  # the last is never tested
    assert recording_in_training(clips, folds) == expected
    assert recording_in_training(clips.set_index(pd.Index([7, 7, 3, 3, 3])), folds) == expected


def test_the_index_of_the_table_and_its_number_type_do_not_matter():
    clips = table([("s1/a", 1, 10), ("s1/a", 5, 12), ("s1/b", 1, 10)])
    folds = [Fold(np.array([1, 2]), np.array([0]))]
    moved = clips.astype({"onset": "Int64", "offset": "Int64"}).set_index(pd.Index([7, 7, 3]))
    pd.testing.assert_frame_equal(overlap(moved, folds), overlap(clips, folds))


@pytest.mark.parametrize("frames", [(10, 9), (pd.NA, 9), (10, pd.NA)])
def test_what_is_no_interval_is_refused(frames):
    clips = table([("s1/a", 1, 10), ("s1/a", 5, 12)]).astype({"onset": "Int64", "offset": "Int64"})
    clips.loc[1, ["onset", "offset"]] = frames
    with pytest.raises(
        ValueError, match=f"clip s1/a/5: onset {frames[0]} to offset {frames[1]} is no interval"
    ):
        overlap(clips, [Fold(np.array([0]), np.array([1]))])


def test_a_missing_column_is_named():
    clips = table([("s1/a", 1, 10), ("s1/a", 5, 12)]).drop(columns="recording_id")
    with pytest.raises(ValueError, match="lacks the column 'recording_id'"):
        overlap(clips, [Fold(np.array([0]), np.array([1]))])
