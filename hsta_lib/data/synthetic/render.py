"""Moving pictures of a portrait: action-unit fields, pose, light, sensor noise, true flow. No files.

Lengths are in face widths unless a name says px. Every frame, the onset too, is one cubic sampling of
the portrait, so a moved face is as sharp as a still one. Images are RGB.
"""

import cv2
import numpy as np

from hsta_lib.data.synthetic.portrait import (
    FACE_WIDTH,
    OVERSAMPLING,
    bell,
    face_mask,
    head_radius,
    landmarks,
    pixel_grid,
)

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]

# Where each action unit pulls: (landmark, dx, dy, width, height of the Gaussian window). dx is outward,
# away from the midline; a landmark off the midline is pulled on both sides. Directions follow FACS.
ACTION_UNIT_PULLS = {
    1: [("brow_inner", -0.05, -1, 0.075, 0.06)],
    2: [("brow_outer", 0.05, -1, 0.08, 0.05), ("brow_middle", 0, -0.3, 0.06, 0.045)],
    4: [("brow_inner", -0.55, 0.8, 0.085, 0.065), ("brow_middle", -0.4, 0.65, 0.08, 0.06)],
    5: [("lid_upper", 0, -1, 0.085, 0.045)],
    6: [("cheek", 0.05, -1, 0.11, 0.08), ("lid_lower", 0, -0.4, 0.09, 0.04)],
    7: [("lid_upper", 0, 0.8, 0.09, 0.04), ("lid_lower", 0, -1, 0.09, 0.04)],
    9: [
        ("nose_wing", 0.1, -1, 0.07, 0.08),
        ("lip_upper", 0, -0.6, 0.08, 0.06),
        ("nose_root", 0, 0.6, 0.09, 0.06),
    ],
    10: [("lip_upper_side", 0.15, -1, 0.07, 0.06), ("nose_wing", 0.15, -0.35, 0.05, 0.05)],
    12: [("lip_corner", 0.65, -0.75, 0.085, 0.075), ("cheek", 0.1, -0.3, 0.1, 0.08)],
    14: [("lip_corner", -1, -0.2, 0.055, 0.055)],
    15: [("lip_corner", 0.1, 1, 0.075, 0.075)],
    16: [("lip_lower", 0, 1, 0.09, 0.055)],
    17: [("chin", 0, -1, 0.12, 0.075), ("lip_lower", 0, -0.5, 0.1, 0.05)],
    18: [
        ("lip_corner", -1, 0, 0.09, 0.1),
        ("lip_upper", 0, -0.8, 0.06, 0.05),
        ("lip_lower", 0, 0.8, 0.06, 0.05),
    ],
    20: [("lip_corner", 1, 0.25, 0.085, 0.07)],
    23: [
        ("lip_upper", 0, 0.6, 0.09, 0.045),
        ("lip_lower", 0, -0.6, 0.09, 0.045),
        ("lip_corner", -0.5, 0, 0.07, 0.05),
    ],
    24: [("lip_upper", 0, 0.9, 0.14, 0.045), ("lip_lower", 0, -1, 0.14, 0.05)],
    25: [("lip_upper", 0, -0.7, 0.12, 0.045), ("lip_lower", 0, 1, 0.12, 0.05)],
    26: [("chin", 0, 1, 0.2, 0.1), ("lip_lower", 0, 0.8, 0.14, 0.05), ("lip_upper", 0, -0.15, 0.12, 0.045)],
    38: [("nose_wing", 1, -0.2, 0.045, 0.045)],
}
# Eyelids and nostrils have little room: a pull of the full amplitude would close or fold them.
_SMALL_PULLS = {5: 0.8, 7: 0.5, 23: 0.8, 24: 0.8, 38: 0.7}

# Of depth maps, mm: distances of the wall and of the face's outline, from there to its nearest point,
# thickness of the skin with what moves with it, noise of the sensor.
_WALL, _OUTLINE, _HALF_HEAD, _SKIN, _DEPTH_NOISE = 1000, 600, 90, 10, 1
_OUTLIERS = 0.005  # share of a depth map's pixels


def expression_field(face, pulls, amplitude, size):
    """Displacement field of a set of action units at the apex, zero outside the face.

    It is the field that fetches: the apex shows at a place what the neutral face had at that place minus
    the field. `apex_flow` turns it into the movement of each point of the onset frame.

    Parameters
    ----------
    face : SimpleNamespace
        See `portrait.draw_identity`.
    pulls : list of (int, str, float)
        Action unit, side (``"L"``, ``"R"``: the person's left and right; ``""``: both), strength about 1.
    amplitude : float
        Peak displacement at strength 1, in face widths.
    size : int
        Side of the frame, px.

    Returns
    -------
    ndarray, float32, shape (size, size, 2)
        In px, x right and y down.
    """
    x, y = pixel_grid(size)
    mask = face_mask(face, x, y)
    total = sum(
        strength * _SMALL_PULLS.get(unit, 1) * _unit_field(face, unit, side, amplitude, x, y)
        for unit, side, strength in pulls
    )
    total = total * mask[..., None]
    limit = max(strength for *_, strength in pulls)
    total *= amplitude * min(1, limit / np.linalg.norm(total, axis=2).max())
    while not (area := area_change(total / (2 * x[0, -1] / (size - 1)))).min() > 0.25 or area.max() > 4:
        total *= 0.95  # too steep: the face would fold
    return (total * FACE_WIDTH * size).astype(np.float32)


def _unit_field(face, unit, side, amplitude, x, y):
    points = landmarks(face)
    field = np.zeros((*x.shape, 2), np.float32)
    for name, dx, dy, sx, sy in ACTION_UNIT_PULLS[unit]:
        px, py = points[name]
        # The person's right side is on the left of the picture.
        for sign in {"": (-1, 1), "R": (-1,), "L": (1,)}[side] if px else (1,):
            pull = np.array([sign * dx, dy], np.float32)
            # Midway between where the skin was and where it goes: else a raised brow drags the eyelid.
            midway = np.array([sign * px, py]) + 0.5 * amplitude * pull
            field += bell(x - midway[0], y - midway[1], sx, sy)[..., None] * pull
    return field / np.linalg.norm(field, axis=2).max()


def area_change(field_px):
    """Area of onset skin shown per apex pixel, from a field in px; not positive where the face would fold."""
    dxdy, dxdx = np.gradient(field_px[..., 0])
    dydy, dydx = np.gradient(field_px[..., 1])
    return (1 - dxdx) * (1 - dydy) - dxdy * dydx


def smooth_path(rng, n_frames, n_values):
    """Smooth random paths from zero, about 1 away at their end: shape (n_frames, n_values)."""
    time = np.linspace(0, 1, n_frames)[:, None]
    waves = [(np.cos(np.pi * k * time) - 1) / k * rng.normal(0, 0.5, n_values) for k in (1, 2, 3)]
    return sum(waves)


def to_head(pose, size):
    """2 x 3 matrix from frame px to head px (the grid a face is drawn on).

    ``pose`` ``(4,)``: shift right and down (fractions of the frame), turn (degrees), log of the scale.
    """
    dx, dy, turn, scale = pose
    centre = (size - 1) / 2
    cosine, sine = np.cos(np.radians(turn)) * np.exp(-scale), np.sin(np.radians(turn)) * np.exp(-scale)
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    shift = centre - matrix @ (centre + np.array([dx, dy]) * size)
    return np.column_stack([matrix, shift])


def _apply(matrix, points):
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _pixels(size):
    return np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=2).astype(np.float32)


def _sample(image, places, interpolation=cv2.INTER_LINEAR):
    return cv2.remap(image, places, None, interpolation, borderMode=cv2.BORDER_REPLICATE)


def render_frame(drawing, scene, field, pose, light, rng):
    """One frame, uint8 ``(size, size, 3)``.

    Parameters
    ----------
    drawing, scene
        See `portrait.draw_face` and `portrait.draw_scene`.
    field : ndarray, float32, shape (size, size, 2), or None
        Displacement at this moment; None for a neutral face.
    pose : array_like, shape (4,)
        See `to_head`.
    light : array_like, shape (5,)
        Gain of red, green and blue, and its slope to the right and down across the frame.
    rng : numpy.random.Generator
        Sensor noise.
    """
    size = len(scene)
    places = _apply(to_head(pose, size), _pixels(size))
    if field is not None:
        places -= _sample(field, places)
    head = _sample(drawing, places * OVERSAMPLING + (OVERSAMPLING - 1) / 2, cv2.INTER_CUBIC).astype(
        np.float32
    )
    opacity = head[..., 3:] * (1 / np.float32(255))
    image = scene + opacity * (head[..., :3] - scene)
    line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    gain = 1 + np.float32(light[3]) * line + np.float32(light[4]) * line[:, None]
    image *= gain[..., None] * np.asarray(light[:3], np.float32)
    image += np.float32(1.7) * rng.standard_normal(image.shape, dtype=np.float32) + np.float32(0.5)
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(image):
    """An RGB frame as the bytes of a JPEG file: colours at full resolution, light compression."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes()


def render_depth(face, field, pose, size, rng):
    """Depth map of one frame: half an ellipsoid before a wall, on which compressed skin bulges.

    Skin keeps its volume: where it is pressed into half of its area it is twice as thick. A head that looks
    larger is nearer. Arguments are as in `render_frame`; ``rng`` also draws outliers.

    Returns
    -------
    ndarray, uint16, shape (size, size)
        Distance in mm; 0 where the sensor fails.
    """
    places = _apply(to_head(pose, size), _pixels(size))
    x, y = np.moveaxis((places + (1 - size) / 2) / (FACE_WIDTH * size), 2, 0)
    radius = head_radius(face, x, y)
    head = _OUTLINE - _HALF_HEAD * np.sqrt(np.clip(1 - radius**2, 0, 1))
    if field is not None:
        head -= _SKIN * _sample(area_change(field) - 1, places)
    depth = np.where(radius < 1, head * np.exp(-pose[3]), _WALL)
    depth += _DEPTH_NOISE * rng.standard_normal(depth.shape)
    depth[rng.random(depth.shape) < _OUTLIERS] = 0
    return np.rint(depth).astype(np.uint16)


def head_opacity(drawing, pose):
    """Opacity of the head in a frame, 0 to 1; arguments as in `render_frame`."""
    size = len(drawing) // OVERSAMPLING
    places = _apply(to_head(pose, size), _pixels(size))
    return _sample(drawing[..., 3], places * OVERSAMPLING + (OVERSAMPLING - 1) / 2) / np.float32(255)


def apex_flow(field, onset_pose, apex_pose):
    """Where each point of the onset frame is in the apex frame, as if the head filled it.

    Displacement in px, x right and y down, float32 ``(size, size, 2)``. ``field``: see `expression_field`.
    The poses, see `to_head`, are equal for the expression alone.
    """
    pixels = _pixels(len(field))
    neutral = _apply(to_head(onset_pose, len(field)), pixels)
    moved = neutral.copy()
    for _ in range(150):  # solves moved - field(moved) = neutral; damped, as the field may be steep
        moved += 0.5 * (neutral + _sample(field, moved) - moved)
    return _apply(cv2.invertAffineTransform(to_head(apex_pose, len(field))), moved) - pixels
