"""How long networks must train to fit: loss, training accuracy and test scores on generator seed 1.

``python benchmarks/fit_search.py``, and ``--baselines`` for those of Tables 5 and 6. These rows chose the
presets, for fit at the least cost, and set the bound of `hsta_lib.evaluation.fitted`. Reports are made with
generator seed 2. What stands in ``fit_search.csv`` is not trained again. Its rows of baselines are from a
busy machine: their seconds are too many.
"""

import argparse
import time
from functools import cache
from pathlib import Path

import pandas as pd

from hsta_lib.evaluation.metrics import METRICS, confusion, scores
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.study import comparison, published
from hsta_lib.study.study import start
from hsta_lib.training import store
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
    # The least networks of Table 2, which need more steps than those of Table 4.
    {"m": 1, "csta": False, "l_v": 0, "l_s": 1, "epochs": 72},
    {"m": 1, "csta": False, "l_v": 1, "l_s": 0, "epochs": 72},
    {"m": 1, "csta": False, "l_v": 1, "l_s": 1, "epochs": 72},
    {"m": 1, "csta": False, "l_v": 0, "l_s": 1, "epochs": 144},
    {"m": 1, "csta": False, "l_v": 1, "l_s": 0, "epochs": 144},
    # Figure 3: the more frames, the more slowly.
    {"m": 1, "csta": False, "l_v": 1, "l_s": 0, "n_frames": 16, "epochs": 72},
    {"m": 1, "csta": False, "l_v": 1, "l_s": 0, "n_frames": 2, "epochs": 72},
    {"m": 1, "csta": False, "l_v": 1, "l_s": 0, "n_frames": 16, "epochs": 108},
]
# Baselines of Table 6, which has the form of Table 5, by their recipes and at other rates. CausalNet needs
# published pictures.
BASELINES = [{"baseline": name} for name in SYSTEMS if name != "CausalNet"] + [
    {"baseline": "STSTNet", "learning_rate": 1e-3},
    {"baseline": "HTNet", "learning_rate": 1e-3},
    {"baseline": "CapsuleNet", "learning_rate": 3e-3},
    {"baseline": "MERSiamC3D", "learning_rate": 3e-3},
    {"baseline": "Micro-BERT", "learning_rate": 1.5e-3},
]


def measure(trial, dataset):
    """One training: what it cost, how it fits and how it scores; percent and seconds of one core."""
    before = time.process_time()
    result = fit(trial, dataset)
    found = result["predictions"]
    matrix = confusion(found["y_true"], found["y_pred"], len(dataset.classes))
    tested = dict(zip(METRICS, 100 * scores(matrix[None])[0], strict=True))
    fits = store.fit_of(result)
    return {
        "core_seconds": time.process_time() - before,
        "training_clips": result["n_train"],
        "loss_share": fits["loss_share"],
        "train_accuracy": 100 * fits["train_accuracy"],
    } | tested


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of training")
    parser.add_argument("--baselines", action="store_true", help="those of Tables 5 and 6 instead of HSTA")
    chosen = parser.parse_args()
    for case in BASELINES if chosen.baselines else CASES:
        name = ", ".join(f"{field} = {value}" for field, value in case.items())
        done = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame({"case": [], "seed": []})
        if ((done["case"] == name) & (done["seed"] == chosen.seed)).any():
            continue
        trial = baseline_of if chosen.baselines else setting_of
        row = {"case": name, "seed": chosen.seed} | measure(*trial(chosen.seed, case))
        print(pd.DataFrame([row]).round(2).to_dict("records")[0], flush=True)
        pd.concat([done, pd.DataFrame([row])]).round(4).to_csv(RESULTS, index=False)


def setting_of(seed, case):
    """Trial and dataset of a setting of HSTA."""
    study, _ = opened("table4", seed)
    _, datasets, trials = study.prepare(pd.DataFrame([{"m": 4, "l_v": 2, "l_s": 1} | case]))
    return trials[0][0], datasets[0]


def baseline_of(seed, case):
    """Trial and dataset of a baseline in Table 6, seven emotions."""
    study, _ = opened("table6", seed)
    name, fields = case["baseline"], {field: value for field, value in case.items() if field != "baseline"}
    made = comparison.prepare(study, pd.DataFrame({"system": [name], "labels": ["emotion7"]}), **fields)
    return made.trials[0][0], made.datasets[0]


@cache
def opened(name, seed):
    """A notebook's study and its data, drawn with generator seed 1."""
    study = start(name, {"preset": PRESET, "split": "", "seeds": [seed]})
    study = published.reduced(study) if name == "table6" else study
    drawn = study.preset.synthetic.model_dump() | {"generator_seed": 1}
    study = study.variant(synthetic=drawn)
    return study, study.open_dataset()


if __name__ == "__main__":
    main()
