"""Train one trial and predict its test fold: the only place that trains."""

import contextlib
import math
import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch.nn import functional

from hsta_lib.data.frames import choose_frames
from hsta_lib.data.splits import make_folds
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import baseline_inputs

# ImageNet's channel means and deviations, as in the released code.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

_EVALUATION_BATCH = 128
_MOMENTUM = 0.9  # of stochastic gradient descent


def fit(trial, dataset):
    """Train on a trial's training fold, predict its test fold.

    Runs on one torch thread, so that its result does not depend on how many workers or cores there are:
    on the CPU of one machine, a trial repeated gives bit-identical predictions.

    Parameters
    ----------
    trial : hsta_lib.training.trials.Trial
    dataset : hsta_lib.data.dataset.Dataset

    Returns
    -------
    dict
        JSON values: ``predictions`` (columns ``clip_id``, ``subject_id``, ``y_true``, ``y_pred``,
        ``scores``), ``losses`` (mean per epoch), ``absent_classes`` (names of classes without a training
        clip), ``n_train``, ``seconds``, ``device``; and, where the settings ask for them,
        ``epoch_predictions`` and ``draw_predictions``: the classes predicted after each epoch, and after the
        last one with each draw of the test clips' frames.

    Raises
    ------
    ValueError
        If the data is not the trial's, its frames are not those of the settings, a step does not fit into
        the GPU's memory, or the loss is no longer finite.
    RuntimeError
        If the network cannot be compiled.
    """
    started = time.perf_counter()
    with _reproducible(trial):
        run = _trained(trial, dataset)
        scores = predict(run.model, run.data, run.test)
        draws = [
            _most_likely(predict(run.model, run.data, run.test, draw), run.seen)
            for draw in range(trial.settings.training.store_draws)
        ]
    absent = [name for name, is_seen in zip(dataset.classes, run.seen, strict=True) if not is_seen]
    result = {
        "predictions": _prediction_columns(dataset.clips.iloc[run.test], scores, run.seen),
        "losses": run.losses,
        "absent_classes": absent,
        "n_train": run.n_train,
        "seconds": time.perf_counter() - started,
        "device": str(run.data.device),
    }
    asked = {
        "epoch_predictions": [_most_likely(scores, run.seen) for scores in run.epochs],
        "draw_predictions": draws,
    }
    return result | {name: values for name, values in asked.items() if values}


def train_model(trial, dataset):
    """Train as `fit` does and keep the network: its scores are bit-identical to those of `fit`.

    Parameters
    ----------
    trial, dataset
        As for `fit`, which raises the same errors.

    Returns
    -------
    model : hsta_lib.models.hsta.HSTA
        After the last epoch, in train mode.
    seen : ndarray of bool, shape (n_classes,)
        Classes with a training clip; the others are never predicted.
    """
    with _reproducible(trial):
        run = _trained(trial, dataset)
    return run.model, run.seen


def seen_batches(trial, dataset, rows):
    """Some clips, batch by batch, as a trial's network sees them when it is tested on them.

    Frames that are drawn at random are those of `fit` if ``rows`` are the trial's test fold.

    Parameters
    ----------
    trial : hsta_lib.training.trials.Trial
    dataset : hsta_lib.data.dataset.Dataset
    rows : ndarray of int

    Yields
    ------
    frames : Tensor, uint8, shape (b, n_frames + 2, h, w, 3)
        Those of the video branch and, last, the two of the special branch.
    video, special : Tensor, float32, shape (b, 3, n_frames, h, w) and (b, 3, 2, h, w)
    """
    _check_frames(dataset.frames().shape, trial.settings.frames)
    data = _Data(dataset, trial)
    draws = data.frame_draws("test")
    for start in range(0, len(rows), _EVALUATION_BATCH):
        frames = data.frames_of(rows[start : start + _EVALUATION_BATCH], draws)
        yield frames, *data.prepared(frames)


class _Run(NamedTuple):
    """A network after its training, and what it was trained and is tested on."""

    model: object
    data: object
    test: np.ndarray
    n_train: int
    seen: np.ndarray
    losses: list
    epochs: list


def _trained(trial, dataset):
    """Train a trial; within `_reproducible`."""
    if trial.fingerprint != dataset.fingerprint:
        raise ValueError(
            f"trial {trial.id} is of data {trial.fingerprint}, the dataset opened is {dataset.fingerprint}"
        )
    settings = trial.settings
    _check_frames(dataset.frames().shape, settings.frames)
    fold = make_folds(dataset.clips, **settings.split.model_dump())[trial.fold]
    rng = np.random.default_rng([trial.seed, trial.fold])
    train, labels = training_labels(dataset.clips, fold.train, settings.training.shuffled_labels, rng)
    seen = np.isin(np.arange(len(dataset.classes)), labels)
    data, model = _data_and_model(trial, dataset)
    run = _train if isinstance(model, torch.nn.Module) else _fit_classifier
    with _compiled(model, settings.training):
        losses, epochs = run(model, data, train, labels, fold.test, settings, rng)
    return _Run(model, data, fold.test, len(train), seen, losses, epochs)


def _data_and_model(trial, dataset):
    settings, n_classes = trial.settings, len(dataset.classes)
    if settings.comparison.rival:
        data, model = _Inputs(dataset, settings), baseline_inputs.build(settings.comparison, n_classes)
    else:
        data, model = _Data(dataset, trial), HSTA.from_settings(settings, n_classes)
    return data, model.to(data.device) if isinstance(model, torch.nn.Module) else model


def _check_frames(shape, frames):
    expected = (frames.n_stored + 2, frames.image_size, frames.image_size, 3)
    if shape[1:] != expected:
        raise ValueError(f"the data has frames of shape {shape[1:]}, the settings need {expected}")


def training_labels(clips, train, shuffled, rng):
    """Rows to train on and their labels, true or shuffled for a reference row.

    Parameters
    ----------
    clips : DataFrame
        With ``label`` and ``recording_id``.
    train : ndarray of int
        Rows of the training fold.
    shuffled : {"none", "fold", "recording"}
        ``fold``: labels permuted within the training fold. ``recording``: every clip gets the label of
        another clip of its recording (a rotation in random order), so that only what the clips of a
        recording have in common is left in the labels; clips alone in their recording are left out.
    rng : numpy.random.Generator

    Returns
    -------
    rows, labels : ndarray of int

    Raises
    ------
    ValueError
        If ``recording`` finds no recording with two clips.
    """
    labels = clips["label"].to_numpy()[train]
    if shuffled == "fold":
        return train, rng.permutation(labels)
    if shuffled == "none":
        return train, labels
    recordings = clips["recording_id"].to_numpy()[train]
    groups = [rng.permutation(np.flatnonzero(recordings == name)) for name in np.unique(recordings)]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise ValueError("no recording has two training clips: labels cannot be shuffled within recordings")
    members = np.concatenate(groups)
    return train[members], np.concatenate([np.roll(labels[group], 1) for group in groups])


def epoch_order(labels, sampling, rng):
    """Order in which an epoch visits the training clips.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    sampling : {"balanced", "uniform", "in_order"}
        ``balanced``: n draws with replacement, every class that occurs equally likely (section 4.1);
        ``uniform``: each clip once; ``in_order``: each clip once, in the order of the clip table.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int, shape (n,)
        Positions in ``labels``.
    """
    if sampling == "uniform":
        return rng.permutation(len(labels))
    if sampling == "in_order":
        return np.arange(len(labels))
    weight = 1.0 / np.bincount(labels)[labels]
    return rng.choice(len(labels), size=len(labels), p=weight / weight.sum())


def learning_rate(step, steps_per_epoch, training):
    """Learning rate of a step: linear warm-up, then cosine or constant.

    Parameters
    ----------
    step : int
        From 0.
    steps_per_epoch : int
    training : hsta_lib.config.Training

    Returns
    -------
    float
        ``warmup_start`` at step 0 where there is a warm-up; ``learning_rate`` at the first step after it, and
        with ``peak_twice`` at its last.
    """
    warmup, total = training.warmup_epochs * steps_per_epoch, training.epochs * steps_per_epoch
    peak, start, end = training.learning_rate, training.warmup_start, training.final_rate
    if step < warmup:
        return start + (peak - start) * step / max(warmup - training.peak_twice, 1)
    if training.schedule == "constant":
        return peak
    if training.schedule == "steps":
        return peak * training.decay ** (step // steps_per_epoch // training.decay_epochs)
    return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def loss_of(logits, labels, kind):
    """Loss of a batch: mean squared error against one-hot labels (Eq. 16), or cross-entropy.

    Parameters
    ----------
    logits : Tensor, float, shape (b, n_classes)
    labels : Tensor, int64, shape (b,)
    kind : {"mse", "mse_softmax", "cross_entropy"}
        Squared error over batch and classes, of the logits or of their softmax; or cross-entropy, as in the
        released code.
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(logits, labels)
    target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return functional.mse_loss(logits.softmax(dim=1) if kind == "mse_softmax" else logits, target)


def normalise(pixels, kind):
    """Pixels of a batch as the network sees them.

    Parameters
    ----------
    pixels : Tensor, uint8, shape (b, t, h, w, 3)
        All frames of each clip; or pictures of it, which are no frames (``imagenet`` alone makes sense).
    kind : {"imagenet", "clip"}
        ``imagenet``: ImageNet's mean and deviation per channel. ``clip``: minus the clip's mean frame,
        divided by the deviation of what is left. A still face fills nearly all of a clip's pixel
        variance; this leaves what moves.

    Returns
    -------
    Tensor, float32, shape (b, t, h, w, 3)
    """
    pixels = pixels.float()
    if kind == "clip":
        moving = pixels - pixels.mean(dim=1, keepdim=True)
        deviation = moving.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        return moving / deviation.clamp(min=1e-3)
    mean, std = _channel_constants(pixels.device)
    return (pixels / 255 - mean) / std


@lru_cache
def _channel_constants(device):
    return tuple(torch.tensor(value, device=device) for value in (PIXEL_MEAN, PIXEL_STD))


class _Inputs:
    """What a comparison system is given of each clip, on the device."""

    def __init__(self, dataset, settings):
        self.device, self.precision = _device(), settings.training.precision
        self.inputs = torch.from_numpy(baseline_inputs.inputs(dataset, settings)).to(self.device)

    def frame_draws(self, _purpose, _draw=0):
        """None: no frames are drawn."""

    def batch(self, rows, draws):
        """The one input of the network, of some clips."""
        return self.at(self.index(rows, draws))

    def index(self, rows, _draws):
        """Where on the device the inputs of some clips are, see `at`."""
        return (torch.from_numpy(rows).to(self.device),)

    def at(self, index):
        """Inputs at some places."""
        return (self.inputs[index],)


def _device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _Data:
    """The dataset's frames on the device as uint8; batches are drawn and normalised there."""

    def __init__(self, dataset, trial):
        self.device, self.precision = _device(), trial.settings.training.precision
        self.frames = torch.from_numpy(dataset.frames()).to(self.device)
        self.settings, self.pixels = trial.settings.frames, trial.settings.training.pixels
        self.video = trial.settings.training.video
        lengths = dataset.clips["offset"] - dataset.clips["onset"] + 1
        self.lengths = np.minimum(lengths, self.settings.n_stored).to_numpy()
        self.seed = [trial.seed, trial.fold]
        places = np.tile(np.arange(self.settings.n_stored), (len(dataset.clips), 1))
        self.shuffled = np.random.default_rng([*self.seed, 0]).permuted(places, axis=1)

    def frame_draws(self, purpose, draw=0):
        """Random numbers for drawing frames, apart from those of another purpose; None: evenly spaced."""
        drawn_in = {"uniform": (), "random": ("training", "test"), "random_test": ("test",)}
        if purpose not in drawn_in[self.settings.drawing]:
            return None
        return np.random.default_rng([*self.seed, {"training": 1, "test": 2 + draw}[purpose]])

    def batch(self, rows, draws):
        """``video (b, 3, n_frames, h, w)`` and ``special (b, 3, 2, h, w)`` of some clips."""
        return self.at(self.index(rows, draws))

    def index(self, rows, draws):
        """Where on the device the frames of some clips are: one or two tensors, their first axis is clips."""
        clips, places = torch.from_numpy(rows).to(self.device), self._places(rows, draws)
        if places is None:
            return (clips,)
        special = np.tile([self.settings.n_stored, self.settings.n_stored + 1], (len(rows), 1))
        return clips[:, None], torch.from_numpy(np.hstack([places, special])).to(self.device)

    def at(self, index):
        """What the branches are given of the clips at some places."""
        return self.prepared(self.frames[index])

    def frames_of(self, rows, draws):
        """Frames of some clips, uint8, ``(b, n_frames + 2, h, w, 3)``; the last two are the special ones."""
        return self.frames[self.index(rows, draws)]

    def prepared(self, frames):
        """What the branches are given of such frames."""
        clips = rearrange(self._normalised(frames), "b t h w c -> b c t h w")
        return clips[:, :, :-2], clips[:, :, -2:]

    def _places(self, rows, draws):
        """Which of the stored frames are the video of each clip, ``(b, n_frames)``; None: all, in order."""
        n_frames, onset, apex = self.settings.n_frames, self.settings.n_stored, self.settings.n_stored + 1
        if self.video == "shuffled":
            return self.shuffled[rows]
        if self.video in ("apex", "onset_apex"):
            first = {"apex": apex, "onset_apex": onset}[self.video]
            places = np.repeat([first, apex], [n_frames // 2, n_frames - n_frames // 2])
            return np.tile(places, (len(rows), 1))
        if self.settings.drawing != "uniform":
            return np.stack([draw_frames(n, n_frames, draws) for n in self.lengths[rows]])
        return None

    def _normalised(self, pixels):
        if self.settings.special == "frames":
            return normalise(pixels, self.pixels)
        # Pictures of tracks or flow are no frames of the clip, and have no part in its mean frame.
        video, pictures = normalise(pixels[:, :-2], self.pixels), normalise(pixels[:, -2:], "imagenet")
        return torch.cat([video, pictures], dim=1)


def draw_frames(length, n_frames, rng):
    """Frames of a clip as the released loader draws them (``my_utils.py``), or evenly spaced.

    Parameters
    ----------
    length, n_frames : int
        Frames there are, frames wanted.
    rng : numpy.random.Generator or None

    Returns
    -------
    ndarray of int, shape (n_frames,)
        Places from 0, ascending: without replacement; of a shorter clip all, the first repeated in front for
        half of what is missing, the last behind for the rest. Without ``rng``: see
        `hsta_lib.data.frames.choose_frames`.
    """
    if rng is None:
        return choose_frames(0, length - 1, n_frames)
    if length >= n_frames:
        return np.sort(rng.choice(length, n_frames, replace=False))
    missing = n_frames - length
    return np.pad(np.arange(length), (missing // 2, missing - missing // 2), mode="edge")


@contextlib.contextmanager
def _reproducible(trial):
    """One thread, and the trial's own random numbers; both as before afterwards.

    The seed of the weights is shared by all settings of a grid, like the folds: settings are compared
    with the same draws.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence([trial.seed, trial.fold]).generate_state(1)[0]))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _fit_classifier(model, data, train, labels, _test, _settings, _rng):
    """A classifier that is fitted at once; returns what `_train` does: no losses, no epochs."""
    model.fit(data.batch(train, None)[0].cpu().numpy(), labels)
    return [], []


@contextlib.contextmanager
def _compiled(model, training):
    """Compile the network, if the settings say so, at its first call."""
    if not training.compile:
        yield
        return
    import torch._dynamo

    model.compile()
    try:
        yield
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise RuntimeError(
            f"compile = True: torch.compile failed ({error}); on a CPU it needs a C++ compiler such as g++: "
            "install one, or leave compile False"
        ) from error


class _Epoch(NamedTuple):
    """The clips of an epoch in the order of its steps, on the device: nothing is copied within a step."""

    index: tuple  # see `_Data.index`
    labels: torch.Tensor
    is_first_stage: bool


def _train(model, data, train, labels, test, settings, rng):
    """Run all epochs; returns the mean loss of each, and its test scores if they are to be stored."""
    training = settings.training
    size, n_visited = _batch_size_and_clips(len(train), training)
    steps = math.ceil(n_visited / size)
    optimizer = optimizer_of(model, training)
    losses, epochs, draws = [], [], data.frame_draws("training")
    for epoch in range(-training.pretraining_epochs, training.epochs):
        visited = epoch_order(labels, training.sampling, rng)[:n_visited]
        targets = torch.from_numpy(labels[visited]).to(data.device)
        clips = _Epoch(data.index(train[visited], draws), targets, epoch < 0)
        total = torch.zeros((), device=data.device)
        for i in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(max(epoch, 0) * steps + i, steps, training) * group["scale"]
            total += _loss_of_step(model, optimizer, data, clips, slice(i * size, (i + 1) * size), training)
        losses.append(float(total) / steps)
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"the loss of epoch {epoch} is {losses[-1]}; lower learning_rate = {training.learning_rate}"
            )
        if training.store_epochs and epoch >= 0:
            epochs.append(predict(model, data, test))
    return losses, epochs


def _batch_size_and_clips(n, training):
    """Size of a batch, and how many clips an epoch visits.

    A last batch of a single clip is dropped too: it has no variance to normalise by.
    """
    size = min(training.batch_size, n)
    smallest = size if training.drop_last else min(size, 2)
    return size, n - n % size if n % size < smallest else n


def _loss_of_step(model, optimizer, data, clips, part, training):
    """`train_step` on a part of an epoch's clips; where memory is short, an error with the size that fits."""
    size = fitting = part.stop - part.start
    while fitting:
        smaller = slice(part.start, part.start + fitting)
        loss = _loss_or_none(model, optimizer, data, clips, smaller, training)
        if loss is not None:
            break
        fitting //= 2
    if fitting == size:
        return loss
    raise ValueError(
        f"batch_size = {size}: a step does not fit into the memory of the GPU; "
        + (f"batch_size = {fitting} does" if fitting else "not even one clip does: lower image_size or d")
    )


def _loss_or_none(*step):
    try:
        return _step_on(*step)
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()  # only here, outside the handler, is free what the step had allocated
    return None


def _step_on(model, optimizer, data, clips, part, training):
    inputs = data.at(tuple(axis[part] for axis in clips.index))
    return train_step(model, optimizer, inputs, clips.labels[part], training, clips.is_first_stage)


def train_step(model, optimizer, inputs, labels, training, is_first_stage=False):
    """Forward and backward pass of a batch and one step of the optimiser.

    Parameters
    ----------
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer
        From `optimizer_of`.
    inputs : tuple of Tensor
        What the model takes.
    labels : Tensor, int64, shape (b,)
    training : hsta_lib.config.TrialTraining
    is_first_stage : bool
        Of a comparison system that has two.

    Returns
    -------
    Tensor, float32, shape ()
        Loss of the batch before the step, detached.
    """
    with autocast(labels.device, training.precision):
        loss = _batch_loss(model, inputs, labels, training.loss, is_first_stage)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def autocast(device, precision):
    """Context in which products are computed in a precision, from and to weights that are float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _batch_loss(model, inputs, labels, kind, is_first_stage):
    if kind != "own":
        return loss_of(model(*inputs).float(), labels, kind)
    return model.pretraining_loss(*inputs, labels) if is_first_stage else model.loss(*inputs, labels)


def optimizer_of(model, training):
    """The recipe's optimiser; each parameter group has its ``scale``, a factor on the learning rate.

    Parameters
    ----------
    model, training
        As for `parameter_groups`.
    """
    groups = parameter_groups(model, training)
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=_MOMENTUM)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[training.optimizer]
    return kind(groups, lr=training.learning_rate, fused=True)


def parameter_groups(model, training):
    """Parameters that share their weight decay and the factor on their learning rate.

    Parameters
    ----------
    model : hsta_lib.models.hsta.HSTA
    training : hsta_lib.config.Training
        ``layer_decay`` is applied once more for every level further down: head, norms and CLS tokens have the
        full rate (CLS tokens too, as a slip in the released code has it), then module M, ..., module 1, and
        last the embeddings. ``decay_biases``: whether biases and LayerNorms have weight decay.

    Returns
    -------
    list of dict
        ``params``, ``weight_decay``, ``scale``, for a torch optimiser; one group where nothing differs.
    """
    groups = {}
    for name, parameter in model.named_parameters():
        scale = training.layer_decay ** _levels_below_head(name, model) if training.layer_decay < 1 else 1.0
        decays = training.decay_biases or parameter.ndim > 1
        key = scale, training.weight_decay if decays else 0.0
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "weight_decay": decay, "scale": scale} for (scale, decay), params in groups.items()
    ]


def _levels_below_head(name, model):
    first, second, *_ = name.split(".")
    if first == "blocks":
        return len(model.blocks) - int(second)
    return len(model.blocks) + 1 if first.startswith("embed") and second == "project" else 0


def predict(model, data, rows, draw=0):
    """Class scores of some clips, float32, shape ``(n_rows, n_classes)``; leaves the model in train mode.

    Where frames are drawn at random, a draw is the same in every call, whenever in the training it is made.
    """
    draws = data.frame_draws("test", draw)
    if not isinstance(model, torch.nn.Module):
        found = model.scores(data.batch(rows, draws)[0].cpu().numpy())
        return np.maximum(found, np.finfo(np.float32).min).astype(np.float32)  # a result holds finite numbers
    model.eval()
    with torch.inference_mode(), autocast(data.device, data.precision):
        parts = [
            model(*data.batch(rows[i : i + _EVALUATION_BATCH], draws)).float()
            for i in range(0, len(rows), _EVALUATION_BATCH)
        ]
    model.train()
    return torch.cat(parts).cpu().numpy()


def _most_likely(scores, seen):
    # A class without a training clip is never predicted: its recall is 0, not luck.
    return np.where(seen, scores, -np.inf).argmax(axis=1).tolist()


def _prediction_columns(tested, scores, seen):
    return {
        "clip_id": tested["clip_id"].tolist(),
        "subject_id": tested["subject_id"].tolist(),
        "y_true": tested["label"].tolist(),
        "y_pred": _most_likely(scores, seen),
        "scores": scores.tolist(),
    }
