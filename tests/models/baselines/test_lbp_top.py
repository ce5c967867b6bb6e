"""LBP-TOP: patterns of tiny volumes by hand and by plain loops, histograms counted pixel by pixel."""

import time

import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from hsta_lib.models.baselines.lbp_top import LBPTOP, patterns, prepare

SHAPE = (5, 5, 3, 59)  # row and column of a block, plane, code


def volume(*shape, seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.uint8)


def clip_of(grey):
    """RGB frames whose grey values are those given, with two black frames for onset and apex."""
    frames = np.repeat(grey[..., None], 3, axis=3)
    return np.concatenate([frames, np.zeros_like(frames[:2])])


def histograms(grey):
    return prepare(clip_of(grey)).reshape(SHAPE)


def around(values, rest=90):
    """A 3 x 3 x 3 volume with 100 in the middle, the given (t, y, x) steps from there, else ``rest``."""
    grey = np.full((3, 3, 3), rest, np.uint8)
    grey[1, 1, 1] = 100
    for (t, y, x), value in values.items():
        grey[1 + t, 1 + y, 1 + x] = value
    return grey


# --- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("centre", "right", "above", "corner", "brighter"),
    [
        # cos 45 degrees * (corner - right - above) + right + above, all less the centre: 99 against 70, 41
        # against 29, 239 against 169 and 338 against 239, whose ratios are within 0.0003 of cos 45 degrees
        # or nearer.
        (100, 65, 65, 129, True),
        (100, 85, 86, 112, False),
        (100, 15, 16, 170, False),
        (120, 0, 1, 219, True),
        # Both terms 0: as bright as the centre.
        (100, 120, 80, 100, True),
        (100, 120, 80, 99, False),
    ],
)
def test_a_neighbour_between_pixels_is_interpolated_exactly(centre, right, above, corner, brighter):
    grey = around({(0, 0, 0): centre, (0, 0, 1): right, (0, -1, 0): above, (0, -1, 1): corner})
    assert bool(patterns(grey)[0].item() & 2) == brighter


def loop_patterns(grey):
    """From the definition: walk along the circle, interpolate between the four pixels around each point."""
    t, h, w = grey.shape
    codes = np.zeros((3, t - 2, h - 2, w - 2), np.uint8)
    for plane, (rows, columns) in enumerate([(1, 2), (0, 2), (0, 1)]):
        for centre in np.ndindex(t - 2, h - 2, w - 2):
            place = np.array(centre) + 1
            for k in range(8):
                point = place.astype(float)
                point[rows] -= np.sin(k * np.pi / 4)
                point[columns] += np.cos(k * np.pi / 4)
                # Nearer than 1e-9 to the centre's value is equal: the next possible difference is 1e-4.
                brighter = interpolate(grey, point.round(12)) >= grey[tuple(place)] - 1e-9
                codes[plane][centre] |= np.uint8(brighter << k)
    return codes


def interpolate(grey, point):
    low = np.floor(point).astype(int)
    part = point - low
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, part, 1 - part))
        if weight:
            total += weight * grey[tuple(low + corner)]
    return total


@pytest.mark.parametrize("high", [4, 256])
def test_patterns_are_those_of_plain_loops(high):
    # Few grey values make many ties, all of them large differences.
    grey = volume(5, 7, 11, high=high)
    np.testing.assert_array_equal(patterns(grey), loop_patterns(grey))


def test_patterns_on_the_picture_plane_are_those_of_scikit_image():
    grey = volume(3, 13, 17)
    expected = local_binary_pattern(grey[1], 8, 1)[1:-1, 1:-1]
    np.testing.assert_array_equal(patterns(grey)[0, 0], expected)


# --- histograms -------------------------------------------------------------------------------------------


def test_a_descriptor_is_a_row_of_float32():
    descriptor = prepare(volume(7, 13, 17, 3))
    assert (descriptor.shape, descriptor.dtype) == ((4425,), np.float32)


def test_each_pixel_of_the_smallest_clip_is_a_block():
    # Five by five inner pixels, one inner frame: every histogram is one pixel's code.
    grey = np.full((3, 7, 7), 100, np.uint8)
    grey[1, 2, 5] = 101  # the inner pixel of block (1, 4): darker neighbours all around it
    found = histograms(grey)
    assert set(np.unique(found)) == {0, 1}
    np.testing.assert_array_equal(found.sum(axis=3), 1)
    flat, dark = 57, 0  # patterns 255 and 0 are the last and the first of 58 uniform ones
    assert found[3, 1, :, flat].all()
    assert found[1, 4, :, dark].all()
    # Its neighbours see a brighter pixel among equal ones, so their patterns stay 255.
    assert found[..., flat].sum() == 25 * 3 - 3


def test_all_58_uniform_codes_and_the_last_are_used():
    # Scikit-image's ten codes, by which these are often replaced, forget where on the circle bright is.
    used = histograms(volume(13, 67, 71)).sum(axis=(0, 1)) > 0
    assert used.all()


def test_histograms_are_those_of_plain_counting():
    grey = volume(5, 13, 17, high=30)
    expected = np.zeros(SHAPE)
    labels = {}
    for pattern in range(256):
        ring = [pattern >> k & 1 for k in range(8)]
        changes = sum(ring[k] != ring[k - 1] for k in range(8))
        labels[pattern] = 58 if changes > 2 else sum(code < 58 for code in labels.values())
    codes = patterns(grey)
    for plane, t, y, x in np.ndindex(codes.shape):
        expected[y * 5 // 11, x * 5 // 15, plane, labels[codes[plane, t, y, x]]] += 1
    expected /= expected.sum(axis=3, keepdims=True)
    np.testing.assert_allclose(histograms(grey), expected, rtol=1e-6)


def test_the_last_two_frames_are_not_used():
    frames = volume(7, 11, 13, 3)
    other = frames.copy()
    other[-2:] = 255 - other[-2:]
    np.testing.assert_array_equal(prepare(frames), prepare(other))
    other[-3] = 255 - other[-3]
    assert not np.array_equal(prepare(frames), prepare(other))


def test_a_clip_takes_a_twentieth_of_a_second_at_most():
    frames = volume(12, 112, 112, 3)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        prepare(frames)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (volume(4, 11, 13, 3), "t = 2 frames.*3 or more"),
        (volume(5, 6, 13, 3), "6 x 13 px are too small, 7 px"),
        (volume(5, 11, 6, 3), "11 x 6 px are too small"),
        (volume(5, 11, 13), r"RGB uint8.*uint8 \(5, 11, 13\)"),
        (volume(5, 11, 13, 4), r"RGB uint8.*\(5, 11, 13, 4\)"),
        (volume(5, 11, 13, 3) / 255, "RGB uint8.*float64"),
    ],
)
def test_bad_clips_are_named(frames, message):
    with pytest.raises(ValueError, match=message):
        prepare(frames)


# --- machine ----------------------------------------------------------------------------------------------


def flickering_clips(n_each=20):
    """Stripes that lie, stand or flicker, and noise on them."""
    rng = np.random.default_rng(0)
    t, y, x = np.indices((5, 23, 23))
    labels = np.repeat([0, 1, 2], n_each)
    grey = [128 + 40 * np.sin(2 * (y, x, t)[label]) + rng.normal(0, 10, t.shape) for label in labels]
    return np.stack([prepare(clip_of(g.clip(0, 255).astype(np.uint8))) for g in grey]), labels


def test_easy_clips_are_learned():
    x, labels = flickering_clips()
    scores = LBPTOP(3).fit(x, labels).scores(x)
    assert scores.shape == (60, 3)
    assert (scores.argmax(axis=1) == labels).mean() >= 0.95
    np.testing.assert_array_equal(LBPTOP(3).fit(x, labels).scores(x), scores)
    assert LBPTOP(3).c == 1
