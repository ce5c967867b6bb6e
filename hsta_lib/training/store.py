"""Results on disk: one JSON file per trial, written whole or not at all."""

import json
import math
import platform
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import pandas as pd

from hsta_lib import PACKAGE, ROOT, __version__
from hsta_lib.files import own_name, text_digest, write_whole
from hsta_lib.training.code import differing, digest_of, digests
from hsta_lib.training.trials import id_of

# Columns of predictions, and what is in them.
_KINDS = {"clip_id": str, "subject_id": str, "y_true": int, "y_pred": int, "scores": list}
_ACCEPT = "accept_other_code = True"
_VERSIONS_OF = ("torch", "numpy", "opencv-python")
_VERSIONS_OF_ROWS = ("numpy", "opencv-python", "scikit-learn", "scipy")
_ROWS = "references"  # folder, among the results of trials


class DamagedResult(ValueError):
    """A file under a trial's name that is not that trial's result."""


class OtherCode(ValueError):
    """A result that other code has made than that which is loaded."""


class NotWritten(OSError):
    """The folder of the results cannot be written, or the disk is full."""


def record_of(trial, result):
    """What is stored of a trial: its description, the result of `fit`, and what made it here and now."""
    return {
        "id": trial.id,
        **trial.description(),
        "all_settings": trial.settings.model_dump(mode="json"),
        **result,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": _versions(_VERSIONS_OF),
        "commit": code_version(),
        "code": digests(trial),
    }


@lru_cache
def _versions(names):
    return {name: version(name) for name in names}


def write(record, folder):
    """Write a trial's record, from `record_of`, under its id; the folder is made if it is not there.

    Two processes that finish the same trial write the same predictions; the later one replaces the earlier.
    `NotWritten`, which says what to do, if the folder cannot be written or the disk is full.
    """
    text = json.dumps(record)
    with _explained(folder):
        write_whole(folder / f"{record['id']}.json", f'{{"check": "{text_digest(text)}", {text[1:]}')


def _read(path):
    """A record; a report asks for each several times, so those that look as they did are not read again."""
    stat = path.stat()
    record = _read_once(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return dict(record) if isinstance(record, dict) else record


@lru_cache(maxsize=1024)
def _read_once(path, *_looks):
    text = path.read_text()
    record = json.loads(text)
    if not isinstance(record, dict):
        return record
    check = record.pop("check", None)
    if check and check != text_digest("{" + text.partition(", ")[2]):
        raise ValueError("it is not as it was written")
    if "row" not in record and not is_whole(record):
        raise ValueError("its predictions are missing, uneven or not finite")
    return record


@contextmanager
def token(folder):
    """A file of a random name that lies in the folder meanwhile: who sees it sees this very folder.

    Raises `NotWritten` if it cannot be written.
    """
    path = folder / own_name("token")
    with _explained(folder):
        write_whole(path, "")
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(folder):
    try:
        yield
    except OSError as error:
        raise NotWritten(
            error.errno,
            f"no result can be written to {folder} ({error.strerror}): free space or allow it, or set "
            "HSTA_RESULTS to a folder on another disk; the results that are there are kept",
        ) from error


def load(trial, folder):
    """Read a trial's result, a dict.

    None if there is none yet, or if it lacks predictions of epochs or draws that the trial asks for.

    Raises
    ------
    DamagedResult
        If the file is no JSON or describes another trial; the message names it.
    OtherCode
        If other code has made it and the trial does not accept that; the message names the modules.
    """
    path = folder / f"{trial.id}.json"
    record = _described(path, trial.description())
    if record is None:
        return None
    asked = trial.settings.training
    lacks_epochs = asked.store_epochs and "epoch_predictions" not in record
    lacks_draws = asked.store_draws > len(record.get("draw_predictions", []))
    if lacks_epochs or lacks_draws:
        return None
    changed = changed_code(trial, record)
    if changed and not trial.accept_other_code:
        made = f"{path.name} was made by other code ({_listed(changed)})"
        raise OtherCode(f"{made}: train again, or accept it with {_ACCEPT}")
    return record


def _described(path, description):
    """A record that is what it should be; None if there is none."""
    try:
        record = _read(path)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedResult(f"{path.name} is damaged ({error})") from error
    if not isinstance(record, dict) or {key: record.get(key) for key in description} != description:
        raise DamagedResult(f"{path.name} is not the result of trial {path.stem}: it describes another")
    return record


def changed_code(trial, record):
    """Modules by which the code that made a record differs from this; all if it names none."""
    made_by = record.get("code")
    is_named = isinstance(made_by, dict) and all(isinstance(digest, str) for digest in made_by.values())
    return differing(made_by if is_named else {}, digests(trial))


def _listed(modules):
    return ", ".join(f"{name.replace('.', '/')}.py" for name in sorted(modules))


def missing(trials, folder):
    """Trials without a result, each once, in the order given.

    A damaged or foreign file under a trial's name is kept as ``<name>.damaged``, reported in one line,
    and its trial counts as missing. So does one whose result other code has made, see `told_of`.
    """
    return [trial for trial in dict.fromkeys(trials) if not _is_stored(trial, folder)]


def _is_stored(trial, folder):
    try:
        return load(trial, folder) is not None
    except OtherCode:
        return False
    except DamagedResult as error:
        _set_aside(folder / f"{trial.id}.json", error, "the trial is trained again")
        return False


def _set_aside(path, reason, then):
    with suppress(FileNotFoundError):  # another run was faster
        path.replace(path.with_suffix(".json.damaged"))
    print(f"{reason}; kept as {path.name}.damaged, {then}")


def kept(makers, described, make, folder):
    """Predictions of a reference row, which is not trained: as they are stored, else made and stored.

    Parameters
    ----------
    makers : object
        What makes them, functions and their arguments: its code counts, see `training.code.digest_of`.
    described : dict
        JSON values: all else that can change them. So do the libraries' versions.
    make : callable
        Makes them, a DataFrame.
    folder : Path
        Of results; rows lie in a folder within.
    """
    versions = _versions(_VERSIONS_OF_ROWS)
    description = {**described, "code": digest_of(makers), "versions": versions}
    folder = folder / _ROWS
    path = folder / f"{id_of(description)}.json"
    try:
        record = _described(path, description)
    except DamagedResult as error:
        record = _set_aside(path, error, "the reference row is made again")
    if record is None:
        record = {"id": path.stem, **description, "predictions": make().to_dict("list")}
        write(record, folder)
    return pd.DataFrame(record["predictions"])


def told_of(trials, folder):
    """Lines on stored results that are not of this code or of these libraries."""
    accepting = [replace(trial, accept_other_code=True) for trial in dict.fromkeys(trials)]
    records = [(trial, record) for trial in accepting if (record := load(trial, folder)) is not None]
    found = [changed_code(trial, record) for trial, record in records]
    other = [modules for modules in found if modules]
    is_accepted = all(trial.accept_other_code for trial in trials)
    then = "used" if is_accepted else f"trained again; {_ACCEPT} uses them"
    lines = [(len(other), f"made by other code ({_listed(set().union(*other))}), {then}")]
    used = [record for (_, record), changed in zip(records, found, strict=True) if is_accepted or not changed]
    versions = Counter(item for record in used for item in record["versions"].items())
    lines += [
        (n, f"made with {name} {number}, here it is {version(name)}; used")
        for (name, number), n in sorted(versions.items())
        if number != version(name)
    ]
    return [f"{n} of the stored results: {what}" for n, what in lines if n]


def predictions(trials, folder):
    """Predictions of finished trials, one row per trial and test clip; a ValueError if one has no result yet.

    Returns
    -------
    DataFrame
        ``trial_id, fold, seed, clip_id, subject_id, y_true, y_pred``; class scores, which no table uses, are
        left out. Of the training, for `hsta_lib.evaluation.fitted.by_cell`: ``train_accuracy,
        constant_accuracy, loss_share, reads_pixels``.
    """
    parts = []
    for trial in trials:
        record = load(trial, folder)
        if record is None:
            raise ValueError(f"{trial.id} (fold {trial.fold}, seed {trial.seed}) has no result in {folder}")
        rows = pd.DataFrame({name: record["predictions"][name] for name in _KINDS if name != "scores"})
        fits = fit_of(record) | {"reads_pixels": trial.settings.reads_pixels}
        parts.append(rows.assign(trial_id=trial.id, fold=trial.fold, seed=trial.seed, **fits))
    return pd.concat(parts, ignore_index=True)


def fit_of(record):
    """Accuracy on the training clips, and what is left of a constant prediction's loss, or of its errors.

    Of a record, or of what `fit` gives: ``train_accuracy, constant_accuracy, loss_share``; NaN in an older
    protocol, which has none.
    """
    if "train_accuracy" not in record:  # of an older protocol
        return {"train_accuracy": math.nan, "constant_accuracy": math.nan, "loss_share": math.nan}
    reached, constant = record["train_accuracy"], record["constant_accuracy"]
    if record["constant_loss"]:
        share = record["losses"][-1] / record["constant_loss"]
    else:
        share = (1 - reached) / (1 - constant) if constant < 1 else math.nan
    return {"train_accuracy": reached, "constant_accuracy": constant, "loss_share": share}


def is_whole(record):
    """Whether a record has its predictions, of equal length; class scores are optional, but finite."""
    columns = record.get("predictions")
    if not isinstance(columns, dict) or set(columns) | {"scores"} != set(_KINDS):
        return False
    if not all(isinstance(column, list) for column in columns.values()):
        return False
    typed = all(set(map(type, column)) <= {_KINDS[name]} for name, column in columns.items())
    lengths = {len(column) for column in columns.values()}
    versions, losses = record.get("versions"), record.get("losses", [])
    return (
        typed
        and len(lengths) == 1
        and _are_finite(columns.get("scores", []))
        and "absent_classes" in record
        and isinstance(versions, dict)
        and all(name in _VERSIONS_OF and isinstance(number, str) for name, number in versions.items())
        and isinstance(losses, list)
        and _are_finite(losses)
        and bool(losses or not record.get("constant_loss"))
        and isinstance(record.get("draw_predictions", []), list)
    )


def _are_finite(scores):
    try:
        values = np.array(scores)
    except ValueError:  # of unequal length
        return False
    return values.dtype.kind in "fi" and bool(np.isfinite(values).all())


@lru_cache
def code_version():
    """Git commit of the code, ``-dirty`` when the library, a preset or a notebook differs from it.

    ``unknown`` without git. Asked once a process, so that it is the version that was loaded.
    """
    try:
        if PACKAGE.parent != ROOT:
            return f"version {__version__}"
        commit = _git("rev-parse", "--short=12", "HEAD")
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", "hsta_lib", "params", "notebooks"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def _git(*command):
    return subprocess.run(
        ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
