"""What the readers of CASME II and SAMM have in common: a coding sheet and a folder of each clip."""

import pytest
import test_casme2
import test_samm

from hsta_lib.data.readers import casme2, samm
from hsta_lib.data.table import COLUMNS, labelled

READERS = {"casme2": (casme2, test_casme2), "samm": (samm, test_samm)}
CLIP = {"casme2": "sub01/EP02_01f", "samm": "006/006_1_2"}
of_both = pytest.mark.parametrize("name", READERS)


AS_CLIP = {
    "casme2": ["sub01", "sub01/EP02", CLIP["casme2"], "Cropped", 46, 59, 86, "happy", "", "4+L10"],
    "samm": ["006", "006_1", CLIP["samm"], "SAMM", 5562, 5588, 5632, "happy", "VII", "L12+25"],
}


@of_both
def test_a_row_becomes_a_clip(tmp_path, name):
    (reader, given), (*ids, frames), rest = READERS[name], AS_CLIP[name][:4], AS_CLIP[name][4:]
    clips, problems, *_ = reader.read(given.build(tmp_path, [given.row()]))
    folder = tmp_path / frames / CLIP[name]
    values = [name, *(f"{name}/{part}" for part in ids), folder, None, *rest, "micro"]
    assert clips.to_dict("records") == [dict(zip(COLUMNS, values, strict=True))]
    assert list(clips.columns) == list(COLUMNS)
    assert problems.empty


@pytest.mark.parametrize("form", [int, float, "{}".format, "0{}".format, " 0{} ".format])
@pytest.mark.parametrize(("name", "subject"), [("casme2", 1), ("samm", 6)])
def test_subjects_may_be_padded_text_or_numbers(tmp_path, name, subject, form):
    reader, given = READERS[name]
    root = given.build(tmp_path, [given.row(subject=form(subject)), given.row(subject="37", name="037_3_1")])
    expected = {"casme2": ["casme2/sub01", "casme2/sub37"], "samm": ["samm/006", "samm/037"]}
    assert reader.read(root).clips["subject_id"].tolist() == expected[name]


@pytest.mark.parametrize(("name", "spellings"), [("casme2", ("01", "1")), ("samm", ("006", "6"))])
def test_one_clip_under_two_spellings_of_its_subject_or_name_is_listed_twice(tmp_path, name, spellings):
    reader, given = READERS[name]
    rows = [given.row(), given.row(subject=int(spellings[1])), given.row(name=given.row()[1].upper())]
    clips, problems, *_ = reader.read(given.build(tmp_path, rows, folders=[CLIP[name]]))
    assert clips["clip_id"].str.lower().tolist() == [f"{name}/{CLIP[name]}".lower()]
    merged = f"subjects {', '.join(map(repr, spellings))}"
    assert problems["problem"].tolist() == [merged, "listed twice", "listed twice"]


@of_both
def test_cells_are_stripped_and_emotions_have_one_spelling(tmp_path, name):
    reader, given = READERS[name]
    spelt = {
        " others": "others", "Other": "others", "Happiness ": "happy", "sadness": "sad", "fear": "fear",
        "REPRESSION": "repression", "disgust": "disgust", "surprise": "surprise", " anger": "anger",
    }  # fmt: skip
    rows = [given.row(name=f"006_1_{n}", emotion=emotion, units=12) for n, emotion in enumerate(spelt)]
    rows.append(given.row(" 46 ", "59.0", 86.0, name=" 006_2_1 ", units=" A1B or 2 "))
    clips, problems, *_ = reader.read(given.build(tmp_path, rows))
    assert clips["emotion"].tolist() == [*spelt.values(), "happy"]
    assert clips["action_units"].tolist() == ["12"] * len(spelt) + ["A1B or 2"]
    last = clips.iloc[-1][["clip_id", "onset", "apex", "offset"]].tolist()
    assert last == [f"{name}/{CLIP[name].split('/')[0]}/006_2_1", 46, 59, 86]
    assert problems.empty


@of_both
def test_objective_classes_of_the_sheet_are_written_in_roman_numerals(tmp_path, name):
    reader, given = READERS[name]
    cells = [1, "2", 3.0, " 4 ", 5, 6, 7, 8, "vii"]
    rows = [given.row(name=f"006_1_{n}", objective=cell) for n, cell in enumerate(cells)]
    header = test_casme2.HEADER_2019 if name == "casme2" else test_samm.HEADER
    clips = reader.read(given.build(tmp_path, rows, header=header)).clips
    assert clips["objective_class"].tolist() == ["I", "II", "III", "IV", "V", "VI", "VII", "8", "VII"]


@of_both
def test_a_clip_may_be_one_frame_and_an_apex_outside_it_is_listed(tmp_path, name):
    reader, given = READERS[name]
    rows = [given.row(5, 5, 5), given.row(5, 6, 5, name="037_3_1")]
    clips, problems, *_ = reader.read(given.build(tmp_path, rows))
    assert clips[["onset", "apex", "offset"]].to_numpy().tolist() == [[5, 5, 5]]
    assert problems[["problem", "action"]].to_numpy().tolist() == [
        ["apex 6 outside onset..offset 5..5", "clip left out"]
    ]


@pytest.mark.parametrize(
    ("name", "cells", "ids"),
    [
        (
            "casme2",
            test_casme2.row(261, "/", 321, subject="04", name="EP12_01f"),
            ["mine", "mine/sub04", "mine/sub04/EP12", "mine/sub04/EP12_01f", 279],
        ),
        (
            "samm",
            test_samm.row(4896, 1930, 4970, subject="032", name="032_3_1"),
            ["mine", "mine/032", "mine/032_3", "mine/032/032_3_1", 4930],
        ),
    ],
)
def test_ids_begin_with_the_name_of_the_dataset_and_repairs_still_apply(tmp_path, name, cells, ids):
    reader, given = READERS[name]
    clips = reader.read(given.build(tmp_path, [cells]), dataset="mine").clips
    assert clips.loc[0, ["dataset", "subject_id", "recording_id", "clip_id", "apex"]].tolist() == ids


@pytest.mark.parametrize(
    ("name", "frames"), [(name, frames) for name, (_, given) in READERS.items() for frames in given.LAYOUTS]
)
def test_every_layout_is_found_below_the_root(tmp_path, name, frames):
    reader, given = READERS[name]
    reading = reader.read(given.build(tmp_path, [given.row()], frames))
    assert reading.clips["folder"].tolist() == [tmp_path / frames / CLIP[name]]
    variant = given.LAYOUTS[frames]
    assert reading.version == f"{variant} frames; {reader.SHEET} (of no known version, 1 rows)"


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("casme2", {"cropped": "Cropped", "selected": "CASME2_RAW_selected", "raw": "CASME2-RAW"}),
        ("samm", {"cropped": "SAMM_CROP", "raw": "SAMM"}),
    ],
)
def test_a_variant_chooses_among_several_and_cropped_ones_come_first(tmp_path, name, frames):
    reader, given = READERS[name]
    for folder in frames.values():
        given.build(tmp_path, [given.row()], folder)
    for variant, folder in {"": frames["cropped"], **frames}.items():
        clips = reader.read(tmp_path, variant=variant).clips
        assert clips["folder"].tolist() == [tmp_path / folder / CLIP[name]]
    known = ", ".join([*frames, "or none"])
    with pytest.raises(ValueError, match=f"variant = 'HS' is unknown; choose one of {known}"):
        reader.read(tmp_path, variant="HS")


@pytest.mark.parametrize(
    ("name", "frames", "first"),
    [("casme2", "Cropped", "Cropped, CASME2_RAW"), ("samm", "SAMM", "SAMM_CROP")],
)
def test_a_root_without_frames_is_named_and_what_it_holds(tmp_path, name, frames, first):
    reader, given = READERS[name]
    root = given.build(tmp_path, [given.row()], folders=["other/clip"])
    looked = (
        rf"{root}: looked there and in 3 folders below \({frames}, {frames}/other, {frames}/other/clip\): "
    )
    with pytest.raises(FileNotFoundError, match=f"{looked}.* frames; data_root must be, or hold, {first}"):
        reader.read(root)


@of_both
def test_a_missing_sheet_is_named(tmp_path, name):
    reader, given = READERS[name]
    root = given.build(tmp_path, [given.row()])
    (root / reader.SHEET).rename(root / "other.xlsx")
    with pytest.raises(
        FileNotFoundError, match=f"no annotation sheet '{reader.SHEET}'; other workbooks: other.xlsx"
    ):
        reader.read(root)


@of_both
def test_a_missing_column_is_named(tmp_path, name):
    reader, given = READERS[name]
    needed = [0, 1, 4, 7, 8] if name == "casme2" else [0, 1, 4, 9, 10]  # subject and file, apex, and labels
    for column in needed:
        header = [*given.HEADER[:column], "x", *given.HEADER[column + 1 :]]
        root = given.build(tmp_path, [given.row()], header=header)
        missing = f"{reader.SHEET}: column '{given.HEADER[column]}' is missing"
        with pytest.raises(ValueError, match=missing):
            reader.read(root)


@pytest.mark.parametrize(
    ("name", "rows", "sizes"),
    [
        (
            "casme2",
            test_casme2.whole_sheet(test_casme2.COUNTS_2014, test_casme2.CLASSES_2019),
            {
                "emotion7": [99, 63, 32, 27, 25, 7, 2],
                "emotion5": [99, 63, 32, 27, 25],  # 246
                "emotion3": [63 + 27, 32, 25],  # 147
            },
        ),
        (
            "casme2",
            test_casme2.whole_sheet(test_casme2.COUNTS_2019, test_casme2.CLASSES_2019),
            {
                "emotion5": [99, 63, 32, 27, 28],  # 249
                "emotion3": [63 + 27, 32, 28],  # 150
                "objective7": [30, 18, 93, 15, 18, 2, 79],
                "objective5": [30, 18, 93, 15, 18],
            },
        ),
        (
            "samm",
            test_samm.whole_sheet(test_samm.COUNTS),
            {
                "emotion5": [26, 57, 26, 12, 15],  # others, anger, happy, contempt, surprise: 136
                "emotion3": [57 + 12 + 9 + 8 + 6, 26, 15],  # 92 + 26 + 15 = 133
                "objective7": [24, 13, 20, 8, 3, 7, 84],
                "objective5": [24, 13, 20, 8, 3],
            },
        ),
    ],
)
def test_label_sets_of_a_whole_sheet_by_hand(tmp_path, name, rows, sizes):
    reader, given = READERS[name]
    header = given.HEADER_2019 if name == "casme2" else given.HEADER
    clips = reader.read(given.build(tmp_path, rows, header=header)).clips
    for labels, expected in sizes.items():
        found = labelled(clips, labels)["label"].value_counts().sort_index()
        assert found.to_dict() == dict(enumerate(expected))
