"""Faces: found where they are, brought to one place by one transform per clip, without false detail."""

import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hsta_lib.config import Synthetic
from hsta_lib.data import faces
from hsta_lib.data.faces import BOX_MARGIN, EYE_X, EYE_Y, Face, align, alignment, find_face, given_boxes
from hsta_lib.data.synthetic import render
from hsta_lib.data.synthetic.clips import _find, clip_frames
from hsta_lib.data.synthetic.population import sample_clips

SPEC = Synthetic(generator_seed=2, n_subjects=7, n_micro=23)
SIZE = 97


@pytest.fixture(scope="module")
def clips():
    """Clips of three people: id and frames."""
    rows = sample_clips(SPEC).drop_duplicates("subject_id").head(3)
    return [(clip_id, clip_frames(SPEC, clip_id)) for clip_id in rows["clip_id"]]


def true_eyes(clip_id):
    """Centres of the two eyes in the onset frame, px; the one on the left first."""
    clip = _find(SPEC, clip_id)
    to_frame = cv2.invertAffineTransform(render.to_head(clip.poses()[0], SPEC.frame_size))
    centre, width = (SPEC.frame_size - 1) / 2, render.FACE_WIDTH * SPEC.frame_size
    return [
        to_frame @ (centre + side * clip.face.eye_x * width, centre + clip.face.eye_y * width, 1)
        for side in (-1, 1)
    ]


def moved(image, degrees, right, down):
    """The image turned about its centre and shifted."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    matrix[:, 2] += right, down
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def to(matrix, point):
    return matrix[:, :2] @ point + matrix[:, 2]


# --- finding ----------------------------------------------------------------------------------------------


def test_the_eyes_of_procedural_faces_are_found(clips):
    for clip_id, frames in clips:
        face = find_face(frames[0])
        # An eye is 31 px wide here.
        assert np.abs(np.array(face.eyes) - true_eyes(clip_id)).max() < 4
        x, y, w, h = face.box
        assert (np.array(face.eyes) > (x, y)).all()
        assert (np.array(face.eyes) < (x + w, y + h / 2)).all()


def test_wide_frames_and_places_off_the_centre_will_do(clips):
    _, frames = clips[0]
    wide = cv2.copyMakeBorder(frames[0], 31, 17, 211, 101, cv2.BORDER_REPLICATE)
    found, there = find_face(wide), find_face(frames[0])
    assert np.abs(np.array(found.eyes) - there.eyes - (211, 31)).max() < 3


def test_the_largest_face_wins(clips):
    (_, first), (_, second) = clips[:2]
    small = cv2.resize(second[0], (179, 179), interpolation=cv2.INTER_AREA)
    for pair in ([small, first[0]], [first[0], small]):
        padded = [
            cv2.copyMakeBorder(picture, 0, 256 - len(picture), 0, 0, cv2.BORDER_REPLICATE) for picture in pair
        ]
        x, _, w, _ = find_face(np.hstack(padded)).box
        middle = x + w / 2
        assert middle == pytest.approx(128 if pair[1] is small else 179 + 128, abs=15)


@pytest.mark.parametrize("blur", [0, 2, 7])
def test_there_is_no_face_in_noise(blur):
    noise = np.random.default_rng(blur).normal(size=(211, 257, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), blur) if blur else noise
    assert find_face(np.uint8(np.clip(128 + 50 * noise / noise.std(), 0, 255))) is None
    assert find_face(np.full((211, 257, 3), 128, np.uint8)) is None


def test_a_face_too_small_to_read_is_none(clips):
    _, frames = clips[0]
    far = cv2.resize(frames[0], (89, 89), interpolation=cv2.INTER_AREA)
    assert find_face(far) is not None
    assert find_face(cv2.copyMakeBorder(far, 150, 150, 150, 150, cv2.BORDER_REPLICATE)) is None


def test_a_face_without_eyes_has_its_box(clips, monkeypatch):
    _, frames = clips[0]
    with_eyes = find_face(frames[0])
    detect = faces._detect
    monkeypatch.setattr(faces, "_detect", lambda name, *a: [] if "eye" in name else detect(name, *a))
    assert find_face(frames[0]) == Face(with_eyes.box)


def test_threads_find_what_one_finds(clips):
    onsets = [frames[0] for _, frames in clips]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(find_face, onsets * 2)) == [find_face(frame) for frame in onsets] * 2


# A box of 100 px: eyes are expected near (32, 38) and (68, 38).
@pytest.mark.parametrize(
    ("eyes", "pair"),
    [
        ([(68, 38), (32, 39)], ((32, 39), (68, 38))),
        ([(32, 39), (68, 38), (31, 20), (70, 30)], ((32, 39), (68, 38))),  # the largest come first
        ([(40, 80), (32, 39), (68, 38)], ((32, 39), (68, 38))),  # a corner of the mouth is no eye
        ([], None),
        ([(32, 39)], None),
        ([(28, 39), (40, 38)], None),  # both on one side
        ([(32, 39), (68, 70)], None),
        ([(32, 30), (68, 41)], None),  # 17 degrees
        ([(45, 38), (55, 38)], None),  # too near
        ([(10, 38), (90, 38)], None),  # too far
    ],
)
def test_only_plausible_eyes_are_a_pair(eyes, pair):
    def shifted(points):
        return [(x + 200, y + 300) for x, y in points]

    found = faces._eye_pair(shifted(eyes), (200, 300, 100, 100))
    assert found == (None if pair is None else tuple(shifted(pair)))


@pytest.mark.parametrize("lacking", ["files", "class"])
def test_an_opencv_without_cascades_is_named(tmp_path, monkeypatch, lacking):
    faces._cascade.cache_clear()
    if lacking == "files":
        monkeypatch.setattr(cv2.data, "haarcascades", f"{tmp_path}/")
    else:
        monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(RuntimeError, match=r"has no haarcascade_.*\.xml; install opencv-python below"):
        find_face(np.zeros((64, 64, 3), np.uint8))


# --- the transform ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("eyes", [((61, 83), (101, 83)), ((61, 90), (101, 71)), ((60.5, 71), (83.5, 77.25))])
def test_eyes_come_to_their_places(eyes):
    matrix = alignment(Face((0, 0, 1, 1), eyes), SIZE)
    # Fractions of the side; the centre of the first pixel is at 0.5 / SIZE.
    places = [(to(matrix, eye) + 0.5) / SIZE for eye in eyes]
    assert places[0] == pytest.approx((EYE_X, EYE_Y))
    assert places[1] == pytest.approx((1 - EYE_X, EYE_Y))


def test_the_transform_neither_shears_nor_mirrors():
    turn = alignment(Face((0, 0, 1, 1), ((61, 90), (101, 71))), SIZE)[:, :2]
    scale = SIZE * (1 - 2 * EYE_X) / math.hypot(40, 19)
    assert turn @ turn.T == pytest.approx(scale**2 * np.eye(2))
    assert np.linalg.det(turn) == pytest.approx(scale**2)


@pytest.mark.parametrize("box", [(10, 20, 100, 100), (10.5, 0, 80, 100), (-7, 20, 100, 61)])
def test_a_box_comes_to_the_middle_with_its_margin(box):
    x, y, w, h = box
    matrix = alignment(Face(box), 116)
    # The longer side is 100 px: with the margins 116 px, so one px stays one px.
    assert BOX_MARGIN == 0.08
    assert matrix[:, :2] == pytest.approx(np.eye(2))
    assert to(matrix, (x - 0.5, y - 0.5)) == pytest.approx((57.5 - w / 2, 57.5 - h / 2))


def test_box_and_eyes_show_a_face_alike(clips):
    for _, frames in clips:
        face = find_face(frames[0])
        by_box = alignment(Face(face.box), SIZE)
        eyes = [(to(by_box, eye) + 0.5) / SIZE for eye in face.eyes]
        assert eyes[0] == pytest.approx((EYE_X, EYE_Y), abs=0.05)
        assert eyes[1] == pytest.approx((1 - EYE_X, EYE_Y), abs=0.05)


def test_a_turned_and_shifted_clip_looks_as_the_straight_one(clips):
    for _, frames in clips:
        pictures, unaligned = [], []
        for place in [(0, 0, 0), (5, 11, -7)]:
            shown = [moved(frame, *place) for frame in (frames[0], frames[len(frames) // 2])]
            matrix = alignment(find_face(shown[0]), SIZE)
            pictures.append([align(frame, matrix, SIZE) for frame in shown])
            unaligned.append([cv2.resize(frame, (SIZE, SIZE)) for frame in shown])
        after, before = (
            np.abs(np.float32(one) - np.float32(other)).mean() for one, other in (pictures, unaligned)
        )
        assert after < 0.45 * before


# --- pixels -----------------------------------------------------------------------------------------------


def test_no_transform_no_change():
    image = np.random.default_rng(0).integers(0, 256, (31, 31, 3), dtype=np.uint8)
    assert (align(image, np.eye(2, 3), 31) == image).all()


def test_shrinking_averages_as_for_unaligned_frames():
    image = np.random.default_rng(0).integers(0, 256, (93, 93, 3), dtype=np.uint8)
    third = np.array([[1 / 3, 0, -1 / 3], [0, 1 / 3, -1 / 3]])  # the centre of 3 x 3 px is their second px
    expected = cv2.resize(image, (31, 31), interpolation=cv2.INTER_AREA)
    assert (align(image, third, 31) == expected).all()
    side = 93 / (1 + 2 * BOX_MARGIN)  # a box whose margins reach the frame's border
    face = Face(((93 - side) / 2, (93 - side) / 2, side, side))
    assert alignment(face, 31) == pytest.approx(third)


@pytest.mark.parametrize("scale", [0.71, 0.47, 0.3, 0.11])
def test_a_fine_checkerboard_becomes_grey(scale):
    board = (255 * (np.indices((307, 311)).sum(axis=0) % 2)).astype(np.uint8)[..., None].repeat(3, axis=2)
    c, s = scale * math.cos(0.05), scale * math.sin(0.05)
    matrix = np.array([[c, -s, 5], [s, c, -3]])
    size = round(scale * 280)
    inside = slice(size // 8, -size // 8)
    ours, aliased = (
        picture[inside, inside].astype(float)
        for picture in (align(board, matrix, size), cv2.warpAffine(board, matrix, (size, size)))
    )
    assert ours.mean() == pytest.approx(127.5, abs=2)
    assert ours.std() < 0.25 * aliased.std()


def test_enlarging_interpolates():
    ramp = np.tile(np.arange(0, 220, 20, dtype=np.uint8), (11, 1))[..., None].repeat(3, axis=2)
    twice = np.array([[2, 0, 0.5], [0, 2, 0.5]])
    picture = align(ramp, twice, 22)
    assert picture[5, 1:21, 0] == pytest.approx(np.arange(5, 205, 10), abs=1)
    assert picture[5, [0, 21], 0].tolist() == [0, 200]  # the border is repeated


def test_one_matrix_keeps_the_movement():
    y, x = np.indices((211, 251))
    before, after = (
        np.uint8(255 * np.exp(-(((x - px) / 6) ** 2) - ((y - py) / 6) ** 2))[..., None].repeat(3, axis=2)
        for px, py in [(103, 97), (107, 94)]
    )
    for eyes in [((80, 81), (131, 93)), ((96, 88), (114, 93))]:  # shrunk and turned; enlarged
        matrix = alignment(Face((0, 0, 1, 1), eyes), SIZE)
        step = _centre(align(after, matrix, SIZE)) - _centre(align(before, matrix, SIZE))
        assert step == pytest.approx(matrix[:, :2] @ (4, -3), abs=0.05)


def _centre(picture):
    grey = picture[..., 0].astype(float)
    y, x = np.indices(grey.shape)
    return np.array([(x * grey).sum(), (y * grey).sum()]) / grey.sum()


# --- given boxes ------------------------------------------------------------------------------------------


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_boxes_are_read(tmp_path):
    path = write(
        tmp_path / "boxes.csv",
        "clip_id,x,y,w,h",
        "casme3/spNO.1/a/355,103,51.5,211,223",
        "",
        '"casme3/spNO.1/a/7, b", -3,0, 17,19',
    )
    assert given_boxes(path) == {
        "casme3/spNO.1/a/355": Face((103, 51.5, 211, 223)),
        "casme3/spNO.1/a/7, b": Face((-3, 0, 17, 19)),
    }


def test_columns_are_known_by_name(tmp_path):
    path = write(tmp_path / "boxes.csv", "\ufeffh,w,y,x,who,clip_id", "4,3,2,1,me,a/b")
    assert given_boxes(path) == {"a/b": Face((1, 2, 3, 4))}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["clip_id,x,y,width,h"], "column 'w' is missing"),
        (["clip_id,x,y,w,h", "a,1,2,3,4", "b,1,2,wide,4"], "line 3: w = 'wide' is not a number"),
        (["clip_id,x,y,w,h", "a,1,,3,4"], "line 2: y = '' is not a number"),
        (["clip_id,x,y,w,h", "a,1,2,0,4"], "line 2: w = '0' must be finite, w and h above 0"),
        (["clip_id,x,y,w,h", "a,1,2,3,-4"], "line 2: h = '-4' must be finite, w and h above 0"),
        (["clip_id,x,y,w,h", "a,nan,2,3,4"], "line 2: x = 'nan' must be finite"),
        (
            ["clip_id,x,y,w,h", "a,1,2,3,4", "", "a ,1,2,3,4"],
            "line 4: clip_id 'a' is empty or there a second",
        ),
        (["clip_id,x,y,w,h", ",1,2,3,4"], "line 2: clip_id '' is empty"),
    ],
)
def test_a_bad_box_is_named(tmp_path, lines, message):
    path = tmp_path / "boxes.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        given_boxes(path)
