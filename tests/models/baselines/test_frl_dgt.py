"""FRL-DGT, an approximation: warping and regions by hand, the joint loss against its formula, learning."""

from functools import partial

import numpy as np
import pytest
import torch
from nets import fitted_in_tens, normal, seeded
from torch.nn import functional

from hsta_lib.models.baselines.frl_dgt import (
    FRLDGT,
    DisplacementGeneration,
    displacement_loss,
    prepare,
    region_patches,
    warp,
)

pytestmark = pytest.mark.usefixtures("one_thread")

N_PARAMETERS = 208_885  # for three classes


network = partial(seeded, FRLDGT)


# --- input ------------------------------------------------------------------------------------------------


def test_prepare_is_the_grey_pair_less_its_mean_over_its_deviation():
    frames = np.zeros((3, 56, 56, 3), dtype=np.uint8)
    frames[1, :, :28] = 100
    frames[2] = 50
    found = prepare(frames)
    assert found.shape == (2, 112, 112)
    assert found.dtype == np.float32
    # Grey 100 and 0 in equal parts, and 50: mean 50, deviation the root of (50^2 + 50^2 + 0 + 0) / 4.
    deviation = np.sqrt(1250)
    np.testing.assert_allclose(found[0, 5, [3, 108]], np.array([50, -50]) / deviation, atol=1e-4)
    np.testing.assert_allclose(found[1], 0, atol=1e-5)


def test_light_and_contrast_of_a_clip_do_not_count():
    frames = np.random.default_rng(0).integers(20, 100, (2, 13, 13, 3)).astype(np.uint8)
    frames[..., 1:] = frames[..., :1]
    np.testing.assert_allclose(prepare(2 * frames + 17), prepare(frames), atol=1e-4)


def test_a_plain_pair_stays_plain():
    # Enlarging rounds; divided by the deviation of that, it would be of order 1.
    np.testing.assert_allclose(prepare(np.full((2, 13, 13, 3), 77, dtype=np.uint8)), 0, atol=1e-3)


# --- displacement -----------------------------------------------------------------------------------------


def test_warp_by_hand():
    pictures, displacement = normal(2, 3, 5, 7), torch.zeros(2, 2, 5, 7)
    torch.testing.assert_close(warp(pictures, displacement), pictures, rtol=0, atol=1e-5)
    displacement[0, 0], displacement[0, 1], displacement[1, 0] = 2, -1, 0.5
    found = warp(pictures, displacement)
    # Two to the right and one up; beyond the border what is at the border.
    torch.testing.assert_close(found[0, :, 1:, :5], pictures[0, :, :-1, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0, :, 0, :5], pictures[0, :, 0, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0, :, 1:, 6], pictures[0, :, :-1, 6], rtol=0, atol=1e-5)
    between = (pictures[1, :, :, :-1] + pictures[1, :, :, 1:]) / 2
    torch.testing.assert_close(found[1, :, :, :-1], between, rtol=0, atol=1e-5)


def test_displacement_loss_by_hand():
    pair = torch.zeros(1, 2, 3, 2)
    pair[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    displacement = torch.zeros(1, 2, 3, 2)
    assert displacement_loss(pair, displacement).item() == pytest.approx(3.5)
    displacement[0, 1] = 1.0  # one down: 3, 4, 5, 6, and at the border 5, 6 again
    assert displacement_loss(pair, displacement).item() == pytest.approx(29 / 6)
    displacement[0, 1] = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])  # 3, 4, 3, 4, 5, 6
    rough = 2 / (2 * 2 * 2)  # two of the eight differences along columns are one
    assert displacement_loss(pair, displacement).item() == pytest.approx(25 / 6 + 0.1 * rough)
    displacement[0, 1] = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])  # 1, 4, 3, 4, 5, 6
    rough = 1 / (2 * 3 * 1) + 1 / (2 * 2 * 2)
    assert displacement_loss(pair, displacement).item() == pytest.approx(23 / 6 + 0.1 * rough)


def test_the_loss_finds_a_movement():
    """Only the displacement is free, one for all places: it becomes that of the pictures."""
    onset = functional.avg_pool2d(normal(1, 1, 70, 70), 9, stride=1)
    pair = torch.cat([onset[:, :, 3:53, 4:54], onset[:, :, 3:53, 5:55]], dim=1)  # apex(x) = onset(x + 1)
    shift = torch.zeros(1, 2, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.05)
    for _ in range(60):
        loss = displacement_loss(pair, shift.expand(1, 2, 50, 50))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert shift.flatten().tolist() == pytest.approx([1, 0], abs=0.1)


# --- network ----------------------------------------------------------------------------------------------


def test_regions_and_their_patches():
    displacement = normal(2, 2, 56, 56)
    found = region_patches(displacement)
    assert found.shape == (2, 9, 4, 200)
    # Region 5 begins in row 18, column 36; its patch 2 is the lower left one.
    block = displacement[1, :, 18 + 10 : 18 + 20, 36 : 36 + 10]
    torch.testing.assert_close(found[1, 5, 2], block.flatten(), rtol=0, atol=0)
    # The last region ends with the map, and every place is in a region.
    ones = torch.zeros(1, 2, 56, 56)
    ones[..., 55, 55] = 1
    assert region_patches(ones)[0, 8, 3].sum() == 2
    assert region_patches(torch.arange(2 * 56**2).view(1, 2, 56, 56)).unique().numel() == 2 * 56**2


def test_shapes_layer_by_layer_and_parameters():
    model, x = network(), normal(5, 2, 112, 112)
    shapes = {}
    for name, module in (*model.named_children(), *model.generate.named_children()):
        module.register_forward_hook(
            lambda _, given, out, name=name: shapes.update({name: (given[0].shape, out.shape)})
        )
    assert model(x).shape == (5, 3)
    levels = [shapes[name][1] for name in ("down1", "down2", "down3", "up2", "up1")]
    expected = [(12, 56, 56), (24, 28, 28), (48, 14, 14), (24, 28, 28), (12, 56, 56)]
    assert [tuple(level) for level in levels] == [(5, *shape) for shape in expected]
    assert shapes["generate"][1] == (5, 2, 56, 56)
    assert shapes["within_region"] == ((5 * 9, 4, 64), (5 * 9, 64))
    assert shapes["across_regions"] == ((5, 9, 64), (5, 64))
    assert shapes["full_face"] == ((5, 49, 64), (5, 64))
    convolutions = 9 * (2 * 12 + 12 * 24 + 24 * 48 + (48 + 24) * 24 + (24 + 12) * 12 + 12 * 2) + 2
    norms = 2 * (12 + 24 + 48 + 24 + 12)
    fusions = 3 * (12 * 64**2 + 13 * 64 + 2 * 64) + (4 + 9 + 49) * 64
    linear = 201 * 64 + 129 * 64 + 129 * 3
    n = sum(p.numel() for p in model.parameters())
    assert n == convolutions + norms + fusions + linear == N_PARAMETERS


def test_every_part_sees_the_displacement():
    """A displacement that moves within a region changes the scores, wherever it is."""
    model = network().eval()
    displacement = normal(1, 2, 56, 56)
    with torch.inference_mode():
        scores = model._classify(displacement)
        for row, column in ((0, 0), (27, 27), (55, 55)):
            changed = displacement.clone()
            changed[0, 1, row, column] += 3
            assert (model._classify(changed) - scores).abs().max() > 1e-4


# --- training ---------------------------------------------------------------------------------------------


def test_the_loss_is_joint():
    model, x, labels = network().eval(), normal(3, 2, 112, 112), torch.tensor([2, 0, 1])
    with torch.inference_mode():
        half = x.view(3, 2, 56, 2, 56, 2).mean(dim=(3, 5))
        seen = displacement_loss(half, model.generate(x))
        right = -model(x).log_softmax(dim=1)[torch.arange(3), labels].mean()
        assert model.loss(x, labels).item() == pytest.approx((seen + right).item(), rel=1e-5)
        assert seen > 0.1


def test_the_loss_of_the_displacement_teaches_its_generator_alone():
    model, x = network(), normal(3, 2, 112, 112)
    displacement_loss(functional.avg_pool2d(x, 2), model.generate(x)).backward()
    assert all(p.grad.any() for p in model.generate.parameters())
    assert isinstance(model.generate, DisplacementGeneration)
    assert all(p.grad is None for p in model.full_face.parameters())


def test_it_learns_easy_clips():
    rng = np.random.default_rng(0)
    patterns = np.kron(rng.normal(0, 0.5, (3, 28, 28)), np.ones((4, 4)))
    labels = np.arange(60) % 3
    onset = rng.normal(0, 0.5, (60, 112, 112))
    apex = onset + patterns[labels] + rng.normal(0, 0.1, onset.shape)
    x = torch.from_numpy(np.stack([onset, apex], axis=1).astype(np.float32))
    assert fitted_in_tens(network(), x, torch.from_numpy(labels), epochs=5, rate=2e-3) >= 0.95
