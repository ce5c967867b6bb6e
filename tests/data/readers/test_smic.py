"""The SMIC reader on trees of a few clips: short clips, long clips with their sheet, planted defects."""

import openpyxl
import pandas as pd
import pytest
from disk import write_book

from hsta_lib.data.readers import smic
from hsta_lib.data.readers.rows import compare_counts
from hsta_lib.data.table import COLUMNS

HEADER = [
    "Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", None, "FirstF", "LastF",
    "TotalMF1", "TotalMF2", "TotalVL", "Emotion",
]  # fmt: skip
FOLDERS = {"ne": "negative", "po": "positive", "sur": "surprise"}


def write_frames(folder, numbers, name="reg_image{:06d}.bmp"):
    """Empty frame files: the reader looks at names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / name.format(number)).touch()


def short_folder(clip, release="SMIC_all_cropped", camera="HS"):
    """Where a clip such as s1_ne_01 lies in the short version."""
    subject, emotion, _ = clip.split("_")
    return f"{release}/{camera}/{subject}/micro/{FOLDERS[emotion]}/{clip}"


@pytest.fixture
def short(tmp_path):
    """Function that writes folders of the short version with frames; it returns the root."""

    def build(folders, name="reg_image{:06d}.bmp"):
        for folder, numbers in folders.items():
            write_frames(tmp_path / folder, numbers, name)
        return tmp_path

    return build


def sheet_row(clip, onset=480120, offset=480151, *, emotion=None, second=(None, None), first=480020):
    subject, part, _ = clip.split("_")
    return [
        int(subject[1:]), clip, None, onset, offset, *second, None, first, 480219, 32, None, 200,
        emotion or FOLDERS[part],
    ]  # fmt: skip


def write_sheet(path, hs=(), vis=()):
    """The sheet of SMIC-E: a page per camera; that of VIS has no column LastF."""
    last = HEADER.index("LastF")
    without = [[*cells[:last], *cells[last + 1 :]] for cells in [HEADER, *vis]]
    write_book(path, {"HS": [HEADER, *hs], "VIS": without})


@pytest.fixture
def long(tmp_path):
    """Function that writes the sheet and the folders of its rows as SMIC-E has them; it returns the root."""

    def build(rows, folders=None, base="SMIC-E_raw_image/HS_long/SMIC-HS-E"):
        write_sheet(tmp_path / smic.SHEET, rows)
        names = [row[1] for row in rows] if folders is None else ()
        for folder in folders or [f"s{int(name.split('_')[0][1:]):02}/{name}" for name in names]:
            write_frames(tmp_path / base / folder, [480020, 480021], "image{}.jpg")
        return tmp_path

    return build


# --- short clips ------------------------------------------------------------------------------------------


def test_a_folder_of_frames_becomes_a_clip(short):
    place = short_folder("s3_sur_02")
    root = short({place: range(99998, 100005)})
    clips, problems, version, *_ = smic.read(root)
    values = [
        "smic", "smic/s03", "smic/s03", "smic/s03/s3_sur_02", root / place, None, 99998, 100004, "surprise",
        "", "", "micro",
    ]  # fmt: skip
    columns = [name for name in COLUMNS if name != "apex"]
    assert clips[columns].to_dict("records") == [dict(zip(columns, values, strict=True))]
    assert clips["apex"].isna().all()
    assert list(clips.columns) == list(COLUMNS)
    assert problems.empty
    assert version == "SMIC_all_cropped/HS"


def test_ids_begin_with_the_name_of_the_dataset(short):
    clips, *_ = smic.read(short({short_folder("s3_sur_02"): [7]}), dataset="mine")
    assert clips.loc[0, ["dataset", "subject_id", "recording_id", "clip_id"]].tolist() == [
        "mine", "mine/s03", "mine/s03", "mine/s03/s3_sur_02",
    ]  # fmt: skip
    assert clips.loc[0, ["onset", "offset"]].tolist() == [7, 7]


@pytest.mark.parametrize("name", ["reg_image{:06d}.bmp", "image{:06d}.bmp", "image{}.jpg", "IMAGE{}.JPG"])
@pytest.mark.parametrize("first", [99_997, 563_800, 9_999_997, 17_581_039])
def test_frame_files_have_any_width_and_ending(short, name, first):
    root = short({short_folder("s1_ne_01"): range(first, first + 7)}, name)
    clips, problems, *_ = smic.read(root)
    assert clips[["onset", "offset"]].to_numpy().tolist() == [[first, first + 6]]
    assert problems.empty


def test_cropped_frames_are_preferred_and_raw_ones_are_read_without_them(short):
    camera = {"HS": "SMIC_all_raw", "VIS": "SMIC_all_raw", "NIR": "SMIC_all_cropped"}
    root = short(
        {
            **{short_folder("s11_po_01", release, name): [5] for name, release in camera.items()},
            short_folder("s11_po_01", "SMIC_all_cropped"): [5],
        }
    )
    versions = [smic.read(root, variant=name).version for name in ("", "HS", "VIS", "NIR")]
    assert versions == ["SMIC_all_cropped/HS"] * 2 + ["SMIC_all_raw/VIS", "SMIC_all_cropped/NIR"]


def test_case_and_nesting_of_folders_do_not_matter(short):
    folder = "smic_ALL_cropped/SMIC_all_cropped/hs/S1/Micro/Negative/S1_NE_01"
    clips, problems, *_ = smic.read(short({folder: [5, 6]}))
    assert problems.empty
    assert clips["clip_id"].tolist() == ["smic/s01/s1_ne_01"]
    assert clips["emotion"].tolist() == ["negative"]


def test_only_folders_below_micro_are_clips(short):
    place = short_folder("s1_ne_01")
    subject = "SMIC_all_cropped/HS/s1"
    root = short(
        {
            place: [5, 6],
            f"{subject}/non_micro/s1_non_01": [5, 6],
            f"{subject}/non_micro/negative/s1_ne_02": [5, 6],
            "SMIC_all_cropped/HS/s7/non_micro/s7_non_01": [5, 6],
        }
    )
    for folder in (subject, f"{subject}/micro", f"{subject}/micro/negative", place):
        (root / folder / "Thumbs.db").touch()
    clips, problems, *_ = smic.read(root)
    assert clips["clip_id"].tolist() == ["smic/s01/s1_ne_01"]
    assert problems.empty


def test_a_subject_in_another_layout_is_told(short):
    root = short({short_folder("s1_ne_01"): [5, 6], "SMIC_all_cropped/HS/s2/clips/s2_ne_01": [5, 6]})
    clips, problems, *_ = smic.read(root)
    assert clips["clip_id"].tolist() == ["smic/s01/s1_ne_01"]
    assert problems[["clip_id", "problem"]].to_numpy().tolist() == [["smic/s2", "no folder 'micro'"]]


def test_defects_of_the_short_version_are_listed_and_nothing_else_is_lost(short):
    hs = "SMIC_all_cropped/HS"
    root = short(
        {
            short_folder("s1_ne_01"): [5, 6, 9],  # 7 and 8 missing
            short_folder("s1_po_01"): [],
            f"{hs}/s2/micro/negative/s2_sur_01": [5],
            f"{hs}/s2/micro/others/s2_ne_01": [5],
            f"{hs}/s2/micro/positive/s3_po_01": [5],
            f"{hs}/s2/micro/positive/s2_happy_01": [5],
            short_folder("s2_po_02"): [5],
            f"{hs}/s2/micro/positive/s02_po_2": [5],
        }
    )
    (root / short_folder("s1_po_01") / "Thumbs.db").touch()
    clips, problems, _, _, listed = smic.read(root)
    assert clips["clip_id"].tolist() == ["smic/s01/s1_ne_01", "smic/s02/s2_po_02"]
    assert clips.loc[0, ["onset", "offset"]].tolist() == [5, 9]
    assert listed == {"negative": 1, "positive": 1}
    merged, *others = problems.itertuples(index=False, name=None)
    assert merged == ("folders of clips", "", "subjects 's02', 's2'", "taken as one, 's02'")
    assert sorted(others) == sorted(
        (str(root / hs / where), *rest)
        for where, *rest in [
            ("s1/micro/negative/s1_ne_01", "smic/s01/s1_ne_01", "2 of 5 frames missing", "kept"),
            (
                "s1/micro/positive/s1_po_01", "smic/s01/s1_po_01",
                "folder without frames: it holds Thumbs.db; frames have a number and end in .jpg, .jpeg, "
                ".bmp, .png, .tif, .tiff, .webp", "clip left out",
            ),
            (
                "s2/micro/negative/s2_sur_01", "smic/s2/s2_sur_01",
                "surprise by its name, negative by its folder", "clip left out",
            ),
            (
                "s2/micro/others/s2_ne_01", "smic/s2/s2_ne_01",
                "negative by its name, others by its folder", "clip left out",
            ),
            (
                "s2/micro/positive/s3_po_01", "smic/s2/s3_po_01",
                "subject s03 by its name, s2 by its folder", "clip left out",
            ),
            (
                "s2/micro/positive/s2_happy_01", "smic/s2/s2_happy_01",
                "no name of a clip such as s1_ne_01", "clip left out",
            ),
            ("s2/micro/positive/s2_po_02", "smic/s2/s2_po_02", "also in positive/s02_po_2", "clip left out"),
        ]
    )  # fmt: skip


def test_of_two_folders_of_one_clip_the_first_by_name_counts(short):
    folder = "SMIC_all_cropped/HS/s2/micro/positive/"
    root = short({f"{folder}s2_po_02": [5], f"{folder}s02_po_2": [8]})
    assert smic.read(root).clips["onset"].tolist() == [8]


def test_a_subject_in_two_spellings_is_listed_wherever_they_stand(short, long):
    short({short_folder("s1_ne_01"): [5], short_folder("s1_ne_02").replace("/s1/", "/s01/"): [5]})
    root = long([sheet_row("s7_po_01"), sheet_row("s07_po_02")])
    problems = pd.concat([smic.read(root, variant=variant).problems for variant in ("HS", "E-HS")])
    assert problems["where"].tolist() == ["folders of subjects", "folders of clips", smic.SHEET]
    assert problems["action"].tolist() == ["taken as one, 's01'"] + ["taken as one, 's07'"] * 2


# --- long clips -------------------------------------------------------------------------------------------


def test_a_row_of_the_sheet_becomes_a_clip_with_the_ids_of_the_short_one(long, short):
    root = long([sheet_row("s7_po_02")])
    short({short_folder("s7_po_02"): [3]})
    clips, problems, version, *_ = smic.read(root, variant="E-HS")
    assert problems.empty
    assert clips["folder"].tolist() == [root / "SMIC-E_raw_image/HS_long/SMIC-HS-E/s07/s7_po_02"]
    assert clips[["onset", "offset"]].to_numpy().tolist() == [[480120, 480151]]
    assert clips["apex"].isna().all()
    assert version == ("SMIC-E_raw_image/HS_long/SMIC-HS-E; SMIC-HS-E_annotation.xlsx, page HS (1 rows)")
    ids = ["dataset", "subject_id", "recording_id", "clip_id", "emotion"]
    assert clips[ids].equals(smic.read(root).clips[ids])


@pytest.mark.parametrize(
    "base", ["HS_long/SMIC_HS_E", "smic-hs-e", "SMIC-E_raw_image/SMIC-E_raw_image/hs_LONG/SMIC-HS-E"]
)
def test_long_clips_are_found_under_their_folders_names(long, base):
    clips, problems, *_ = smic.read(long([sheet_row("s7_po_02")], base=base), variant="E-HS")
    assert clips["clip_id"].tolist() == ["smic/s07/s7_po_02"]
    assert problems.empty


def test_each_camera_has_its_page(long, tmp_path):
    root = long([sheet_row("s11_po_02", 480120, 480151)])
    write_frames(root / "SMIC-E_raw_image/VIS_long/SMIC-VIS-E/s11/s11_po_02", [120050])
    write_sheet(root / smic.SHEET, [sheet_row("s11_po_02")], [sheet_row("s11_po_02", 120030, 120037)])
    assert smic.read(root, variant="E-HS").clips["onset"].tolist() == [480120]
    clips, problems, *_ = smic.read(root, variant="E-VIS")
    assert clips[["onset", "offset"]].to_numpy().tolist() == [[120030, 120037]]
    assert problems.empty
    write_frames(root / "SMIC-E_raw_image/NIR_long/SMIC-NIR-E/s11/s11_po_02", [120050])
    with pytest.raises(ValueError, match=r"SMIC-HS-E_annotation\.xlsx: there is no sheet 'NIR'"):
        smic.read(root, variant="E-NIR")


def test_the_later_sheet_is_read_wherever_it_lies(long):
    root = long([sheet_row("s7_po_02", "oops")])
    write_sheet(root / "labels" / "SMIC-HS-E_annotation_2019.xlsx", [sheet_row("s7_po_02", 480130)])
    assert smic.read(root, variant="E-HS").clips["onset"].tolist() == [480130]


def test_defects_of_the_long_version_are_listed_and_nothing_else_is_lost(long):
    rows = [
        sheet_row("s3_ne_20", first="lost"),  # text in a column that is not used
        sheet_row("s18_sur_03", emotion="negative"),
        sheet_row("s20_ne_06", second=(480180, 480199)),
        [None] * len(HEADER),
        sheet_row("s3_ne_03"),  # no folder
        sheet_row("s4_po_01", onset="?"),
        sheet_row("s4_po_02", offset=480119),
        [4, "s4_happy_01", None, 480120, 480151, *[None] * 9],
        sheet_row("s3_ne_20"),
    ]
    folders = ["s03/s3_ne_20", "s18/s18_sur_03", "s20/s20_ne_06", "s04/s4_po_01", "s04/s4_po_02"]
    folders += ["s04/s4_po_09", "s04/s5_po_01"]
    root = long(rows, folders)
    clips, problems, _, _, listed = smic.read(root, variant="E-HS")
    assert clips["clip_id"].tolist() == ["smic/s03/s3_ne_20", "smic/s18/s18_sur_03", "smic/s20/s20_ne_06"]
    assert clips["emotion"].tolist() == ["negative", "surprise", "negative"]
    assert clips["offset"].tolist() == [480151] * 3
    assert listed == {"negative": 3, "surprise": 1, "positive": 2}
    sheet, base = "annotation sheet", root / "SMIC-E_raw_image/HS_long/SMIC-HS-E"
    assert problems.to_numpy().tolist() == [
        [
            str(base / "s04/s5_po_01"), "smic/s04/s5_po_01",
            "subject s05 by its name, s04 by its folder", "clip left out",
        ],
        [smic.SHEET, "smic/s18/s18_sur_03", "negative in the sheet", "surprise, as in the clip's name"],
        [smic.SHEET, "smic/s20/s20_ne_06", "a second expression at 480180..480199", "not read"],
        [smic.SHEET, "", "'s4_happy_01' is no name of a clip such as s1_ne_01", "row left out"],
        [str(base / "s04/s4_po_09"), "smic/s04/s4_po_09", f"not in {smic.SHEET}", "clip left out"],
        [sheet, "smic/s03/s3_ne_03", "folder missing", "clip left out"],
        [
            sheet, "smic/s04/s4_po_01",
            "onset, apex, offset [None, None, 480151]: not all are numbers", "clip left out",
        ],
        [sheet, "smic/s04/s4_po_02", "offset 480119 before onset 480120", "clip left out"],
        [sheet, "smic/s03/s3_ne_20", "listed twice", "clip left out"],
    ]  # fmt: skip


def test_a_sheet_without_a_column_is_named(long):
    root = long([sheet_row("s7_po_02")])
    write_sheet(root / smic.SHEET)
    book = openpyxl.load_workbook(root / smic.SHEET)
    book["HS"].cell(1, 5).value = "Offset"
    book.save(root / smic.SHEET)
    with pytest.raises(ValueError, match=r"annotation\.xlsx: column 'OffsetF' is missing"):
        smic.read(root, variant="E-HS")


# --- counts, labels, errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("", (70, 51, 43)),
        ("HS", (70, 51, 43)),
        ("VIS", (23, 28, 20)),
        ("NIR", (23, 28, 20)),
        ("E-HS", (65, 51, 41)),
        ("E-VIS", (23, 28, 20)),
    ],
)
def test_a_complete_copy_has_the_published_counts(tmp_path, variant, counts):
    """One subject shows them all: a number more than 99 is a name as well."""
    clips = [
        f"s11_{part}_{n:02}" for part, n_clips in zip(FOLDERS, counts, strict=True) for n in range(n_clips)
    ]
    camera = variant.removeprefix("E-") or "HS"
    for clip in clips:
        is_long = variant.startswith("E-")
        place = f"SMIC-{camera}-E/s11/{clip}" if is_long else short_folder(clip, camera=camera)
        write_frames(tmp_path / place, [480120])
    rows = [sheet_row(clip) for clip in clips]
    write_sheet(tmp_path / smic.SHEET, rows, rows)
    reading = smic.read(tmp_path, variant=variant)
    assert reading.listed == dict(zip(FOLDERS.values(), counts, strict=True))
    assert compare_counts(reading)["difference"].tolist() == [0, 0, 0]
    assert len(reading.clips) == sum(counts)


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("s1_ne_01", ("s01", "s1_ne_01", "negative")),
        ("s01_ne_01", ("s01", "s1_ne_01", "negative")),
        (" S20_SUR_5 ", ("s20", "s20_sur_05", "surprise")),
        ("s3_po_11", ("s03", "s3_po_11", "positive")),
        ("s1_non_01", None),
        ("s1_ne_01f", None),
        ("", None),
    ],
)
def test_names_of_clips(text, clip):
    assert smic.parse_name(text) == clip


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder .*nowhere"):
        smic.read(tmp_path / "nowhere", variant="HS")
    with pytest.raises(FileNotFoundError, match="hold, SMIC_all_cropped/VIS or SMIC_all_raw/VIS"):
        smic.read(tmp_path, variant="VIS")
    with pytest.raises(FileNotFoundError, match="hold, SMIC-E_raw_image or SMIC-HS-E"):
        smic.read(tmp_path, variant="E-HS")
    write_frames(tmp_path / "HS_long/SMIC-HS-E/s01/s1_ne_01", [5])
    with pytest.raises(FileNotFoundError, match=r"no annotation sheet 'SMIC-HS-E_annotation\.xlsx'"):
        smic.read(tmp_path, variant="E-HS")
    with pytest.raises(ValueError, match="variant = 'cropped' is unknown; choose one of HS, VIS, NIR, E-HS"):
        smic.read(tmp_path, variant="cropped")
    write_frames(tmp_path / short_folder("s1_ne_01"), [5])
    with pytest.raises(ValueError, match="repair = 'never' is unknown"):
        smic.read(tmp_path, repair="never")
