"""The reader of flow images on both of their trees, with planted defects."""

from dataclasses import replace

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from scipy.ndimage import gaussian_filter
from traitlets.config import Config

from hsta_lib import ROOT, config
from hsta_lib.config import Parameters, Preset, Settings, with_fields
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.flow import strain
from hsta_lib.data.readers import clones, flow_images
from hsta_lib.data.table import COLUMNS
from hsta_lib.models.baselines import ststnet
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.models.hsta import HSTA
from hsta_lib.reporting import plots, tables
from hsta_lib.study import published, union
from hsta_lib.study.study import start
from hsta_lib.training import baseline_inputs

# The folder of a subject, an image of it as HTNet names it, its label and the id of the clip.
IMAGES = [
    ("006", "006_006_1_2 ", 0, "samm/006/006_1_2"),
    ("006", "006_006_5_10 ", 2, "samm/006/006_5_10"),
    ("s01", "s01_s01_ne_01 ", 0, "smic/s01/s1_ne_01"),
    ("s01", "s01_s01_po_01 ", 1, "smic/s01/s1_po_01"),
    ("sub01", "sub01_EP02_01f ", 1, "casme2/sub01/EP02_01f"),
    ("sub07", "sub07_EP06_02_01 ", 2, "casme2/sub07/EP06_02_01"),
]
IDS = sorted(clip_id for *_, clip_id in IMAGES)


def colour(stem):
    """A colour of its own for every image, RGB."""
    code = stem.strip().encode()
    return np.array(
        [len(code), sum(code) % 251, sum(i * byte for i, byte in enumerate(code)) % 241], np.uint8
    )


def write_image(path, size=(28, 28)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.broadcast_to(colour(path.stem)[::-1], (*size, 3))
    assert cv2.imwrite(str(path), np.ascontiguousarray(image))


@pytest.fixture
def folds(tmp_path):
    """A tree of folds: every image in the test set of its subject and in the training sets of the others."""
    for subject in {row[0] for row in IMAGES}:
        for owner, stem, label, _ in IMAGES:
            part = "u_test" if owner == subject else "u_train"
            write_image(tmp_path / subject / part / str(label) / f"{stem}.png")
    return tmp_path


@pytest.fixture
def one_folder(tmp_path):
    """A folder of images, and a list of their labels beside it."""
    rows = []
    for subject, stem, label, _ in IMAGES:
        write_image(tmp_path / "whole_norm_u_v_os" / f"{stem}.png")
        rows.append(f"x,{subject},{stem.partition('_')[2].strip()},{label},,{stem.strip()}.jpg,")
    text = ["dataset,sub,filename_o,label,apex,imagename,sub_filename", *rows]
    (tmp_path / "labels.csv").write_text("\n".join(text) + "\n")
    return tmp_path


def problems_of(root):
    return flow_images.read(root).problems.to_numpy().tolist()


@pytest.mark.parametrize("layout", ["folds", "one_folder"])
def test_each_clip_is_read_once_with_the_ids_of_the_other_readers(layout, request):
    clips, images, problems = flow_images.read(request.getfixturevalue(layout))
    assert problems.empty
    assert clips["clip_id"].tolist() == IDS
    assert clips["subject_id"].tolist() == [clip_id.rpartition("/")[0] for clip_id in IDS]
    assert clips["emotion"].tolist() == [
        "positive", "surprise", "negative", "surprise", "negative", "positive",
    ]  # fmt: skip
    assert list(clips.columns) == list(COLUMNS)
    assert clips[["folder", "onset", "apex", "offset"]].isna().all(axis=None)
    assert images.shape == (6, 1, 28, 28, 3)
    assert images.dtype == np.uint8
    stem_of = {clip_id: stem for _, stem, _, clip_id in IMAGES}
    for clip_id, image in zip(clips["clip_id"], images, strict=True):
        assert (image == colour(stem_of[clip_id])).all()


@pytest.mark.parametrize(
    ("stem", "clip_id"),
    [
        ("sub01_EP02_01f ", "casme2/sub01/EP02_01f"),
        ("sub1_EP02_01f", "casme2/sub01/EP02_01f"),
        ("sub10_EP09f", "casme2/sub10/EP09f"),
        ("s01_s1_ne_01", "smic/s01/s1_ne_01"),
        ("s01_s01_ne_01 ", "smic/s01/s1_ne_01"),
        ("s20_s20_sur_05", "smic/s20/s20_sur_05"),
        ("006_006_1_2", "samm/006/006_1_2"),
        ("6_006_1_2", "samm/006/006_1_2"),
        ("011_011_4_12", "samm/011/011_4_12"),
        ("s01_s2_ne_01", None),
        ("006_007_1_2", None),
        ("sub01", None),
        ("EP02_01f", None),
        ("Thumbs", None),
    ],
)
def test_names_of_images(stem, clip_id):
    assert flow_images.clip_of(stem) == clip_id


def test_what_cannot_be_used_is_listed_and_nothing_else_is_lost(folds):
    test = "u_test/0"
    write_image(folds / "s01" / test / "s01_s02_ne_01.png")
    write_image(folds / "s01" / test / "006_006_1_3.png")
    write_image(folds / "s01/u_test/3" / "s01_s01_ne_07.png")
    write_image(folds / "s01" / test / "s01_s1_po_01.png")  # also with label 1
    write_image(folds / "sub07/u_test/2" / "sub07_EP06_02_01 .png", (31, 29))
    (folds / "006/u_test/2/006_006_5_10 .png").write_bytes(b"\x89PNG\r\n")
    (folds / "s01" / test / "Thumbs.db").touch()
    (folds / "s01" / test / ".s01_s01_ne_09.png").touch()
    clips, images, problems = flow_images.read(folds)
    assert len(images) == len(clips) == 5
    assert "samm/006/006_5_10" not in clips["clip_id"].tolist()
    assert clips.loc[clips["clip_id"] == "smic/s01/s1_po_01", "emotion"].tolist() == ["negative"]
    left_out = "clip left out"
    assert problems.to_numpy().tolist() == [
        ["s01/u_test/0/006_006_1_3.png", "samm/006/006_1_3", "in the folder of subject s01", left_out],
        ["s01/u_test/0/s01_s02_ne_01.png", "", "no name of a clip such as sub01_EP02_01f", left_out],
        ["s01/u_test/3/s01_s01_ne_07.png", "smic/s01/s1_ne_07", "label '3' is none of 0, 1, 2", left_out],
        ["u_train", "smic/s01/s1_po_01", "label 1 for 3 subjects, 0 in u_test", "label 0 kept"],
        [
            "sub07/u_test/2/sub07_EP06_02_01 .png", "casme2/sub07/EP06_02_01", "29 x 31 px",
            "resized to 28 x 28 px",
        ],
        [
            "006/u_test/2/006_006_5_10 .png", "samm/006/006_5_10", "truncated or no image (6 bytes)",
            left_out,
        ],
        [
            "s01/u_test/1/s01_s01_po_01 .png", "smic/s01/s1_po_01",
            "also in s01/u_test/0/s01_s1_po_01.png", left_out,
        ],
    ]  # fmt: skip


def test_training_sets_that_depart_from_the_test_sets_are_listed(folds):
    (folds / "sub01/u_train/0/006_006_1_2 .png").unlink()
    (folds / "sub07/u_train/0/006_006_1_2 .png").rename(folds / "sub07/u_train/2/006_006_1_2 .png")
    write_image(folds / "s01/u_train/1/s01_s1_po_01.png")
    for subject in ("s01", "sub01"):
        write_image(folds / subject / "u_train/1/sub03_EP01_2 .png")
    assert problems_of(folds) == [
        ["u_train", "casme2/sub03/EP01_2", "for 2 subjects, in no u_test", "clip left out"],
        ["u_train", "samm/006/006_1_2", "missing for 1 other subjects", "kept"],
        ["u_train", "samm/006/006_1_2", "label 2 for 1 subjects, 0 in u_test", "label 0 kept"],
        ["u_train", "smic/s01/s1_po_01", "also for its own subject", "kept"],
    ]
    assert flow_images.read(folds).clips["clip_id"].tolist() == IDS


def test_a_list_and_a_folder_that_disagree(one_folder):
    images = one_folder / "whole_norm_u_v_os"
    (images / "006_006_1_2 .png").unlink()
    (images / "s01_s01_po_01 .png").rename(images / "s1_s01_po_01 .png")
    write_image(images / "006_006_1_3 .png")
    write_image(images / "mean.png")
    path = one_folder / "labels.csv"
    path.write_text(path.read_text().replace("EP06_02_01,2", "EP06_02_01,others"))
    folder = "whole_norm_u_v_os"
    assert problems_of(one_folder) == [
        [f"{folder}/006_006_1_3 .png", "samm/006/006_1_3", "not in labels.csv", "clip left out"],
        [f"{folder}/mean.png", "", "no name of a clip such as sub01_EP02_01f", "clip left out"],
        [
            f"{folder}/sub07_EP06_02_01 .png", "casme2/sub07/EP06_02_01",
            "label 'others' is none of 0, 1, 2", "clip left out",
        ],
        ["labels.csv", "samm/006/006_1_2", "no image", "clip left out"],
        ["names of images", "", "subjects 's01', 's1'", "taken as one, 's01'"],
    ]  # fmt: skip
    assert len(flow_images.read(one_folder).images) == 4


def test_other_lists_and_grey_images_do_not_matter(one_folder):
    (one_folder / "a.csv").write_text("a,b\n1,2\n")
    grey = np.full((28, 28), 113, np.uint8)
    cv2.imwrite(str(one_folder / "whole_norm_u_v_os/006_006_1_2 .png"), grey)
    clips, images, problems = flow_images.read(one_folder)
    assert problems.empty
    assert (images[clips["clip_id"].tolist().index("samm/006/006_1_2")] == 113).all()


def test_what_is_not_there_is_named(tmp_path, one_folder):
    with pytest.raises(FileNotFoundError, match="nowhere is not there: git clone"):
        flow_images.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no images; it must hold <subject>/u_test"):
        flow_images.read(tmp_path / "empty")
    write_image(one_folder / "more" / "006_006_1_2.png")
    with pytest.raises(FileNotFoundError, match="images in more, whole_norm_u_v_os"):
        flow_images.read(one_folder)
    (one_folder / "more" / "006_006_1_2.png").unlink()
    (one_folder / "labels.csv").write_text("sub,label\n")
    with pytest.raises(FileNotFoundError, match=r"no \.csv file with the columns sub, filename_o, label"):
        flow_images.read(one_folder)


# --- Table 5 on these images --------------------------------------------------------------------------------

OTHERS = [("007", "007_007_3_1", 1, "samm/007/007_3_1"), ("s02", "s02_s02_sur_01", 2, "smic/s02/s2_sur_01")]


def opened(root, data_dir, **chosen):
    chosen = Parameters(dataset="megc2019_flow", data_root=str(root), labels="emotion3", **chosen)
    return open_dataset(chosen, Preset(frames=flow_images.FRAMES), data_dir)


# What a report may call the clips of `IMAGES`, in the order of `IDS`.
NUMBERED = [
    "casme2/p00/c000", "casme2/p01/c001", "samm/p02/c002", "samm/p02/c003", "smic/p03/c004", "smic/p03/c005",
]  # fmt: skip


def of_system(name):
    return with_fields(Settings(), baseline=name, form="reduced", loss="own")


@pytest.fixture
def shell(tmp_path_factory, monkeypatch):
    """IPython in this process, as a kernel has it but for torch, which is there already."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.fixture
def made_of(shell, tmp_path_factory, monkeypatch):
    """Function that runs a notebook with data, results and records of its own: what it shows, its records."""
    for name in ("HSTA_DATA", "HSTA_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("kept")))
    records = tmp_path_factory.mktemp("records")
    monkeypatch.setattr(config, "records_dir", lambda: records)

    def make(name, root, **chosen):
        chosen = {"preset": "smoke", "data_root": str(root), "workers": 0, **chosen}
        injected = "\n".join(f"{name} = {value!r}" for name, value in chosen.items())
        shown = []
        show = shell.displayhook
        monkeypatch.setattr(show, "write_format_data", lambda data, *_: shown.extend(data.values()))
        for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
            has_parameters = "parameters" in cell.metadata.get("tags", [])
            for source in [cell.source, injected][: 1 + has_parameters] if cell.cell_type == "code" else []:
                with capture_output() as outputs:
                    done = shell.run_cell(source, store_history=True)
                done.raise_error()
                shown += [outputs.stdout, *(text for one in outputs.outputs for text in one.data.values())]
        return "\n".join(map(str, shown)), records

    return make


def test_as_a_dataset_each_image_stands_for_all_frames(folds, tmp_path_factory):
    dataset = opened(folds, tmp_path_factory.mktemp("data"))
    _, images, _ = flow_images.read(folds)
    assert dataset.clips["clip_id"].tolist() == NUMBERED
    assert dataset.clips["source_name"].tolist() == IDS
    for name in ("subject_id", "recording_id"):
        assert dataset.clips[name].tolist() == [clip_id.rpartition("/")[0] for clip_id in NUMBERED]
    assert dataset.classes == ("negative", "positive", "surprise")
    assert (dataset.frames() == images.repeat(4, axis=1)).all()
    assert (dataset.flow(28) == images[:, 0]).all()
    assert dataset.flow(13).shape == (6, 13, 13, 3)
    assert dataset.flow(13).dtype == np.float32


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_picture_of_another_subject_encoded_once_more_is_a_problem(folds, tmp_path_factory, is_copied):
    blobs = np.random.default_rng(0).integers(0, 255, (5, 5, 3)).astype(np.uint8)
    picture = cv2.resize(blobs, (28, 28))
    encoded = cv2.imencode(".jpg", picture if is_copied else picture[::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    assert cv2.imwrite(str(folds / "006/u_test/0/006_006_1_2 .png"), picture)
    assert cv2.imwrite(str(folds / "s01/u_test/0/s01_s01_ne_01 .png"), cv2.imdecode(encoded, 1))
    problems = opened(folds, tmp_path_factory.mktemp("data")).problems
    told = [("pictures of flow", "smic/p03/c004", "looks like samm/p02/c002")] * is_copied
    assert [(*row[:2], row[2].split(":")[0]) for row in problems.to_numpy()] == told


def test_a_system_is_given_the_image_stretched(folds, tmp_path_factory):
    path = folds / "006/u_test/0/006_006_1_2 .png"
    image = np.random.default_rng(0).integers(7, 211, (28, 28, 3), np.uint8)
    assert cv2.imwrite(str(path), image[..., ::-1])
    dataset = opened(folds, tmp_path_factory.mktemp("data"))
    found = baseline_inputs.inputs(dataset, of_system("STSTNet"))[IDS.index("samm/006/006_1_2")]
    np.testing.assert_array_equal(found, ststnet.prepare(image.astype(np.float32)))


@pytest.mark.parametrize(
    ("name", "message"),
    [("LBP-TOP", "it needs frames"), ("Bi-WOOF", "it needs flow in px"), ("RGB-D", "depth")],
)
def test_a_system_that_cannot_see_them_is_told_why(folds, tmp_path_factory, name, message):
    with pytest.raises(ValueError, match=message):
        baseline_inputs.given(opened(folds, tmp_path_factory.mktemp("data")), of_system(name))


def test_which_colour_is_which_is_measured_by_the_strain():
    rng = np.random.default_rng(0)
    flow = np.stack([gaussian_filter(rng.normal(size=(28, 28)), 3) for _ in range(40)])
    flow = flow.reshape(20, 2, 28, 28).transpose(0, 2, 3, 1)
    pictures = np.stack([np.dstack([each, strain(each)]) for each in flow])
    low, high = pictures.min(axis=(1, 2), keepdims=True), pictures.max(axis=(1, 2), keepdims=True)
    pictures = np.round(255 * (pictures - low) / (high - low)).astype(np.uint8)
    found = flow_images.channel_orders(pictures[..., [2, 0, 1]])  # red is the strain
    assert found["best for"].tolist() == [0, 0, 0, 20, 0, 0]
    assert found.loc[3, ["u", "v", "strain"]].tolist() == ["green", "blue", "red"]
    assert found.loc[3, "correlation"] > 0.8
    assert (flow_images.channel_orders(np.zeros((2, 28, 28, 3), np.uint8))["correlation"] == 0).all()


def test_the_data_report_shows_numbers_and_no_picture_and_no_name(folds, tmp_path_factory):
    dataset = opened(folds, tmp_path_factory.mktemp("data"))
    assert set(tables.describe_subjects(dataset).index) == {name.rpartition("/")[0] for name in NUMBERED}
    sentences = [plots.timing(dataset.clips), tables.overlaps(dataset.clips, {})]
    assert {each.data for each in sentences} == {tables.NO_NUMBERS}
    assert "0 problems." in tables.answer_data(dataset, {}).data
    sheet = plots.as_photograph(plots.contact_sheet(dataset.clips, None, dataset.classes, flow=True))
    assert "not shown" in sheet.data


def test_no_image_that_can_be_used_is_an_error(folds, tmp_path_factory):
    for path in folds.rglob("*.png"):
        path.rename(path.with_name("picture.png"))
    with pytest.raises(ValueError, match=r"none of its \d+ images can be used"):
        opened(folds, tmp_path_factory.mktemp("data"))


@pytest.mark.usefixtures("no_environment")
def test_table_6_cannot_be_made_of_them_and_table_5_can(folds):
    chosen = {"preset": "smoke", "dataset": "megc2019_flow", "data_root": str(folds)}
    with pytest.raises(ValueError, match="has no frames, which table6 needs"):
        start("table6", chosen)
    study = union.union(start("table5", chosen | {"split": ""}))
    assert study.settings.split.split == "loso"
    assert published.compared(study)["system"].tolist() == study.preset.datasets.baselines
    full = union.union(start("table5", chosen | {"split": "", "preset": "full"}))
    assert published.compared(full)["system"].tolist() == list(SYSTEMS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("macro_clips", "all", "no macro-expressions"),
        ("variant", "raw", "published pictures of flow are htnet, causalnet"),
        ("repair", "drop", "no frame numbers"),
    ],
)
def test_what_they_do_not_have_is_refused(folds, tmp_path_factory, field, value, message):
    chosen = Parameters(dataset="megc2019_flow", data_root=str(folds), labels="emotion3", **{field: value})
    with pytest.raises(ValueError, match=message):
        open_dataset(chosen, Preset(), tmp_path_factory.mktemp("data"))


def test_pictures_of_faces_are_not_taken_for_flow(one_folder):
    for path in one_folder.rglob("*.png"):
        write_image(path, (224, 224))
    with pytest.raises(ValueError, match="6 of 6 images are not 28 x 28 px"):
        flow_images.read(one_folder)


def test_a_union_without_one_of_the_datasets_is_refused(folds, tmp_path_factory):
    dataset = opened(folds, tmp_path_factory.mktemp("data"))
    smic = dataset.clips[dataset.clips["clip_id"].str.startswith("smic")]
    with pytest.raises(ValueError, match="no clip of SAMM and CASME II"):
        union.count_clips(replace(dataset, clips=smic))


@pytest.mark.parametrize(
    "name", [name for name, forms in SYSTEMS.items() if forms["published"].stretches and name != "RGB-D"]
)
@pytest.mark.parametrize("form", ["published", "reduced"])
def test_a_system_that_takes_them_sees_no_stretch_of_a_channel(name, form):
    system = SYSTEMS[name][form]
    flow = np.random.default_rng(0).normal(size=(system.flow_size, system.flow_size, 3)).astype(np.float32)
    stretched = flow * np.array([7, 0.25, 3], np.float32) + np.array([2, -1, 5], np.float32)
    largest = np.abs(system.prepare(flow)).max()
    np.testing.assert_allclose(system.prepare(stretched), system.prepare(flow), atol=1e-5 * largest)


@pytest.mark.usefixtures("no_environment")
@pytest.mark.parametrize("recipe", ["equations", "released"])
def test_the_special_branch_sees_all_of_a_picture(recipe):
    fields = union.cells(shows_flow=True).drop(columns=["system", "train_on"]).to_dict("records")[0]
    chosen = {"preset": "full", "recipe": recipe, "dataset": "megc2019_flow"}
    settings = start("table4", chosen).variant(fields=fields).settings
    network = HSTA.from_settings(settings, 3)
    assert network.embed_special.n_tokens == network.embed_video.n_tokens == 16
    assert settings.training.pixels == "imagenet"


@pytest.mark.usefixtures("no_environment")
def test_table_5_is_made_of_them_leaving_one_subject_out(folds, made_of):
    for subject, stem, label, _ in OTHERS:
        write_image(folds / subject / "u_test" / str(label) / f"{stem}.png")
    text, records = made_of("table5", folds, dataset="megc2019_flow", baselines=["STSTNet", "LBP-TOP"])
    for told in (
        "leave one subject out: 6 folds", "LBP-TOP is not run: it needs frames", "HSTA, special branch",
        "ours see published pictures of flow",
    ):  # fmt: skip
        assert told in text
    assert "median length" not in text
    (path,) = records.glob("real-table5-smoke-htnet-loso*-predictions.csv")
    assert str(path) in text
    tested = pd.read_csv(path)
    assert tested["clip_id"].str.fullmatch(r"(casme2|samm|smic)/p0\d/c00\d").all()
    assert tested["clip_id"].nunique() == len([*IDS, *OTHERS])
    assert not any(clip_id in text for clip_id in IDS)


# --- CausalNet's pictures --------------------------------------------------------------------------------


@pytest.fixture
def sequences(one_folder):
    """Four pictures of each clip, in a clone as CausalNet's."""
    (one_folder / "datasets").mkdir()
    whole = one_folder / "datasets/STSNet_whole_norm_u_v_os"
    (one_folder / "whole_norm_u_v_os").rename(whole)
    with (one_folder / "labels.csv").open("a") as file:
        file.write("x,011,011_6_1,1,,,\n")
    for stem in [*(row[1] for row in IMAGES), "011_011_6_1 "]:
        for ending in ("", "_1", "_2", "_3"):
            write_image(whole / f"{stem.strip()}{ending} .png")
    return one_folder


def test_of_each_clip_there_are_four_pictures_told_from_ids_that_end_in_numbers(sequences):
    clips, images, problems = flow_images.read(sequences, "causalnet")
    assert problems.empty
    assert clips["clip_id"].tolist() == sorted([*IDS, "samm/011/011_6_1"])
    assert images.shape == (7, 4, 28, 28, 3)
    stem_of = {row[3]: row[1].strip() for row in IMAGES} | {"samm/011/011_6_1": "011_011_6_1"}
    for clip_id, pictures in zip(clips["clip_id"], images, strict=True):
        for ending, picture in zip(("", "_1", "_2", "_3"), pictures, strict=True):
            assert (picture == colour(stem_of[clip_id] + ending)).all()


def test_the_video_is_all_pictures_and_the_first_two_are_special(sequences, tmp_path_factory):
    _, images, _ = flow_images.read(sequences, "causalnet")
    dataset = opened(sequences, tmp_path_factory.mktemp("data"), variant="causalnet")
    assert (dataset.frames() == images[:, [0, 1, 0, 1]]).all()
    assert (dataset.flow(28) == images[:, 0]).all()
    assert "CausalNet" in dataset.version


def test_what_a_clone_of_causalnet_lacks_is_listed_with_the_command(sequences):
    whole = sequences / "datasets/STSNet_whole_norm_u_v_os"
    (whole / "011_011_6_1_2 .png").unlink()
    (whole / "sub01_EP02_01f .png").unlink()
    write_image(whole / "s01_s01_ne_01_3 .png", (30, 28))
    problems = flow_images.read(sequences, "causalnet").problems.to_numpy().tolist()
    folder = "datasets/STSNet_whole_norm_u_v_os"
    repair = f"git clone https://github.com/tony19980810/CausalNet {sequences}"
    of_none = [
        [f"{folder}/sub01_EP02_01f{ending} .png", "", "of no clip of labels.csv", "clip left out"]
        for ending in ("_1", "_2", "_3")
    ]
    assert problems == [
        *of_none,
        ["labels.csv", "casme2/sub01/EP02_01f", f"no picture; {repair}", "clip left out"],
        [f"{folder}/011_011_6_1_2 .png", "samm/011/011_6_1", "not there", "clip left out"],
        [f"{folder}/s01_s01_ne_01_3 .png", "smic/s01/s1_ne_01", "28 x 30 px", "resized to 28 x 28 px"],
    ]
    with pytest.raises(FileNotFoundError, match="whole_norm_u_v_os is not there; tony19980810/CausalNet has"):
        flow_images.read(sequences / "datasets", "causalnet")


def test_pictures_of_htnet_in_a_clone_of_causalnet_are_not_taken_for_its_own(tmp_path):
    (tmp_path / "CausalNet/datasets/three_norm_u_v_os").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="three_norm_u_v_os is HTNet's; its own pictures: variant = 'causalnet'"
    ):
        flow_images.read(tmp_path / "CausalNet")


@pytest.mark.usefixtures("no_environment")
@pytest.mark.parametrize(
    ("name", "n_rows", "column", "values"),
    [
        ("table1", 8, "branch", {"special"}),
        ("table3", 12, "m", {1, 2, 3}),
        ("table4", 12, "m", {1, 2, 4, 8}),
        ("controls", 6, "training_subjects", {1, 0.5, 0.25}),
    ],
)
def test_a_table_has_the_rows_that_pictures_of_flow_can_have(name, n_rows, column, values):
    chosen = {"preset": "full", "dataset": "megc2019_flow", "variant": "causalnet", "split": ""}
    study = start(name, chosen)
    assert study.settings.split.split == "subject"
    cells = study.cells()
    assert len(cells) == n_rows
    assert set(cells[column]) == values
    assert study.scope == "real motion"
    assert study.settings.frames.special == "flow"


@pytest.mark.usefixtures("no_environment")
def test_without_a_folder_the_clone_in_external_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clones, "ROOT", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"external/CausalNet.*git clone https://github.com/tony19980810"
    ):
        opened("", tmp_path, variant="causalnet")
    with pytest.raises(FileNotFoundError, match="external/HTNet"):
        opened("", tmp_path)


@pytest.fixture
def both(tmp_path):
    """Clones of both repositories side by side, with the same clips and other pictures."""
    rows = ["sub,filename_o,label"]
    for subject, stem, label, _ in IMAGES:
        name = stem.strip()
        rows.append(f"{subject},{name.partition('_')[2]},{label}")
        write_image(
            tmp_path / "HTNet/datasets/three_norm_u_v_os" / subject / "u_test" / str(label) / f"{stem}.png"
        )
        for ending in ("", "_1", "_2", "_3"):
            write_image(tmp_path / f"CausalNet/datasets/STSNet_whole_norm_u_v_os/{name}{ending} .png")
    for name in ("HTNet", "CausalNet"):
        (tmp_path / name / "list.csv").write_text("\n".join(rows))
    return tmp_path


def test_both_extractions_are_one_dataset_in_which_each_clip_is_twice(both, tmp_path_factory):
    dataset = opened(both, tmp_path_factory.mktemp("data"), variant="both")
    expected = [f"{name}/{variant}" for name in NUMBERED for variant in ("causalnet", "htnet")]
    assert dataset.clips["clip_id"].tolist() == expected
    assert dataset.clips["subject_id"].tolist() == [name.rsplit("/", 2)[0] for name in expected]
    (both / "CausalNet/list.csv").write_text((both / "CausalNet/list.csv").read_text().rpartition("\n")[0])
    with pytest.raises(
        ValueError, match=r"1 clips are in one clone alone, as casme2/sub07/EP06_02_01: git clone"
    ):
        flow_images.read_both(both)


@pytest.mark.usefixtures("no_environment")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("extractions", "STSTNet trained on CausalNet's differs"),
        ("honest", "the interval reaches the published UF1 of"),
    ],
)
def test_notebooks_on_both_extractions_are_made(both, made_of, name, told):
    text, records = made_of(name, both, split="subject")
    assert told in text
    assert f"{records}/real-{name}-smoke-both-subject-predictions.csv" in text
    assert not any(clip_id in text for clip_id in IDS)


@pytest.mark.usefixtures("no_environment")
def test_controls_are_made_of_a_sequence(sequences, made_of):
    text, records = made_of("controls", sequences, dataset="megc2019_flow", variant="causalnet")
    assert "Real motion, published pictures of flow, no face" in text
    assert f"{records}/real-controls-smoke-causalnet-subject.json" in text
    assert not any(name in text for name in [*IDS, "011_6_1"])
