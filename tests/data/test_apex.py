"""The apex of clips that have none."""

import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.apex import with_apex

SHAPES = {"a": (10, [0, 3, 9, 40, 5]), "b": (21, [0, 1, 2])}  # folder: first number, brightness of each frame


@pytest.fixture
def clips(tmp_path):
    """Clips whose frames are brighter by some amount than their onset; the last has its apex annotated."""
    rows = []
    for name, (first, steps) in SHAPES.items():
        for number, step in enumerate(steps, start=first):
            (tmp_path / name).mkdir(exist_ok=True)
            image = np.full((67, 71, 3), 100 + step, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"img{number}.png"), image)
        last = first + len(steps) - 1
        rows.append([f"x/{name}", tmp_path / name, first, pd.NA if name == "a" else 22, last])
    table = pd.DataFrame(rows, columns=["clip_id", "folder", "onset", "apex", "offset"])
    return table.astype({"onset": "Int64", "apex": "Int64", "offset": "Int64"})


def test_the_middle_is_rounded_down_and_said(clips, tmp_path):
    clips["offset"] = [13, 23]
    filled, notes = with_apex(clips, "middle", tmp_path)
    assert filled["apex"].tolist() == [11, 22]
    assert filled["apex"].dtype == int
    assert notes == [("annotation sheet", "x/a", "no apex given", "the middle of onset and offset")]


def test_the_frame_most_unlike_the_onset(clips, tmp_path):
    filled, notes = with_apex(clips, "difference", tmp_path / "cache")
    assert filled["apex"].tolist() == [13, 22]
    assert notes[0][3] == "the frame most unlike the onset"
    again, _ = with_apex(clips, "difference", tmp_path / "cache")
    assert again.equals(filled)


def test_many_clips_without_an_apex_are_one_line(clips, tmp_path):
    many = pd.concat([clips.iloc[:1]] * 11, ignore_index=True)
    _, notes = with_apex(many, "middle", tmp_path)
    assert notes == [("annotation sheet", "11 clips", "no apex given", "the middle of onset and offset")]


def test_a_clip_without_frames_falls_back_to_the_middle(clips, tmp_path):
    clips["folder"] = [tmp_path / "nowhere", tmp_path / "b"]
    filled, notes = with_apex(clips, "difference", tmp_path / "cache")
    assert filled["apex"].tolist() == [12, 22]
    assert [row[1:] for row in notes] == [
        ("x/a", "no apex given; without a frame from onset to offset", "the middle of onset and offset")
    ]


def test_a_clip_with_an_unreadable_frame_falls_back_and_says_which(clips, tmp_path):
    (tmp_path / "a" / "img12.png").write_bytes(b"no image")
    filled, ((where, clip_id, problem, action),) = with_apex(clips, "difference", tmp_path / "cache")
    assert filled["apex"].tolist() == [12, 22]
    assert (where, clip_id) == (str(tmp_path / "a" / "img12.png"), "x/a")
    assert problem == "no apex given; truncated or no image (8 bytes)"
    assert action == "the middle of onset and offset"


def test_a_frame_of_no_bytes_is_passed_over_as_one_that_is_missing(clips, tmp_path):
    (tmp_path / "a" / "img12.png").write_bytes(b"")
    filled, notes = with_apex(clips, "difference", tmp_path / "cache")
    assert filled["apex"].tolist() == [13, 22]
    assert [row[2] for row in notes] == ["no apex given"]


def test_nothing_is_said_where_nothing_is_missing(clips, tmp_path):
    assert with_apex(clips.iloc[1:], "difference", tmp_path)[1] == []
