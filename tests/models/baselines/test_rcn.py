"""RCN-A, RCN-S and RCN-W: the published sizes, the recurrence and the attention by hand."""

import math

import pytest
import torch
from flow_nets import (
    assert_eval_is_deterministic,
    assert_every_parameter_learns,
    batch,
    easy_clips,
    fitted_accuracy,
    n_parameters,
    one_thread,  # noqa: F401
    shapes_of,
)
from torch import nn

from hsta_lib.models.baselines.rcn import (
    RCNA,
    RCNS,
    RCNW,
    DilatedStreams,
    RecurrentLayer,
    ShortcutLayer,
    attention_map,
    convolution,
)

FORMS = [RCNA, RCNS, RCNW]


# --- sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "sizes", "published"),
    [(RCNA, {}, 55_747), (RCNA, {"width": 32, "pool": 5}, 15_331), (RCNW, {}, 52_675)],
)
def test_parameters_are_the_published(form, sizes, published):
    assert n_parameters(form(3, **sizes)) == published


def test_of_rcn_s_only_a_convolution_is_left_out_that_is_never_called():
    assert n_parameters(RCNS(3)) + n_parameters(convolution(64, 64, 3)) == 92_803


@pytest.mark.parametrize(
    ("form", "stem", "layer"),
    [
        (RCNA, (64, 28, 28), (64, 14, 14)),
        (RCNS, (64, 28, 28), (64, 14, 14)),
        (RCNW, (64, 20, 20), (64, 10, 10)),
    ],
)
def test_layers_have_the_published_shapes(form, stem, layer):
    model = form(3)
    shapes = shapes_of(model, batch(2, 3, 60, 60), ["stem", "layer", "head"])
    assert shapes == {"stem": stem, "layer": layer, "head": (3,)}
    assert model.head.in_features == 7 * 7 * 64


def test_streams_are_dilated():
    streams = DilatedStreams(8).eval()
    assert [stream[0].out_channels for stream in streams.streams] == [4, 2, 2]
    assert streams(batch(2, 3, 17, 23)).shape == (2, 8, 6, 8)
    for dilation, stream in enumerate(streams.streams, start=1):
        nn.init.ones_(stream[0].weight)
        nn.init.zeros_(stream[0].bias)
        x = torch.zeros(1, 3, 19, 19)
        x[0, 0, 9 - dilation, 9 + dilation] = 1  # a corner of the kernel that lies on place (3, 3)
        assert stream(x)[0, 0, 3, 3].item() == pytest.approx(1, abs=1e-4)
        x[0, 0, 9 - dilation, 9 + dilation] = 0
        x[0, 0, 9 - dilation, 9 + dilation + 1] = 1
        assert stream(x)[0, 0, 3, 3] == 0


# --- recurrence and attention -----------------------------------------------------------------------------


def constant_layer(layer, first, factor):
    """A layer of one channel, place by place: first x to ``first * x``, then x to ``factor * x``."""
    layer = layer(1).eval()
    for part, value in ((layer.first[0], first), (layer.repeated[0], factor)):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
        middle = part.weight.shape[-1] // 2
        part.weight.data[..., middle, middle] = value
    return layer


def test_the_recurrent_layer_by_hand():
    # 2 -> state 6 -> 0.5 * (2 + 6) = 4 -> 0.5 * (2 + 4) = 3
    layer = constant_layer(RecurrentLayer, first=3, factor=0.5)
    assert layer(torch.full((1, 1, 2, 2), 2.0)).item() == pytest.approx(3, abs=1e-3)


def test_the_shortcuts_by_hand():
    # 2 -> y = 6 -> z = 0.5 * (2 + 6) = 4 -> e = 0.5 * (2 + 6 + 4) = 6 -> 0.5 * (2 + 6 + 4 + 6) = 9
    layer = constant_layer(ShortcutLayer, first=3, factor=0.5)
    assert layer(torch.full((1, 1, 2, 2), 2.0)).item() == pytest.approx(9, abs=1e-3)


def test_the_attention_map_by_hand():
    features = torch.tensor([[[[1.0, 2], [3, 4]], [[0.0, 1], [0, 1]]]])
    weight = torch.tensor([[2.0, 2, 2, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, -4, 0, 4]])
    # Class 0: means 1, 2, 3, 4, stretched to 0, 1/3, 2/3, 1.
    # Class 1: means 0, -2, 0, 2, stretched to 1/2, 0, 1/2, 1.
    expected = torch.tensor([[1 / 4, 1 / 6], [7 / 12, 1]])
    assert torch.allclose(attention_map(features, weight)[0, 0], expected)


def test_a_constant_map_attends_to_nothing():
    maps = attention_map(torch.ones(1, 2, 3, 3), torch.ones(3, 18))
    assert (maps == 0).all()


def test_attention_multiplies_the_pooled_features():
    torch.manual_seed(0)
    model, x = RCNA(3, width=5, pool=3).eval(), batch(2, 3, 23, 29)
    pooled = nn.functional.adaptive_avg_pool2d
    first = model.stem(x)
    grid = pooled(model.layer(first), 3) * attention_map(pooled(first, 3), model.head.weight)
    assert torch.allclose(model(x), model.head(grid.flatten(1)), rtol=0, atol=1e-6)


# --- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_cross_entropy(form):
    model = form(3, width=8, pool=3).eval()
    x = batch(2, 3, 29, 29)
    rows = model(x).tolist()
    terms = [math.log(sum(math.exp(s) for s in row)) - row[k] for row, k in zip(rows, (2, 0), strict=True)]
    assert model.loss(x, torch.tensor([2, 0])).item() == pytest.approx(sum(terms) / 2, abs=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_eval_is_deterministic_and_training_is_not(form):
    torch.manual_seed(0)
    model = form(7)
    nn.init.normal_(model.head.weight)  # at first it is so small that clips hardly differ
    assert_eval_is_deterministic(model, batch(5, 3, 60, 60))


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_learns(form):
    torch.manual_seed(0)
    assert_every_parameter_learns(form(3), batch(5, 3, 60, 60), torch.tensor([0, 1, 2, 0, 1]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("n_classes", "sizes", "message"),
    [
        (1, {}, "n_classes = 1 is too small; choose at least 2"),
        (3, {"pool": 0}, "pool = 0"),
        (3, {"width": 0}, "width = 0"),
    ],
)
def test_impossible_sizes_are_refused(form, n_classes, sizes, message):
    with pytest.raises(ValueError, match=message):
        form(n_classes, **sizes)


def test_streams_need_a_width_that_can_be_divided():
    with pytest.raises(ValueError, match=r"width = 30 .* multiple of 4"):
        RCNW(3, width=30)


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_patterns(form):
    torch.manual_seed(0)
    x, labels = easy_clips(3, 28, 28)
    assert fitted_accuracy(form(3, width=16, pool=5), x, labels, epochs=30, rate=1e-2) >= 0.95
