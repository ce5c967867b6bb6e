"""Many hands: processes that write the same thing at once, also on disks without locks and hard links."""

import errno
import fcntl
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, wait

import numpy as np
import pytest
from disk import failing
from tiny import result_of, save, tiny_dataset, tiny_trials

from hsta_lib.data.cache import cached_rows
from hsta_lib.training import archive, run, store

# Sixteen in `make slow`.
HANDS = [pytest.param(4, id="4"), pytest.param(16, id="16", marks=pytest.mark.slow)]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["hsta_lib.training.run", "hsta_lib.training.archive"])
AGAIN = 20
_barrier = None


def _begin(barrier, has_locks):
    global _barrier
    _barrier = barrier
    if not has_locks:
        fcntl.flock = fcntl.lockf = os.link = failing(errno.ENOLCK)


def _at_once(job, *arguments):
    _barrier.wait(60)
    return job(*arguments)


def all_of(n, has_locks, job, *arguments):
    """What a job returns in each of n processes that begin it at the same moment; none may wait for ever."""
    with ProcessPoolExecutor(n, SERVER, _begin, (SERVER.Barrier(n), has_locks)) as pool:
        found = [pool.submit(_at_once, job, number, *arguments) for number in range(n)]
        late = wait(found, 240).not_done
        for process in pool._processes.values() if late else ():
            process.kill()
        return [each.result() for each in found]


def _write_trial(number, folder):
    read = []
    for _ in range(AGAIN):
        store.write({"id": "t", "by": [number] * 10_000}, folder)
        read.append(set(json.loads((folder / "t.json").read_text())["by"]))
    return all(len(by) == 1 for by in read)


def _make_cache(number, folder):
    def compute(n):
        with open(folder.with_name("log"), "a") as log:
            log.write(f"{n}\n")
        time.sleep(0.01)  # so that the others come meanwhile
        return np.full((31,), n, np.uint16)

    items = [(f"clip {n}", n) for n in range(AGAIN)]
    path, digest, _ = cached_rows(folder, items, compute, shape=(31,), dtype=np.uint16, desc="")
    return digest, np.load(path)[:, 0].tolist()


def _pack_and_unpack(number, trials, stored, folder):
    path = folder / f"a{archive.ENDING}"
    found = set()
    for _ in range(3):
        archive.pack(trials, stored, path)
        found.add(path.read_bytes())
        archive.unpack(path, folder / "results")
    return len(found), store.missing(trials, folder / "results")


def _run(number, trials, dataset, folder):
    run.run(trials, [dataset], folder, workers=0)
    return [store.load(trial, folder)["predictions"] for trial in trials]


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("n", HANDS)
def test_one_trial(tmp_path, n, has_locks):
    assert all_of(n, has_locks, _write_trial, tmp_path) == [True] * n
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("n", HANDS)
def test_one_cache_is_made_once(tmp_path, n, has_locks):
    found = all_of(n, has_locks, _make_cache, tmp_path / "cache")
    assert found == [(found[0][0], list(range(AGAIN)))] * n
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(AGAIN))
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"rows.npy", "built.json", ".lock"}


@pytest.mark.parametrize("n", HANDS)
def test_one_archive(tmp_path, n):
    trials = tiny_trials()
    for trial in trials:
        save(trial, result_of(999), tmp_path / "stored")
    found = all_of(n, False, _pack_and_unpack, trials, tmp_path / "stored", tmp_path / "new")
    assert found == [(1, [])] * n
    assert len(list((tmp_path / "new").iterdir())) == 2
    assert len(list((tmp_path / "new" / "results").iterdir())) == len(trials)


@pytest.mark.parametrize("n", [pytest.param(2, id="2"), pytest.param(5, id="5", marks=pytest.mark.slow)])
def test_runs_with_one_store(tmp_path, n):
    # The result of one trial is damaged: each run finds that.
    trials, dataset, folder = tiny_trials(), tiny_dataset(tmp_path), tmp_path / "results"
    folder.mkdir()
    (folder / f"{trials[0].id}.json").write_text("{")
    first, *others = all_of(n, False, _run, trials, dataset, folder)
    assert others == [first] * (n - 1)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".damaged"}
