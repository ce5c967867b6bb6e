"""Run trials: only what is missing, in this process, in local worker processes or on those of a cluster.

A run can be stopped at any point and continued.
"""

import math
from contextlib import closing, contextmanager
from operator import attrgetter

from hsta_lib.config import n_cores
from hsta_lib.files import remove_abandoned, trial_bar
from hsta_lib.training import cluster, store
from hsta_lib.training.batches import device_of
from hsta_lib.training.cost import training_flops
from hsta_lib.training.workers import local_workers

_STORED_BESIDE = attrgetter("settings.training.store_epochs", "settings.training.store_draws")


class Stopped(KeyboardInterrupt):
    """A run was interrupted; what is trained is stored."""


class FailedTrials(RuntimeError):
    """Some trials failed; the results of the others are stored."""


def run(trials, datasets, folder, *, workers=None, scheduler=""):
    """Train the trials that have no result yet.

    Every trial stores its own result, so a run that is stopped or killed loses at most the trials being
    trained, and the same call continues it.

    Parameters
    ----------
    trials : list of Trial
    datasets : list of hsta_lib.data.dataset.Dataset
        Each trial is trained on the one whose fingerprint it carries.
    folder : Path
        Of the results.
    workers : int, optional
        Worker processes, one torch thread each; 0 trains in this process. The default is one per core, or a
        single one that trains on a GPU.
    scheduler : str
        Of Dask: its workers train instead of local ones, see `hsta_lib.training.cluster.train_on`.

    Raises
    ------
    Stopped
        By an interrupt; the message says how many trials are stored.
    FailedTrials
        After all trials have been tried, if some failed; the message names the first and its error.
    ValueError
        If a trial to be trained is of none of the datasets, or both ``workers`` and ``scheduler`` are given.
    hsta_lib.training.store.NotWritten
        If results cannot be written; before any training if that can be seen, else at the first result.
    ConnectionError, hsta_lib.training.cluster.NoWorkers
        If the scheduler does not answer or has no worker that can train.
    """
    if scheduler and workers is not None:
        raise ValueError(f"workers = {workers} has no effect with scheduler = {scheduler!r}; leave it None")
    if workers is None and not scheduler:
        is_on_cpu = not trials or device_of(trials[0].device).type == "cpu"
        workers = n_cores() if is_on_cpu else 1
    todo = _each_once(store.missing(trials, folder))
    datasets = {dataset.fingerprint: dataset for dataset in datasets}
    for trial in todo:
        if trial.fingerprint not in datasets:
            given = ", ".join(datasets)
            raise ValueError(f"trial {trial.id} is of data {trial.fingerprint}, the datasets are {given}")
    for line in store.told_of(trials, folder):
        print(line)
    n_trials = len({trial.id for trial in trials})
    print(f"{n_trials} trials, {len(todo)} to train")
    if not todo:
        return
    flops = training_flops(todo, datasets)
    costs = {trial: 1 + n for trial, n in zip(todo, flops, strict=True)}  # more than nothing
    todo.sort(key=costs.get, reverse=True)  # the longest first: no long one is left over at the end
    failed = []
    try:
        with (
            trial_bar(len(todo), sum(costs.values())) as (begin, advance),
            _started(todo, datasets, folder, workers, scheduler, costs) as finished,
            closing(finished),  # also by an interrupt
        ):
            begin()  # how long workers take to start says nothing of the time left
            for trial, error in finished:
                advance(costs[trial], lambda trial=trial: _seconds_of(trial, folder))
                if isinstance(error, store.NotWritten):
                    raise error  # there is no use in training the others
                if error is not None:
                    failed.append((trial, error))
    except KeyboardInterrupt:
        stored = n_trials - len(_each_once(store.missing(trials, folder)))
        raise Stopped(
            f"stopped: {stored} of {n_trials} trials are stored; the same command continues"
        ) from None
    if not failed:  # a run that says it is complete is complete
        failed = [(trial, RuntimeError("it left no result")) for trial in store.missing(todo, folder)]
    if failed:
        trial, error = failed[0]
        raise FailedTrials(
            f"{len(failed)} of {len(todo)} trials failed, the others are stored in {folder}. First: trial "
            f"{trial.id} (fold {trial.fold}, seed {trial.seed}): {type(error).__name__}: {error}"
        ) from error


def _each_once(trials):
    """Trials by their ids; of two that differ in what is stored beside the predictions, the one with more."""
    asked = sorted(trials, key=_STORED_BESIDE)
    return list({trial.id: trial for trial in asked}.values())


@contextmanager
def _started(todo, datasets, folder, workers, scheduler, costs):
    """Generator of ``(trial, error or None)`` as they finish, wherever they are trained."""
    with store.token(folder):  # it can be written
        remove_abandoned(folder)
    if scheduler:
        yield cluster.train_on(scheduler, todo, datasets, folder, costs)
    elif workers:
        with local_workers(min(workers, len(todo))) as client:
            yield cluster.train_with(client, todo, datasets, folder, costs)
    else:
        yield _train_here(todo, datasets, folder)


def run_trial(trial, dataset, folder):
    """Train one trial and store its result, unless it is there already."""
    record = cluster.train(trial, dataset, folder)
    if store.missing([trial], folder):  # it could not be written
        store.write(record, folder)


def _train_here(todo, datasets, folder):
    for trial in todo:
        try:
            run_trial(trial, datasets[trial.fingerprint], folder)
        except Exception as error:  # as from a worker: report it, go on with the next
            yield trial, error
        else:
            yield trial, None


def _seconds_of(trial, folder):
    return math.inf if store.missing([trial], folder) else store.load(trial, folder)["seconds"]
