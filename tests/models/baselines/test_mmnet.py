"""MMNet: sizes as published, weights of places, what each branch sees."""

import itertools
from functools import partial

import pytest
import torch
from nets import fitted_in_tens, n_parameters, pixels, seeded, without_weights
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.mmnet import AttentionBlock, Layer, MMNet, Position

pytestmark = pytest.mark.usefixtures("one_thread")

REDUCED = {"image_size": 112, "stem": 45, "widths": (32, 32, 64, 128), "depth": 2}
TINY = {"image_size": 48, "stem": 5, "widths": (4, 4, 6, 8), "heads": 2, "depth": 2}


network = partial(seeded, MMNet)
published = partial(without_weights, MMNet)


# --- sizes ------------------------------------------------------------------------------------------------


def block_parameters(d_in, d, shrinks):
    skip = d_in * d + 2 * d if shrinks else 0
    return 9 * d_in * d + 2 * d + d * d + 2 * d + skip + 2 + 2


def test_published_size():
    stem = 27 * 180 + 2 * 180 + 9 * 180 * 128 + 2 * 128
    blocks = block_parameters(128, 128, False) + block_parameters(128, 128, True)
    blocks += block_parameters(128, 256, True) + block_parameters(256, 512, True)
    layer = 2 * 2 * 512 + 4 * 512 * 512 + 4 * 512 + 2 * (2 * 512 * 512) + 3 * 512
    position = 4 * 512 + 196 * 512 + 3 * layer + 2 * 512
    assert n_parameters(published()) == stem + blocks + position + 3 * (196 * 512 + 1) == 9_241_719


def test_size_with_what_the_authors_transformer_never_reads():
    # Their three-class network has five outputs, its transformer a class token, five outputs and a mask.
    unread = 512 + (512 * 5 + 5) + (512 + 1)
    assert round((n_parameters(published(5)) + unread) / 1e6, 2) == 9.45


def test_published_cost_and_shapes():
    model, shapes = published().eval(), []
    blocks = [module for module in model.modules() if isinstance(module, AttentionBlock)]
    for block in blocks:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output[0].shape[1:])))
    model.head.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape[1:])))
    with FlopCounterMode(display=False) as flops:
        assert model(torch.zeros(1, 2, 3, 224, 224, device="meta")).shape == (1, 3)
    assert shapes == [(128, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (100_352,)]
    assert round(flops.get_total_flops() / 2e9, 2) == 7.25


def test_reduced_size():
    assert round(n_parameters(MMNet(3, **REDUCED)) / 1e6, 2) == 0.45


# --- motion -----------------------------------------------------------------------------------------------


def test_weights_of_places_by_hand():
    block = AttentionBlock(2, 2, stride=1).eval()
    with torch.no_grad():
        block.branch[3].weight.zero_()  # leaves the skip connection alone
        block.weigh[0].weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
        x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 5, 7)
        out, weights = block(x)
        again, product = block(x, weights=torch.full((1, 1, 5, 7), 0.5))
    sigmoid = 0.268941  # of mean 2 minus maximum 3
    assert weights.shape == (1, 1, 5, 7)
    assert weights[0, 0, 2, 3].item() == pytest.approx(sigmoid, abs=1e-5)
    assert out[0, :, 4, 6].tolist() == pytest.approx([sigmoid, 3 * sigmoid], abs=1e-5)
    assert torch.allclose(product, weights / 2)
    assert torch.allclose(again, out / 2)


def test_later_weights_are_never_above_the_earlier_ones_around():
    model, passed = network(**TINY).eval(), []
    for block in [model.motion.first, *model.motion.others]:
        block.register_forward_hook(lambda module, inputs, output: passed.append(output[1]))
    with torch.inference_mode():
        model(pixels(2, 2, 3, 48, 48))
    assert [tuple(weights.shape[1:]) for weights in passed] == [(1, n, n) for n in (24, 12, 6, 3)]
    for earlier, later in itertools.pairwise(passed):
        assert (later < functional.max_pool2d(earlier, 3, stride=2, padding=1)).all()
        assert later.min() > 0


def captured(model, module, x):
    """What a module of the network is given."""
    given = []
    module.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    with torch.inference_mode():
        model.eval()(x)
    return given[0]


def test_motion_sees_the_difference_and_position_the_onset():
    x = pixels(2, 2, 3, 48, 48)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    model = network(**TINY)
    difference = (x[:, 1].float() - x[:, 0].float()) / 255 / deviation
    assert torch.allclose(captured(model, model.motion, x), difference, atol=1e-5)
    assert torch.allclose(captured(model, model.position, x), (x[:, 0] / 255 - mean) / deviation, atol=1e-5)


def test_both_frames_matter():
    model, x = network(**TINY, drop_path=0.0), pixels(2, 2, 3, 48, 48)
    with torch.inference_mode():
        scores = model(x)  # in train mode: with the running averages it starts with, maps are near zero
        for frame in range(2):
            other = x.clone()
            other[:, frame] = 255 - other[:, frame]
            assert (model(other) - scores).abs().max() > 1e-3


# --- position ---------------------------------------------------------------------------------------------


def test_onset_is_averaged_to_one_pixel_per_place():
    torch.manual_seed(0)
    position = Position(3, d=8, heads=2, depth=1, drop_path=0.0)
    small = torch.randn(2, 3, 3, 3)
    checks = torch.tensor([[1.0, -1], [-1, 1]]).repeat(8, 8)  # of mean 0 in every block of 16 px
    large = small.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3) + checks.repeat(3, 3)
    assert torch.allclose(position(large), position(small), atol=1e-5)


def test_position_attends_over_all_places():
    torch.manual_seed(0)
    position = Position(3, d=8, heads=2, depth=1, drop_path=0.0)
    onset = torch.randn(1, 3, 3, 3)
    other = onset.clone()
    other[0, :, 0, 1] += 1
    with torch.no_grad():
        for layer in position.layers[:-1]:
            layer.attention[1].project.weight.mul_(50)  # starts near zero
        assert ((position(other) - position(onset)).abs().amax(dim=1) > 1e-6).all()


def test_layers_are_left_out_in_training_at_rising_rates():
    model = published()
    assert [layer.drop_path.keep for layer in model.position.layers[:-1]] == pytest.approx([1, 0.85, 0.7])
    torch.manual_seed(0)
    layer, tokens = Layer(8, heads=2, drop_path=0.5), torch.randn(101, 3, 8)
    with torch.no_grad():
        for linear in (layer.attention[1].project, layer.feed_forward[3]):
            torch.nn.init.ones_(linear.bias)
            torch.nn.init.zeros_(linear.weight)  # both branches add 1
        assert torch.allclose(layer.eval()(tokens), tokens + 2)
        added = (layer.train()(tokens) - tokens)[:, 0, 0].round().int()
    assert set(added.tolist()) == {0, 2, 4}


# --- the whole --------------------------------------------------------------------------------------------


def smooth(n, seed):
    """Pictures of 48 px with four blobs along each side, in 0..1."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size=48, mode="bilinear")


def test_it_can_be_fitted():
    labels = torch.arange(60) % 3
    onset = 20 + 150 * smooth(60, seed=9)
    apex = onset + 60 * smooth(3, seed=3)[labels]
    noise = 5 * torch.randn(60, 2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    x = (torch.stack([onset, apex], dim=1) + noise).clamp(0, 255).byte()
    model = network(**REDUCED | {"image_size": 48})
    assert fitted_in_tens(model, x, labels, epochs=8, rate=8e-4) >= 0.95
