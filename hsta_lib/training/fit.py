"""Train one trial and predict its test fold: the only place that trains."""

import contextlib
import math
import time
from typing import NamedTuple

import numpy as np
import torch

from hsta_lib.data.splits import make_folds
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import baseline_inputs, recipe
from hsta_lib.training.batches import EVALUATION_BATCH, Clips, Inputs, check_frames
from hsta_lib.training.checkpoint import Checkpoint


def fit(trial, dataset, checkpoint=None):
    """Train on a trial's training fold, predict its test fold.

    Runs on one torch thread, so that its result does not depend on how many workers or cores there are:
    on the CPU of one machine, a trial repeated gives bit-identical predictions.

    ``checkpoint`` (Checkpoint, optional): where the training goes on, and what it keeps of itself meanwhile.

    Returns
    -------
    dict
        JSON values: ``predictions`` (columns ``clip_id``, ``subject_id``, ``y_true``, ``y_pred``,
        ``scores``), ``losses`` (mean per epoch), ``absent_classes`` (names of classes without a training
        clip), ``n_train``, ``train_accuracy`` (of the labels that were trained on), ``seconds``, ``device``,
        and what `hsta_lib.training.recipe.constant_prediction` gives. Where the settings ask for them,
        ``epoch_predictions`` and ``draw_predictions``: the classes predicted after each epoch, and after the
        last one with each draw of the test clips' frames.

    Raises
    ------
    ValueError
        If the data is not the trial's, its frames are not those of the settings, a step does not fit into
        the GPU's memory, or the loss is no longer finite.
    """
    started, checkpoint = time.perf_counter(), checkpoint or Checkpoint()
    with _reproducible(trial):
        run = _trained(trial, dataset, checkpoint)
        scores = predict(run.model, run.data, run.test)
        trained = _most_likely(predict(run.model, run.data, run.train), run.seen)
        draws = [
            _most_likely(predict(run.model, run.data, run.test, draw), run.seen)
            for draw in range(trial.settings.training.store_draws)
        ]
    absent = [name for name, is_seen in zip(dataset.classes, run.seen, strict=True) if not is_seen]
    result = {
        "predictions": _prediction_columns(dataset.clips.iloc[run.test], scores, run.seen),
        "losses": run.losses,
        "absent_classes": absent,
        "n_train": len(run.train),
        "train_accuracy": float(np.mean(trained == run.labels)),
        **recipe.constant_prediction(run.labels, len(dataset.classes), trial.settings.training),
        "seconds": checkpoint.spent + time.perf_counter() - started,
        "device": str(run.data.device),
    }
    asked = {
        "epoch_predictions": [_most_likely(scores, run.seen) for scores in run.epochs],
        "draw_predictions": draws,
    }
    return result | {name: values for name, values in asked.items() if values}


def train_model(trial, dataset, checkpoint=None):
    """Train as `fit` does and keep the network: scores, bit by bit, and errors are those of `fit`.

    Returns
    -------
    model : hsta_lib.models.hsta.HSTA
        After the last epoch, in train mode.
    seen : ndarray of bool, shape (n_classes,)
        Classes with a training clip; the others are never predicted.
    """
    with _reproducible(trial):
        run = _trained(trial, dataset, checkpoint or Checkpoint())
    return run.model, run.seen


class _Run(NamedTuple):
    """A network after its training, and what it was trained and is tested on."""

    model: object
    data: object
    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    seen: np.ndarray
    losses: list
    epochs: list


def _trained(trial, dataset, checkpoint):
    """Train a trial; within `_reproducible`."""
    if trial.fingerprint != dataset.fingerprint:
        raise ValueError(
            f"trial {trial.id} is of data {trial.fingerprint}, the dataset opened is {dataset.fingerprint}"
        )
    settings = trial.settings
    check_frames(dataset.frames().shape, settings.frames)
    fold = make_folds(dataset.clips, **settings.split.model_dump(), seed=trial.seed)[trial.fold]
    rng = np.random.default_rng([trial.seed, trial.fold])
    train, labels = recipe.training_labels(dataset.clips, fold.train, settings.training.shuffled_labels, rng)
    seen = np.isin(np.arange(len(dataset.classes)), labels)
    data, model = _data_and_model(trial, dataset)
    run = _train if isinstance(model, torch.nn.Module) else _fit_classifier
    losses, epochs = run(model, data, train, labels, fold.test, settings, rng, checkpoint)
    return _Run(model, data, train, labels, fold.test, seen, losses, epochs)


def _data_and_model(trial, dataset):
    settings, n_classes = trial.settings, len(dataset.classes)
    if settings.comparison.baseline:
        data, model = Inputs(dataset, trial), baseline_inputs.build(settings.comparison, n_classes)
    else:
        model = HSTA.from_settings(settings, n_classes)
        data = Clips(dataset, trial, model.cut)
    return data, model.to(data.device) if isinstance(model, torch.nn.Module) else model


@contextlib.contextmanager
def _reproducible(trial):
    """One thread, and the trial's own random numbers; both as before afterwards.

    All settings of a grid share the weights' seed, like the folds: they are compared with the same draws.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence([trial.seed, trial.fold]).generate_state(1)[0]))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _fit_classifier(model, data, train, labels, _test, _settings, _rng, _checkpoint):
    """A classifier that is fitted at once; returns what `_train` does: no losses, no epochs."""
    model.fit(data.batch(train, None)[0].cpu().numpy(), labels)
    return [], []


class _Epoch(NamedTuple):
    """The clips of an epoch in the order of its steps, on the device: nothing is copied within a step."""

    index: tuple  # see `hsta_lib.training.batches.Clips.index`
    labels: torch.Tensor
    is_first_stage: bool


def _train(model, data, train, labels, test, settings, rng, checkpoint):
    """Run all epochs; returns the mean loss of each, and its test scores if they are to be stored."""
    training = settings.training
    size, n_visited = recipe.batch_size_and_clips(len(train), training)
    steps = math.ceil(n_visited / size)
    optimizer = recipe.optimizer_of(model, training)
    losses, epochs, draws = [], [], data.frame_draws("training")
    kept = model, optimizer, rng, draws, losses, epochs
    checkpoint.restore(kept)
    for epoch in range(len(losses) - training.pretraining_epochs, training.epochs):
        visited = recipe.epoch_order(labels, training.sampling, rng)[:n_visited]
        targets = torch.from_numpy(labels[visited]).to(data.device)
        clips = _Epoch(data.index(train[visited], draws), targets, epoch < 0)
        total = torch.zeros((), device=data.device)
        for i in range(steps):
            rate = recipe.learning_rate(max(epoch, 0) * steps + i, steps, training)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            total += _loss_of_step(model, optimizer, data, clips, slice(i * size, (i + 1) * size), training)
        losses.append(float(total) / steps)
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"the loss of epoch {epoch} is {losses[-1]}; lower learning_rate = {training.learning_rate}"
            )
        if training.store_epochs and epoch >= 0:
            epochs.append(predict(model, data, test).tolist())
        checkpoint.keep(kept)
    return losses, epochs


def _loss_of_step(model, optimizer, data, clips, part, training):
    """`train_step` on a part of an epoch's clips; memory that is too short is an error that names the fix."""
    try:
        inputs = data.at(tuple(axis[part] for axis in clips.index))
        return train_step(model, optimizer, inputs, clips.labels[part], training, clips.is_first_stage)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"batch_size = {part.stop - part.start}: a step does not fit into the memory of the GPU; lower "
            "batch_size, image_size or d"
        ) from error


def train_step(model, optimizer, inputs, labels, training, is_first_stage=False):
    """Forward and backward pass of a batch and one step of the optimiser; gives the loss before it.

    ``inputs``: a tuple of what the model takes; ``labels``: int64 ``(b,)``; ``optimizer``: from
    `hsta_lib.training.recipe.optimizer_of`; ``is_first_stage``: of a baseline that has two.
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
        return recipe.loss_of(model(*inputs).float(), labels, kind)
    return model.pretraining_loss(*inputs, labels) if is_first_stage else model.loss(*inputs, labels)


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
            model(*data.batch(rows[i : i + EVALUATION_BATCH], draws)).float()
            for i in range(0, len(rows), EVALUATION_BATCH)
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
