"""CapsuleNet: squash, routing and margin loss by hand, sizes as published."""

import math
from functools import partial

import pytest
import torch
from nets import n_parameters, pixels, seeded, without_weights
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.capsulenet import CapsuleNet, margin_loss, route, squash

pytestmark = pytest.mark.usefixtures("one_thread")

REDUCED = {"image_size": 112, "d": 16, "d_capsules": 128, "kernel": 5}
TINY = {"image_size": 72, "d": 4, "d_capsules": 16, "kernel": 5}


network = partial(seeded, CapsuleNet)
published = partial(without_weights, CapsuleNet)


# --- capsules ---------------------------------------------------------------------------------------------


def test_squash_by_hand():
    # Length 5 becomes 25/26, in the same direction.
    assert squash(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6 * 25 / 26, 0.8 * 25 / 26])
    vectors = torch.randn(5, 7, 11, generator=torch.Generator().manual_seed(0)) * 100
    assert torch.linalg.vector_norm(squash(vectors), dim=-1).max() < 1


def test_squash_of_nothing_is_nothing_with_a_gradient():
    s = torch.zeros(2, 3, requires_grad=True)
    torch.linalg.vector_norm(squash(s), dim=-1).sum().backward()
    assert squash(s).abs().max() == 0
    assert s.grad.isfinite().all()


def plain_route(votes):
    """Of one clip, ``votes[capsule][class]`` is a vector; the shares of the last iteration come too."""
    n, n_classes = len(votes), len(votes[0])
    agreement = [[0.0] * n_classes for _ in range(n)]
    for _ in range(3):
        shares = [[math.exp(a) / sum(math.exp(b) for b in row) for a in row] for row in agreement]
        capsules = []
        for k in range(n_classes):
            s = sum(shares[i][k] * votes[i][k] for i in range(n))
            length = math.sqrt(float(s @ s))
            capsules.append(length**2 / (1 + length**2) * s / length)
        for i in range(n):
            for k in range(n_classes):
                agreement[i][k] += float(capsules[k] @ votes[i][k])
    return capsules, shares


def test_routing_in_plain_loops():
    votes = torch.randn(2, 5, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for clip, capsules in zip(votes, route(votes), strict=True):
        expected, _ = plain_route(clip)
        assert torch.allclose(capsules, torch.stack(expected), rtol=0, atol=1e-12)


def test_gradients_flow_through_the_last_iteration_alone():
    votes = torch.randn(1, 5, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor(plain_route(votes[0])[1], dtype=torch.float64)
    direction = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for combined in (route, lambda x: squash((shares[..., None] * x).sum(dim=1))):
        leaf = votes.clone().requires_grad_()
        (combined(leaf) * direction).sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(*gradients, rtol=0, atol=1e-12)
    assert gradients[0].abs().max() > 0.01


def test_margin_loss_by_hand():
    lengths = torch.tensor([[0.9, 0.2, 0.005], [0.9, 0.2, 0.005]])
    first = 0.09**2 + 0.5 * 0.19**2  # the third is short enough
    second = 0.985**2 + 0.5 * (0.89**2 + 0.19**2)
    loss = margin_loss(lengths, torch.tensor([0, 2]))
    assert loss.item() == pytest.approx((first + second) / 2)
    assert margin_loss(torch.tensor([[0.01, 0.99]]), torch.tensor([1])) == 0


# --- sizes ------------------------------------------------------------------------------------------------


def test_published_size():
    model = published()
    resnet = 11_689_512 - 8_393_728 - 513_000  # torchvision's ResNet-18 less its fourth stage and linear
    capsules = 1152 * 3 * 16 * 8
    assert n_parameters(model.features[0]) == resnet
    assert n_parameters(model) == resnet + 2 * (81 * 256 * 256 + 256) + capsules == 13_842_496


def test_published_cost_and_shapes():
    model, shapes = published().eval(), []
    for layer in (model.features[0], model.features[1], model.primary):
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with FlopCounterMode(display=False) as flops:
        assert model(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 3)
    assert shapes == [(256, 28, 28), (256, 20, 20), (256, 6, 6)]
    assert model.votes.shape == (1152, 3, 16, 8)
    assert round(flops.get_total_flops() / 2e9, 1) == 7.6


def test_reduced_size():
    model = CapsuleNet(3, **REDUCED)
    assert model.votes.shape == (144, 3, 16, 8)
    assert round(n_parameters(model) / 1e6, 2) == 0.85


def test_smallest_image():
    model = network(**TINY | {"image_size": 65}).eval()
    with torch.inference_mode():
        assert model(pixels(2, 3, 65, 65)).shape == (2, 3)


# --- the whole --------------------------------------------------------------------------------------------


def test_colours_are_normalised_as_imagenet():
    given = []
    model = network(**TINY).eval()
    model.features.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    with torch.inference_mode():
        model(torch.full((1, 3, 72, 72), 51, dtype=torch.uint8))
    expected = [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert given[0][0, :, 5, 7].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_capsule_is_eight_channels_at_one_place():
    model = network(**TINY).eval()  # one place, two capsules
    with torch.no_grad():
        model.primary.weight.zero_()
        model.primary.bias.copy_(torch.arange(16.0))
        model.votes.zero_()
        model.votes[0, 0, :8] = torch.eye(8)  # the first capsule is passed on to the first class
        votes = torch.zeros(1, 2, 3, 16)
        votes[0, 0, 0, :8] = squash(torch.arange(8.0))
        expected = torch.linalg.vector_norm(route(votes), dim=-1)
        assert expected[0, 0] > 0.1
        assert torch.allclose(model(pixels(1, 3, 72, 72)), expected)


def test_clips_do_not_meet_and_passes_agree():
    model, x = network(7, **TINY), pixels(5, 3, 72, 72)
    model.primary.weight.data.mul_(10)  # scores start near zero
    model.votes.data.mul_(100)
    with torch.inference_mode():
        scores = model.eval()(x)
        assert scores.shape == (5, 7)
        assert scores.min() >= 0
        assert scores.max() < 1
        assert torch.equal(model(x), scores)
        assert torch.allclose(model(x[3:4]), scores[3:4], atol=1e-5)
        assert scores.std() > 1e-3


def test_loss_is_the_margin_loss():
    model, x, labels = network(5, **TINY).eval(), pixels(3, 3, 72, 72), torch.tensor([4, 0, 2])
    assert model.loss(x, labels).item() == pytest.approx(margin_loss(model(x), labels).item())
