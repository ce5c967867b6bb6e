"""Precision and compilation: what is chosen on which machine, and that little changes by it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import scores_of, tiny_settings, tiny_trials

from hsta_lib.config import Settings, with_fields
from hsta_lib.models import hsta
from hsta_lib.models.fast import Dropout
from hsta_lib.models.hsta import HSTA
from hsta_lib.study import study
from hsta_lib.training import fit, precision, recipe
from hsta_lib.training.precision import with_precision

LARGE, SMALL = Settings(), tiny_settings()


@pytest.fixture
def machine(monkeypatch):
    """Function that pretends a GPU, with or without bfloat16, or a CPU with some units."""

    def pretend(*units, gpu=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True), raising=False)

    return pretend


def _chosen(settings):
    return with_precision(settings, "auto").training.precision


# --- choice -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_units_for_it_computes_large_networks_in_bfloat16(machine, units):
    machine("avx2", units)
    assert (_chosen(LARGE), _chosen(SMALL)) == ("bfloat16", "float32")


def test_a_cpu_without_them_computes_in_float32(machine):
    machine("avx2", "avx512_f")
    assert _chosen(LARGE) == "float32"


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_computes_everything_in_bfloat16_if_it_has_it(machine, has_bfloat16, expected):
    machine(gpu=has_bfloat16)
    assert (_chosen(LARGE), _chosen(SMALL)) == (expected, expected)


def test_the_limit_is_a_cost(machine, monkeypatch):
    machine("amx_bf16")
    flops = precision.parameters_and_flops(SMALL, 1)[1]
    monkeypatch.setattr(precision, "_LEAST_FLOPS", flops)
    assert _chosen(SMALL) == "bfloat16"
    monkeypatch.setattr(precision, "_LEAST_FLOPS", flops + 1)
    assert _chosen(SMALL) == "float32"


@pytest.mark.parametrize("named", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_kept(machine, named):
    machine("amx_bf16")
    assert with_precision(LARGE, named) == with_fields(LARGE, precision=named)


@pytest.mark.parametrize(
    ("preset", "recipe"),
    [
        ("quick", "equations"),
        *[(size, name) for size in ("study", "smoke") for name in ("equations", "released")],
    ],
)
def test_presets_for_a_cpu_stay_in_float32(machine, preset, recipe):
    machine("amx_bf16", "avx512_bf16")
    made = study.start("table4", {"preset": preset, "recipe": recipe})
    assert made.settings.training.precision == "float32"


def test_what_the_preset_says_is_resolved_before_a_trial_is_made(machine):
    machine("avx512_bf16")
    made = study.start("table4", {"preset": "full"})
    assert made.settings.training.precision == "bfloat16"
    machine()
    assert made.variant().settings.training.precision == "float32"


def test_a_trial_has_no_automatic_precision():
    with pytest.raises(ValueError, match=r"training\.precision = 'auto' is not allowed"):
        with_fields(Settings(), precision="auto")


def test_a_comparison_system_has_no_other():
    with pytest.raises(ValueError, match="baseline trains as published"):
        with_fields(Settings(), baseline="STSTNet", loss="own", precision="bfloat16")


# --- bfloat16 ---------------------------------------------------------------------------------------------


def test_bfloat16_moves_the_scores_by_rounding_only(dataset):
    # bfloat16 has 8 bits: each product is right to 0.4 %.
    ways = ("float32", "bfloat16")
    wide, narrow = (fit.fit(tiny_trials(precision=way, epochs=20)[0], dataset) for way in ways)
    scores, rounded = (np.array(result["predictions"]["scores"]) for result in (wide, narrow))
    assert np.abs(rounded - scores).max() < 0.05 < np.ptp(scores)
    assert (rounded != scores).mean() > 0.9
    assert narrow["losses"][-1] == pytest.approx(wide["losses"][-1], rel=0.1)


def test_weights_optimiser_and_loss_stay_float32(dataset, monkeypatch):
    given = []
    monkeypatch.setattr(recipe, "loss_of", _noting(recipe.loss_of, given))
    trial = tiny_trials(precision="bfloat16")[0]
    model, _ = fit.train_model(trial, dataset)
    assert {logits.dtype for logits in given} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in model.parameters()} == {torch.float32}


def _noting(function, given):
    def noting(logits, *rest):
        given.append(logits)
        return function(logits, *rest)

    return noting


@pytest.mark.parametrize("is_training", [True, False])
def test_products_are_bfloat16_in_training_and_in_evaluation(dataset, monkeypatch, is_training):
    given = []
    monkeypatch.setattr(hsta, "attention_in_heads", _noting(hsta.attention_in_heads, given))
    monkeypatch.setattr(HSTA, "forward", _only(HSTA.forward, is_training))
    fit.fit(tiny_trials(precision="bfloat16")[0], dataset)
    assert {queries.dtype for queries in given} == {torch.bfloat16}


def _only(forward, is_training):
    """Forward pass that only in training, or only in evaluation, computes anything."""

    def passed(model, video, special):
        if model.training == is_training:
            return forward(model, video, special)
        return 0 * video.mean(dim=(1, 2))[:, None] * model.head.weight.sum(dim=1)

    return passed


def test_attention_in_bfloat16_is_that_in_float32_rounded():
    q, k, v = torch.randn(3, 2, 5, 11, 7, generator=torch.Generator().manual_seed(0))
    expected = (q @ k.transpose(-2, -1) / 7**0.5).softmax(dim=-1) @ v
    torch.testing.assert_close(hsta.attention_in_heads(q, k, v), expected)
    rounded = hsta.attention_in_heads(*(x.bfloat16() for x in (q, k, v)))
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded.float() - expected).abs().max() < 0.05


# --- dropout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_dropout_leaves_out_its_share_at_every_place(rate, dtype):
    torch.manual_seed(0)
    values = torch.ones(4001, 13, dtype=dtype)  # a count that is no multiple of four
    seen = Dropout(rate)(values)
    assert seen.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=2**-8)
    assert seen.float().mean().item() == pytest.approx(1, abs=0.02)
    # 4001 draws at each of 13 places: a deviation of 0.008 at most, four of them 0.03.
    assert ((seen == 0).float().mean(dim=0) - rate).abs().max() < 0.03


def test_dropout_passes_the_gradient_of_what_it_kept():
    torch.manual_seed(1)
    values = torch.ones(7, 11, dtype=torch.bfloat16, requires_grad=True)
    seen = Dropout(0.5)(values)
    seen.sum().backward()
    assert torch.equal(values.grad, seen.detach())
    assert set(seen.unique().tolist()) == {0.0, 2.0}


def test_dropout_is_repeated_by_its_seed_and_not_otherwise():
    drop, values = Dropout(0.2), torch.ones(17, 19, dtype=torch.bfloat16)
    torch.manual_seed(2)
    first, second = drop(values), drop(values)
    torch.manual_seed(2)
    assert torch.equal(drop(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_dropout_changes_nothing_in_evaluation(rate):
    values = torch.randn(5, 7).bfloat16()
    assert torch.equal(Dropout(rate).eval()(values), values)
    if rate == 0:
        assert torch.equal(Dropout(rate)(values), values)


# --- memory of a GPU --------------------------------------------------------------------------------------


def test_memory_that_is_short_names_what_to_lower(dataset, monkeypatch):
    def forward(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HSTA, "forward", forward)
    with pytest.raises(ValueError, match=r"batch_size = 9: a step does not fit.*lower batch_size"):
        fit.fit(tiny_trials(batch_size=9)[0], dataset)


# --- benchmark --------------------------------------------------------------------------------------------


def test_the_plain_step_of_the_benchmark_computes_the_same(monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "step.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location("step_benchmark", path)
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    settings = with_fields(SMALL, heads=7, attention_bias=True, projection=True, pre_norm=True, m=2)
    ours, plain = HSTA.from_settings(settings, step.CLASSES), step.plain_network(settings)
    plain.load_state_dict(ours.state_dict())
    clips = torch.randn(5, 3, 6, 8, 8), torch.randn(5, 3, 2, 8, 8)
    torch.testing.assert_close(scores_of(plain, *clips), scores_of(ours, *clips))
    assert isinstance(plain.blocks[0].csta.video, step.PlainCrossAttention)
