"""Baselines of Tables 5 and 6: their settings, what they are given, how they are built."""

import importlib.util
import math
import sys

import numpy as np
import pandas as pd

from hsta_lib.config import TrialTraining
from hsta_lib.data.cache import cache_key, cached_rows
from hsta_lib.models.baselines.registry import REMOVED, SYSTEMS
from hsta_lib.training.code import digest_of

# Where a system's own recipe says nothing else. Fields of HSTA's recipe are never taken over.
_RECIPE = {
    "loss": "own", "optimizer": "adam", "schedule": "constant", "sampling": "uniform", "weight_decay": 0,
    "warmup_epochs": 0, "drop_last": False,
}  # fmt: skip
_N_AGAIN = 3  # clips of which an input is made again
_NOT_A_RECIPE = ("shuffled_labels", "video", "store_draws")


def find(name, form):
    """A system by its name and its form, ``published`` or ``reduced``; a ValueError if there is none."""
    if name not in SYSTEMS:
        why = "was removed: no table of the paper lists it" if name in REMOVED else "is no baseline"
        raise ValueError(f"notebook parameters: baselines: {name!r} {why}; choose from {', '.join(SYSTEMS)}")
    return SYSTEMS[name][form]


def cells(rows, datasets):
    """Rows of a table for baselines, with the fields of their settings; for `study.Study.prepare`.

    Each system has its own recipe, whatever HSTA's is.

    Parameters
    ----------
    rows : DataFrame
        ``system``, and notebook parameters by which rows differ.
    datasets : hsta_lib.config.Datasets
        Of a preset: its form and how many epochs at most.
    """
    return pd.DataFrame([row | _fields(row["system"], datasets) for row in rows.to_dict("records")])


def _fields(name, datasets):
    system, most = find(name, datasets.form), datasets.baseline_epochs or math.inf
    training = TrialTraining(**_RECIPE | system.recipe, store_epochs=system.keeps_best_epoch)
    epochs = {kind: min(getattr(training, kind), most) for kind in ("epochs", "pretraining_epochs")}
    epochs |= {"epochs": datasets.epochs[name]} if name in datasets.epochs else {}
    chosen = {"baseline": name, "form": datasets.form, "recipe": "equations"}
    return chosen | system.frames | training.model_dump(exclude=set(_NOT_A_RECIPE)) | epochs


def build(comparison, n_classes):
    """The network or classifier of `hsta_lib.config.Comparison`, untrained."""
    system = find(comparison.baseline, comparison.form)
    return system.build(n_classes, **system.sizes)


def input_shape(comparison):
    """Shape of the input of one clip."""
    system = find(comparison.baseline, comparison.form)
    size, n_frames = system.frames["image_size"], system.frames["n_frames"] + 2
    blank = np.zeros((n_frames, size, size, 3), np.uint8)
    if system.flow_size:
        blank = np.zeros((system.flow_size, system.flow_size, 3 + system.depth), np.float32)
    return system.prepare(blank).shape


def given(dataset, settings):
    """The dataset as a system is given it, its inputs computed: with depth maps, if it sees them.

    A trial is of the fingerprint of what is returned. Errors are those of `inputs`; also a ValueError if
    ``prepare`` makes another input of a clip when it sees that clip alone, or after others.
    """
    system = find(settings.comparison.baseline, settings.comparison.form)
    found = dataset.with_depth(system.flow_size) if system.depth else dataset
    _check_alone(system.prepare, _shown(found, system), inputs(found, settings), found.clips["clip_id"])
    return found


def _check_alone(prepare, clips, given, names):
    """Refuse inputs that depend on other clips: call again in another order, and anew for each clip."""
    name = f"{prepare.__module__}.{prepare.__qualname__}" if hasattr(prepare, "__qualname__") else prepare
    for row in dict.fromkeys(np.linspace(len(clips) - 1, 0, _N_AGAIN).astype(int)):
        for made in (prepare(clips[row]), _anew(prepare)(clips[row])):
            if not np.allclose(made, given[row], rtol=1e-4, atol=1e-5, equal_nan=True):
                raise ValueError(
                    f"{name} makes another input of {names[row]} when it is called again alone: it must "
                    "depend on its clip, not on clips seen before or on labels"
                )


def _anew(prepare):
    """The function from its file executed once more, without what it has kept; itself if it is in none."""
    module = sys.modules.get(getattr(prepare, "__module__", None))
    if getattr(module, getattr(prepare, "__qualname__", ""), None) is not prepare:
        return prepare  # made by another function
    spec = importlib.util.spec_from_file_location(module.__name__, module.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    return getattr(fresh, prepare.__qualname__)


def _shown(dataset, system):
    """What ``prepare`` is given of each clip: frames, or flow, with depth if it sees it."""
    clips = dataset.flow(system.flow_size, "tvl1") if system.flow_size else dataset.frames()
    return np.concatenate([clips, np.load(dataset.depth_path)[..., None]], axis=3) if system.depth else clips


def inputs(dataset, settings):
    """What a system is given of every clip, computed once; later calls open what is there.

    ``dataset`` (Dataset): from `given`, if the system sees depth.

    Returns
    -------
    ndarray, float32 or uint8, shape (n_clips, ...)
        A memory map, copy-on-write: what is written to it never reaches the file.

    Raises
    ------
    ValueError
        If the dataset has no such input; the message says what is missing.
    """
    comparison = settings.comparison
    system = find(comparison.baseline, comparison.form)
    if dataset.shows_flow < system.pictures:
        raise ValueError(
            f"it needs {system.pictures} published pictures of each clip's flow: dataset = 'megc2019_flow', "
            "variant = 'causalnet'"
        )
    if dataset.shows_flow and not (system.stretches or system.pictures):
        needed = "flow in px" if system.flow_size else "frames"
        raise ValueError(f"it needs {needed}; there are pictures of flow, stretched to 0..255")
    clips = _shown(dataset, system)
    described = ["inputs", digest_of(system.prepare), comparison.baseline, comparison.form]
    first = system.prepare(clips[0])
    path, *_ = cached_rows(
        dataset.frames_path.parent.parent / cache_key(described, dataset.files),
        list(zip(dataset.clips["clip_id"], range(len(clips)), strict=True)),
        lambda row: system.prepare(clips[row]),
        shape=first.shape, dtype=first.dtype, desc="",
    )  # fmt: skip
    return np.load(path, mmap_mode="c")
