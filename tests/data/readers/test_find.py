"""Datasets as they are unpacked: found wherever the root points, whatever is nested, however it is spelt."""

import os
from pathlib import Path

import pytest
from disk import write_book

from hsta_lib.data.readers import casme2, casme3, megc2019, own, samm, smic
from hsta_lib.data.readers.find import find_frames, find_sheet, folders_of, nearest_folder

NAMES = ["Subject", "Filename"]
CASME2 = [*NAMES, "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"]
SAMM = [*NAMES, "Onset Frame", "Apex Frame", "Offset Frame", *CASME2[-2:], "Objective Classes"]
CASME3 = [*NAMES, "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
# Reader, the sheet's header and only row, and the folder of the row's clip.
DATASETS = {
    "casme2": (casme2, CASME2, ["01", "EP02_01f", 5, 6, 7, "4", "disgust"], "sub01/EP02_01f"),
    "samm": (samm, SAMM, ["006", "006_1_2", 5, 6, 7, "4", "Anger", 1], "006/006_1_2"),
    "casme3": (casme3, CASME3, ["spNO.1", "a", 5, 6, 7, "4", "III", "fear"], "spNO.1/a/color"),
    "release": (casme3, CASME3, ["spNO.1", "a", 5, 6, 7, "4", "III", "fear"], "spNO.1_a_5"),
    "smic": (smic, None, None, "s1/micro/negative/s1_ne_01"),
    "long": (smic, ["Filename", "OnsetF", "OffsetF"], ["s1_ne_01", 5, 7], "s01/s1_ne_01"),
}


def write(root, dataset, frames, sheet, title="Sheet1"):
    """A dataset of one clip of three empty files; returns its folder."""
    _, header, row, clip = DATASETS[dataset]
    folder = root / frames / clip
    folder.mkdir(parents=True)
    for number in (5, 6, 7):
        (folder / f"img{number}.jpg").touch()
    if header:
        write_book(root / sheet, {title: [header, row]})
    return folder


CODING, CODES = "CASME2-coding-20190701.xlsx", "SAMM_Micro_FACS_Codes_v2.xlsx"
MICRO, LONG = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "SMIC-HS-E_annotation_2019.xlsx"
# Dataset, variant, folder of the subjects' folders, sheet.
LAYOUTS = [
    ("casme2", "cropped", "CASME II/CASME2_preprocessed_x/Cropped", f"CASME II/{CODING}"),
    ("casme2", "selected", "CASME2_RAW_selected/CASME2_RAW_selected", CODING),
    ("casme2", "cropped", "Cropped", CODING),
    ("casme2", "cropped", "Cropped", f"labels/{CODING}"),
    ("casme2", "cropped", "CASME2/Cropped/Cropped", f"CASME2/labels/new/{CODING}"),
    ("casme2", "cropped", "Cropped", f"Cropped/{CODING}"),
    ("casme2", "raw", "CASME2/CASME2 - RAW", "CASME2/CASME2 coding 2019 (1).xlsx"),
    ("casme2", "raw", "CASME_II", f"CASME_II/{CODING}"),
    ("samm", "raw", "SAMM/SAMM", f"SAMM/20180312_{CODES}"),
    ("samm", "cropped", "SAMM/SAMM-CROP", "SAMM/samm micro facs codes v2.XLSX"),
    ("casme3", "", "CAS(ME)^3/part_A/data/part_A_split/part_A", f"CAS(ME)^3/annotation/partA/{MICRO}"),
    ("casme3", "", "CAS(ME)^3/part_A", f"CAS(ME)^3/{MICRO}"),
    ("release", "", "CAS(ME)3/part_A/Part_A_ME_clip/frame", f"CAS(ME)3/part_A/{MICRO}"),
    ("release", "", "CASME3/part_A/ME clip/Part_A_ME_clip/Frame", f"CASME3/labels/{MICRO}"),
    ("release", "", "x/part_A/Part_A_ME_clip/frame", f"x/part_A/annotation/{MICRO}"),
    ("smic", "HS", "SMIC/SMIC_all_cropped/SMIC_all_cropped/HS", ""),
    ("smic", "NIR", "SMIC all raw/SMIC-NIR", ""),
    ("long", "E-HS", "SMIC/SMIC-E_raw image/HS_long/SMIC-HS-E", f"SMIC/{LONG}"),
    ("long", "E-NIR", "SMIC E/NIR long/SMIC_NIR_E", "SMIC E/SMIC-NIR-E_annotation.xlsx"),
]


@pytest.mark.parametrize(("dataset", "variant", "frames", "sheet"), LAYOUTS)
def test_a_copy_is_found_wherever_the_root_points(tmp_path, dataset, variant, frames, sheet):
    folder = write(tmp_path, dataset, frames, sheet, title="HS" if "HS" in sheet else "Sheet1")
    (tmp_path / "__MACOSX" / frames / DATASETS[dataset][3]).mkdir(parents=True)  # as zips of a Mac have
    chosen = {"variant": variant} if variant else {}
    for root in ("", frames, *(Path(frames).parents), f"{frames}/{DATASETS[dataset][3].split('/')[0]}"):
        clips, problems, *_ = DATASETS[dataset][0].read(tmp_path / root, **chosen)
        assert problems.empty
        assert clips["folder"].tolist() == [folder]


@pytest.mark.parametrize("root", ["Cropped/sub01/EP02_01f", "labels"])
def test_a_clip_s_folder_and_that_of_the_sheet_are_within_a_copy(tmp_path, root):
    folder = write(tmp_path, "casme2", "Cropped", f"labels/{CODING}")
    assert casme2.read(tmp_path / root).clips["folder"].tolist() == [folder]


def test_the_composite_is_found_whatever_its_folders_are_called(tmp_path):
    for place in ("all/{}", "{}"):
        root = tmp_path / place.replace("/", "").replace("{}", "x")
        write(root, "casme2", place.format("preprocessed/Cropped"), f"labels/{CODING}")
        write(root, "samm", place.format("CROP/SAMM_CROP"), f"labels/{CODES}")
        write(root, "smic", place.format("faces/HS"), "")
        clips = megc2019.read(root).clips
        assert clips["clip_id"].tolist() == ["casme2/sub01/EP02_01f", "smic/s01/s1_ne_01", "samm/006/006_1_2"]


def test_a_copy_beside_another_is_not_chosen_by_chance(tmp_path):
    for copy in ("new", "old"):
        write(tmp_path, "casme2", f"{copy}/Cropped", f"{copy}/{CODING}")
    with pytest.raises(ValueError, match=r"frames are in .*/new/Cropped and in .*/old/Cropped; choose one"):
        casme2.read(tmp_path)
    assert len(casme2.read(tmp_path / "old").clips) == 1


def test_folders_by_their_names_in_lower_case(tmp_path):
    (tmp_path / "CROPPED").mkdir()
    (tmp_path / "file").touch()
    os.symlink(tmp_path / "b", tmp_path / "a")
    os.symlink(tmp_path / "a", tmp_path / "b")  # a loop is no folder
    assert folders_of(tmp_path) == {"cropped": tmp_path / "CROPPED"}
    assert folders_of(tmp_path / "nowhere") == folders_of(None) == {}


def test_a_link_back_is_followed_once(tmp_path):
    (tmp_path / "part_A/sub01").mkdir(parents=True)
    os.symlink(tmp_path, tmp_path / "part_A" / "part_A")
    assert find_frames(tmp_path, "sub01", usual="") == (tmp_path / "part_A", [])


def test_the_nearest_folder(tmp_path):
    (tmp_path / "Café/data").mkdir(parents=True)
    assert nearest_folder(tmp_path / "cafe\u0301/Data/x") == tmp_path / "Café/data"
    assert nearest_folder(tmp_path / "x/data") == tmp_path


def test_of_the_sheets_nearest_to_the_root_the_latest_is_read(tmp_path):
    for name in (
        "labels/old/coding-2014.xlsx", "Coding_2019.XLS", "sub01/coding-2020.xlsx", "~$coding-2021.xlsx",
        "20300101 coding 2015.xlsx", "../coding-2022.xlsx",
    ):  # fmt: skip
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).touch()
    root = tmp_path / "here"
    assert find_sheet(root, r"coding\d+", root / "x").name == "Coding_2019.XLS"
    assert find_sheet(root, "coding2014", root / "x").name == "coding-2014.xlsx"
    assert find_sheet(root, "coding2022", root / "x") == tmp_path / "coding-2022.xlsx"
    assert find_sheet(root, "other", root / "x") is None


def test_a_root_that_is_not_there_is_shown_with_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "Café").mkdir()
    monkeypatch.chdir(tmp_path)
    message = f"data_root: no such folder {tmp_path}/cafe/x; the nearest is {tmp_path}/Café"
    for reader in (casme2, casme3, smic, samm, megc2019):
        with pytest.raises(FileNotFoundError, match=message):
            reader.read("cafe/x")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/cafe/clips.csv is not there.*{tmp_path}/Café"):
        own.read("cafe")
