"""Worker processes on this machine, one torch thread each."""

from contextlib import contextmanager

# glibc returns freed memory to the system and faults it in again at every step of a small network, which
# costs a third of the time; Dask's own default (65536) makes that worse. Trials run beside the main thread,
# whose arena alone the thresholds spare: there is but one arena. Elsewhere the variables do nothing.
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_ARENA_MAX": "1",
}

# Dask looks at its processes many times a second, which nobody reads here; where all cores train, a run took
# a tenth longer by it.
_UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
}


@contextmanager
def local_workers(n):
    """Start worker processes and stop them; a worker that dies meanwhile is replaced.

    Parameters
    ----------
    n : int

    Yields
    ------
    distributed.Client
    """
    import dask
    from distributed import Client, LocalCluster

    environment = dask.config.get("distributed.nanny.pre-spawn-environ") | WORKER_ENVIRONMENT
    with (
        dask.config.set(_UNWATCHED | {"distributed.nanny.pre-spawn-environ": environment}),
        LocalCluster(
            n_workers=n, threads_per_worker=1, memory_limit=0,
            silence_logs="CRITICAL",  # what fails reaches the run; one that is stopped may log a traceback
            host="127.0.0.1", dashboard_address="127.0.0.1:0",  # any free port: two runs may meet
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client
