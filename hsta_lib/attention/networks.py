"""Networks to look into: one trial's, trained once and kept with its weights; or the authors' checkpoint."""

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from hsta_lib import config
from hsta_lib.files import file_digest, progress_bar, write_whole
from hsta_lib.models.hsta import HSTA
from hsta_lib.models.released import (
    checkpoint_file,
    load_released_state_dict,
    our_name,
    read_released_checkpoint,
)
from hsta_lib.training.checkpoint import Checkpoint
from hsta_lib.training.fit import train_model
from hsta_lib.training.trials import NAMED_CELL, Trial


class Network(NamedTuple):
    """A network to look into: ``seen`` marks classes it was trained on, ``origin`` says where it is from."""

    model: HSTA
    trial: Trial
    seen: np.ndarray
    origin: str


def open_network(study, dataset, fold, checkpoint=""):
    """The network of the named setting and one fold, trained or as stored; or the authors' checkpoint.

    Parameters
    ----------
    fold : int
        From 0; that of the first seed is trained.
    checkpoint : str
        File or folder of the authors' network, or empty; M, L_v and L_s are those of its tensors.

    Raises
    ------
    ValueError
        If there is no such fold, or the checkpoint does not fit the preset's size or the classes.
    FileNotFoundError
        If there is no such checkpoint.
    """
    if not checkpoint:
        return trained(_trial(study, dataset, fold, NAMED_CELL), dataset, config.results_dir())
    path = checkpoint_file(Path(checkpoint).expanduser())
    state_dict = read_released_checkpoint(path)
    trial = _trial(study, dataset, fold, depths(state_dict))
    model = _untrained(trial, dataset)
    load_released_state_dict(model, state_dict)
    origin = f"the checkpoint `{path.name}` (SHA-256 {file_digest(path)[:16]}…), trained elsewhere"
    return Network(model, trial, np.full(len(dataset.classes), True), origin)


def _trial(study, dataset, fold, cell):
    n_folds = len(study.folds(dataset))
    if fold >= n_folds:
        raise ValueError(f"notebook parameters: fold = {fold}: there are {n_folds}, counted from 0")
    return study.trials(dataset, pd.DataFrame([cell]))[0][fold]  # of the first seed


def depths(state_dict):
    """M, L_v and L_s of a checkpoint of the authors' code, from the names of its tensors."""
    names = "\n".join(map(our_name, state_dict))
    patterns = {"m": r"^blocks\.(\d+)\.", "l_v": r"\.usta_video\.(\d+)\.", "l_s": r"\.usta_special\.(\d+)\."}
    found = {name: re.findall(pattern, names, re.MULTILINE) for name, pattern in patterns.items()}
    if not all(found.values()):
        raise ValueError("the checkpoint has no modules with USTA in both branches: it is of another network")
    return {name: 1 + max(map(int, numbers)) for name, numbers in found.items()}


def trained(trial, dataset, folder):
    """The network of a trial, scoring as `fit` does: as stored, else trained and kept by its id."""
    path = folder / f"{trial.id}.pt"
    model = _untrained(trial, dataset)
    try:
        seen = _restored(model, trial, path)
    except FileNotFoundError:
        seen = None
    except Exception as error:  # pickle, zip and torch each have their own
        print(f"{path.name} is damaged ({str(error).splitlines()[0]}); the network is trained again")
        seen = None
    if seen is None:
        print(f"training fold {trial.fold}, seed {trial.seed}; the network is kept as {path.name}")
        with progress_bar(total=trial.settings.training.epochs, desc="training", unit="epoch") as bar:
            model, seen = train_model(trial, dataset, _Shown(bar))
        _keep(model, seen, trial, path)
    return Network(model, trial, seen, f"trial `{trial.id}` (fold {trial.fold}, seed {trial.seed})")


class _Shown(Checkpoint):
    """Keeps nothing of a training, and shows how far it is."""

    def __init__(self, bar):
        super().__init__()
        self.bar = bar

    def keep(self, _):
        self.bar.update()


def _untrained(trial, dataset):
    with torch.random.fork_rng():
        return HSTA.from_settings(trial.settings, len(dataset.classes))


def _restored(model, trial, path):
    """Put stored weights into a network; returns the classes it was trained on."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["trial"] != trial.description():
        raise ValueError("it is of another trial")
    if content["digest"] != digest_of(content["state_dict"]):
        raise ValueError("its weights are not those that were stored")
    model.load_state_dict(content["state_dict"])
    return np.array(content["seen"])


def _keep(model, seen, trial, path):
    weights = {name: values.cpu() for name, values in model.state_dict().items()}
    content = {"trial": trial.description(), "seen": seen.tolist(), "digest": digest_of(weights)}
    file = io.BytesIO()
    torch.save(content | {"state_dict": weights}, file)
    write_whole(path, file.getvalue())


def digest_of(weights):
    """SHA-256 of all tensors: torch reads a file with changed bytes without complaint."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    return digest.hexdigest()
