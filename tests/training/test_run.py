"""The runner: same table whatever the workers, and after a kill at any moment."""

import asyncio
import contextlib
import dataclasses
import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import distributed
import psutil
import pytest
from disk import failing
from tiny import scores_in, tiny_dataset, tiny_settings, tiny_trials, wait_for, write_script

from hsta_lib import files
from hsta_lib.training import cluster, run, store
from hsta_lib.training import workers as local
from hsta_lib.training.trials import Trial

# Long enough that something is still running when the test looks.
SLOW = {"epochs": 60}


@pytest.fixture(scope="module")
def trials_and_scores(dataset, tmp_path_factory):
    """Trials trained in this process, in one go: what every other way must give."""
    folder = tmp_path_factory.mktemp("expected")
    trials = tiny_trials(seeds=(0, 1), **SLOW)
    run.run(trials, [dataset], folder, workers=0)
    return trials, scores_in(trials, folder)


def test_the_time_left_does_not_count_how_long_workers_took_to_start(dataset, tmp_path, monkeypatch, capsys):
    @contextlib.contextmanager
    def started_late(todo, *_):
        time.sleep(1.1)
        yield ((trial, None) for trial in todo)

    monkeypatch.setattr(run, "_started", started_late)
    with pytest.raises(run.FailedTrials, match="it left no result"):
        run.run(tiny_trials()[:1], [dataset], tmp_path)
    assert "100 % [00:00 gone" in capsys.readouterr().out


def test_workers_give_what_this_process_gives_from_each_dataset_and_name_what_failed(
    dataset, trials_and_scores, tmp_path
):
    trials, expected = trials_and_scores
    (tmp_path / "data").mkdir()
    other = dataclasses.replace(tiny_dataset(tmp_path / "data", n_clips=29), fingerprint="other")
    there = [dataclasses.replace(trial, fingerprint="other") for trial in tiny_trials()]
    bad = Trial(tiny_settings(learning_rate=1e30, epochs=5), 1, 4, "tiny")
    folders = [tmp_path / name for name in ("both", "there")]
    with pytest.raises(run.FailedTrials, match=rf"1 of 10 .*{bad.id} \(fold 1, seed 4\).*learning_rate"):
        run.run([*trials, *there, bad], [dataset, other], folders[0], workers=2)
    run.run(there, [other], folders[1], workers=0)
    assert store.missing([*trials, *there, bad], folders[0]) == [bad]
    assert scores_in([*trials, *there], folders[0]) == expected | scores_in(there, folders[1])


def test_a_second_run_trains_nothing(dataset, tmp_path, capsys, monkeypatch):
    trials = tiny_trials()
    run.run(trials, [dataset], tmp_path, workers=0)
    monkeypatch.setattr(cluster, "fit", lambda *_: pytest.fail("trained again"))
    run.run(trials, [dataset], tmp_path)
    assert "3 trials, 0 to train" in capsys.readouterr().out


@pytest.mark.parametrize("is_first", [True, False])
def test_of_a_trial_asked_for_twice_what_either_asks_for_is_stored(dataset, tmp_path, capsys, is_first):
    plain, epochs = tiny_trials(n_folds=1), tiny_trials(n_folds=1, store_epochs=True)
    run.run([*epochs, *plain] if is_first else [*plain, *epochs], [dataset], tmp_path, workers=0)
    assert "1 trials, 1 to train" in capsys.readouterr().out
    assert "epoch_predictions" in store.load(plain[0], tmp_path)


@pytest.fixture
def signalled(monkeypatch):
    """Function that sends one worker a signal when the first trial is finished; returns whom it was sent."""

    def once(number):
        sent, real = [], cluster.train_with

        def with_a_signal(*args):
            for finished in real(*args):
                if not sent and (alive := _loaded()):
                    sent.append(alive[0])
                    os.kill(sent[0], number)
                yield finished

        monkeypatch.setattr(cluster, "train_with", with_a_signal)
        return sent

    return once


@pytest.mark.parametrize("workers", [1, 2])  # the only one, or one of two
def test_a_killed_worker_costs_at_most_its_trial(dataset, trials_and_scores, tmp_path, signalled, workers):
    trials, expected = trials_and_scores
    killed = signalled(signal.SIGKILL)
    run.run(trials, [dataset], tmp_path, workers=workers)
    assert killed
    assert scores_in(trials, tmp_path) == expected


def _loaded():
    """Process ids of training workers: children of this process that have loaded torch."""
    children = psutil.Process().children(recursive=True)
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    return [child.pid for child in alive if any("libtorch" in m.path for m in child.memory_maps())]


def test_a_worker_that_is_stopped_but_not_dead_is_replaced(
    dataset, trials_and_scores, tmp_path, monkeypatch, signalled
):
    trials, expected = trials_and_scores
    monkeypatch.setattr(local, "SILENT_SECONDS", 12)
    stopped = signalled(signal.SIGSTOP)
    run.run(trials, [dataset], tmp_path, workers=1)
    assert scores_in(trials, tmp_path) == expected
    assert not psutil.pid_exists(stopped[0])


def test_workers_that_die_while_they_start_are_started_again_and_an_end_that_fails_leaves_none(
    dataset, tmp_path, monkeypatch, capsys
):
    real, calls, before = distributed.LocalCluster, [], set(_loaded())
    monkeypatch.setattr(real, "close", lambda _, timeout: (_ for _ in ()).throw(TimeoutError))

    def dying(**options):
        calls.append(options)
        if len(calls) < 3:
            raise RuntimeError("Nanny failed to start.") from RuntimeError(
                "Nanny failed to start worker process"
            )
        return real(**options)

    monkeypatch.setattr(distributed, "LocalCluster", dying)
    run.run(tiny_trials(n_folds=2), [dataset], tmp_path, workers=1)
    assert len(store.missing(tiny_trials(n_folds=2), tmp_path)) == 0
    told = capsys.readouterr().out
    assert "did not start (Nanny failed to start worker process); start 2 of 3" in told
    assert "the workers did not end by themselves (TimeoutError); they are ended" in told
    wait_for(lambda: set(_loaded()) <= before, 10)
    calls.clear()
    monkeypatch.setattr(distributed, "LocalCluster", lambda **_: calls.append(1) or 1 / 0)
    with pytest.raises(RuntimeError, match=r"no local workers can be started: division by zero.*workers = 0"):
        run.run(tiny_trials(seeds=(9,)), [dataset], tmp_path, workers=1)
    assert len(calls) == 3


def test_a_worker_that_is_stopped_while_it_starts_is_replaced(dataset, tmp_path, monkeypatch, capsys):
    stopped, before, real = [], local._spawned(), threading.Timer

    def limit(seconds, end):
        assert seconds == 120

        def late():
            wait_for(lambda: local._spawned() - before, 60)
            stopped.extend(local._spawned() - before)
            stopped[0].suspend()
            end()

        first = SimpleNamespace(start=threading.Thread(target=late).start, cancel=lambda: None)
        return real(seconds, end) if stopped else first

    monkeypatch.setattr(threading, "Timer", limit)
    run.run(tiny_trials(n_folds=2), [dataset], tmp_path, workers=1)
    assert not store.missing(tiny_trials(n_folds=2), tmp_path)
    assert "did not start (Nanny failed to start worker process); start 1 of 3" in capsys.readouterr().out
    assert not stopped[0].is_running()


def test_a_worker_that_was_killed_or_stopped_while_it_started_again_is_revived(monkeypatch):
    started, process = [], multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()

    def nanny(status):
        async def instantiate():
            started.append(status)

        own = SimpleNamespace(name=status)
        pid = process.pid if status == "starting" else None
        return SimpleNamespace(
            status=own, instantiate=instantiate, pid=pid, process=SimpleNamespace(status=own)
        )

    nannies = {
        number: nanny(status) for number, status in enumerate(["running", "failed", "starting", "closed"])
    }
    fake = SimpleNamespace(
        workers=nannies, worker_spec={n: {} for n in range(4)}, scale=started.append,
        sync=lambda function: asyncio.run(function()),
    )  # fmt: skip
    local.revive(fake)
    assert started == ["failed", 4]
    assert list(nannies) == [0, 1, 2]
    assert process.is_alive()
    monkeypatch.setattr(local, "_START_SECONDS", 0)
    local.revive(fake)
    process.join(10)
    assert process.exitcode == -signal.SIGKILL


def test_a_worker_that_dask_gives_up_while_it_starts_again_is_replaced(
    dataset, tmp_path, monkeypatch, signalled
):
    # As on a machine so busy that a start takes longer than Dask waits.
    monkeypatch.setitem(local._SETTINGS, "distributed.deploy.lost-worker-timeout", "10ms")
    trials, killed = tiny_trials(n_folds=2), signalled(signal.SIGKILL)
    run.run(trials, [dataset], tmp_path, workers=1)
    assert killed
    assert not store.missing(trials, tmp_path)


def test_a_run_without_any_worker_ends_with_a_message(monkeypatch, tmp_path):
    clock, there = [0.0], {}
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(cluster, "revive", lambda _: None)
    client = SimpleNamespace(
        cluster=None, scheduler=SimpleNamespace(identity=None), sync=lambda *_, **__: {"workers": there}
    )
    crew = cluster._LocalCrew(client, "", (), tmp_path)
    clock[0] = 590
    crew.look()
    there["one"] = {"resources": {}, "status": "running", "last_seen": 1}
    clock[0] = 592
    crew.look()
    assert crew.ready == {"one"}
    there["one"] |= {"status": "paused", "last_seen": 2}
    clock[0] = 1180
    crew.look(is_training=True)  # it ends the trial that it is at
    there["one"]["last_seen"] = 3
    crew.look()
    clock[0] = 1790
    with pytest.raises(RuntimeError, match=r"no local worker has come back for 10 minutes.*workers = 0"):
        crew.look()


def test_workers_of_a_busy_machine_are_waited_for_longer_than_a_scheduler_elsewhere(monkeypatch, tmp_path):
    def sync(*_, callback_timeout, **__):
        if callback_timeout < 300:
            raise TimeoutError(f"timed out after {callback_timeout} s.")
        return {"workers": {"one": {"resources": {}, "status": "running", "last_seen": 1}}}

    monkeypatch.setattr(cluster, "revive", lambda _: None)
    client = SimpleNamespace(cluster=None, scheduler=SimpleNamespace(identity=None), sync=sync)
    crew = cluster._LocalCrew(client, "", (), tmp_path)
    crew.look()
    assert crew.ready == {"one"}
    with pytest.raises(ConnectionError, match=r"scheduler = 'tcp://far:1' no longer answers \(TimeoutError"):
        cluster._Crew(client, "tcp://far:1", (), tmp_path).look()
    assert re.match("the workers of this machine no longer answer", str(cluster.gone("", "it is gone")))


def test_a_killed_runner_continues_and_ends_with_the_same_table(dataset, trials_and_scores, tmp_path):
    trials, expected = trials_and_scores
    folder = tmp_path / "results"
    script = write_script(tmp_path, f"tiny_trials(seeds=(0, 1), **{SLOW})", "workers=1")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(folder.glob("[!.]*.json")))
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "workers outlive their runner"
    done = {path.stem for path in folder.glob("[!.]*.json")}
    assert 0 < len(done) < len(trials)
    stamps = {name: (folder / f"{name}.json").stat().st_mtime_ns for name in done}
    run.run(trials, [dataset], folder, workers=0)
    assert {name: (folder / f"{name}.json").stat().st_mtime_ns for name in done} == stamps
    assert scores_in(trials, folder) == expected


def test_a_failed_trial_is_named_and_the_others_are_kept(dataset, tmp_path):
    good = tiny_trials()
    bad = Trial(tiny_settings(learning_rate=1e30, epochs=5), 1, 4, "tiny")
    with pytest.raises(run.FailedTrials, match=rf"1 of 4 .*{bad.id} \(fold 1, seed 4\).*learning_rate"):
        run.run([*good, bad], [dataset], tmp_path, workers=0)
    assert store.missing([*good, bad], tmp_path) == [bad]


def test_longest_trials_go_first_and_the_bar_counts_them(dataset, tmp_path, capsys):
    short, long = tiny_trials()[:2], tiny_trials(m=3)[:1]
    seen = []
    original = run.run_trial
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_trial", lambda trial, *rest: (seen.append(trial), original(trial, *rest)))
        run.run([*short, *long], [dataset], tmp_path, workers=0)
    assert seen[0] == long[0]
    assert "3/3 trials" in capsys.readouterr().out


def test_half_written_results_of_a_kill_are_not_read(dataset, tmp_path):
    trial = tiny_trials()[0]
    (tmp_path / f".{trial.id}.0.partial").write_text(json.dumps({"id": trial.id})[:10])
    assert store.missing([trial], tmp_path) == [trial]


def test_a_run_that_stored_nothing_does_not_end_well(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "run_trial", lambda *_: None)
    with pytest.raises(run.FailedTrials, match="left no result"):
        run.run(tiny_trials(), [dataset], tmp_path, workers=0)


def test_a_run_stops_at_the_first_result_that_cannot_be_written(dataset, tmp_path, monkeypatch):
    trained = []

    def full(trial, *_):
        trained.append(trial)
        raise store.NotWritten(errno.ENOSPC, "no result can be written")

    monkeypatch.setattr(run, "run_trial", full)
    with pytest.raises(store.NotWritten, match="no result can be written"):
        run.run(tiny_trials(), [dataset], tmp_path, workers=0)
    assert len(trained) == 1


def test_a_folder_that_cannot_be_written_is_named_before_any_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "fit", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(os, "fsync", failing(errno.EROFS))
    with pytest.raises(store.NotWritten, match=rf"{tmp_path} \(Read-only file system\).*HSTA_RESULTS"):
        run.run(tiny_trials(), [dataset], tmp_path, workers=0)


def mount(*options):
    command = ["mount", *map(str, options)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, with room for a few results."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_fills_up_keeps_what_it_has_room_for(dataset, small_disk, workers):
    trials = tiny_trials(seeds=(0, 1, 2))
    with pytest.raises(store.NotWritten, match=rf"{small_disk} \(No space left.*HSTA_RESULTS"):
        run.run(trials, [dataset], small_disk, workers=workers)
    stored = scores_in(set(trials) - set(store.missing(trials, small_disk)), small_disk)
    assert 0 < len(stored) < len(trials)
    mount("-o", "remount,size=1m", small_disk)
    run.run(trials, [dataset], small_disk, workers=0)
    assert stored.items() < scores_in(trials, small_disk).items()


def test_a_read_only_file_system_is_named_before_any_training(dataset, small_disk, monkeypatch):
    monkeypatch.setattr(cluster, "fit", lambda *_: pytest.fail("trained"))
    mount("-o", "remount,ro", small_disk)
    with pytest.raises(store.NotWritten, match=rf"{small_disk} \(Read-only file system\).*HSTA_RESULTS"):
        run.run(tiny_trials(), [dataset], small_disk, workers=0)


def test_a_trial_of_none_of_the_datasets_is_named_before_any_training(dataset, tmp_path):
    good, stray = tiny_trials()[0], dataclasses.replace(tiny_trials()[0], fingerprint="other")
    with pytest.raises(ValueError, match=rf"trial {stray.id} is of data other, the datasets are tiny"):
        run.run([good, stray], [dataset], tmp_path, workers=0)
    assert store.missing([good], tmp_path) == [good]


def test_an_interrupt_that_goes_to_all_processes_spares_the_workers():  # JupyterLab sends it so
    with local.local_workers(1) as client:
        pids = list(client.run(os.getpid).values())
        os.kill(pids[0], signal.SIGINT)
        time.sleep(0.5)
        assert list(client.run(os.getpid).values()) == pids


@pytest.fixture
def interrupts():
    """As in a terminal; background jobs of a shell inherit them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupted_in_a_callback():
    """Python ignores what is raised in a callback of a weak reference."""
    held = threading.Event()
    weakref.finalize(held, signal.raise_signal, signal.SIGINT)
    del held


def test_an_interrupt_in_a_callback_is_not_lost(dataset, tmp_path, monkeypatch, interrupts):
    monkeypatch.setattr(
        run, "trial_bar", lambda *_: contextlib.nullcontext((int, lambda *_: _interrupted_in_a_callback()))
    )
    trials = tiny_trials()
    with pytest.raises(run.Stopped, match=f"stopped: [12] of {len(trials)} trials are stored"):
        run.run(trials, [dataset], tmp_path, workers=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_raised_at_once(interrupts):
    with contextlib.suppress(KeyboardInterrupt), local.noted_interrupts():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_bar_moves_while_nothing_ends_and_counts_from_the_first_training(monkeypatch, capsys):
    monkeypatch.setattr(files, "_REDRAWN_SECONDS", 0.02)
    with files.trial_bar(4, 40) as (begin, advance):
        begin()
        time.sleep(0.5)
        advance(10, lambda: 0.1)  # the rest of half a second was loading
    drawn = capsys.readouterr().out
    assert "0/4 trials, starting" in drawn
    assert drawn.count("0/4 trials, training") > 3
    assert 200 < int(re.findall(r"1/4 trials, (\d+) a minute", drawn)[-1]) <= 600
