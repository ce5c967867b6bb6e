"""Real motion: a published network on published pictures of flow, prediction by prediction.

The files are others': a user clones their repositories side by side, see `hsta_lib.data.readers.clones`. What
is written beside a report names clips and subjects by running numbers alone.
"""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.config import Datasets
from hsta_lib.data.readers import clones, flow_images
from hsta_lib.evaluation.metrics import confusion
from hsta_lib.files import csv_of, write_whole
from hsta_lib.models.baselines import ststnet
from hsta_lib.reporting.tables import HEADINGS, LEFT, score_rows, with_span
from hsta_lib.study import comparison
from hsta_lib.training import store

LOG, MATLAB_LOG = "authors' log, PyTorch", "authors' log, MATLAB (the article)"
WEIGHTS = "their weights in our network, {}"
_AS_OPENCV = ("blue", "green", "red")
_COLOURS = ("red", "green", "blue")  # of our pictures
_OWN = "ours, seed {}"
_ABOUT = ["clip", "subject", "y_true"]
_CLASSES = ("negative", "positive", "surprise")
_SEEDS = 5
_ENTRY = re.compile(r"Subject: *(\S+)\s+Predicted *: *\[([\d, ]*)\]\s+Ground Truth: *\[([\d, ]*)\]")


def reproduce(study, dataset):
    """Predictions of STSTNet's published weights and logs for every clip.

    Parameters
    ----------
    study : hsta_lib.study.study.Study
        ``data_root`` is a clone of HTNet's repository, beside which lies one of STSTNet's.
    dataset : hsta_lib.data.dataset.Dataset
        The pictures of that clone, opened.

    Returns
    -------
    DataFrame
        One row per clip, in the order of `Dataset.clips`: ``clip`` and ``subject``, running numbers from 0;
        ``y_true``; and the predicted class, 0 to 2, by `LOG`, by `MATLAB_LOG`, and by `WEIGHTS` for each
        order of the colours, the published one first.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or another version, with the command that brings the right one.
    """
    folder = clones.given_folder(study.parameters.data_root).parent / "STSTNet"
    clips = dataset.clips.assign(clip_id=dataset.clips["source_name"])
    subjects = clips["source_name"].str.split("/").str[1]
    table = pd.DataFrame(
        {"clip": range(len(clips)), "subject": pd.factorize(subjects)[0], "y_true": clips["label"]}
    )
    table[LOG] = _logged(folder, clips, subjects)
    table[MATLAB_LOG] = _logged_by_clip(folder, clips)
    networks = {
        name: ststnet.with_authors_weights(clones.find(folder, "STSTNet", f"STSTNet_Weights/{name}.pth"))
        for name in subjects.unique()
    }
    orders = itertools.permutations(_AS_OPENCV)  # the published one first
    for order in orders:
        predicted = _predicted(networks, subjects, dataset.flow(flow_images.SIZE), order)
        table[WEIGHTS.format(", ".join(order))] = predicted
    return table


@torch.inference_mode()
def _predicted(networks, subjects, pictures, order):
    """Class of each picture by the network that was not trained on its subject."""
    seen = torch.from_numpy(np.ascontiguousarray(pictures[..., [_COLOURS.index(name) for name in order]]))
    predicted = np.empty(len(pictures), dtype=int)
    for name, network in networks.items():
        rows = np.flatnonzero(subjects == name)
        predicted[rows] = network(seen[rows].permute(0, 3, 1, 2)).argmax(1).numpy()
    return predicted


def _logged(folder, clips, subjects):
    """Predictions of the log of PyTorch, which lists a subject's clips by class, then by name, unnamed."""
    path = clones.find(folder, "STSTNet", "STSTNet_python_logfile.txt")
    predicted = pd.Series(-1, index=clips.index)
    for name, *lists in _ENTRY.findall(path.read_text()):
        found, true = ([int(word) for word in text.split(",") if word.strip()] for text in lists)
        rows = clips[subjects == name].sort_values(["label", "clip_id"])
        if rows["label"].tolist() != true or len(found) != len(true):
            raise ValueError(
                f"{path}: subject {name} has the labels {true}, its pictures {rows['label'].tolist()}: one "
                f"of the clones is incomplete or of another version: {clones.repair(folder, 'STSTNet')}"
            )
        predicted[rows.index] = found
    return _whole(predicted, path, clips, folder)


def _logged_by_clip(folder, clips):
    """Predictions of the log of MATLAB: two words head a subject; a clip has its name, label, prediction."""
    path = clones.find(folder, "STSTNet", "STSTNet_logfile.txt")
    found, subject = {}, ""
    for words in map(str.split, path.read_text().splitlines()):
        if len(words) == 2:
            subject = words[1]
        elif len(words) == 3:
            found[flow_images.clip_of(f"{subject}_{words[0]}")] = int(words[2])
    return _whole(clips["clip_id"].map(found).fillna(-1).astype(int), path, clips, folder)


def _whole(predicted, path, clips, folder):
    if (predicted < 0).any():
        raise ValueError(
            f"{path}: no prediction of {(predicted < 0).sum()} of {len(clips)} clips, the first is "
            f"{clips['clip_id'][(predicted < 0).idxmax()]}: {clones.repair(folder, 'STSTNet')}"
        )
    return predicted


def own_trials(study):
    """Trials of STSTNet as published, every subject left out once, by seed; and their datasets.

    The study's ``seeds``, where the notebook names some, are trained; else those are taken that are stored.
    """
    seeds = tuple(study.parameters.seeds or range(_SEEDS))
    preset = study.preset.model_copy(update={"datasets": Datasets(form="published")})
    rows = pd.DataFrame({"system": ["STSTNet"]})
    found = comparison.prepare(replace(study, preset=preset, seeds=seeds), rows)
    by_seed = {seed: [trial for trial in found.trials[0] if trial.seed == seed] for seed in seeds}
    if not study.parameters.seeds:
        by_seed = {
            seed: trials
            for seed, trials in by_seed.items()
            if not store.missing(trials, config.results_dir())
        }
    return by_seed, found.datasets


def with_own(table, dataset, by_seed):
    """The table of `reproduce` with a column for each seed of `own_trials`, trained."""
    names = dataset.clips["clip_id"]
    columns = {}
    for seed, trials in by_seed.items():
        rows = store.predictions(trials, config.results_dir()).set_index("clip_id")["y_pred"]
        columns[_OWN.format(seed)] = names.map(rows)
    return table.assign(**columns)


def score(table):
    """Scores of each column of predictions, and how many agree with the log.

    One row per column: ``<metric>``, ``<metric>_low``, ``<metric>_high`` in percent, pooled over subjects,
    with 95 % intervals over subjects; ``precision``, macro precision in percent, which the article's table
    prints as UAR; ``equal``, clips predicted as in the log of PyTorch. ``table``: from `reproduce` or
    `with_own`.
    """
    about = table[_ABOUT].set_axis(["clip_id", "subject_id", "y_true"], axis=1)
    about = about.assign(fold=table["subject"], seed=0)
    names = [name for name in table if name not in _ABOUT]
    scored = score_rows({name: about.assign(y_pred=table[name]) for name in names}, len(_CLASSES))
    scored["precision"] = [100 * _macro_precision(table["y_true"], table[name]) for name in names]
    return scored.assign(equal=[int((table[name] == table[LOG]).sum()) for name in names])


def _macro_precision(y_true, y_pred):
    counts = confusion(y_true, y_pred, len(_CLASSES))
    predicted = counts.sum(axis=0)
    return float(np.mean(np.divide(np.diag(counts), predicted, where=predicted > 0, out=np.zeros(3))))


def show(scored, n_clips):
    """The table of `score` for reading."""
    shown = {"as in the log of PyTorch": [f"{equal} of {n_clips}" for equal in scored["equal"]]}
    for metric in ("uf1", "uar"):
        shown[HEADINGS[metric]] = [with_span(row, metric) for row in scored.to_dict("records")]
    shown["macro precision"] = scored["precision"].map("{:.1f}".format)
    return pd.DataFrame(shown, index=scored.index).rename_axis(None).style.set_table_styles(LEFT)


def conclude(scored, n_clips):
    """What the comparison comes to, in sentences made from its numbers."""
    weights = scored[scored.index.str.startswith(WEIGHTS.format(""))]
    (right, *others), matlab = weights["equal"], scored.loc[MATLAB_LOG]
    lines = [
        f"- STSTNet's published weights, in our own STSTNet, on the pictures of HTNet's repository, predict "
        f"{right} of {n_clips} clips as the authors' log says. With the colours in any other order at most "
        f"{max(others)} agree. So the pictures, their order of channels and the network are the authors'. "
        "Nothing of this is about HSTA.",
        f"- The article prints {matlab['precision']:.1f} as UAR. That is macro precision; UAR, of the same "
        f"predictions, is {matlab['uar']:.1f}.",
        f"- The authors' two logs agree in {int(matlab['equal'])} of {n_clips} clips: two trainings of one "
        "network, in MATLAB and in PyTorch.",
        *_lie_among(scored),
    ]
    return Markdown("\n".join(lines))


def _lie_among(scored):
    """Where the two logs lie among our own trainings."""
    own = scored[scored.index.str.startswith(_OWN.format(""))]
    if own.empty:
        yield "- None of our own trainings is stored; `make reproduce SEEDS=0` trains once for each subject."
        return
    for metric in ("uf1", "uar"):
        draws = ", ".join(f"{value:.1f}" for value in own[metric])
        logs = " and ".join(f"{scored.loc[name, metric]:.1f}" for name in (LOG, MATLAB_LOG))
        below = [int((own[metric] < scored.loc[name, metric]).sum()) for name in (LOG, MATLAB_LOG)]
        yield (
            f"- {HEADINGS[metric]} of our own {len(own)} trainings by leave-one-subject-out: {draws}. The "
            f"two logs have {logs}, above {below[0]} and {below[1]} of ours."
        )


def record(table, scored):
    """Write predictions, by running numbers, and scores beside the report; see `reporting.records`."""
    rows = json.loads(scored.to_json(orient="index", double_precision=4))
    content = {"data": "published pictures of flow, no face", "n_clips": len(table), "rows": rows}
    files = {
        "real-reproduce-predictions.csv": csv_of(table),
        "real-reproduce.json": json.dumps(content, indent=1) + "\n",
    }
    paths = [config.records_dir() / name for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        write_whole(path, text)
    return [config.shown_path(path) for path in paths]
