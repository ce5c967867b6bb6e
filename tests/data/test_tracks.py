"""Pictures of sparse tracks."""

import numpy as np
import pytest

from hsta_lib.data.tracks import track_picture


@pytest.fixture
def square():
    """A bright square on dark ground: its corners are what can be followed."""
    frame = np.full((67, 71, 3), 40, np.uint8)
    frame[20:40, 25:45] = 220
    return frame


def drawn(picture):
    return picture.any(axis=2)


def test_tracks_are_green_between_red_dots_at_the_corners(square):
    picture = track_picture(square, np.roll(square, 6, axis=1))
    green, red = (picture == (0, 255, 0)).all(axis=2), (picture == (255, 0, 0)).all(axis=2)
    assert (drawn(picture) == green | red).all()
    assert red.any()
    rows, columns = np.nonzero(drawn(picture))
    # Within the dots and lines around the corners at 20..39 and 25..44, which move 6 px to the right.
    assert rows.min() >= 16
    assert rows.max() <= 43
    assert columns.min() >= 21
    assert columns.max() <= 54
    assert not drawn(picture)[27:33].any()  # nothing between the corners: no flow field


def test_a_still_frame_has_dots_and_a_plain_one_nothing(square):
    assert drawn(track_picture(square, square)).any()
    assert not track_picture(np.full_like(square, 90), square).any()
