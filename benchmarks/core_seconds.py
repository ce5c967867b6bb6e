"""What an epoch of each system of Tables 5 and 6 costs: ``python benchmarks/core_seconds.py``, at rest.

Every system trains a few epochs and twice as many, in turn, on the training clips of Table 6 with seven
classes. The difference is the cost of its epochs without its start and its test. Of a recipe with a first
stage, that stage is measured in the same way. From both follow the epochs that take the seconds which the
preset means every training to take. What stands in ``core_seconds.csv`` is not measured again.
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
COLUMNS = ["system", "seconds_per_epoch", "least", "largest", "first_stage", "epochs_wanted"]
_HSTA = "HSTA"
_NOT_TRAINED = ("LBP-TOP", "Bi-WOOF", "CausalNet")  # by epochs; CausalNet needs published pictures


def seconds(trial, dataset, epochs, first=0):
    """Of one core, for a training of so many epochs, and so many of a first stage."""
    short = replace(trial, settings=with_fields(trial.settings, epochs=epochs, pretraining_epochs=first))
    began = time.process_time()
    fit(short, dataset)
    return time.process_time() - began


def main():
    study = published.reduced(start("table6", {"preset": PRESET, "seeds": [0]}))
    dataset = study.open_dataset()
    systems = [name for name in SYSTEMS if name not in _NOT_TRAINED]
    cells = pd.DataFrame({"system": systems, "labels": "emotion7"})
    made = comparison.prepare(study, cells)
    alone = with_fields(study.settings, l_v=0, csta=False)
    own, special = study.trials_of([study.settings, alone], dataset)
    trials = {_HSTA: (own[0], dataset), published.SPECIAL_BRANCH: (special[0], dataset)}
    trials |= {
        name: (runs[0], data) for name, runs, data in zip(systems, made.trials, made.datasets, strict=True)
    }
    rows = pd.read_csv(RESULTS).values.tolist() if RESULTS.exists() else []
    for name in [name for name in trials if name not in [row[0] for row in rows]]:
        trial, data = trials[name]
        training = trial.settings.training
        few, first = max(1, training.epochs // 4), training.pretraining_epochs
        an_epoch, stage = [], []
        for _ in range(ROUNDS):
            short, long = (seconds(trial, data, epochs) for epochs in (few, 2 * few))
            an_epoch.append((long - short) / few)
            stage.append(seconds(trial, data, few, first) - short if first else 0)
        cost, of_stage = np.median(an_epoch), np.median(stage)
        wanted = max((study.preset.datasets.core_seconds - of_stage) / cost, 1)
        rows.append([name, cost, min(an_epoch), max(an_epoch), of_stage, wanted])
        print(*rows[-1], flush=True)
        pd.DataFrame(rows, columns=COLUMNS).round(3).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
