"""Optical flow: known movement is found, its sign and unit are right, strain has its textbook values."""

import cv2
import numpy as np
import pytest

from hsta_lib.config import Synthetic
from hsta_lib.data import flow as flow_module
from hsta_lib.data.flow import flow_colours, flow_pictures, flow_strain, optical_flow, strain
from hsta_lib.data.synthetic.clips import clip_frames, true_flow
from hsta_lib.data.synthetic.population import sample_clips

# Two primes, so that no swapped axis can fit.
HEIGHT, WIDTH = 61, 79
X, Y = np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT, dtype=float))


@pytest.fixture(params=["dis", "tvl1"])
def method(request):
    if request.param == "tvl1":
        pytest.importorskip("skimage")
    return request.param


def texture(x, y, gain=1.0):
    """Fine waves in many directions, so that any place can be drawn without interpolation."""
    rng = np.random.default_rng(7)
    waves = [
        np.sin(kx * x + ky * y + phase)
        for kx, ky, phase in zip(*rng.uniform(-0.7, 0.7, (2, 23)), rng.uniform(0, 6, 23), strict=True)
    ]
    grey = 128 + 20 * sum(waves) / np.sqrt(len(waves) / 2)
    return np.rint(np.clip(gain * grey, 0, 255)).astype(np.uint8)[..., None].repeat(3, axis=2)


def inner(field):
    """Without a border, where a point may have come from outside the frame."""
    return field[8:-8, 8:-8]


def linear(dudx=0.0, dudy=0.0, dvdx=0.0, dvdy=0.0):
    return np.stack([dudx * X + dudy * Y, dvdx * X + dvdy * Y], axis=2).astype(np.float32)


# --- flow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0.3, -0.6), (-0.25, 0.1), (2.7, 1.2)])
def test_a_shift_is_found(method, shift):
    right, down = shift
    flow = optical_flow(texture(X, Y), texture(X - right, Y - down), method)
    assert (flow.shape, flow.dtype) == ((HEIGHT, WIDTH, 2), np.float32)
    # Half of the smallest part of a shift.
    assert np.abs(inner(flow) - shift).mean() < 0.05
    assert np.median(inner(flow), axis=(0, 1)) == pytest.approx(shift, abs=0.05)


def test_the_flow_belongs_to_points_of_the_first_frame(method):
    # A point at x of the first frame is at 39 + (x - 39) / 0.9 of the second; told by points of the
    # second frame, the slope would be 0.1.
    flow = optical_flow(texture(X, Y), texture(X - 0.1 * (X - 39), Y), method)
    slope = np.polyfit(inner(X).ravel(), inner(flow)[..., 0].ravel(), 1)[0]
    assert slope == pytest.approx(1 / 0.9 - 1, abs=0.004)
    assert np.abs(inner(flow)[..., 1]).mean() < 0.1


def test_a_still_picture_does_not_move(method):
    flow = optical_flow(texture(X, Y), texture(X, Y), method)
    assert np.abs(flow).max() < 0.01


def test_more_light_is_no_movement():
    still, shifted = (
        optical_flow(texture(X, Y), texture(X - right, Y, gain=1.06), "dis") for right in (0, 0.5)
    )
    assert np.abs(inner(still)).mean() < 0.05
    assert np.median(inner(shifted), axis=(0, 1)) == pytest.approx((0.5, 0), abs=0.05)


def test_the_same_frames_give_the_same_flow_on_any_number_of_threads():
    threads = cv2.getNumThreads()
    flows = []
    try:
        for n in (1, 2, 5, 5):
            cv2.setNumThreads(n)
            flows.append(optical_flow(texture(X, Y), texture(X - 0.4, Y), "dis"))
    finally:
        cv2.setNumThreads(threads)
    assert all((flow == flows[0]).all() for flow in flows)


def test_mirrored_frames_have_the_mirrored_flow(method):
    first, second = texture(X, Y), texture(X - 0.8, Y + 0.3 + 0.01 * X)
    there = optical_flow(first, second, method)[:, ::-1] * [-1, 1]
    mirrored = optical_flow(first[:, ::-1].copy(), second[:, ::-1].copy(), method)
    # The search grid starts at the left, so it is not exact. Without the changed sign they differ by 1.6.
    assert np.abs(inner(there - mirrored)).mean() < 0.05


def test_views_of_an_array_will_do(method):
    first, second = texture(X, Y), texture(X - 0.8, Y)
    flows = [
        optical_flow(one[:, ::-1], two[:, ::-1], method)
        for one, two in [(first, second), (first.copy(), second.copy())]
    ]
    copies = optical_flow(np.ascontiguousarray(first[:, ::-1]), np.ascontiguousarray(second[:, ::-1]), method)
    assert all((flow == copies).all() for flow in flows)


@pytest.mark.parametrize("difficulty", ["easy", "micro"])
@pytest.mark.parametrize("number", [1, 4])
def test_the_benchmark_moves_as_it_says(difficulty, number, method):
    spec = Synthetic(generator_seed=2, n_subjects=5, n_micro=23, frame_size=127, difficulty=difficulty)
    clip = sample_clips(spec).iloc[number]
    frames = clip_frames(spec, clip.clip_id)
    onset, apex = frames[0], frames[clip.apex - clip.onset]
    truth = true_flow(spec, clip.clip_id, with_drift=True)
    expression = np.linalg.norm(true_flow(spec, clip.clip_id), axis=2)
    flow = optical_flow(onset, apex, method)
    for place in (truth.any(axis=2), expression > 0.3 * expression.max()):
        error, zero = (np.linalg.norm(field - truth, axis=2)[place].mean() for field in (flow, 0 * flow))
        assert error < {"dis": 0.5, "tvl1": 0.8}[method] * zero


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'farneback' is unknown; known methods: dis, tvl1"):
        optical_flow(texture(X, Y), texture(X, Y), "farneback")


FRAME = np.zeros((13, 17, 3), np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (FRAME, FRAME[:, :13], r"first is \(13, 17, 3\), second is \(13, 13, 3\)"),
        (FRAME[..., 0], FRAME, r"first must be RGB uint8 .* uint8 \(13, 17\)"),
        (FRAME, FRAME / 255, r"second must be RGB uint8 .* float64 \(13, 17, 3\)"),
        (FRAME[:11], FRAME[:11], r"\(11, 17, 3\) are too small, 12 px"),
    ],
)
def test_unfit_frames_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        optical_flow(first, second, "dis")


def test_the_smallest_frames_have_a_flow(method):
    assert optical_flow(FRAME[:12], FRAME[:12], method).shape == (12, 17, 2)


# --- strain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (np.full((HEIGHT, WIDTH, 2), (3.0, -5.0), np.float32), 0),
        (linear(dudx=0.07), 0.07),  # stretched along x alone
        (linear(dvdy=-0.07), 0.07),  # squeezed along y alone
        (linear(dudx=0.03, dvdy=0.04), 0.05),
        (linear(dudy=0.1), 0.1 / np.sqrt(2)),  # e_xy = 0.05, counted twice
        (linear(dudy=0.1, dvdx=0.1), 0.2 / np.sqrt(2)),  # the turn of one is undone by the other
        (linear(dudx=0.1, dvdy=-0.1, dudy=0.05, dvdx=0.05), np.sqrt(0.02 + 2 * 0.05**2)),
    ],
)
def test_strain_of_linear_fields(field, expected):
    found = strain(field)
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH), np.float32)
    assert found == pytest.approx(np.full((HEIGHT, WIDTH), expected), abs=1e-6)


def test_a_turn_has_no_strain_to_first_order():
    angle = np.radians(2)
    turn = linear(np.cos(angle) - 1, -np.sin(angle), np.sin(angle), np.cos(angle) - 1)
    # e_xx = e_yy = cos - 1, about angle^2 / 2; the gradient itself is as large as the angle.
    assert strain(turn) == pytest.approx(np.full((HEIGHT, WIDTH), angle**2 / np.sqrt(2)), rel=0.01)
    assert strain(turn).max() < 0.03 * angle


def test_strain_is_where_the_movement_ends():
    edge = np.zeros((HEIGHT, WIDTH, 2))
    edge[:, 40:, 0] = 1
    expected = np.zeros((HEIGHT, WIDTH))
    expected[:, 39:41] = 0.5  # central differences across the edge
    assert (strain(edge) == expected).all()


# --- pictures ---------------------------------------------------------------------------------------------


def test_resizing_scales_displacements_and_leaves_strain():
    field = np.zeros((46, 69, 2), np.float32)
    field[..., 0] = 3 + 0.03 * np.arange(69)
    field[..., 1] = -4
    picture = flow_strain(field, 23)
    assert (picture.shape, picture.dtype) == ((23, 23, 3), np.float32)
    # A third of the width, half of the height; the middle of the first three columns is column 1.
    assert picture[..., 0] == pytest.approx(
        np.tile((3 + 0.03 * (1 + 3 * np.arange(23))) / 3, (23, 1)), rel=1e-5
    )
    assert picture[..., 1] == pytest.approx(np.full((23, 23), -2), rel=1e-5)
    assert picture[..., 2] == pytest.approx(np.full((23, 23), 0.03), rel=1e-4)


def test_a_picture_can_be_larger_than_the_flow():
    picture = flow_strain(np.full((13, 13, 2), (1, -2), np.float32), 39)
    assert picture.reshape(-1, 3) == pytest.approx(np.tile([3, -6, 0], (39 * 39, 1)))


def test_strain_is_taken_before_resizing():
    field = np.zeros((28, 28, 2), np.float32)
    field[::2, :, 0] = 1  # stripes that an average over 2 x 2 px would hide
    field[1::2, :, 0] = -1
    picture = flow_strain(field, 14)
    assert (picture[..., 0] == 0).all()
    # Central differences of stripes are 0; the one-sided ones of the first and last row are 2.
    assert picture[[0, -1], :, 2] == pytest.approx(np.full((2, 14), 0.5 * 2 / np.sqrt(2)))


@pytest.fixture
def known_flow(monkeypatch):
    """Function that sets the flows of a clip: there and back."""

    def set_to(*fields):
        left = iter([field[:, :HEIGHT] for field in fields])
        monkeypatch.setattr(flow_module, "optical_flow", lambda *_: next(left))

    return set_to


@pytest.mark.parametrize("order", [1, -1])
def test_flow_pictures_have_one_scale_and_zero_in_the_middle(known_flow, order):
    known_flow(*[np.full((HEIGHT, WIDTH, 2), (6, -8), np.float32), linear(dudx=0.07)][::order])
    shift, stretch = flow_pictures(None, None, None, HEIGHT)[::order]
    # The longest vector is (6, -8), 10 px; 76.2 and 101.6 of 127 are left of its parts. It has no strain.
    assert (shift == (128 + 76, 128 - 102, 128)).all()
    stretched = np.tile(128 + 12.7 * 0.07 * np.arange(HEIGHT), (HEIGHT, 1))
    assert stretch[..., 0] == pytest.approx(stretched, abs=0.51)
    assert (stretch[..., 1] == 128).all()
    assert (stretch[..., 2] == 255).all()
    assert shift.dtype == np.uint8


def test_how_far_everything_moves_is_lost_and_how_far_compared_with_the_rest_is_kept(known_flow):
    there, back = (np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 2)) for seed in (0, 1))
    pictures = []
    for fields in ((there, back), (4 * there, 4 * back), (4 * there, back)):
        known_flow(*fields)
        pictures.append(flow_pictures(None, None, None, 23))
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).mean() > 0.5
    assert pictures[0][..., 2].min() > 128
    assert pictures[0][..., 2].max() == 255


def test_flow_pictures_are_of_onset_to_apex_and_apex_to_offset():
    # Down by 2 px, then up by 1 px and to the right by 1 px.
    onset, apex, offset = texture(X, Y), texture(X, Y - 2), texture(X - 1, Y - 1)
    pictures = flow_pictures(onset, apex, offset, 61)
    assert (pictures.shape, pictures.dtype) == ((2, 61, 61, 3), np.uint8)
    there, back = np.median(pictures[:, 8:-8, 8:-8, :2].astype(float) - 128, axis=(1, 2))
    # In px of the pictures, to which the width has shrunk and the height has not.
    assert there / there[1] == pytest.approx([0, 1], abs=0.05)
    assert back / there[1] == pytest.approx([0.5 * 61 / 79, -0.5], abs=0.05)
    assert there[1] > 90  # the longest vector, somewhere at the border, is not much longer


@pytest.mark.parametrize("frame", [texture(X, Y), np.full((HEIGHT, WIDTH, 3), 90, np.uint8)])
def test_flow_pictures_of_a_still_clip_are_grey(frame):
    assert (flow_pictures(frame, frame, frame, 13) == 128).all()


def test_an_apex_that_is_the_onset_moves_only_on_the_way_back():
    there, back = flow_pictures(texture(X, Y), texture(X, Y), texture(X - 1, Y), 61)
    assert (there == 128).all()
    assert np.median(back[..., 0]) > 128 + 90


def test_directions_have_their_colours():
    field = np.array([[[2, 0], [-2, 0], [0, 0]], [[0, 2], [0, -2], [1, 0]]], np.float32)
    (right, left, rest), (down, up, half) = flow_colours(field).tolist()
    assert rest == [255, 255, 255]
    assert (right, left) == ([255, 0, 0], [0, 255, 255])
    assert down == pytest.approx([128, 255, 0], abs=1)
    assert up == pytest.approx([128, 0, 255], abs=1)
    assert half == pytest.approx([255, 128, 128], abs=1)
    assert flow_colours(field).dtype == np.uint8


def test_one_scale_makes_pictures_comparable():
    small, large = (np.full((3, 5, 2), (length, 0), np.float32) for length in (1, 10))
    assert (flow_colours(small) == flow_colours(large)).all()
    assert flow_colours(small, longest=4)[0, 0] == pytest.approx([255, 191, 191], abs=1)
    assert (flow_colours(large, longest=4)[0, 0] == (255, 0, 0)).all()


def test_a_flow_at_rest_is_white():
    assert (flow_colours(np.zeros((3, 5, 2), np.float32)) == 255).all()
    assert (flow_colours(-np.zeros((3, 5, 2), np.float32)) == 255).all()


@pytest.mark.parametrize("longest", [0, -1.0, float("nan")])
def test_a_scale_without_length_is_refused(longest):
    with pytest.raises(ValueError, match=f"longest = {longest}"):
        flow_colours(np.zeros((3, 5, 2), np.float32), longest)
