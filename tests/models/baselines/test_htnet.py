"""HTNet: windows of the flow, sizes as published, and when its attention mixes places."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from nets import n_parameters, normal, seeded, without_weights
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.htnet import WINDOW_CENTRES, HTNet, Level, merge, prepare
from hsta_lib.models.baselines.layers import SelfAttention

pytestmark = pytest.mark.usefixtures("one_thread")

REDUCED = {"patch_size": 2, "d": 64, "heads": 4, "depths": (2, 2)}
TINY = {"d": 8, "heads": 2, "depths": (1, 1)}


network = partial(seeded, HTNet)
published = partial(without_weights, HTNet)


# --- input ------------------------------------------------------------------------------------------------


def ramps():
    """u is the column, v the row, so that a pixel tells where it comes from; strain is constant."""
    rows, columns = np.mgrid[:28, :28].astype(np.float32)
    return np.stack([columns, rows, np.full_like(rows, 0.5)], axis=2)


@pytest.mark.parametrize(
    ("place", "column", "row"),
    [
        ((0, 0), 2, 4), ((13, 13), 15, 17),  # left eye, centre (9, 11)
        ((0, 14), 14, 3), ((13, 27), 27, 16),  # right eye, centre (21, 10)
        ((14, 0), 3, 14), ((27, 13), 16, 27),  # left corner of the mouth, centre (10, 21)
        ((14, 14), 13, 14), ((27, 27), 26, 27),  # right corner, centre (20, 21)
    ],
)  # fmt: skip
def test_windows_are_tiled_in_reading_order(place, column, row):
    x = prepare(ramps())
    assert x.shape == (3, 28, 28)
    assert x.dtype == np.float32
    assert x[:, *place] == pytest.approx([255 * column / 27, 255 * row / 27, 0], abs=1e-4)


def test_windows_lie_in_the_picture():
    for column, row in WINDOW_CENTRES:
        assert 7 <= column <= 21
        assert 7 <= row <= 21


# --- sizes ------------------------------------------------------------------------------------------------


def layer_parameters(d, heads):
    inner = d // heads * heads
    return 3 * d * inner + (inner * d + d) + 2 * 2 * d + (4 * d * d + 4 * d) + (4 * d * d + d)


def merge_parameters(d):
    return 9 * d * 2 * d + 2 * d + 2 * 2 * d


def test_published_size():
    model = published()
    levels = [2 * layer_parameters(256, 3) + 1, 2 * layer_parameters(512, 6) + 1]
    levels += [10 * layer_parameters(1024, 12) + 1]
    embed, head = 147 * 256 + 256, 2 * 1024 + 1024 * 3 + 3
    assert n_parameters(model) == embed + sum(levels) + merge_parameters(256) + merge_parameters(512) + head
    assert round(n_parameters(model) / 1e6, 1) == 139.6
    assert round(levels[-1] / n_parameters(model), 1) == 0.9


def test_published_cost_and_shapes():
    model, shapes = published().eval(), []
    for level in model.levels:
        level.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with FlopCounterMode(display=False) as flops:
        assert model(torch.zeros(1, 3, 28, 28, device="meta")).shape == (1, 3)
    assert shapes == [(256, 4, 4), (512, 2, 2), (512, 2, 2), (1024, 1, 1), (1024, 1, 1)]
    assert round(flops.get_total_flops() / 2e9, 2) == 0.21


def test_reduced_size():
    model = HTNet(3, **REDUCED)
    assert n_parameters(model) == (
        13 * 64 + 2 * layer_parameters(64, 4) + merge_parameters(64) + 2 * layer_parameters(128, 8)
        + 2 * 49 + 2 * 128 + 3 * 129
    )  # fmt: skip


def tokens_of(model):
    """Tokens per window, in every layer."""
    counts = []
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(lambda module, inputs, output: counts.append(output.shape[1]))
    model(torch.zeros(1, 3, 28, 28, device=next(model.parameters()).device))
    return counts


def test_published_windows_hold_one_token():
    assert tokens_of(published()) == [1] * 14
    assert tokens_of(HTNet(3, **REDUCED)) == [49] * 4


# --- attention --------------------------------------------------------------------------------------------


def test_attention_by_hand():
    attention = SelfAttention(1, heads=1, bias=False)
    with torch.no_grad():
        attention.qkv.weight.fill_(1)
        attention.project.weight.fill_(1)
        attention.project.bias.zero_()
        x = math.sqrt(math.log(3))  # scores of the second token: 0 and ln 3, so weights 1/4 and 3/4
        result = attention(torch.tensor([[[0.0], [x]]]))
    assert result.flatten().tolist() == pytest.approx([x / 2, 3 * x / 4])


def test_attention_over_one_token_is_a_linear_map():
    attention = SelfAttention(23, heads=3, bias=False)  # two channels are left over
    tokens = normal(5, 1, 23)
    values = attention.qkv.weight[2 * 21 :]
    assert values.shape == (21, 23)
    assert torch.allclose(attention(tokens), attention.project(tokens @ values.T), atol=1e-6)
    two = normal(5, 2, 23)
    assert not torch.allclose(attention(two), attention.project(two @ values.T), atol=1e-2)


@pytest.mark.parametrize(("patch_size", "learns"), [(14, False), (7, True), (2, True)])
def test_queries_and_keys_learn_only_where_windows_hold_several_tokens(patch_size, learns):
    model = network(patch_size=patch_size, **TINY)
    model.loss(normal(5, 3, 28, 28), torch.tensor([0, 1, 2, 0, 1])).backward()
    for module in model.modules():
        if isinstance(module, SelfAttention):
            queries, keys, values = module.qkv.weight.grad.chunk(3)
            largest = values.abs().max()
            assert largest > 1e-9
            # Without rounding, whose size is the processor's, the others would be 0 beside it.
            assert (queries.abs().max() > 1e-5 * largest) == learns
            assert (keys.abs().max() > 1e-5 * largest) == learns


def changed_places(side, windows):
    """Places of a ``side x side`` grid that change with the token at row 0, column 1."""
    torch.manual_seed(0)
    level = Level(8, heads=2, depth=2, windows=windows, n_tokens=(side // windows) ** 2)
    grid = normal(1, 8, side, side)
    other = grid.clone()
    other[0, :, 0, 1] += normal(8, seed=2)
    with torch.no_grad():
        return ((level(other) - level(grid)).abs().amax(dim=1) > 1e-6)[0]


def test_attention_mixes_within_its_window():
    expected = torch.zeros(14, 14, dtype=torch.bool)
    expected[:7, :7] = True
    assert torch.equal(changed_places(14, windows=2), expected)
    assert changed_places(14, windows=1).all()


def test_attention_of_the_published_windows_mixes_nothing():
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[0, 1] = True
    assert torch.equal(changed_places(4, windows=4), expected)


def test_positions_repeat_in_every_window():
    level = Level(2, heads=1, depth=0, windows=2, n_tokens=4)
    level.positions.data = torch.tensor([0.0, 1, 2, 3])
    grid = normal(3, 2, 4, 4)
    pattern = torch.tensor([[0.0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]])
    assert torch.allclose(level(grid), grid + pattern)


def test_merging_normalises_channels_and_keeps_the_larger_neighbour():
    layers = merge(1)
    with torch.no_grad():
        layers[0].weight.zero_()
        layers[0].weight[0, 0, 1, 1] = 1  # channel 0: the input, channel 1: zero
        layers[0].bias.zero_()
        result = layers(torch.tensor([[[[4.0, 4, -4, -4]] * 4]]))
    # Two channels (x, 0) are normalised to (sign, -sign); the pool of the right half still sees the left one.
    assert result.shape == (1, 2, 2, 2)
    assert result[0, 0].flatten().tolist() == pytest.approx([1, 1, 1, 1], abs=1e-5)
    assert result[0, 1].flatten().tolist() == pytest.approx([-1, 1, -1, 1], abs=1e-5)
