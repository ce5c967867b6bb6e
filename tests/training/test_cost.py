"""Parameters, FLOPs, memory and times against formulas written out by hand; the stored calibration."""

import itertools
import json
from contextlib import contextmanager

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
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import calibration, cost, recipe
from hsta_lib.training.cost import Speed, Work, estimate, makespan, parameters_and_flops, plan
from hsta_lib.training.trials import expand_grid

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
        assert cost.work_of(deep, N_CLASSES) == cost._count.__wrapped__(deep, N_CLASSES)


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


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_network_itself(seed):
    """Depth is inferred from two small networks on no device; here the network itself runs, on a batch."""
    settings, clips = random_settings(seed), 3
    network = HSTA.from_settings(settings, N_CLASSES)
    frames = settings.frames
    video = torch.zeros(clips, 3, frames.n_frames, frames.image_size, frames.image_size)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):  # it sees no fused attention
        network(video, video[:, :, :2])
    forward = counter.get_total_flops()
    assert parameters_and_flops(settings, N_CLASSES) == (
        sum(parameter.numel() for parameter in network.parameters()),
        forward // clips,
    )
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(video, video[:, :, :2]).sum().backward()
    # Pixels need no gradient; branches that nothing reads are not gone back through.
    assert 2 * forward <= counter.get_total_flops() <= 3.01 * forward


def test_training_flops_are_three_forward_passes_of_every_clip_seen():
    settings = with_fields(TINY, batch_size=5, epochs=7)
    flops = parameters_and_flops(settings, N_CLASSES)[1]
    assert cost.training_flops(settings, N_CLASSES, n_train=23) == 3 * flops * 20 * 7


@pytest.mark.parametrize(
    ("n", "size", "drop_last"), list(itertools.product([1, 7, 11, 15], [2, 5, 13], [True, False]))
)
def test_steps_of_an_epoch_are_those_of_the_training(n, size, drop_last):
    chosen = with_fields(Settings(), batch_size=size, drop_last=drop_last).training
    trained_size, clips = recipe.batch_size_and_clips(n, chosen)
    assert cost._per_epoch(n, chosen) == (-(-clips // trained_size), clips)


SPEED = Speed(call=2.0, byte=3.0, draw=37.0, flop=5.0, parameter=7.0, trial=43.0, start=11.0, memory=0)


def test_seconds_of_a_step_by_hand():
    work = Work(parameters=13, flops=17, calls=19, written=23, drawn=41, kept=29)
    assert SPEED.step(work, clips=31) == 2 * 19 + 7 * 13 + 31 * (3 * 23 + 37 * 41 + 5 * 3 * 17)


def test_seconds_of_a_training_by_hand():
    settings = with_fields(TINY, batch_size=5, epochs=7, store_epochs=True)
    work = cost.work_of(settings, N_CLASSES)
    step, clip = SPEED.step(work, 0), SPEED.step(work, 1) - SPEED.step(work, 0)
    evaluated = 8 * (2 * step + 131 * clip) / 3  # two batches, after each epoch and at the end
    expected = 43 + 7 * (4 * step + 20 * clip) + evaluated
    assert cost.training_seconds(settings, N_CLASSES, 23, 131, SPEED) == pytest.approx(expected)


def test_longest_first_by_hand():
    assert makespan([2, 3, 5, 7], workers=2) == 9  # 7 and 2 beside 5 and 3
    assert makespan([2, 3, 5, 7], workers=1) == makespan([2, 3, 5, 7], workers=0) == 17
    assert makespan([2, 3], workers=5) == 3
    assert makespan([], workers=2) == 0


def test_more_trials_never_take_less_and_more_workers_never_more():
    rng = np.random.default_rng(0)
    for _ in range(50):
        seconds = rng.integers(1, 30, rng.integers(2, 20)).tolist()
        for workers in range(1, 7):
            assert makespan(seconds[:-1], workers) <= makespan(seconds, workers)
            assert makespan(seconds, workers + 1) <= makespan(seconds, workers)


def test_an_estimate_is_that_of_its_trials_folds(tmp_path):
    dataset = tiny_dataset(tmp_path)
    trials = tiny_trials(n_folds=3)
    datasets = {FINGERPRINT: dataset}
    sizes = cost.fold_sizes(trials, datasets)
    assert [sum(size) for size in sizes] == [23] * 3
    assert sum(n_test for _, n_test in sizes) == 23
    settings, n_classes = trials[0].settings, len(dataset.classes)
    each = [cost.training_seconds(settings, n_classes, *size, SPEED) for size in sizes]
    speeds = {"float32": SPEED}
    assert estimate(trials, datasets, 1, speeds) == pytest.approx(sum(each) + SPEED.start)
    assert estimate(trials, datasets, 3, speeds) == pytest.approx(max(each) + SPEED.start)
    assert estimate(trials, datasets, 0, speeds) == pytest.approx(sum(each))
    assert estimate([], datasets, 2, speeds) == 0


def test_a_classifier_without_a_network_takes_no_time_and_a_rival_takes_its_flops():
    settings = with_fields(Settings(), loss="own", rival="LBP-TOP", form="reduced")
    assert cost.training_seconds(settings, 3, 23, 7, SPEED) == 0
    settings = with_fields(Settings(), loss="own", rival="STSTNet", form="reduced")
    only_flops = Speed(0, 0, 0, flop=1.0, parameter=0, trial=0, start=0, memory=0)
    epochs, flops = settings.training.epochs, parameters_and_flops(settings, 3)[1]
    found = cost.training_seconds(settings, 3, 32, 7, only_flops)
    assert found == epochs * 32 * 3 * flops + 7 * flops > 0


def test_what_is_written_and_drawn_by_hand():
    a1 = with_fields(TINY, l_v=0, l_s=0, csta=False, m=1)
    drawn = cost.work_of(with_fields(a1, dropout=0.5), N_CLASSES).drawn
    assert cost.work_of(a1, N_CLASSES).drawn == 0
    assert drawn == (2 + N_VIDEO + N_SPECIAL) * D * 4  # CLS and tokens of both branches


def test_memory_by_hand():
    a1 = with_fields(TINY, l_v=0, l_s=0, csta=False, m=1, positions="none", batch_size=7)
    found = cost.memory(a1, N_CLASSES, n_clips=13)
    n_parameters = parameters_and_flops(a1, N_CLASSES)[0]
    pixels = 3 * (10 + 2) * 15 * 15  # kept by the two embeddings
    assert found["parameters"] == 4 * n_parameters
    assert found["optimiser"] == 12 * n_parameters
    assert found["activations"] == 7 * 4 * (pixels + 2 * D)  # and the head's input
    assert found["dataset"] == 13 * (10 + 2) * 15 * 15 * 3


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (89, "89 seconds"),
        (240, "4 minutes"),
        (3 * 3600, "3 hours"),
        (86400 * 12, "12 days"),
    ],
)
def test_times_in_words(seconds, words):
    assert calibration.in_words(seconds) == words


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Calibrations in an empty folder, of a machine that takes known times; counts measurements."""
    monkeypatch.setenv("HSTA_DATA", str(tmp_path))
    calls = []

    def measure(precision):
        calls.append(precision)
        truth = Speed(
            call=1e-4, byte=1e-10, draw=1e-9, flop=1e-11, parameter=1e-9, trial=0, start=0, memory=0
        )
        steps = [truth.step(cost.work_of(size, 7), size.training.batch_size) for size in calibration._SIZES]
        return {"trial": 3.0, "start": 2.0, "memory": 5, "steps": steps}

    monkeypatch.setattr(calibration, "measure", measure)
    return calls


def test_a_calibration_finds_the_speed_and_is_read_back(measured, tmp_path):
    found = calibration.calibrated(0)
    assert found == pytest.approx(Speed(1e-4, 1e-10, 1e-9, 1e-11, 1e-9, trial=3, start=2, memory=5), rel=1e-6)
    assert calibration.calibrated(0) == found
    assert measured == ["float32"]
    (path,) = tmp_path.iterdir()
    assert torch.__version__.replace("+", "-") in path.name
    assert "1-thread-0-workers-float32" in path.name


@pytest.mark.parametrize("part", ["processor", "cores", "torch", "threads", "workers", "precision", "source"])
def test_another_machine_is_measured_again(measured, monkeypatch, part):
    calibration.calibrated(0)
    machine = calibration.describe_machine(0, "float32")
    monkeypatch.setattr(calibration, "describe_machine", lambda *_: machine | {part: "another"})
    calibration.calibrated(0)
    calibration.calibrated(0)
    assert len(measured) == 2


def test_a_damaged_or_unwritable_calibration_is_measured_again(measured, monkeypatch, tmp_path):
    calibration.calibrated(0)
    (path,) = tmp_path.iterdir()
    stored = json.loads(path.read_text())
    for damaged in ("{", "[]", json.dumps(stored | {"speed": {}})):
        path.write_text(damaged)
        calibration.calibrated(0)
    assert len(measured) == 4
    monkeypatch.setenv("HSTA_DATA", str(path))  # no folder
    calibration.calibrated(0)
    assert len(measured) == 5


def test_all_workers_are_measured_at_once(measured, monkeypatch):
    submitted = []

    class Client:
        def scheduler_info(self, n_workers):
            return {"workers": {"tcp://1": {}, "tcp://2": {}}}

        def submit(self, function, *args, workers, pure):
            submitted.append(workers)
            return function, args

        def gather(self, tasks):
            return [function(*args) for function, args in tasks]

    @contextmanager
    def start(n):
        assert n == 2
        yield Client()

    monkeypatch.setattr(calibration, "local_workers", start)
    assert calibration.calibrated(2) == calibration.calibrated(0)
    assert submitted == [["tcp://1"], ["tcp://2"]]
    assert len(measured) == 3


def test_the_line_before_a_run(measured, tmp_path):
    dataset, trials = tiny_dataset(tmp_path), tiny_trials(epochs=100_000)
    datasets = {FINGERPRINT: dataset}
    seconds, told = calibration.forecast(trials, datasets, 0)
    speeds = calibration.speeds_for(trials, 0)
    assert seconds == cost.seconds_each(trials, datasets, speeds)
    assert told == f"about {calibration.in_words(estimate(trials, datasets, 0, speeds))} in this process"


def test_a_short_run_is_not_worth_a_measurement(measured, tmp_path):
    datasets, trials = {FINGERPRINT: tiny_dataset(tmp_path)}, tiny_trials(epochs=1) + tiny_trials(epochs=7)
    seconds, told = calibration.forecast(trials, datasets, 0)
    assert told == ""
    assert seconds[3] / seconds[0] == pytest.approx(7, rel=0.2)  # evaluation is counted once
    assert calibration.forecast([], datasets, 2) == ([], "")
    assert measured == []


def test_nothing_is_told_of_other_machines(measured, tmp_path):
    trials = tiny_trials(epochs=100_000)
    assert calibration.forecast(trials, {FINGERPRINT: tiny_dataset(tmp_path)}).told == ""
    assert measured == []


def test_a_real_measurement_is_positive(monkeypatch):
    sizes = [with_fields(TINY, n_folds=2, warmup_epochs=0, batch_size=n) for n in (2, 7)]
    monkeypatch.setattr(calibration, "_SIZES", sizes)
    found = calibration.measure("float32")
    assert min(found["start"], found["memory"], found["trial"], *found["steps"]) > 0
    assert len(found["steps"]) == 2


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
    speeds = {
        name: Speed(0, 0, 0, flop=1e-12, parameter=0, trial=0, start=0, memory=0)
        for name in ("float32", "bfloat16")
    }
    planned = paper_plan.plan_paper(["equations"], tflops=1.0, speeds=speeds)
    rows = planned.set_index(["table", "rows"])
    assert rows.loc[("table4", "HSTA"), ["settings", "trials"]].tolist() == [30, 150]
    assert rows.loc[("table5", "HSTA"), "trials"] == 2 * 68
    everything = rows.loc[(paper_plan._ALL, "")]
    assert everything["trials"] < rows.drop((paper_plan._ALL, ""))["trials"].sum()
    assert planned["gpu_hours"].to_numpy() == pytest.approx(planned["pflop"] * 1000 / 3600)
    # At the same rate, one after the other, all that is added is the evaluation of each test clip, once.
    assert planned["hours_here"].between(planned["gpu_hours"], 1.01 * planned["gpu_hours"]).all()
    again = paper_plan.plan_paper(["equations"], tflops=2.0)
    assert again["gpu_hours"].to_numpy() == pytest.approx(planned["gpu_hours"] / 2)
    assert "hours_here" not in again


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="tflops = 0"):
        paper_plan.plan_paper(tflops=0)
