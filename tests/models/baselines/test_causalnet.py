"""CausalNet: its size as published, where its attention reads from, and that it can learn."""

import numpy as np
import pytest
import torch
from nets import fitted_in_tens, normal, pixels

from hsta_lib.models.baselines.causalnet import (
    CausalNet,
    MotionAttention,
    PlaceAttention,
    Relation,
    in_places,
    prepare,
)
from hsta_lib.models.baselines.htnet import WINDOW_CENTRES

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {"d": 8, "heads": 2, "depths": (1, 1, 1), "place_heads": 2}


def test_it_has_as_many_parameters_as_the_authors_network():
    with torch.device("meta"):
        small = CausalNet(3, depths=(1, 1, 2))
    assert sum(parameter.numel() for parameter in small.parameters()) == 79_251_721  # counted in their code


def test_each_picture_is_cut_into_windows_as_it_is():
    clip = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), np.uint8)
    tiled = prepare(clip)
    assert (tiled.shape, tiled.dtype) == ((4, 3, 28, 28), np.uint8)
    for number, (x, y) in enumerate(WINDOW_CENTRES):
        down, right = 14 * (number // 2), 14 * (number % 2)
        window = clip[:4, y - 7 : y + 7, x - 7 : x + 7].transpose(0, 3, 1, 2)
        assert (tiled[:, :, down : down + 14, right : right + 14] == window).all()


def test_a_place_reads_from_all_but_the_one_across():
    attention = PlaceAttention(8, 2, gamma=0.5, scale=0.5)
    x, context = normal(1, 4, 8), normal(1, 4, 8, seed=2).requires_grad_()
    for place in range(4):
        (gradient,) = torch.autograd.grad(attention(x, context)[0, place].sum(), context)
        assert (gradient[0].abs().sum(1) > 0).tolist() == [other != 3 - place for other in range(4)]


def test_the_place_across_takes_weight_by_its_number():
    attention = PlaceAttention(2, 1, gamma=0.5, scale=1.0)
    with torch.no_grad():
        for layer in (attention.q, attention.kv):
            layer.weight.zero_()
            layer.bias.zero_()
        attention.kv.bias[2:] = 1.0  # every value is 1
        attention.out.weight.copy_(torch.eye(2))
        attention.out.bias.zero_()
    found = attention(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2))[0, :, 0]
    # Place i: three logits are 0, that of the place across, whose number is 4 - i, is -gamma (4 - i).
    expected = [3 / (3 + np.exp(-0.5 * number)) for number in (4, 3, 2, 1)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_only_the_second_motion_reads_the_first():
    attention = MotionAttention(8, 2, gamma=0.5)
    first, second = normal(1, 4, 8).requires_grad_(), normal(1, 4, 8, seed=2).requires_grad_()
    there, back = attention(first, second)
    assert torch.autograd.grad(there.sum(), second, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(back.sum(), first)[0].abs().sum() > 0


def test_there_and_back_are_not_the_same_to_their_relation():
    relation, there, back = Relation(8, 2), normal(2, 4, 8), normal(2, 4, 8, seed=2)
    assert not torch.allclose(relation(there, back), relation(back, there))


def test_channels_become_places_as_the_authors_reshape_them():
    grid = normal(2, 12, 1, 1)
    np.testing.assert_array_equal(in_places(grid), grid.reshape(2, 3, 4).transpose(1, 2))


def test_every_part_has_a_gradient_and_every_picture_counts():
    network = CausalNet(3, **TINY)
    x = (255 * torch.rand(5, 4, 3, 28, 28)).requires_grad_()
    network.loss(x, torch.tensor([0, 1, 2, 0, 1])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert (x.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_it_fits_patterns():
    torch.manual_seed(0)
    x, labels = pixels(30, 4, 3, 28, 28), torch.arange(30) % 3
    assert fitted_in_tens(CausalNet(3, **TINY), x, labels, epochs=20, rate=3e-3) > 0.9
