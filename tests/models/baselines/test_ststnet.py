"""STSTNet: one convolution is three streams, the published size, and its input."""

import numpy as np
import pytest
import torch
from nets import batch, n_parameters, shapes_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.ststnet import STSTNet, prepare

pytestmark = pytest.mark.usefixtures("one_thread")

# --- input ------------------------------------------------------------------------------------------------


def test_every_channel_is_stretched_by_its_own_range():
    flow = np.zeros((2, 3, 3), np.float32)
    flow[..., 0] = [[-1, 0, 1], [1, 3, 0]]  # range 4
    flow[..., 1] = [[5, 5, 5], [5, 5, 5]]
    flow[..., 2] = [[0, 0.5, 0], [0, 0, 0.25]]
    picture = prepare(flow)
    assert (picture.shape, picture.dtype) == ((3, 2, 3), np.float32)
    assert picture[0] == pytest.approx(np.array([[0, 63.75, 127.5], [127.5, 255, 63.75]]))
    assert (picture[1] == 0).all()
    assert picture[2] == pytest.approx(np.array([[0, 255, 0], [0, 0, 127.5]]))


# --- network ----------------------------------------------------------------------------------------------


def test_layers_and_size_are_the_published():
    model = STSTNet(3)
    assert n_parameters(model) == 1683
    shapes = shapes_of(model, batch(2, 3, 28, 28), ["convolution", "norm", "dropout", "head"])
    assert shapes == {
        "convolution": (16, 30, 30),
        "norm": (16, 30, 30),
        "dropout": (16, 10, 10),
        "head": (3,),
    }
    assert model.head.in_features == 5 * 5 * 16


def test_its_cost_is_counted_by_hand():
    with FlopCounterMode(display=False) as counter:
        STSTNet(3).eval()(batch(1, 3, 28, 28))
    assert counter.get_total_flops() / 2 == 30 * 30 * 16 * 3 * 3 * 3 + 400 * 3


class ThreeStreams(nn.Module):
    """As published: a stream of 3, of 5 and of 8 filters, concatenated after pooling and dropout."""

    def __init__(self, one, dropout):
        super().__init__()
        self.streams, start = nn.ModuleList(), 0
        for n_filters in (3, 5, 8):
            stream = nn.Sequential(
                nn.Conv2d(3, n_filters, 3, padding=2),
                nn.ReLU(),
                nn.BatchNorm2d(n_filters),
                nn.MaxPool2d(3, stride=3, padding=1),
                nn.Dropout(dropout),
            )
            own = slice(start, start + n_filters)
            self._copy(stream[0], one.convolution, own)
            self._copy(stream[2], one.norm, own)
            self.streams.append(stream)
            start += n_filters
        self.head = nn.Linear(400, 3)
        self.head.load_state_dict(one.head.state_dict())

    @staticmethod
    def _copy(to, of, own):
        values = {name: value[own] if value.ndim else value for name, value in of.state_dict().items()}
        to.load_state_dict(values)

    def forward(self, x):
        x = torch.cat([stream(x) for stream in self.streams], dim=1)
        return self.head(nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.mark.parametrize("training", [False, True])
def test_one_convolution_is_three_streams(training):
    torch.manual_seed(3)
    one = STSTNet(3)
    one.dropout.p = 0.0  # dropout draws its own numbers in either
    for value in (one.norm.weight, one.norm.bias, one.norm.running_mean, one.norm.running_var):
        value.data.uniform_(0.5, 2)
    three = ThreeStreams(one, dropout=0.0)
    x = 255 * batch(7, 3, 28, 28)
    one.train(training)
    three.train(training)
    with torch.no_grad():
        scores = one(x)
        # Scores are of order 100; the order of the sums differs.
        assert torch.allclose(scores, three(x), rtol=1e-4, atol=1e-3)
    assert scores.std() > 0.1


@pytest.mark.parametrize(("image_size", "side"), [(2, 1), (13, 2), (14, 3), (23, 4), (31, 5), (32, 6)])
def test_pictures_of_other_sizes(image_size, side):
    model = STSTNet(7, image_size=image_size)
    assert model.head.in_features == side * side * 16
    assert model.eval()(batch(2, 3, image_size, image_size)).shape == (2, 7)
