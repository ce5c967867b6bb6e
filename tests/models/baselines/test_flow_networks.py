"""What all small networks on optical flow have in common: they are deterministic, learn, and refuse sizes."""

import math

import pytest
import torch
from nets import batch, fitted_in_tens

from hsta_lib.models.baselines.dual_atme import DualATME
from hsta_lib.models.baselines.dual_inception import DualInception
from hsta_lib.models.baselines.feat_ref import FeatRefApproximation
from hsta_lib.models.baselines.off_apexnet import OffApexNet
from hsta_lib.models.baselines.ststnet import STSTNet

pytestmark = pytest.mark.usefixtures("one_thread")

# A network, the shape of a clip, and the range of its pixels.
NETWORKS = [
    (DualATME, (2, 3, 28, 28), 1),
    (DualInception, (2, 28, 28), 1),
    (FeatRefApproximation, (2, 28, 28), 1),
    (OffApexNet, (2, 28, 28), 1),
    (STSTNet, (3, 28, 28), 255),
]


@pytest.mark.parametrize(("network", "shape", "scale"), NETWORKS)
def test_eval_is_deterministic(network, shape, scale):
    """Twice the same in eval mode, whoever else is in the batch; in training, dropout is drawn anew."""
    torch.manual_seed(0)
    model, x = network(7).eval(), scale * batch(5, *shape)
    with torch.no_grad():
        scores = model(x)
        assert torch.equal(scores, model(x))
        # Another batch size may take another path through the sums.
        assert torch.allclose(scores[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(scores[:1], scores[1:2], rtol=1e-4, atol=1e-5)
    dropped = any(isinstance(module, torch.nn.Dropout) for module in model.modules())
    model.train()
    assert torch.equal(model(x), model(x)) != dropped


@pytest.mark.parametrize(("network", "shape", "scale"), NETWORKS)
def test_every_parameter_learns(network, shape, scale):
    torch.manual_seed(0)
    model = network(3).train()
    if network is DualATME:  # the hidden layer of attention has three units
        torch.nn.init.ones_(model.cbam.channels[0].bias)
    model.loss(batch(7, *shape), torch.tensor([0, 1, 2, 0, 1, 2, 0])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("network", [DualInception, OffApexNet, STSTNet])
def test_the_loss_is_cross_entropy(network):
    model = network(3).eval()
    x = batch(2, *next(shape for kind, shape, _ in NETWORKS if kind is network))
    rows = model(x).tolist()
    terms = [math.log(sum(math.exp(s) for s in row)) - row[k] for row, k in zip(rows, (2, 0), strict=True)]
    assert model.loss(x, torch.tensor([2, 0])).item() == pytest.approx(sum(terms) / 2, abs=1e-5)


@pytest.mark.parametrize(("network", "_shape", "_scale"), NETWORKS)
def test_one_class_is_refused(network, _shape, _scale):
    with pytest.raises(ValueError, match="n_classes = 1 is too small; choose at least 2"):
        network(1)


@pytest.mark.parametrize(
    ("network", "sizes", "message"),
    [
        (DualATME, {"image_size": 7}, "image_size = 7 .* at least 8"),
        (DualATME, {"hidden": 0}, "hidden = 0"),
        (DualInception, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (DualInception, {"hidden": 0}, "hidden = 0"),
        (FeatRefApproximation, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (FeatRefApproximation, {"shared": 0}, "shared = 0"),
        (FeatRefApproximation, {"own": 0}, "own = 0"),
        (OffApexNet, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (OffApexNet, {"hidden": 0}, "hidden = 0"),
        (STSTNet, {"image_size": 1}, "image_size = 1"),
    ],
)
def test_impossible_sizes_are_refused(network, sizes, message):
    with pytest.raises(ValueError, match=message):
        network(3, **sizes)


@pytest.mark.parametrize(
    ("network", "sizes", "shape", "epochs", "rate"),
    [
        (DualATME, {"image_size": 16, "hidden": 64}, (2, 3, 16, 16), 6, 1e-3),
        (DualInception, {"image_size": 16, "hidden": 64}, (2, 16, 16), 6, 1e-3),
        (FeatRefApproximation, {"image_size": 16}, (2, 16, 16), 6, 1e-3),
        (OffApexNet, {"hidden": 128}, (2, 28, 28), 12, 1e-3),
        (STSTNet, {}, (3, 28, 28), 18, 1e-2),
    ],
)
def test_it_learns_patterns(network, sizes, shape, epochs, rate):
    """Clips show the pattern of their class and half as much noise."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    x = torch.rand(3, *shape, generator=generator)[labels] + 0.5 * torch.rand(60, *shape, generator=generator)
    x = {DualATME: 2 * x - 1, STSTNet: 255 * x}.get(network, x)
    model = network(3, **sizes)
    assert fitted_in_tens(model, x, labels, epochs=epochs, rate=rate) >= 0.95
