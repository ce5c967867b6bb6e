"""The synthetic benchmark in the layouts of CASME II, SMIC and SAMM, and the readers that open them."""

import hashlib
import re

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest

from hsta_lib.config import Synthetic
from hsta_lib.data.frames import index_folder
from hsta_lib.data.readers import casme2, megc2019, samm, smic
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.data.synthetic import layouts, population, render
from hsta_lib.data.table import objective_class, parse_action_units

SPEC = Synthetic(generator_seed=2, n_subjects=3, n_micro=13, frame_size=32)
UNION = Synthetic(generator_seed=2, n_subjects=68, n_micro=576)
READERS = {"casme2": casme2.read, "smic": smic.read, "samm": samm.read}
THREE = ("negative", "positive", "surprise")
FOLDERS = {
    "casme2": "Cropped/{subject}/{clip}",
    "smic": "SMIC_all_cropped/HS/{subject}/micro/{label}/{clip}",
    "samm": "SAMM/{subject}/{clip}",
}
CLASS_OF = {  # of the generator's emotions
    "disgust": "negative", "fear": "negative", "anger": "negative", "sad": "negative", "happy": "positive",
    "surprise": "surprise",
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Layout to root and digests; not to be changed."""
    folder = tmp_path_factory.mktemp("trees")
    return {layout: (folder / layout, layouts.write(layout, SPEC, folder / layout)) for layout in READERS}


def files_of(root):
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def read_ids(layout, root):
    clips, problems, *_ = READERS[layout](root)
    assert problems.empty
    return clips["clip_id"].tolist()


# --- who shows what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "counts", "n_subjects"),
    [("casme2", (88, 32, 25), 24), ("smic", (70, 51, 43), 16), ("samm", (92, 26, 15), 28)],
)
def test_the_union_has_the_marginals_of_the_composite(layout, counts, n_subjects):
    clips = layouts.layout_clips(layout, layouts.part(layout, UNION))
    negative = {
        "casme2": ["disgust", "repression"],
        "smic": ["negative"],
        "samm": ["anger", "contempt", "disgust", "fear", "sad"],
    }[layout]
    classes = clips["emotion"].map(
        {
            **dict.fromkeys(negative, "negative"),
            "happy": "positive",
            "positive": "positive",
            "surprise": "surprise",
        }
    )
    assert tuple(classes.value_counts()[list(THREE)]) == counts
    assert clips["subject"][classes.notna()].nunique() == n_subjects
    assert clips["subject"].nunique() == n_subjects
    assert classes.groupby(clips["subject"]).count().max() > 2 * len(classes.dropna()) / n_subjects


def test_clips_outside_the_three_classes():
    counts = {
        layout: layouts.layout_clips(layout, layouts.part(layout, UNION))["label"].value_counts()
        for layout in READERS
    }
    assert counts["casme2"][["others", "repression", "sadness", "fear"]].tolist() == [99, 27, 7, 2]
    assert counts["samm"][["Other", "Contempt", "Anger"]].tolist() == [26, 12, 57]
    assert sorted(counts["smic"].index) == list(THREE)


@pytest.mark.parametrize("sizes", [(300, 24), (61, 7), (860, 94)])
def test_parts_add_up(sizes):
    spec = Synthetic(n_micro=sizes[0], n_subjects=sizes[1])
    parts = [layouts.part(layout, spec) for layout in READERS]
    assert (sum(part.n_micro for part in parts), sum(part.n_subjects for part in parts)) == sizes
    for layout, part in zip(READERS, parts, strict=True):
        clips = layouts.layout_clips(layout, part)
        assert (len(clips), clips["subject"].nunique()) == (part.n_micro, part.n_subjects)


def test_the_smallest_part_is_one_that_can_be_written():
    for layout in READERS:
        part = layouts.part(layout, Synthetic(n_micro=10, n_subjects=2, n_macro=7))
        assert (part.n_micro, part.n_subjects, part.n_macro) == (10, 2, 0)


def test_layouts_have_no_face_in_common():
    specs = [SPEC, *(layouts.drawn_spec(layout, SPEC) for layout in READERS)]
    assert len({spec.generator_seed for spec in specs}) == 4
    faces = [synthetic.clip_frames(spec, population.sample_clips(spec)["clip_id"][0])[0] for spec in specs]
    for i in range(4):
        for j in range(i):
            # Two clips of one person differ by 4 on average, two persons by more than 10.
            assert np.abs(faces[i].astype(float) - faces[j]).mean() > 8


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layout", READERS)
def test_labels_show_the_action_units_of_the_table(layout, tied):
    spec = Synthetic(n_micro=500, n_subjects=23, tied_labels=tied)
    clips = layouts.layout_clips(layout, spec)
    assert clips["drawn_from"].is_unique
    source = population.sample_clips(layouts.drawn_spec(layout, spec)).set_index("clip_id")
    drawn = source.loc[clips["drawn_from"]]
    assert clips["action_units"].tolist() == drawn["action_units"].tolist()
    allowed = {(label, emotion) for label, emotion, _ in layouts.LAYOUTS[layout]}
    assert set(zip(clips["label"], drawn["emotion"], strict=True)) == allowed
    by_table = clips["action_units"].map(parse_action_units).map(objective_class)
    assert (clips["objective_class"] == by_table).all()


@pytest.mark.parametrize("layout", READERS)
def test_classes_are_as_learnable_as_in_the_other_layout(layout):
    def score(clips):
        """Unweighted average recall of three classes, predicted from the true action units."""
        truth, predicted = clips["emotion"].map(CLASS_OF), rule[clips["clip_id"]].map(CLASS_OF)
        right = truth.to_numpy() == predicted.to_numpy()
        return pd.Series(right).groupby(truth.to_numpy()).mean().mean()

    spec = Synthetic(n_micro=1500, n_subjects=40)
    source = layouts.drawn_spec(layout, spec)
    rule, everything = population.balanced_bayes(source), population.sample_clips(source)
    chosen = everything[everything["clip_id"].isin(layouts.layout_clips(layout, spec)["drawn_from"])]
    # Three recalls of 140 and more clips: a standard error of about 0.02. Labels at random would score 0.3.
    assert score(chosen) == pytest.approx(score(everything), abs=0.06)
    assert score(everything) > 0.8


def test_no_clip_is_named_like_a_real_one():
    # Else a correction, or a list of clips that are left out, could hit it: sub24/EP07_01, 032/032_3_1.
    films = {
        layout: layouts.layout_clips(layout, layouts.part(layout, UNION))["clip"].str.extract(pattern)[0]
        for layout, pattern in {"casme2": r"EP(\d+)_", "samm": r"\d+_(\d+)_"}.items()
    }
    assert films["casme2"].astype(int).between(20, 32).all()
    assert films["samm"].astype(int).between(8, 20).all()


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", READERS)
def test_what_was_written_is_what_is_read(trees, layout):
    root, _ = trees[layout]
    clips, problems, *_ = READERS[layout](root, dataset=layout)
    assert problems.empty
    truth = layouts.layout_clips(layout, SPEC)
    subject = (
        truth["subject"].map(lambda name: f"s{int(name[1:]):02d}") if layout == "smic" else truth["subject"]
    )
    truth.index = layout + "/" + subject + "/" + truth["clip"]
    clips = clips.set_index("clip_id")
    assert sorted(clips.index) == sorted(truth.index)
    truth = truth.loc[clips.index]
    columns = ["onset", "offset", "emotion"]
    columns += ["apex", "action_units", "objective_class"] if layout != "smic" else []
    for column in columns:
        assert clips[column].tolist() == truth[column].tolist(), column
    assert clips["subject_id"].nunique() == 3
    for clip in clips.itertuples():
        assert sorted(index_folder(clip.folder)) == list(range(clip.onset, clip.offset + 1))
    assert clips["folder"].is_unique


def test_the_union_is_read(trees):
    clips, problems, *_ = megc2019.read(trees["smic"][0].parent)
    assert problems["problem"].str.endswith("in the official list").all()  # other counts per subject
    truth = {layout: layouts.layout_clips(layout, SPEC) for layout in READERS}
    drawn = {
        layout: population.sample_clips(layouts.drawn_spec(layout, SPEC)).set_index("clip_id")["emotion"]
        for layout in READERS
    }
    for layout, table in truth.items():
        shown = table["drawn_from"].map(drawn[layout]).map(CLASS_OF)
        if layout == "casme2":  # sadness and fear are not part of the composite
            shown = shown[~table["emotion"].isin(["sad", "fear"])]
        read = clips[clips["subject_id"].str.startswith(layout)]
        assert read["emotion"].value_counts().to_dict() == shown.value_counts().to_dict()
    assert clips["clip_id"].is_unique
    assert clips["subject_id"].nunique() == 9


@pytest.mark.parametrize("layout", READERS)
def test_files_hold_the_frames(trees, layout):
    root, _ = trees[layout]
    clip = layouts.layout_clips(layout, SPEC).iloc[7]
    frames = synthetic.clip_frames(layouts.drawn_spec(layout, SPEC), clip["drawn_from"])
    files = index_folder(root / FOLDERS[layout].format(**clip))
    for number, frame in enumerate(frames, start=clip["onset"]):
        stored = cv2.imread(str(files[number]), cv2.IMREAD_UNCHANGED)
        if layout == "casme2":
            assert files[number].read_bytes() == render.jpeg(frame)
        elif layout == "smic":
            assert (stored[..., ::-1] == frame).all()
        else:
            assert stored.shape == (32, 32)
            assert np.abs(stored - frame @ [0.299, 0.587, 0.114]).max() < 12  # JPEG


@pytest.mark.parametrize("layout", READERS)
def test_digests_are_those_of_the_files(trees, layout):
    root, digests = trees[layout]
    assert files_of(root) == digests


def test_equal_arguments_give_equal_files(trees, tmp_path):
    assert layouts.write("casme2", SPEC, tmp_path) == trees["casme2"][1]
    other = layouts.layout_clips("casme2", SPEC.model_copy(update={"generator_seed": 3}))
    assert not other["label"].equals(layouts.layout_clips("casme2", SPEC)["label"])


def test_workers_draw_the_same(trees, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_FEW_FRAMES", 0)
    monkeypatch.setattr(synthetic, "n_cores", lambda: 2)
    assert layouts.write("samm", SPEC, tmp_path) == trees["samm"][1]


def test_names_of_casme2(trees):
    names = list(trees["casme2"][1])
    assert layouts.CASME2_SHEET in names
    frames = [name for name in names if name.endswith(".jpg")]
    assert all(re.fullmatch(r"Cropped/sub0[123]/EP\d\d_\d\df?/reg_img[1-9]\d?\.jpg", name) for name in frames)
    clips = layouts.layout_clips("casme2", SPEC)
    assert clips["clip"].duplicated().any()  # one name, two subjects
    assert ((clips["onset"] < 10) & (clips["offset"] > 9)).mean() > 0.5  # img10 sorts before img9
    assert 0.1 < layouts.layout_clips("casme2", UNION)["clip"].str.endswith("f").mean() < 0.4


def test_names_of_smic(trees):
    names = list(trees["smic"][1])
    pattern = (
        r"SMIC_all_cropped/HS/(s[123])/(micro/(negative|positive|surprise)/\1_(ne|po|sur)_\d\d|"
        r"non_micro/\1_non_\d\d)/reg_image(\d{6,8})\.bmp"
    )
    matches = [re.fullmatch(pattern, name) for name in names]
    assert all(matches)
    assert {(match[1], len(match[5])) for match in matches} == {("s1", 6), ("s2", 8), ("s3", 6)}
    assert all(match[5].startswith("0") == (match[1] == "s3") for match in matches)
    numbers = [match[5] for match in matches]
    assert len(set(numbers)) == len(numbers)


def test_smic_has_neutral_clips_that_are_not_read(trees):
    root, digests = trees["smic"]
    folders = sorted({name.rpartition("/")[0] for name in digests if "non_micro" in name})
    assert [folder.split("/")[2] for folder in folders] == ["s1", "s2", "s3"]
    assert not any("non" in clip for clip in read_ids("smic", root))
    rows = layouts._all_clips("smic", SPEC)
    row = rows[rows["neutral"]].iloc[0]
    neutral = synthetic.clip_frames(layouts.drawn_spec("smic", SPEC), row["drawn_from"], zero_field=True)
    shown = [cv2.imread(str(path))[..., ::-1] for _, path in sorted(index_folder(root / folders[0]).items())]
    assert (np.stack(shown) == neutral).all()


def test_names_of_samm(trees):
    frames = [name for name in trees["samm"][1] if name.endswith(".jpg")]
    matches = [re.fullmatch(r"SAMM/(\d{3})/(\1_\d+)_\d+/\1_(\d{4,5})\.jpg", name) for name in frames]
    assert all(matches)
    found = pd.DataFrame([(match[1], match[2], len(match[3])) for match in matches])
    assert sorted(found[0].unique()) == ["006", "007", "008"]
    assert found.groupby(1)[2].nunique().max() == 1  # not mixed within a video
    assert found.groupby(0)[2].nunique().max() == 2  # but within a subject
    clips = layouts._all_clips("samm", UNION)
    assert (clips["offset"] > 9999).any()
    assert (clips["offset"].astype(str).str.len() <= clips["digits"]).all()


# --- sheets -----------------------------------------------------------------------------------------------


def test_the_sheet_of_casme2(trees):
    path = trees["casme2"][0] / layouts.CASME2_SHEET
    assert openpyxl.load_workbook(path).sheetnames == ["Sheet1", "Sheet2", "Sheet3"]
    sheet = pd.read_excel(path, engine="calamine")
    assert sheet.columns.tolist() == [
        "Subject", "Filename", "Unnamed: 2", "OnsetFrame", "ApexFrame", "OffsetFrame", "Unnamed: 6",
        "Action Units", "Estimated Emotion", "Objective Classes",
    ]  # fmt: skip
    assert (sheet["OnsetFrame"].dtype, sheet["Objective Classes"].dtype) == (np.int64, np.int64)
    cells = openpyxl.load_workbook(path)["Sheet1"]
    values = {column[0].value: [cell.value for cell in column[1:]] for column in cells.columns}
    assert set(values["Subject"]) == {"01", "02", "03"}
    kinds = {name: [type(value) for value in column] for name, column in values.items()}
    assert kinds["ApexFrame"] == [str] + [int] * (SPEC.n_micro - 1)
    assert set(kinds["Action Units"]) == {int, str}
    assert set(sheet["Estimated Emotion"]) <= {label for label, *_ in layouts.LAYOUTS["casme2"]}


def test_the_sheet_of_samm(trees):
    path = trees["samm"][0] / layouts.SAMM_SHEET
    sheet = pd.read_excel(path, engine="calamine", sheet_name="MICRO_ONLY", header=13, dtype={"Subject": str})
    assert sheet.columns.tolist() == [
        "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
        "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
    ]  # fmt: skip
    assert len(sheet) == SPEC.n_micro
    assert set(sheet["Subject"]) == {"006", "007", "008"}
    assert (sheet["Duration"] == sheet["Offset Frame"] - sheet["Onset Frame"] + 1).all()
    assert sheet["Inducement Code"].between(1, 7).all()
    assert set(sheet["Micro"]) == {"Micro - 1/2"}
    assert "Other" in set(sheet["Estimated Emotion"])
    assert sheet["Objective Classes"].between(1, 7).all()


# --- what is refused --------------------------------------------------------------------------------------


def test_an_unknown_layout_is_named(tmp_path):
    with pytest.raises(ValueError, match="layout = 'casme' is unknown; choose one of casme2, smic, samm"):
        layouts.write("casme", SPEC, tmp_path)
