"""Frames: which are chosen, how files are found and decoded, and a cache that never holds half a truth."""

import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_lib.config import Frames
from hsta_lib.data import frames
from hsta_lib.data.frames import cache_frames, choose_frames, decode, index_folder
from hsta_lib.files import file_digest

SETTINGS = Frames(n_frames=6, image_size=8)


def write(path, picture):
    """Write an RGB or grey picture in the format of the path's ending."""
    picture = np.asarray(picture, np.uint8)
    picture = picture[..., ::-1] if picture.ndim == 3 else picture
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def plain(number, size=16):
    """A picture of one colour that tells its frame number."""
    return np.full((size, size, 3), (number, 100 + number, 200 + number), np.uint8)


@pytest.fixture
def clips(tmp_path):
    """Three clips: a, frames 10..20, apex 15; b, 30..50, apex 37; c, 1..50, apex 50. Decoded they tell."""
    rows = []
    for name, onset, apex, offset in [("a", 10, 15, 20), ("b", 30, 37, 50), ("c", 1, 50, 50)]:
        folder = tmp_path / "part_A" / name
        folder.mkdir(parents=True)
        for number in range(onset, offset + 1):
            write(folder / f"{number}.png", plain(number))
        rows.append((name, folder, onset, apex, offset))
    return pd.DataFrame(rows, columns=["clip_id", "folder", "onset", "apex", "offset"])


# Chosen by hand; halves round to the even number. The last two are onset and apex.
NUMBERS = {
    "a": [10, 12, 14, 16, 18, 20, 10, 15],
    "b": [30, 34, 38, 42, 46, 50, 30, 37],
    "c": [1, 11, 21, 30, 40, 50, 1, 50],
}


def cached(clips, folder, settings=SETTINGS):
    """Path, frame numbers by clip as the pixels tell them, and problems."""
    path, digest, problems = cache_frames(clips, settings, folder)
    assert digest == file_digest(path)
    return path, np.load(path)[:, :, 0, 0, 0].tolist(), problems


# --- which frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("onset", "offset", "n_frames", "numbers"),
    [
        (10, 20, 6, [10, 12, 14, 16, 18, 20]),
        (10, 20, 2, [10, 20]),
        (0, 10, 5, [0, 2, 5, 8, 10]),  # 2.5 and 7.5 round to the even number
        (3, 5, 7, [3, 3, 4, 4, 4, 5, 5]),  # 3, 3.33, 3.67, 4, 4.33, 4.67, 5
        (7, 7, 3, [7, 7, 7]),
        (1, 2, 6, [1, 1, 1, 2, 2, 2]),
        (5, 3460, 3, [5, 1732, 3460]),
    ],
)
def test_frames_are_spread_evenly_from_onset_to_offset(onset, offset, n_frames, numbers):
    assert choose_frames(onset, offset, n_frames).tolist() == numbers


@pytest.mark.parametrize(
    ("apex", "numbers"),
    [
        (15, [10, 12, 15, 16, 18, 20]),  # as near to 14 as to 16: the first is replaced
        (17, [10, 12, 14, 17, 18, 20]),
        (14, [10, 12, 14, 16, 18, 20]),
        (10, [10, 12, 14, 16, 18, 20]),
        (20, [10, 12, 14, 16, 18, 20]),
        (19, [10, 12, 14, 16, 19, 20]),
    ],
)
def test_the_apex_can_be_kept(apex, numbers):
    assert choose_frames(10, 20, 6, apex=apex, keep_apex=True).tolist() == numbers


def test_the_apex_changes_nothing_unless_it_is_to_be_kept():
    assert choose_frames(10, 20, 6, apex=15).tolist() == [10, 12, 14, 16, 18, 20]


def test_frames_stay_in_order_wherever_the_apex_is():
    for offset in range(1, 30):
        for apex in range(offset + 1):
            numbers = choose_frames(0, offset, 6, apex=apex, keep_apex=True)
            assert apex in numbers
            assert (np.diff(numbers) >= 0).all()
            assert len(numbers) == 6


@pytest.mark.parametrize(
    ("onset", "offset", "n_frames", "options"),
    [
        (20, 10, 6, {}),
        (10, 20, 1, {}),
        (10, 20, 6, {"keep_apex": True}),
        (10, 20, 6, {"apex": 9, "keep_apex": True}),
        (10, 20, 6, {"apex": 21, "keep_apex": True}),
    ],
)
def test_an_impossible_choice_is_refused(onset, offset, n_frames, options):
    with pytest.raises(ValueError, match=f"{onset}\\.\\.{offset}"):
        choose_frames(onset, offset, n_frames, **options)


# --- which files ------------------------------------------------------------------------------------------


def test_files_are_found_by_the_last_number_of_their_names(tmp_path):
    names = {
        46: "img46.jpg",
        47: "reg_img47.jpg",
        5562: "006_05562.jpg",
        563800: "reg_image563800.bmp",
        355: "355.JPG",
        180: "006_0180.jpeg",
        9: "9.png",
    }
    stray = ["Thumbs.db", "notes.txt", "12.txt", ".DS_Store", "img.jpg", "355.jpg.part", "13", "14_.jpg"]
    for name in [*names.values(), *stray]:
        (tmp_path / name).write_bytes(b"")
    assert index_folder(tmp_path) == {number: tmp_path / name for number, name in names.items()}


def test_hidden_files_are_no_frames(tmp_path):
    for name in ("7.jpg", "._7.jpg", "._8.jpg"):  # macOS leaves such files on foreign disks
        (tmp_path / name).write_bytes(b"")
    assert index_folder(tmp_path) == {7: tmp_path / "7.jpg"}


def test_of_two_files_with_one_number_the_first_by_name_counts(tmp_path, monkeypatch):
    names = ["reg_img7.jpg", "img7.jpg", "7.png", "img7.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for order in (names, names[::-1]):  # a file system may list them in any order
        monkeypatch.setattr(os, "listdir", lambda _, order=order: order)
        assert index_folder(tmp_path) == {7: tmp_path / "7.png"}


def test_a_missing_folder_has_no_files(tmp_path):
    assert index_folder(tmp_path / "nowhere") == {}


# --- pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_colours_are_red_green_blue(tmp_path, suffix):
    path = write(tmp_path / f"1{suffix}", np.full((16, 16, 3), (250, 60, 0)))
    picture = decode(path, 8, "none")
    assert (picture.shape, picture.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(picture - np.array([250.0, 60, 0])).max() <= 3  # JPEG is not exact


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_grey_pictures_get_three_equal_channels(tmp_path, suffix):
    ramp = np.tile(np.arange(0, 160, 10), (16, 1))
    picture = decode(write(tmp_path / f"1{suffix}", ramp), 16, "none")
    assert picture.shape == (16, 16, 3)
    assert (picture == picture[..., :1]).all()
    assert np.abs(picture[..., 0] - ramp.astype(float)).max() <= 6


# Columns 0, 10, ..., 110. Whole: halves average 25 and 85. Central square: columns 40, 50 and 60, 70.
@pytest.mark.parametrize(("crop", "halves"), [("none", [25, 85]), ("center_square", [45, 65])])
@pytest.mark.parametrize("upright", [False, True])
def test_the_crop_is_the_whole_frame_or_its_central_square(tmp_path, crop, halves, upright):
    wide = np.tile(np.arange(0, 120, 10), (4, 1))
    path = write(tmp_path / "1.png", wide.T if upright else wide)
    picture = decode(path, 2, crop)[..., 0]
    assert (picture.T if upright else picture).tolist() == [halves, halves]


def test_an_odd_margin_is_larger_at_the_end(tmp_path):
    path = write(tmp_path / "1.png", [[10, 20, 30, 40, 50]] * 2)
    assert decode(path, 2, "center_square")[..., 0].tolist() == [[20, 30], [20, 30]]


def test_shrinking_averages_every_pixel(tmp_path):
    picture = np.zeros((8, 8))
    picture[0, 0] = picture[5, 7] = 160
    assert decode(write(tmp_path / "1.png", picture), 2, "none")[..., 0].tolist() == [[10, 0], [0, 10]]


def test_small_pictures_are_enlarged(tmp_path):
    path = write(tmp_path / "1.png", plain(7, size=3))
    assert (decode(path, 16, "none") == (7, 107, 207)).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_picture_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    path = write(tmp_path / f"1{suffix}", noise)
    whole = path.read_bytes()
    decode(path, 8, "none")
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"{path} is truncated or no image \(\d+ bytes\)"):
        decode(path, 8, "none")


def test_a_truncated_jpeg_is_refused_even_if_opencv_fills_it_with_grey(tmp_path, monkeypatch):
    path = write(tmp_path / "1.jpg", plain(7))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.full((16, 16, 3), 128, np.uint8))  # as older ones do
    decode(path, 8, "none")
    os.truncate(path, path.stat().st_size - 2)
    with pytest.raises(ValueError, match=f"{path} is truncated"):
        decode(path, 8, "none")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"<!DOCTYPE html>\n<html>404</html>"]
)
def test_what_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "1.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} is truncated or no image \({len(content)} bytes\)"):
        decode(path, 8, "none")


def test_a_picture_counts_whatever_its_ending(tmp_path):
    path = write(tmp_path / "1.png", plain(7)).rename(tmp_path / "1.jpg")
    assert (decode(path, 8, "none") == (7, 107, 207)).all()


# --- cache ------------------------------------------------------------------------------------------------


def test_the_cache_holds_the_chosen_frames_then_onset_and_apex(clips, tmp_path):
    path, numbers, problems = cached(clips, tmp_path / "cache")
    assert numbers == list(NUMBERS.values())
    assert problems == []
    array = np.load(path, mmap_mode="r")
    assert (array.shape, array.dtype) == ((3, 8, 8, 8, 3), np.uint8)
    for clip, row in zip(clips.itertuples(), array, strict=True):
        files = [clip.folder / f"{number}.png" for number in NUMBERS[clip.clip_id]]
        assert (row == [decode(file, 8, "none") for file in files]).all()


def test_the_cache_follows_the_settings(clips, tmp_path):
    settings = Frames(n_frames=2, image_size=12, keep_apex=True)
    path, numbers, _ = cached(clips, tmp_path / "cache", settings)
    assert numbers == [[15, 20, 10, 15], [37, 50, 30, 37], [1, 50, 1, 50]]
    assert np.load(path).shape == (3, 4, 12, 12, 3)


def test_the_crop_reaches_the_cache(tmp_path):
    write(tmp_path / "1.png", np.tile(np.arange(0, 240, 10), (8, 1)))
    clip = pd.DataFrame([("a", tmp_path, 1, 1, 1)], columns=["clip_id", "folder", "onset", "apex", "offset"])
    rows = [
        cached(clip, tmp_path, Frames(n_frames=2, image_size=8, crop=crop))
        for crop in ("none", "center_square")
    ]
    assert [numbers[0][0] for _, numbers, _ in rows] == [10, 80]  # mean of columns 0..2; column 8


def test_the_order_of_clips_is_the_table_s(clips, tmp_path):
    _, numbers, _ = cached(clips.iloc[[2, 0, 1]], tmp_path / "cache")
    assert numbers == [NUMBERS["c"], NUMBERS["a"], NUMBERS["b"]]


def test_nothing_is_decoded_twice(clips, tmp_path, monkeypatch):
    first = cached(clips, tmp_path / "cache")
    monkeypatch.setattr(frames, "decode", lambda *_: pytest.fail("decoded again"))
    assert cached(clips, tmp_path / "cache") == first


def test_a_changed_file_makes_a_new_cache(clips, tmp_path):
    before, *_ = cached(clips, tmp_path / "cache")
    frame = write(clips["folder"][0] / "12.png", plain(13))
    os.utime(frame, (1e9, 1e9))  # whatever the resolution of the file system's clock
    path, numbers, _ = cached(clips, tmp_path / "cache")
    assert path != before
    assert numbers[0] == [10, 13, 14, 16, 18, 20, 10, 15]


def test_a_frame_that_is_not_used_does_not_matter(clips, tmp_path):
    before, *_ = cached(clips, tmp_path / "cache")
    (clips["folder"][0] / "11.png").unlink()
    assert cached(clips, tmp_path / "cache")[0] == before


@pytest.mark.parametrize(
    "change", [{"n_frames": 5}, {"keep_apex": True}, {"image_size": 16}, {"crop": "center_square"}]
)
def test_a_changed_setting_makes_a_new_cache(clips, tmp_path, change):
    paths = {cached(clips, tmp_path / "cache", s)[0] for s in (SETTINGS, SETTINGS.model_copy(update=change))}
    assert len(paths) == 2


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped byte": _flip_a_byte,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 100),
    "no frames": lambda path: path.unlink(),
    "no record": lambda path: path.with_name("built.json").unlink(),
    "empty record": lambda path: path.with_name("built.json").write_text(""),
    "record without digest": lambda path: path.with_name("built.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_built_again(clips, tmp_path, damage):
    first = cached(clips, tmp_path / "cache")
    whole = first[0].read_bytes()
    damage(first[0])
    assert cached(clips, tmp_path / "cache") == first
    assert first[0].read_bytes() == whole
    assert sorted(file.name for file in first[0].parent.iterdir()) == ["built.json", "frames.npy"]
    assert list((tmp_path / "cache").iterdir()) == [first[0].parent]


# --- what cannot be read ----------------------------------------------------------------------------------


def _truncate(file):
    os.truncate(file, file.stat().st_size - 20)


FAULTS = {
    "missing frame": (lambda folder: (folder / "42.png").unlink(), "frame 42 missing", ""),
    "missing apex": (lambda folder: (folder / "37.png").unlink(), "frame 37 missing", ""),
    "missing folder": (shutil.rmtree, "folder missing or without frames", ""),
    "truncated frame": (lambda folder: _truncate(folder / "46.png"), "truncated or no image", "/46.png"),
}


@pytest.mark.parametrize(("fault", "words", "file"), FAULTS.values(), ids=FAULTS)
def test_a_clip_that_cannot_be_read_is_left_out_and_listed(clips, tmp_path, fault, words, file):
    fault(clips["folder"][1])
    path, numbers, problems = cached(clips, tmp_path / "cache")
    assert numbers == [NUMBERS["a"], NUMBERS["c"]]
    ((where, clip_id, problem, action),) = problems
    assert (where, clip_id, action) == (f"{clips['folder'][1]}{file}", "b", "clip left out")
    assert words in problem
    assert cached(clips, tmp_path / "cache") == (path, numbers, problems)  # also when read from the cache


def test_the_first_missing_frame_is_named(clips, tmp_path):
    for number in (20, 12, 11):  # 11 is not used
        (clips["folder"][0] / f"{number}.png").unlink()
    *_, problems = cached(clips, tmp_path / "cache")
    assert [problem[2] for problem in problems] == ["frame 12 missing"]


def test_a_table_of_unreadable_clips_gives_an_empty_array(clips, tmp_path):
    shutil.rmtree(clips["folder"][0])
    for folder, number in zip(clips["folder"][1:], (30, 1), strict=True):
        (folder / f"{number}.png").write_bytes(b"")
    path, _, problems = cache_frames(clips, SETTINGS, tmp_path / "cache")
    assert np.load(path).shape == (0, 8, 8, 8, 3)
    assert [problem[1] for problem in problems] == ["a", "b", "c"]


@pytest.mark.parametrize("error", [RuntimeError, OSError, MemoryError])
def test_an_unexpected_error_leaves_no_half_cache(clips, tmp_path, monkeypatch, error):
    whole = frames.decode

    def fail_late(path, *options):
        if path.name == "50.png":
            raise error("unexpected")
        return whole(path, *options)

    monkeypatch.setattr(frames, "decode", fail_late)
    with pytest.raises(error, match="unexpected"):
        cache_frames(clips, SETTINGS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.undo()
    assert cached(clips, tmp_path / "cache")[1] == list(NUMBERS.values())


# --- two processes ----------------------------------------------------------------------------------------


def _wait_for_the_other(barrier):
    """In a worker: have decoded everything before any process puts its cache in place."""
    decode_all = frames._decode_all

    def decode_and_wait(*arguments):
        unreadable = decode_all(*arguments)
        barrier.wait(timeout=60)
        return unreadable

    frames._decode_all = decode_and_wait


def test_two_processes_can_build_one_cache_at_once(clips, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        2, mp_context=spawn, initializer=_wait_for_the_other, initargs=(spawn.Barrier(2),)
    ) as pool:
        results = [pool.submit(cached, clips, tmp_path / "cache") for _ in range(2)]
        results = [result.result(timeout=90) for result in results]
    (path, numbers, problems), again = results
    assert again == (path, numbers, problems)
    assert numbers == list(NUMBERS.values())
    assert json.loads(path.with_name("built.json").read_text())["digest"] == frames.file_digest(path)
    assert list((tmp_path / "cache").iterdir()) == [path.parent]
