"""Worker processes on this machine, one torch thread each. No failure of their start or end spoils a run."""

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import psutil

from hsta_lib import CHECKPOINT_SECONDS, config

# glibc returns freed memory to the system and faults it in again at every step of a small network, which
# costs a third of the time; Dask's own default (65536) makes that worse. Trials run beside the main thread,
# whose arena alone the thresholds spare: there is but one arena. Elsewhere the variables do nothing.
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_ARENA_MAX": "1",
}
# A worker that has been silent for so long is replaced, and its trial goes to another.
SILENT_SECONDS = config.silent_seconds()
_STARTS = 3  # of all workers, one of which may be killed or stopped while it starts
_START_SECONDS = 120
_END_SECONDS = 60
_noted = []  # interrupts

# Dask looks at its processes many times a second, which nobody reads here; where all cores train, a run took
# a tenth longer by it.
_SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    # Else one that takes longer than 15 s to start again, as on a busy machine, is given up.
    "distributed.deploy.lost-worker-timeout": "600s",
}


@contextmanager
def local_workers(n):
    """Start worker processes and stop them; one that dies or falls silent meanwhile is replaced.

    Yields a Dask client, whose ``cluster`` is for `revive`. A RuntimeError if the workers cannot be started
    three times in a row.
    """
    import dask
    from distributed import Client

    environment = dask.config.get("distributed.nanny.pre-spawn-environ") | WORKER_ENVIRONMENT
    settings = _SETTINGS | {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.worker-ttl": f"{SILENT_SECONDS}s",
    }
    others = _spawned()
    with dask.config.set(settings), noted_interrupts() as raise_noted:
        cluster = _started(n, others)
        client = Client(cluster)
        try:
            raise_noted()
            with _ended_first(cluster, others):
                yield client
        finally:
            _end(client, cluster, others)


def _started(n, others):
    from distributed import LocalCluster

    for start in range(_STARTS):
        # One that is stopped while it starts is waited for for ever: Dask's own limit does not end it.
        limit = threading.Timer(_START_SECONDS, lambda: _kill(_spawned() - others))
        try:
            with _spared():
                limit.start()
                return LocalCluster(
                    n_workers=n, threads_per_worker=1, memory_limit=0,
                    silence_logs="CRITICAL",  # what fails reaches the run; one that ends may log a traceback
                    host="127.0.0.1", dashboard_address="127.0.0.1:0",  # any free port: two runs may meet
                )  # fmt: skip
        except Exception as error:  # one was killed or stopped before it was ready; Dask raises what it likes
            reason = error.__cause__ or error
            print(f"the workers did not start ({reason}); start {start + 1} of {_STARTS}")
            _kill(_spawned() - others)
        finally:
            limit.cancel()
    raise RuntimeError(f"no local workers can be started: {reason}. workers = 0 trains in this process")


@contextmanager
def _spared():
    """Threads begun meanwhile and their processes get no interrupt, which JupyterLab sends to all."""
    resource_tracker.ensure_running()  # a thread that starts it can be interrupted from then on
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def noted_interrupts():
    """Yields what raises KeyboardInterrupt once there was an interrupt; a second one is raised at once.

    Raised where it arrives, it would be lost in a callback, as of a weak reference: Python ignores what those
    raise. Elsewhere than in the main thread, and where interrupts are ignored or have another handler, there
    is nothing to note.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield _raise_noted  # within another, what that has noted
        return
    signal.signal(signal.SIGINT, _note)
    try:
        yield _raise_noted
        _raise_noted()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _noted.clear()  # it is not the next run's


def _note(number, frame):
    if _noted:
        signal.default_int_handler(number, frame)
    _noted.append(number)


def _raise_noted():
    if _noted:
        raise KeyboardInterrupt


@contextmanager
def _ended_first(cluster, others):
    """Have SIGTERM end the workers before this process: each writes the checkpoint of what it trains."""

    def end(number, _frame):
        signal.signal(number, signal.SIG_IGN)  # who is asked as a group is asked more than once
        workers = _spawned() - others
        _leave_ended(cluster)
        for worker in workers:
            with suppress(psutil.Error):  # it has ended
                worker.terminate()
        psutil.wait_procs(workers, CHECKPOINT_SECONDS)
        signal.signal(number, before)
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with suppress(ValueError):  # no main thread: signals are not this thread's
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before)


def _leave_ended(cluster):
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # it starts no other


def revive(cluster):
    """Start those workers again that were killed, stopped or given up while they started again."""
    latest = time.time() - _START_SECONDS

    async def start():
        for name, nanny in list(cluster.workers.items()):
            if nanny.status.name == "failed":
                with suppress(Exception):  # it is tried again; Dask raises what it likes
                    await nanny.instantiate()
            elif nanny.status.name == "closed":
                del cluster.workers[name]
            elif nanny.pid and nanny.process.status.name == "starting":
                _kill(one for one in _spawned() if one.pid == nanny.pid and one.create_time() < latest)

    cluster.sync(start)
    cluster.scale(len(cluster.worker_spec))


def _end(client, cluster, others):
    """Close both; what fails there is one line, since stored results decide what a run has come to."""
    failed = []
    for part in (client, cluster):
        try:
            part.close(timeout=_END_SECONDS)
        except Exception as error:
            failed.append(type(error).__name__)
    if failed:
        print(f"the workers did not end by themselves ({', '.join(failed)}); they are ended")
    _leave_ended(cluster)  # that could not be closed
    _kill(_spawned() - others)


def _spawned():
    """Workers, of whatever state: the processes that this one has spawned."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child)
    return found


def _kill(processes):
    for process in processes:
        with suppress(psutil.Error):  # it has ended
            process.kill()
