"""What worker processes cost, with the preset ``quick``: ``python benchmarks/workers.py``.

The same trials are trained by one worker, by two, and by two processes that know nothing of each other, in
turn; ratios are taken round by round, so that a machine whose speed drifts does not decide them. The rate is
that of the median trial, which leaves out what is slow in the first of a process; the wall time has it, and
the start of the processes. Then: the share
of the workers' time within training steps, their peak memory with the deepest network of Table 4, and how
long it takes until workers can train.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import measure
import pandas as pd

from hsta_lib.config import n_cores
from hsta_lib.study.study import NAMED_CELL, start
from hsta_lib.training import fit, run, store
from hsta_lib.training.cost import parameters_and_flops
from hsta_lib.training.workers import WORKER_ENVIRONMENT, local_workers

ROUNDS = 5
IMPORT = "import hsta_lib"
START = """
from hsta_lib.study import start
from hsta_lib.training.workers import local_workers

def load():
    import hsta_lib.training.fit

if __name__ == "__main__":
    start("table4", {"preset": "quick"}).open_dataset()
    with local_workers(%d) as client:
        client.run(load)
"""


def seconds(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def in_workers(trials, dataset, folder, workers):
    run.run(trials, [dataset], folder, workers=workers)


def apart(trials, dataset, folder, _workers):
    """Half of the trials in each of two processes."""
    halves = trials[::2], trials[1::2]
    processes = [
        get_context("spawn").Process(target=in_workers, args=(half, dataset, folder, 0)) for half in halves
    ]
    with patch.dict(os.environ, WORKER_ENVIRONMENT):
        for process in processes:
            process.start()
    for process in processes:
        process.join()


def train(way, trials, dataset, workers):
    """Trials a minute of so many processes, and the wall time of all, training into an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        wall = seconds(way, trials, dataset, folder := Path(name), workers)
        each = [store.load(trial, folder)["seconds"] for trial in trials]
        return 60 * workers / statistics.median(each), wall


def compare(trials, dataset):
    rounds = []
    for _ in range(ROUNDS):
        one, one_wall = train(in_workers, trials, dataset, 1)
        two, two_wall = train(in_workers, trials, dataset, 2)
        processes, processes_wall = train(apart, trials, dataset, 2)
        rounds.append((two / one, one_wall / two_wall, two / processes, processes_wall / two_wall))
        print(f"{one:.1f}, {two:.1f} and {processes:.1f} trials a minute", flush=True)
    names = (
        "rate of two workers over one", "wall time of one worker over two",
        "rate of two workers over two processes", "wall time of two processes over two workers",
    )  # fmt: skip
    return [measure.row(what, values) for what, values in zip(names, zip(*rounds, strict=True), strict=True)]


def timed(trial, dataset, folder):
    """Train a trial; when it began and ended, and the seconds of its steps."""
    spent, step = [], fit._step_on

    def timed_step(*arguments):
        began = time.perf_counter()
        loss = step(*arguments)
        spent.append(time.perf_counter() - began)
        return loss

    began = time.time()
    with patch.object(fit, "_step_on", timed_step):
        run.run_trial(trial, dataset, folder)
    return began, time.time(), sum(spent)


def watch(trials, deepest, dataset, workers):
    """Share of time in steps over all trials, and peak memory of a worker."""
    with local_workers(workers) as client, tempfile.TemporaryDirectory() as folder:
        shared = client.submit(lambda: dataset)
        client.gather([client.submit(timed, one, shared, Path(folder)) for one in deepest])
        memory = list(client.run(measure.most_resident).values())
        times = client.gather([client.submit(timed, one, shared, Path(folder)) for one in trials])
    began, ended, spent = zip(*times, strict=True)
    share = 100 * sum(spent) / workers / (max(ended) - min(began))
    return [
        measure.row("share of workers' time in training steps", [share], "%"),
        measure.row("peak memory of a worker", [value / 1e6 for value in memory], "MB"),
    ]


def flops(trial):
    return parameters_and_flops(trial.settings, n_classes=7)[1]


def started(code):
    """Seconds that a Python process takes which runs this program."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "program.py"
        script.write_text(code)
        return seconds(subprocess.check_call, [sys.executable, str(script)])


def main():
    options = measure.parser(__doc__).parse_args()
    study, workers = start("table4", {"preset": "quick", "seeds": [0, 1]}), n_cores()
    dataset = study.open_dataset()
    trials = study.trials(dataset, pd.DataFrame([NAMED_CELL]))[0]
    deepest = max(study.trials(dataset, study.cells()), key=lambda runs: flops(runs[0]))
    rows = compare(trials, dataset) + watch(trials, deepest[:workers], dataset, workers)
    bare = [started("") for _ in range(ROUNDS)]
    imported = [started(IMPORT) - statistics.median(bare) for _ in range(ROUNDS)]
    rows += [
        measure.row("until workers can train", [started(START % workers) for _ in range(ROUNDS)], "s"),
        measure.row("`import hsta_lib`", imported, "s"),
    ]  # fmt: skip
    measure.finish(__file__, rows, options.record)


if __name__ == "__main__":
    main()
