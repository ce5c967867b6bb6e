"""A dataset of a few random clips and settings that train on it in a fraction of a second."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib.config import Model, Settings, with_fields
from hsta_lib.data.dataset import Dataset
from hsta_lib.data.table import problems_table
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import store
from hsta_lib.training.batches import Clips
from hsta_lib.training.trials import Trial

FINGERPRINT = "tiny"


def tiny_dataset(folder, *, n_clips=23, n_subjects=5, size=8, n_frames=6):
    """Random frames in ``folder``; the label is how far the apex is brighter than the onset."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_clips) % 3
    subjects = np.arange(n_clips) % n_subjects
    frames = rng.integers(90, 110, (n_clips, n_frames + 2, size, size, 3)).astype(np.uint8)
    frames[:, -1] += (40 * labels[:, None, None, None]).astype(np.uint8)
    path = folder / "frames.npy"
    np.save(path, frames)
    clips = pd.DataFrame(
        {
            "clip_id": [f"tiny/s{s}/a/{i:03d}" for i, s in enumerate(subjects)],
            "subject_id": [f"tiny/s{s}" for s in subjects],
            "recording_id": [f"tiny/s{s}/{'ab'[i % 2]}" for i, s in enumerate(subjects)],
            "onset": 1,
            "apex": 5,
            "offset": 9,
            "label": labels,
            "expression_type": "micro",
        }
    )
    classes = ("low", "middle", "high")
    return Dataset(clips, path, classes, problems_table(), {}, FINGERPRINT, "tiny", pd.DataFrame())


def result_of(n_clips=1, *, more=None, **columns):
    """A training's result: predictions of one clip some times, or with other ``columns``; other fields."""
    one = {"clip_id": "a", "subject_id": "s", "y_true": 1, "y_pred": 0, "scores": [0.1, 0.9]}
    usual = {"losses": [0.5], "absent_classes": [], "n_train": 3, "seconds": 0.1, "device": "cpu"}
    predictions = {name: [cell] * n_clips for name, cell in one.items()} | columns
    return {"predictions": predictions, **usual, **(more or {})}


def changes(before, after):
    """Fields of settings that differ, and what they are after."""
    one, other = (
        {"labels": settings.labels}
        | {name: value for group in ("frames", "model", "training", "split")
           for name, value in getattr(settings, group).model_dump().items()}
        for settings in (before, after)
    )  # fmt: skip
    return {name: value for name, value in other.items() if one[name] != value}


def save(trial, result, folder):
    """Store a trial's result, as a run does."""
    store.write(store.record_of(trial, result), folder)


def scores_in(trials, folder):
    """Stored class scores by the trials' ids."""
    return {trial.id: store.load(trial, folder)["predictions"]["scores"] for trial in trials}


SCRIPT = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny import tiny_dataset, tiny_trials
from hsta_lib import config
from hsta_lib.training import run
{before}
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell inherit it ignored
    run.run({trials}, [tiny_dataset({data})], {results}, {where})
"""


def write_script(folder, trials, where, *, before="", data="Path({0!r})", results="Path({0!r}) / 'results'"):
    """A script that trains, by default in its folder; all but ``folder`` is code, ``where`` of `run.run`."""
    data, results = (code.format(str(folder)) for code in (data, results))
    parts = {"trials": trials, "where": where, "before": before, "data": data, "results": results}
    (folder / "run.py").write_text(SCRIPT.format(tests=str(Path(__file__).parent), **parts))
    return folder / "run.py"


def wait_for(condition, seconds=180):
    """Wait until something holds; an error if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def network_of(*, n_classes, n_frames, image_size, **fields):
    """A network from plain numbers; ``fields`` are those of `hsta_lib.config.Model`."""
    return HSTA(Model(**fields), n_frames=n_frames, image_size=image_size, n_classes=n_classes)


def pixels_of(dataset, trial):
    """Clips as a network is given them, but for the cut into tubelets."""
    return Clips(dataset, trial, cut=lambda *branches: branches)


def scores_of(model, video, special):
    """Class scores from pixels."""
    return model(*model.cut(video, special))


def tiny_settings(**fields):
    """Settings of a network that trains in a fraction of a second."""
    small = {"image_size": 8, "patch_size": 4, "d": 7, "m": 1, "l_v": 1, "l_s": 1}
    recipe = {"epochs": 2, "warmup_epochs": 0, "batch_size": 5, "learning_rate": 1e-2, "n_folds": 3}
    return with_fields(Settings(), **small | recipe | fields)


def tiny_trials(*, seeds=(0,), n_folds=3, **fields):
    """One trial per fold and seed."""
    settings = tiny_settings(**fields)
    return [Trial(settings, fold, seed, FINGERPRINT) for seed in seeds for fold in range(n_folds)]


def with_folders(root, frames, names):
    """The root, with empty clip folders in its folder of frames."""
    for name in names:
        (root / frames / name).mkdir(parents=True, exist_ok=True)
    return root
