"""AlexNet on flow: sizes as published, three or four channels."""

import numpy as np
import pytest
import torch
from nets import n_parameters, normal
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.alexnet import AlexNet, prepare

pytestmark = pytest.mark.usefixtures("one_thread")

REDUCED = {"image_size": 64, "widths": (32, 96, 128, 96, 96), "stride": 2, "pooled": 2, "hidden": 256}


def network(n_classes=7, **sizes):
    torch.manual_seed(0)
    return AlexNet(n_classes, **(REDUCED | sizes))


def published(n_classes=7, **sizes):
    with torch.device("meta"):
        return AlexNet(n_classes, **sizes)


# --- input ------------------------------------------------------------------------------------------------


def test_each_channel_is_stretched_to_0_255():
    flow = np.zeros((2, 3, 4), np.float32)
    flow[0, 1] = [-4, 0, 3, 10]
    flow[1, 2] = [1, 0, 15, -20]
    expected = np.zeros((4, 2, 3), np.float32)
    expected[0] = [[204, 0, 204], [204, 204, 255]]  # from -4 to 1
    expected[2] = [[0, 51, 0], [0, 0, 255]]  # from 0 to 15
    expected[3] = [[170, 255, 170], [170, 170, 0]]  # from -10 to 5: the outermost tenths are cut off
    x = prepare(flow)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    np.testing.assert_allclose(prepare(flow[..., :3]), expected[:3], rtol=1e-6)
    assert flow[0, 1, 0] == -4


# --- sizes ------------------------------------------------------------------------------------------------


def test_published_size():
    assert n_parameters(published()) == 57_032_519
    assert n_parameters(published(in_channels=4)) == 57_032_519 + 64 * 11 * 11  # 57.04 M
    assert n_parameters(published(3)) == 57_032_519 - 4 * 4097
    assert n_parameters(published(1000)) == 61_100_840  # torchvision's


def test_published_cost_and_shapes():
    model, shapes = published().eval(), []
    for layer in model.features:
        if not isinstance(layer, torch.nn.ReLU):
            layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with FlopCounterMode(display=False) as flops:
        assert model(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 7)
    assert shapes == [
        (64, 55, 55), (64, 27, 27), (192, 27, 27), (192, 13, 13),
        (384, 13, 13), (256, 13, 13), (256, 13, 13), (256, 6, 6), (256, 6, 6),
    ]  # fmt: skip
    assert round(flops.get_total_flops() / 2e9, 2) == 0.71


def test_reduced_size():
    one, two, three, four, five = REDUCED["widths"]
    convolutions = one * (3 * 121 + 1) + two * (25 * one + 1)
    convolutions += three * (9 * two + 1) + four * (9 * three + 1) + five * (9 * four + 1)
    linears = 256 * (4 * five + 1) + 256 * 257 + 7 * 257
    assert n_parameters(network()) == convolutions + linears


@pytest.mark.parametrize(("stride", "smallest"), [(4, 63), (2, 35)])
def test_smallest_image(stride, smallest):
    model = network(image_size=smallest, stride=stride).eval()
    assert model(normal(2, 3, smallest, smallest)).shape == (2, 7)
    with pytest.raises(ValueError, match=f"image_size = {smallest - 1} px.*image_size >= {smallest}"):
        network(image_size=smallest - 1, stride=stride)
    with pytest.raises(RuntimeError):  # one px less is indeed too small
        model(normal(2, 3, smallest - 1, smallest - 1))


# --- the whole --------------------------------------------------------------------------------------------


def test_every_channel_is_read():
    model = network(in_channels=4).eval()
    x = normal(2, 4, 64, 64)
    with torch.inference_mode():
        for channel in range(4):
            other = x.clone()
            other[:, channel] += 1
            assert (model(other) - model(x)).abs().max() > 1e-5
