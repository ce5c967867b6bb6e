"""Trials on workers, those of this machine or of a Dask scheduler: who may train, where results are kept."""

import asyncio
import json
import math
import pickle
import statistics
import time
import uuid
from collections import Counter, deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from hsta_lib import PACKAGE
from hsta_lib.files import file_digest, own_name, text_digest, write_whole
from hsta_lib.training import store
from hsta_lib.training.checkpoint import Checkpoint
from hsta_lib.training.fit import fit
from hsta_lib.training.workers import SILENT_SECONDS, noted_interrupts, revive

CONNECT_SECONDS = 5
# How long a run without any worker waits for one: a killed worker takes seconds to come back.
PATIENCE_SECONDS = 60
_LOCAL_PATIENCE_SECONDS = 600  # on a busy machine
_OVERDUE = 10  # times as long as expected
_SLOW = 1e9  # FLOP/s, of which small networks reach twenty times as many on a core
FETCH_SECONDS = 60
LOOK_SECONDS = 1
# So many workers may be killed with a trial before it counts as failed.
ALLOWED_DEATHS = 3
# Dask gives a worker nothing to do while it uses more of its memory limit than this.
_PAUSED_FROM = 0.8


class NoWorkers(RuntimeError):
    """No worker of the scheduler can train."""


class KilledWorkers(RuntimeError):
    """A trial's workers were killed, several in a row."""


def _library_digest():
    """Hash of the library's source: that of the files which are being imported."""
    files = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
    listed = [(name, file_digest(PACKAGE / name)) for name in files]
    return text_digest(json.dumps(listed))[:12]


# What a prediction can depend on. Of torch without the build: a notebook may have that for CPUs, workers
# that for GPUs. Taken at import, since a process goes on with the code it has loaded.
VERSIONS = {
    "the source of hsta_lib": _library_digest(),
} | {name: version(name).partition("+")[0] for name in ("torch", "numpy", "opencv-python", "scikit-learn")}


def train_on(scheduler, todo, datasets, folder, costs):
    """Train on the workers of a Dask scheduler, one trial at a time on each.

    Workers may come and go meanwhile. A worker that is killed or silent loses its trial to another. A trial
    that takes ten times as long as those before let expect is named. Where workers
    declare ``GPU`` as a resource, those alone train, and ask for one of it. When the caller closes the
    generator, trials that have not begun are taken back; a worker ends the trial it is at.

    Parameters
    ----------
    scheduler : str
        Its address, ``tcp://host:port``, or the path of a scheduler file.
    todo : list of Trial
        In the order in which they are begun.
    datasets : dict of str to hsta_lib.data.dataset.Dataset
        By fingerprint.
    folder : Path
        Of the results. Workers that can write it store their results themselves; those of the others are
        stored from here.
    costs : dict of Trial to float
        FLOPs of each.

    Yields
    ------
    trial : Trial
    error : Exception or None

    Raises
    ------
    ConnectionError
        If the scheduler does not answer, or does no longer.
    NoWorkers
        If all workers were refused, or there is none for a minute.
    hsta_lib.training.store.NotWritten
        If a result cannot be written from here either.
    """
    datasets = {name: _with_full_paths(dataset) for name, dataset in datasets.items()}
    with _connected(scheduler) as client:
        crew = _Crew(client, scheduler, datasets.values(), folder.absolute())
        yield from _train_with(crew, todo, datasets, costs)


def train_with(client, todo, datasets, folder, costs):
    """As `train_on`, on workers of this machine, see `hsta_lib.training.workers.local_workers`."""
    yield from _train_with(_LocalCrew(client, "", (), folder.absolute()), todo, datasets, costs)


def _train_with(crew, todo, datasets, costs):
    with noted_interrupts() as raise_noted:
        yield from _each_finished(crew, todo, datasets, costs, raise_noted)


def _each_finished(crew, todo, datasets, costs, raise_noted):
    waiting, running, deaths, pace = deque(todo), {}, Counter(), _Pace(costs)
    while waiting or running:
        raise_noted()
        crew.look(is_training=bool(running))
        for worker in running.keys() - crew.present:
            trial = running.pop(worker)[0]
            deaths[trial] += 1
            if deaths[trial] < ALLOWED_DEATHS:
                waiting.appendleft(trial)
            else:
                yield trial, _killed(worker, crew.asked[worker])
        for worker in crew.ready - running.keys():
            # Another run may have trained some since this one began.
            while waiting and not store.missing([waiting[0]], crew.folder):
                yield waiting.popleft(), None
            if waiting:
                trial = waiting.popleft()
                running[worker] = trial, crew.submit(worker, trial, datasets[trial.fingerprint])
                pace.begin(trial)
        _wait(crew.client, [future for _, future in running.values()])
        pace.look([trial for trial, _ in running.values()])
        for worker, (trial, future) in list(running.items()):
            if future.cancelled():
                raise gone(crew.scheduler, "it has dropped the trials")
            if future.done():
                del running[worker]
                try:
                    error = _stored(trial, future, crew.folder)
                except TimeoutError:  # the worker was killed with the result
                    waiting.appendleft(trial)
                else:
                    pace.end(trial)
                    yield trial, error


class _Pace:
    """Names a trial that takes far longer than those before let expect."""

    def __init__(self, costs):
        self.costs, self.begun, self.seconds, self.named = costs, {}, [], set()

    def begin(self, trial):
        self.begun[trial] = time.monotonic()

    def end(self, trial):
        self.seconds.append((time.monotonic() - self.begun[trial]) / self.costs[trial])

    def look(self, running):
        pace, least = 1 / _SLOW, _LOCAL_PATIENCE_SECONDS  # as long as none has ended
        if self.seconds:
            pace, least = statistics.median(self.seconds), SILENT_SECONDS
        for trial in running:
            took, expected = time.monotonic() - self.begun[trial], self.costs[trial] * pace
            if took > max(_OVERDUE * expected, least) and trial not in self.named:
                self.named.add(trial)
                print(
                    f"trial {trial.id} (fold {trial.fold}, seed {trial.seed}) has taken {took:.0f} s, where "
                    f"{expected:.0f} s were to be expected; it goes on"
                )


def _with_full_paths(dataset):
    """Workers have working folders of their own."""
    frames, depth = dataset.frames_path, dataset.depth_path
    return replace(dataset, frames_path=frames.absolute(), depth_path=depth and depth.absolute())


def check(scheduler):
    """Refuse a scheduler that does not answer, as `train_on` would, with ConnectionError."""
    with _connected(scheduler):
        pass


@contextmanager
def _connected(scheduler):
    from distributed import Client

    address = _address(scheduler)
    try:
        with ThreadPoolExecutor(1) as pool:  # a notebook has a loop of its own in this thread
            pool.submit(asyncio.run, _greet(address)).result()
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # Dask raises what it likes at what another program says
        raise ConnectionError(
            f"no Dask scheduler answers at scheduler = {scheduler!r} ({error!r}): start one with `dask "
            "scheduler`, check host, port and firewall, or leave scheduler empty to train on this machine"
        ) from error
    try:
        yield client
    finally:
        try:
            client.close()
        except Exception as error:  # Dask raises what it likes; stored results decide
            print(f"the connection to the scheduler did not end by itself ({type(error).__name__})")


async def _greet(address):
    """Meet a scheduler within a time limit; a client would wait for ever for one that says nothing."""
    from distributed.comm import connect

    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_SECONDS), CONNECT_SECONDS)
    comm.abort()


def _address(scheduler):
    """Address of a scheduler, read from its file if that is what was given."""
    if "://" in scheduler:
        return scheduler
    try:
        return json.loads(Path(scheduler).expanduser().read_text())["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionError(
            f"scheduler = {scheduler!r} is neither an address, as tcp://host:8786, nor a scheduler file "
            f"({type(error).__name__}: {error}): `dask scheduler --scheduler-file {scheduler}` writes one"
        ) from error


class _Crew:
    """The workers of a scheduler. Each is looked over when it comes, before it is given a trial."""

    def __init__(self, client, scheduler, datasets, folder):
        self.client, self.scheduler, self.folder = client, scheduler, folder
        paths = dict.fromkeys(path for dataset in datasets for path in dataset.files)
        self.digests = {path: file_digest(path) for path in paths}
        self.asked = {}  # address to what the scheduler says of a worker, also of one that is gone
        self.shares = {}  # of those accepted: whether they share the folder of results
        self.refused = {}  # of the others: why not
        self.unanswered = {}  # of those that are asked again once they beat: when they last did
        self.present, self.ready, self.has_gpu = set(), set(), set()
        self.heard = {}  # address to the time of its last beat, there and here
        self.last_present = time.monotonic()

    def look(self, is_training=False):
        """Find who is there now: accepted workers (``present``), and those that can begin (``ready``)."""
        workers = self._asking(self._workers)
        new = {
            address: worker
            for address, worker in workers.items()
            if address not in self.asked and worker["last_seen"] != self.unanswered.get(address)
        }
        if new:
            self._look_over(new)
        self.present = workers.keys() & self.shares.keys() - self._silent(workers)
        self.has_gpu = {address for address in self.present if workers[address]["resources"].get("GPU")}
        running = {address for address in self.present if workers[address]["status"] == "running"}
        self.ready = running & (self.has_gpu or self.present)
        if self.ready or (self.present and is_training):  # a paused one, without a trial, is none
            self.last_present = time.monotonic()
        else:
            self._be_patient(time.monotonic() - self.last_present)

    def _be_patient(self, seconds):
        """Raise `NoWorkers` where there has been none for so long."""
        if (self.refused and not self.shares) or seconds > PATIENCE_SECONDS:
            reasons = "; ".join(f"{address} {reason}" for address, reason in self.refused.items())
            raise NoWorkers(
                f"no worker of scheduler = {self.scheduler!r} can train. "
                f"{reasons or 'None is there, or all are paused or stopped: start some with `dask worker`'}"
            )

    def _workers(self):
        """What the scheduler says of its workers; of one that is stopped, as its machine may be, nothing."""
        identity = self.client.scheduler.identity
        return self.client.sync(identity, n_workers=-1, callback_timeout=self._answers_within())["workers"]

    def _answers_within(self):
        return SILENT_SECONDS

    def _silent(self, workers):
        """Those that have not beaten for too long; only this machine's clock is asked, which nobody sets."""
        now = time.monotonic()
        for address, worker in workers.items():
            if self.heard.get(address, (None,))[0] != worker["last_seen"]:
                self.heard[address] = worker["last_seen"], now
        return {address for address, (_, since) in self.heard.items() if now - since > SILENT_SECONDS}

    def submit(self, worker, trial, dataset):
        """Have a worker train a trial. The key is this run's own: another run cannot take it back."""
        packed = pickle.dumps(partial(train, trial, dataset, self.folder if self.shares[worker] else None))
        return self.client.submit(
            _unpacked(), packed, key=f"trial-{trial.id}-{uuid.uuid4().hex[:8]}", workers=[worker],
            resources={"GPU": 1} if worker in self.has_gpu else None,
        )  # fmt: skip

    def _look_over(self, new):
        with store.token(self.folder) as token:
            answers = self._asking(lambda: self.client.sync(self._answers, new, token))
        for address, answer in answers.items():
            self.asked[address] = new[address]
            if reason := refusal(answer, new[address], self.digests):
                self.refused[address] = reason
                print(f"worker {address} is not used: it {reason}")
            else:
                self.shares[address] = answer["shares"]

    async def _answers(self, new, token):
        """What workers answer, by address; those that fall silent before, as stopped ones, are left out."""
        answers = await asyncio.gather(*(self._answer_of(address, token) for address in new))
        return {address: answer for of_one in answers for address, answer in of_one.items()}

    async def _answer_of(self, address, token):
        only, beat = {"workers": [address], "on_error": "return"}, None
        asked = asyncio.ensure_future(self.client._run(_answer, [*self.digests], self.folder, token, **only))
        while not (await asyncio.wait([asked], timeout=SILENT_SECONDS))[0]:
            workers = (await self.client.scheduler.identity(n_workers=-1))["workers"]
            before, beat = beat, workers.get(address, {}).get("last_seen")
            if beat == before:
                asked.cancel()
                self.unanswered[address] = beat
                return {}
        return {address: OSError("it is gone")} | asked.result()

    def _asking(self, question):
        try:
            return question()
        except (OSError, AttributeError) as error:  # a client that has given up knows of no scheduler
            raise gone(self.scheduler, repr(error)) from error


class _LocalCrew(_Crew):
    """Workers that this process has started: they are asked nothing, and started again where they died."""

    looked = -math.inf

    def look(self, is_training=False):
        if time.monotonic() - self.looked > LOOK_SECONDS:  # not after each of many short trials
            revive(self.client.cluster)
            super().look(is_training)
            self.looked = time.monotonic()

    def _answers_within(self):
        return _LOCAL_PATIENCE_SECONDS  # the scheduler is in this process: late on a busy machine, not gone

    def _look_over(self, new):
        self.asked |= new
        self.shares |= dict.fromkeys(new, True)

    def _be_patient(self, seconds):
        if seconds > _LOCAL_PATIENCE_SECONDS:
            raise NoWorkers(
                f"no local worker has come back for {_LOCAL_PATIENCE_SECONDS / 60:.0f} minutes; results are "
                "stored, and the same command continues. workers = 0 trains in this process"
            )


def gone(scheduler, error):
    """The error of a scheduler that no longer answers."""
    if not scheduler:
        return ConnectionError(
            f"the workers of this machine no longer answer ({error}): the same command continues, and what "
            "was trained is kept; workers = 0 trains in this process"
        )
    return ConnectionError(
        f"scheduler = {scheduler!r} no longer answers ({error}): start it and its workers again, and the "
        "same call continues; what was trained is kept"
    )


async def _answer(paths, folder, token, dask_worker):
    """Asked of a worker: its versions, its memory, the data and the folder of results as it sees them."""
    # In a thread: a worker whose loop is blocked looks dead.
    digests = await asyncio.to_thread(lambda: {path: _digest(path) for path in paths})
    return {
        "versions": VERSIONS,
        "digests": digests,
        "shares": await asyncio.to_thread(_shares, folder, token),
        "memory": dask_worker.monitor.get_process_memory(),
    }


def _digest(path):
    try:
        return file_digest(path)
    except OSError as error:
        return error


def _shares(folder, token):
    """Whether the folder is that in which the token lies, and can be written."""
    try:
        if not (folder / token).exists():
            return False
        mine = folder / own_name("token")
        write_whole(mine, "")
        mine.unlink()
    except OSError:
        return False
    return True


def refusal(answer, worker, digests):
    """Why a worker is not used, by what it answers and the scheduler says; a clause, empty if it is used."""
    limit = worker["memory_limit"]
    if isinstance(answer, Exception):
        return (
            f"gave no answer ({type(answer).__name__}: {answer}; {_limit_of(worker)}): install this version "
            "of hsta_lib there and start it again"
        )
    for name, here in VERSIONS.items():
        there = answer["versions"].get(name)
        if there != here:
            return f"has {name} {there}, here it is {here}: install the same there and start it again"
    if worker["nthreads"] != 1:
        return f"has {worker['nthreads']} threads: start one for each trial at a time, with --nthreads 1"
    if limit and answer["memory"] > _PAUSED_FROM * limit:
        return (
            f"uses {answer['memory'] / 1e9:.2f} GB before any training; {_limit_of(worker)}: start it with a "
            "larger --memory-limit, or 0 for none"
        )
    for path, here in digests.items():
        there = answer["digests"][path]
        if isinstance(there, Exception):
            return (
                f"cannot read {path} ({there.strerror}): share that folder with it, or copy the file to the "
                "same path there"
            )
        if there != here:
            return f"has another file {path}: share the folder, or copy the file there from this machine"
    return ""


def _limit_of(worker):
    limit = worker["memory_limit"]
    return f"its memory limit is {limit / 1e9:.2f} GB" if limit else "it has no memory limit"


def _killed(address, worker):
    return KilledWorkers(
        f"{ALLOWED_DEATHS} workers were killed or lost while they trained it, the last {address}; "
        f"{_limit_of(worker)}. If memory ran out, start them with a larger --memory-limit, or fewer of them"
    )


def _unpacked():
    """A function that calls what was pickled; it is pickled by value, as it is no global one.

    A scheduler imports whatever it is sent refers to, and is deaf meanwhile: it is sent bytes.
    """

    def call(packed):
        return pickle.loads(packed)()

    return call


def train(trial, dataset, folder):
    """Train a trial and return its record, which is also stored if there is a folder that can be written."""
    if folder is not None and not store.missing([trial], folder):
        return store.load(trial, folder)
    store.code_version()  # before the training, which may outlast an edit of the code
    with Checkpoint(trial, folder) as checkpoint:
        record = store.record_of(trial, fit(trial, dataset, checkpoint))
        if folder is not None:
            with suppress(store.NotWritten):  # who is given it stores it, or learns why not
                store.write(record, folder)
    return record


def _wait(client, futures):
    """Wait until one is finished, but not longer than to the next look."""
    from distributed import wait

    if not futures:
        time.sleep(LOOK_SECONDS)
        return
    # A future that was cancelled is found by the caller.
    with client.as_current(), suppress(TimeoutError, CancelledError):
        wait(futures, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")


def _stored(trial, future, folder):
    """Error of a finished trial, or None: then its result is in the folder."""
    error = future.exception(timeout=FETCH_SECONDS)
    # What a worker has written may be seen here only later, as on NFS.
    if error is None and store.missing([trial], folder):
        store.write(future.result(timeout=FETCH_SECONDS), folder)
    return error
