"""Dual-Inception: the published size, one channel for three grey ones, and its streams."""

import math

import numpy as np
import pytest
import torch
from nets import batch, n_parameters, shapes_of
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.dual_inception import DualInception, prepare
from hsta_lib.models.baselines.layers import InceptionBlock

pytestmark = pytest.mark.usefixtures("one_thread")

# Channels of the first blocks' four 1x1 convolutions in the original, which reads three grey copies, less
# those here; of both streams.
GREY_COPIES = 2 * 4 * 6 * (3 - 1)


def test_the_input_is_u_and_v_without_strain():
    flow = np.zeros((2, 3, 3), np.float32)
    flow[..., 0] = 5
    flow[..., 1] = [[-1, 0, 1], [1, 3, 0]]
    flow[..., 2] = [[0, 9, 0], [0, 0, 4]]
    picture = prepare(flow)
    assert (picture.shape, picture.dtype) == ((2, 2, 3), np.float32)
    assert (picture[0] == 0).all()
    assert picture[1] == pytest.approx(np.array([[0, 0.25, 0.5], [0.5, 1, 0.25]]))


def test_layers_and_size_are_the_published():
    model = DualInception(3)
    assert round(n_parameters(model) / 1e6, 2) == 6.45
    assert n_parameters(InceptionBlock(24, 16)) == 4 * (24 * 16 + 16) + 16 * 16 * (9 + 25) + 2 * 16
    names = ["trunk.stream_u.0", "trunk.stream_u.1", "trunk.stream_v.2", "trunk.stream_v", "hidden", "head"]
    shapes = [(24, 28, 28), (24, 14, 14), (64, 14, 14), (3136,), (1024,), (3,)]
    assert shapes_of(model, batch(2, 2, 28, 28), names) == dict(zip(names, shapes, strict=True))
    assert model.hidden.in_features == 6272


def test_grey_copies_are_the_difference_to_the_original():
    # Counted from the original: 6.45 M parameters and 12.5 million multiplications; the former hide it.
    difference = 2 * (n_parameters(InceptionBlock(3, 6)) - n_parameters(InceptionBlock(1, 6)))
    assert difference == GREY_COPIES
    model = DualInception(3)
    assert (n_parameters(model), n_parameters(model) + GREY_COPIES) == (6_449_867, 6_449_963)
    with FlopCounterMode(display=False) as counter:
        model.eval()(batch(1, 2, 28, 28))
    macs = counter.get_total_flops() / 2
    first, second = 28 * 28 * (4 * 6 + 6 * 6 * (9 + 25)), 14 * 14 * (4 * 24 * 16 + 16 * 16 * (9 + 25))
    assert macs == 2 * (first + second) + 6272 * 1024 + 1024 * 3
    assert round((macs + 28 * 28 * GREY_COPIES) / 1e6, 1) == 12.5


def test_one_channel_computes_what_three_grey_ones_do():
    torch.manual_seed(0)
    three, one = InceptionBlock(3, 6), InceptionBlock(1, 6)
    summed = {
        name: value.sum(dim=1, keepdim=True) if value.ndim == 4 and value.shape[1] == 3 else value
        for name, value in three.state_dict().items()
    }
    one.load_state_dict(summed)
    x = batch(2, 1, 11, 13)
    assert torch.allclose(one(x), three(x.expand(-1, 3, -1, -1)), rtol=0, atol=1e-5)


def test_branches_of_a_block_by_hand():
    block = InceptionBlock(1, 1)
    for parameter in block.parameters():
        parameter.data.fill_(1.0 if parameter.ndim == 4 else 0.0)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 2
    one, three, five, pooled = block(x)[0]
    assert (one == x[0, 0]).all()
    ring = torch.zeros(5, 5)
    ring[1:4, 1:4] = 2
    assert (three == ring).all()
    assert (five == 2).all()
    assert (pooled == ring).all()
    assert (block(-x)[0, :3] == 0).all()  # ReLU


def test_the_streams_are_not_interchangeable():
    model = DualInception(3, image_size=13, hidden=11).eval()
    x = batch(2, 2, 13, 13)
    assert not torch.allclose(model(x), model(x.flip(1)))


def test_weights_start_as_in_keras():
    torch.manual_seed(0)
    model = DualInception(3)
    limit = math.sqrt(6 / (6272 + 1024))
    assert model.hidden.weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
    assert (model.hidden.bias == 0).all()
    assert (model.trunk.stream_u[0].branches[0][0].bias == 0).all()
