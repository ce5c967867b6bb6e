"""The network against a second implementation in plain loops, and against what the equations imply."""

import math

import numpy as np
import pytest
import torch
from einops import rearrange
from tiny import network_of, scores_of

from hsta_lib.config import Model, Settings, with_fields
from hsta_lib.models.hsta import (
    HSTA,
    Branch,
    TubeletEmbedding,
    sincos_positions,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Prime where they can be, so that no swapped axis fits. Video: 2 * 5 * 5 tokens, special: 1 * 5 * 5.
SIZES = {
    "n_classes": 7, "n_frames": 10, "image_size": 15, "patch_size": 3, "tubelet_size": 5, "d": 11,
    "m": 2, "l_v": 3, "l_s": 1, "csta": True,
    "positions": "sincos", "mlp": "ln_gelu_linear", "head": "linear", "init": "normal",
}  # fmt: skip
N_CLIPS = 2
# Both sides compute in float64; the logits are of order 1, and rounding through five layers stays below.
CLOSE = {"rtol": 0, "atol": 1e-6}


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomised(module):
    """In float64, with every parameter random: LayerNorms and biases start where they do nothing."""
    module = module.double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return module


def network(**changes):
    return randomised(network_of(**SIZES | changes))


def clips(seed=0):
    """Pixels of both branches."""
    return normal(N_CLIPS, 3, 10, 15, 15, seed=seed), normal(N_CLIPS, 3, 2, 15, 15, seed=seed + 100)


def embedded(embed, pixels):
    return embed(embed.cut(pixels))


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


# --- the equations again, token by token ------------------------------------------------------------------


def plain_attention(queries, keys, values):
    results = []
    for query in queries:
        weights = [math.exp(np.dot(query, key) / math.sqrt(len(query))) for key in keys]
        mixed = sum(weight * value for weight, value in zip(weights, values, strict=True))
        results.append(mixed / sum(weights))
    return results


def plain_layer_norm(x, p, name):
    centred = x - sum(x) / len(x)
    variance = sum(centred**2) / len(x)
    return centred / math.sqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def plain_linear(x, p, name):
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def plain_usta(tokens, p, name):
    """Eqs. 2 and 3; `p` holds the parameters by name, `tokens` are one clip's, CLS first."""
    w_q, w_k, w_v = np.split(p[f"{name}.attention.qkv.weight"], 3)
    attended = plain_attention(
        [w_q @ z for z in tokens], [w_k @ z for z in tokens], [w_v @ z for z in tokens]
    )
    return [plain_layer_norm(z + more, p, f"{name}.norm") for z, more in zip(tokens, attended, strict=True)]


def plain_mlp(x, p, name):
    normed = plain_layer_norm(x, p, f"{name}.0")
    gelu = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in normed])
    return plain_linear(gelu, p, f"{name}.2")


def plain_cross_attention(cls, features, p, name):
    """Eqs. 8 to 12, W_k and W_v applied to every token."""
    cls = plain_mlp(cls, p, f"{name}.mlp1")
    x = [cls, *features]
    keys, values = ([p[f"{name}.{w}.weight"] @ token for token in x] for w in ("key", "value"))
    (attended,) = plain_attention([p[f"{name}.query.weight"] @ cls], keys, values)
    return plain_mlp(cls + attended, p, f"{name}.mlp2")


def plain_embedding(pixels, tubelet, p, name):
    """One clip's tokens (Eq. 1), in the order time, row, column, with a sine-cosine position each."""
    d, _, dt, size, _ = p[f"{name}.project.weight"].shape
    assert dt == tubelet
    tokens = [p[f"{name}.cls"][0, 0]]
    for t in range(0, pixels.shape[1], dt):
        for row in range(0, pixels.shape[2], size):
            for column in range(0, pixels.shape[3], size):
                block = pixels[:, t : t + dt, row : row + size, column : column + size]
                weight, bias = p[f"{name}.project.weight"], p[f"{name}.project.bias"]
                tokens.append(np.array([(weight[i] * block).sum() + bias[i] for i in range(d)]))
    return [token + plain_position(place, d) for place, token in enumerate(tokens)]


def plain_position(place, d):
    angles = [place / 10000 ** (2 * (channel // 2) / d) for channel in range(d)]
    return np.array([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)])


def plain_hsta(video, special, p):
    """Logits of one clip with the sizes of `SIZES`."""
    video = plain_embedding(video, 5, p, "embed_video")
    special = plain_embedding(special, 2, p, "embed_special")
    for module in ("blocks.0", "blocks.1"):
        for layer in range(3):
            video = plain_usta(video, p, f"{module}.usta_video.{layer}")
        special = plain_usta(special, p, f"{module}.usta_special.0")
        new_v = plain_cross_attention(video[0], special[1:], p, f"{module}.csta.video")
        new_s = plain_cross_attention(special[0], video[1:], p, f"{module}.csta.special")
        video, special = [new_v, *video[1:]], [new_s, *special[1:]]
    return plain_linear(np.concatenate([video[0], special[0]]), p, "head")


def arrays(module, prefix=""):
    return {prefix + name: value.numpy() for name, value in module.state_dict().items()}


def test_whole_network_is_equations_1_to_16():
    model, (video, special) = network(), clips()
    p = arrays(model)
    expected = [plain_hsta(v, s, p) for v, s in zip(video.numpy(), special.numpy(), strict=True)]
    torch.testing.assert_close(
        scores_of(model, video, special).detach(), torch.tensor(np.array(expected)), **CLOSE
    )


# --- shapes and sizes -------------------------------------------------------------------------------------


def test_tubelets_of_one_frame_give_the_special_branch_two_times_the_tokens():
    model = network_of(**SIZES | {"tubelet_size": 1})
    assert (model.embed_video.n_tokens, model.embed_special.n_tokens) == (10 * 25, 2 * 25)


def test_parameter_count_is_the_formula():
    d = 11
    embeddings = (3 * 5 * 3 * 3 * d + d) + (3 * 2 * 3 * 3 * d + d) + 2 * d  # kernels, biases, CLS tokens
    usta = 3 * d * d + 2 * d  # q, k, v; LayerNorm
    mlp = 2 * d + d * d + d  # LayerNorm; Linear
    csta = 2 * (2 * mlp + 3 * d * d)  # both directions: MLP1, MLP2; q, k, v
    head = 2 * d * 7 + 7
    usual = n_parameters(network_of(**SIZES))
    assert usual == embeddings + 2 * ((3 + 1) * usta + csta) + head
    # Without scale and shift of the LayerNorms: modules, directions, MLP1 and MLP2.
    assert usual - n_parameters(network_of(**SIZES | {"mlp": "linear"})) == 2 * 2 * 2 * (2 * d)
    assert n_parameters(network_of(**SIZES | {"head": "ln_linear"})) - usual == 2 * (2 * d)  # both CLS tokens


def test_sum_linear_head_is_a_linear_of_the_sum_of_both_cls_tokens():
    added, concatenated = network(head="sum_linear"), network()
    assert n_parameters(concatenated) - n_parameters(added) == 11 * 7
    # Of concatenated tokens the same comes of equal weights for both.
    state = added.state_dict()
    state["head.weight"] = torch.cat([state["head.weight"]] * 2, dim=1)
    concatenated.load_state_dict(state)
    torch.testing.assert_close(scores_of(added, *clips()), scores_of(concatenated, *clips()), **CLOSE)
    assert scores_of(added, *clips()).shape == (2, 7)


def test_initialisation_is_normal_or_xavier_and_biases_are_zero():
    weights = {}
    for init in ("normal", "xavier"):
        torch.manual_seed(3)
        model = network_of(**SIZES | {"init": init})
        weights[init] = model.blocks[0].usta_video[0].attention.qkv.weight
        assert not model.head.bias.any()
        assert 0 < model.embed_video.cls.abs().max() < 0.1
    # 363 numbers: their s.d. has a relative error of 4 %, so 20 % is five of those.
    assert weights["normal"].std().item() == pytest.approx(0.02, rel=0.2)
    bound = math.sqrt(6 / (11 + 33))
    assert weights["xavier"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)
    assert weights["xavier"].abs().max() <= bound


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 4}, "15 px is not divisible by patch_size = 4"),
        ({"n_frames": 7, "tubelet_size": 2}, "7 frames cannot be cut into tubelets of 2"),
        ({"tubelet_size": 3}, "10 frames cannot be cut into tubelets of 3"),
        ({"m": 0}, r"m\n  Input should be greater than or equal to 1"),
        ({"l_v": -1}, r"l_v\n  Input should be greater than or equal to 0"),
        ({"l_s": -2}, r"l_s\n  Input should be greater than or equal to 0"),
        (
            {"head": "sum_linear", "d_special": 5},
            "head = 'sum_linear' adds the CLS tokens: d = 11 and d_special = 5 differ",
        ),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        network_of(**SIZES | changes)


# Another value of every setting, and what it needs to be seen in: 12 channels have 3 heads, and 6 px patches
# leave 3 px of the 15 unread.
CHANGED = {
    "m": 3, "l_v": 2, "l_s": 2, "csta": False, "d": 18, "patch_size": 5, "tubelet_size": 2,
    "positions": "none", "mlp": "linear", "head": "ln_linear", "init": "xavier", "d_special": 6,
    "patch_size_special": 5, "heads": 3, "pre_norm": True, "feed_forward": 2, "attention_bias": True,
    "projection": True, "dropout": 0.5, "drop_path": 0.5, "eps": 0.1,
}  # fmt: skip


def model_of(**fields):
    settings = with_fields(
        Settings(), n_frames=10, image_size=15, m=2, l_v=3, l_s=1, d=12, patch_size=3, tubelet_size=5
    )
    torch.manual_seed(0)
    return HSTA.from_settings(with_fields(settings, **fields), n_classes=7).double()


@pytest.mark.parametrize("field", CHANGED)
def test_every_model_setting_changes_the_network(field):
    usual, changed = model_of(), model_of(**{field: CHANGED[field]})
    assert torch.equal(scores_of(usual, *clips()), scores_of(model_of(), *clips()))
    shapes = [{name: value.shape for name, value in model.named_parameters()} for model in (usual, changed)]
    # Double precision: a difference above 1e-9 is not rounding.
    assert (
        shapes[0] != shapes[1]
        or (scores_of(usual, *clips()) - scores_of(changed, *clips())).abs().max() > 1e-9
    )


def test_border_decides_about_images_the_patch_does_not_divide():
    with pytest.raises(ValueError, match=r"not divisible by patch_size = 6 px; 3 rows .*border = 'crop'"):
        model_of(patch_size_special=6)
    model, (video, special) = model_of(patch_size_special=6, border="crop"), clips()
    seen = scores_of(model, video, special)
    special[..., 12:, :] = 7
    special[..., 12:] = 7
    assert torch.equal(scores_of(model, video, special), seen)
    with pytest.raises(ValueError, match="image_size = 15 px"):
        model_of(patch_size=16, border="crop")


def test_every_model_setting_is_tried():
    assert set(CHANGED) | {"border"} == set(Model.model_fields)


# --- what the network may and may not depend on -----------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_two_passes_are_equal_as_there_is_no_dropout(training):
    model, (video, special) = network().train(training), clips()
    assert torch.equal(scores_of(model, video, special), scores_of(model, video, special))
    assert torch.equal(scores_of(model, video, special), scores_of(network().eval(), video, special))


def test_branches_do_not_meet_before_the_head_without_csta():
    model, (video, special) = network(csta=False), clips()
    tokens = embedded(model.embed_video, video), embedded(model.embed_special, special)
    other = embedded(model.embed_special, clips(seed=1)[1])
    assert torch.equal(model.blocks[0](*tokens)[0], model.blocks[0](tokens[0], other)[0])


def test_a1_does_not_depend_on_its_input():
    model = network(l_v=0, l_s=0, csta=False)
    assert torch.equal(scores_of(model, *clips(seed=0)), scores_of(model, *clips(seed=1)))


@pytest.mark.parametrize("blind", ["video", "special"])
def test_a_branch_without_layers_and_csta_is_blind(blind):
    model = network(csta=False, **({"l_v": 0} if blind == "video" else {"l_s": 0}))
    (video, special), (other_video, other_special) = clips(seed=0), clips(seed=1)
    by_video = torch.equal(scores_of(model, video, special), scores_of(model, other_video, special))
    by_special = torch.equal(scores_of(model, video, special), scores_of(model, video, other_special))
    assert (by_video, by_special) == (blind == "video", blind == "special")


def test_csta_alone_lets_both_inputs_reach_the_logits():
    model = network(l_v=0, l_s=0)
    (video, special), (other_video, other_special) = clips(seed=0), clips(seed=1)
    assert not torch.isclose(scores_of(model, video, special), scores_of(model, other_video, special)).any()
    assert not torch.isclose(scores_of(model, video, special), scores_of(model, video, other_special)).any()


def reached_by_gradients(model):
    scores_of(model, *clips()).square().sum().backward()
    named = model.named_parameters()
    return {name for name, p in named if p.grad is not None and p.grad.any()}


def test_gradients_reach_every_parameter_of_the_full_network():
    model = network()
    assert reached_by_gradients(model) == {name for name, _ in model.named_parameters()}


def test_gradients_of_a1_reach_only_the_cls_tokens_and_the_head():
    reached = reached_by_gradients(network(l_v=0, l_s=0, csta=False))
    assert reached == {"embed_video.cls", "embed_special.cls", "head.weight", "head.bias"}


def test_gradients_do_not_reach_the_embedding_of_a_blind_branch():
    model = network(l_v=0, csta=False)
    left_out = {name for name, _ in model.named_parameters()} - reached_by_gradients(model)
    assert left_out == {"embed_video.project.weight", "embed_video.project.bias"}


# --- positions --------------------------------------------------------------------------------------------


def with_permuted_tubelets(video):
    axes = {"dt": 5, "p": 3, "q": 3}
    blocks = rearrange(video, "b c (t dt) (h p) (w q) -> b (t h w) c dt p q", **axes)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    return rearrange(blocks[:, order], "b (t h w) c dt p q -> b c (t dt) (h p) (w q)", t=2, h=5)


def test_place_and_time_are_visible_with_positions_alone():
    largest = {}
    for positions in ("none", "sincos"):
        model, (video, special) = network(positions=positions), clips()
        moved = scores_of(model, with_permuted_tubelets(video), special)
        largest[positions] = (moved - scores_of(model, video, special)).abs().max()
    # Without them only the order of summation over 50 tokens differs: float64 rounding.
    assert largest["none"] < 1e-10
    assert largest["sincos"] > 1e-3


def test_position_table_is_the_hand_computed_one():
    expected = [
        [0, 1, 0, 1],  # CLS
        [0.8414709848, 0.5403023059, 0.0099998333, 0.9999500004],  # sin 1, cos 1, sin 0.01, cos 0.01
        [0.9092974268, -0.4161468365, 0.0199986667, 0.9998000067],
    ]
    # The table is float32, which resolves 6e-8 below 1.
    torch.testing.assert_close(sincos_positions(3, 4), torch.tensor(expected), rtol=0, atol=1e-7)


def test_positions_move_with_the_network_but_are_not_saved():
    embed = TubeletEmbedding(Branch(10, 5, 3, 11, 1), 15, Model())
    assert set(embed.state_dict()) == {"project.weight", "project.bias", "cls"}
    assert embed.positions.dtype == torch.float32
    assert embed.double().positions.dtype == torch.float64
    assert embed.to("meta").positions.device.type == "meta"
