"""Trials on a Dask scheduler's workers, separate processes: the same predictions, and what can go wrong."""

import dataclasses
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from distributed import Client
from tiny import scores_in, tiny_trials, wait_for, write_script

from hsta_lib import ROOT
from hsta_lib.training import cluster, run, store

# Long enough that something is still running when a test looks.
SLOW = {"epochs": 30}
# A path that means another place in every process that has another working folder, like one on another
# machine.
OWN_FOLDER = Path("/proc/self/cwd")
with_own_folders = pytest.mark.skipif(not OWN_FOLDER.exists(), reason="needs the /proc of Linux")


@pytest.fixture(scope="module")
def trials_and_scores(dataset, tmp_path_factory):
    """Trials trained in this process: what every other way must give."""
    folder = tmp_path_factory.mktemp("expected")
    trials = tiny_trials(seeds=(0, 1), **SLOW)
    run.run(trials, [dataset], folder, workers=0)
    return trials, scores_in(trials, folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Scheduler file of a scheduler, its process, and a worker that stays."""
    folder = tmp_path_factory.mktemp("cluster")
    with _scheduler(folder) as file, _worker(file):
        yield file


@contextmanager
def _scheduler(folder):
    file = folder / "scheduler.json"
    options = ["--scheduler-file", file, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with _dask("scheduler", folder, *options):
        wait_for(file.exists)
        yield file


@contextmanager
def _worker(file, *options, **chosen):
    """A worker that knows its scheduler; without its nanny it is one process."""
    with _workers(file, options, [chosen]) as (pid,):
        yield pid


@contextmanager
def _workers(file, options, each):
    """Workers that start together; ``each``: what else is chosen for one, see `_dask`."""
    fixed = ["--scheduler-file", file, "--no-dashboard", *options]
    fixed += [] if "--memory-limit" in options else ["--memory-limit", 0]
    with _client(file) as client:
        n_before = len(_addresses(client))
        with ExitStack() as stack:
            pids = []
            for chosen in each:
                chosen = {"folder": file.parent, "threads": 1} | chosen
                threads = ["--nthreads", chosen.pop("threads")]
                pids.append(
                    stack.enter_context(_dask("worker", chosen.pop("folder"), *fixed, *threads, **chosen))
                )
            wait_for(lambda: len(_addresses(client)) >= n_before + len(each))
            yield pids
        wait_for(lambda: len(_addresses(client)) <= n_before)


@contextmanager
def _dask(command, folder, *options, library=ROOT, before=None):
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", command, *map(str, options)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(library)}, preexec_fn=before,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for one in (process, *started):
            one.kill()
        process.wait(20)


def _client(file):
    return Client(scheduler_file=str(file), set_as_default=False)


def _addresses(client):
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _address(file):
    with _client(file) as client:
        return client.scheduler.address


def _beats(workers):
    return {address: worker["last_seen"] for address, worker in workers.items()}


def _tasks_begun(file):
    """How many trials each worker has begun since it was started, by its address."""
    with _client(file) as client:
        return client.run(
            lambda dask_worker: dask_worker.state.executed_count + len(dask_worker.state.executing)
        )


def test_a_cluster_gives_the_same_predictions_as_this_process(dataset, trials_and_scores, files, tmp_path):
    trials, expected = trials_and_scores
    half = len(trials) // 2
    run.run(trials[:half], [dataset], tmp_path, scheduler=str(files))
    run.run(trials, [dataset], tmp_path, scheduler=_address(files))
    assert scores_in(trials, tmp_path) == expected
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_nothing_is_asked_of_a_scheduler_when_nothing_is_missing(
    dataset, trials_and_scores, files, tmp_path, capsys
):
    trials, _ = trials_and_scores
    run.run(trials[:1], [dataset], tmp_path, scheduler=str(files))
    capsys.readouterr()
    run.run(trials[:1], [dataset], tmp_path, scheduler="tcp://127.0.0.1:1")  # nobody answers there
    assert capsys.readouterr().out == "1 trials, 0 to train\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_worker_loses_its_trial_to_another(
    dataset, trials_and_scores, files, tmp_path, monkeypatch, number
):
    trials, expected = trials_and_scores
    monkeypatch.setattr(cluster, "SILENT_SECONDS", 15)
    submitted, real = [], cluster._Crew.submit

    def with_a_signal(crew, worker, *args):
        future = real(crew, worker, *args)
        submitted.append(worker)
        if worker in new and pid:
            if number == signal.SIGKILL:
                wait_for(lambda: _tasks_begun(files)[worker])
            os.kill(pid.pop(), number)
        return future

    with _client(files) as client:
        old = _addresses(client)
        with _worker(files, "--no-nanny") as only:
            pid, new = [only], _addresses(client) - old
            monkeypatch.setattr(cluster._Crew, "submit", with_a_signal)
            run.run(trials, [dataset], tmp_path, scheduler=str(files))
    assert not pid, "the worker was not used"
    again = len(submitted) - len(trials)
    assert again == 1 or (number == signal.SIGSTOP and again > 1)
    assert scores_in(trials, tmp_path) == expected


def test_a_worker_that_is_stopped_before_it_is_asked_is_asked_again_once_it_beats(
    dataset, trials_and_scores, files, tmp_path, monkeypatch
):
    trials, expected = trials_and_scores
    monkeypatch.setattr(cluster, "SILENT_SECONDS", 4)
    asked, real = [], cluster._Crew._look_over
    with _worker(files, "--no-nanny") as pid:

        def after_which_it_goes_on(crew, new):
            real(crew, new)
            asked.append(set(new) - set(crew.shares))
            os.kill(pid, signal.SIGCONT)
            wait_for(lambda: not crew.unanswered.items() & _beats(crew._workers()).items())

        monkeypatch.setattr(cluster._Crew, "_look_over", after_which_it_goes_on)
        os.kill(pid, signal.SIGSTOP)
        run.run(trials, [dataset], tmp_path, scheduler=str(files))
    assert [len(unanswered) for unanswered in asked] == [1, 0]
    assert scores_in(trials, tmp_path) == expected


def test_a_trial_that_takes_far_too_long_is_named_once(monkeypatch, capsys):
    clock, (quick, slow, small) = [0.0], tiny_trials(n_folds=3)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock[0])
    pace = cluster._Pace({quick: 100, slow: 200, small: 1})
    for trial in (quick, slow, small):
        pace.begin(trial)
    pace.look([quick, slow, small])
    clock[0] = 10
    pace.end(quick)
    for clock[0] in (59, 199, 201, 300):
        pace.look([slow])
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"trial {slow.id} (fold 1, seed 0) has taken 201 s, where 20 s were to be expected; it goes on"
    ]


def test_the_first_trial_is_named_too_if_it_hangs(monkeypatch, capsys):
    clock, (first, *_) = [0.0], tiny_trials()
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock[0])
    for flops, expected, limit in ((1, 0, 600), (1e12, 1000, 10_000)):
        clock[0] = 0.0
        pace = cluster._Pace({first: flops})
        pace.begin(first)
        for clock[0] in (limit, limit + 1, limit + 2):
            pace.look([first])
        (told,) = capsys.readouterr().out.splitlines()
        assert f"taken {limit + 1} s, where {expected} s were" in told


@with_own_folders
def test_results_come_back_from_a_worker_without_the_folder(
    dataset, trials_and_scores, files, tmp_path, monkeypatch
):
    trials, expected = trials_and_scores
    monkeypatch.chdir(tmp_path)
    run.run(trials[:2], [dataset], OWN_FOLDER / "results", scheduler=str(files))
    assert scores_in(trials[:2], tmp_path / "results") == {
        trial.id: expected[trial.id] for trial in trials[:2]
    }
    assert not (files.parent / "results").exists()


def _no_large_files():
    # Python ignores the signal: a write beyond the limit is an error, like one to a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_declared_gpus_alone_train_and_a_full_disk_there_costs_nothing(
    dataset, trials_and_scores, files, tmp_path
):
    trials, expected = trials_and_scores
    with _worker(files, "--no-nanny", "--resources", "GPU=1", before=_no_large_files):
        before = _tasks_begun(files)
        run.run(trials[:2], [dataset], tmp_path, scheduler=str(files))
        after = _tasks_begun(files)
    assert sorted(after[address] - before[address] for address in after) == [0, 2]
    assert scores_in(trials[:2], tmp_path) == {trial.id: expected[trial.id] for trial in trials[:2]}
    assert {path.name for path in tmp_path.iterdir()} == {f"{trial.id}.json" for trial in trials[:2]}


@with_own_folders
def test_workers_that_differ_are_refused_by_name_and_the_others_train(
    dataset, trials_and_scores, files, tmp_path, monkeypatch, capsys
):
    trials, expected = trials_and_scores
    other = tmp_path / "other"
    shutil.copytree(ROOT / "hsta_lib", other / "hsta_lib", ignore=shutil.ignore_patterns("__pycache__"))
    with open(other / "hsta_lib" / "training" / "fit.py", "a") as file:
        file.write("# changed\n")
    theirs, here = tmp_path / "theirs", tmp_path / "here"
    for folder in (theirs, here):
        folder.mkdir()
    (theirs / "frames.npy").write_bytes(b"others")
    shutil.copy(dataset.frames_path, here)
    shutil.copy(dataset.frames_path, files.parent)
    dataset = dataclasses.replace(dataset, frames_path=OWN_FOLDER / "frames.npy")
    monkeypatch.chdir(here)
    each = [{"library": other}, {"folder": theirs}, {"folder": tmp_path}]
    with _workers(files, ["--no-nanny"], each):
        before = _tasks_begun(files)
        run.run(trials[:3], [dataset], tmp_path / "results", scheduler=str(files))
        begun = [n for address, n in _tasks_begun(files).items() if n > before[address]]
    said = capsys.readouterr().out
    assert len(re.findall(r"worker tcp://\S+ is not used: it ", said)) == 3
    for reason in (
        r"has the source of hsta_lib \w+, here it is \w+: install",
        r"has another file /proc/self/cwd/frames.npy",
        r"cannot read /proc/self/cwd/frames.npy \(No such file or directory\)",
    ):
        assert re.search(reason, said), reason
    assert len(begun) == 1
    assert scores_in(trials[:3], tmp_path / "results") == {t.id: expected[t.id] for t in trials[:3]}


def test_without_a_worker_that_can_train_it_is_an_error(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0)
    results = tmp_path / "results"
    with _scheduler(tmp_path) as file:
        with pytest.raises(
            cluster.NoWorkers, match=r"scheduler.json.*None is there, .*start some with `dask worker`"
        ):
            run.run(tiny_trials(), [dataset], results, scheduler=str(file))
        with (
            _worker(file, "--no-nanny", threads=2),
            pytest.raises(cluster.NoWorkers, match=r"tcp://\S+ has 2 threads"),
        ):
            run.run(tiny_trials(), [dataset], results, scheduler=str(file))
    assert list(results.iterdir()) == []


@pytest.mark.parametrize("listens", [False, True])  # nothing there, or something that says nothing
def test_a_scheduler_that_does_not_answer_is_named_soon(dataset, tmp_path, monkeypatch, listens):
    assert cluster.CONNECT_SECONDS < 10
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:
            other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ConnectionError, match=rf"answers at scheduler = '{address}'.*`dask scheduler`"):
            run.run(tiny_trials(), [dataset], tmp_path, scheduler=address)
    assert time.monotonic() - started < 30


REPLIES = {
    "a web server": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "a shell": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a frame that is none": b"".join(n.to_bytes(8, "little") for n in (64, 1, 48)) + bytes(48),
    "a frame without an end": (1 << 33).to_bytes(8, "little") + bytes(99),
    "an end": b"",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_what_is_no_scheduler_is_named_soon(dataset, tmp_path, monkeypatch, reply):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:
        pool.submit(_answer_all, other, reply)
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        started = time.monotonic()
        try:
            with pytest.raises(ConnectionError, match=rf"at scheduler = '{address}'.*`dask scheduler`"):
                run.run(tiny_trials(), [dataset], tmp_path, scheduler=address)
        finally:
            other.shutdown(socket.SHUT_RDWR)
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []


def _answer_all(server, reply):
    held = []
    with suppress(OSError):  # the test has ended
        while True:
            held.append(server.accept()[0])
            held[-1].sendall(reply)
            if not reply:
                held[-1].close()
    for client in held:
        client.close()


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_what_is_neither_address_nor_scheduler_file_is_named(dataset, tmp_path, content):
    file = tmp_path / "here.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConnectionError, match=rf"{file}' is neither an address.*--scheduler-file"):
        run.run(tiny_trials(), [dataset], tmp_path / "results", scheduler=str(file))


def test_a_number_of_workers_beside_a_scheduler_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="workers = 2 has no effect with scheduler = 'tcp://a:1'; leave it"):
        run.run(tiny_trials(), [dataset], tmp_path, workers=2, scheduler="tcp://a:1")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_dies_or_stops_is_named_and_results_are_kept(dataset, tmp_path, monkeypatch, number):
    monkeypatch.setattr(cluster, "SILENT_SECONDS", 15)
    trials, results, finished = tiny_trials(seeds=(0, 1), **SLOW), tmp_path / "results", []
    real = cluster._stored

    def with_a_kill(trial, *args):
        finished.append(real(trial, *args))
        psutil.Process(pid).send_signal(number)
        return finished[-1]

    monkeypatch.setattr(cluster, "_stored", with_a_kill)
    file = tmp_path / "scheduler.json"
    options = ["--scheduler-file", file, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with _dask("scheduler", tmp_path, *options) as pid:
        wait_for(file.exists)
        worker = ["--scheduler-file", file, "--nthreads", 1, "--no-dashboard", "--no-nanny"]
        with (
            _dask("worker", tmp_path, *worker),
            pytest.raises(ConnectionError, match=r"no longer answers.*the same call continues"),
        ):
            run.run(trials, [dataset], results, scheduler=str(file))
    assert len(list(results.glob("*.json"))) >= len(finished) == 1


def test_an_interrupted_run_keeps_its_results_and_frees_the_workers(
    dataset, trials_and_scores, files, tmp_path
):
    trials, expected = trials_and_scores
    folder = tmp_path / "results"
    script = write_script(tmp_path, f"tiny_trials(seeds=(0, 1), **{SLOW})", f"scheduler={str(files)!r}")
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_for(lambda: list(folder.glob("[!.]*.json")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert re.search(r"stopped: \d+ of \d+ trials are stored; the same command continues", errors)
    assert not psutil.wait_procs(children, timeout=10)[1]  # no orphan
    with _client(files) as client:
        wait_for(lambda: not any(client.processing().values()))
        workers = _addresses(client)
    done = {path.stem for path in folder.glob("[!.]*.json")}
    assert 0 < len(done) < len(trials)
    run.run(trials, [dataset], folder, scheduler=str(files))
    assert scores_in(trials, folder) == expected
    with _client(files) as client:
        assert _addresses(client) == workers


def test_two_runs_at_once_give_the_same(dataset, trials_and_scores, files, tmp_path):
    trials, expected = trials_and_scores
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run.run, trials, [dataset], tmp_path, scheduler=str(files)) for _ in range(2)]
        for finished in both:
            finished.result()
    assert scores_in(trials, tmp_path) == expected
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_a_failed_trial_is_named(dataset, files, tmp_path):
    bad = tiny_trials(learning_rate=1e30, epochs=5)[0]
    with pytest.raises(run.FailedTrials, match=rf"1 of 1 .*{bad.id}.*learning_rate"):
        run.run([bad], [dataset], tmp_path, scheduler=str(files))


def test_a_worker_whose_memory_limit_leaves_nothing_for_training_is_refused():
    answer = {"versions": cluster.VERSIONS, "digests": {}, "memory": 900_000_000}
    worker = {"nthreads": 1, "memory_limit": 1_000_000_000}
    said = cluster.refusal(answer, worker, {})
    assert "0.90 GB before any training" in said
    assert "memory limit is 1.00 GB" in said
    assert "--memory-limit" in said
    for limit in (0, 2_000_000_000):
        assert cluster.refusal(answer, worker | {"memory_limit": limit}, {}) == ""


@pytest.mark.slow
def test_a_trial_that_needs_more_than_the_memory_limit_is_named(dataset, tmp_path):
    small, large = tiny_trials()[0], tiny_trials(d=4001, m=3)[0]
    limit = "1200MB"
    with (
        _scheduler(tmp_path) as file,
        _worker(file, "--memory-limit", limit),
        pytest.raises(
            run.FailedTrials,
            match=rf"1 of 2 .*{large.id}.*3 workers were killed.*limit is 1.20 GB.*--memory-limit",
        ),
    ):
        run.run([small, large], [dataset], tmp_path / "results", scheduler=str(file))
    assert store.missing([small, large], tmp_path / "results") == [large]
