"""The composite of MEGC2019 on invented copies of its three datasets, one of them with all 442 clips."""

import shutil

import pytest
from disk import write_book

from hsta_lib.config import Parameters, Preset
from hsta_lib.data.dataset import read_dataset
from hsta_lib.data.readers import casme2, megc2019, samm, smic
from hsta_lib.data.readers.rows import compare_counts
from hsta_lib.data.table import COLUMNS, labelled

SMIC_NAMES = {"negative": "ne", "positive": "po", "surprise": "sur"}
SMALL = {
    "casme2": [
        ("01", "EP02_01f", "happiness"),
        ("01", "EP02_02", "disgust"),
        ("02", "EP02_02", "repression"),
        ("02", "EP03_01", "surprise"),
        ("02", "EP03_02", "sadness"),
        ("02", "EP03_03", "fear"),
        ("02", "EP03_04", "others"),
    ],
    "smic": ["s1_ne_01", "s1_po_01", "s20_sur_02"],
    "samm": [
        ("006", "006_1_2", "Anger"),
        ("006", "006_1_3", "Contempt"),
        ("006", "006_1_4", "Disgust"),
        ("006", "006_1_5", "Fear"),
        ("006", "006_1_6", "Sadness"),
        ("006", "006_2_1", "Happiness"),
        ("007", "007_2_1", "Surprise"),
        ("025", "025_2_1", "Other"),
    ],
}
SMALL_LIST = [
    ("casme2", "sub01", "EP02_01f", 1),
    ("casme2", "sub01", "EP02_02", 0),
    ("casme2", "sub02", "EP02_02", 0),
    ("casme2", "sub02", "EP03_01", 2),
    ("smic", "s01", "s01_ne_01", 0),
    ("smic", "s01", "s01_po_01", 1),
    ("smic", "s20", "s20_sur_02", 2),
    *[("samm", "6", f"006_1_{n}", 0) for n in range(2, 7)],
    ("samm", "6", "006_2_1", 1),
    ("samm", "7", "007_2_1", 2),
]


def write_casme2(root, clips):
    """Rows are (subject, clip, emotion) or with (onset, apex, offset) behind."""
    header = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
    rows = [[*header, "Action Units", "Estimated Emotion"]]
    for subject, clip, emotion, *numbers in clips:
        (root / "Cropped" / f"sub{subject}" / clip).mkdir(parents=True, exist_ok=True)
        rows.append([subject, clip, None, *(numbers or (46, 59, 86)), None, "4", emotion])
    write_book(root / casme2.SHEET, {"Sheet": rows})


def write_smic(root, clips):
    labels = {part: label for label, part in SMIC_NAMES.items()}
    for clip in clips:
        subject, part, _ = clip.split("_")
        folder = root / "SMIC_all_cropped/HS" / subject / "micro" / labels[part] / clip
        folder.mkdir(parents=True)
        for number in (563800, 563801):
            (folder / f"reg_image{number}.bmp").touch()


def write_samm(root, clips):
    header = ["Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units"]
    rows = [["prose"]] * 13 + [[*header, "Estimated Emotion", "Objective Classes"]]
    for subject, clip, emotion in clips:
        (root / "SAMM_CROP" / subject / clip).mkdir(parents=True)
        rows.append([subject, clip, 1204, 1231, 1279, "12", emotion, 7])
    write_book(root / samm.SHEET, {"Sheet": rows})


def write_list(path, rows):
    path.write_text("".join(f"{','.join(map(str, row))}\n" for row in rows))


def write_all(root, clips):
    write_casme2(root / "CASME II", clips["casme2"])
    write_smic(root / "SMIC-HS", clips["smic"])
    write_samm(root / "samm", clips["samm"])


@pytest.fixture
def small(tmp_path):
    write_all(tmp_path, SMALL)
    return tmp_path


def other_problems(reading):
    """Rows of the problems table but those of subjects whose counts depart from the official ones."""
    problems = reading.problems
    return problems[~problems["problem"].str.contains(" clips that are ")].to_numpy().tolist()


# --- what is read -----------------------------------------------------------------------------------------


def test_clips_of_the_three_datasets_keep_their_ids_and_get_a_class(small):
    reading = megc2019.read(small)
    clips = reading.clips
    classes = ("negative", "positive", "surprise")
    assert list(zip(clips["clip_id"], clips["emotion"], strict=True)) == [
        ("casme2/sub01/EP02_01f", "positive"),
        ("casme2/sub01/EP02_02", "negative"),
        ("casme2/sub02/EP02_02", "negative"),
        ("casme2/sub02/EP03_01", "surprise"),
        ("smic/s01/s1_ne_01", "negative"),
        ("smic/s01/s1_po_01", "positive"),
        ("smic/s20/s20_sur_02", "surprise"),
        *((f"samm/006/006_1_{n}", "negative") for n in range(2, 7)),
        ("samm/006/006_2_1", "positive"),
        ("samm/007/007_2_1", "surprise"),
    ]
    assert clips["dataset"].unique().tolist() == ["megc2019"]
    assert list(clips.columns) == list(COLUMNS)
    assert clips["apex"].isna().tolist() == [False] * 4 + [True] * 3 + [False] * 7
    assert reading.listed == {
        f"{dataset} {name}": number
        for dataset, numbers in {"casme2": (2, 1, 1), "smic": (1, 1, 1), "samm": (5, 1, 1)}.items()
        for name, number in zip(classes, numbers, strict=True)
    }
    assert other_problems(reading) == []
    assert reading.version.startswith("14 of 442 clips, 6 of 68 subjects; casme2: cropped frames; CASME2-cod")
    label_of = {"negative": 0, "positive": 1, "surprise": 2}
    kept = labelled(clips, "emotion3")
    assert kept["label"].tolist() == kept["emotion"].map(label_of).tolist()


def test_rows_are_those_of_the_datasets_own_readers(small):
    clips = megc2019.read(small).clips.set_index("clip_id")
    own = [
        casme2.read(small / "CASME II").clips,
        smic.read(small / "SMIC-HS").clips,
        samm.read(small / "samm").clips,
    ]
    for table in own:
        table = table.set_index("clip_id")
        table = table.loc[table.index.isin(clips.index)]
        columns = ["subject_id", "recording_id", "folder", "onset", "apex", "offset", "expression_type"]
        assert table[columns].equals(clips.loc[table.index, columns])


def test_folders_may_be_links_and_names_differ_in_case(small, tmp_path_factory):
    root = tmp_path_factory.mktemp("links")
    for name, place in [("Casme2", "CASME II"), ("SMIC", "SMIC-HS"), ("SAMM_all", "samm")]:
        (root / name).symlink_to(small / place)
    assert megc2019.read(root).clips["clip_id"].tolist() == megc2019.read(small).clips["clip_id"].tolist()


@pytest.mark.parametrize("emotion", ["surprise", "sadness"])
def test_clips_that_the_official_list_lacks_are_left_out_whatever_the_sheet_says(tmp_path, emotion):
    """The sheets of 2014 and 2019 differ in three clips of sub24."""
    sub24 = ["EP07_01", "EP07_04f", "EP10_03"]
    rows = [
        ("04", "EP12_01f", "disgust", 261, "/", 321),
        ("05", "EP09_05f", "disgust", 69, 69, 139),
        ("24", "EP02_07", "disgust"),
        *(("24", clip, emotion) for clip in sub24),
        ("24", "EP18_03", "surprise"),
        ("04", "EP09_05f", "disgust"),
    ]
    write_all(tmp_path, {**SMALL, "casme2": rows})
    for repair in ("repaired", "published"):
        reading = megc2019.read(tmp_path, repair=repair)
        ids = reading.clips["clip_id"]
        assert ids[ids.str.startswith("casme2")].tolist() == ["casme2/sub04/EP09_05f", "casme2/sub24/EP18_03"]
        left_out = ["sub04/EP12_01f", "sub05/EP09_05f", "sub24/EP02_07"]
        left_out += [f"sub24/{clip}" for clip in sub24] if emotion == "surprise" else []
        assert [row for row in other_problems(reading) if row[2] == "not part of MEGC2019"] == [
            ["annotation sheet", f"casme2/{clip}", "not part of MEGC2019", "clip left out"]
            for clip in left_out
        ]


def test_problems_of_the_readers_and_unknown_emotions_are_kept(small):
    (small / "samm/SAMM_CROP/007/007_2_1").rmdir()
    (small / "SMIC-HS/SMIC_all_cropped/HS/s1/micro/positive/s1_po_02").mkdir()
    write_casme2(small / "CASME II", [("01", "EP02_01f", "hapiness"), ("01", "EP02_02", "disgust")])
    assert other_problems(megc2019.read(small)) == [
        [
            str(small / "SMIC-HS/SMIC_all_cropped/HS/s1/micro/positive/s1_po_02"), "smic/s01/s1_po_02",
            "folder without frames: it is empty", "clip left out",
        ],
        ["annotation sheet", "samm/007/007_2_1", "folder missing", "clip left out"],
        [
            "annotation sheet", "casme2/sub01/EP02_01f",
            "emotion 'hapiness' is in no label set; known: disgust, fear, happy, others, repression, sad, "
            "surprise", "clip left out",
        ],
    ]  # fmt: skip


# --- counts -----------------------------------------------------------------------------------------------


@pytest.fixture
def complete(tmp_path):
    """Invented clips, as many of each class as the official list has of each subject."""
    clips = {"casme2": [], "smic": [], "samm": []}
    for subject_id, numbers in megc2019._official_counts().items():
        dataset, subject = subject_id.split("/")
        labels = [name for name, n in zip(SMIC_NAMES, numbers, strict=True) for _ in range(n)]
        for number, label in enumerate(labels):
            emotion = {"negative": "disgust", "positive": "happiness"}.get(label, label)
            if dataset == "smic":
                clips["smic"].append(f"s{int(subject[1:])}_{SMIC_NAMES[label]}_{number:02}")
            elif dataset == "casme2":
                clips["casme2"].append((subject[3:], f"EP30_{number:02}", emotion))
            else:
                clips["samm"].append((subject, f"{subject}_9_{number}", emotion))
    write_all(tmp_path, clips)
    return tmp_path


def test_the_complete_composite_has_the_published_counts(complete):
    reading = megc2019.read(complete)
    assert reading.problems.empty
    assert reading.expected == reading.listed == {
        "casme2 negative": 88, "casme2 positive": 32, "casme2 surprise": 25,
        "smic negative": 70, "smic positive": 51, "smic surprise": 43,
        "samm negative": 92, "samm positive": 26, "samm surprise": 15,
    }  # fmt: skip
    assert (compare_counts(reading)["difference"] == 0).all()
    clips = reading.clips
    assert len(clips) == 442
    assert clips["clip_id"].is_unique
    subjects = clips.drop_duplicates("subject_id")["subject_id"].str.split("/").str[0].value_counts()
    assert subjects.to_dict() == {"casme2": 24, "smic": 16, "samm": 28}
    assert clips["emotion"].value_counts().to_dict() == {"negative": 250, "positive": 109, "surprise": 83}
    per_subject = clips.groupby("subject_id")["emotion"].value_counts()
    assert per_subject["casme2/sub17"].to_dict() == {"negative": 23, "positive": 7, "surprise": 1}
    assert per_subject["smic/s03"].to_dict() == {"negative": 22, "positive": 11, "surprise": 6}
    assert per_subject["samm/011"].to_dict() == {"negative": 13, "positive": 7}


def test_subjects_that_depart_from_the_official_counts_are_listed(small):
    write_smic(small / "SMIC-HS", ["s19_po_01", "s19_sur_01", "s21_po_01"])
    reading = megc2019.read(small)
    kind, official = "clips that are negative/positive/surprise", "in the official list"
    rows = reading.problems.to_numpy().tolist()
    assert len(rows) == 68  # s19 agrees, s21 is none of the 68
    assert rows[:3] == [
        ["casme2/sub01", "", f"1/1/0 {kind}, 2/1/0 {official}", "kept"],
        ["casme2/sub02", "", f"1/0/1 {kind}, 5/1/3 {official}", "kept"],
        ["casme2/sub03", "", f"0/0/0 {kind}, 4/0/1 {official}", "kept"],
    ]
    assert rows[-2:] == [
        ["smic/s20", "", f"0/0/1 {kind}, 14/3/5 {official}", "kept"],
        ["smic/s21", "", f"0/1/0 {kind}, 0/0/0 {official}", "kept"],
    ]
    differences = compare_counts(reading).set_index("emotion")["difference"]
    assert differences["smic positive"] == 3 - 51
    assert differences["casme2 surprise"] == 1 - 25


# --- the official list ------------------------------------------------------------------------------------


def test_the_official_list_agrees_in_its_own_spelling(small):
    write_list(small / megc2019.OFFICIAL_LIST, SMALL_LIST)
    assert other_problems(megc2019.read(small)) == []


def test_differences_from_the_official_list_are_listed_and_change_nothing(small):
    before = megc2019.read(small).clips
    rows = [row for row in SMALL_LIST if row[2] not in ("s01_po_01", "006_1_3")]
    rows = [(*row[:3], 2) if row[2] == "006_1_4" else row for row in rows]
    rows += [("", "", "", ""), ("casme2", "sub05", "EP12_03f", 2), ("smic", "s02", "s02_ne_07", 0)]
    write_list(small / megc2019.OFFICIAL_LIST.upper(), rows)
    reading = megc2019.read(small)
    name = megc2019.OFFICIAL_LIST.upper()
    assert other_problems(reading) == [
        [name, "casme2/sub05/ep12_03f", "listed, but not found", "clip missing"],
        [name, "samm/006/006_1_3", "not listed", "kept"],
        [name, "samm/006/006_1_4", "surprise in the list", "negative kept"],
        [name, "smic/s01/s1_po_01", "not listed", "kept"],
        [name, "smic/s02/s2_ne_07", "listed, but not found", "clip missing"],
    ]
    assert reading.clips.equals(before)


# --- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "dataset"), [("CASME II", "casme2"), ("SMIC-HS", "smic"), ("samm", "samm")]
)
def test_a_missing_dataset_is_named(small, folder, dataset):
    shutil.rmtree(small / folder)
    with pytest.raises(
        FileNotFoundError, match=f"needs casme2, smic and samm; of {dataset}: {small}: looked"
    ):
        megc2019.read(small)


def test_a_dataset_without_a_usable_clip_is_named(small):
    write_casme2(small / "CASME II", [("01", "EP02_01f", "disgust", 50, 60, 40)])
    with pytest.raises(ValueError, match=r"casme2: no clip can be used; .*offset 40 before"):
        megc2019.read(small)


def test_a_variant_is_refused(small):
    asked = Parameters(dataset="megc2019", data_root=str(small), variant="VIS")
    with pytest.raises(ValueError, match="variant = 'VIS' is unknown; megc2019 has no variants"):
        read_dataset(asked, Preset(), small)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"casme2,01,EP1\n", r"gt\.csv: line 1 must be database, subject, clip, class, found"),
        (b"casme2,01,EP1,1\n\nsamm,6,a,1,2\n", r"gt\.csv: line 3 must be .*'2'\]"),
        ("casmé2,1,a,1\n".encode("latin-1"), r"gt\.csv: it is not UTF-8"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / megc2019.OFFICIAL_LIST
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        megc2019._rows_of_list(path)
