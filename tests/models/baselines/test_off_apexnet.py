"""OFF-ApexNet: the published size, and streams that see one channel each."""

import pytest
import torch
from nets import batch, n_parameters, shapes_of
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.off_apexnet import OffApexNet

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layers_and_size_are_the_published():
    model = OffApexNet(3)
    convolutions = 2 * (6 * 25 + 6 + 16 * 6 * 25 + 16)
    assert n_parameters(model) == convolutions + 1569 * 1024 + 1025 * 1024 + 1025 * 3
    assert round(n_parameters(model) / 1e6, 2) == 2.66
    names = ["stream_u.0", "stream_u.2", "stream_v.3", "stream_v.6", "head.0", "head.3", "head"]
    shapes = [(6, 28, 28), (6, 14, 14), (16, 14, 14), (784,), (1024,), (1024,), (3,)]
    assert shapes_of(model, batch(2, 2, 28, 28), names) == dict(zip(names, shapes, strict=True))


def test_its_cost_is_counted_by_hand():
    with FlopCounterMode(display=False) as counter:
        OffApexNet(3).eval()(batch(1, 2, 28, 28))
    convolutions = 2 * (28 * 28 * 6 * 25 + 14 * 14 * 16 * 6 * 25)
    assert counter.get_total_flops() / 2 == convolutions + 1568 * 1024 + 1024 * 1024 + 1024 * 3


def test_each_stream_sees_its_own_channel():
    model = OffApexNet(3, image_size=13, hidden=11).eval()
    x = batch(2, 2, 13, 13)
    x[1, 0], x[1, 1] = x[0, 1], x[0, 0]
    u, v = model.stream_u(x[:, :1]), model.stream_v(x[:, 1:])
    expected = model.head(torch.cat([u, v], dim=1))
    assert torch.equal(model(x), expected)
    assert not torch.allclose(model(x[:1]), model(x[1:]))  # u and v are not interchangeable
