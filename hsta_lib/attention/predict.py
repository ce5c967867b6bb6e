"""A trained network to keep, and what it says of clips of one's own, with what it cannot tell.

Which classes a clip may have is a set that holds the true one for nine clips in ten: split conformal
prediction (Papadopoulos and others, ECML 2002), calibrated on subjects that the network was not trained on.
That holds for clips like those it was calibrated on, and for no others.
"""

import contextlib
import io
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from IPython.display import Markdown
from pydantic import Field

from hsta_lib import config
from hsta_lib.attention import own_clip, weights
from hsta_lib.attention.networks import Network, digest_of, open_network
from hsta_lib.data.dataset import Dataset
from hsta_lib.data.faces import find_face
from hsta_lib.data.frames import frames_between, holds_frames, index_folder, read_image
from hsta_lib.data.readers.find import nearest_folder
from hsta_lib.data.splits import is_subject_dependent
from hsta_lib.data.table import problems_table
from hsta_lib.files import csv_of, write_whole
from hsta_lib.models.hsta import HSTA
from hsta_lib.reporting.tables import counted, in_full, of_facts
from hsta_lib.training.trials import Trial

COVERED = 0.9  # of the clips have their true class in the set
_VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".mpg", ".mpeg")
_WITH_NETWORK = ("preset", "network", "clips")
_KEY = "hsta_lib"  # of the metadata in a kept file
_LICENCE = (
    "The network may hold what it saw: where its dataset may not be passed on, nor may this file. "
    "The licence of hsta_lib is of its code alone."
)
_COLUMNS = ["clip_id", "subject_id", "y_true", "y_pred"]


class Choice(config.Group):
    """Parameters of the notebook beside `hsta_lib.config.Parameters`."""

    fold: int = Field(0, ge=0)
    network: str = ""
    clips: str = ""


class Kept(NamedTuple):
    """A network, the classes it knows, the ``limit`` of its sets, and ``about``: facts in words, by topic."""

    network: Network
    classes: tuple
    limit: float
    about: dict


def start(name, namespace):
    """The study and the `Choice` of the notebook's parameters, as by `hsta_lib.study.study.start`.

    Raises
    ------
    ValueError
        As `hsta_lib.study.study.start`; also if a network is given without clips or with what training
        needs, the split shares subjects between training and calibration, or a folder holds no clip.
    FileNotFoundError
        If the network or the clips are not there.
    """
    study, choice = weights.start_with(Choice, name, namespace)
    if choice.clips:
        clips_in(choice.clips)
    if choice.network:
        load(choice.network)
        if not choice.clips:
            raise ValueError(
                f"notebook parameters: network = {choice.network!r} needs clips: give their folder"
            )
        allowed = (*_WITH_NETWORK, *["split"] * (study.given.get("split") == "subject"))  # the notebook's own
        for without in [key for key in study.given if key not in allowed]:
            raise ValueError(
                f"notebook parameters: {without} has no effect with network = {choice.network!r}, which is "
                "trained; leave it out"
            )
    elif is_subject_dependent(study.settings.split.split, study.settings.split.macro_clips):
        raise ValueError(
            f"notebook parameters: split = {study.settings.split.split!r}, macro_clips = "
            f"{study.settings.split.macro_clips!r}: sets are calibrated on subjects not trained on; "
            "choose split = 'subject' and macro_clips = 'none'"
        )
    return study, choice


def clips_in(folder):
    """Clips of a folder by their paths within it, at any depth: videos, and folders of frames."""
    root = Path(folder).expanduser()
    if not root.exists():
        raise FileNotFoundError(
            f"clips = {folder!r}: no such file or folder; the nearest is {nearest_folder(root.absolute())}"
        )
    if root.is_file() or holds_frames(root):
        return {root.name: root}
    inside = sorted(root.rglob("*"))
    found = [path for path in inside if path.is_file() and path.suffix.lower() in _VIDEOS]
    found += [path for path in inside if path.is_dir() and holds_frames(path)]
    if not found:
        raise ValueError(
            f"clips = {folder!r}: it holds neither a video ({', '.join(_VIDEOS)}) nor a folder of frames"
        )
    return {path.relative_to(root).as_posix(): path for path in sorted(found)}


def open_kept(study, choice):
    """The network that is given; else one trained on a fold and calibrated on half of its test subjects.

    With it come the clips of the other half as `Looked`, or None where the network is given.
    """
    if choice.network:
        return load(choice.network), None
    dataset = study.open_dataset()
    network = open_network(study, dataset, choice.fold)
    fold = study.folds(dataset)[choice.fold]
    tested = weights.look(network, dataset, fold.test)
    calibration, others = halves(tested)
    trained = dataset.clips.iloc[fold.train]
    about = {
        "trained on": study.data_name,
        "clips and subjects in training": f"{len(trained)} of {trained['subject_id'].nunique()}",
        "clips and subjects of the calibration": (
            f"{len(calibration.clips)} of {calibration.clips['subject_id'].nunique()}"
        ),
        "recipe, preset, labels": f"{study.parameters.recipe}, {study.preset_name}, {study.settings.labels}",
        "licence": _LICENCE,
    }
    limit = conformal_limit(calibration.probabilities, calibration.clips["label"].to_numpy())
    return Kept(network, dataset.classes, limit, about), others


def halves(tested):
    """Clips of every other subject, to calibrate on, and those of the subjects between them."""
    subjects = sorted(set(tested.clips["subject_id"]))
    is_first = tested.clips["subject_id"].isin(subjects[::2]).to_numpy()
    return [tested.rows(np.flatnonzero(half)) for half in (is_first, ~is_first)]


def conformal_limit(probabilities, labels, covered=COVERED):
    """One minus the least probability that a class of the set may have; 1 where clips are too few to tell."""
    missed = np.sort(1 - probabilities[np.arange(len(labels)), labels])
    rank = math.ceil((len(labels) + 1) * covered)
    return float(missed[rank - 1]) if rank <= len(labels) else 1.0


def save(kept, path):
    """Write a network with all that its use needs: tensors and text, nothing that could be run."""
    network = kept.network
    tensors = {name: values.cpu().contiguous() for name, values in network.model.state_dict().items()}
    facts = {
        "trial": network.trial.description() | {"settings": network.trial.settings.model_dump(mode="json")},
        "origin": network.origin, "seen": network.seen.tolist(), "classes": list(kept.classes),
        "limit": kept.limit, "about": kept.about, "digest": digest_of(tensors),
    }  # fmt: skip
    write_whole(path, safetensors.torch.save(tensors, metadata={_KEY: json.dumps(facts)}))
    return path


def load(path):
    """A network that `save` wrote; anything else, and weights that were changed, are refused."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"network = {str(path)!r}: no such file; make one with `make predict`")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"network = {str(path)!r} is no network that `make predict` kept ({error})"
        ) from None
    if digest_of(tensors) != facts["digest"]:
        raise ValueError(
            f"network = {str(path)!r}: its weights are not those that were written; make it again"
        )
    trial = facts["trial"]
    settings = config.validated(config.Settings, trial["settings"], str(path))
    with torch.random.fork_rng():
        model = HSTA.from_settings(settings, len(facts["classes"]))
    model.load_state_dict(tensors)
    trial = Trial(settings, trial["fold"], trial["seed"], trial["fingerprint"])
    network = Network(model, trial, np.array(facts["seen"]), facts["origin"])
    return Kept(network, tuple(facts["classes"]), facts["limit"], facts["about"])


def of_clips(kept, choice, others):
    """Predictions in the form that `hsta-score` reads: of the clips in a folder, else of held-out clips.

    ``others``: from `open_kept`.

    Returns
    -------
    predictions : DataFrame
        One row per clip: ``clip_id``; ``subject_id``, its folder, else the clip itself; ``y_true``,
        of a folder empty, to be filled in; ``y_pred``; ``cannot_tell``; ``possible``, the classes of its set;
        ``p_<class>``; ``trained_on``; of a folder's clips ``nothing_moves``, ``not_a_face`` and ``notes``.
    problems : DataFrame or pandas.io.formats.style.Styler
        Clips that could not be used, and why.
    """
    if choice.clips:
        table, problems = of_folder(kept, choice.clips)
        return table, in_full(problems)
    return of_others(kept, others), problems_table()


def of_folder(kept, folder):
    """Predictions of the clips in a folder, and those that could not be used."""
    rows, problems = [], []
    for name, path in clips_in(folder).items():
        try:
            rows.append(_of_clip(kept, name, path))
        except (ValueError, FileNotFoundError) as error:
            problems.append((str(path), name, str(error), "clip left out"))
    return pd.DataFrame(rows, columns=[*_columns(kept), "notes", "trained_on"]), problems_table(problems)


def _columns(kept):
    flags = ["cannot_tell", "possible", "nothing_moves", "not_a_face"]
    return [*_COLUMNS, *flags, *(f"p_{name}" for name in kept.classes)]


def _of_clip(kept, name, path):
    choice, notes = weights.Choice(clip=str(path)), []
    none = pd.DataFrame()
    nothing = Dataset(none, path, kept.classes, none, {}, kept.network.trial.fingerprint, "", none)
    with contextlib.redirect_stdout(io.StringIO()):  # a progress bar for each clip
        frames = kept.network.trial.settings.frames
        with own_clip.own_clip(choice, frames, nothing, notes.append) as dataset:
            looked = weights.look(kept.network, dataset, np.array([0]))
            clip = dataset.clips.iloc[0]
            first = frames_between(index_folder(clip["folder"]), clip["onset"], clip["offset"])
            is_face = find_face(read_image(next(iter(first.values())))) is not None
    parent = Path(name).parent.as_posix()
    return {
        "clip_id": name, "subject_id": name if parent == "." else parent, "y_true": "",
        **_said(kept, looked.probabilities[0]),
        "nothing_moves": bool(clip["apex"] == clip["onset"]), "not_a_face": not is_face,
        "notes": "; ".join(notes), "trained_on": kept.about["trained on"],
    }  # fmt: skip


def _said(kept, probabilities):
    possible = 1 - probabilities <= kept.limit
    return {
        "y_pred": kept.classes[probabilities.argmax()],
        "cannot_tell": bool(possible.sum() != 1),
        "possible": " ".join(np.array(kept.classes)[possible]),
        **{f"p_{name}": value for name, value in zip(kept.classes, probabilities, strict=True)},
    }


def of_others(kept, others):
    """Predictions of held-out clips, whose true classes are known."""
    clips = others.clips.assign(y_true=[kept.classes[label] for label in others.clips["label"]])
    said = pd.DataFrame([_said(kept, values) for values in others.probabilities])
    table = pd.concat([clips[["clip_id", "subject_id", "y_true"]], said], axis=1)
    shown = [name for name in _columns(kept) if name in table]
    return table[shown].assign(trained_on=kept.about["trained on"])


def conclude(kept, predictions):
    """How often the network can tell, and how often it is then right where that is known.

    ``predictions``: from `of_clips`.
    """
    clips, telling = counted(len(predictions), "clip"), predictions[~predictions["cannot_tell"].astype(bool)]
    lines = [f"- The network tells a single class for {len(telling)} of {clips}."]
    known = predictions[predictions["y_true"] != ""]
    if len(known):
        held = [
            true in possible.split()
            for true, possible in zip(known["y_true"], known["possible"], strict=True)
        ]
        right = int((telling["y_true"] == telling["y_pred"]).sum())
        lines += [f"- Of these, {right} {'is' if right == 1 else 'are'} right."] * bool(len(telling)) + [
            f"- The true class stands in the set of {sum(held)} of {clips}; {COVERED:.0%} is what it was "
            "calibrated for, on other subjects."
        ]
    for flag, words in (("nothing_moves", "nothing moves"), ("not_a_face", "no face was found")):
        if flag in predictions and predictions[flag].any():
            lines.append(
                f"- In {int(predictions[flag].sum())} of {clips} {words}: their class means nothing."
            )
    if "synthetic" in kept.about["trained on"]:
        lines.append(
            "- **The network was trained on synthetic faces: what it says of a real face means nothing.**"
        )
    return Markdown("\n".join(lines))


def show(predictions, classes):
    """Predictions, from `of_clips`, for reading: what was found first, probabilities in percent."""
    shown = predictions.rename(columns={f"p_{name}": name for name in classes})
    shown = shown.rename(columns=lambda name: name.replace("_", " ")).drop(columns="trained on")
    flags = [name for name in ("cannot tell", "nothing moves", "not a face") if name in shown]
    shown[flags] = shown[flags].map({True: "yes", False: ""}.get)
    percent = dict.fromkeys(classes, lambda value: f"{100 * value:.0f}")
    return in_full(shown).format(percent, escape="html").format_index(escape="html", axis=1)


def describe(kept):
    """What a kept network is: facts, one a row."""
    facts = {"network": kept.network.origin, "classes": ", ".join(kept.classes), **kept.about}
    facts["calibration"] = f"a class is ruled out if its probability is below {1 - kept.limit:.1%}"
    return of_facts(facts)


def write(kept, predictions):
    """Write network and predictions beside the report; see `hsta_lib.reporting.records`."""
    folder = config.records_dir()
    save(kept, folder / "predict-network.safetensors")
    write_whole(folder / "predict-clips.csv", csv_of(predictions))
    return [config.shown_path(folder / name) for name in ("predict-network.safetensors", "predict-clips.csv")]
