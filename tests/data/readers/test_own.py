"""A dataset of one's own: the table and folders that docs/datasets.md describes."""

import cv2
import numpy as np
import pytest

from hsta_lib import ROOT
from hsta_lib.config import Frames, Parameters, Preset
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.readers import own
from hsta_lib.data.table import labelled

HEADER = "subject,clip,folder,onset,apex,offset,emotion"


@pytest.fixture
def root(tmp_path):
    """Two clips of two people, five frames each."""
    for step, folder in ((20, "ann/c1"), (10, "ben/c1")):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(7, 12):
            frame = np.full((31, 37, 3), step * number, np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"frame_{number:04d}.png"), frame)
    write(tmp_path, "ann,c1,ann/c1,7,9,11,Happiness", "ben,c1,ben/c1,7,,11,sad")
    return tmp_path


def write(root, *lines, header=HEADER):
    (root / "clips.csv").write_text("\n".join([header, *lines]) + "\n")


def test_it_is_opened_like_any_other(root, tmp_path):
    parameters = Parameters(dataset="own", data_root=str(root), labels="emotion7")
    opened = open_dataset(parameters, Preset(frames=Frames(n_frames=3, image_size=16)), tmp_path / "data")
    assert opened.clips["clip_id"].tolist() == ["own/ann/c1", "own/ben/c1"]
    assert opened.clips["subject_id"].tolist() == ["own/ann", "own/ben"]
    assert opened.clips["apex"].tolist() == [9, 9]
    assert opened.clips["label"].map(dict(enumerate(opened.classes))).tolist() == ["happy", "sad"]
    assert opened.frames()[0, :, 0, 0, 0].tolist() == [140, 180, 220, 140, 180]
    assert opened.problems[["clip_id", "problem"]].to_numpy().tolist() == [["own/ben/c1", "no apex given"]]
    assert opened.version == "clips.csv (2 rows)"


def test_the_example_of_the_documentation_is_read(tmp_path):
    text = (ROOT / "docs" / "datasets.md").read_text()
    text = text.split("read by tests/data/readers/test_own.py -->\n```csv\n")[1]
    (tmp_path / "clips.csv").write_text(text.split("```")[0])
    for folder in ("ann/smile1", "ann/smile2", "ben/frown1"):
        (tmp_path / folder).mkdir(parents=True)
    clips, problems, *_ = own.read(tmp_path)
    assert problems.empty
    assert clips["clip_id"].tolist() == ["own/ann/smile1", "own/ann/smile2", "own/ben/frown1"]
    assert clips["recording_id"].tolist() == ["own/ann/film1", "own/ann/film1", "own/ben/film2"]
    assert labelled(clips, "emotion7")["label"].tolist() == [6, 6, 4]


def test_optional_columns_are_used(root):
    write(
        root,
        "ann,c1,ann/c1,7,9,11,fear,v2,4+R14,vii",
        header=f"{HEADER},recording,action_units,objective_class",
    )
    clip = own.read(root).clips.iloc[0]
    assert clip[["recording_id", "action_units", "objective_class"]].tolist() == [
        "own/ann/v2",
        "4+R14",
        "VII",
    ]


def test_a_missing_folder_is_a_problem_row(root):
    write(root, "ann,c1,ann/c9,7,9,11,fear", "ben,c1,ben/c1,7,8,11,sad")
    clips, problems, *_ = own.read(root)
    assert clips["clip_id"].tolist() == ["own/ben/c1"]
    assert problems["problem"].tolist() == [f"folder {root}/ann/c9 missing; the nearest is {root}/ann"]


@pytest.mark.parametrize(
    "written", ["Ann\\C1", "ANN/c1", "anń/c1".replace("ń", "n\u0301"), "ann /c-1", "ann/c11"]
)
def test_a_folder_that_is_written_otherwise_is_shown_with_the_nearest(root, written):
    write(root, f"ann,c1,{written},7,9,11,fear")
    (problem,) = own.read(root).problems["problem"]
    assert problem == f"folder {root}/{written} missing; the nearest is {root}/ann/c1"


@pytest.mark.parametrize("written", ["../../etc", "/etc", "ann/../../etc", "..\\etc", "C:\\faces"])
def test_a_folder_outside_is_refused(root, written):
    write(root, f"ann,c1,{written},7,9,11,fear")
    with pytest.raises(ValueError, match=r"of clip 'c1' must be a path below .*, without '\.\.'"):
        own.read(root)


def test_a_link_may_lead_anywhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk")
    (root / "ann").rename(elsewhere / "ann")
    (root / "ann").symlink_to(elsewhere / "ann")
    assert own.read(root).clips["folder"].tolist() == [root / "ann/c1", root / "ben/c1"]


@pytest.mark.parametrize("divider", [";", "\t"])
def test_cells_may_be_divided_as_spreadsheets_do(root, divider):
    text = (root / "clips.csv").read_text().replace(HEADER, HEADER.title())
    (root / "clips.csv").write_text(text.replace(",", divider).replace(f"{divider}sad", f'{divider}"sad"'))
    assert own.read(root).clips["emotion"].tolist() == ["happy", "sad"]


@pytest.mark.parametrize("mark", ["", " ", "/", "\\", "-", "–", "N/A", "#N/A", "na", "NaN", "none"])
def test_a_missing_apex_is_marked_in_many_ways(root, mark):
    write(root, f"ann,c1,ann/c1,7,{mark},11,fear")
    clips, problems, *_ = own.read(root)
    assert (clips["apex"].isna().tolist(), len(problems)) == ([True], 0)


def test_a_missing_table_or_column_is_named(root):
    write(root, "ann,c1,ann/c1,7,9,fear", header="subject,clip,folder,onset,apex,emotion")
    with pytest.raises(ValueError, match=r"clips\.csv: column 'offset' is missing; .* subject, clip"):
        own.read(root)
    (root / "clips.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"clips\.csv is not there.*; its columns must be subject"):
        own.read(root)


def test_one_person_has_one_id(root):
    write(root, "ann,c1,ann/c1,7,9,11,fear", "Ann,c2,ann/c1,7,9,11,fear", "ben,c1,ben/c1,7,9,11,sad")
    assert own.read(root).clips["subject_id"].tolist() == ["own/Ann", "own/Ann", "own/ben"]
    for spellings in [("01", "1"), ("1", "1.0"), ("p-1", "p 1"), ("P1.", "p_1"), ("s01", "s1"), ("１", "1")]:
        write(root, *(f"{name},c{n},ann/c1,7,9,11,fear" for n, name in enumerate(spellings)))
        clips, problems, *_ = own.read(root)
        assert clips["subject_id"].nunique() == 1
        assert problems[["problem", "action"]].to_numpy().tolist() == [
            [f"subjects {', '.join(map(repr, sorted(spellings)))}", f"taken as one, {min(spellings)!r}"]
        ]


@pytest.mark.parametrize(
    "names", [("1-1", "11"), ("1.1", "11"), ("10", "1"), ("a1", "a11"), ("-", "."), ("1", "1a")]
)
def test_two_persons_have_two_ids(root, names):
    write(root, *(f"{name},c1,ann/c1,7,9,11,fear" for name in names))
    clips, problems, *_ = own.read(root)
    assert clips["subject_id"].tolist() == [f"own/{name}" for name in names]
    assert problems.empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER.encode() + b"\nann,c1,ann/c1,7,9,11,fear,", "line 2 has 8 cells, the first line 7"),
        (HEADER.encode() + b"\n\nann,,ann/c1,7,9,11,fear", r"line 3: .* must not be empty"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(root, content, message):
    (root / "clips.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"clips\.csv.*{message}"):
        own.read(root)
