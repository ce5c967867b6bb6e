"""How long networks must train to fit: loss, training accuracy and test scores on generator seed 1.

``python benchmarks/fit_search.py``. The presets were chosen by these rows, for fit at the least cost, and the
bound of `hsta_lib.evaluation.fitted` was set by them; reports are made with generator seed 2. What stands in
``fit_search.csv`` is not trained again.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from hsta_lib import config
from hsta_lib.evaluation.metrics import METRICS, confusion, scores
from hsta_lib.study.study import start
from hsta_lib.training.fit import fit

RESULTS = Path(__file__).with_name("fit_search.csv")
PRESET = "study"
# Fields of the settings that differ from the preset's.
CASES = [
    {"m": 4, "epochs": 20, "learning_rate": 1e-3},
    {"m": 4, "epochs": 10, "learning_rate": 1e-3},
    {"m": 1, "l_v": 1, "l_s": 1, "epochs": 20, "learning_rate": 1e-3},
    {"m": 12, "l_v": 2, "l_s": 2, "epochs": 20, "learning_rate": 1e-3},
    {"m": 1, "epochs": 30, "learning_rate": 1e-3, "drawn": 0.13},
    {"m": 12, "l_v": 2, "l_s": 2, "epochs": 12},
    {"m": 12, "l_v": 2, "l_s": 2, "epochs": 20},
    {"m": 1, "epochs": 40, "drawn": 0.08},
    {"m": 1, "l_v": 1, "l_s": 1, "epochs": 18},
    {"m": 4, "epochs": 18},
    {"m": 8, "l_v": 2, "l_s": 2, "epochs": 30, "drawn": 0.27},
    {"m": 12, "l_v": 2, "l_s": 2, "epochs": 40},
]


def measure(study, dataset, case):
    """One training: what it cost, how it fits and how it scores; percent and seconds of one core."""
    settings = config.with_fields(study.settings, **{"m": 4, "l_v": 2, "l_s": 1} | case)
    (trial,) = study.trials_of([settings], dataset)[0]
    before = time.process_time()
    result = fit(trial, dataset)
    found = result["predictions"]
    matrix = confusion(found["y_true"], found["y_pred"], len(dataset.classes))
    tested = dict(zip(METRICS, 100 * scores(matrix[None])[0], strict=True))
    return {
        "core_seconds": time.process_time() - before,
        "training_clips": result["n_train"],
        "loss_share": result["losses"][-1] / result["constant_loss"],
        "train_accuracy": 100 * result["train_accuracy"],
    } | tested


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of training")
    chosen = parser.parse_args()
    study = start("table4", {"preset": PRESET, "split": "", "seeds": [chosen.seed]})
    study = study.variant(synthetic={"generator_seed": 1})
    dataset = study.open_dataset()
    for case in CASES:
        name = ", ".join(f"{field} = {value}" for field, value in case.items())
        done = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame({"case": [], "seed": []})
        if ((done["case"] == name) & (done["seed"] == chosen.seed)).any():
            continue
        row = {"case": name, "seed": chosen.seed} | measure(study, dataset, case)
        print(pd.DataFrame([row]).round(2).to_dict("records")[0], flush=True)
        pd.concat([done, pd.DataFrame([row])]).round(4).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
