"""MERSiamC3D, an approximation: flow maps, the losses of both stages against their formulas, learning."""

import math
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from nets import fitted_in_tens, losses_in_tens, normal, seeded

from hsta_lib.models.baselines.mersiamc3d import MERSiamC3D, contrastive_loss, focal_loss, prepare

pytestmark = pytest.mark.usefixtures("one_thread")

N_PARAMETERS = 242_691  # for three classes


network = partial(seeded, MERSiamC3D)


def maps():
    return normal(5, 2, 8, 17, 17)


# --- input ------------------------------------------------------------------------------------------------


def moving(step_right, step_down, height=112, width=112):
    """A smooth random texture that moves by so many px at each of nine frames; onset and apex are noise."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height + 40, width + 40)).astype(np.float32), (0, 0), 3)
    texture = (128 + 60 * texture / np.abs(texture).max()).astype(np.uint8)
    places = [(20 - i * step_down, 20 - i * step_right) for i in range(9)]
    frames = [texture[top : top + height, left : left + width] for top, left in places]
    frames += list(rng.integers(0, 256, (2, height, width)).astype(np.uint8))
    return np.repeat(np.stack(frames)[..., None], 3, axis=3)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 1)])
def test_flow_maps_are_right_and_down_in_px_of_the_maps(right, down):
    found = prepare(moving(right, down))
    assert found.shape == (2, 8, 56, 56)
    assert found.dtype == np.float32
    inner = found[:, :, 8:-8, 8:-8].mean(axis=(1, 2, 3))
    # Half of the movement at 112 px. Grey values of a texture this smooth are rounded, the flow is not exact.
    np.testing.assert_allclose(inner, [right / 2, down / 2], atol=0.05)


def test_each_axis_has_its_own_scale():
    inner = prepare(moving(2, 2, height=112, width=168))[:, :, 8:-8, 8:-8].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(inner, [2 / 3, 1], atol=0.07)


def test_maps_follow_time_and_leave_onset_and_apex_out():
    frames = moving(1, 0)
    frames[5:9] = frames[4]
    found = prepare(frames)
    assert np.abs(found[0, :4, 8:-8, 8:-8].mean(axis=(1, 2)) - 0.5).max() < 0.05
    np.testing.assert_array_equal(found[:, 4:], 0)
    frames[9:] = 255 - frames[9:]
    np.testing.assert_array_equal(prepare(frames), found)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((10, 13, 13, 3), np.uint8), "8 frames besides onset and apex, 9 are needed"),
        (np.zeros((12, 13, 13, 3), np.uint8), "10 frames .* n_frames = 9"),
        (np.zeros((11, 13, 13, 3)), "RGB uint8.*float64"),
        (np.zeros((11, 13, 13), np.uint8), "RGB uint8"),
        (np.zeros((11, 13, 11, 3), np.uint8), "12 px each way"),
    ],
)
def test_prepare_refuses_other_frames(frames, words):
    with pytest.raises(ValueError, match=words):
        prepare(frames)


# --- network ----------------------------------------------------------------------------------------------


def test_shapes_layer_by_layer_and_parameters():
    model, x = network(), torch.zeros(2, 2, 8, 56, 56)
    shapes = []
    for block in model.blocks:
        x = block(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(2, 16, 8, 28, 28), (2, 32, 4, 14, 14), (2, 64, 2, 7, 7), (2, 96, 1, 1, 1)]
    convolutions = 27 * (2 * 16 + 16 * 32 + 32 * 64 + 64 * 96)
    norms, linear = 2 * (16 + 32 + 64 + 96), 97 * 64 + 65 * 3
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + linear == N_PARAMETERS
    assert model.embed(maps()).shape == (5, 64)
    assert network(7)(maps()).shape == (5, 7)


# --- losses -----------------------------------------------------------------------------------------------


def test_contrastive_loss_against_a_loop():
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(11, 3, generator=generator, dtype=torch.float64) / 2
    labels = torch.randint(0, 3, (11,), generator=generator)
    terms = []
    for i in range(11):
        for j in range(i):
            distance = math.dist(embeddings[i], embeddings[j])
            same = labels[i] == labels[j]
            terms.append(distance**2 / 2 if same else max(0, 1 - distance) ** 2 / 2)
    assert contrastive_loss(embeddings, labels).item() == pytest.approx(sum(terms) / 55, rel=1e-12)
    order = torch.randperm(11, generator=generator)
    shuffled = contrastive_loss(embeddings[order], labels[order]).item()
    assert shuffled == pytest.approx(sum(terms) / 55, rel=1e-12)


def test_pairs_that_there_are_none_of_and_pairs_at_one_place():
    embeddings = torch.ones(1, 3, requires_grad=True)
    loss = contrastive_loss(embeddings, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0
    embeddings = torch.ones(2, 3, requires_grad=True)
    loss = contrastive_loss(embeddings, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0.5
    assert embeddings.grad.isfinite().all()


def test_the_stages_have_these_losses():
    model, x, labels = network().eval(), maps(), torch.tensor([0, 1, 2, 1, 0])
    assert model.loss(x, labels).item() == pytest.approx(focal_loss(model(x), labels).item())
    first = model.pretraining_loss(x, labels).item()
    assert first == pytest.approx(contrastive_loss(model.embed(x), labels).item())
    assert first != pytest.approx(model.pretraining_loss(x, 0 * labels).item(), rel=1e-3)


# --- training ---------------------------------------------------------------------------------------------


def test_gradients_of_the_first_stage_reach_what_it_trains():
    model, x, labels = network(), maps(), torch.tensor([0, 1, 2, 1, 0])
    model.pretraining_loss(x, labels).backward()
    # A bias on all embeddings moves no pair apart.
    without = ("head.", "embedding.bias")
    assert all(p.grad.any() for name, p in model.named_parameters() if not name.startswith(without))
    assert all(p.grad is None for p in model.head.parameters())


def easy_clips(n=60, size=16):
    """Flow maps with a pattern of their class, and noise."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(0, 0.3, (3, 2, 8, size, size))
    labels = np.arange(n) % 3
    x = patterns[labels] + rng.normal(0, 0.2, (n, 2, 8, size, size))
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)


def test_it_learns_easy_clips_in_two_stages():
    model, clips = network(), easy_clips()
    losses = losses_in_tens(model, *clips, epochs=3, rate=1e-3, loss="pretraining_loss")
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
    assert fitted_in_tens(model, *clips, epochs=6, rate=1e-3) >= 0.95
