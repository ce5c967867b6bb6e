"""Trials per minute of two worker processes over one: ``python benchmarks/workers.py``.

Both run the same trials of the preset ``quick`` in turn, one worker, two, one, two, and the ratio is taken
pair by pair, so that a machine whose speed drifts does not decide it. Starting the workers is counted.
"""

import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

from hsta_lib import runner
from hsta_lib.study import NAMED_CELL, start

PAIRS = 3


def seconds(trials, dataset, workers):
    """Wall time of training all trials into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        runner.run(trials, dataset, Path(folder), workers=workers)
        return time.perf_counter() - started


def main():
    study = start("table4", {"preset": "quick", "seeds": [0, 1]})
    dataset = study.open_dataset()
    trials = study.trials(dataset, pd.DataFrame([NAMED_CELL]))[0]
    ratios = []
    for _ in range(PAIRS):
        one, two = (seconds(trials, dataset, workers) for workers in (1, 2))
        ratios.append(one / two)
        print(
            f"{len(trials)} trials: one worker {one:.1f} s, two workers {two:.1f} s, ratio {ratios[-1]:.2f}"
        )
    print(f"two workers over one, trials per minute: median {statistics.median(ratios):.2f} of {PAIRS} pairs")


if __name__ == "__main__":
    main()
