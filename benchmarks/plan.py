"""Estimated over measured time and memory of a small grid: ``python benchmarks/plan.py``.

Trials of the preset ``quick``, of both recipes and several depths, are estimated as a notebook does before it
trains, then trained by as many workers into an empty folder. The ratio of wall times holds on a machine that
does nothing else; that of processor times, trained in this process, on any.
"""

import tempfile
import time
from pathlib import Path

import measure
import torch

from hsta_lib.config import n_cores
from hsta_lib.study.study import start
from hsta_lib.training import cost, run
from hsta_lib.training.calibration import in_words, speeds_for
from hsta_lib.training.fit import fit

GRID = {"m": [1, 4], "depths": [[1, 1], [2, 1], [3, 3]]}


def grid_of(recipe):
    """Dataset and trials of the grid, one seed."""
    study = start("table4", {"preset": "quick", "recipe": recipe, "grid": GRID, "seeds": [0]})
    dataset = study.open_dataset()
    return dataset, [trial for runs in study.trials(dataset, study.cells()) for trial in runs]


def processor_seconds(trial, dataset):
    """Of one trial; on a GPU, which has no such clock, seconds."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    fit(trial, dataset)
    return clock() - started


def main():
    options = measure.parser(__doc__).parse_args()
    datasets, trials = {}, []
    for recipe in ("equations", "released"):
        dataset, of_recipe = grid_of(recipe)
        datasets[dataset.fingerprint] = dataset
        trials += of_recipe
    one_of_each = list({trial.settings: trial for trial in trials}.values())
    speeds = speeds_for(trials, 0)
    estimated = cost.seconds_each(one_of_each, datasets, speeds)
    fit(one_of_each[0], datasets[one_of_each[0].fingerprint])  # what is slow only the first time
    ratios = []
    for trial, seconds in zip(one_of_each, estimated, strict=True):
        model = trial.settings.model
        name = f"M = {model.m}, L_v = {model.l_v}, L_s = {model.l_s}, heads {model.heads}"
        measured = processor_seconds(trial, datasets[trial.fingerprint])
        ratios.append(seconds / measured)
        print(f"{name}: estimated over measured processor time {ratios[-1]:.2f}", flush=True)
    peak = measure.most_resident()
    needed = max(sum(cost.memory(trial.settings, 7, 300).values()) for trial in one_of_each)
    needed += max(speed.memory for speed in speeds.values())
    wall = compare_walls(trials, datasets, n_cores())
    rows = [
        measure.row("estimated over measured processor time of a trial", ratios),
        measure.row("estimated over measured memory of a process", [needed / peak]),
        measure.row("estimated over measured wall time of a grid", [wall]),
    ]
    measure.finish(__file__, rows, options.record)


def compare_walls(trials, datasets, workers):
    """Estimated over measured time of all trials on some workers."""
    speeds = speeds_for(trials, workers)
    estimated = cost.estimate(trials, datasets, workers, speeds)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run.run(trials, datasets.values(), Path(folder), workers=workers)
        measured = time.perf_counter() - started
    print(f"{len(trials)} trials on {workers} workers: estimated {in_words(estimated)}, took "
          f"{in_words(measured)}")  # fmt: skip
    return estimated / measured


if __name__ == "__main__":
    main()
