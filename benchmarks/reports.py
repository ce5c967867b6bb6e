"""How a report grows with its stored trials: ``python benchmarks/reports.py``.

Results of noise, 100 test clips each, are stored, found, read, scored and packed, up to 10,000 trials, which
are 1,000,000 predictions. Each size is measured in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import measure
import numpy as np
import pandas as pd

from hsta_lib.config import Settings
from hsta_lib.reporting import tables
from hsta_lib.training import archive, run, store
from hsta_lib.training.trials import expand_grid, make_trials, settings_of

TRIALS, PER_TRIAL, CLASSES = (100, 300, 1000, 3000, 10_000), 100, 7
CELLS, SEEDS = 20, range(5)


def result_of(trial):
    """A trial's result as a training leaves it; folds test clips of ten subjects of their own."""
    rng = np.random.default_rng([trial.settings.model.m, trial.fold, trial.seed])
    number, y_true = np.arange(PER_TRIAL), np.random.default_rng(trial.fold).integers(0, CLASSES, PER_TRIAL)
    subjects = [f"s{10 * trial.fold + n % 10}" for n in number]
    columns = {
        "clip_id": [f"{subject}/{n}" for subject, n in zip(subjects, number, strict=True)],
        "subject_id": subjects, "y_true": y_true.tolist(),
        "y_pred": rng.integers(0, CLASSES, PER_TRIAL).tolist(),
        "scores": rng.random((PER_TRIAL, CLASSES)).tolist(),
    }  # fmt: skip
    return {
        "predictions": columns, "losses": [1.0], "absent_classes": [], "n_train": 400, "seconds": 1.0,
        "device": "cpu", "train_accuracy": 0.9, "constant_accuracy": 0.2, "constant_loss": 2.0,
    }  # fmt: skip


def report_of(n_trials):
    """Seconds of processor time of a report and the process's peak memory, bytes."""
    cells = expand_grid({"m": list(range(1, CELLS + 1))})
    n_folds = n_trials // (CELLS * len(SEEDS))
    trials = [make_trials(each, n_folds, SEEDS, "noise") for each in settings_of(Settings(), cells)]
    everything = [trial for of_cell in trials for trial in of_cell]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with patch("os.fsync"):  # the disk's pace is not what is measured
            for trial in everything:
                store.write(store.record_of(trial, result_of(trial)), folder)
        started = time.process_time()
        run.run(everything, [], folder, workers=0)
        parts = [store.predictions(of_cell, folder).assign(cell=n) for n, of_cell in enumerate(trials)]
        tables.score_table(cells, pd.concat(parts, ignore_index=True), CLASSES)
        archive.pack(everything, folder, folder / "packed")
        return time.process_time() - started, measure.most_resident()


def main():
    options = measure.parser(__doc__).parse_args()
    found = []
    for n in TRIALS:
        done = subprocess.run(
            [sys.executable, __file__, "--of", str(n)], capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{n} trials: {found[-1][0]:.1f} s, {found[-1][1] / 1e6:.0f} MB", flush=True)
    exponent = np.polyfit(np.log(TRIALS[2:]), np.log([seconds for seconds, _ in found[2:]]), deg=1)[0]
    most = f"report of {TRIALS[-1]:,} trials"
    rows = [
        measure.row(most, [found[-1][0]], "s"),
        measure.row(f"{most}, peak memory", [found[-1][1] / 1e6], "MB"),
        measure.row("time of a report over its trials from 1,000 on, exponent", [exponent], ""),
    ]
    measure.finish(__file__, rows, options.record)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        print(json.dumps(report_of(int(sys.argv[2]))))
    else:
        main()
