"""Parameters and FLOPs against formulas written out by hand, counted without computing anything."""

import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hsta_lib import cost
from hsta_lib.config import Settings, as_released, with_fields
from hsta_lib.cost import parameters_and_flops, plan, relative_cost
from hsta_lib.trials import Trial, expand_grid

TINY = with_fields(
    Settings(), n_frames=10, image_size=15, patch_size=3, tubelet_size=5, d=11, m=2, l_v=3, l_s=1
)
N_CLASSES = 7
D = 11
N_VIDEO, N_SPECIAL = 2 * 5 * 5, 1 * 5 * 5  # tubelets


def usta_flops(n):
    """q, k, v of CLS and n tokens, then queries times keys and weights times values."""
    return 2 * (1 + n) * D * 3 * D + 2 * (2 * (1 + n) ** 2 * D)


def cross_attention_flops(n_other):
    """MLP1, q, W_k on the query's side, W_v after the sum, MLP2; one query over 1 + n keys."""
    return 5 * (2 * D * D) + 2 * (2 * (1 + n_other) * D)


def test_flops_are_the_formula():
    pixels_v, pixels_s = 3 * 5 * 3 * 3, 3 * 2 * 3 * 3  # one tubelet
    embeddings = 2 * N_VIDEO * D * pixels_v + 2 * N_SPECIAL * D * pixels_s
    usta = 3 * usta_flops(N_VIDEO) + 1 * usta_flops(N_SPECIAL)
    csta = cross_attention_flops(N_SPECIAL) + cross_attention_flops(N_VIDEO)
    head = 2 * (2 * D) * N_CLASSES
    assert parameters_and_flops(TINY, N_CLASSES)[1] == embeddings + 2 * (usta + csta) + head


def test_parameters_are_the_formula():
    embeddings = (3 * 5 * 3 * 3 + 3 * 2 * 3 * 3) * D + 2 * D + 2 * D  # kernels, biases, CLS tokens
    usta = 3 * D * D + 2 * D
    csta = 2 * (5 * D * D + 2 * (3 * D))  # five matrices; LayerNorm and bias of two MLPs; two directions
    head = 2 * D * N_CLASSES + N_CLASSES
    assert parameters_and_flops(TINY, N_CLASSES)[0] == embeddings + 2 * (4 * usta + csta) + head


def test_the_blind_network_costs_its_embeddings_and_head():
    a1 = with_fields(TINY, l_v=0, l_s=0, csta=False)
    embeddings = 2 * D * 27 * (5 * N_VIDEO + 2 * N_SPECIAL)
    assert parameters_and_flops(a1, N_CLASSES)[1] == embeddings + 2 * 2 * D * N_CLASSES


class _Devices(TorchDispatchMode):
    """Notes the device of every tensor that torch makes."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.seen |= {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


def test_counting_makes_no_real_tensor_and_draws_no_random_number():
    before = torch.get_rng_state()
    with _Devices() as devices:
        cost._count.__wrapped__(TINY, N_CLASSES)
    assert devices.seen == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.empty(1).device.type == "cpu"


def test_plan_has_the_cells_and_their_costs():
    cells = expand_grid({"m": [1, 3], "depths": [[1, 1], [2, 1]]})
    planned = plan(TINY, cells, N_CLASSES)
    assert list(planned) == [*cells, "parameters", "mflop"]
    pd.testing.assert_frame_equal(planned[list(cells)], cells)
    for row in planned.to_dict("records"):
        setting = {name: row[name] for name in cells}
        n_parameters, flops = parameters_and_flops(with_fields(TINY, **setting), N_CLASSES)
        assert row["parameters"] == n_parameters
        assert row["mflop"] == pytest.approx(flops / 1e6, rel=1e-12)
    assert planned["parameters"].is_unique


def test_depth_is_counted_from_two_small_networks_exactly():
    for m in (1, 5):
        deep = with_fields(TINY, m=m)
        assert parameters_and_flops(deep, N_CLASSES) == cost._count.__wrapped__(deep, N_CLASSES)


def test_relative_cost_is_flops_times_epochs():
    trial = Trial(with_fields(TINY, epochs=13), fold=0, seed=0, fingerprint="")
    assert relative_cost(trial, N_CLASSES) == 13 * parameters_and_flops(TINY, N_CLASSES)[1]


def test_an_impossible_size_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="15 px is not divisible by patch_size = 4 px"):
        parameters_and_flops(with_fields(TINY, patch_size=4), N_CLASSES)
    cells = expand_grid({"patch_size": [3, 4]})
    with pytest.raises(ValueError, match="patch_size = 4 px"):
        plan(TINY, cells, N_CLASSES)


def test_the_authors_network_at_full_size():
    settings = as_released(Settings())
    parameters, flops = cost.parameters_and_flops(settings, 7)
    assert parameters == 81_887_623
    assert cost.flops_of_plain_csta(settings, 7) / 1e9 == pytest.approx(88.44, abs=0.005)
    assert flops < cost.flops_of_plain_csta(settings, 7)


def test_without_csta_nothing_is_spared():
    settings = with_fields(Settings(), csta=False, image_size=32, d=12, patch_size=8)
    assert cost.flops_of_plain_csta(settings, 7) == cost.parameters_and_flops(settings, 7)[1]
