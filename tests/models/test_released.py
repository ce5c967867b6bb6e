"""The authors' network: its size, its checkpoints, and a second implementation of its forward pass."""

import argparse
import math
import pickle
from fractions import Fraction
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from tiny import network_of, scores_of

from hsta_lib.models.hsta import stochastic_depth_rates
from hsta_lib.models.released import (
    checkpoint_file,
    load_released_state_dict,
    our_name,
    read_released_checkpoint,
)

BUILT_AS_RELEASED = {
    "positions": "sincos", "mlp": "ln_gelu_linear", "head": "branch_ln_linear", "init": "normal",
    "border": "crop", "pre_norm": True, "feed_forward": 4, "attention_bias": True, "projection": True,
    "dropout": 0.2, "drop_path": 0.2, "eps": 1e-6, "csta": True, "tubelet_size": 2,
}  # fmt: skip
FULL_SIZE = {
    "n_classes": 7, "n_frames": 6, "image_size": 224, "m": 4, "l_v": 2, "l_s": 1, "d": 768, "d_special": 384,
    "patch_size": 16, "patch_size_special": 12, "heads": 12,
}  # fmt: skip
# Widths that tell the branches apart, three heads, and a border of 2 px that patches of 5 do not read.
SMALL = {
    "n_classes": 5, "n_frames": 6, "image_size": 22, "m": 2, "l_v": 2, "l_s": 3, "d": 12, "d_special": 6,
    "patch_size": 11, "patch_size_special": 5, "heads": 3,
}  # fmt: skip


def built(sizes, **changes):
    return network_of(**BUILT_AS_RELEASED | sizes | changes)


def their_shapes(s):
    """Names and shapes of the tensors of their network, written out from ``_model_hsta.py``."""
    n_classes, widths, shapes = s["n_classes"], (s["d_special"], s["d"]), {}
    for b, (d, patch) in enumerate(zip(widths, (s["patch_size_special"], s["patch_size"]), strict=True)):
        shapes |= {
            f"patch_embed.{b}.proj.weight": (d, 3, 2, patch, patch),
            f"patch_embed.{b}.proj.bias": (d,),
        }
        shapes |= {f"cls_token.{b}": (1, 1, d), f"norm.{b}.weight": (d,), f"norm.{b}.bias": (d,)}
        for m in range(s["m"]):
            shapes |= their_module(f"blocks.{m}", b, d, widths[1 - b], (s["l_s"], s["l_v"])[b])
    return shapes | {"head.weight": (n_classes, sum(widths)), "head.bias": (n_classes,)}


def their_module(block, b, d, other, n_layers):
    """Those of one branch in one module."""
    norms, linears, shapes = {}, {}, {}
    for i in range(n_layers):
        layer = f"{block}.blocks.{b}.{i}"
        norms |= {f"{layer}.norm1": d, f"{layer}.norm2": d}
        linears |= {
            f"{layer}.attn.proj": (d, d),
            f"{layer}.mlp.fc1": (4 * d, d),
            f"{layer}.mlp.fc2": (d, 4 * d),
        }
        shapes |= {f"{layer}.attn.qkv.weight": (3 * d, d), f"{layer}.attn.q_bias": (d,)}
        shapes |= {f"{layer}.attn.v_bias": (d,)}
    norms |= {
        f"{block}.projs.{b}.0": d,
        f"{block}.revert_projs.{b}.0": other,
        f"{block}.fusion.{b}.norm1": other,
    }
    linears |= {f"{block}.projs.{b}.2": (other, d), f"{block}.revert_projs.{b}.2": (d, other)}
    linears |= {f"{block}.fusion.{b}.attn.{name}": (other, other) for name in ("wq", "wk", "wv", "proj")}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def their_weights(sizes):
    """Random tensors under their names; every bias and LayerNorm is far from where it starts."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.randn(shape, generator=generator) * 0.3 for name, shape in their_shapes(sizes).items()
    }


# --- their forward pass, in numpy and loops over clips and heads ------------------------------------------


def norm(x, p, name):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def gelu(x):
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / 2**0.5)))(x)


def attend(q, k, v, heads):
    """Rows of q over rows of k and v, head by head."""
    parts = []
    for one_q, one_k, one_v in zip(*(np.split(x, heads, axis=-1) for x in (q, k, v)), strict=True):
        scores = np.exp(one_q @ one_k.T / np.sqrt(one_q.shape[-1]))
        parts.append(scores / scores.sum(-1, keepdims=True) @ one_v)
    return np.concatenate(parts, axis=-1)


def embedded(frames, p, b, patch):
    """Tokens of a branch's frames (3, t, h, w): tubelet by tubelet, CLS first, sine-cosine table added."""
    weight, bias = p[f"patch_embed.{b}.proj.weight"], p[f"patch_embed.{b}.proj.bias"]
    rows = [p[f"cls_token.{b}"][0, 0]]
    for t in range(0, frames.shape[1], 2):
        for y in range(0, frames.shape[2] - patch + 1, patch):
            for x in range(0, frames.shape[3] - patch + 1, patch):
                tubelet = frames[:, t : t + 2, y : y + patch, x : x + patch]
                rows.append((weight * tubelet).sum((1, 2, 3, 4)) + bias)
    d = len(bias)
    angle = [[n / 10000 ** (2 * (j // 2) / d) for j in range(d)] for n in range(len(rows))]
    table = [[np.cos(a) if j % 2 else np.sin(a) for j, a in enumerate(row)] for row in angle]
    return np.array(rows) + np.array(table)


def layer(z, p, name, heads):
    x = norm(z, p, f"{name}.norm1")
    q, k, v = np.split(x @ p[f"{name}.attn.qkv.weight"].T, 3, axis=-1)
    q, v = q + p[f"{name}.attn.q_bias"], v + p[f"{name}.attn.v_bias"]
    z = z + linear(attend(q, k, v, heads), p, f"{name}.attn.proj")
    return z + linear(gelu(linear(norm(z, p, f"{name}.norm2"), p, f"{name}.mlp.fc1")), p, f"{name}.mlp.fc2")


def fused(own, other, p, m, b, heads):
    """A branch's tokens with the CLS token that has read the other branch."""
    cls = linear(gelu(norm(own[:1], p, f"blocks.{m}.projs.{b}.0")), p, f"blocks.{m}.projs.{b}.2")
    x = norm(np.concatenate([cls, other[1:]]), p, f"blocks.{m}.fusion.{b}.norm1")
    name = f"blocks.{m}.fusion.{b}.attn"
    q, k, v = linear(x[:1], p, f"{name}.wq"), linear(x, p, f"{name}.wk"), linear(x, p, f"{name}.wv")
    cls = cls + linear(attend(q, k, v, heads), p, f"{name}.proj")
    cls = gelu(norm(cls, p, f"blocks.{m}.revert_projs.{b}.0"))
    return np.concatenate([linear(cls, p, f"blocks.{m}.revert_projs.{b}.2"), own[1:]])


def their_logits(clip, p, s):
    """Logits of one clip (3, n_frames + 2, h, w); the last two frames are the special branch's."""
    z = [
        embedded(clip[:, -2:], p, 0, s["patch_size_special"]),
        embedded(clip[:, : s["n_frames"]], p, 1, s["patch_size"]),
    ]
    for m in range(s["m"]):
        for b, n_layers in enumerate((s["l_s"], s["l_v"])):
            for i in range(n_layers):
                z[b] = layer(z[b], p, f"blocks.{m}.blocks.{b}.{i}", s["heads"])
        z = [fused(z[b], z[1 - b], p, m, b, s["heads"]) for b in (0, 1)]
    return linear(np.concatenate([norm(z[b], p, f"norm.{b}")[0] for b in (0, 1)]), p, "head")


def test_logits_are_those_of_their_network():
    weights, model = their_weights(SMALL), built(SMALL)
    load_released_state_dict(model, weights)
    clips = torch.randn(3, 3, 8, 22, 22, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        logits = scores_of(model.eval(), clips[:, :, :6], clips[:, :, 6:]).numpy()
    plain = {name: value.double().numpy() for name, value in weights.items()}
    expected = np.array([their_logits(clip.double().numpy(), plain, SMALL) for clip in clips])
    assert np.abs(expected).max() > 0.5
    assert np.abs(logits - expected).max() < 1e-5


# --- size -------------------------------------------------------------------------------------------------


def test_size_at_full_resolution():
    with torch.device("meta"):
        model = built(FULL_SIZE)
    assert sum(parameter.numel() for parameter in model.parameters()) == 81_887_623
    assert (model.embed_video.n_tokens, model.embed_special.n_tokens) == (588, 324)
    assert {our_name(name) for name in their_shapes(FULL_SIZE)} == set(model.state_dict())
    assert len(their_shapes(FULL_SIZE)) == 312


# --- stochastic depth -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("l_s", "l_v", "dealt"),
    [
        # M = 2. One list from 0 to 0.9; slices are as long as the deeper branch.
        (1, 2, [([0.0, 0.3], [0.0]), ([0.6, 0.9], [0.6])]),
        # Two rates for slices of two: the second module has none left.
        (2, 1, [([0.0], [0.0, 0.9]), ([0.0], [0.0, 0.0])]),
        (3, 3, [([0.0, 0.18, 0.36],) * 2, ([0.54, 0.72, 0.9],) * 2]),
    ],
)
def test_rates_are_dealt_out_as_their_code_does(l_s, l_v, dealt):
    rates = stochastic_depth_rates(0.9, m=2, l_v=l_v, l_s=l_s)
    for (video, special), (expected_video, expected_special) in zip(rates, dealt, strict=True):
        assert video == pytest.approx(expected_video)
        assert special == pytest.approx(expected_special)


# --- checkpoints ------------------------------------------------------------------------------------------


def test_a_checkpoint_as_their_trainer_writes_it_is_read(tmp_path):
    weights = their_weights(SMALL)
    content = {"model": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "checkpoint-3.pth")
    read = read_released_checkpoint(tmp_path / "checkpoint-3.pth")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], value) for name, value in weights.items())
    torch.save(weights, tmp_path / "bare.pth")
    assert read_released_checkpoint(tmp_path / "bare.pth").keys() == weights.keys()


@pytest.mark.parametrize("key", ["model", "module", "state_dict", "model_state_dict", ""])
@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_are_found_under_every_usual_name(tmp_path, key, before):
    weights = {f"{before}{name}": value for name, value in their_weights(SMALL).items()}
    torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / "a.pth")
    assert read_released_checkpoint(tmp_path / "a.pth").keys() == their_weights(SMALL).keys()


def test_the_folder_that_deepspeed_writes_is_read(tmp_path):
    torch.save({"module": their_weights(SMALL), "ds_config": {}}, tmp_path / "mp_rank_00_model_states.pt")
    torch.save({}, tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert checkpoint_file(tmp_path) == tmp_path / "mp_rank_00_model_states.pt"
    for path in (tmp_path / "mp_rank_01_model_states.pt", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"no file, nor a folder with one \*model_states"):
            checkpoint_file(path)
    torch.save({}, tmp_path / "mp_rank_01_model_states.pt")
    with pytest.raises(FileNotFoundError, match="no file, nor a folder with one"):
        checkpoint_file(tmp_path)


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(0.5), np.float32(1), np.int64(3), np.bool_(True), Path("log"), PureWindowsPath("C:/log"),
        argparse.Namespace(lr=0.1, output=Path("log"), best=np.float64(1)), torch.Size([3]), {"a": (1, None)},
    ],
)  # fmt: skip
def test_what_trainers_put_beside_the_weights_does_not_matter(tmp_path, beside):
    torch.save({"model": their_weights(SMALL), "beside": beside}, tmp_path / "a.pth")
    assert read_released_checkpoint(tmp_path / "a.pth").keys() == their_weights(SMALL).keys()


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.array(["a", None]), "numpy._core.multiarray._reconstruct"),
        (Fraction(1, 2), "fractions.Fraction"),
    ],
)
def test_anything_else_is_refused_in_one_line_by_the_name_of_its_type(tmp_path, beside, named):
    torch.save({"model": their_weights(SMALL), "beside": beside}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"it holds {named}, which is not read; save model") as caught:
        read_released_checkpoint(tmp_path / "a.pth")
    assert str(caught.value).isprintable()


class RunsCode:
    def __reduce__(self):
        return print, ("pickled code ran",)


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"model": {}, "args": RunsCode()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read as a checkpoint of tensors"):
        read_released_checkpoint(path)
    path.write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read"):
        read_released_checkpoint(path)
    assert "ran" not in capsys.readouterr().out


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"model": their_weights(SMALL)}, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=r"half\.pth cannot be read as a checkpoint of tensors \(it is cut off"
    ):
        read_released_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"hello", b"version https://git-lfs"])
def test_another_file_is_refused_without_advice_to_run_it(tmp_path, content):
    (tmp_path / "page.pth").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"page\.pth .*, or torch\.save did not write it, or [^\n]*$"
    ) as caught:
        read_released_checkpoint(tmp_path / "page.pth")
    assert "weights_only" not in str(caught.value)


def test_what_is_no_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_released_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l_v": 1}, r"tensors not used here, the first blocks\.0\.blocks\.1\.1\.attn"),
        ({"m": 3}, r"not in the checkpoint \(our names\), the first blocks\.2\."),
        ({"d": 24}, r"has shape .* is needed"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused_and_changes_nothing(change, message):
    model = built(SMALL, **change)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_released_state_dict(model, their_weights(SMALL))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
