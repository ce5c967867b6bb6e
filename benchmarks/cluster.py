"""Local worker processes over a Dask scheduler on this machine: ``python benchmarks/cluster.py``.

The same trials of the preset ``quick`` are trained by local workers and by as many workers of a scheduler on
the loopback interface, in turn; the ratio is taken pair by pair, so that a machine whose speed drifts does
not decide it. Local workers are started for each run, those of the scheduler beforehand, as they are used.
Two ratios are printed: of the wall time, and of the rate at which running workers finish trials.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import measure
import pandas as pd
from distributed import Client

from hsta_lib.config import n_cores
from hsta_lib.study.study import NAMED_CELL, start
from hsta_lib.training import run, store
from hsta_lib.training.workers import WORKER_ENVIRONMENT

PAIRS = 5


@contextmanager
def started_cluster(folder, workers):
    """Scheduler file of a scheduler with so many workers, separate processes as in docs/cluster.md."""
    file = folder / "scheduler.json"
    common = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    worker = ["--nthreads", "1", "--nworkers", str(workers), "--memory-limit", "0"]
    silent = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | WORKER_ENVIRONMENT
    processes = [subprocess.Popen([*common, "scheduler", *options, "--port", "0"], **silent)]
    try:
        while not file.exists():
            time.sleep(0.1)
        processes.append(subprocess.Popen([*common, "worker", *options, *worker], env=environment, **silent))
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(workers)
        yield str(file)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def train(trials, dataset, n_workers, **where):
    """Wall time of all trials, into an empty folder, and trials a minute of running workers."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run.run(trials, [dataset], Path(folder), **where)
        wall = time.perf_counter() - started
        seconds = [store.load(trial, Path(folder))["seconds"] for trial in trials]
        return wall, 60 * n_workers / statistics.mean(seconds)


def main():
    options = measure.parser(__doc__).parse_args()
    study = start("table4", {"preset": "quick", "seeds": [0, 1]})
    dataset = study.open_dataset()
    trials = study.trials(dataset, pd.DataFrame([NAMED_CELL]))[0]
    workers, walls, rates = n_cores(), [], []
    with tempfile.TemporaryDirectory() as folder, started_cluster(Path(folder), workers) as scheduler:
        for _ in range(PAIRS):
            wall_local, rate_local = train(trials, dataset, workers, workers=workers)
            wall_dask, rate_dask = train(trials, dataset, workers, scheduler=scheduler)
            walls.append(wall_local / wall_dask)
            rates.append(rate_dask / rate_local)
            print(
                f"{wall_local:.1f} s local, {wall_dask:.1f} s on the scheduler: {walls[-1]:.2f}", flush=True
            )
    rows = [
        measure.row("wall time of local workers over a scheduler's", walls),
        measure.row("rate of a scheduler's workers over local ones", rates),
    ]
    measure.finish(__file__, rows, options.record)


if __name__ == "__main__":
    main()
