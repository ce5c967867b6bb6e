"""Parameters and FLOPs against formulas written out by hand; the plan of the paper."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import FINGERPRINT, tiny_dataset, tiny_trials
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.commands import plan as paper_plan
from hsta_lib.config import Settings, as_released, with_fields
from hsta_lib.data.splits import make_folds
from hsta_lib.models import hsta
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import cost
from hsta_lib.training.cost import parameters_and_flops, plan
from hsta_lib.training.trials import Trial, expand_grid

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
        cost._count.__wrapped__(TINY)
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


def test_an_impossible_size_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="15 px is not divisible by patch_size = 4 px"):
        parameters_and_flops(with_fields(TINY, patch_size=4), N_CLASSES)
    cells = expand_grid({"patch_size": [3, 4]})
    with pytest.raises(ValueError, match="patch_size = 4 px"):
        plan(TINY, cells, N_CLASSES)


def test_the_authors_network_at_full_size():
    settings = as_released(Settings())
    parameters, flops = cost.parameters_and_flops(settings, 7)
    assert parameters == 81_887_623 != cost.parameters_and_flops(Settings(), 7)[0]
    assert cost.flops_of_plain_csta(settings, 7) / 1e9 == pytest.approx(88.44, abs=0.005)
    assert flops < cost.flops_of_plain_csta(settings, 7)


def test_without_csta_nothing_is_spared():
    settings = with_fields(Settings(), csta=False, image_size=32, d=12, patch_size=8)
    assert cost.flops_of_plain_csta(settings, 7) == cost.parameters_and_flops(settings, 7)[1]


def random_settings(seed):
    """Settings of a small network, of either recipe, drawn at random."""
    rng = np.random.default_rng(seed)
    patch, tubelet = rng.integers(2, 5), rng.integers(1, 4)
    drawn = {
        "m": rng.integers(1, 4), "l_v": rng.integers(0, 3), "l_s": rng.integers(0, 3),
        "d": 6 * rng.integers(1, 4), "csta": rng.integers(2) == 1,
        "patch_size": 4 * patch, "image_size": 4 * patch * rng.integers(2, 4),
        "tubelet_size": 2, "n_frames": 2 * tubelet,
    }  # fmt: skip
    settings = with_fields(
        Settings(), **{name: getattr(v, "item", lambda v=v: v)() for name, v in drawn.items()}
    )
    return as_released(settings) if seed % 2 else settings


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_the_network_itself(seed, monkeypatch):
    """Depth is inferred from four small networks on no device; here the network itself runs, on a batch."""
    monkeypatch.setattr(hsta, "is_plain", lambda _: False)  # a CPU leaves products out
    settings, clips = random_settings(seed), 3
    network = HSTA.from_settings(settings, N_CLASSES)
    frames = settings.frames
    video = torch.zeros(clips, 3, frames.n_frames, frames.image_size, frames.image_size)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):  # it sees no fused attention
        network(*network.cut(video, video[:, :, :2]))
    forward = counter.get_total_flops()
    assert parameters_and_flops(settings, N_CLASSES) == (
        sum(parameter.numel() for parameter in network.parameters()),
        forward // clips,
    )
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(*network.cut(video, video[:, :, :2])).sum().backward()
    # Pixels need no gradient; branches that nothing reads are not gone back through.
    assert 2 * forward <= counter.get_total_flops() <= 3.01 * forward


def test_training_flops_are_three_forward_passes_of_every_clip_seen(tmp_path):
    dataset, trials = tiny_dataset(tmp_path), tiny_trials(n_folds=3, batch_size=5, epochs=7)
    flops = parameters_and_flops(trials[0].settings, n_classes=3)[1]
    trained = [
        len(fold.train) for fold in make_folds(dataset.clips, **trials[0].settings.split.model_dump(), seed=0)
    ]
    found = cost.training_flops(trials, {FINGERPRINT: dataset})
    assert found == [3 * flops * (n - n % 5) * 7 for n in trained]
    longer = tiny_trials(n_folds=3, batch_size=5, epochs=7, drop_last=False)
    assert cost.training_flops(longer, {FINGERPRINT: dataset}) == [3 * flops * n * 7 for n in trained]


def test_a_classifier_without_a_network_costs_nothing_and_a_baseline_its_two_stages(tmp_path):
    datasets, flops = {FINGERPRINT: tiny_dataset(tmp_path)}, {}
    for name in ("LBP-TOP", "MERSiamC3D"):
        fields = {"loss": "own", "baseline": name, "form": "reduced", "pretraining_epochs": 2, "epochs": 4}
        settings = with_fields(Settings(), **fields, batch_size=1, n_folds=3)
        flops[name] = cost.training_flops([Trial(settings, 0, 0, FINGERPRINT)], datasets)[0]
        forward = parameters_and_flops(settings, 3)[1]
    assert flops["LBP-TOP"] == 0
    assert flops["MERSiamC3D"] == 3 * forward * 6 * _n_trained(datasets[FINGERPRINT], settings)


def _n_trained(dataset, settings):
    return len(make_folds(dataset.clips, **settings.split.model_dump(), seed=0)[0].train)


def test_the_published_datasets():
    casme3 = paper_plan.nominal_dataset("casme3 emotion7")
    assert (len(casme3.clips), casme3.clips["subject_id"].nunique(), len(casme3.classes)) == (860, 94, 7)
    megc2019 = paper_plan.nominal_dataset("megc2019 emotion3")
    assert (len(megc2019.clips), megc2019.clips["subject_id"].nunique()) == (442, 68)
    three = paper_plan.nominal_dataset("casme3 emotion3").clips
    assert three["label"].value_counts().sort_index().tolist() == [457, 55, 187]
    macro = paper_plan.nominal_dataset("casme3 objective7 with macro clips").clips
    assert len(macro) == 860 + 3346


def test_the_plan_of_the_paper():
    planned = paper_plan.plan_paper(["equations"], tflops=1.0)
    rows = planned.set_index(["table", "rows"])
    assert rows.loc[("table4", "HSTA"), ["settings", "trials"]].tolist() == [30, 150]
    assert rows.loc[("table5", "HSTA"), "trials"] == 2 * 68
    everything = rows.loc[(paper_plan._ALL, "")]
    assert everything["trials"] < rows.drop((paper_plan._ALL, ""))["trials"].sum()
    assert planned["gpu_hours"].to_numpy() == pytest.approx(planned["pflop"] * 1000 / 3600)
    (one, eight), longest = paper_plan.hours_on((1, 8), "equations", tflops=1.0)
    assert one == pytest.approx(everything["gpu_hours"])
    assert one / 8 <= eight <= one / 8 + longest < one


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="tflops = 0"):
        paper_plan.plan_paper(tflops=0)
