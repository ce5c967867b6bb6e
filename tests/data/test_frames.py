"""Frames: which are chosen, how files are found and decoded, and what is cached of them."""

import errno
import functools
import os
import shutil
import struct
import weakref
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hsta_lib.config import Frames, Synthetic
from hsta_lib.data import faces, frames
from hsta_lib.data.cache import Unreadable
from hsta_lib.data.flow import flow_pictures
from hsta_lib.data.frames import (
    cache_frames,
    choose_frames,
    index_folder,
    read_image,
    resize,
    why_no_frames,
)  # fmt: skip
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.data.synthetic import population
from hsta_lib.data.tracks import track_picture
from hsta_lib.files import file_digest

SETTINGS = Frames(n_frames=6, image_size=8)


def write(path, picture):
    """Write an RGB or grey picture in the format of the path's ending."""
    picture = np.asarray(picture, np.uint8)
    picture = picture[..., ::-1] if picture.ndim == 3 else picture
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def decode(path, image_size, crop):
    """One frame as `cache_frames` reads it and brings it to its size."""
    return frames._placed([path], functools.partial(resize, crop=crop), image_size, crop)[0]


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
    """Path, frame numbers by clip as the pixels tell them, clips left out and clips noted."""
    path, digest, left_out, noted = cache_frames(clips, settings, folder)
    assert digest == file_digest(path)
    return path, np.load(path)[:, :, 0, 0, 0].tolist(), left_out, noted


def one_clip(folder, onset, apex, offset):
    """A table of one clip."""
    return pd.DataFrame(
        [("a", folder, onset, apex, offset)], columns=["clip_id", "folder", "onset", "apex", "offset"]
    )


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


@st.composite
def expressions(draw):
    """Onset, apex, offset: short and long clips, numbered from 0 or from far up."""
    onset = draw(st.integers(0, 20) | st.integers(0, 10**8))
    offset = onset + draw(st.integers(0, 12) | st.integers(0, 5000))
    return onset, draw(st.integers(onset, offset)), offset


@given(expressions(), st.integers(2, 60))
def test_any_choice_is_even_and_repeats_frames_only_of_a_short_clip(expression, n_frames):
    onset, _, offset = expression
    numbers = choose_frames(onset, offset, n_frames)
    assert numbers.shape == (n_frames,)
    assert (numbers[0], numbers[-1]) == (onset, offset)
    steps = np.diff(numbers)
    assert (steps >= 0).all()
    # In whole numbers: no frame is more than half a number from its even place.
    away = (numbers - onset) * (n_frames - 1) - np.arange(n_frames) * (offset - onset)
    assert (2 * np.abs(away) <= n_frames - 1).all()
    if n_frames <= offset - onset + 1:
        assert (steps > 0).all()
    else:
        assert set(numbers) == set(range(onset, offset + 1))


@given(expressions(), st.integers(2, 60))
def test_any_apex_that_is_kept_takes_the_place_of_one_nearest_frame(expression, n_frames):
    onset, apex, offset = expression
    plain = choose_frames(onset, offset, n_frames)
    numbers = choose_frames(onset, offset, n_frames, apex=apex, keep_apex=True)
    assert apex in numbers
    assert numbers.shape == (n_frames,)
    assert (np.diff(numbers) >= 0).all()
    assert len(set(numbers)) == len(set(plain))
    (changed,) = np.nonzero(numbers != plain)
    assert len(changed) == (apex not in plain)
    assert (np.abs(plain[changed] - apex) == np.abs(plain - apex).min()).all()
    assert {onset, offset} - set(numbers) <= set(plain[changed])


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
        12: "12_cropped.jpg",
        13: "frame13_aligned.PNG",
        1: "img1(1).jpg",
        2: "img2 (1).jpg",
        14: "14_.tif",
        15: "15.webp",
    }
    stray = ["Thumbs.db", "notes.txt", "12.txt", ".DS_Store", "img.jpg", "355.jpg.part", "13"]
    for name in [*names.values(), *stray]:
        (tmp_path / name).write_bytes(b"")
    assert index_folder(tmp_path) == {number: tmp_path / name for number, name in names.items()}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("7.jpg", "._7.jpg", "._8.jpg"), {7: "7.jpg"}),  # macOS leaves such files on foreign disks
        # As Windows renames many files at once: a number in brackets counts where nothing else differs.
        (("film3 (1).jpg", "film3 (2).jpg"), {1: "film3 (1).jpg", 2: "film3 (2).jpg"}),
        # One series, as the numbers tell them apart.
        (
            ("take2_img1.jpg", "TAKE2_IMG2.JPG", "3.png"),
            {1: "take2_img1.jpg", 2: "TAKE2_IMG2.JPG", 3: "3.png"},
        ),
    ],
)
def test_hidden_files_are_no_frames_and_names_may_differ_in_any_one_number(tmp_path, names, found):
    for name in names:
        (tmp_path / name).touch()
    assert index_folder(tmp_path) == {number: tmp_path / name for number, name in found.items()}


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (("flow_x_00001.jpg", "img_00001.jpg"), 1),
        (("camA_1.jpg", "camB_1.jpg"), 1),
        (("007.jpg", "7.jpg"), 7),
        (("7.jpg", "7.png"), 7),
        (("img7(1).jpg", "img7.jpg"), 7),
        (("img1_crop224.jpg", "img2_crop224.jpg"), 224),
    ],
)
def test_two_series_in_one_folder_are_refused(clips, tmp_path, names, number):
    folder = clips["folder"][0]
    for name in names:
        write(folder / name, plain(10))
    assert index_folder(folder) == {}
    _, numbers, left_out, _ = cached(clips, tmp_path / "cache")
    assert numbers == [NUMBERS["b"], NUMBERS["c"]]
    [(where, clip_id, problem, action)] = left_out
    assert (where, clip_id, action) == (str(folder), "a", "clip left out")
    assert problem.startswith(f"{names[0]} and {names[1]} both have the number {number}, the last of their")


def test_a_folder_without_frames_is_shown_by_one_of_its_files(tmp_path):
    (tmp_path / "film.avi").touch()
    (tmp_path / ".DS_Store").touch()
    assert why_no_frames(tmp_path) == (
        "folder without frames: it holds film.avi; frames have a number and end in .jpg, .jpeg, "
        ".bmp, .png, .tif, .tiff, .webp"
    )


def test_what_is_no_file_is_no_frame(tmp_path):
    (tmp_path / "5.jpg").mkdir()
    (tmp_path / "6.jpg").symlink_to("nowhere")
    (tmp_path / "7.jpg").symlink_to("7.jpg")
    os.mkfifo(tmp_path / "8.jpg")
    write(tmp_path / "frame.png", plain(9))
    (tmp_path / "9.png").symlink_to("frame.png")
    assert index_folder(tmp_path) == {9: tmp_path / "9.png"}


@pytest.mark.parametrize("folder", [None, float("nan"), pd.NA, "", "loop", "file", "nowhere"])
def test_where_there_is_no_folder_there_are_no_files(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)  # which the empty path would mean
    for file in ("1.jpg", "file"):
        (tmp_path / file).touch()
    (tmp_path / "loop").symlink_to("loop")
    assert index_folder(folder) == {}


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


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4)])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_of_16_bits_the_upper_8_of_those_used_count(tmp_path, shape, bits):
    deep = np.random.default_rng(0).integers(0, 1 << bits, shape, np.uint16)
    deep[0, 0] = (1 << bits) - 1
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    colours = (deep >> (bits - 8)).reshape(3, 5, -1)[..., :3][..., ::-1]
    assert (read_image(tmp_path / "1.png") == np.broadcast_to(colours, (3, 5, 3))).all()


def test_pixels_that_are_no_whole_numbers_are_refused(tmp_path):
    (tmp_path / "1.tif").write_bytes(cv2.imencode(".tif", np.zeros((3, 5), np.float32))[1].tobytes())
    with pytest.raises(Unreadable, match="of float32 pixels, not of 8 or 16 bits"):
        read_image(tmp_path / "1.tif")


@pytest.mark.parametrize(("mode", "ending"), [("P", "png"), ("RGBA", "png"), ("CMYK", "jpeg"), ("P", "tiff")])
def test_palettes_alpha_and_cmyk_keep_their_colour(tmp_path, mode, ending):
    picture = Image.new("RGB", (16, 16), (204, 51, 0)).convert(mode)  # a colour of Pillow's palette
    picture.save(tmp_path / f"1.{ending}")
    assert np.abs(read_image(tmp_path / f"1.{ending}") - np.array([204.0, 51, 0])).max() <= 3


def test_a_frame_is_read_at_its_size_then_resized(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (29, 37, 3)).astype(np.uint8)
    path = write(tmp_path / "1.png", noise)
    assert (read_image(path) == noise).all()
    for crop in ("none", "center_square"):
        assert (decode(path, 11, crop) == resize(noise, 11, crop)).all()


# Columns 0, 10, ..., 110. Whole: halves average 25 and 85. Central square: columns 40, 50 and 60, 70.
@pytest.mark.parametrize(("crop", "halves"), [("none", [25, 85]), ("center_square", [45, 65])])
@pytest.mark.parametrize("upright", [False, True])
def test_the_crop_is_the_whole_frame_or_its_central_square(tmp_path, crop, halves, upright):
    wide = np.tile(np.arange(0, 120, 10), (4, 1))
    path = write(tmp_path / "1.png", wide.T if upright else wide)
    picture = decode(path, 2, crop)[..., 0]
    assert (picture.T if upright else picture).tolist() == [halves, halves]


@pytest.mark.parametrize(
    ("picture", "size", "crop", "expected"),
    [
        # An odd margin is larger at the end.
        ([[10, 20, 30, 40, 50]] * 2, 2, "center_square", [[20, 30]] * 2),
        (160 * np.eye(4)[:, [0, 2, 1, 3]], 2, "none", [[40, 40], [40, 40]]),  # every pixel is averaged
        (np.full((3, 3), 7), 16, "none", [[7] * 16] * 16),
    ],
)
def test_pixels_of_a_resized_picture_by_hand(tmp_path, picture, size, crop, expected):
    assert decode(write(tmp_path / "1.png", picture), size, crop)[..., 0].tolist() == expected


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


def test_a_jpeg_is_whole_whatever_follows_its_end(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for progressive in (False, True):
        Image.fromarray(noise).save(tmp_path / "1.jpg", progressive=progressive, restart_marker_blocks=2)
        whole = (tmp_path / "1.jpg").read_bytes()
        expected = read_image(tmp_path / "1.jpg")
        for tail in (bytes(1000), b"\xff\xd8 a film of the moment" + bytes(70), b"\r\n"):
            (tmp_path / "1.jpg").write_bytes(whole + tail)
            assert (read_image(tmp_path / "1.jpg") == expected).all()
        (tmp_path / "1.jpg").write_bytes(whole[:-500])
        with pytest.raises(Unreadable, match="truncated"):
            read_image(tmp_path / "1.jpg")


def test_the_end_of_a_thumbnail_is_not_that_of_the_jpeg(tmp_path):
    small, exif = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), b"Exif\0\0"
    whole = write(tmp_path / "1.jpg", plain(7)).read_bytes()
    head = b"\xff\xe1" + (len(exif + small) + 2).to_bytes(2) + exif + small
    (tmp_path / "1.jpg").write_bytes(whole[:2] + head + whole[2:])
    assert read_image(tmp_path / "1.jpg").shape == (16, 16, 3)
    (tmp_path / "1.jpg").write_bytes(whole[:2] + head)
    with pytest.raises(Unreadable, match="truncated"):
        read_image(tmp_path / "1.jpg")


def png_that_claims(width, height):
    """A PNG file whose header, checksum included, tells a size that the pixels behind it do not have."""
    whole = cv2.imencode(".png", np.zeros((3, 5), np.uint8))[1].tobytes()
    head = whole[12:16] + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:]


NO_PICTURES = {
    "empty": b"",
    "start of a JPEG": b"\xff\xd8",
    "JPEG of nothing": b"\xff\xd8\xff\xd9",
    "HTML": b"<!DOCTYPE html>\n<html>404</html>",
    "PNG larger than it is": png_that_claims(5, 300),
    "PNG too large": png_that_claims(100_000, 100_000),
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
@pytest.mark.parametrize("read", [read_image, lambda path: decode(path, 8, "none")])
def test_what_is_no_picture_is_refused(tmp_path, content, read):
    path = tmp_path / "1.jpg"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=rf"{path} is truncated or no image \({len(content)} bytes\)"):
        read(path)


def test_a_picture_counts_whatever_its_ending(tmp_path):
    path = write(tmp_path / "1.png", plain(7)).rename(tmp_path / "1.jpg")
    assert (decode(path, 8, "none") == (7, 107, 207)).all()


# --- large pictures ---------------------------------------------------------------------------------------


def waves(height, width):
    """Gentle waves of another length and phase in each channel: no pixel is like its mirror image."""
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / (31 + 6 * c)) * np.cos(y / (23 + 8 * c) + c) for c in range(3)]
    return np.uint8(128 + 100 * np.stack(channels, -1) * (x / width)[..., None])


@pytest.fixture
def flags(monkeypatch):
    """Flags OpenCV was asked to decode with."""
    asked, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flag: (asked.append(flag), imdecode(data, flag))[1])
    return asked


@pytest.mark.parametrize(
    ("height", "width", "wanted", "scale"),
    [
        (720, 1280, 224, 2),  # 360 is 1.6 times 224
        (1280, 720, 224, 2),
        (720, 1280, 241, 1),  # 360 is less than 1.5 times 241
        (720, 1280, 120, 4),
        (720, 1280, 60, 8),
        (720, 1280, 8, 8),
        (514, 518, 8, 2),  # neither 4 nor 8 divide both
        (600, 513, 8, 1),
        (600, 520, 401, 1),
        (512, 1280, 8, 1),  # not large
    ],
)
def test_a_large_jpeg_is_decoded_smaller(tmp_path, flags, height, width, wanted, scale):
    decode(write(tmp_path / "1.jpg", waves(height, width)), wanted, "none")
    assert flags == [frames._SCALES[scale]]


@pytest.mark.parametrize("crop", ["none", "center_square"])
@pytest.mark.parametrize("wanted", [8, 60, 120, 200])
def test_a_smaller_decoding_gives_nearly_the_same_pixels(tmp_path, crop, wanted):
    path = write(tmp_path / "1.jpg", waves(600, 808))
    exact = resize(read_image(path), wanted, crop).astype(int)
    difference = np.abs(decode(path, wanted, crop) - exact)
    # Seen: 0.34 and 2. Shifted by one pixel of those wanted, the pictures differ by 1.7 or more, and by 10.
    assert difference.mean() < 0.7
    assert difference.max() <= 5


def test_other_formats_and_pictures_read_for_their_own_sake_are_decoded_whole(tmp_path, flags):
    assert read_image(write(tmp_path / "1.jpg", waves(720, 1280))).shape == (720, 1280, 3)
    path = write(tmp_path / "1.png", waves(720, 1280))
    assert (decode(path, 224, "none") == resize(waves(720, 1280), 224, "none")).all()
    assert flags == [frames._SCALES[1]] * 2


def test_a_large_truncated_jpeg_is_refused(tmp_path):
    path = write(tmp_path / "1.jpg", waves(720, 1280))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(Unreadable, match="truncated"):
        decode(path, 224, "none")


# --- cache ------------------------------------------------------------------------------------------------


def test_the_cache_holds_the_chosen_frames_then_onset_and_apex(clips, tmp_path):
    clips = clips.iloc[[2, 0, 1]]  # whose order is kept
    path, numbers, left_out, noted = cached(clips, tmp_path / "cache")
    assert numbers == [NUMBERS[clip_id] for clip_id in "cab"]
    assert (left_out, noted) == ([], [])
    array = np.load(path, mmap_mode="r")
    assert (array.shape, array.dtype) == ((3, 8, 8, 8, 3), np.uint8)
    for clip, row in zip(clips.itertuples(), array, strict=True):
        files = [clip.folder / f"{number}.png" for number in NUMBERS[clip.clip_id]]
        assert (row == [decode(file, 8, "none") for file in files]).all()


def test_the_cache_follows_the_settings(clips, tmp_path):
    settings = Frames(n_frames=2, image_size=12, keep_apex=True)
    path, numbers, *_ = cached(clips, tmp_path / "cache", settings)
    assert numbers == [[15, 20, 10, 15], [37, 50, 30, 37], [1, 50, 1, 50]]
    assert np.load(path).shape == (3, 4, 12, 12, 3)


def test_the_crop_reaches_the_cache(tmp_path):
    write(tmp_path / "1.png", np.tile(np.arange(0, 240, 10), (8, 1)))
    settings = [Frames(n_frames=2, image_size=8, crop=crop) for crop in ("none", "center_square")]
    rows = [cached(one_clip(tmp_path, 1, 1, 1), tmp_path, each) for each in settings]
    assert [numbers[0][0] for _, numbers, *_ in rows] == [10, 80]  # mean of columns 0..2; column 8


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the frames that are decoded, in no order."""
    numbers, read = [], frames._read
    monkeypatch.setattr(
        frames, "_read", lambda path, *options: (numbers.append(int(path.stem)), read(path, *options))[1]
    )
    return numbers


def test_a_frame_is_decoded_once(clips, tmp_path, decoded):
    first = cached(clips, tmp_path / "cache")
    assert sorted(decoded) == sorted(n for numbers in NUMBERS.values() for n in set(numbers))
    decoded.clear()
    assert cached(clips, tmp_path / "cache") == first
    assert decoded == []


def test_a_folder_is_listed_once(clips, tmp_path, monkeypatch):
    listed, index = [], frames._paths_by_number
    monkeypatch.setattr(frames, "_paths_by_number", lambda folder: (listed.append(folder), index(folder))[1])
    cached(pd.concat([clips, clips.assign(clip_id=["d", "e", "f"])]), tmp_path / "cache")
    assert listed == clips["folder"].tolist()


class Names(dict):
    """A listed folder that can be watched: a plain dict has neither weak references nor a hash."""

    __hash__ = object.__hash__


def test_the_names_of_a_few_folders_are_kept_at_a_time(clips, monkeypatch):
    listed, alive, index = weakref.WeakSet(), [], frames._paths_by_number

    def watched(folder):
        names = Names(index(clips["folder"][0]))
        listed.add(names)
        alive.append(len(listed))
        return names

    monkeypatch.setattr(frames, "_paths_by_number", watched)
    many = pd.concat([clips[:1]] * 211).assign(folder=[f"folder {n}" for n in range(211)])
    chosen, *_ = frames._choose_files(many, SETTINGS)
    assert len(chosen) == len(alive) == 211
    assert max(alive) < 50


def test_a_changed_file_makes_a_new_cache_unless_it_is_not_used(clips, tmp_path):
    before, *_ = cached(clips, tmp_path / "cache")
    (clips["folder"][0] / "11.png").unlink()
    assert cached(clips, tmp_path / "cache")[0] == before
    frame = write(clips["folder"][0] / "12.png", plain(13))
    os.utime(frame, (1e9, 1e9))  # whatever the resolution of the file system's clock
    path, numbers, *_ = cached(clips, tmp_path / "cache")
    assert path != before
    assert numbers[0] == [10, 13, 14, 16, 18, 20, 10, 15]


@pytest.mark.parametrize(
    "change", [{"n_frames": 5}, {"keep_apex": True}, {"image_size": 16}, {"crop": "center_square"}]
)
def test_a_changed_setting_makes_a_new_cache(clips, tmp_path, change):
    paths = {cached(clips, tmp_path / "cache", s)[0] for s in (SETTINGS, SETTINGS.model_copy(update=change))}
    assert len(paths) == 2


# --- missing frames ---------------------------------------------------------------------------------------


def remove(folder, *numbers):
    for number in numbers:
        (folder / f"{number}.png").unlink()


# Of clip a: frames 10..20, chosen 10, 12, 14, 16, 18, 20, then onset 10 and apex 15.
@pytest.mark.parametrize(
    ("missing", "numbers"),
    [
        ([12], [10, 11, 14, 16, 18, 20, 10, 15]),  # 11 and 13 are as near: the earlier
        ([10, 11, 12, 13, 14], [15, 15, 15, 16, 18, 20, 15, 15]),  # 6 of 11 are there
    ],
)
def test_the_nearest_frame_stands_in_for_a_missing_one(clips, tmp_path, missing, numbers):
    folder = clips["folder"][0]
    for outside in (9, 21):  # as near to onset and offset, but outside of the clip
        write(folder / f"{outside}.png", plain(outside))
    remove(folder, *missing)
    first = cached(clips, tmp_path / "cache")
    _, found, left_out, noted = first
    assert (found[0], found[1:]) == (numbers, list(NUMBERS.values())[1:])
    assert left_out == []
    assert noted == [(str(folder), "a", f"{len(missing)} of 11 frames missing", "nearest frames used")]
    assert cached(clips, tmp_path / "cache") == first


def test_a_frame_of_no_bytes_is_a_missing_one(clips, tmp_path):
    for number in (12, 15):
        os.truncate(clips["folder"][0] / f"{number}.png", 0)
    _, numbers, left_out, noted = cached(clips, tmp_path / "cache")
    assert numbers[0] == [10, 11, 14, 16, 18, 20, 10, 14]
    assert (left_out, [row[2] for row in noted]) == ([], ["2 of 11 frames missing"])


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("flow_x_{}.png", True), ("{}_dark.png", True), ("00{}.PNG", False), ("{} (1).png", False)],
)
def test_two_series_whose_numbers_do_not_overlap_are_told(clips, tmp_path, name, is_told):
    folder = clips["folder"][0]
    for number in range(17, 21):
        (folder / f"{number}.png").rename(folder / name.format(number))
    _, numbers, left_out, noted = cached(clips, tmp_path / "cache")
    assert (numbers, left_out) == (list(NUMBERS.values()), [])
    told = f"frames of 2 series, 10.png and {name.format(18)}", "taken as one"
    assert noted == [(str(folder), "a", *told)] * is_told


@st.composite
def clips_with_gaps(draw):
    """A clip, the frames wanted of it, and those there: at least half of the clip's, and some outside."""
    onset = draw(st.integers(0, 300))
    offset = onset + draw(st.integers(0, 40))
    apex = draw(st.integers(onset, offset))
    whole = range(onset, offset + 1)
    missing = draw(st.sets(st.sampled_from(whole), max_size=len(whole) // 2))
    around = draw(st.sets(st.integers(onset - 5, onset - 1) | st.integers(offset + 1, offset + 5)))
    keep_apex = draw(st.booleans())
    video = choose_frames(onset, offset, draw(st.integers(2, 20)), apex=apex, keep_apex=keep_apex).tolist()
    clip = SimpleNamespace(folder="nowhere", onset=onset, apex=apex, offset=offset)
    return clip, [*video, onset, apex], sorted({*whole} - missing), around


@given(clips_with_gaps())
def test_whichever_frames_are_missing_the_nearest_of_the_clip_stand_in(clip_with_gaps):
    clip, wanted, there, around = clip_with_gaps
    files = {number: Path(f"{number}.jpg") for number in {*there, *around}}
    paths, problem = frames._files_of(clip, wanted, files)
    found = [int(path.stem) for path in paths]
    assert len(found) == len(wanted)
    assert found[:-2] == sorted(found[:-2])
    for number, stand_in in zip(wanted, found, strict=True):
        assert clip.onset <= stand_in <= clip.offset
        assert stand_in == number or number not in there
        distances = [abs(other - number) for other in there]
        assert there[distances.index(min(distances))] == stand_in  # of two as near, the earlier
    n_frames = clip.offset - clip.onset + 1
    complete = set(wanted) <= set(there)
    assert problem == ("" if complete else f"{n_frames - len(there)} of {n_frames} frames missing")


@given(clips_with_gaps(), st.data())
def test_with_more_than_half_missing_a_clip_is_left_out_unless_all_it_needs_is_there(clip_with_gaps, data):
    clip, wanted, there, around = clip_with_gaps
    n_frames = clip.offset - clip.onset + 1
    most = (n_frames - 1) // 2
    few = set(data.draw(st.permutations(there))[:most])
    files = {number: Path(f"{number}.jpg") for number in few | around}
    paths, problem = frames._files_of(clip, wanted, files)
    if set(wanted) <= few:
        assert ([int(path.stem) for path in paths], problem) == (wanted, "")
    else:
        missing = f"{n_frames - len(few)} of {n_frames} frames missing"
        assert (paths, problem) == ([], missing if files else "folder missing")


# --- what cannot be read ----------------------------------------------------------------------------------


def _truncate(file):
    os.truncate(file, file.stat().st_size - 20)


def _make_loop(folder):
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def _empty(folder):
    remove(folder, *range(30, 51))


FAULTS = {
    "missing folder": (shutil.rmtree, "folder missing", ""),
    "folder that is a loop": (_make_loop, "folder cannot be listed (Too many levels of symbolic links)", ""),
    "folder without frames": (_empty, "folder without frames", ""),
    "all frames elsewhere": (
        lambda folder: (_empty(folder), write(folder / "51.png", plain(51))),
        "21 of 21 frames missing",
        "",
    ),
    "truncated frame": (lambda folder: _truncate(folder / "46.png"), "truncated or no image", "/46.png"),
    "frame of no picture": (
        lambda folder: (folder / "37.png").write_text("404"),
        "truncated or no image (3 bytes)",
        "/37.png",
    ),
    "grey frame among colour": (
        lambda folder: write(folder / "34.png", plain(34)[..., 0]),
        "16 x 16 px, grey, but 30.png is 16 x 16 px",
        "/34.png",
    ),
    "frame of 12 bits": (
        lambda folder: cv2.imwrite(str(folder / "34.png"), np.full((16, 16, 3), 4000, np.uint16)),
        "16 x 16 px, 12 bits, but 30.png is 16 x 16 px",
        "/34.png",
    ),
    "frame of another size": (
        lambda folder: write(folder / "34.png", plain(34)[:, :13]),
        "13 x 16 px, but 30.png is 16 x 16 px",
        "/34.png",
    ),
}


@pytest.mark.parametrize(("fault", "words", "file"), FAULTS.values(), ids=FAULTS)
def test_a_clip_that_cannot_be_read_is_left_out_and_listed(clips, tmp_path, fault, words, file):
    fault(clips["folder"][1])
    first = cached(clips, tmp_path / "cache")
    _, numbers, left_out, noted = first
    assert numbers == [NUMBERS["a"], NUMBERS["c"]]
    ((where, clip_id, problem, action),) = left_out
    assert (where, clip_id, action) == (f"{clips['folder'][1]}{file}", "b", "clip left out")
    assert problem.startswith(words)
    assert noted == []
    assert cached(clips, tmp_path / "cache") == first  # also when read from the cache


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_clip_without_a_folder_is_left_out(clips, tmp_path, nothing):
    clips["folder"] = [*clips["folder"][:2], nothing]
    _, numbers, left_out, _ = cached(clips, tmp_path / "cache")
    assert numbers == [NUMBERS["a"], NUMBERS["b"]]
    assert left_out == [("annotation sheet", "c", "folder missing", "clip left out")]


def test_a_clip_that_is_left_out_is_not_also_said_to_be_used(clips, tmp_path):
    remove(clips["folder"][1], 34)
    _truncate(clips["folder"][1] / "46.png")
    *_, left_out, noted = cached(clips, tmp_path / "cache")
    assert ([row[1] for row in left_out], noted) == (["b"], [])


def test_large_frames_of_another_size_are_found_although_decoded_alike(tmp_path):
    for number, size in enumerate([(1200, 1040), (600, 520)], start=1):  # both decoded at 300 x 260
        write(tmp_path / f"{number}.jpg", waves(*size))
    clip = one_clip(tmp_path, 1, 1, 2)
    settings = Frames(n_frames=2, image_size=150)
    *_, left_out, _ = cache_frames(clip, settings, tmp_path)
    assert [row[2] for row in left_out] == ["520 x 600 px, but 1.jpg is 1040 x 1200 px"]


@pytest.mark.parametrize("large", [40, 640])
def test_a_frame_that_its_exif_data_turn_is_turned(tmp_path, large):
    ex = Image.Exif()
    ex[0x112] = 6  # a quarter turn
    for number, exif in [(1, None), (2, ex)]:
        picture = Image.fromarray(np.resize(waves(40, 60), (large, 2 * large, 3)))
        picture.save(tmp_path / f"{number}.jpg", **({"exif": exif} if exif else {}))
    assert read_image(tmp_path / "2.jpg").shape == (2 * large, large, 3)
    clip = one_clip(tmp_path, 1, 1, 2)
    *_, left_out, _ = cache_frames(clip, Frames(n_frames=2, image_size=8), tmp_path / "cache")
    turned = f"{large} x {2 * large} px, but 1.jpg is {2 * large} x {large} px"
    assert left_out == [(str(tmp_path / "2.jpg"), "a", turned, "clip left out")]


def test_a_table_of_unreadable_clips_gives_an_empty_array(clips, tmp_path):
    shutil.rmtree(clips["folder"][0])
    for folder, number in zip(clips["folder"][1:], (30, 1), strict=True):
        (folder / f"{number}.png").write_bytes(b"no image")
    path, _, left_out, _ = cache_frames(clips, SETTINGS, tmp_path / "cache")
    assert np.load(path, mmap_mode="c").shape == (0, 8, 8, 8, 3)
    assert [problem[1] for problem in left_out] == ["a", "b", "c"]


def test_an_unexpected_error_leaves_nothing_that_is_read(clips, tmp_path, monkeypatch):
    read = frames._read

    def fail_late(path, *options):
        if path.name == "50.png":
            raise OSError("the disk went away")
        return read(path, *options)

    monkeypatch.setattr(frames, "_read", fail_late)
    with pytest.raises(OSError, match="the disk went away"):
        cache_frames(clips, SETTINGS, tmp_path / "cache")
    monkeypatch.undo()
    assert cached(clips, tmp_path / "cache")[1] == list(NUMBERS.values())


# --- permissions ------------------------------------------------------------------------------------------


@pytest.fixture
def forbid(monkeypatch):
    """Function that takes the right to read a path, as far as the library can see: root always may."""

    def forbid(forbidden):
        def refusing(function):
            def call(path, *arguments, **options):
                if not isinstance(path, int) and Path(path) == forbidden:  # rmtree scans open folders
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
                return function(path, *arguments, **options)

            return call

        access = os.access
        monkeypatch.setattr(Path, "read_bytes", refusing(Path.read_bytes))
        monkeypatch.setattr(os, "scandir", refusing(os.scandir))
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != forbidden and access(path, mode))

    return forbid


def test_a_frame_that_may_not_be_read_is_named_and_used_once_it_may(clips, tmp_path, forbid, monkeypatch):
    forbid(clips["folder"][1] / "42.png")
    _, numbers, left_out, _ = cached(clips, tmp_path / "cache")
    assert numbers == [NUMBERS["a"], NUMBERS["c"]]
    where = str(clips["folder"][1] / "42.png")
    assert left_out == [(where, "b", "not readable (Permission denied)", "clip left out")]
    monkeypatch.undo()
    assert cached(clips, tmp_path / "cache")[1:] == (list(NUMBERS.values()), [], [])


def test_a_folder_that_may_not_be_listed_is_named(clips, tmp_path, forbid):
    forbid(clips["folder"][1])
    *_, left_out, _ = cached(clips, tmp_path / "cache")
    assert [row[2] for row in left_out] == ["folder cannot be listed (Permission denied)"]


# --- faces ------------------------------------------------------------------------------------------------


def face_clips(folder, n_clips=2):
    """Clips of procedural faces that move to the right by 4 px a frame, on disk."""
    spec = Synthetic(generator_seed=1, n_subjects=2, n_micro=10, frame_size=128)
    rows = []
    for number, clip_id in enumerate(population.sample_clips(spec)["clip_id"][:n_clips]):
        face = synthetic.clip_frames(spec, clip_id)[0]
        (folder / str(number)).mkdir(parents=True)
        for step in range(3):
            moved = np.roll(face, 4 * step, axis=1)
            cv2.imwrite(str(folder / str(number) / f"{step}.png"), cv2.cvtColor(moved, cv2.COLOR_RGB2BGR))
        rows.append([clip_id, folder / str(number), 0, 1, 2])
    return pd.DataFrame(rows, columns=["clip_id", "folder", "onset", "apex", "offset"])


def test_faces_are_aligned_on_the_onset_and_keep_their_motion(tmp_path):
    clips = face_clips(tmp_path)
    settings = Frames(n_frames=3, image_size=67, crop="face")
    path, _, left_out, _ = frames.cache_frames(clips, settings, tmp_path / "cache")
    assert left_out == []
    rows = np.load(path).astype(float)
    assert (rows[:, 0] == rows[:, -2]).all()  # both are the onset
    face = faces.find_face(frames.read_image(tmp_path / "0" / "0.png"))
    matrix = faces.alignment(face, 67)
    step = 4 * matrix[0, 0]
    shifted = cv2.warpAffine(rows[0, 0], np.float64([[1, 0, step], [0, 1, matrix[1, 0] * 4]]), (67, 67))
    inside = (slice(14, -14),) * 2
    assert np.abs(rows[0, 1][inside] - shifted[inside]).mean() < 3
    assert np.abs(rows[0, 1][inside] - rows[0, 0][inside]).mean() > 6


def test_a_clip_without_a_face_is_left_out_and_said(tmp_path):
    clips = face_clips(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "1" / "0.png"), noise)
    settings = Frames(n_frames=3, image_size=31, crop="face")
    path, _, left_out, _ = frames.cache_frames(clips, settings, tmp_path / "cache")
    assert len(np.load(path)) == 1
    assert [(row[1], row[2]) for row in left_out] == [
        (clips["clip_id"][1], "without a face that can be found")
    ]


def test_given_boxes_are_used_and_their_lack_is_said(tmp_path):
    clips = face_clips(tmp_path).assign(face=[faces.Face((30, 40, 50, 50)), None])
    settings = Frames(n_frames=3, image_size=31, crop="boxes")
    path, _, left_out, _ = frames.cache_frames(clips, settings, tmp_path / "cache")
    image = frames.read_image(tmp_path / "0" / "0.png")
    expected = faces.align(image, faces.alignment(clips["face"][0], 31), 31)
    assert (np.load(path)[0, 0] == expected).all()
    assert [(row[1], row[2]) for row in left_out] == [
        (clips["clip_id"][1], "without a box in face_boxes.csv")
    ]
    outside = clips.assign(face=[faces.Face((500, 40, 50, 50)), None])
    _, _, left_out, _ = cache_frames(outside, settings, tmp_path / "cache")
    assert left_out[0][2] == "128 x 128 px, its face box 500 40 50 50 lies outside"
    moved = clips.assign(face=[faces.Face((31, 40, 50, 50)), None])
    assert frames.cache_frames(moved, settings, tmp_path / "cache")[0] != path


# --- frames to be drawn from, tracks and flow -------------------------------------------------------------


def test_frames_to_be_drawn_from_are_all_of_the_clip_51_at_most(tmp_path):
    (tmp_path / "long").mkdir()
    for number in range(3, 73):
        write(tmp_path / "long" / f"{number}.png", plain(number))
    rows = [["short", tmp_path / "long", 10, 11, 13], ["long", tmp_path / "long", 3, 70, 72]]
    clips = pd.DataFrame(rows, columns=["clip_id", "folder", "onset", "apex", "offset"])
    settings = Frames(n_frames=6, image_size=8, drawing="random")
    path, _, left_out, noted = cache_frames(clips, settings, tmp_path / "cache")
    assert left_out == noted == []
    numbers = np.load(path)[..., 0, 0, 0]
    assert numbers[0].tolist() == [10, 11, 12] + [13] * 48 + [10, 11]
    assert numbers[1].tolist() == [*range(3, 54), 3, 70]  # the apex is not cut off with the rest


def test_tracks_take_the_place_of_onset_and_apex(tmp_path):
    clips = face_clips(tmp_path, n_clips=1)
    settings = Frames(n_frames=3, image_size=128, special="tracks")
    path, *_ = cache_frames(clips, settings, tmp_path / "cache")
    images = [read_image(tmp_path / "0" / f"{number}.png") for number in range(3)]
    row = np.load(path)[0]
    assert (row[:3] == images).all()
    assert (row[3] == track_picture(images[0], images[1])).all()
    assert (row[4] == track_picture(images[1], images[2])).all()
    assert row[3].any()


@pytest.mark.parametrize(("image_size", "pictured"), [(31, 224), (227, 227)])
def test_flow_takes_the_place_of_onset_and_apex_and_is_that_of_larger_frames(tmp_path, image_size, pictured):
    clips = face_clips(tmp_path, n_clips=1)
    settings = Frames(n_frames=3, image_size=image_size, special="flow", crop="center_square")
    path, *_ = cache_frames(clips, settings, tmp_path / "cache")
    row = np.load(path)[0]
    paths = [tmp_path / "0" / f"{number}.png" for number in range(3)]
    assert (row[:3] == [decode(path, image_size, "center_square") for path in paths]).all()
    larger = [decode(path, pictured, "center_square") for path in paths]
    assert (row[3:] == flow_pictures(*larger, image_size)).all()
    assert (np.median(row[3:, ..., 0], axis=(1, 2)) > 128 + 80).all()  # to the right, there and back


def test_the_flow_of_a_large_jpeg_is_not_that_of_its_smallest_decoding(tmp_path):
    clips = face_clips(tmp_path, n_clips=1)
    for number in range(3):
        image = read_image(tmp_path / "0" / f"{number}.png")
        write(tmp_path / "0" / f"{number}.jpg", cv2.resize(image, (896, 896)))
        (tmp_path / "0" / f"{number}.png").unlink()
    path, *_ = cache_frames(clips, Frames(n_frames=3, image_size=31, special="flow"), tmp_path / "cache")
    larger = [decode(tmp_path / "0" / f"{number}.jpg", 224, "none") for number in range(3)]
    assert (np.load(path)[0, 3:] == flow_pictures(*larger, 31)).all()


def test_flow_is_that_of_aligned_faces(tmp_path):
    clips = face_clips(tmp_path, n_clips=1)
    settings = Frames(n_frames=3, image_size=31, special="flow", crop="face")
    path, *_ = cache_frames(clips, settings, tmp_path / "cache")
    images = [read_image(tmp_path / "0" / f"{number}.png") for number in range(3)]
    face = faces.find_face(images[0])
    row = np.load(path)[0]
    assert (row[:3] == [faces.align(image, faces.alignment(face, 31), 31) for image in images]).all()
    larger = [faces.align(image, faces.alignment(face, 224), 224) for image in images]
    assert (row[3:] == flow_pictures(*larger, 31)).all()


@pytest.mark.parametrize("special", ["tracks", "flow"])
def test_pictures_of_a_clip_whose_apex_is_its_onset(tmp_path, special):
    clips = face_clips(tmp_path, n_clips=1).assign(apex=0)
    settings = Frames(n_frames=3, image_size=31, special=special)
    path, _, left_out, _ = cache_frames(clips, settings, tmp_path / "cache")
    there, back = np.load(path)[0, 3:]
    assert left_out == []
    assert (there != back).any()
    assert (there == 128).all() == (special == "flow")
