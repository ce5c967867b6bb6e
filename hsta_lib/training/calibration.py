"""How fast this machine trains: measured once with as many processes busy as will be, kept in ``data/``."""

import json
import platform
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import torch
from scipy.optimize import nnls

from hsta_lib.config import Settings, as_released, data_dir, n_cores, with_fields
from hsta_lib.data.dataset import Dataset
from hsta_lib.data.table import problems_table
from hsta_lib.files import file_digest, write_whole
from hsta_lib.models import hsta
from hsta_lib.training import fit
from hsta_lib.training.cost import Speed, estimate, seconds_each, work_of
from hsta_lib.training.trials import Trial
from hsta_lib.training.workers import local_workers

_N_CLASSES = 7
_STEPS = 2  # of an epoch
_EPOCHS = 1, 3  # of the two trainings whose difference is the time of so many epochs' steps
_SMALL = with_fields(Settings(), n_folds=2, warmup_epochs=0, image_size=32, patch_size=8, d=64, pixels="clip")
_WIDE = with_fields(Settings(), n_folds=2, warmup_epochs=0, image_size=64, batch_size=2, m=1)
# Faster than any processor's core: a run that takes less than so many seconds at this speed is no long one.
_FAST = Speed(call=1e-5, byte=0, draw=0, flop=1e-12, parameter=0, trial=0, start=0, memory=0)
_SHORT = 3
# What is measured: networks as narrow and shallow, and as wide, as those of the presets, of both recipes.
_SIZES = (
    with_fields(_SMALL, image_size=16, d=8, m=1),
    with_fields(_SMALL, m=1, l_v=1),
    _SMALL,
    as_released(with_fields(_SMALL, m=1)),
    with_fields(_SMALL, image_size=64, d=192, m=2, batch_size=8),
    with_fields(_WIDE, m=2),
    as_released(_WIDE),
)


class Forecast(NamedTuple):
    """How long each of some trials will take, and what is told of all, e.g. ``about 4 minutes on 2 workers``.

    Where nothing is told, only the ratios of the ``seconds`` mean something.
    """

    seconds: list
    told: str


def forecast(trials, datasets, workers=None):
    """How long trials will take: for a line before they are trained, and for their order.

    The first call for a number of workers calibrates, which takes seconds, see `calibrated`. That does not
    pay for a run that a fast machine would have done by then: of such a one nothing is told.

    Parameters
    ----------
    trials, datasets
        As for `hsta_lib.training.cost.estimate`.
    workers : int, optional
        As for `calibrated`; without it, the trials are for other machines.

    Returns
    -------
    Forecast
    """
    fast = dict.fromkeys((trial.settings.training.precision for trial in trials), _FAST)
    if workers is None or estimate(trials, datasets, workers, fast) < _SHORT:
        return Forecast(seconds_each(trials, datasets, fast), "")
    try:
        speeds = speeds_for(trials, workers)
    except (OSError, RuntimeError) as error:
        print(f"How long it will take could not be measured: {error}")
        return Forecast(seconds_each(trials, datasets, fast), "")
    used = min(workers, len(trials))
    where = f"on {used} worker{'s' * (used > 1)}" if workers else "in this process"
    told = f"about {in_words(estimate(trials, datasets, workers, speeds))} {where}"
    return Forecast(seconds_each(trials, datasets, speeds), told)


def speeds_for(trials, workers):
    """Speeds of this machine, by the precision of the trials; see `calibrated`."""
    precisions = {trial.settings.training.precision for trial in trials}
    return {precision: calibrated(workers, precision) for precision in sorted(precisions)}


def in_words(seconds):
    """A time rounded for reading: ``20 seconds``, ``4 minutes``, ``3 hours``, ``12 days``."""
    units = (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 48), ("day", 86400, float("inf")))
    unit, size = next((unit, size) for unit, size, most in units if seconds < most * size)
    count = max(round(seconds / size), 1)
    return f"{count} {unit}{'s' * (count > 1)}"


def calibrated(workers, precision="float32"):
    """Speed of training on this machine: as measured before, else measured now.

    Processor time is what counts on a CPU, so that other programs, which come and go, do not: a time made
    of it is that of a machine which does nothing else.

    Parameters
    ----------
    workers : int
        Worker processes, which are all busy in the measurement; 0: this process.
    precision : {"float32", "bfloat16"}
        Of the network's products.

    Returns
    -------
    hsta_lib.training.cost.Speed
    """
    machine = describe_machine(workers, precision)
    path = data_dir() / _file_name(machine)
    stored = _read(path, machine)
    if stored is None:
        print("Measuring how fast this machine trains, once")
        stored = _fit(_measure_all(workers, precision))
        with suppress(OSError):  # it is measured again then
            write_whole(path, json.dumps({"machine": machine, "speed": stored._asdict()}, indent=1))
    return stored


def describe_machine(workers, precision):
    """What a speed is of: a stored one is measured again where any of this differs.

    Returns
    -------
    dict of str to str or int
    """
    sources = [file_digest(Path(module.__file__))[:8] for module in (fit, hsta)]
    return {
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "cores": n_cores(),
        "torch": torch.__version__,
        "threads": 1,  # of a trial
        "workers": workers,
        "precision": precision,
        "source": "-".join(sources),
    }


def _processor():
    """Name of the processor; Linux tells it in a file alone."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()


def _file_name(machine):
    named = "{processor} {cores} cores torch {torch} {threads} thread {workers} workers {precision}"
    return f"calibration-{re.sub(r'[^a-z0-9.]+', '-', named.format(**machine).lower())}.json"


def _read(path, machine):
    """A stored speed; None if there is none of this machine, or the file is damaged."""
    try:
        stored = json.loads(path.read_text())
        return Speed(**stored["speed"]) if stored["machine"] == machine else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure_all(workers, precision):
    if workers == 0:
        return [measure(precision)]
    with local_workers(workers) as client:
        addresses = client.scheduler_info(n_workers=-1)["workers"]
        tasks = [client.submit(measure, precision, workers=[one], pure=False) for one in addresses]
        return client.gather(tasks)


def measure(precision):
    """Time a training step of each size in this process.

    Returns
    -------
    dict
        ``start``, s, and ``memory``, bytes, that the process took so far; ``steps``, s, of each size;
        ``trial``, s, what else the smallest network's training takes.
    """
    start, used = time.process_time(), psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        sizes = [with_fields(size, precision=precision) for size in _SIZES]
        _time(sizes[0], folder)  # what is slow only the first time
        steps, others = zip(*(_time(size, folder) for size in sizes), strict=True)
        return {"start": start, "memory": used, "steps": list(steps), "trial": others[0]}


def _time(settings, folder):
    """Seconds of one training step, and of a trial besides its steps."""
    dataset = _random_dataset(settings, Path(folder))
    few, many = (_time_fit(with_fields(settings, epochs=epochs), dataset) for epochs in _EPOCHS)
    step = max(many - few, 1e-6) / (_STEPS * (_EPOCHS[1] - _EPOCHS[0]))
    return step, max(few - _EPOCHS[0] * _STEPS * step, 0)


def _time_fit(settings, dataset):
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    fit.fit(Trial(settings, 0, 0, dataset.fingerprint), dataset)
    return clock() - started


def _random_dataset(settings, folder):
    """Clips of noise, of two subjects, with ``_STEPS`` batches of each."""
    n_clips, frames = 2 * _STEPS * settings.training.batch_size, settings.frames
    shape = n_clips, frames.n_stored + 2, frames.image_size, frames.image_size, 3
    path = folder / "frames.npy"
    np.save(path, np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))
    number = np.arange(n_clips)
    clips = pd.DataFrame(
        {
            "clip_id": [f"{n:04d}" for n in number],
            "subject_id": (number % 2).astype(str),
            "onset": 1,
            "offset": frames.n_stored,
            "label": number // 2 % _N_CLASSES,
        }
    )
    classes = tuple(map(str, range(_N_CLASSES)))
    return Dataset(clips, path, classes, problems_table(), {}, "noise", "", pd.DataFrame())


def _fit(measured):
    """The `Speed` that comes nearest, in relative terms, to the mean over processes of each size's step."""
    steps = np.mean([one["steps"] for one in measured], axis=0)
    units = np.array([_units(size) for size in _SIZES])
    found, _ = nnls(units / steps[:, None], np.ones(len(steps)))
    names = "trial", "start", "memory"
    means = {name: float(np.mean([one[name] for one in measured])) for name in names}
    return Speed(*found.tolist(), **means)


def _units(settings):
    """What each coefficient of a `Speed` is multiplied with in a step of these settings."""
    work, clips = work_of(settings, _N_CLASSES), settings.training.batch_size
    axes = np.eye(5)
    return [Speed(*axis, trial=0, start=0, memory=0).step(work, clips) for axis in axes]
