"""The recipe of a training: labels, order of the clips, learning rate, loss, optimiser."""

import math

import numpy as np
import torch
from torch.nn import functional

from hsta_lib.data.splits import shares_recording

_MOMENTUM = 0.9  # of stochastic gradient descent


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
        recording have in common is left in the labels. Clips alone in their recording are left out; a
        ValueError if all are.
    """
    labels = clips["label"].to_numpy()[train]
    if shuffled == "fold":
        return train, rng.permutation(labels)
    if shuffled == "none":
        return train, labels
    if not shares_recording(clips, train):
        raise ValueError("no recording has two training clips: labels cannot be shuffled within recordings")
    recordings = clips["recording_id"].to_numpy()[train]
    groups = [rng.permutation(np.flatnonzero(recordings == name)) for name in np.unique(recordings)]
    groups = [group for group in groups if len(group) > 1]
    members = np.concatenate(groups)
    return train[members], np.concatenate([np.roll(labels[group], 1) for group in groups])


def epoch_order(labels, sampling, rng):
    """Positions in ``labels (n,)`` of the training clips, in the order in which an epoch visits them.

    ``sampling``: ``balanced``, n draws with replacement, every class that occurs equally likely (section
    4.1); ``uniform``, each clip once; ``in_order``, each clip once, in the order of the clip table.
    """
    if sampling == "uniform":
        return rng.permutation(len(labels))
    if sampling == "in_order":
        return np.arange(len(labels))
    weight = 1.0 / np.bincount(labels)[labels]
    return rng.choice(len(labels), size=len(labels), p=weight / weight.sum())


def batch_size_and_clips(n, training):
    """Size of a batch, and how many of ``n`` training clips an epoch visits.

    A last batch of a single clip is dropped too: it has no variance to normalise by.
    """
    size = min(training.batch_size, n)
    smallest = size if training.drop_last else min(size, 2)
    return size, n - n % size if n % size < smallest else n


def learning_rate(step, steps_per_epoch, training):
    """Learning rate of a step, counted from 0: linear warm-up, then cosine, in steps or constant.

    It is ``warmup_start`` at step 0 where there is a warm-up; ``learning_rate`` at the first step after it,
    and with ``peak_twice`` at its last.
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
    """Loss of a batch, of logits ``(b, n_classes)`` and int64 labels ``(b,)``.

    ``kind``: ``mse`` or ``mse_softmax``, squared error against one-hot labels (Eq. 16), of the logits or of
    their softmax, over batch and classes; or ``cross_entropy``, as in the released code.
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(logits, labels)
    target = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return functional.mse_loss(logits.softmax(dim=1) if kind == "mse_softmax" else logits, target)


def constant_prediction(labels, n_classes, training):
    """What predicting the same for every training clip reaches at best, as `fit` stores it.

    ``labels`` (ndarray of int, ``(n,)``): those that are trained on.

    Returns
    -------
    dict
        ``constant_accuracy``: the share of the most frequent class; ``constant_loss``: the least mean loss of
        an epoch, by the shares with which ``sampling`` draws the classes; None for a baseline's own loss.
    """
    counts = np.bincount(labels, minlength=n_classes)
    drawn = counts > 0 if training.sampling == "balanced" else counts
    shares = drawn[counts > 0] / drawn.sum()
    losses = {
        "cross_entropy": -(shares * np.log(shares)).sum(),
        "mse": (shares * (1 - shares)).sum() / n_classes,
    }
    loss = losses.get(training.loss.removesuffix("_softmax"))
    accuracy = float(counts.max() / len(labels))
    return {"constant_accuracy": accuracy, "constant_loss": None if loss is None else float(loss)}


def optimizer_of(model, training):
    """The recipe's optimiser, over `parameter_groups`."""
    groups = parameter_groups(model, training)
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=_MOMENTUM)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[training.optimizer]
    return kind(groups, lr=training.learning_rate, fused=True)


def parameter_groups(model, training):
    """Parameters of one weight decay and one ``scale`` of the learning rate, as a torch optimiser takes them.

    The scale is ``layer_decay``, once for each level below the head; CLS tokens count as the head, which is a
    slip in the released code.
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
