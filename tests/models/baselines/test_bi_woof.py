"""Bi-WOOF: bins and weights of hand-made flows, invariances, bad input."""

import numpy as np
import pytest

from hsta_lib.models.baselines.bi_woof import BiWOOF, orientation_bins, prepare


def flow_of(u, v, strain=1.0, shape=(11, 13)):
    """A flow whose channels are these numbers or arrays."""
    return np.stack([np.broadcast_to(c, shape) for c in (u, v, strain)], axis=2).astype(np.float32)


def random_flow(shape=(23, 29), seed=0):
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, *shape))
    return flow_of(u, v, rng.uniform(0, 1, shape), shape)


def histograms(flow):
    return prepare(flow).reshape(5, 5, 8)


def turned(flow, degrees):
    """The same flow with every vector turned from x towards y."""
    angle = np.radians(degrees)
    u, v, strain = np.moveaxis(flow.astype(float), 2, 0)
    u, v = np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v
    return flow_of(u, v, strain, u.shape)


# --- bins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        # On the edges, each the lower bound of its bin.
        (-1, -1, 1),
        (0, -1, 2),
        (1, -1, 3),
        (1, 0, 4),
        (1, -0.0, 4),
        (1, 1, 5),
        (0, 1, 6),
        (-1, 1, 7),
        # Straight left is 180 degrees, the upper bound of the last bin, whatever the sign of zero.
        (-1, 0, 7),
        (-1, -0.0, 7),
        # Between the edges.
        (-2, -1, 0),
        (-1, -2, 1),
        (1, -2, 2),
        (2, -1, 3),
        (2, 1, 4),
        (1, 2, 5),
        (-1, 2, 6),
        (-2, 1, 7),
    ],
)
def test_the_bin_of_a_direction(u, v, expected):
    assert orientation_bins(np.array([u], float), np.array([v], float)).tolist() == [expected]


def test_turning_the_flow_by_45_degrees_shifts_the_bins():
    rng = np.random.default_rng(0)
    # At least 5 degrees away from the edges, so that rounding changes no bin.
    angle = np.radians(45 * rng.integers(0, 8, (23, 29)) + rng.uniform(5, 40, (23, 29)))
    size = rng.uniform(0.5, 2, angle.shape)
    flow = flow_of(size * np.cos(angle), size * np.sin(angle), rng.uniform(0, 1, angle.shape), angle.shape)
    for steps in (1, 3, 7):
        expected = np.roll(histograms(flow), steps, axis=2)
        np.testing.assert_allclose(histograms(turned(flow, 45 * steps)), expected, atol=1e-6)


# --- weights ----------------------------------------------------------------------------------------------


def test_a_descriptor_is_a_row_of_float32_of_length_one():
    descriptor = prepare(random_flow())
    assert (descriptor.shape, descriptor.dtype) == ((200,), np.float32)
    assert np.linalg.norm(descriptor) == pytest.approx(1, rel=1e-6)


def test_votes_weigh_their_magnitude():
    # 11 px: edges at 0, 2, 4, ..., so block (0, 0) has rows and columns 0..2. Three of its nine pixels move
    # right by 4, the others up by 1: 12 of 18 against 6 of 18.
    u, v = np.zeros((2, 11, 11))
    u[0, :3] = 4
    v[1:3, :3] = -1
    strain = np.zeros((11, 11))
    strain[0, 0] = 1
    found = histograms(flow_of(u, v, strain, (11, 11)))
    np.testing.assert_allclose(found[0, 0, [4, 2]], np.array([2, 1]) / np.sqrt(5), rtol=1e-6)
    assert np.count_nonzero(found) == 2


def test_blocks_weigh_the_sum_of_their_strain_and_share_their_borders():
    # Edges at 0, 2, 4, ...: pixel (1, 1) is in block (0, 0) alone, row 2 in blocks 0 and 1, and pixel
    # (4, 4) in four of them.
    strain = np.zeros((11, 11))
    strain[1, 1], strain[2, 9], strain[4, 4] = 3, 2, 1
    expected = np.zeros((5, 5))
    expected[0, 0] = 3
    expected[0, 4] = expected[1, 4] = 2
    expected[1:3, 1:3] = 1
    found = histograms(flow_of(1, 0, strain, (11, 11)))[:, :, 4]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-6)


def test_blocks_that_do_not_divide_the_image_cover_it():
    # 13 px high: 12 / 5 = 2.4, so edges at 0, 2, 5, 7, 10 and 12.
    covered = np.zeros((13, 5))
    for row in range(13):
        strain = np.zeros((13, 11))
        strain[row, 1] = 1
        covered[row] = histograms(flow_of(1, 0, strain, (13, 11)))[:, 0, 4] > 0
    expected = np.zeros((13, 5))
    for block, (top, bottom) in enumerate([(0, 2), (2, 5), (5, 7), (7, 10), (10, 12)]):
        expected[top : bottom + 1, block] = 1
    np.testing.assert_array_equal(covered, expected)


def test_a_larger_block_has_more_strain():
    # 13 px high, as above: blocks of 3, 4, 3, 4 and 3 rows.
    found = histograms(flow_of(1, 0, 1, (13, 11)))[:, 0, 4]
    np.testing.assert_allclose(found / found[0], np.array([3, 4, 3, 4, 3]) / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "flow", [flow_of(0, 0, 0), flow_of(0, 0, 1), flow_of(1, 2, 0)], ids=["nothing", "still", "shifted"]
)
def test_without_motion_or_strain_the_descriptor_is_zero(flow):
    np.testing.assert_array_equal(prepare(flow), np.zeros(200))


def test_the_scales_of_flow_and_strain_do_not_matter():
    flow = random_flow()
    for factors in ((1e-6, 1e-6, 1), (1, 1, 1e-6), (1000, 1000, 1000)):
        np.testing.assert_allclose(prepare(flow * np.array(factors)), prepare(flow), atol=1e-6)


def test_the_magnitude_of_one_block_does_not_matter_but_its_strain_does():
    # 23 px high and 29 wide: rows 0..3 and columns 0..5 are in block (0, 0) alone. What it shares with others
    # does not move.
    flow = random_flow()
    flow[4, :7] = flow[:5, 6] = 0
    faster, strained = flow.copy(), flow.copy()
    faster[:4, :6, :2] *= 7
    strained[:4, :6, 2] *= 7
    np.testing.assert_allclose(prepare(faster), prepare(flow), atol=1e-6)
    assert np.abs(prepare(strained) - prepare(flow)).max() > 0.05


def test_transposing_the_image_transposes_the_blocks():
    flow = random_flow()
    across = histograms(flow).transpose(1, 0, 2)
    np.testing.assert_allclose(histograms(flow.transpose(1, 0, 2)), across, atol=1e-6)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (random_flow()[..., :2], r"u, v, strain; found \(23, 29, 2\)"),
        (random_flow()[..., 0], r"\(h, w, 3\).*found \(23, 29\)"),
        (random_flow((5, 13)), r"\(5, 13, 3\) is too small, 6 px"),
        (random_flow((13, 5)), r"\(13, 5, 3\) is too small"),
        (flow_of(np.nan, 0), "not finite"),
        (flow_of(0, 0, np.inf), "not finite"),
    ],
)
def test_bad_flows_are_named(flow, message):
    with pytest.raises(ValueError, match=message):
        prepare(flow)


# --- machine ----------------------------------------------------------------------------------------------


def moving_clips(n_each=20):
    """Three random patterns of movement, one per class, and noise on them."""
    labels = np.repeat([0, 1, 2], n_each)
    motion = [random_flow(seed=label) for label in range(3)]
    noise = [0.2 * random_flow(seed=3 + i) for i in range(len(labels))]
    return np.stack([prepare(motion[label] + n) for label, n in zip(labels, noise, strict=True)]), labels


def test_easy_clips_are_learned():
    x, labels = moving_clips()
    scores = BiWOOF(3).fit(x, labels).scores(x)
    assert scores.shape == (60, 3)
    assert (scores.argmax(axis=1) == labels).mean() >= 0.95
    np.testing.assert_array_equal(BiWOOF(3).fit(x, labels).scores(x), scores)
    assert BiWOOF(3).c == 1
