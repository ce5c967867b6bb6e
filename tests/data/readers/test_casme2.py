"""The CASME II reader on trees of invented rows: layouts, versions of the sheet, known errors, labels."""

from functools import partial

import pandas as pd
import pytest
from disk import write_book
from tiny import with_folders

from hsta_lib.data.frames import index_folder
from hsta_lib.data.readers import casme2
from hsta_lib.data.readers.rows import compare_counts

HEADER = [
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion",
]  # fmt: skip
HEADER_2019 = [*HEADER, "Objective Classes"]
SHEET_2019 = "CASME2-coding-20190701.xlsx"
CLASSES = "CASME2-ObjectiveClasses.xlsx"


def row(
    onset=46, apex=59, offset=86, *, subject="01", name="EP02_01f", emotion="happiness", units="4+L10",
    objective=None,
):  # fmt: skip
    """A row of a coding sheet; in that of 2014 the last column is missing."""
    cells = [subject, name, None, onset, apex, offset, None, units, emotion]
    return cells if objective is None else [*cells, objective]


def write_sheet(path, rows, header=HEADER):
    write_book(path, {"Sheet": [header, *rows], "Sheet2": []})


def build(root, rows, frames="Cropped", *, sheet=casme2.SHEET, header=HEADER, folders=None):
    """Write a sheet, and the empty clip folders of its rows; returns the root."""
    write_sheet(root / sheet, rows, header)
    own = (f"sub{int(cells[0]):02d}/{cells[1].strip()}" for cells in rows)
    return with_folders(root, frames, own if folders is None else folders)


@pytest.fixture
def tree(tmp_path):
    return partial(build, tmp_path)


# --- what is read -----------------------------------------------------------------------------------------


def test_clips_of_one_name_are_told_apart_by_their_subject(tree):
    clips, problems, *_ = casme2.read(tree([row(), row(subject="17"), row(subject="26")]))
    assert clips["clip_id"].tolist() == [f"casme2/sub{n}/EP02_01f" for n in ("01", "17", "26")]
    assert clips["folder"].nunique() == 3
    assert problems.empty


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("EP02_01f", "EP02"), ("EP02_07", "EP02"), ("EP19_03f", "EP19"), ("EP01_2", "EP01"),
        ("EP09f", "EP09"), ("EP06_02_01", "EP06"), ("ep02_01f", "EP02"), ("x2_01", "x2_01"),
    ],
)  # fmt: skip
def test_the_recording_is_the_film_of_a_subject(tree, name, film):
    clips = casme2.read(tree([row(name=name)])).clips
    assert clips["recording_id"].tolist() == [f"casme2/sub01/{film}"]


# --- layouts ----------------------------------------------------------------------------------------------

CROPPED = ["Cropped", "cropped", "Cropped/Cropped", "Cropped-updated/Cropped", "CASME2_Cropped"]
SELECTED = ["CASME2_RAW_selected", "casme2_raw_SELECTED/CASME2_RAW_selected"]
RAW = ["CASME2-RAW", "CASME2-RAW/CASME2-RAW/CASME2-RAW", "CASME2_RAW/CASME2-RAW"]
LAYOUTS = dict.fromkeys(CROPPED, "cropped") | dict.fromkeys(SELECTED, "selected") | dict.fromkeys(RAW, "raw")


def test_folders_of_subjects_and_clips_may_differ_in_case(tree):
    root = tree([row(name="EP02_01F")], folders=["SUB01/ep02_01f"])
    assert casme2.read(root).clips["folder"].tolist() == [root / "Cropped" / "SUB01" / "ep02_01f"]


def test_the_first_that_is_there_is_cropped_then_selected_then_raw(tree):
    for name in ("CASME2-RAW", "CASME2_RAW_selected"):
        root = tree([row()], name)
    (root / "Cropped").mkdir()  # empty: nothing was unpacked into it
    assert casme2.read(root).version.startswith("selected frames;")


def test_frames_are_numbered_alike_in_every_variant(tree):
    numbered = {}
    for frames, name in [("CASME2-RAW", "img{}.jpg"), ("Cropped", "reg_img{}.jpg")]:
        root = tree([row(9, 10, 11)], frames)
        for number in (9, 10, 11):
            (root / frames / "sub01" / "EP02_01f" / name.format(number)).touch()
        folder = casme2.read(root, variant=LAYOUTS[frames]).clips.loc[0, "folder"]
        numbered[frames] = {number: path.name for number, path in index_folder(folder).items()}
    assert numbered["CASME2-RAW"] == {9: "img9.jpg", 10: "img10.jpg", 11: "img11.jpg"}
    assert numbered["Cropped"] == {9: "reg_img9.jpg", 10: "reg_img10.jpg", 11: "reg_img11.jpg"}


def test_a_sheet_in_another_folder_is_found(tree):
    root = tree([row()], sheet="labels/new/casme2-CODING-20140508.xlsx")
    assert len(casme2.read(root).clips) == 1


def test_folders_of_frames_are_not_searched_for_sheets(tree):
    root = tree([row()])
    write_sheet(root / "Cropped" / "sub01" / SHEET_2019, [row(emotion="fear")])
    assert casme2.read(root).clips["emotion"].tolist() == ["happy"]
    write_sheet(root / "Cropped" / casme2.SHEET, [row(emotion="disgust")])
    assert casme2.read(root / "Cropped").clips["emotion"].tolist() == ["disgust"]


# --- versions of the sheet --------------------------------------------------------------------------------

COUNTS_2014 = {
    "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2,
}  # fmt: skip
COUNTS_2019 = {**COUNTS_2014, "surprise": 28, "sadness": 4}
COUNTS_UPDATED = {**COUNTS_2014, "disgust": 64}
CLASSES_2019 = {1: 30, 2: 18, 3: 93, 4: 15, 5: 18, 6: 2, 7: 79}


def repeated(counts):
    return [value for value, count in counts.items() for _ in range(count)]


def whole_sheet(counts, classes=None):
    """Rows of invented clips, ten per subject, with as many of each emotion as a version has."""
    emotions = repeated(counts)
    objective = [None] * len(emotions) if classes is None else repeated(classes)
    return [
        row(subject=f"{n // 10 + 1:02d}", name=f"EP{n % 10:02d}_01", emotion=emotion, objective=number)
        for n, (emotion, number) in enumerate(zip(emotions, objective, strict=True))
    ]


@pytest.mark.parametrize(
    ("counts", "classes", "version"),
    [
        (COUNTS_2014, None, "20140508, 255 rows"),
        (COUNTS_2019, CLASSES_2019, "20190701, 255 rows"),
        (COUNTS_UPDATED, None, "updated, 256 rows"),
    ],
)
def test_a_version_is_known_by_its_content_and_has_the_counts_it_should(tree, counts, classes, version):
    header = HEADER if classes is None else HEADER_2019
    reading = casme2.read(tree(whole_sheet(counts, classes), sheet="CASME2-coding.xlsx", header=header))
    assert reading.version == f"cropped frames; CASME2-coding.xlsx ({version})"
    assert len(reading.clips) == sum(counts.values())
    compared = compare_counts(reading).set_index("emotion")
    spelling = {"happiness": "happy", "sadness": "sad"}
    assert compared["expected"].to_dict() == {spelling.get(name, name): n for name, n in counts.items()}
    assert compared["difference"].tolist() == [0] * 7


def test_a_difference_from_the_expected_counts_is_shown_and_not_fatal(tree):
    rows = whole_sheet({**COUNTS_2014, "disgust": 61, "fear": 3, "boredom": 1})
    reading = casme2.read(tree(rows))
    assert "(20140508, 255 rows)" in reading.version
    assert len(reading.clips) == 255
    compared = compare_counts(reading).set_index("emotion")
    changed = compared[compared["difference"] != 0]
    assert changed["difference"].to_dict() == {"boredom": 1, "disgust": -2, "fear": 1}
    assert changed["expected"].to_dict() == {"boredom": 0, "disgust": 63, "fear": 2}


def test_a_clip_without_a_folder_counts_as_listed(tree):
    reading = casme2.read(tree(whole_sheet(COUNTS_2014), folders=["sub01/EP00_01"]))
    assert len(reading.clips) == 1
    assert len(reading.problems) == 254
    assert compare_counts(reading)["difference"].tolist() == [0] * 7


def test_of_two_versions_the_later_is_read(tree):
    tree([row(emotion="sadness")])
    root = tree([row(emotion="surprise", objective=2)], sheet=SHEET_2019, header=HEADER_2019)
    reading = casme2.read(root)
    assert SHEET_2019 in reading.version
    assert reading.clips["emotion"].tolist() == ["surprise"]


# --- objective classes ------------------------------------------------------------------------------------


def write_classes(root, rows):
    write_sheet(root / CLASSES, rows, ["Subject", "Filename", "Objective Class"])


def test_objective_classes_come_from_their_own_file_where_the_sheet_has_none(tree):
    root = tree([row(), row(subject="02"), row(subject="03")])
    write_classes(root, [["2", "ep02_01F", 5], ["01", "EP02_01f", 3], ["01", "EP02_02f", 1]])
    reading = casme2.read(root)
    assert reading.clips["objective_class"].tolist() == ["III", "V", ""]
    assert reading.version.endswith(f"{casme2.SHEET} (of no known version, 3 rows); {CLASSES}")


def test_the_classes_of_the_sheet_go_before_those_of_the_other_file(tree):
    root = tree([row(objective=2)], header=HEADER_2019)
    write_classes(root, [["01", "EP02_01f", 3]])
    reading = casme2.read(root)
    assert reading.clips["objective_class"].tolist() == ["II"]
    assert CLASSES not in reading.version


def test_the_file_of_classes_alone_does_not_make_a_version_of_2019(tree):
    root = tree(whole_sheet(COUNTS_2014))
    write_classes(root, [[cells[0], cells[1], 1] for cells in whole_sheet(COUNTS_2014)])
    reading = casme2.read(root)
    assert "(20140508, 255 rows)" in reading.version
    assert reading.clips["objective_class"].unique().tolist() == ["I"]


# --- known errors -----------------------------------------------------------------------------------------

# Clip: onset, apex and offset in the sheet, of which only those that a correction asks for are real; the same
# repaired; who says so. The last two are not corrected.
ERRORS = {
    "sub04/EP12_01f": ([261, "/", 321], [261, 279, 321], "MEB"),
    "sub05/EP09_05f": ([69, 69, 133], [69, 81, 133], "MEB"),
    "sub05/EP16_04f": ([101, 193, 193], [101, 166, 193], "MEB"),
    "sub12/EP09_06": ([61, 113, 113], [61, 89, 113], "MEB"),
    "sub20/EP16_01": ([53, 127, 127], [53, 91, 127], "MEB"),
    "sub07/EP06_01": ([41, 55, 68], [41, 78, 91], "MEB"),
}
LEFT_ALONE = {"sub25/EP18_04f": [31, 97, 97], "sub01/EP02_01f": [46, 59, 86]}


@pytest.fixture
def with_errors(tree):
    shipped = {clip: numbers for clip, (numbers, _, _) in ERRORS.items()} | LEFT_ALONE
    return tree([row(*numbers, subject=clip[3:5], name=clip[6:]) for clip, numbers in shipped.items()])


def numbers_of(clips):
    """Onset, apex and offset by clip, None for a missing apex."""
    numbers = clips.set_index(clips["clip_id"].str.removeprefix("casme2/"))[["onset", "apex", "offset"]]
    return {clip: [None if pd.isna(n) else int(n) for n in row] for clip, *row in numbers.itertuples()}


def known_error(numbers):
    return f"onset, apex, offset {' '.join(map(str, numbers)).replace('/', '-')}: a known error"


def test_repaired(with_errors):
    clips, problems, *_ = casme2.read(with_errors, repair="repaired")
    assert numbers_of(clips) == {clip: repaired for clip, (_, repaired, _) in ERRORS.items()} | LEFT_ALONE
    assert problems.to_numpy().tolist() == [
        [
            "annotation sheet",
            f"casme2/{clip}",
            known_error(shipped),
            f"taken as {' '.join(map(str, repaired))} ({source})",
        ]
        for clip, (shipped, repaired, source) in ERRORS.items()
    ]


@pytest.mark.parametrize("rule", ["published", "released"])
def test_published_and_released_leave_what_is_in_order_and_a_missing_apex_missing(with_errors, rule):
    clips, problems, *_ = casme2.read(with_errors, repair=rule)
    shipped = {clip: numbers for clip, (numbers, _, _) in ERRORS.items()} | LEFT_ALONE
    shipped["sub04/EP12_01f"] = [261, None, 321]
    assert numbers_of(clips) == shipped
    assert problems.empty


def test_the_same_name_under_another_subject_is_not_corrected(tree):
    clips = casme2.read(tree([row(261, "/", 321, subject="05", name="EP12_01f")])).clips
    assert numbers_of(clips) == {"sub05/EP12_01f": [261, None, 321]}


# --- rows that cannot be used -----------------------------------------------------------------------------


def test_a_cell_that_is_a_path_finds_no_folder(tree):
    names = ["../../etc", "..", ".", "/etc", "sub01/EP02_01f", "../sub01/EP02_01f", ""]
    paths = [row(subject=subject, name=name) for subject in ("02", "../sub01", "/etc") for name in names]
    root = tree([row(), *paths], folders=["sub01/EP02_01f", "sub02/EP02_01f"])
    (root.parent / "etc").mkdir(exist_ok=True)
    clips, problems, *_ = casme2.read(root)
    assert clips["clip_id"].tolist() == ["casme2/sub01/EP02_01f"]
    assert problems["problem"].tolist() == ["folder missing"] * 21


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (row(46, 87, 86, name="EP03_01"), "apex 87 outside onset..offset 46..86"),
        (row(46, 59, 45, name="EP03_01"), "offset 45 before onset 46"),
        (row(46, "?", 86, name="EP03_01"), "onset, apex, offset [46, None, 86]: not all are numbers"),
        (row(), "listed twice"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_and_nothing_else_is_lost(tree, cells, problem):
    clips, problems, *_ = casme2.read(tree([row(), cells, row(name="EP04_01")]))
    assert clips["clip_id"].str[-7:].tolist() == ["P02_01f", "EP04_01"]
    assert problems[["problem", "action"]].to_numpy().tolist() == [[problem, "clip left out"]]


# --- trees that cannot be read ----------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "named"), [("raw", "raw"), ("selected", "selected")])
def test_a_variant_that_is_not_there_is_named(tree, variant, named):
    with pytest.raises(
        FileNotFoundError, match=rf"no {named} frames; there are cropped frames in .*/Cropped"
    ):
        casme2.read(tree([row()]), variant=variant)
    with pytest.raises(FileNotFoundError, match="no raw frames"):
        casme2.read(tree([row()]) / "Cropped", variant="raw")
