"""The CAS(ME)^3 reader on trees of a few rows, and the label sets of the clip table."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from disk import write_book

from hsta_lib.data.readers import casme3
from hsta_lib.data.readers import rows as reading
from hsta_lib.data.readers.rows import compare_counts
from hsta_lib.data.table import (
    COLUMNS,
    class_names,
    clean_emotion,
    labelled,
    objective_class,
    parse_action_units,
    without_class,
)

XLS = Path(__file__).parents[2] / "files" / "sheet_of_invented_rows.xls"
MICRO = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
ALL = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]


def row(
    onset="118", apex="123", offset="140", *, subject="spNO.1", video="a", emotion="disgust", objective="VII"
):
    """A row of the sheet of micro-expressions; all cells are text, as in the official sheet."""
    return [subject, video, onset, apex, offset, "4+R14", objective, emotion]


def write_sheet(path, rows, header=MICRO):
    """An .xlsx file with the rows on its first sheet and junk on the others."""
    no_values = [[]] * 499 + [[None] * 8]  # but dimensions
    junk = {"Sheet1": no_values, "Sheet3": [["Subject", "spNO.99", "1"]]}
    write_book(path, {"label": [header, *rows], **junk})


@pytest.fixture
def tree(tmp_path):
    """Function that writes a sheet, and the video folders of its rows; it returns the root."""

    def build(rows, folders=None, header=MICRO):
        write_sheet(tmp_path / "annotation" / casme3.MICRO_SHEET, rows, header)
        for folder in {f"{cells[0]}/{cells[1]}" for cells in rows} if folders is None else folders:
            (tmp_path / "part_A" / folder / "color").mkdir(parents=True, exist_ok=True)
        return tmp_path

    return build


# --- what is read -----------------------------------------------------------------------------------------


def test_a_row_becomes_a_clip(tree):
    root = tree([row()])
    clips, problems, *_ = casme3.read(root)
    values = [
        "casme3", "casme3/spNO.1", "casme3/spNO.1/a", "casme3/spNO.1/a/118",
        root / "part_A" / "spNO.1" / "a" / "color", None, 118, 123, 140, "disgust", "VII", "4+R14", "micro",
    ]  # fmt: skip
    assert clips.to_dict("records") == [dict(zip(COLUMNS, values, strict=True))]
    assert list(clips.columns) == list(COLUMNS)
    assert problems.empty


def test_ids_begin_with_the_name_of_the_dataset(tree):
    clips, *_ = casme3.read(tree([row()]), dataset="mine")
    assert clips.loc[0, ["dataset", "subject_id", "recording_id", "clip_id"]].tolist() == [
        "mine", "mine/spNO.1", "mine/spNO.1/a", "mine/spNO.1/a/118",
    ]  # fmt: skip


def test_numbers_may_be_text_or_numbers(tree):
    numbers = [[118, 123, 140], ["218", "223", "240"], [318.0, "323.0", " 340 "]]
    clips, problems, *_ = casme3.read(tree([row(*cells) for cells in numbers]))
    assert problems.empty
    assert clips[["onset", "apex", "offset"]].to_numpy().tolist() == [
        [118, 123, 140], [218, 223, 240], [318, 323, 340],
    ]  # fmt: skip
    assert clips["clip_id"].str.split("/").str[-1].tolist() == ["118", "218", "318"]


def test_cells_are_stripped_and_emotions_have_one_spelling(tree):
    spelt = ["others", "Others", " other ", "Happiness", "sadness", "DISGUST"]
    rows = [row(str(10 * i), str(10 * i), str(10 * i), emotion=e) for i, e in enumerate(spelt, start=1)]
    clips, *_ = casme3.read(
        tree([*rows, row(subject=" spNO.1 ", video=" a ", objective=" iv ")], ["spNO.1/a"])
    )
    assert clips["emotion"].tolist() == ["others", "others", "others", "happy", "sad", "disgust", "disgust"]
    assert clips["subject_id"].unique().tolist() == ["casme3/spNO.1"]
    assert clips["objective_class"].tolist() == ["VII"] * 6 + ["IV"]


def test_empty_rows_and_other_columns_do_not_matter(tree):
    header = ["remark", *MICRO[::-1], None]
    rows = [["x", *row()[::-1], "y"], [None] * 10, ["x", *row("200", "201", "202")[::-1], None]]
    clips, problems, *_ = casme3.read(tree(rows, ["spNO.1/a"], header))
    assert problems.empty
    assert clips["onset"].tolist() == [118, 200]
    assert clips["emotion"].tolist() == ["disgust", "disgust"]


# --- videos and clips on disk -----------------------------------------------------------------------------


def make_folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)


@pytest.mark.parametrize(("sheet", "disk"), [("J", "j"), ("j", "J"), ("J", "J")])
def test_a_film_is_the_same_in_either_case(tree, sheet, disk):
    rows = [row(video=sheet), row("200", "203", "210", video="j")]
    clips, problems, *_ = casme3.read(tree(rows, [f"spNo.1/{disk}"]))
    assert problems.empty
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/j/118", "casme3/spNO.1/j/200"]
    assert {path.parent.name for path in clips["folder"]} == {disk}


@pytest.mark.parametrize("name", ["depth", "Depth"])
def test_depth_lies_beside_colour(tree, name):
    root = tree([row(), row(video="b")])
    make_folders(root, f"part_A/spNO.1/a/{name}")
    clips = casme3.read(root).clips
    assert clips["depth_folder"].tolist() == [root / "part_A/spNO.1/a" / name, None]
    assert {path.name for path in clips["folder"]} == {"color"}


@pytest.fixture
def release(tree):
    """Function that writes a sheet, and folders of the clip release; it returns the root."""

    def build(rows, *folders):
        root = tree(rows, folders=[])
        make_folders(root, *folders)
        return root

    return build


def test_the_clip_release_is_read_with_its_depth(release):
    frame, depth = "Part_A_ME_clip/frame", "Part_A_ME_clip/depth"
    rows = [row(), row("218.0", "223", "240"), row("118", video="b")]
    root = release(
        rows,
        f"{frame}/spNO.1_a_118",
        f"{depth}/spNO.1_a_118",
        f"{frame}/spNO.1_a_218",
        f"{depth}/spNO.1_b_118",
    )
    clips, problems, version, *_ = casme3.read(root)
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/118", "casme3/spNO.1/a/218"]
    assert clips["recording_id"].tolist() == ["casme3/spNO.1/a"] * 2
    assert clips["folder"].tolist() == [root / frame / "spNO.1_a_118", root / frame / "spNO.1_a_218"]
    assert clips["depth_folder"].tolist() == [root / depth / "spNO.1_a_118", None]
    assert problems[["clip_id", "problem"]].to_numpy().tolist() == [["casme3/spNO.1/b/118", "folder missing"]]
    assert version.startswith("clip release; ")


def test_the_clip_release_may_differ_in_case_and_be_nested(release):
    root = release([row(subject="spNO.11", video="J")], "PART_A_ME_CLIP/Part_A_ME_clip/Frame/spNo.11_j_118")
    clips, problems, *_ = casme3.read(root)
    assert problems.empty
    assert clips["folder"].tolist() == [root / "PART_A_ME_CLIP/Part_A_ME_clip/Frame/spNo.11_j_118"]


def test_the_onset_in_the_name_of_a_clip_is_the_sheet_s_even_if_it_is_repaired(release):
    rows = [row("3647", "2668", "2694", subject="spNO.216", video="d")]
    clips = casme3.read(release(rows, "Part_A_ME_clip/frame/spNO.216_d_3647")).clips
    assert clips[["onset", "clip_id"]].to_numpy().tolist() == [[2647, "casme3/spNO.216/d/3647"]]


def test_full_videos_are_preferred_to_clips(release):
    root = release([row()], "Part_A_ME_clip/frame/spNO.1_a_118", "part_A/spNO.1/a/color")
    clips, _, version, *_ = casme3.read(root)
    assert clips["folder"].tolist() == [root / "part_A/spNO.1/a/color"]
    assert version.startswith("full videos; ")


@pytest.mark.parametrize("column", ["subject", "video"])
@pytest.mark.parametrize(
    "name", ["../../outside", "..", ".", "a/../../../outside", "..\\outside", "absolute"]
)
@pytest.mark.parametrize("place", ["part_A/spNO.1/a/color", "Part_A_ME_clip/frame/spNO.1_a_118"])
def test_a_cell_that_climbs_out_of_the_dataset_finds_nothing(release, tmp_path, place, name, column):
    make_folders(tmp_path, "outside/color", "outside/a/color")
    name = str(tmp_path / "outside") if name == "absolute" else name
    clips, problems, *_ = casme3.read(release([row(), row(**{column: name})], place))
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/118"]
    assert problems["problem"].tolist() == ["folder missing"]


# --- versions of the sheet --------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".xlsx", ".xls"])  # a workbook is told by its content
@pytest.mark.parametrize(
    ("usual", "macro"), [(casme3.MICRO_SHEET, False), (casme3.ALL_SHEET, True)], ids=["micro", "all"]
)
def test_the_latest_version_of_a_sheet_is_read(tree, usual, macro, ending):
    root, stem = tree([row()]), usual.removesuffix("_v2.xlsx")
    (root / "annotation" / casme3.MICRO_SHEET).rename(root / f"cas(me)3_part_A_ME_label_JpgIndex{ending}")
    for onset, version in enumerate(["_v1", "_v2", "_v2_20250903"], start=7):
        if macro:
            cells = ["spNO.1", "a", str(onset), str(onset), "99", "4", "Macro-expression", "III"]
            write_sheet(root / f"{stem}{version}{ending}", [cells], ALL)
        else:
            write_sheet(root / f"{stem}{version}{ending}", [row(str(onset), str(onset))])
        assert casme3.read(root, macro=macro).clips["onset"].tolist()[-1] == onset


OFFICIAL = {
    "v2": dict(zip(casme3._EMOTIONS, (250, 187, 161, 86, 64, 57, 55), strict=True)),
    "v1": dict(zip(casme3._EMOTIONS, (275, 199, 166, 91, 67, 63, 60), strict=True)),
}


def rows_of(counts):
    """Rows of the sheet with so many clips of each emotion, three of them spelt Others."""
    emotions = [emotion for emotion, count in counts.items() for _ in range(count)]
    first = emotions.index("others")
    emotions[first : first + 3] = ["Others"] * 3
    return [row(str(n), str(n), str(n), emotion=emotion) for n, emotion in enumerate(emotions)]


@pytest.mark.parametrize(("version", "n_rows"), [("v2", 860), ("v1", 921)])
def test_a_version_is_known_by_its_number_of_rows(tree, version, n_rows):
    listed = casme3.read(tree(rows_of(OFFICIAL[version])))
    assert listed.version == f"full videos; {casme3.MICRO_SHEET} ({version}, {n_rows} rows)"
    counts = compare_counts(listed)
    assert counts["listed"].sum() == n_rows
    assert dict(zip(counts["emotion"], counts["expected"], strict=True)) == OFFICIAL[version]
    assert (counts["difference"] == 0).all()


def test_a_sheet_of_another_number_of_rows_is_of_no_known_version(tree):
    listed = casme3.read(tree(rows_of(OFFICIAL["v2"])[1:]))
    assert listed.version.endswith("(of no known version, 859 rows)")
    assert (compare_counts(listed)["expected"] == 0).all()


def test_macro_expressions_change_neither_version_nor_counts(tree):
    root = tree(rows_of(OFFICIAL["v2"]), ["spNO.1/a", "spNO.1/b"])
    macro = ["spNO.1", "b", "20", "25", "30", "12", "Macro-expression", "I"]
    write_sheet(root / casme3.ALL_SHEET, [macro], ALL)
    write_macro_emotions(root, [("spNO.1", "b", "20", "disgust")])
    listed = casme3.read(root, macro=True)
    assert (listed.clips["expression_type"] == "macro").sum() == 1
    assert listed.version.endswith("(v2, 860 rows)")
    assert (compare_counts(listed)["difference"] == 0).all()


def test_a_sheet_without_rows_lists_nothing(tree):
    listed = casme3.read(tree([], ["spNO.1/a"]))
    assert listed.clips.empty
    assert listed.problems.empty
    assert listed.version.endswith("(of no known version, 0 rows)")


# --- macro-expressions ------------------------------------------------------------------------------------


def all_rows():
    """Rows of the sheet of both kinds: a micro-expression, and two macro-expressions."""
    return [
        ["spNO.1", "a", "118", "123", "140", "4+R14", "Micro-expression", "VII"],
        ["spNO.1", "a", "300", "330", "390", "12", "Macro-expression", "I"],
        ["spNO.1", "b", "20", "10", "30", "12", "Macro-expression", "I"],
    ]


def test_macro_expressions_are_read_on_demand(tree):
    root = tree([row()], ["spNO.1/a", "spNO.1/b"])
    write_sheet(root / casme3.ALL_SHEET, all_rows(), ALL)
    clips, problems, *_ = casme3.read(root, macro=True)
    assert clips["expression_type"].tolist() == ["micro", "macro"]
    assert clips["emotion"].tolist() == ["disgust", ""]
    assert clips["objective_class"].tolist() == ["VII", "I"]
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/118", "casme3/spNO.1/a/300"]
    assert problems["clip_id"].tolist() == ["casme3/spNO.1/b/20"]
    assert len(casme3.read(root)[0]) == 1


def test_macro_expressions_need_their_sheet(tree):
    with pytest.raises(FileNotFoundError, match=r"no annotation sheet 'CAS\(ME\)3_part_A_v2\.xlsx'"):
        casme3.read(tree([row()]), macro=True)


def write_macro_emotions(root, rows):
    """The sheet of the macro-expressions' emotions: subject, video, onset and emotion among its columns."""
    header = ["sub", "seq", "onset", "apex", "offset", "AU", "emotion"]
    name = "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx"
    cells = [[subject, video, onset, "1", "2", "12", emotion] for subject, video, onset, emotion in rows]
    write_sheet(root / "annotation" / name, cells, header)


def test_macro_expressions_have_the_emotions_of_their_own_sheet(tree):
    macro = [
        ["spNO.1", "a", onset, onset, "390", "12", "Macro-expression", "I"] for onset in (300, "310", 320)
    ]
    root = tree([row("300", "310", "311", video="b")], ["spNO.1/a", "spNO.1/b"])
    write_sheet(root / casme3.ALL_SHEET, macro, ALL)
    emotions = [("SPNO.1 ", "A", "300", "Happiness"), ("spNO.1", "a", 310, "sadness")]
    write_macro_emotions(root, [*emotions, ("spNO.1", "b", "300", "fear"), ("spNO.2", "a", "320", "fear")])
    clips, problems, *_ = casme3.read(root, macro=True)
    assert problems.empty
    assert clips["clip_id"].str[-5:].tolist() == ["b/300", "a/300", "a/310", "a/320"]
    assert clips["emotion"].tolist() == ["disgust", "happy", "sad", ""]


def test_macro_expressions_may_be_in_an_xls_sheet(tree):
    root = tree([row()], ["spNO.1/a", "spNO.301/c", "spNO.302/J"])
    shutil.copy(XLS, root / "annotation" / "CAS(ME)3_part_A_v2.xls")
    clips, problems, *_ = casme3.read(root, macro=True)
    assert problems.empty
    macro = clips[clips["expression_type"] == "macro"]
    assert macro["clip_id"].tolist() == ["casme3/spNO.301/c/300", "casme3/spNO.302/j/20"]
    assert macro[["onset", "apex", "offset"]].to_numpy().tolist() == [[300, 330, 390], [20, 24, 35]]
    assert macro["action_units"].tolist() == ["12", "4"]
    assert macro["objective_class"].tolist() == ["I", "III"]


def test_macro_expressions_have_a_clip_release_of_their_own(release):
    micro, macro = "Part_A_ME_clip/frame/spNO.1_a_118", "Part_A_MaE_clip/frame/spNO.1_a_300"
    root = release([row()], micro, macro)
    write_sheet(root / casme3.ALL_SHEET, all_rows()[:2], ALL)
    clips, problems, *_ = casme3.read(root, macro=True)
    assert problems.empty
    assert clips["folder"].tolist() == [root / micro, root / macro]


# --- known errors, and the time rule ----------------------------------------------------------------------

# Clip to the numbers shipped, those taken under "repaired", and whether the clip is micro by the time rule.
CORRECTED = {
    "spNO.149/d/112": ((112, 83, 358), [112, 160, 358], False),
    "spNO.216/d/3647": ((3647, 2668, 2694), [2647, 2668, 2694], False),
    "spNO.40/e/1812": ((1812, 1824, 0), [1812, 1824, 1845], False),
    "spNO.40/e/2327": ((2327, 2363, 0), [2327, 2363, 2403], False),
    "spNO.216/e/0": ((0, 0, 25), [1, 1, 25], True),
    "spNO.214/c/5": ((5, 5, 3460), [5, 5, 34], True),
}


@pytest.fixture
def corrected(tree):
    """Root of a tree of the clips with known errors, as shipped, and of one without."""
    places = [(clip.split("/"), numbers) for clip, (numbers, *_) in CORRECTED.items()]
    return tree([row(*map(str, n), subject=place[0], video=place[1]) for place, n in places] + [row()])


def indices(clips):
    numbers = clips.set_index("clip_id")[["onset", "apex", "offset"]]
    return {clip.removeprefix("casme3/"): list(row) for clip, *row in numbers.itertuples()}


def test_every_correction_is_applied_and_told(corrected):
    clips, problems, *_ = casme3.read(corrected)
    repaired = {clip: numbers for clip, (_, numbers, _) in CORRECTED.items()}
    assert indices(clips) == {**repaired, "spNO.1/a/118": [118, 123, 140]}
    told = problems[problems["problem"].str.endswith("a known error")]
    assert told["clip_id"].tolist() == [f"casme3/{clip}" for clip in CORRECTED]
    assert told["action"].str.match(r"taken as \d+ \d+ \d+ \(.*(MEB|CAS3)").all()
    kept = problems.drop(told.index)
    assert kept["clip_id"].tolist() == [
        f"casme3/{c}" for c, (*_, is_micro) in CORRECTED.items() if not is_micro
    ]
    assert set(kept["action"]) == {"kept"}


def test_no_correction_is_untested():
    table = pd.read_csv(reading._REPAIRS, comment="#")
    assert set(table.loc[table["dataset"] == "casme3", "clip"]) == set(CORRECTED)


def test_all_corrected_clips_can_be_dropped(corrected):
    clips, problems, *_ = casme3.read(corrected, repair="drop")
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/118"]
    assert problems["clip_id"].tolist() == [f"casme3/{clip}" for clip in CORRECTED]


# Under 250 ms to the apex or under 500 ms to the offset, at 30 frames a second: 8 and 15 frames.
@pytest.mark.parametrize(
    ("apex", "offset", "is_micro"),
    [("108", "116", True), ("109", "115", True), ("108", "900", True), ("109", "116", False)],
)
def test_the_time_rule_tells_and_drops_what_is_no_micro_expression(tree, apex, offset, is_micro):
    root = tree([row("100", apex, offset)])
    for rule in ("repaired", "published", "released", "drop"):
        clips, problems, *_ = casme3.read(root, repair=rule)
        assert len(clips) == (is_micro or rule != "drop")
        action = "clip left out" if rule == "drop" else "kept"
        assert problems["action"].tolist() == ([] if is_micro else [action])
        assert problems["problem"].str.startswith("no micro-expression by").all()


def test_the_time_rule_is_not_for_macro_expressions(tree):
    root = tree([row()])
    write_sheet(root / casme3.ALL_SHEET, all_rows()[1:2], ALL)
    clips, problems, *_ = casme3.read(root, macro=True, repair="drop")
    assert clips["onset"].tolist() == [118, 300]
    assert problems.empty


# --- rows that cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "clip_id", "problem"),
    [
        (row("112", "83", "358"), "a/112", "apex 83 outside onset..offset 112..358"),
        (row("112", "359", "358"), "a/112", "apex 359 outside onset..offset 112..358"),
        (row("1812", "1830", "0"), "a/1812", "offset 0 before onset 1812"),
        (row("112", "?", "358"), "a/112", "[112, None, 358]: not all are numbers"),
        (row("112", "120", "nan"), "a/112", "[112, 120, None]: not all are numbers"),
        (row("x", "120", "358"), "a/x", "[None, 120, 358]: not all are numbers"),
        (row("118", "119", "120"), "a/118", "listed twice"),
        (row(video="c"), "c/118", "folder missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_and_nothing_else_is_lost(tree, cells, clip_id, problem):
    rows = [row(), cells, row("500", "501", "502")]
    clips, problems, *_ = casme3.read(tree(rows, ["spNO.1/a"]))
    assert clips["clip_id"].tolist() == ["casme3/spNO.1/a/118", "casme3/spNO.1/a/500"]
    assert list(problems.columns) == ["where", "clip_id", "problem", "action"]
    ((where, found, text, action),) = problems.to_numpy().tolist()
    assert (where, found, action) == ("annotation sheet", f"casme3/spNO.1/{clip_id}", "clip left out")
    assert text.endswith(problem)


def test_of_two_rows_the_first_that_can_be_used_counts(tree):
    rows = [row("118", "?", "140"), row("118", "125", "140"), row("118", "126", "140")]
    clips, problems, *_ = casme3.read(tree(rows))
    assert clips["apex"].tolist() == [125]
    assert problems["problem"].str.contains("listed twice").tolist() == [False, True]


# --- trees that cannot be read ----------------------------------------------------------------------------


def test_a_root_without_part_a_is_named(tmp_path):
    write_sheet(tmp_path / "labels" / casme3.MICRO_SHEET, [row()])  # around which frames are looked for too
    with pytest.raises(FileNotFoundError, match="or hold, part_A or Part_A_ME_clip"):
        casme3.read(tmp_path / "labels")


def test_a_missing_sheet_is_named(tmp_path):
    (tmp_path / "part_A/spNO.1/a").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=r"sheet '.*ME_label_JpgIndex_v2\.xlsx'; there is no workbook"
    ):
        casme3.read(tmp_path)


# --- label sets -------------------------------------------------------------------------------------------


EMOTIONS = [
    "Others", "others", "disgust", "surprise", "surprise", "fear", "anger", "sad", "happy", "repression",
]  # fmt: skip
OBJECTIVE = ["I", "II", "III", "IV", "V", "VI", "VII", "VII", "", "VIII"]


@pytest.fixture
def clips(tree):
    """Ten clips whose onsets are 10, ..., 19, listed backwards in the sheet."""
    labels = list(enumerate(zip(EMOTIONS, OBJECTIVE, strict=True), start=10))
    rows = [row(str(n), str(n), str(n), emotion=e, objective=o) for n, (e, o) in reversed(labels)]
    return casme3.read(tree(rows))[0]


@pytest.mark.parametrize(
    ("labels", "onsets", "classes"),
    [
        ("emotion7", range(10, 19), [0, 0, 1, 2, 2, 3, 4, 5, 6]),
        ("emotion4", range(10, 19), [3, 3, 0, 2, 2, 0, 0, 0, 1]),
        ("emotion3", range(12, 19), [0, 2, 2, 0, 0, 0, 1]),
        ("objective7", range(10, 18), [0, 1, 2, 3, 4, 5, 6, 6]),
        ("objective6", [10, 11, 12, 13, 14, 16, 17], [0, 1, 2, 3, 4, 5, 5]),  # without VI
    ],
)
def test_label_sets_by_hand(clips, labels, onsets, classes):
    kept = labelled(clips, labels)
    assert kept["onset"].tolist() == list(onsets)
    assert kept["label"].tolist() == classes
    assert kept["label"].dtype == int


def test_class_orders_by_hand():
    assert class_names("emotion7") == ("others", "disgust", "surprise", "fear", "anger", "sad", "happy")
    assert class_names("emotion4") == ("negative", "positive", "surprise", "others")
    assert class_names("emotion3") == ("negative", "positive", "surprise")
    assert class_names("objective7") == ("I", "II", "III", "IV", "V", "VI", "VII")
    assert class_names("objective6") == ("I", "II", "III", "IV", "V", "VII")


def test_labels_do_not_change_the_table_they_come_from(clips):
    before = clips.copy()
    labelled(clips, "emotion3")
    pd.testing.assert_frame_equal(clips, before)


def test_an_unknown_label_set_is_named_with_the_known_ones(clips):
    with pytest.raises(
        ValueError, match=r"'emotion8' is unknown; .*emotion7, emotion5, emotion4, emotion3, objective7"
    ):
        labelled(clips, "emotion8")


def test_no_clip_with_a_class_is_an_error(clips):
    others = clips[clips["emotion"] == "others"]
    with pytest.raises(ValueError, match="no clip has a class of labels = 'emotion3'"):
        labelled(others, "emotion3")


# --- action units and objective classes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("4+R14", {4, 14}),
        ("L12", {12}),
        ("r18+t25+B26", {18, 25, 26}),
        ("4+4+7", {4, 7}),
        ("L1+R1+L2+R2", {1, 2}),
        (" 6 + 12 ", {6, 12}),
        (12, {12}),
        (12.0, {12}),
        ("4.0", {4}),
        ("?", set()),
        ("", set()),
        (None, set()),
    ],
)
def test_action_units_are_read_without_sides_and_repeats(cell, units):
    assert parse_action_units(cell) == units


# Davison, Merghani and Yap 2018, typed from the printed table; {4, 5} is VII in CAS(ME)^3.
PRINTED = {
    "I": [{6}, {12}, {6, 12}, {6, 7, 12}, {7, 12}],
    "II": [{1, 2}, {5}, {25}, {1, 2, 25}, {25, 26}, {5, 24}],
    "III": [{23}, {4}, {4, 7}, {4, 5, 7}, {17, 24}, {4, 6, 7}, {4, 38}],
    "IV": [
        {10}, {9}, {4, 9}, {4, 40}, {4, 5, 40}, {4, 7, 9}, {4, 9, 17}, {4, 7, 10}, {4, 5, 7, 9}, {7, 10},
    ],
    "V": [{1}, {15}, {1, 4}, {6, 15}, {15, 17}],
    "VI": [{1, 2, 4}, {20}],
    "VII": [{4, 5}, {4, 14}, {14}, {2}, {1, 2, 4, 5}, {6, 12, 25}, {9, 10}, set()],
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_objective_classes_are_those_of_the_printed_table(name):
    assert [objective_class(units) for units in PRINTED[name]] == [name] * len(PRINTED[name])


def test_spelling_sides_and_order_do_not_change_the_class():
    assert objective_class(parse_action_units("R12+L6")) == "I"
    assert objective_class([2, 1]) == "II"
    assert clean_emotion(" Repression ") == "repression"


def test_one_person_has_one_id_however_the_sheet_spells_it(tree):
    root = tree([row(subject="spNO.1"), row("200", "205", "209", subject="spno.01")], folders=["spNO.1/a"])
    clips, problems, *_ = casme3.read(root)
    assert clips["subject_id"].tolist() == ["casme3/spNO.1"] * 2
    assert problems.to_numpy().tolist() == [
        ["annotation sheet", "", "subjects 'spNO.1', 'spno.01'", "taken as one, 'spNO.1'"]
    ]


def test_a_row_without_a_subject_is_listed(tree):
    root = tree([row(), row("200", "205", "209", subject=None)], folders=["spNO.1/a"])
    clips, problems, *_ = casme3.read(root)
    assert len(clips) == 1
    assert problems["problem"].tolist() == ["no subject given"]


def test_classes_outside_the_label_set_are_counted_and_unknown_ones_are_listed(tree):
    emotions = ["disgust", "Others", "others", "hapy", ""]
    rows = [row(str(n), str(n), str(n), emotion=emotion) for n, emotion in enumerate(emotions, 1)]
    outside, unknown = without_class(casme3.read(tree(rows))[0], "emotion3")
    assert outside == {"others": 2}
    assert [(clip_id[-1], problem) for _, clip_id, problem, _ in unknown] == [
        ("4", "emotion 'hapy' is in no label set; known: anger, disgust, fear, happy, others, sad, surprise"),
        ("5", "emotion '' is in no label set; known: anger, disgust, fear, happy, others, sad, surprise"),
    ]
