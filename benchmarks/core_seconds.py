"""What an epoch of each system of Tables 5 and 6 costs: ``python benchmarks/core_seconds.py``, at rest.

Every system trains a few epochs and twice as many, in turn, on the training clips of Table 6 with seven
classes. The difference is the cost of its epochs without its start and its test. From it follow the epochs
that take the seconds which the preset means every training to take. What stands in ``core_seconds.csv`` is
not measured again.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib.config import with_fields
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.study import comparison, published
from hsta_lib.study.study import start
from hsta_lib.training.fit import fit

RESULTS = Path(__file__).with_name("core_seconds.csv")
PRESET, ROUNDS = "study", 3
COLUMNS = ["system", "seconds_per_epoch", "least", "largest", "epochs", "epochs_wanted"]
_HSTA = "HSTA"
_NOT_TRAINED = ("LBP-TOP", "Bi-WOOF", "CausalNet")  # by epochs; CausalNet needs published pictures


def seconds(trial, dataset, epochs):
    """Of one core, for a training of so many epochs."""
    short = replace(trial, settings=with_fields(trial.settings, epochs=epochs))
    began = time.process_time()
    fit(short, dataset)
    return time.process_time() - began


def main():
    study = published.reduced(start("table6", {"preset": PRESET, "seeds": [0]}))
    dataset = study.open_dataset()
    systems = [name for name in SYSTEMS if name not in _NOT_TRAINED]
    cells = pd.DataFrame({"system": systems, "labels": "emotion7"})
    made = comparison.prepare(study, cells)
    trials = {_HSTA: (study.trials_of([study.settings], dataset)[0][0], dataset)}
    trials |= {
        name: (runs[0], data) for name, runs, data in zip(systems, made.trials, made.datasets, strict=True)
    }
    rows = pd.read_csv(RESULTS).values.tolist() if RESULTS.exists() else []
    for name in [name for name in trials if name not in [row[0] for row in rows]]:
        trial, data = trials[name]
        few = max(1, trial.settings.training.epochs // 16)
        found = [(seconds(trial, data, 2 * few) - seconds(trial, data, few)) / few for _ in range(ROUNDS)]
        wanted = study.preset.datasets.core_seconds / np.median(found)
        rows.append([name, np.median(found), min(found), max(found), trial.settings.training.epochs, wanted])
        print(*rows[-1], flush=True)
        pd.DataFrame(rows, columns=COLUMNS).round(3).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
