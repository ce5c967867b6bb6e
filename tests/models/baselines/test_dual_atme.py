"""Dual-ATME: the size of the authors' network, its puzzle, and its loss by its formula."""

import math

import numpy as np
import pytest
import torch
from nets import batch, n_parameters, random_flow, shapes_of

from hsta_lib.models.baselines.dual_atme import CBAM, DualATME, prepare, puzzle
from hsta_lib.models.baselines.layers import InceptionBlock, focal_loss

pytestmark = pytest.mark.usefixtures("one_thread")

# --- input ------------------------------------------------------------------------------------------------


def test_the_input_is_a_picture_and_its_puzzle():
    flow = random_flow(29, 31)
    x = prepare(flow)
    assert (x.shape, x.dtype) == ((2, 3, 29, 31), np.float32)
    assert x[0].min(axis=(1, 2)) == pytest.approx(-1)
    assert x[0].max(axis=(1, 2)) == pytest.approx(1)
    expected = 2 * (flow[..., 1] - flow[..., 1].min()) / np.ptp(flow[..., 1]) - 1
    assert x[0, 1] == pytest.approx(expected, abs=1e-5)
    assert (x[1] == puzzle(x[0])).all()


def test_nothing_moves():
    assert (prepare(np.zeros((28, 28, 3), np.float32)) == -1).all()


def test_the_puzzle_holds_eyebrows_eyes_and_mouth():
    rows, columns = np.meshgrid(np.arange(28.0), np.arange(28.0), indexing="ij")
    tiles = puzzle(np.stack([rows, columns]).astype(np.float32))
    assert tiles.shape == (2, 28, 28)
    # Rows and columns from 0, ends included: 0.10 * 28 = 2.8, 0.32 * 28 = 8.96 and so on, rounded.
    strips = (
        (slice(0, 9), (3, 8), (3, 24)),
        (slice(9, 19), (7, 12), (3, 24)),
        (slice(19, 28), (17, 24), (6, 21)),
    )
    for strip, row_ends, column_ends in strips:
        assert (tiles[0, strip].min(), tiles[0, strip].max()) == row_ends
        assert (tiles[1, strip].min(), tiles[1, strip].max()) == column_ends
        assert (np.diff(tiles[0, strip], axis=0) >= 0).all()
        assert (np.diff(tiles[1, strip], axis=1) >= 0).all()


def test_no_region_is_empty_in_the_smallest_picture():
    assert prepare(random_flow(8, 8)).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(7, 11, 3\) is too small; 8 px"):
        prepare(random_flow(7, 11))


# --- network ----------------------------------------------------------------------------------------------


def block_size(n_in, width):
    """Weights, biases and two of batch normalisation for each channel of every convolution."""
    bottlenecks = 2 * (n_in * 6 + 3 * 6)
    return 2 * (n_in * width + 3 * width) + bottlenecks + 6 * width * (9 + 25) + 2 * 3 * width


def test_layers_and_size_are_the_published():
    model = DualATME(3)
    assert n_parameters(InceptionBlock(24, 12, 6, norm=True)) == block_size(24, 12)
    cbam = 2 * 48 * 3 + 3 + 48 + 2 * 9 + 1  # one for both branches
    head = 4705 * 1024 + 2 * 1024 + 1025 * 3
    assert n_parameters(model) == 2 * (block_size(3, 6) + block_size(24, 12)) + cbam + head
    assert round(n_parameters(model) / 1e6, 2) == 4.83
    names = [
        "branch_picture.0",
        "branch_puzzle.1",
        "branch_puzzle.2",
        "branch_picture",
        "cbam",
        "head.0",
        "head",
    ]
    shapes = [(24, 28, 28), (24, 14, 14), (48, 14, 14), (48, 7, 7), (48, 7, 7), (1024,), (3,)]
    assert shapes_of(model, batch(2, 2, 3, 28, 28), names) == dict(zip(names, shapes, strict=True))


def test_attention_by_hand():
    cbam = CBAM(2, reduction=1)
    with torch.no_grad():
        for layer in (cbam.channels[0], cbam.channels[2]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        cbam.places.weight.zero_()
        cbam.places.bias.fill_(math.log(3))  # sigmoid: 3/4
    x = torch.tensor([[[[1.0, 3]], [[-2, 0]]]])
    # Channel 0: mean 2, maximum 3. Channel 1: mean -1, cut to 0, maximum 0. Their sums: 5 and 0.
    weight = 1 / (1 + math.exp(-5))
    expected = 0.75 * torch.tensor([[[[weight, 3 * weight]], [[-1.0, 0]]]])
    assert torch.allclose(cbam(x), expected)


def test_places_are_weighted_by_mean_and_maximum_of_the_channels():
    cbam = CBAM(2, reduction=1)
    with torch.no_grad():
        for parameter in cbam.parameters():
            parameter.zero_()  # every channel counts sigmoid(0) = 1/2
        cbam.places.weight[0, :, 1, 1] = torch.tensor([1.0, 10.0])
    x = torch.tensor([[[[2.0]], [[6.0]]]])
    weight = 1 / (1 + math.exp(-(1 * 2 + 10 * 3)))  # mean of 1 and 3, maximum 3
    assert torch.allclose(cbam(x), weight * x / 2)


def test_the_branches_see_picture_and_puzzle():
    torch.manual_seed(0)
    model, x = DualATME(3, image_size=13, hidden=11).eval(), batch(2, 2, 3, 13, 13)
    picture = model.cbam(model.branch_picture(x[:, 0])).flatten(1)
    regions = model.cbam(model.branch_puzzle(x[:, 1])).flatten(1)
    assert torch.allclose(model(x), model.head(torch.cat([picture, regions], dim=1)), rtol=0, atol=1e-6)
    assert not torch.allclose(model(x), model(x.flip(1)))


# --- loss -------------------------------------------------------------------------------------------------


def test_focal_loss_by_hand():
    # p = 1/2 at the label, then p = 1/5.
    scores = torch.tensor([[0.0, 0.0], [math.log(4), 0.0]])
    expected = (0.25 * math.log(2) + 0.64 * math.log(5)) / 2
    assert focal_loss(scores, torch.tensor([0, 1])).item() == pytest.approx(expected, abs=1e-6)


def test_focal_loss_of_a_hopeless_clip_is_finite():
    assert focal_loss(torch.tensor([[1000.0, 0.0]]), torch.tensor([1])).item() == pytest.approx(1000)


def test_the_loss_is_its_formula():
    torch.manual_seed(0)
    model, x, labels = DualATME(3, hidden=11).eval(), batch(5, 2, 3, 28, 28), torch.tensor([0, 1, 2, 0, 1])
    a = model.cbam(model.branch_picture(x[:, 0])).flatten(1).detach().numpy()
    b = model.cbam(model.branch_puzzle(x[:, 1])).flatten(1).detach().numpy()
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (cosine < 0.999).all()
    p = model(x).softmax(dim=1).detach().numpy()[np.arange(5), labels]
    expected = (-((1 - p) ** 2) * np.log(p)).mean() + 0.01 * (1 - cosine).mean()
    # The cosine's part is of order 1e-3.
    assert model.loss(x, labels).item() == pytest.approx(expected, abs=1e-6)


def test_equal_branches_cost_nothing():
    model, labels = DualATME(3, hidden=11).eval(), torch.tensor([0, 1])
    model.branch_puzzle.load_state_dict(model.branch_picture.state_dict())
    x = batch(2, 1, 3, 28, 28).expand(-1, 2, -1, -1, -1)
    assert model.loss(x, labels).item() == pytest.approx(focal_loss(model(x), labels).item(), abs=1e-6)
