"""Micron-BERT: sizes of the published network, attention and first stage against plain loops, learning."""

import math

import numpy as np
import pytest
import torch
from nets import fitted_in_tens, losses_in_tens, n_parameters, pixels
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.models.baselines.micron_bert import (
    DiagonalAttention,
    MicronBERT,
    exchange_patches,
    layers_of,
    sincos_grid,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Sizes of the form for a CPU, at 112 px; the tests that train see fewer patches.
REDUCED = {"d": 128, "layers": 2, "decoder_layers": 1}
TINY = {"image_size": 15, "patch_size": 5, "d": 12, "layers": 1, "heads": 3, "decoder_layers": 1}


def tiny_network(n_classes=5):
    torch.manual_seed(0)
    return MicronBERT(n_classes, **TINY)


def gmac(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return MicronBERT(3), torch.empty(1, 2, 3, 224, 224)


# --- sizes ------------------------------------------------------------------------------------------------


def test_the_published_encoder_has_13_11_million_parameters(published):
    network, _ = published
    # The authors count the fixed positions of 784 patches and the contextual token, too.
    encoder = n_parameters(network.encoder) + network.positions.numel()
    assert encoder == 13_111_808
    # Query, value and projection with biases; the key's, which the authors have, is not here.
    attention = n_parameters(network.attention) + 512
    assert attention == 4 * (512**2 + 512)
    decoder = n_parameters(network.decoder) + 784 * 512
    assert round((encoder + attention + decoder) / 1e6, 2) == 27.54


def test_the_published_cost(published):
    network, x = published
    assert round(gmac(lambda: network.encoder(x[:, 0], network.positions)), 2) == 12.48
    assert round(gmac(lambda: network(x)), 2) == 26.09
    assert round(gmac(lambda: network.pretraining_loss(x, None)), 2) == 38.76


def test_the_reduced_form_has_half_a_million_parameters():
    network = MicronBERT(3, image_size=112, **REDUCED)
    recognition = n_parameters(network) - n_parameters(network.decoder)
    layer = 12 * 128**2 + 13 * 128
    # Patches, contextual token and last norm; layers; diagonal attention; norm and head.
    assert recognition == (193 * 128 + 3 * 128) + 2 * layer + (4 * 128**2 + 3 * 128) + (2 * 128 + 129 * 3)
    assert n_parameters(network.decoder) == layer + 129 * 128 + 2 * 128 + 129 * 192


# --- input ------------------------------------------------------------------------------------------------


def test_pixels_are_normalised_as_imagenet_s():
    x = torch.zeros(1, 2, 3, 15, 15, dtype=torch.uint8)
    x[0, 1, 2] = 255
    onset, apex = tiny_network().normalised(x).unbind(dim=1)
    assert onset[0, 0, 0, 0].item() == pytest.approx(-0.485 / 0.229, abs=1e-5)
    assert apex[0, 2, 3, 3].item() == pytest.approx((1 - 0.406) / 0.225, abs=1e-5)


def test_positions_by_hand():
    table = sincos_grid(3, 8)
    assert table.shape == (10, 8)
    assert not table[0].any()
    row, column = 2, 1  # the token of row-major place 7, after the contextual one
    rates = (1, 1 / 100)
    expected = [f(place * rate) for place in (row, column) for f in (math.sin, math.cos) for rate in rates]
    np.testing.assert_allclose(table[1 + 7], expected, atol=1e-6)


# --- diagonal attention -----------------------------------------------------------------------------------


def test_diagonal_attention_against_a_loop():
    b, n, d = 2, 5, 7
    torch.manual_seed(3)
    attention = DiagonalAttention(d).double()
    tokens, reference = torch.randn(2, b, n, d, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in attention.named_parameters()}
    found = attention(tokens, reference).detach().numpy()
    for i in range(b):
        keys = [p["key.weight"] @ z.numpy() for z in reference[i]]
        for place in range(n):
            z = tokens[i, place].numpy()
            query = p["query.weight"] @ z + p["query.bias"]
            weights = [math.exp(query @ key / math.sqrt(d)) for key in keys]
            value = p["value.weight"] @ z + p["value.bias"]
            expected = p["projection.weight"] @ (weights[place] / sum(weights) * value) + p["projection.bias"]
            np.testing.assert_allclose(found[i, place], expected, atol=1e-12)


def test_a_layer_is_a_pre_norm_transformer_layer():
    d, heads = 6, 2
    torch.manual_seed(1)
    (layer,) = layers_of(1, d, heads).double()
    x = torch.randn(2, 5, d, dtype=torch.float64)
    normed = functional.layer_norm(x, (d,), eps=1e-6)
    q, k, v = functional.linear(normed, layer.self_attn.in_proj_weight).chunk(3, dim=2)
    read = []
    for q_h, k_h, v_h in zip(*(z.chunk(heads, dim=2) for z in (q, k, v)), strict=True):
        read.append((q_h @ k_h.mT / math.sqrt(d / heads)).softmax(dim=2) @ v_h)
    x1 = x + torch.cat(read, dim=2) @ layer.self_attn.out_proj.weight.T
    normed = functional.layer_norm(x1, (d,), eps=1e-6)
    expected = x1 + layer.linear2(functional.gelu(layer.linear1(normed)))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


# --- first stage ------------------------------------------------------------------------------------------


def test_half_of_the_patches_are_exchanged():
    frames, reference = torch.zeros(3, 3, 15, 20), torch.ones(3, 3, 15, 20)
    torch.manual_seed(0)
    mixed = exchange_patches(frames, reference, 5)
    patches = mixed.unfold(2, 5, 5).unfold(3, 5, 5)
    assert (patches == patches[..., :1, :1]).all()
    assert (mixed == mixed[:, :1]).all()
    drawn = patches[:, 0, :, :, 0, 0].flatten(1)
    assert drawn.sum(dim=1).tolist() == [6, 6, 6]
    assert len(drawn.unique(dim=0)) == 3
    torch.manual_seed(0)
    assert torch.equal(mixed, exchange_patches(frames, reference, 5))
    assert not torch.equal(mixed, exchange_patches(frames, reference, 5))


def test_the_first_stage_is_the_mean_squared_error_of_the_apex():
    network, x = tiny_network().eval(), pixels(2, 2, 3, 15, 15)
    with torch.no_grad():
        network.decoder.pixels.weight.zero_()
        network.decoder.pixels.bias.copy_(torch.arange(75) / 10)
        torch.manual_seed(0)
        found = network.pretraining_loss(x, None).item()
    total = 0.0
    for clip in x[:, 1].double() / 255:
        for place in range(9):
            top, left = 5 * (place // 3), 5 * (place % 3)
            for i in range(75):  # row, column, colour
                row, column, colour = i // 15, i // 3 % 5, i % 3
                mean, std = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))[colour]
                total += ((clip[colour, top + row, left + column].item() - mean) / std - i / 10) ** 2
    assert found == pytest.approx(total / (2 * 9 * 75), rel=1e-5)


def test_the_first_stage_sees_the_onset_and_no_labels():
    network, x = tiny_network().eval(), pixels(3, 2, 3, 15, 15)
    other = x.clone()
    other[:, 0] = 255 - other[:, 0]
    losses = []
    for given, labels in ((x, None), (x, torch.tensor([0, 1, 2])), (other, None)):
        torch.manual_seed(5)
        losses.append(network.pretraining_loss(given, labels).item())
    assert losses[0] == losses[1] != losses[2]


# --- training ---------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter_of_their_stage():
    network, x = tiny_network(), pixels(3, 2, 3, 15, 15)
    network.loss(x, torch.tensor([0, 1, 2])).backward()
    assert not any(parameter.grad is not None for parameter in network.decoder.parameters())
    assert all(p.grad.any() for name, p in network.named_parameters() if not name.startswith("decoder."))
    network.zero_grad()
    network.pretraining_loss(x, None).backward()
    of_head = ("head.", "norm.")
    assert all(p.grad.any() for name, p in network.named_parameters() if not name.startswith(of_head))
    assert all(p.grad is None for name, p in network.named_parameters() if name.startswith(of_head))


def easy_clips(n=60, size=32):
    """Random faces; the apex differs from the onset where the class says, and by noise."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(0, 40, (3, 3, size, size))
    labels = np.arange(n) % 3
    onset = rng.integers(60, 196, (n, 3, size, size))
    apex = onset + patterns[labels] + rng.normal(0, 5, onset.shape)
    x = np.stack([onset, apex], axis=1).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(x), torch.from_numpy(labels)


def test_it_learns_easy_clips_after_its_first_stage():
    torch.manual_seed(0)
    network, clips = MicronBERT(3, image_size=32, **REDUCED), easy_clips()
    losses = losses_in_tens(network, *clips, epochs=3, rate=1e-3, loss="pretraining_loss")
    assert np.mean(losses[-4:]) < 0.7 * losses[0]
    assert fitted_in_tens(network, *clips, epochs=5, rate=1e-3) >= 0.95
