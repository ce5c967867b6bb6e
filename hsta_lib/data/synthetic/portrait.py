"""Procedural portraits: a random person's face, drawn once, and the scene behind it. No files.

Lengths are in face widths unless a name says px; x points right, y down, and the origin lies on the
face's midline just below the eyes. A face is drawn at `OVERSAMPLING` times the frame size and low-passed
to what a frame can hold, so that every frame sampled from it is equally sharp. Images are RGB.
"""

from types import SimpleNamespace

import cv2
import numpy as np

OVERSAMPLING = 3
FACE_WIDTH = 0.60  # of the frame


# Mean and spread, over people, of the lengths of a face. Heights are positions on the y axis.
_LENGTHS = {
    "half_width": (0.485, 0.012),
    "top": (0.64, 0.015),
    "chin": (0.67, 0.02),
    "taper": (0.30, 0.10),
    "jaw": (2.3, 0.12),
    "eye_x": (0.212, 0.008),
    "eye_y": (-0.055, 0.010),
    "eye_w": (0.102, 0.006),
    "lid_up": (0.051, 0.005),
    "lid_low": (0.028, 0.003),
    "iris_r": (0.046, 0.002),
    "tilt": (0.006, 0.006),
    "brow_y": (-0.192, 0.012),
    "brow_arch": (0.035, 0.012),
    "brow_h": (0.020, 0.005),
    "brow_in": (0.085, 0.010),
    "brow_out": (0.335, 0.012),
    "nose_y": (0.185, 0.012),
    "nose_w": (0.098, 0.009),
    "mouth_y": (0.365, 0.012),
    "mouth_w": (0.190, 0.013),
    "lip_up": (0.036, 0.007),
    "lip_low": (0.048, 0.008),
    "hairline": (-0.46, 0.03),
    "hair_drop": (0.42, 0.08),
}
_SKIN = np.array([[238, 198, 172], [142, 96, 72]])  # palest and darkest
_HAIR = np.array([[28, 23, 21], [58, 41, 31], [96, 68, 46], [150, 118, 78]])
_IRIS = np.array([[70, 45, 30], [96, 66, 40], [84, 104, 76], [86, 116, 140]])


def draw_identity(rng):
    """One person's random proportions (face widths), colours (float RGB), features and texture ``seed``."""
    lengths = {
        name: mean + spread * np.clip(rng.standard_normal(), -2, 2)
        for name, (mean, spread) in _LENGTHS.items()
    }
    tone, long_hair = rng.random(), rng.random() < 0.4
    skin = (_SKIN[0] + tone * (_SKIN[1] - _SKIN[0])) * rng.normal(1, 0.02, 3)
    return SimpleNamespace(
        **lengths,
        skin=skin,
        lips=skin * [0.86, 0.60, 0.60] * rng.normal(1, 0.03, 3),
        hair=_HAIR[rng.integers(4)] * (1 - 0.4 * tone) * rng.normal(1, 0.04, 3),
        iris=_IRIS[rng.integers(4 if tone < 0.5 else 2)] * rng.normal(1, 0.05, 3),
        hair_power=rng.uniform(3, 7),
        long_hair=long_hair,
        stubble=rng.uniform(0.05, 0.20) * (rng.random() < 0.5 and not long_hair),
        freckles=int(rng.integers(10, 45) * (rng.random() < 0.3)),
        moles=int(rng.integers(0, 4)),
        folds=rng.uniform(0.06, 0.2),
        wrinkles=rng.uniform(0, 0.09),
        texture=rng.uniform(0.030, 0.050),
        seed=int(rng.integers(2**32)),
    )


def landmarks(face):
    """Landmarks the action units pull on: name to ``(x, y)``, x of the side where it is positive."""
    return {
        "brow_inner": (face.brow_in + 0.02, face.brow_y - 0.02),
        "brow_middle": ((face.brow_in + face.brow_out) / 2, face.brow_y - face.brow_arch / 2),
        "brow_outer": (face.brow_out - 0.04, face.brow_y - face.brow_arch / 3 - 0.02),
        "lid_upper": (face.eye_x, face.eye_y - face.lid_up),
        "lid_lower": (face.eye_x, face.eye_y + face.lid_low),
        "cheek": (face.eye_x + 0.02, face.eye_y + 0.17),
        "nose_root": (0.0, face.brow_y + 0.05),
        "nose_wing": (face.nose_w, face.nose_y - 0.01),
        "lip_upper": (0.0, face.mouth_y - face.lip_up),
        "lip_upper_side": (face.mouth_w * 0.65, face.mouth_y - face.lip_up),
        "lip_lower": (0.0, face.mouth_y + face.lip_low + 0.012),
        "lip_corner": (face.mouth_w, face.mouth_y),
        "chin": (0.0, (face.mouth_y + face.chin) / 2 + 0.04),
    }


def pixel_grid(size, scale=1):
    """Coordinates, in face widths, of the pixel centres of a frame drawn at ``scale`` times its size."""
    line = (np.arange(size * scale, dtype=np.float32) + 0.5) / scale - size / 2
    return np.meshgrid(line / (FACE_WIDTH * size), line / (FACE_WIDTH * size))


def head_radius(face, x, y):
    # 1 on the outline of the face, below 1 inside: half an ellipse above, a fuller one for the jaw.
    power = np.where(y > 0, face.jaw, 2.2).astype(np.float32)
    height = np.where(y > 0, face.chin, face.top).astype(np.float32)
    width = face.half_width * (1 - face.taper * np.clip(y, 0, None) ** 2)
    return (np.abs(x / width) ** power + np.abs(y / height) ** power) ** (1 / power)


def face_mask(face, x, y):
    """1 on the inner face, falling smoothly to exactly 0 at its outline."""
    edge = np.clip((0.97 - head_radius(face, x, y)) / 0.22, 0, 1)
    return edge**2 * (3 - 2 * edge)


class _Canvas:
    """A drawing in progress; windows are views, so that small features cost little."""

    def __init__(self, size):
        self.x, self.y = pixel_grid(size, OVERSAMPLING)
        self.texel = 1 / (FACE_WIDTH * size * OVERSAMPLING)
        self.image = np.zeros((*self.x.shape, 3), np.float32)

    def texels(self, x, y, shift=0):
        half = len(self.x) / 2
        return tuple(round((v / self.texel + half - 0.5) * 2**shift) for v in (x, y))

    def window(self, x, y, rx, ry):
        (left, top), (right, bottom) = self.texels(x - rx, y - ry), self.texels(x + rx, y + ry)
        area = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
        return self.image[area], self.x[area], self.y[area]

    def cover(self, inside):
        # Coverage of a texel by a shape, from the distance (in face widths) to its inside.
        return np.clip(inside / (1.5 * self.texel) + 0.5, 0, 1)

    def shade(self, x, y, sx, sy, gain):
        image, gx, gy = self.window(x, y, 3 * sx, 3 * sy)
        image *= 1 + gain * bell(gx - x, gy - y, sx, sy)[..., None]

    def strokes(self, points, thickness):
        """Coverage of many fine lines: ``points`` are rows of x0, y0, x1, y1."""
        mask = np.zeros(self.x.shape, np.uint8)
        thickness = max(1, round(thickness / self.texel))
        for x0, y0, x1, y1 in points:
            ends = self.texels(x0, y0, 4), self.texels(x1, y1, 4)
            cv2.line(mask, *ends, 255, thickness, cv2.LINE_AA, 4)
        return mask


def bell(x, y, sx, sy):
    return np.exp(-0.5 * ((x / sx) ** 2 + (y / sy) ** 2))


def _blend(image, mask, colour):
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def _noise(rng, cells, shape):
    grid = rng.standard_normal(cells, dtype=np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def draw_face(face, size):
    """Draw a neutral head, of `draw_identity`: RGB and opacity, uint8 ``(3 size, 3 size, 4)``.

    ``size`` (int): side of the frames it will be sampled into, px.
    """
    rng = np.random.default_rng(face.seed)
    canvas = _Canvas(size)
    radius = head_radius(face, canvas.x, canvas.y)
    _draw_skin(canvas, face, radius, rng)
    _draw_relief(canvas, face)
    for side in (-1, 1):
        _draw_eye(canvas, face, side)
        _draw_brow(canvas, face, side, rng)
    _draw_nose(canvas, face)
    _draw_mouth(canvas, face, rng)
    _draw_marks(canvas, face, rng)
    opacity = _draw_hair(canvas, face, radius, rng)
    drawing = np.dstack([np.clip(canvas.image, 0, 255), 255 * opacity])
    # A frame's pixels are OVERSAMPLING texels apart; this removes what they could only alias.
    return np.rint(cv2.GaussianBlur(drawing, (0, 0), 0.5 * OVERSAMPLING)).astype(np.uint8)


def _draw_skin(canvas, face, radius, rng):
    shape = canvas.x.shape
    depth = np.sqrt(np.clip(1 - radius**2, 0.02, 1))
    texture = sum(_noise(rng, (n, n), shape) for n in (7, 23, 61, 151)) * face.texture
    light = (0.66 + 0.38 * depth) * (1 + 0.75 * texture)
    canvas.image[:] = face.skin * light[..., None]
    redness = 0.02 * _noise(rng, (11, 11), shape)
    canvas.image *= np.dstack([1 + redness, 1 - redness, 1 - redness])
    beard = np.clip((canvas.y - 0.22) / 0.08, 0, 1) * np.clip(
        np.hypot(canvas.x, 1.3 * (canvas.y - 0.36)) / 0.1, 0, 1
    )
    canvas.image *= (1 - face.stubble * beard * (1 + 0.5 * _noise(rng, (131, 131), shape)))[..., None]


def _draw_relief(canvas, face):
    for side in (-1, 1):
        canvas.shade(side * face.eye_x, face.eye_y - 0.02, 0.10, 0.055, -0.16)  # eye sockets
        canvas.shade(side * 0.07, face.eye_y + 0.01, 0.03, 0.06, -0.14)
        canvas.shade(side * face.eye_x, face.eye_y + 0.075, 0.08, 0.02, -0.06)
        canvas.shade(side * 0.26, face.eye_y + 0.18, 0.10, 0.07, 0.07)  # cheeks
        canvas.shade(side * 0.40, face.mouth_y - 0.06, 0.10, 0.16, -0.10)
        _draw_fold(canvas, face, side)
    canvas.shade(0, face.hairline + 0.17, 0.22, 0.09, 0.07)
    canvas.shade(0, face.mouth_y + face.lip_low + 0.035, 0.09, 0.02, -0.16)  # below the lower lip
    canvas.shade(0, face.chin - 0.10, 0.08, 0.05, 0.07)
    canvas.shade(0, face.mouth_y - face.lip_up - 0.045, 0.018, 0.03, -0.07)  # philtrum
    for y in (0.10, 0.15, 0.20):
        canvas.shade(0, face.hairline + y, 0.17, 0.006, -face.wrinkles)


def _draw_fold(canvas, face, side):
    # The nasolabial fold: from the wing of the nose round the corner of the mouth.
    image, x, y = canvas.window(side * 0.2, 0.29, 0.16, 0.2)
    along = np.clip((y - face.nose_y + 0.02) / (face.mouth_y - face.nose_y + 0.04), 0, 1)
    distance = side * x - (face.nose_w + 0.025) - 0.105 * along**1.3
    image *= (1 - face.folds * bell(distance, 0, 0.016, 1) * np.sin(np.pi * along))[..., None]


def _draw_eye(canvas, face, side):
    image, x, y = canvas.window(side * face.eye_x, face.eye_y, 1.5 * face.eye_w, 2.4 * face.lid_up)
    u = side * x - face.eye_x
    v = y - face.eye_y + face.tilt * u / face.eye_w
    arc = 1 - np.clip(np.abs(u) / face.eye_w, 0, 1) ** 2
    upper, lower = v + face.lid_up * arc**0.8, face.lid_low * arc - v
    opening = canvas.cover(np.minimum(upper, lower)) * (np.abs(u) < face.eye_w)
    shadow = np.clip(0.55 + upper / 0.05, 0.55, 1)[..., None]
    distance = np.hypot(u + 0.004, v + 0.010)
    ball = np.empty_like(image)
    ball[:] = np.array([226, 218, 212], np.float32) * (0.80 + 0.15 * arc[..., None])
    _blend(ball, canvas.cover(face.iris_r - distance), face.iris * 0.55)
    _blend(ball, canvas.cover(face.iris_r * 0.82 - distance), face.iris)
    _blend(ball, canvas.cover(face.iris_r * 0.42 - distance), [14, 11, 11])
    _blend(
        ball, 0.9 * canvas.cover(0.011 - np.hypot(x - side * face.eye_x + 0.016, v + 0.027)), [250, 250, 250]
    )
    image += opening[..., None] * (ball * shadow - image)
    ends = np.clip(arc * 6, 0, 1)
    _blend(image, 0.45 * ends * bell(lower, 0, 0.005, 1), face.skin * 0.45)
    _blend(image, 0.95 * ends * bell(upper, 0, 0.0075 + 0.003 * (u > 0), 1), face.hair * 0.5)
    crease = v + (face.lid_up + 0.028) * arc**0.6 - 0.004
    _blend(image, 0.5 * ends * bell(crease, 0, 0.006, 1), face.skin * 0.5)


def _draw_brow(canvas, face, side, rng):
    n = 70
    along = np.sort(rng.random(n))
    x = face.brow_in + along * (face.brow_out - face.brow_in)
    y = face.brow_y - face.brow_arch * np.sin(np.pi * np.clip(along * 0.85, 0, 1)) + 0.012 * along
    half = face.brow_h * (1 - 0.65 * along**2)
    foot = y + half * rng.uniform(-0.4, 1, n)
    lean = 0.15 + 0.9 * along
    length = 1.6 * half * rng.uniform(0.7, 1.2, n)
    points = np.stack(
        [side * x, foot, side * (x + length * lean), foot - length * (1.1 - 0.8 * along)], axis=1
    )
    mask = canvas.strokes(points, 0.007) / np.float32(255)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.010 / canvas.texel)
    _blend(canvas.image, np.clip(0.75 * mask + 0.45 * soft, 0, 0.95), face.hair * 0.9)


def _draw_nose(canvas, face):
    y, w = face.nose_y, face.nose_w
    canvas.shade(0, 0.03, 0.022, 0.12, 0.12)  # bridge
    canvas.shade(0, y - 0.035, 0.035, 0.03, 0.14)  # tip
    canvas.shade(0, y + 0.035, 0.06, 0.016, -0.25)
    for side in (-1, 1):
        canvas.shade(side * 0.062, 0.05, 0.020, 0.09, -0.13)
        image, gx, gy = canvas.window(side * w, y, 0.07, 0.09)
        u, v = side * gx - w * 0.72, gy - y + 0.005
        rim = np.hypot(u / 0.034, v / 0.042) - 1
        image *= (1 - 0.34 * bell(rim, 0, 0.20, 1) * (u > -0.005) * np.clip(1.2 - v / 0.1, 0, 1))[..., None]
        image, gx, gy = canvas.window(side * w * 0.5, y + 0.02, 0.05, 0.03)
        rim = 1 - np.hypot((side * gx - w * 0.50) / 0.026, (gy - y - 0.020) / 0.012)
        _blend(image, 0.85 * np.clip(rim * 2, 0, 1), face.skin * 0.28)


def _draw_mouth(canvas, face, rng):
    image, x, y = canvas.window(0, face.mouth_y, 1.3 * face.mouth_w, 0.12)
    u = np.clip(np.abs(x) / face.mouth_w, 0, 1)
    v = y - face.mouth_y - 0.006 * np.cos(3 * np.pi * u) * (u < 0.67) + 0.006 * u**3
    bow = 1 - 0.22 * np.exp(-((x / 0.022) ** 2))
    above = v + face.lip_up * (1 - u**1.7) * bow
    below = face.lip_low * (1 - u**2.2) - v
    creases = 1 + 0.035 * _noise(rng, (2, 45), x.shape)
    upper = canvas.cover(np.minimum(above, -v)) * (u < 1)
    lower = canvas.cover(np.minimum(below, v)) * (u < 1)
    _blend(image, 0.9 * upper, face.lips * 0.82)
    _blend(image, 0.85 * lower, face.lips)
    image *= np.where((upper + lower) > 0.3, creases, 1)[..., None]
    gloss = bell(x, v - 0.5 * face.lip_low, 0.07, 0.010)
    image += (gloss * lower * 26)[..., None]
    line = np.clip(1.02 - u, 0, 0.12) / 0.12
    _blend(image, 0.95 * line * bell(v, 0, 0.0095, 1), [34, 13, 15])
    for side in (-1, 1):
        canvas.shade(side * (face.mouth_w + 0.004), face.mouth_y, 0.018, 0.016, -0.28)


def _draw_marks(canvas, face, rng):
    mask = np.zeros(canvas.x.shape, np.uint8)
    spots = [(rng.normal(0, 0.20), rng.normal(0.10, 0.07), 0.006, 90) for _ in range(face.freckles)]
    spots += [(rng.uniform(-0.38, 0.38), rng.uniform(-0.3, 0.5), 0.011, 190) for _ in range(face.moles)]
    for x, y, radius, strength in spots:
        cv2.circle(
            mask,
            canvas.texels(x, y, 4),
            max(1, round(radius / canvas.texel * 16)),
            strength,
            -1,
            cv2.LINE_AA,
            4,
        )
    _blend(canvas.image, mask / np.float32(255), face.skin * 0.45)


def _draw_hair(canvas, face, radius, rng):
    """Hair and ears; returns the opacity of the whole head."""
    x, y = canvas.x, canvas.y
    ears = np.hypot((np.abs(x) - face.half_width - 0.005) / 0.055, (y - 0.02) / 0.115)
    head = canvas.cover((1 - radius) * 0.5)
    ears = canvas.cover((1 - ears) * 0.055)
    _blend(canvas.image, ears * (1 - head), face.skin * 0.80)
    line = face.hairline + face.hair_drop * np.abs(x / face.half_width) ** face.hair_power
    line = np.minimum(line + 0.012 * _noise(rng, (1, 60), x.shape) + 8 * np.clip(radius - 0.95, 0, 1), 0.02)
    shell = head_radius(face, x / 1.11, (y + 0.02) / 1.11)
    hair = canvas.cover((1 - shell) * 0.5) * canvas.cover(line - y)
    if face.long_hair:
        bob = (np.abs(x) / (1.20 * face.half_width)) ** 3 + np.abs((y - 0.02) / 0.66) ** 3
        beside = np.minimum(radius - 0.96, np.abs(x) - 0.24) * 0.5
        hair = np.maximum(hair, canvas.cover((1 - bob) * 0.2) * canvas.cover(beside))
    strands = 1 + 0.16 * _noise(rng, (9, 120), x.shape) + 0.10 * _noise(rng, (30, 190), x.shape)
    shine = 0.95 + 0.35 * bell(y + 0.58, 0, 0.06, 1)
    canvas.image *= (1 - 0.25 * np.exp(-np.abs(y - line) / 0.02) * (y > line))[
        ..., None
    ]  # shadow of the fringe
    canvas.image += hair[..., None] * (face.hair * (strands * shine)[..., None] - canvas.image)
    return np.maximum(np.maximum(head, ears), hair)


def draw_scene(person, session, film, size):
    """Everything behind the head, which stays still: wall, shoulders, neck. Float32 ``(size, size, 3)``.

    Parameters
    ----------
    person : SimpleNamespace
        Whose neck it is.
    session, film : numpy.random.Generator
        What is this recording's own, and what every recording of a film shares.
    size : int
        Side of the frame, px.
    """
    x, y = pixel_grid(size)
    across = np.abs(x)
    wall = 148 + film.uniform(-14, 14) + session.normal(0, 6) + session.normal(0, 3, 3)
    image = wall * (1 + 0.10 * x - 0.08 * y + 0.015 * _noise(session, (9, 9), x.shape))[..., None]
    cloth = 50 + 100 * session.random() + session.normal(0, 14, 3)
    collar = 0.80 - 0.5 * np.clip(across - 0.10, 0, 0.14) + 0.28 * np.clip(across - 0.24, 0, 1) ** 1.2
    neck_width = 0.25 + 0.9 * np.clip(y - 0.62, 0, 1) ** 1.5
    neck = _edge(neck_width - across, size) * (y > 0.2)
    depth = 0.50 + 0.20 * np.sqrt(np.clip(1 - (across / 0.36) ** 2, 0, 1))
    image += neck[..., None] * (person.skin * depth[..., None] - image)
    folds = (0.90 + 0.07 * _noise(session, (6, 11), x.shape))[..., None]
    image += _edge(y - collar, size)[..., None] * (cloth * folds - image)
    return image.astype(np.float32)


def _edge(inside, size):
    return np.clip(inside * FACE_WIDTH * size + 0.5, 0, 1)
