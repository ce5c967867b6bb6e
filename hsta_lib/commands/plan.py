"""What the whole paper costs at full size, before any data is made: ``python -m hsta_lib.commands.plan``.

Clips, subjects and folds are those of the real datasets as published; nothing is generated, read or trained.
"""

import argparse
import heapq
import sys
from functools import lru_cache
from itertools import chain, groupby

import numpy as np
import pandas as pd

from hsta_lib.commands.terminal import print_to_pipe
from hsta_lib.data.dataset import Dataset
from hsta_lib.data.table import class_names, labelled, problems_table
from hsta_lib.paper import GRID_TABLES, load_subjects
from hsta_lib.paper_check.findings import SUBJECTS
from hsta_lib.study import published, union
from hsta_lib.study.study import start
from hsta_lib.training import baseline_inputs
from hsta_lib.training.cost import parameters_and_flops, training_flops

RECIPES = ("equations", "released")
# Of an H200 in dense bfloat16, by NVIDIA's data sheet, and the share of it that a training is taken to reach.
PEAK_TFLOPS, ACHIEVED = 989.5, 0.4
_CHECKPOINT_BYTES = 12  # a parameter, and the optimiser's two means of its gradient
_N_MACRO = 3346  # of the authors' lists for CAS(ME)^3
_ALL = "all, shared trials once"


def plan_paper(recipes=RECIPES, tflops=ACHIEVED * PEAK_TFLOPS):
    """Trials, FLOP and hours of every table, preset ``full``, one seed.

    Parameters
    ----------
    recipes : sequence of str
        Baselines have recipes of their own, and are counted with ``equations``.
    tflops : float
        10^12 FLOP a second that a GPU achieves in training, not its peak: GPU-hours are a projection.

    Returns
    -------
    DataFrame
        One row per ``recipe``, ``table`` and ``rows`` (HSTA, references, baselines), and one per
        recipe in which trials that tables share count once. ``settings``, ``trials``, ``pflop``: 10^15 FLOP
        of training, three forward passes of every clip; ``gpu_hours``.

    Raises
    ------
    ValueError
        If a recipe is unknown or ``tflops`` is not positive.
    """
    if tflops <= 0:
        raise ValueError(f"tflops = {tflops}: must be positive, e.g. {ACHIEVED * PEAK_TFLOPS:.0f}")
    rows = []
    for recipe in recipes:
        parts = trials_of_paper(recipe)
        every = [trial for trials in parts.values() for trial in trials]
        datasets = {trial.fingerprint: nominal_dataset(trial.fingerprint) for trial in every}
        flops = dict(zip(every, training_flops(every, datasets), strict=True))
        for (table, kind), trials in (parts | {(_ALL, ""): every}).items():
            rows.append({"recipe": recipe, "table": table, "rows": kind} | _cost(set(trials), flops))
    planned = pd.DataFrame(rows)
    return planned.assign(gpu_hours=planned["pflop"] * 1e3 / tflops / 3600)


def _cost(trials, flops):
    n_settings = len({(trial.settings, trial.fingerprint) for trial in trials})
    pflop = sum(flops[trial] for trial in trials) / 1e15
    return {"settings": n_settings, "trials": len(trials), "pflop": pflop}


def hours_on(gpus, recipe, tflops=ACHIEVED * PEAK_TFLOPS):
    """Hours of the whole paper on some GPUs, and of its longest trial.

    Parameters
    ----------
    gpus : sequence of int
        Each trains one trial at a time, the longest first.
    recipe, tflops
        As for `plan_paper`.

    Returns
    -------
    hours : list of float
        Shared trials are trained once; start of workers, evaluation and copies of the data are left out.
    longest : float
        Hours of the longest trial: no number of GPUs makes it shorter.
    """
    every = list({trial for trials in trials_of_paper(recipe).values() for trial in trials})
    datasets = {trial.fingerprint: nominal_dataset(trial.fingerprint) for trial in every}
    hours = sorted((flops / 3.6e15 / tflops for flops in training_flops(every, datasets)), reverse=True)
    busy = [[0.0] * n for n in gpus]
    for one in hours:
        for each in busy:
            heapq.heapreplace(each, each[0] + one)
    return [max(each) for each in busy], hours[0]


@lru_cache
def trials_of_paper(recipe):
    """What the notebooks of the tables train at full size: trials by notebook and kind of row."""
    parts = {}
    for name in (*GRID_TABLES, "figure3", "table7"):
        study = _start(name, recipe)
        parts[name, "HSTA"] = _trials(study, study.cells())
        if name in GRID_TABLES:
            parts[name, "references"] = _references(study)
    for name, cells in (("table5", union.cells()), ("table6", published.label_sets())):
        study = _start(name, recipe)
        sets = cells.get("labels", [study.parameters.labels])
        parts[name, "HSTA"] = _trials(study, cells)
        parts[name, "references"] = [
            trial for labels in sets for trial in _references(study.variant(labels=labels), ["fold"])
        ]
        if recipe == "equations":
            others = baseline_inputs.cells(published.compared(study), study.preset.datasets)
            parts[name, "baselines"] = _trials(study, others)
    return parts


def _start(name, recipe):
    split = "" if name in ("table5", "table6") else "subject"
    study = start(name, {"preset": "full", "recipe": recipe, "split": split, "seeds": [0]})
    return union.union(study) if name == "table5" else study


def _trials(study, cells):
    groups = [list(alike) for _, alike in groupby(study.of_cells(cells), key=lambda one: one.parameters)]
    lists = (of[0].trials_of([one.settings for one in of], _dataset_of(of[0])) for of in groups)
    return [*chain.from_iterable(chain.from_iterable(lists))]


def _references(study, *names):
    return [trial for runs in study.reference_trials(_dataset_of(study), *names).values() for trial in runs]


def _dataset_of(study):
    chosen = study.parameters
    layout = "megc2019" if study.name == "table5" else "casme3"
    has_macro = chosen.macro_clips != "none"
    return nominal_dataset(" ".join([layout, chosen.labels, "with macro clips" * has_macro]).strip())


@lru_cache(maxsize=32)
def nominal_dataset(name):
    """The published clips and subjects, without frames; named ``<dataset> <labels> [with macro clips]``."""
    layout, labels, *macro = name.split()
    clips = _clips_of_megc2019() if layout == "megc2019" else _clips_of_casme3()
    classes = class_names(labels, layout)
    if labels.startswith("objective"):
        clips = clips.assign(label=np.arange(len(clips)) % len(classes))
    else:
        clips = labelled(clips, labels)
    if macro:
        clips = _with_macro(clips)
    return Dataset(clips, None, classes, problems_table(), {}, name, "", pd.DataFrame())


def _clips_of_casme3():
    return _clips("casme3", [clips for _, clips in load_subjects()["CAS(ME)^3"]], class_names("emotion7"))


def _clips_of_megc2019():
    classes = class_names("emotion3", "megc2019")
    parts = [_clips(prefix, SUBJECTS[name], classes) for name, prefix in union.SOURCES.items()]
    return pd.concat(parts, ignore_index=True).assign(dataset="megc2019")


def _clips(prefix, counts, emotions):
    rows = [
        {"subject_id": f"{prefix}/{subject}", "emotion": emotion}
        for subject, of_subject in enumerate(counts)
        for emotion, n in zip(emotions, of_subject, strict=True)
        for _ in range(n)
    ]
    clips = pd.DataFrame(rows).assign(dataset=prefix, expression_type="micro")
    number = np.arange(len(clips)).astype(str)
    return clips.assign(clip_id=clips["subject_id"] + "/" + number, recording_id=clips["subject_id"])


def _with_macro(clips):
    """Macro clips added, dealt out over the subjects: how many each has changes the costs little."""
    subjects = clips["subject_id"].unique()
    number = np.arange(_N_MACRO)
    macro = pd.DataFrame({"subject_id": subjects[number % len(subjects)], "label": 0})
    macro = macro.assign(
        expression_type="macro", clip_id=[f"macro/{n}" for n in number], recording_id=macro["subject_id"]
    )
    return pd.concat([clips, macro], ignore_index=True)


def describe(tflops):
    """What the numbers of `plan_paper` are, in sentences."""
    trials = {trial for recipe in RECIPES for of in trials_of_paper(recipe).values() for trial in of}
    sizes = {(trial.settings, len(nominal_dataset(trial.fingerprint).classes)) for trial in trials}
    most = max(parameters_and_flops(*size)[0] for size in sizes)
    return "\n".join(
        [
            f"GPU-hours are a projection: three forward passes of every clip at {tflops:.0f} TFLOP/s "
            f"({100 * tflops / PEAK_TFLOPS:.0f} % of an H200's dense bfloat16 peak).",
            f"A training's checkpoint takes up to {_CHECKPOINT_BYTES * most / 1e9:.1f} GB while it runs.",
            "One seed; evaluation is not in the FLOP.",
        ]
    )


def main(arguments=None):
    """Print the plan; ``hsta-plan`` and ``make plan``."""
    parser = argparse.ArgumentParser(prog="hsta-plan", description=__doc__.partition("\n")[0])
    parser.add_argument("--tflops", type=float, default=ACHIEVED * PEAK_TFLOPS, help="achieved, of one GPU")
    chosen = parser.parse_args(arguments)
    print("Counting the trials and FLOP of every table", file=sys.stderr, flush=True)
    planned = plan_paper(tflops=chosen.tflops)
    print_to_pipe(planned.to_string(index=False, float_format="{:,.1f}".format))
    print_to_pipe(describe(chosen.tflops))


if __name__ == "__main__":
    main()
