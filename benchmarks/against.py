"""How fast this tree is against an earlier commit: ``python benchmarks/against.py --commit da7f254``.

Both are measured in turn, in a process of their own each, five times; ratios are of processor time, pair by
pair, so that a machine whose speed drifts does not decide them. Trainings are on noise, of the sizes of the
presets ``quick`` and ``study``, and of small baselines with their own recipes: one fold of 442 pictures.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
ROUNDS = 5
NAMED = {"m": 4, "l_v": 2, "l_s": 1}
# Epochs that take a few seconds, and the form.
BASELINES = {
    "STSTNet": ("published", 60), "OFF-ApexNet": ("reduced", 15), "Dual-Incep": ("reduced", 4),
    "FeatRef": ("reduced", 4), "HTNet": ("reduced", 3),
}  # fmt: skip


def measured(what):
    """In a tree's own process: clips trained on in a second of processor time; or seconds of an import."""
    if what == "import":
        started = time.process_time()
        is_package = hasattr(importlib.import_module("hsta_lib.study"), "__path__")
        importlib.import_module("hsta_lib.study.study" if is_package else "hsta_lib.study")
        return time.process_time() - started
    return _hsta() if what == "HSTA" else _baseline(what)


def _hsta():
    fields = {"image_size": 32, "patch_size": 8, "d": 64, "pixels": "clip", "n_folds": 5, **NAMED}
    return _rate(fields | {"learning_rate": 3e-3, "epochs": 4, "warmup_epochs": 1}, 320, 32)


def _baseline(name):
    import numpy as np

    try:
        from hsta_lib.config import Datasets
        from hsta_lib.training import baseline_inputs as inputs
    except ImportError:
        from hsta_lib import rivals as inputs
        from hsta_lib.config import Datasets
    import pandas as pd

    form, epochs = BASELINES[name]
    word = "baseline" if "baseline_epochs" in Datasets.model_fields else "rival"  # the older name
    most = Datasets(**{"form": form, f"{word}_epochs": epochs})
    cell = inputs.cells(pd.DataFrame({"system": [name]}), most).iloc[0]
    fields = {key: value for key, value in cell.items() if key not in ("system", "recipe")}
    fields |= {"split": "loso", "store_epochs": False}
    from hsta_lib.config import Comparison

    shape = inputs.input_shape(Comparison(**{word: name, "form": form}))
    noise = np.random.default_rng(0).random((442, *shape)).astype(np.float32)
    with patch.object(inputs, "inputs", lambda *_: noise):
        return _rate(fields, 442, fields["image_size"])


def _rate(fields, n_clips, image_size):
    """Clips in a second of processor time, of a whole training on noise."""
    from hsta_lib.config import Settings, with_fields

    try:
        from hsta_lib.training.fit import fit
        from hsta_lib.training.trials import Trial
    except ImportError:
        from hsta_lib.trials import Trial

        from hsta_lib.training import fit
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in fields.items()}
    settings = with_fields(Settings(), **plain)
    with tempfile.TemporaryDirectory() as folder:
        dataset = _noise(Path(folder) / "frames.npy", n_clips, settings.frames.n_stored, image_size)
        trial = Trial(settings, 0, 0, dataset.fingerprint)
        fit(Trial(with_fields(settings, epochs=1), 0, 0, dataset.fingerprint), dataset)  # not counted
        started = time.process_time()
        result = fit(trial, dataset)
        return result["n_train"] * len(result["losses"]) / (time.process_time() - started)


def _noise(path, n_clips, n_stored, size):
    import numpy as np
    import pandas as pd

    from hsta_lib.data.dataset import Dataset
    from hsta_lib.data.table import problems_table

    rng, number = np.random.default_rng(0), np.arange(n_clips)
    np.save(path, rng.integers(0, 256, (n_clips, n_stored + 2, size, size, 3), dtype=np.uint8))
    clips = pd.DataFrame(
        {
            "clip_id": number.astype(str), "subject_id": (number % 68).astype(str), "recording_id": "",
            "onset": 1, "apex": 3, "offset": n_stored, "label": number % 3, "expression_type": "micro",
        }
    )  # fmt: skip
    return Dataset(clips, path, ("a", "b", "c"), problems_table(), {}, "noise", "", pd.DataFrame())


def _ask(tree, what):
    environment = {**os.environ, "PYTHONPATH": str(tree), "MALLOC_TRIM_THRESHOLD_": "4000000000",
                   "MALLOC_MMAP_THRESHOLD_": "4000000000"}  # fmt: skip
    command = [sys.executable, __file__, "--measured", what]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(earlier, names):
    """Rows for `measure.finish`: rate of this tree, and over that of the earlier one."""
    import measure

    rows = []
    for what in names:
        pairs = [(_ask(earlier, what), _ask(ROOT, what)) for _ in range(ROUNDS)]
        ratios = [before / after if what == "import" else after / before for before, after in pairs]
        unit = "s" if what == "import" else "clips/s of one core"
        label = "import of hsta_lib.study" if what == "import" else f"training of {what}"
        rows.append(measure.row(label, [after for _, after in pairs], unit))
        rows.append(measure.row(f"{label}, as fast as before", ratios))
        print(f"{label}: {rows[-2]['median']:.3g} {unit}, {rows[-1]['median']:.2f} times", flush=True)
    return rows


def main():
    import measure

    parser = measure.parser(__doc__)
    parser.add_argument("--commit", default="da7f254", help="what to compare with")
    parser.add_argument("--only", nargs="*", default=["import", "HSTA", *BASELINES], help="what to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", folder, options.commit], check=True)
        try:
            rows = compare(Path(folder), options.only)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)
    measure.finish(__file__, rows, options.record)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        print(json.dumps(measured(sys.argv[2])))
    else:
        main()
