"""Trials per minute of two worker processes over one: ``python benchmarks/workers.py``.

Both run the same trials of the preset ``quick`` in turn, one worker, two, one, two, and the ratio is taken
pair by pair, so that a machine whose speed drifts does not decide it. Two ratios are printed: of the rate at
which running workers finish trials, and of the wall time of these few trials, starting the workers included.
"""

import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

from hsta_lib import runner, store
from hsta_lib.study import NAMED_CELL, start

PAIRS = 5


def measure(trials, dataset, workers):
    """Trials per minute of running workers, and the wall time of all, training into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        runner.run(trials, [dataset], Path(folder), workers=workers)
        wall = time.perf_counter() - started
        seconds = [store.load(trial, Path(folder))["seconds"] for trial in trials]
        return 60 * workers / statistics.mean(seconds), wall


def main():
    study = start("table4", {"preset": "quick", "seeds": [0, 1]})
    dataset = study.open_dataset()
    trials = study.trials(dataset, pd.DataFrame([NAMED_CELL]))[0]
    rates, walls = [], []
    for _ in range(PAIRS):
        (rate_one, wall_one), (rate_two, wall_two) = (measure(trials, dataset, n) for n in (1, 2))
        rates.append(rate_two / rate_one)
        walls.append(wall_one / wall_two)
        print(f"{rate_one:.1f} and {rate_two:.1f} trials a minute: ratio {rates[-1]:.2f}", flush=True)
        print(f"{wall_one:.1f} s and {wall_two:.1f} s, start included: ratio {walls[-1]:.2f}", flush=True)
    print(f"two workers over one, median of {PAIRS} pairs: {statistics.median(rates):.2f} running, "
          f"{statistics.median(walls):.2f} with their start")  # fmt: skip


if __name__ == "__main__":
    main()
