"""What a setting costs before it is trained: parameters, FLOPs and memory, and the time of a list of trials.

All of it is counted without computing anything; times follow from a `Speed`, see `training.calibration`.
"""

import heapq
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.config import Frames, Settings, with_fields
from hsta_lib.data.splits import make_folds
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import baseline_inputs
from hsta_lib.training.trials import settings_of

_PASSES = 3  # a training step costs as many forward passes: the backward one counts twice
_EVALUATION_BATCH = 128  # as in `hsta_lib.training.fit`
_FLOAT = 4  # bytes


class Work(NamedTuple):
    """One forward pass of one clip, with what backpropagation keeps of it."""

    parameters: int
    flops: int
    calls: int  # operations that compute something
    written: int  # bytes of their results
    drawn: int  # bytes of these that are drawn at random or with random numbers, as by dropout
    kept: int  # bytes kept for the backward pass, parameters apart


class Speed(NamedTuple):
    """Seconds that a training step takes for each unit of `Work`, and what a worker takes before any trial.

    ``call`` and ``parameter`` are counted once a step; once a clip ``byte`` and ``draw``, for bytes that the
    forward pass writes and draws, and ``flop``, of forward and backward pass.
    """

    call: float
    byte: float
    draw: float
    flop: float
    parameter: float
    trial: float  # s of a trial besides its steps
    start: float  # s until a worker process can train
    memory: float  # bytes that it then has

    def step(self, work, clips):
        """Seconds of one training step on so many clips."""
        per_step = self.call * work.calls + self.parameter * work.parameters
        moved = self.byte * work.written + self.draw * work.drawn
        return per_step + clips * (moved + self.flop * _PASSES * work.flops)


def parameters_and_flops(settings, n_classes):
    """Size of the network and cost of one forward pass of one clip.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    n_classes : int

    Returns
    -------
    n_parameters : int
        Of what classifies; 0 for a classifier without a network.
    flops : int
        One multiply-add is 2 FLOP. Counted on the meta device, where fused attention is visible to
        torch's counter. CSTA costs less here than Eqs. 8-12 as printed, see `CrossAttention`.

    Raises
    ------
    ValueError
        If the settings make no network, e.g. an image not divisible by the patch.
    """
    return work_of(settings, n_classes)[:2]


@lru_cache(maxsize=4096)
def work_of(settings, n_classes):
    """All that `parameters_and_flops` counts, and what tells time and memory.

    Returns
    -------
    Work
        Zeros for a classifier without a network.
    """
    if settings.comparison.rival:
        return _count_rival(settings.comparison, n_classes)
    # All modules are alike: two small networks tell the cost of any depth.
    shown = Frames(n_frames=settings.frames.n_frames, image_size=settings.frames.image_size)
    sizes = Settings(frames=shown, model=settings.model)  # nothing else matters: fewer networks to count
    one, two = (np.array(_count(with_fields(sizes, m=m), n_classes)) for m in (1, 2))
    return Work(*(one + (settings.model.m - 1) * (two - one)).tolist())


def flops_of_plain_csta(settings, n_classes):
    """FLOP of one clip's forward pass if CSTA applied W_k and W_v to every token, as the authors' code does.

    The result is the same; ours applies them to one query and one sum per head, see `CrossAttention`.
    """
    model = settings.model
    with torch.device("meta"):
        network = HSTA.from_settings(with_fields(settings, m=1), n_classes)
    video, special = network.embed_video.n_tokens, network.embed_special.n_tokens
    extra = 0
    for d, n in ((model.d, video), (model.d_special or model.d, special)):
        plain = 2 * 2 * (1 + n) * d * d + 2 * 2 * (1 + n) * d
        ours = 2 * 2 * model.heads * d * d + 2 * 2 * model.heads * (1 + n) * d
        extra += plain - ours
    return parameters_and_flops(settings, n_classes)[1] + model.m * model.csta * extra


@lru_cache(maxsize=1024)
def _count(settings, n_classes):
    frames = settings.frames
    with torch.device("meta"):
        model = HSTA.from_settings(settings, n_classes)
        video = torch.empty(1, 3, frames.n_frames, frames.image_size, frames.image_size)
        special = torch.empty(1, 3, 2, frames.image_size, frames.image_size)
        return _work(model, list(model.parameters()), video, special)


@lru_cache(maxsize=1024)
def _count_rival(comparison, n_classes):
    with torch.device("meta"):
        model = baseline_inputs.build(comparison, n_classes)
        if not isinstance(model, torch.nn.Module):
            return Work(0, 0, 0, 0, 0, 0)
        # A decoder only serves the first stage of a training.
        kept = [p for name, p in model.named_parameters() if not name.startswith("decoder")]
        return _work(model.eval(), kept, torch.empty(1, *baseline_inputs.input_shape(comparison)))


def _work(model, parameters, *inputs):
    kept = {}
    known = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor  # what is kept stays alive: its address is its own
        return tensor

    with (
        FlopCounterMode(display=False) as counter,
        _Calls() as calls,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        model(*inputs)
    sizes = [tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in known]
    n_parameters = sum(parameter.numel() for parameter in parameters)
    return Work(n_parameters, counter.get_total_flops(), calls.n, calls.written, calls.drawn, sum(sizes))


class _Calls(TorchDispatchMode):
    """Counts operations that write a result, its bytes, and those of random ones; views write none."""

    def __init__(self):
        super().__init__()
        self.n = self.written = self.drawn = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            size = sum(x.nbytes for x in tree_leaves(result) if isinstance(x, torch.Tensor))
            self.n += 1
            self.written += size
            self.drawn += size * (torch.Tag.nondeterministic_seeded in func.tags)
        return result


def plan(settings, cells, n_classes):
    """Size and cost of every cell of a grid, before any is trained.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    cells : DataFrame
        From `hsta_lib.training.trials.expand_grid`.
    n_classes : int

    Returns
    -------
    DataFrame
        ``cells`` with ``parameters`` and ``mflop``, 10^6 FLOP of one clip's forward pass.
    """
    counts = [parameters_and_flops(variant, n_classes) for variant in settings_of(settings, cells)]
    return cells.assign(parameters=[n for n, _ in counts], mflop=[flops / 1e6 for _, flops in counts])


def training_flops(settings, n_classes, n_train):
    """FLOP of a training on so many clips, evaluation apart: three forward passes of every clip it sees."""
    training, flops = settings.training, parameters_and_flops(settings, n_classes)[1]
    epochs = training.pretraining_epochs + training.epochs
    return _PASSES * flops * _per_epoch(n_train, training)[1] * epochs


def _per_epoch(n_train, training):
    """Steps and clips of an epoch; see `hsta_lib.training.fit`, which drops some last batches."""
    size = min(training.batch_size, n_train)
    left = n_train % size
    steps = n_train // size
    if training.drop_last or left < 2:
        return steps, steps * size
    return steps + 1, n_train


def training_seconds(settings, n_classes, n_train, n_test, speed):
    """Seconds of one trial: its steps, and a third of a step's time for clips that are evaluated.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    n_classes, n_train, n_test : int
        Classes; clips of the training and of the test fold.
    speed : Speed

    Returns
    -------
    float
        0 for a classifier without a network, which costs next to nothing beside one.
    """
    training, work = settings.training, work_of(settings, n_classes)
    if not work.parameters:
        return 0.0
    steps, clips = _per_epoch(n_train, training)
    epochs = training.pretraining_epochs + training.epochs
    evaluations = 1 + training.store_draws + training.store_epochs * training.epochs
    once = speed.step(work, 0)
    trained = epochs * (steps * once + clips * (speed.step(work, 1) - once))
    batches = math.ceil(n_test / _EVALUATION_BATCH)
    evaluated = evaluations * (batches * once + n_test * (speed.step(work, 1) - once))
    return speed.trial + trained + evaluated / _PASSES


def makespan(seconds, workers):
    """Seconds until all trials are done, the longest first, each by the worker that is free first.

    Parameters
    ----------
    seconds : sequence of float
        Of each trial.
    workers : int
        0, trained in this process, counts as one.

    Examples
    --------
    >>> makespan([2, 3, 4], workers=2)
    5
    """
    busy = [0] * max(workers, 1)
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)


def estimate(trials, datasets, workers, speeds):
    """Seconds that trials will take, the start of the workers included.

    Parameters
    ----------
    trials : list of hsta_lib.training.trials.Trial
    datasets : dict of str to hsta_lib.data.dataset.Dataset
        By fingerprint; their clips give the folds, no frame is read.
    workers : int
        Worker processes; 0 trains in this process, which has started.
    speeds : dict of str to Speed
        By the precision of the trials, each measured with as many workers.
    """
    if not trials:
        return 0.0
    seconds = seconds_each(trials, datasets, speeds)
    return makespan(seconds, workers) + max(speed.start for speed in speeds.values()) * (workers > 0)


def seconds_each(trials, datasets, speeds):
    """Seconds of every trial, see `training_seconds`; arguments as those of `estimate`."""
    sizes = fold_sizes(trials, datasets)
    return [
        training_seconds(
            trial.settings,
            len(datasets[trial.fingerprint].classes),
            *size,
            speeds[trial.settings.training.precision],
        )
        for trial, size in zip(trials, sizes, strict=True)
    ]


def fold_sizes(trials, datasets):
    """Clips that each trial trains on and tests; arguments as those of `estimate`.

    Returns
    -------
    list of tuple of int
    """
    folds = {}
    for trial in trials:
        key = trial.fingerprint, trial.settings.split, trial.seed
        if key not in folds:
            clips = datasets[trial.fingerprint].clips
            folds[key] = make_folds(clips, **trial.settings.split.model_dump(), seed=trial.seed)
    chosen = [folds[trial.fingerprint, trial.settings.split, trial.seed][trial.fold] for trial in trials]
    return [(len(fold.train), len(fold.test)) for fold in chosen]


def memory(settings, n_classes, n_clips):
    """Memory that a trial takes in a worker, in bytes, besides that of the worker itself.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    n_classes : int
    n_clips : int
        Of the dataset.

    Returns
    -------
    dict of str to int
        ``parameters``; ``optimiser``: gradients and two moments; ``activations``: what a batch keeps for the
        backward pass; ``dataset``: frames or inputs, which workers on one machine's CPU share.
    """
    work = work_of(settings, n_classes)
    return {
        "parameters": _FLOAT * work.parameters,
        "optimiser": 3 * _FLOAT * work.parameters,
        "activations": settings.training.batch_size * work.kept,
        "dataset": n_clips * _bytes_of_clip(settings),
    }


def _bytes_of_clip(settings):
    if settings.comparison.rival:
        return _FLOAT * math.prod(baseline_inputs.input_shape(settings.comparison))
    frames = settings.frames
    return (frames.n_stored + 2) * frames.image_size**2 * 3
