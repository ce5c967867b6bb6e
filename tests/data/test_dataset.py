"""An opened dataset: clips beside their frames, and a fingerprint of content alone."""

import os
import pickle
import shutil

import cv2
import numpy as np
import openpyxl
import pytest

from hsta_lib.config import Frames, Parameters, Preset, Synthetic
from hsta_lib.data import dataset
from hsta_lib.data import flow as flow_module
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.flow import flow_strain, optical_flow
from hsta_lib.data.frames import choose_frames, read_image, resize
from hsta_lib.data.splits import check_folds, make_folds
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.data.synthetic import population
from hsta_lib.files import file_digest

PRESET = Preset(
    synthetic=Synthetic(generator_seed=2, n_subjects=3, n_micro=14, frame_size=32),
    frames=Frames(n_frames=3, image_size=16),
)


@pytest.fixture(autouse=True)
def no_clone(monkeypatch, tmp_path):
    """No lists of bad frames, whatever lies in ``external/``."""
    monkeypatch.setattr(dataset, "_CLONE_OF_CASME3", tmp_path / "no clone")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def opened(data_dir):
    return open_dataset(Parameters(labels="emotion7"), PRESET, data_dir)


@pytest.fixture(scope="module")
def made(opened, data_dir):
    """Folder of the generated files."""
    return synthetic.ensure(PRESET.synthetic, data_dir)


@pytest.fixture
def root(made, tmp_path):
    """A copy of the files, all of them newer, to be opened as a real dataset."""
    return shutil.copytree(made, tmp_path / "copy of casme3", copy_function=shutil.copyfile)


@pytest.fixture
def open_real(tmp_path):
    """Function that opens a folder as CAS(ME)^3."""
    return lambda root: open_dataset(
        Parameters(dataset="casme3", data_root=str(root), labels="emotion7"), PRESET, tmp_path / "data"
    )


def frame_file(root, clip, number):
    """Frame of a clip in a copy of the dataset."""
    return root.joinpath("part_A", *clip.recording_id.split("/")[1:], "color", f"{number}.jpg")


def shown(path):
    """A frame at the size of the preset."""
    return resize(read_image(path), PRESET.frames.image_size, "none")


# --- clips and frames -------------------------------------------------------------------------------------


def test_every_clip_stands_beside_its_frames(opened, made):
    frames = opened.frames()
    assert (frames.shape, frames.dtype) == ((14, 5, 16, 16, 3), np.uint8)
    for clip, row in zip(opened.clips.itertuples(), frames, strict=True):
        numbers = [*choose_frames(clip.onset, clip.offset, 3), clip.onset, clip.apex]
        files = [frame_file(made, clip, number) for number in numbers]
        assert (row == [shown(file) for file in files]).all()


def test_clips_are_sorted_and_labelled(opened):
    truth = population.sample_clips(PRESET.synthetic).set_index("clip_id")["emotion"]
    assert opened.clips["clip_id"].tolist() == sorted(truth.index)
    assert opened.classes == ("others", "disgust", "surprise", "fear", "anger", "sad", "happy")
    named = [opened.classes[label] for label in opened.clips["label"]]
    assert named == truth[opened.clips["clip_id"]].tolist()
    assert opened.problems.empty
    assert opened.tested.equals(opened.clips)


def test_clips_without_a_class_are_no_part_of_it(opened, data_dir):
    three = open_dataset(Parameters(labels="emotion3"), PRESET, data_dir)
    assert len(three.clips) == (opened.clips["emotion"] != "others").sum() < 14
    assert len(three.frames()) == len(three.clips)
    assert three.classes == ("negative", "positive", "surprise")
    assert three.outside == {"others": 14 - len(three.clips)}
    assert opened.outside == {}
    assert three.fingerprint != opened.fingerprint


@pytest.mark.parametrize(
    ("method", "action"),
    [("middle", "the middle of onset and offset"), ("difference", "the frame most unlike the onset")],
)
def test_the_apex_of_every_clip_is_estimated_on_request(opened, made, data_dir, method, action):
    frames = Frames(n_frames=3, image_size=16, apex="estimated", estimated_apex=method)
    found = open_dataset(
        Parameters(labels="emotion7"), PRESET.model_copy(update={"frames": frames}), data_dir
    )
    middle = (found.clips["onset"] + found.clips["offset"]) // 2
    assert (found.clips["apex"] == middle).all() == (method == "middle")
    assert (found.clips["apex"] != opened.clips["apex"]).any()
    assert found.clips.drop(columns="apex").equals(opened.clips.drop(columns="apex"))
    for clip, row in zip(found.clips.itertuples(), found.frames(), strict=True):
        assert (row[-1] == shown(frame_file(made, clip, clip.apex))).all()
    assert (found.frames()[:, :-1] == opened.frames()[:, :-1]).all()
    assert found.fingerprint != opened.fingerprint
    (note,) = found.problems.to_dict("records")
    assert (note["clip_id"], note["action"]) == ("14 clips", action)
    assert note["problem"] == "apex = 'estimated', that of the sheet not used"


def test_what_is_written_to_the_frames_never_reaches_the_file(opened):
    before = file_digest(opened.frames_path)
    frames = opened.frames()
    frames[0] = 255 - frames[0]
    assert (opened.frames()[0] == 255 - frames[0]).all()
    del frames
    assert file_digest(opened.frames_path) == before


def test_the_flow_of_every_clip_is_that_of_its_onset_and_apex(opened, monkeypatch):
    flow, frames = opened.flow(7), opened.frames()
    assert (flow.shape, flow.dtype) == ((14, 7, 7, 3), np.float32)
    for row in (0, 5, 13):
        expected = flow_strain(optical_flow(frames[row, -2], frames[row, -1], "dis"), 7)
        assert (flow[row] == expected).all()
    monkeypatch.setattr(flow_module, "optical_flow", None)  # computed once
    assert (opened.flow(7) == flow).all()


def test_a_dataset_is_small_to_send(opened):
    sent = pickle.dumps(opened)
    assert len(sent) < 200_000
    received = pickle.loads(sent)
    assert received.fingerprint == opened.fingerprint
    assert received.clips.equals(opened.clips)
    assert (received.frames() == opened.frames()).all()


# --- fingerprint ------------------------------------------------------------------------------------------


def test_the_fingerprint_is_the_same_after_the_data_were_made_again(opened, tmp_path):
    again = open_dataset(Parameters(labels="emotion7"), PRESET, tmp_path)
    assert again.frames_path != opened.frames_path
    from_cache = open_dataset(Parameters(labels="emotion7"), PRESET, tmp_path)
    assert from_cache.fingerprint == again.fingerprint == opened.fingerprint


def test_the_fingerprint_is_the_same_elsewhere_and_later(opened, made, tmp_path):
    moved = tmp_path / "moved" / made.name
    shutil.copytree(made, moved, copy_function=shutil.copyfile)
    for file in moved.rglob("*.*"):
        os.utime(file, (1e9, 1e9))
    again = open_dataset(Parameters(labels="emotion7"), PRESET, tmp_path / "moved")
    assert again.fingerprint == opened.fingerprint


def test_the_fingerprint_changes_with_a_pixel(root, open_real):
    before = open_real(root)
    file = frame_file(root, before.clips.iloc[3], before.clips["apex"][3])
    picture = cv2.imread(str(file))
    picture[8:16, 8:16] += 16
    cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    after = open_real(root)
    assert after.clips.equals(before.clips)
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("column", ["clip_id", "subject_id", "recording_id", "label"])
def test_the_fingerprint_covers_each_column_by_itself(opened, column):
    clips = opened.clips.copy()
    clips.loc[5, column] = 6 - clips["label"][5] * 2 if column == "label" else "another"
    assert dataset._fingerprint(opened.clips, file_digest(opened.frames_path), Frames()) == opened.fingerprint
    assert dataset._fingerprint(clips, file_digest(opened.frames_path), Frames()) != opened.fingerprint


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("authors_fold", [np.arange(14) % 5, np.arange(14)[::-1] % 5]),
        ("expression_type", [["macro", *["micro"] * 13], [*["micro"] * 13, "macro"]]),
    ],
)
def test_the_fingerprint_covers_the_authors_folds_and_which_clips_are_macro_clips(opened, column, values):
    tables = [opened.clips, *(opened.clips.assign(**{column: each}) for each in values)]
    assert len({dataset._fingerprint(clips, "", Frames()) for clips in tables}) == 3


def test_the_fingerprint_covers_the_lengths_that_frames_are_drawn_from(opened):
    longer = opened.clips.assign(offset=opened.clips["offset"] + 3)
    both = [opened.clips, longer]
    assert len({dataset._fingerprint(clips, "", Frames()) for clips in both}) == 1
    assert len({dataset._fingerprint(clips, "", Frames(drawing="random")) for clips in both}) == 2


def test_caches_of_flow_are_told_apart(opened):
    paths = {opened.flow_path(7), opened.flow_path(5), opened.flow_path(7, "tvl1")}
    assert len(paths) == 3


# --- macro clips ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened_with_macro(data_dir):
    return open_dataset(Parameters(labels="objective7", macro_clips="all"), PRESET, data_dir)


def test_the_benchmark_gets_as_many_macro_clips_as_it_has_micro_clips(opened_with_macro):
    clips = opened_with_macro.clips
    assert clips["expression_type"].value_counts().to_dict() == {"micro": 14, "macro": 14}
    assert clips["clip_id"].tolist() == sorted(clips["clip_id"])
    assert opened_with_macro.tested.equals(clips[clips["expression_type"] == "micro"])
    assert opened_with_macro.problems.empty
    frames = opened_with_macro.frames()
    assert frames.shape == (28, 5, 16, 16, 3)
    spec = dataset.benchmark(PRESET.synthetic, "all")
    made = synthetic.ensure(spec, opened_with_macro.frames_path.parents[1])
    row = int(np.flatnonzero(clips["expression_type"] == "macro")[5])
    apex = shown(frame_file(made, clips.iloc[row], clips["apex"][row]))
    assert (frames[row, -1] == apex).all()


def test_a_benchmark_that_has_macro_clips_keeps_their_number():
    spec = Synthetic(n_micro=14, n_macro=5)
    assert dataset.benchmark(spec, "all") == spec
    assert dataset.benchmark(PRESET.synthetic, "none") == PRESET.synthetic
    assert dataset.benchmark(PRESET.synthetic, "training_subjects").n_macro == 14


def test_the_fingerprint_tells_of_macro_clips_but_not_of_their_rule(opened_with_macro, data_dir):
    without, others = (
        open_dataset(Parameters(labels="objective7", macro_clips=rule), PRESET, data_dir)
        for rule in ("none", "training_subjects")
    )
    assert set(without.clips["expression_type"]) == {"micro"}
    assert without.fingerprint != opened_with_macro.fingerprint
    assert others.fingerprint == opened_with_macro.fingerprint


def test_the_micro_clips_are_the_same_people_and_classes_with_and_without_macro_clips(
    opened_with_macro, data_dir
):
    without = open_dataset(Parameters(labels="objective7"), PRESET, data_dir)
    columns = ["subject_id", "label", "recording_id"]
    counts = [data.tested[columns].value_counts().sort_index() for data in (without, opened_with_macro)]
    assert counts[0].equals(counts[1])


@pytest.mark.parametrize("labels", ["emotion7", "emotion3"])
def test_macro_clips_need_labels_that_they_have(opened_with_macro, data_dir, labels):
    message = f"no macro-expression has a class of labels = '{labels}'.*-p labels objective7"
    with pytest.raises(ValueError, match=message):
        open_dataset(Parameters(labels=labels, macro_clips="all"), PRESET, data_dir)


@pytest.mark.parametrize("name", ["smic", "samm", "casme2", "megc2019", "own"])
def test_macro_clips_are_refused_where_none_are_read(tmp_path, name):
    parameters = Parameters(dataset=name, data_root=str(tmp_path), macro_clips="training_subjects")
    message = rf"macro_clips = 'training_subjects': {name} has no macro-expressions .*synthetic, casme3"
    with pytest.raises(ValueError, match=message):
        open_dataset(parameters, PRESET, tmp_path)


def write_lists(root, clips):
    """The authors' lists of some micro clips by objective class: every fifth is tested."""
    folder = root / "washed_data/washed_data/new_labels/Objective_class_as_label"
    folder.mkdir(parents=True)
    header = "Subject,Filename,Onset,Apex,Offset,AU,Expression type,Objective class"
    lines = [
        ",".join([*clip.recording_id.split("/")[1:], str(clip.onset), str(clip.apex), str(clip.offset)])
        + f",{clip.action_units},Micro-expression,{clip.objective_class}"
        for clip in clips.itertuples()
    ]
    for k in range(5):
        train = [line for i, line in enumerate(lines) if i % 5 != k]
        (folder / f"test_fold_{k + 1}.csv").write_text("\n".join([header, *lines[k::5]]))
        (folder / f"no_macro_exp_train_fold_{k + 1}.csv").write_text("\n".join([header, *train]))
    return root


def test_the_authors_folds_are_theirs_with_macro_clips_too(opened_with_macro, data_dir, tmp_path):
    # The benchmark with macro clips, opened as the real dataset; the lists leave out one of its micro clips.
    made = synthetic.ensure(dataset.benchmark(PRESET.synthetic, "all"), data_dir)
    listed, unlisted = opened_with_macro.tested.iloc[1:], opened_with_macro.tested["clip_id"].iloc[0]
    real = Parameters(
        dataset="casme3",
        data_root=str(made),
        labels="objective7",
        split="authors",
        lists_root=str(write_lists(tmp_path / "clone", listed)),
    )
    without, data = (
        open_dataset(real.model_copy(update={"macro_clips": rule}), PRESET, tmp_path / "data")
        for rule in ("none", "all")
    )
    assert data.problems["clip_id"].tolist() == [unlisted.replace("synthetic/", "casme3/")]
    assert (len(data.clips), len(data.tested), len(without.clips)) == (27, 13, 13)
    assert data.clips["clip_id"].is_monotonic_increasing
    assert data.fingerprint != without.fingerprint
    is_macro = (data.clips["expression_type"] == "macro").to_numpy()
    shared = {"split": "authors", "n_folds": 2, "stratify": False, "split_seed": 0}
    folds = make_folds(data.clips, **shared, macro_clips="all")
    check_folds(data.clips, folds, split="authors", macro_clips="all")
    for k, ((train, test), alone) in enumerate(zip(folds, make_folds(without.clips, **shared), strict=True)):
        expected = [name.replace("synthetic/", "casme3/") for name in listed["clip_id"].iloc[k::5]]
        assert data.clips["clip_id"].iloc[test].tolist() == sorted(expected)
        assert without.clips["clip_id"].iloc[alone.test].tolist() == sorted(expected)
        assert train.tolist() == np.setdiff1d(np.arange(27), test).tolist()
        assert set(np.flatnonzero(is_macro)) <= set(train)


# --- problems ---------------------------------------------------------------------------------------------


def plant_problems(root, clips):
    """Truncate the onset frame of clip 2, lose the apex frame of clip 5 and list clip 0 twice."""
    truncated = frame_file(root, clips.iloc[2], clips["onset"][2])
    os.truncate(truncated, truncated.stat().st_size - 50)
    frame_file(root, clips.iloc[5], clips["apex"][5]).unlink()
    book = openpyxl.load_workbook(root / synthetic.MICRO_SHEET)
    sheet = book.worksheets[0]
    rows = [[cell.value for cell in cells] for cells in sheet.iter_rows()]
    subject, video, onset = clips["clip_id"][0].split("/")[1:]
    sheet.append(next(cells for cells in rows if cells[:3] == [subject, video, onset]))
    book.save(root / synthetic.MICRO_SHEET)
    return truncated


def test_clips_that_cannot_be_used_are_left_out_and_listed(root, open_real):
    whole = open_real(root)
    truncated = plant_problems(root, whole.clips).relative_to(root)
    found = open_real(root)
    assert found.clips.equals(whole.clips.drop(2).reset_index(drop=True))
    same = found.frames() == np.delete(whole.frames(), 2, axis=0)
    assert same[4, :2].all()
    assert not same[4, -1].all()  # a frame beside the lost apex
    assert np.delete(same, 4, axis=0).all()
    ids = whole.clips["clip_id"]
    assert found.problems["clip_id"].tolist() == [ids[0], ids[5], ids[2]]
    assert found.problems["action"].tolist() == ["clip left out", "nearest frames used", "clip left out"]
    folder = f"part_A/{whole.clips['recording_id'][5].removeprefix('casme3/')}/color"
    assert found.problems["where"].tolist() == ["annotation sheet", folder, str(truncated)]
    assert found.problems["problem"].tolist() == [
        "listed twice",
        f"1 of {whole.clips['offset'][5] - whole.clips['onset'][5] + 1} frames missing",
        f"truncated or no image ({(root / truncated).stat().st_size} bytes)",
    ]


def test_problems_show_no_folder_of_the_machine(root, open_real, tmp_path, monkeypatch):
    plant_problems(root, open_real(root).clips)
    monkeypatch.chdir(root.parent)
    for data_root in (root, f"{root}/", root.name, f"./{root.name}"):
        problems = open_real(data_root).problems
        assert len(problems) == 3
        assert not problems.map(lambda cell: "copy of" in cell or str(tmp_path) in cell).to_numpy().any()


def test_if_no_clip_can_be_read_the_first_reason_is_given(root, open_real):
    for folder in (root / "part_A").glob("*/*/color"):
        shutil.rmtree(folder)
    with pytest.raises(
        ValueError, match=r"none of the 14 clips could be read.*folder without frames: it is empty"
    ):
        open_real(root)


def test_given_boxes_need_their_file(root, tmp_path):
    preset = PRESET.model_copy(update={"frames": Frames(n_frames=3, image_size=16, crop="boxes")})
    parameters = Parameters(dataset="casme3", data_root=str(root), labels="emotion7")
    with pytest.raises(FileNotFoundError, match=r"face_boxes\.csv is not there; give it the columns clip_id"):
        open_dataset(parameters, preset, tmp_path / "data")


def test_a_real_dataset_needs_its_folder(tmp_path):
    with pytest.raises(ValueError, match=r"dataset = 'casme3' needs the folder that holds it: .*data_root"):
        open_dataset(Parameters(dataset="casme3", labels="emotion7"), PRESET, tmp_path)


def test_the_home_folder_may_be_written_short(root, open_real, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(open_real(f"~/{root.name}").clips) == 14


def test_a_sheet_without_a_usable_clip_is_refused_with_the_first_problem(tmp_path):
    root = synthetic.ensure(PRESET.synthetic, tmp_path)
    for folder in (root / "part_A").iterdir():
        folder.rename(folder.with_name(f"{folder.name}0"))
    parameters = Parameters(dataset="casme3", data_root=str(root), labels="emotion7")
    with pytest.raises(ValueError, match=r"no clip of .* can be used.*folder missing"):
        open_dataset(parameters, PRESET, tmp_path)
