"""Where the face is, found in the onset frame alone: one similarity transform serves the whole clip.

A transform per frame would follow the detector's jitter, which is larger than a micro-expression.
Places are in px, (x, y) with y down; the centre of the first pixel is (0, 0).
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from hsta_lib.files import read_csv

# Where an aligned picture shows the eyes, as fractions of its side: the one on the left here, its mirror
# image on the right. A third of the side apart, so that a chin fits below even when the jaw drops (1.8
# times the eyes' distance) and a raised brow above; OpenCV's box with its margin shows faces as large.
EYE_X, EYE_Y = 0.335, 0.39
BOX_MARGIN = 0.08  # of the box, on each side: OpenCV's ends at or just above the chin

_FACE_CASCADE = "haarcascade_frontalface_alt2.xml"
_EYE_CASCADE = "haarcascade_eye_tree_eyeglasses.xml"
_SMALLEST_FACE = 0.2  # of the shorter side of the frame
_LOCK = Lock()  # a cascade keeps its work in itself


@dataclass(frozen=True)
class Face:
    """A face in a frame: its box ``(x, y, w, h)`` in px and, if both were found, its eyes.

    ``eyes`` holds the centres of the eye on the left of the picture and of the one on the right.
    """

    box: tuple[float, float, float, float]
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None


def find_face(image):
    """The largest frontal face of a frame, by OpenCV's cascades (Viola and Jones, CVPR 2001); or None.

    It has at least a fifth of the frame's shorter side; clips without are left out and listed, see
    `hsta_lib.data.frames.cache_frames`. Eyes are only given where they are plausible: one on each side of
    the upper half of the box, about level and as far apart as eyes are.

    ``image`` (ndarray, uint8, RGB, ``(h, w, 3)``): the onset frame of a clip. A RuntimeError if the installed
    OpenCV has no cascades.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes = _detect(_FACE_CASCADE, grey, 1.1, 5, _SMALLEST_FACE * min(grey.shape))
    if not boxes:
        return None
    x, y, w, h = boxes[0]
    window = grey[y : y + round(0.6 * h), x : x + w]  # an eye's box reaches below the upper half
    eyes = [
        (x + ex + (ew - 1) / 2, y + ey + (eh - 1) / 2)
        for ex, ey, ew, eh in _detect(_EYE_CASCADE, window, 1.05, 3, 0.12 * w)
    ]
    return Face(boxes[0], _eye_pair(eyes, boxes[0]))


def _detect(name, grey, step, neighbours, smallest):
    """Boxes (x, y, w, h), the largest first."""
    with _LOCK:
        found = _cascade(name).detectMultiScale(grey, step, neighbours, minSize=(round(smallest),) * 2)
    boxes = [tuple(int(length) for length in box) for box in found]
    return sorted(boxes, key=lambda box: (-box[2] * box[3], box))  # threads find them in any order


@cache
def _cascade(name):
    path = Path(cv2.data.haarcascades) / name
    if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise RuntimeError(
            f"OpenCV {cv2.__version__} has no {name}; install opencv-python below version 5, or give the "
            "boxes of the faces"
        )
    return cv2.CascadeClassifier(str(path))


def _eye_pair(eyes, box):
    """The first eye on each side of the upper half, left before right; None unless they make a pair."""
    x, y, w, h = box
    upper = [eye for eye in eyes if eye[1] < y + h / 2]
    left = [eye for eye in upper if eye[0] < x + w / 2]
    right = [eye for eye in upper if eye[0] >= x + w / 2]
    if not left or not right:
        return None
    across, down = right[0][0] - left[0][0], right[0][1] - left[0][1]
    level = abs(down) < 0.27 * across  # 15 degrees; a frontal cascade finds hardly more
    return (left[0], right[0]) if level and 0.25 * w < across < 0.55 * w else None


def alignment(face, size):
    """Similarity transform that brings a face to a square picture: from px of the frame to px of the picture.

    It serves every frame of the clip and is float64, ``(2, 3)``.

    Parameters
    ----------
    face : Face
        With eyes: they come to lie level, at `EYE_X` and `EYE_Y`. Without: its box with `BOX_MARGIN`, made
        a square about its centre.
    size : int
        Side of the picture, px.
    """
    if face.eyes is None:
        x, y, w, h = face.box
        side = max(w, h) * (1 + 2 * BOX_MARGIN)
        return _similarity(size / side, 0, (x + (w - 1) / 2, y + (h - 1) / 2), ((size - 1) / 2,) * 2)
    (x0, y0), (x1, y1) = face.eyes
    scale = size * (1 - 2 * EYE_X) / math.hypot(x1 - x0, y1 - y0)
    place = ((size - 1) / 2, size * EYE_Y - 0.5)
    return _similarity(scale, -math.atan2(y1 - y0, x1 - x0), ((x0 + x1) / 2, (y0 + y1) / 2), place)


def _similarity(scale, angle, source, target):
    """Matrix that scales, turns and brings the point ``source`` to the point ``target``."""
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return np.column_stack([turn, np.array(target) - turn @ source])


def align(image, matrix, size):
    """A frame, uint8 ``(h, w, 3)``, as its clip's transform shows it: uint8 ``(size, size, 3)``.

    Places outside the frame repeat its border. Shrunk by area averaging, like unaligned frames. ``matrix``:
    see `alignment`.
    """
    # warpAffine alone skips pixels when it shrinks: sample k x k places per pixel, none skipped, and average.
    k = math.ceil(1 / math.hypot(*matrix[:, 0]) - 1e-6)
    finer = k * np.asarray(matrix, float)
    finer[:, 2] += (k - 1) / 2
    sampled = cv2.warpAffine(
        image, finer, (k * size, k * size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA)


def given_boxes(path):
    """Faces that a user found, by clip id and without eyes, to be used instead of `find_face`.

    Parameters
    ----------
    path : str or Path
        A table with the columns ``clip_id,x,y,w,h``: the face's box in px of the onset frame, x and y
        those of its upper left corner. Other columns are not read.

    Raises
    ------
    ValueError
        As `hsta_lib.files.read_csv`; also if a value is no number, a box has no area or a clip id is empty or
        comes twice. The message names file, line and value.
    """
    faces = {}
    for number, row in read_csv(path, ["clip_id", *"xywh"]).iterrows():
        where, clip_id = f"{path}, line {number}", row["clip_id"]
        if not clip_id or clip_id in faces:
            raise ValueError(f"{where}: clip_id {clip_id!r} is empty or there a second time")
        faces[clip_id] = Face(_box(row, where))
    return faces


def _box(row, where):
    box = {}
    for name in "xywh":
        try:
            box[name] = float(row[name])
        except ValueError:
            raise ValueError(f"{where}: {name} = {row[name]!r} is not a number") from None
        if not math.isfinite(box[name]) or (name in "wh" and box[name] <= 0):
            raise ValueError(f"{where}: {name} = {row[name]!r} must be finite, w and h above 0")
    return tuple(box.values())
