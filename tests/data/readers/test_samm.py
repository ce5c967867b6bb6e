"""The SAMM reader on trees of invented rows: layouts, the sheet below its prose, known errors, labels."""

from functools import partial

import pytest
from disk import write_book
from test_casme2 import repeated
from tiny import with_folders

from hsta_lib.data.frames import index_folder
from hsta_lib.data.readers import samm
from hsta_lib.data.readers.rows import compare_counts
from hsta_lib.data.table import labelled

HEADER = [
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
    "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
]  # fmt: skip
PROSE = [[f"line {n} about the Subject"] for n in range(13)]


def row(
    onset=5562, apex=5588, offset=5632, *, subject="006", name="006_1_2", emotion="Happiness", units="L12+25",
    objective=7,
):  # fmt: skip
    return [
        subject, name, 2, onset, apex, offset, 71, "Micro - 1/2", units, emotion, objective, "Blinks",
    ]  # fmt: skip


def write_sheet(path, rows, header=HEADER):
    """A sheet of rows whose header is, as in the official one, the fourteenth line."""
    write_book(path, {"MICRO_ONLY": [*PROSE, header, *rows]})


def build(root, rows, frames="SAMM", *, sheet=samm.SHEET, header=HEADER, folders=None):
    """Write the sheet, and the empty clip folders of its rows; returns the root."""
    write_sheet(root / sheet, rows, header)
    own = (f"{int(cells[0]):03d}/{cells[1].strip()}" for cells in rows)
    return with_folders(root, frames, own if folders is None else folders)


@pytest.fixture
def tree(tmp_path):
    return partial(build, tmp_path)


# --- what is read -----------------------------------------------------------------------------------------


def test_clips_of_one_recording_share_subject_and_stimulus(tree):
    names = ["006_1_2", "006_1_10", "006_2_1", "011_1_2"]
    clips = samm.read(tree([row(subject=name[:3], name=name) for name in names])).clips
    assert clips["recording_id"].tolist() == ["samm/006_1", "samm/006_1", "samm/006_2", "samm/011_1"]


def test_frames_have_four_or_five_digits(tree):
    root = tree([row(), row(178, 180, 182, name="006_2_1")])
    for name, digits, numbers in [("006_1_2", 5, (5562, 5588, 5632)), ("006_2_1", 4, (178, 180, 182))]:
        for number in numbers:
            (root / "SAMM" / "006" / name / f"006_{number:0{digits}d}.jpg").touch()
    for clip in samm.read(root).clips.itertuples():
        assert set(index_folder(clip.folder)) == {clip.onset, clip.apex, clip.offset}


# --- layouts ----------------------------------------------------------------------------------------------

CROPPED = ["SAMM_CROP", "samm_crop", "SAMM_Cropped", "SAMM_CROP/SAMM_CROP"]
LAYOUTS = dict.fromkeys(["SAMM", "samm", "SAMM/SAMM"], "raw") | dict.fromkeys(CROPPED, "cropped")


def test_a_folder_named_samm_may_hold_the_cropped_frames_and_the_sheet(tree):
    root = tree([row()], "SAMM/SAMM_CROP", sheet=f"SAMM/SAMM_CROP/{samm.SHEET}") / "SAMM"
    assert samm.read(root).version.startswith("cropped frames;")
    with pytest.raises(FileNotFoundError, match="no raw frames"):
        samm.read(root, variant="raw")


def test_a_clip_lies_under_its_own_subject(tree):
    root = tree([row(subject="007")], folders=["006/006_1_2", "007/007_3_1"])
    clips, problems, *_ = samm.read(root)
    assert clips.empty
    assert problems["clip_id"].tolist() == ["samm/007/006_1_2"]
    assert problems["problem"].tolist() == ["folder missing"]


# --- versions of the sheet --------------------------------------------------------------------------------

COUNTS = {
    "Anger": 57, "Happiness": 26, "Other": 26, "Surprise": 15, "Contempt": 12, "Disgust": 9, "Fear": 8,
    "Sadness": 6,
}  # fmt: skip
CLASSES = {1: 24, 2: 13, 3: 20, 4: 8, 5: 3, 6: 7, 7: 84}


def whole_sheet(counts):
    """Rows of invented clips, seven per subject, with as many of each emotion as the sheet has."""
    pairs = zip(repeated(counts), repeated(CLASSES), strict=True)
    return [
        row(
            subject=n // 7 + 6, name=f"{n // 7 + 6:03d}_1_{n % 7}", emotion=emotion, objective=number
        ) for n, (emotion, number) in enumerate(pairs)
    ]  # fmt: skip


def test_the_second_version_has_the_counts_it_should(tree):
    reading = samm.read(tree(whole_sheet(COUNTS)))
    assert reading.version == f"raw frames; {samm.SHEET} (v2, 159 rows)"
    assert len(reading.clips) == 159
    compared = compare_counts(reading).set_index("emotion")
    assert compared["expected"].to_dict() == {
        "anger": 57, "happy": 26, "others": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8,
        "sad": 6,
    }  # fmt: skip
    assert compared["difference"].tolist() == [0] * 8


# --- known errors -----------------------------------------------------------------------------------------

SHIPPED = {
    "006/006_1_2": [5562, 5588, 5632],
    "028/028_4_1": [1071, 1143, 1134],
    "032/032_3_1": [4896, 1930, 4970],
    "032/032_3_2": [5126, 5127, 5190],  # begins at its apex, or nearly: in order, so left alone
}


@pytest.fixture
def with_errors(tree):
    return tree([row(*n, subject=clip[:3], name=clip[4:]) for clip, n in SHIPPED.items()])


def numbers_of(clips):
    numbers = clips.set_index(clips["clip_id"].str.removeprefix("samm/"))[["onset", "apex", "offset"]]
    return {clip: list(row) for clip, *row in numbers.itertuples()}


KNOWN = [
    ["annotation sheet", "samm/028/028_4_1", "onset, apex, offset 1071 1143 1134: a known error"],
    ["annotation sheet", "samm/032/032_3_1", "onset, apex, offset 4896 1930 4970: a known error"],
]


def test_repaired(with_errors):
    clips, problems, *_ = samm.read(with_errors, repair="repaired")
    assert numbers_of(clips) == {
        **SHIPPED, "028/028_4_1": [1071, 1113, 1134], "032/032_3_1": [4896, 4930, 4970],
    }  # fmt: skip
    assert problems.to_numpy().tolist() == [
        [*KNOWN[0], "taken as 1071 1113 1134 (CAPS (MEB has 1105 and QQ 1124))"],
        [*KNOWN[1], "taken as 4896 4930 4970 (CAPS; QQ)"],
    ]


def test_released(with_errors):
    clips, problems, *_ = samm.read(with_errors, repair="released")
    assert numbers_of(clips) == {  # (1071 + 1134) // 2; the onset
        **SHIPPED, "028/028_4_1": [1071, 1102, 1134], "032/032_3_1": [4896, 4896, 4970],
    }  # fmt: skip
    assert problems.to_numpy().tolist() == [
        [*known[:2], known[2].removesuffix(": a known error"), f"taken as {taken} (the authors' rules)"]
        for known, taken in zip(KNOWN, ["1071 1102 1134", "4896 4896 4970"], strict=True)
    ]


# --- label sets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "clips", "classes"),
    [("emotion5", "01234", [1, 2, 0, 4, 3]), ("emotion3", "0134567", [0, 1, 2, 0, 0, 0, 0])],
)
def test_label_sets_by_hand(tree, labels, clips, classes):
    rows = [row(name=f"006_1_{n}", emotion=emotion) for n, emotion in enumerate(COUNTS)]
    kept = labelled(samm.read(tree(rows[::-1])).clips, labels)
    assert kept["clip_id"].str[-1].tolist() == list(clips)
    assert kept["label"].tolist() == classes
