"""What all networks have in common: they are deterministic, learn, and refuse sizes."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from nets import batch, fitted_in_tens, normal, pixels
from torch.nn import functional

from hsta_lib.models.baselines import (
    alexnet,
    capsulenet,
    dual_atme,
    dual_inception,
    frl_dgt,
    htnet,
    micron_bert,
    mmnet,
    ststnet,
)
from hsta_lib.models.baselines.alexnet import AlexNet
from hsta_lib.models.baselines.capsulenet import CapsuleNet
from hsta_lib.models.baselines.causalnet import CausalNet
from hsta_lib.models.baselines.dual_atme import DualATME
from hsta_lib.models.baselines.dual_inception import DualInception
from hsta_lib.models.baselines.feat_ref import FeatRefApproximation
from hsta_lib.models.baselines.frl_dgt import FRLDGT
from hsta_lib.models.baselines.htnet import HTNet
from hsta_lib.models.baselines.mersiamc3d import MERSiamC3D
from hsta_lib.models.baselines.micron_bert import MicronBERT
from hsta_lib.models.baselines.mmnet import MMNet
from hsta_lib.models.baselines.off_apexnet import OffApexNet
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.models.baselines.ststnet import STSTNet

pytestmark = pytest.mark.usefixtures("one_thread")

BYTES = None
ALEXNET = partial(AlexNet, image_size=64, widths=(32, 96, 128, 96, 96), stride=2, pooled=2, hidden=256)
# A network, the shape of a clip, and the range of its pixels, or whole numbers.
FLOW = {
    "Dual-ATME": (DualATME, (2, 3, 28, 28), 1),
    "Dual-Inception": (DualInception, (2, 28, 28), 1),
    "FeatRef": (FeatRefApproximation, (2, 28, 28), 1),
    "OFF-ApexNet": (OffApexNet, (2, 28, 28), 1),
    "STSTNet": (STSTNet, (3, 28, 28), 255),
}
MMNET = {"image_size": 48, "stem": 5, "widths": (4, 4, 6, 8), "heads": 2, "depth": 2, "drop_path": 0.0}
MICRON = {"image_size": 15, "patch_size": 5, "d": 12, "layers": 1, "heads": 3, "decoder_layers": 1}
NETWORKS = FLOW | {
    "AlexNet": (ALEXNET, (3, 64, 64), 255),
    "AlexNet with depth": (partial(ALEXNET, in_channels=4), (4, 64, 64), 255),
    "HTNet": (partial(HTNet, patch_size=2, d=64, heads=4, depths=(2, 2)), (3, 28, 28), 255),
    "FRL-DGT": (FRLDGT, (2, 112, 112), 1),
    "MERSiamC3D": (MERSiamC3D, (2, 8, 17, 17), 1),
    "Micron-BERT": (partial(MicronBERT, **MICRON), (2, 3, 15, 15), BYTES),
    "MMNet": (partial(MMNet, **MMNET), (2, 3, 48, 48), BYTES),
}
CAPSULENET = partial(CapsuleNet, image_size=72, d=4, d_capsules=16, kernel=5), (3, 72, 72), BYTES


def clips(n, shape, scale):
    x = batch(n, *shape)
    return (255 * x).byte() if scale is BYTES else scale * x


@pytest.mark.parametrize(("network", "shape", "scale"), NETWORKS.values(), ids=NETWORKS)
def test_eval_is_deterministic(network, shape, scale):
    """Twice the same in eval mode, whoever else is in the batch; in training, dropout is drawn anew."""
    torch.manual_seed(0)
    model, x = network(7).eval(), clips(5, shape, scale)
    with torch.no_grad():
        scores = model(x)
        assert scores.shape == (5, 7)
        assert torch.equal(scores, model(x))
        # Another batch size may take another path through the sums.
        assert torch.allclose(scores[3:4], model(x[3:4]), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(scores[:1], scores[1:2], rtol=1e-4, atol=1e-5)
    dropped = any(isinstance(module, torch.nn.Dropout) and module.p for module in model.modules())
    model.train()
    assert torch.equal(model(x), model(x)) != dropped


# Of Micron-BERT a part is for its first stage alone.
LEARNING = {name: case for name, case in NETWORKS.items() if name != "Micron-BERT"} | {
    "CapsuleNet": CAPSULENET
}


@pytest.mark.parametrize(("network", "shape", "scale"), LEARNING.values(), ids=LEARNING)
def test_every_parameter_learns(network, shape, scale):
    torch.manual_seed(0)
    model = network(3).train()
    if network is DualATME:  # the hidden layer of attention has three units
        torch.nn.init.ones_(model.cbam.channels[0].bias)
    model.loss(clips(7, shape, scale), torch.tensor([0, 1, 2, 0, 1, 2, 0])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    "name", ["Dual-Inception", "OFF-ApexNet", "STSTNet", "AlexNet", "HTNet", "Micron-BERT", "MMNet"]
)
def test_the_loss_is_cross_entropy(name):
    network, shape, scale = NETWORKS[name]
    torch.manual_seed(0)
    model, x = network(3).eval(), clips(2, shape, scale)
    rows = model(x).tolist()
    terms = [math.log(sum(math.exp(s) for s in row)) - row[k] for row, k in zip(rows, (2, 0), strict=True)]
    assert model.loss(x, torch.tensor([2, 0])).item() == pytest.approx(sum(terms) / 2, abs=1e-4)


@pytest.mark.parametrize("name", [*FLOW, "FRL-DGT", "MERSiamC3D", "Micron-BERT"])
def test_one_class_is_refused(name):
    with pytest.raises(ValueError, match="n_classes = 1"):
        NETWORKS[name][0](1)


@pytest.mark.parametrize("module", [capsulenet, frl_dgt, micron_bert, mmnet])
@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((7, 11, 13, 3), np.float32),
        np.zeros((7, 11, 13), np.uint8),
        np.zeros((7, 3, 11, 13), np.uint8),
        np.zeros((1, 11, 13, 3), np.uint8),
    ],
)
def test_what_is_no_onset_and_apex_is_refused(module, frames):
    with pytest.raises(ValueError, match=r"frames must be RGB uint8 of shape \(t \+ 2, h, w, 3\)"):
        module.prepare(frames)


NO_FLOW = {
    alexnet: [
        (np.zeros(shape, np.float32), r"flow must have shape \(h, w, 3\).*change of depth")
        for shape in [(5, 7, 2), (5, 7, 5), (5, 7), (3, 5, 7)]
    ],
    htnet: [
        (np.zeros(shape, np.float32), r"flow must have shape \(28, 28, 3\)")
        for shape in [(29, 28, 3), (28, 28, 2), (3, 28, 28), (28, 28)]
    ],
    dual_atme: [(np.zeros((5, 7, 2), np.float32), r"found float32 \(5, 7, 2\)")],
    dual_inception: [(np.zeros((5, 7, 2), np.float32), r"found float32 \(5, 7, 2\)")],
    ststnet: [
        (np.zeros((5, 7, 2), np.float32), r"\(h, w, 3\).*found float32 \(5, 7, 2\)"),
        (np.zeros((5, 7), np.float32), r"found float32 \(5, 7\)"),
        (np.zeros((5, 7, 3)), "found float64"),
        (np.full((5, 7, 3), np.nan, np.float32), "not finite"),
    ],
}


@pytest.mark.parametrize(
    ("module", "flow", "message"), [(module, *case) for module, some in NO_FLOW.items() for case in some]
)
def test_what_is_no_flow_is_refused(module, flow, message):
    with pytest.raises(ValueError, match=message):
        module.prepare(flow)


@pytest.mark.parametrize("module", [capsulenet, micron_bert, mmnet])
def test_onset_and_apex_are_the_last_two_frames(module):
    frames = pixels(7, 11, 13, 3).numpy()
    x = module.prepare(frames)
    assert x.dtype == np.uint8
    expected = np.moveaxis(frames[-2:], 3, 1)
    np.testing.assert_array_equal(x, expected[1] if module is capsulenet else expected)
    assert x.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_clip_is_left_as_it_is(name):
    system = SYSTEMS[name]["reduced"]
    size, n_frames = system.frames["image_size"], system.frames["n_frames"] + 2
    clip = pixels(n_frames, size, size, 3).numpy()
    if system.flow_size:
        clip = normal(system.flow_size, system.flow_size, 3 + system.depth).numpy()
    before = clip.copy()
    system.prepare(clip)
    np.testing.assert_array_equal(clip, before)


@pytest.mark.parametrize(
    ("network", "sizes", "message"),
    [
        (CapsuleNet, {"d_capsules": 100}, "d_capsules = 100 is not divisible by 8"),
        (CapsuleNet, {"image_size": 128}, "image_size = 128 px leaves no place.*image_size > 128"),
        (CapsuleNet, {"image_size": 64, "kernel": 5}, "image_size = 64 px.*image_size > 64"),
        (
            CausalNet, {"d": 8, "heads": 2, "depths": (1, 1, 1), "place_heads": 3},
            "a place has 8 channels, which place_heads = 3 does not divide",
        ),
        (DualATME, {"image_size": 7}, "image_size = 7 .* at least 8"),
        (DualATME, {"hidden": 0}, "hidden = 0"),
        (DualInception, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (DualInception, {"hidden": 0}, "hidden = 0"),
        (FeatRefApproximation, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (FeatRefApproximation, {"shared": 0}, "shared = 0"),
        (FeatRefApproximation, {"own": 0}, "own = 0"),
        (HTNet, {"patch_size": 5}, "image_size = 28 px is not divisible by patch_size = 5"),
        (
            HTNet, {"patch_size": 2},
            r"depths = \(2, 2, 10\) need a grid of patches divisible by 4.* make 14",
        ),
        (HTNet, {"d": 2}, "heads = 3 is more than d = 2"),
        (MMNet, {"image_size": 100}, "image_size = 100 px is no multiple of 16"),
        (MMNet, {"heads": 3}, "widths end in 512, no multiple of heads = 3"),
        (MicronBERT, MICRON | {"image_size": 16}, "image_size = 16 px .* patch_size = 5 px"),
        (MicronBERT, MICRON | {"heads": 5}, "d = 12 .* heads = 5"),
        (MicronBERT, MICRON | {"d": 9}, "d = 9 .* by 4"),
        (OffApexNet, {"image_size": 3}, "image_size = 3 .* at least 4"),
        (OffApexNet, {"hidden": 0}, "hidden = 0"),
        (STSTNet, {"image_size": 1}, "image_size = 1"),
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("network", "size", "epochs", "rate"),
    [
        (ALEXNET, 64, 7, 2e-4),
        (partial(CapsuleNet, image_size=72, d=16, d_capsules=64, kernel=5), 72, 4, 1e-3),
        (partial(HTNet, patch_size=2, d=64, heads=4, depths=(2, 2)), 28, 4, 3e-4),
    ],
)
def test_it_learns_smooth_patterns(network, size, epochs, rate):
    """Clips show the pattern of their class, four blobs along each side, and some noise."""
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    patterns = functional.interpolate(coarse, size=size, mode="bilinear")
    x = (38 + 180 * patterns[labels] + 20 * normal(60, 3, size, size)).clamp(0, 255)
    model = network(3)
    x = x.byte() if network.func is CapsuleNet else x
    assert fitted_in_tens(model, x, labels, epochs=epochs, rate=rate) >= 0.95
