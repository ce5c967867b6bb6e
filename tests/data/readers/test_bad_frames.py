"""Frames that the lists of CAS(ME)^3's repository name as bad, from a made-up clone."""

import re

import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_lib.config import Frames, Parameters, Preset
from hsta_lib.data import dataset
from hsta_lib.data.apex import with_apex
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.readers import casme3

QUALITY, DAMAGED = "image_with_bad_quality_partA.txt", "error_info_damaged_image_partA.txt"
PRESET = Preset(frames=Frames(n_frames=3, image_size=16))
COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
WHERE = "lists of bad frames"
NONE = "spNO.99 z 1.jpg  of no clip here\n"


def quality(*frames, place="spNO.1/a"):
    return "".join(f"/made/up/RGB/{place}/color/{number}.jpg\n" for number in frames)


def damaged(*frames, place="spNO.2 B"):
    return "".join(f"{place} {number}.jpg  the image cannot open\n" for number in frames)


@pytest.fixture
def root(tmp_path):
    """Two clips, 1/a/10 and 2/b/5, of nine frames that are as bright as ten times their numbers."""
    cells = [["spNO.1", "a", 10, 14, 18, "4", "VII", "disgust"], ["spNO.2", "b", 5, 9, 13, "4", "VII", "sad"]]
    root = tmp_path / "casme3"
    for subject, video, onset, _, offset, *_ in cells:
        folder = root / "part_A" / subject / video / "color"
        folder.mkdir(parents=True)
        for number in range(onset, offset + 1):
            cv2.imwrite(str(folder / f"{number}.jpg"), np.full((16, 16, 3), 10 * number, np.uint8))
    (root / "annotation").mkdir()
    pd.DataFrame(cells, columns=COLUMNS).to_excel(root / "annotation" / casme3.MICRO_SHEET, index=False)
    return root


@pytest.fixture
def clone(tmp_path):
    """Function that writes the lists of a clone, and returns its folder."""

    def write(*texts):
        for name, text in zip((QUALITY, DAMAGED), texts, strict=True):
            path = tmp_path / "CAS-ME-3" / "exception" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "CAS-ME-3"

    return write


@pytest.fixture
def opened(root, tmp_path, monkeypatch):
    """Function that opens the two clips beside a clone, or beside none."""

    def read(clone=tmp_path / "none", **parameters):
        monkeypatch.setattr(dataset, "_CLONE_OF_CASME3", clone)
        given = Parameters(dataset="casme3", data_root=str(root), labels="emotion7", **parameters)
        return open_dataset(given, PRESET, tmp_path / "data")

    return read


def brightness(data):
    """Of the three video frames, the onset and the apex of each clip, as frame numbers."""
    return np.rint(data.frames().mean(axis=(2, 3, 4)) / 10).astype(int).tolist()


def rows(problems):
    return problems.to_numpy().tolist()


def test_listed_frames_are_missing_and_the_nearest_stand_for_them(opened, clone):
    # Of 10..18 the onset, the apex and one beside it are bad: 11 and 12 are nearest (12 of 12 and 16).
    data = opened(clone(quality(10, 13, 14, 15), damaged(13)))
    assert brightness(data) == [[11, 12, 18, 11, 12], [5, 9, 12, 5, 9]]
    assert rows(data.problems) == [
        [WHERE, "casme3/spNO.1/a/10", "4 of 9 frames are bad", "taken as missing"],
        [WHERE, "casme3/spNO.2/b/5", "1 of 9 frames are bad", "taken as missing"],
        [WHERE, "", "0 of 5 frames are in no clip of the table", "ignored"],
        ["part_A/spNO.1/a/color", "casme3/spNO.1/a/10", "4 of 9 frames missing", "nearest frames used"],
        ["part_A/spNO.2/b/color", "casme3/spNO.2/b/5", "1 of 9 frames missing", "nearest frames used"],
    ]


def test_a_clip_that_loses_more_than_half_is_left_out(opened, clone):
    data = opened(clone(quality(*range(10, 15)), NONE))
    assert data.clips["clip_id"].tolist() == ["casme3/spNO.2/b/5"]
    assert rows(data.problems)[-1] == [
        "part_A/spNO.1/a/color", "casme3/spNO.1/a/10", "5 of 9 frames missing", "clip left out",
    ]  # fmt: skip


def test_a_clip_of_bad_frames_alone_is_not_said_to_have_no_folder(opened, clone):
    assert rows(opened(clone(quality(*range(10, 19)), NONE)).problems)[-1][2] == "9 of 9 frames missing"


@pytest.mark.parametrize("rule", ["repaired", "published", "released", "drop"])
def test_without_a_clone_nothing_changes(opened, clone, rule):
    before = opened(repair=rule)
    assert before.problems.empty
    elsewhere = opened(clone(quality(9, 19, place="spNO.1/a"), damaged(7, place="spNO.7 b")), repair=rule)
    pd.testing.assert_frame_equal(elsewhere.clips, before.clips)
    assert elsewhere.fingerprint == before.fingerprint
    told = [[WHERE, "", "3 of 3 frames are in no clip of the table", "ignored"]]
    assert rows(elsewhere.problems) == (told if rule in ("repaired", "drop") else [])


@pytest.mark.parametrize("rule", ["published", "released"])
def test_rules_that_take_the_data_as_it_is_do_not_use_the_lists(opened, clone, rule):
    data, before = opened(clone("no list", "at all"), repair=rule), opened(repair=rule)
    assert data.fingerprint == before.fingerprint
    assert data.problems.empty


def test_drop_leaves_out_the_clips_that_have_listed_frames(root, clone):
    clips, problems, *_ = casme3.read(root, repair="drop", exceptions=clone(NONE, damaged(5)))
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/10"]
    assert "bad_frames" not in clips
    assert rows(problems)[0] == [WHERE, "casme3/spNO.2/b/5", "1 of 9 frames are bad", "clip left out"]


def test_a_bad_frame_is_never_the_estimated_apex(root, clone, tmp_path):
    clips = casme3.read(root, exceptions=clone(quality(17, 18), NONE)).clips.assign(apex=np.nan)
    found, _ = with_apex(clips, "difference", tmp_path)
    assert found["apex"].tolist() == [16, 13]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            QUALITY,
            quality(10) + "/made/up/RGB/spNO.1/a/depth/11.png\n",
            "line 2: '/made/up/RGB/spNO.1/a/depth",
        ),
        (DAMAGED, damaged(5) + "\n" + damaged(6), "line 2: ''"),
        (DAMAGED, "", "line 1: ''"),
        (QUALITY, "version https://git-lfs.github.com/spec/v1\n", "line 1: 'version"),
    ],
)
def test_a_list_that_cannot_be_read_is_named_with_its_line(root, clone, name, text, line):
    folder = clone(NONE, NONE)
    (folder / "exception" / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{folder / 'exception' / name}, {line}") + ".*git clone"):
        casme3.read(root, exceptions=folder)


def test_a_clone_without_a_list_is_told_with_the_command_that_brings_it(root, clone):
    folder = clone(NONE, NONE)
    (folder / "exception" / DAMAGED).unlink()
    with pytest.raises(FileNotFoundError, match=f"{DAMAGED}.*git clone https://github.com/jingtingEmmaLi"):
        casme3.read(root, exceptions=folder)


def test_made_faces_have_no_listed_frames(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_CLONE_OF_CASME3", clone("no list", "at all"))
    preset = PRESET.model_copy(
        update={
            "synthetic": PRESET.synthetic.model_copy(update={"n_subjects": 3, "n_micro": 8, "frame_size": 32})
        }
    )
    assert len(open_dataset(Parameters(labels="emotion7"), preset, tmp_path).clips) == 8
