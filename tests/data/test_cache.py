"""A cache of rows: what was computed stays computed, through kills, second writers, damage and full disks."""

import errno
import fcntl
import json
import mmap  # noqa: F401  numpy imports it late, when a process without rights may not read it
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from disk import failing

from hsta_lib import files
from hsta_lib.data import cache
from hsta_lib.data.cache import Unreadable, cache_key, cached_rows
from hsta_lib.files import file_digest

SHAPE, DTYPE = (3, 5), np.uint16
SPAWN = multiprocessing.get_context("spawn")
ITEMS = [(f"clip {n}", n) for n in range(11)]
PARTS = {"rows.npy", "built.json", ".lock"}


def row(n):
    """Row of an item: all its values tell its number."""
    return np.full(SHAPE, 100 + n, DTYPE)


def except_for(*bad):
    """Function that computes all rows but some."""

    def compute(n):
        if n in bad:
            raise Unreadable(Path(f"{n}.jpg"), "no image")
        return row(n)

    return compute


def rows_of(folder, items=ITEMS, compute=row):
    """Path, digest and problems, and the number each row tells."""
    path, digest, problems = cached_rows(folder, items, compute, shape=SHAPE, dtype=DTYPE, desc="testing")
    assert digest == file_digest(path)
    array = np.load(path, mmap_mode="r")
    assert (array == array[:, :1, :1]).all()
    return path, digest, problems, (array[:, 0, 0] - 100).tolist()


def files_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "0123456789abcdef"


# --- what is stored ---------------------------------------------------------------------------------------


def test_there_is_one_row_per_item_in_order(folder):
    path, _, problems, found = rows_of(folder, ITEMS[::-1])
    assert (found, problems) == (list(range(10, -1, -1)), [])
    assert files_in(folder) == PARTS
    array = np.load(path, mmap_mode="r")
    assert (array.shape, array.dtype) == ((11, *SHAPE), DTYPE)


@pytest.mark.parametrize("bad", [(0,), (10,), (0, 1, 5, 10), range(11)])
def test_items_without_a_row_leave_no_gap(folder, bad):
    path, digest, problems, found = rows_of(folder, compute=except_for(*bad))
    assert found == [n for n in range(11) if n not in bad]
    assert problems == [(f"{n}.jpg", f"clip {n}", "no image", "clip left out") for n in bad]
    assert rows_of(folder, compute=pytest.fail) == (path, digest, problems, found)


@pytest.mark.parametrize("bad", [(), (3,), range(11)])
def test_the_file_is_what_numpy_saves(folder, tmp_path, bad):
    path, *_ = rows_of(folder, compute=except_for(*bad))
    kept = [row(n) for n in range(11) if n not in bad]
    np.save(tmp_path / "saved.npy", np.array(kept, DTYPE).reshape(-1, *SHAPE))
    assert path.read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_there_may_be_no_items(folder):
    assert rows_of(folder, [])[2:] == ([], [])


def test_a_row_may_be_one_number(folder):
    path, *_ = cached_rows(folder, ITEMS, np.int64, shape=(), dtype=np.int64, desc="testing")
    assert np.load(path).tolist() == list(range(11))


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 3), DTYPE), np.zeros((1, 5), DTYPE), np.zeros(SHAPE, np.uint8), DTYPE(1)]
)
def test_a_row_of_another_shape_or_dtype_is_refused(folder, wrong):
    with pytest.raises(ValueError, match=r"a row of shape .* for a cache of \(3, 5\) and uint16"):
        rows_of(folder, compute=lambda n: wrong)


# --- names ------------------------------------------------------------------------------------------------


def test_the_key_follows_the_description_and_the_files(tmp_path):
    file = tmp_path / "1.jpg"
    file.write_bytes(b"abc")
    os.utime(file, ns=(0, 5))
    key = cache_key({"size": 7}, [file])
    assert len(key) == 16
    assert cache_key({"size": 7}, [file, file]) == key
    others = {cache_key({"size": 8}, [file]), cache_key({"size": 7}, []), cache_key({"size": 7}, [tmp_path])}
    os.utime(file, ns=(0, 6))
    others.add(cache_key({"size": 7}, [file]))
    file.write_bytes(b"abcd")
    os.utime(file, ns=(0, 5))
    others.add(cache_key({"size": 7}, [file]))
    file.unlink()
    others.add(cache_key({"size": 7}, [file]))
    assert len(others | {key}) == 7


def test_a_file_that_may_be_read_from_now_on_makes_another_key(tmp_path, monkeypatch):
    (tmp_path / "1.jpg").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = cache_key(None, [tmp_path / "1.jpg"])
    monkeypatch.undo()
    assert cache_key(None, [tmp_path / "1.jpg"]) != before


# --- work in flight ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_cores", [1, 3])
def test_at_most_one_row_per_core_is_in_memory(folder, monkeypatch, n_cores):
    monkeypatch.setattr(cache, "n_cores", lambda: n_cores)
    lock, running, most = threading.Lock(), [], []

    def counted(n):
        with lock:
            running.append(n)
            most.append(len(running))
        time.sleep(0.01)
        with lock:
            running.remove(n)
        return row(n)

    assert rows_of(folder, compute=counted)[3] == list(range(11))
    assert max(most) == n_cores


def test_rows_are_kept_nowhere_but_in_the_file(folder, monkeypatch):
    monkeypatch.setattr(cache, "n_cores", lambda: 2)
    alive, most = set(), []

    class Row(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    def tracked(n):
        value = row(n).view(Row)
        alive.add(id(value))
        most.append(len(alive))
        return value

    assert rows_of(folder, [(str(n), n) for n in range(101)], tracked)[3] == list(range(101))
    assert max(most) <= 3  # two, and one that a thread is about to drop


# --- stopped builds ---------------------------------------------------------------------------------------


def stop_at(folder, n, compute=row):
    """Compute the rows before n, which are kept, and perhaps a few behind it."""

    def stopping(other):
        if other == n:
            raise KeyboardInterrupt
        return compute(other)

    with pytest.raises(KeyboardInterrupt):
        rows_of(folder, compute=stopping)


def recorded(computed, compute=row):
    """Function that also notes in a list what it computes."""
    return lambda n: computed.append(n) or compute(n)


def test_an_error_keeps_the_rows_done(folder, monkeypatch):
    monkeypatch.setattr(cache, "n_cores", lambda: 1)
    stop_at(folder, 7)
    assert files_in(folder) == {"rows", ".lock"}
    computed = []
    path, _, problems, found = rows_of(folder, compute=recorded(computed))
    assert (found, problems) == (list(range(11)), [])
    assert 7 in computed
    assert set(computed) <= {7, 8, 9, 10}  # the thread may have been further on
    assert files_in(folder) == PARTS
    assert path.read_bytes() == rows_of(folder.with_name("at once"))[0].read_bytes()


def test_problems_found_before_a_stop_are_remembered(folder, monkeypatch):
    monkeypatch.setattr(cache, "n_cores", lambda: 1)
    stop_at(folder, 7, except_for(2))
    computed = []
    *_, problems, found = rows_of(folder, compute=recorded(computed, except_for(2, 7)))
    assert set(computed) <= {7, 8, 9, 10}
    assert [problem[1] for problem in problems] == ["clip 2", "clip 7"]
    assert found == [0, 1, 3, 4, 5, 6, 8, 9, 10]


def test_after_an_error_the_rest_is_not_computed(folder, monkeypatch):
    monkeypatch.setattr(cache, "n_cores", lambda: 3)
    computed = []
    with pytest.raises(OSError, match="unexpected"):
        rows_of(folder, [(str(n), n) for n in range(1009)], recorded(computed, _fail))
    assert len(computed) <= 13


def _fail(_):
    raise OSError("unexpected")


def _spoil(name, change):
    def spoil(folder):
        change(folder / name)

    return spoil


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SPOILED = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, 29),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped byte": _flip_a_byte,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_rows_that_are_not_as_written_are_computed_again(folder, monkeypatch, spoil):
    monkeypatch.setattr(cache, "n_cores", lambda: 1)
    stop_at(folder, 7, except_for(2))
    spoil(folder / "rows" / "3")
    spoil(folder / "rows" / "2.json")
    computed = []
    *_, problems, found = rows_of(folder, compute=recorded(computed, except_for(2)))
    assert (found, len(problems)) == ([n for n in range(11) if n != 2], 1)
    assert computed[:3] == [2, 3, 7]
    assert files_in(folder) == PARTS


@pytest.mark.parametrize(("name", "lost"), [("digest", range(1, 11)), ("header", [])])
def test_a_stop_while_rows_are_put_together_loses_at_most_those_that_have_moved(
    folder, monkeypatch, name, lost
):
    computed = []
    with monkeypatch.context() as patch:
        if name == "header":
            patch.setattr(np.lib.format, "write_array_header_1_0", failing(errno.EIO))  # none has moved
        else:
            patch.setattr(cache, "file_digest", failing(errno.EIO))  # all have
        with pytest.raises(OSError, match="Input/output"):
            rows_of(folder, compute=except_for(0))
    assert rows_of(folder, compute=recorded(computed, except_for(0)))[3] == list(range(1, 11))
    assert sorted(computed) == list(lost)
    assert files_in(folder) == PARTS


def _logged(n, log, stop_at=None):
    """In another process: note in a file that the row is computed, and hang at one."""
    with open(log, "a") as file:
        file.write(f"{n}\n")
    if n == stop_at:
        time.sleep(60)
    return row(n)


def _build_and_hang(folder, log):
    cache.n_cores = lambda: 1
    cached_rows(folder, ITEMS, lambda n: _logged(n, log, stop_at=6), shape=SHAPE, dtype=DTYPE, desc="testing")


def test_a_killed_build_is_resumed(folder, tmp_path):
    log = tmp_path / "log"
    process = SPAWN.Process(target=_build_and_hang, args=(folder, log))
    process.start()
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("6\n")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert files_in(folder) == {"rows", ".lock"}
    assert log.read_text().split() == list("0123456")
    log.unlink()
    path, *_, found = rows_of(folder, compute=lambda n: _logged(n, log))
    assert found == list(range(11))
    assert sorted(map(int, log.read_text().split())) == [6, 7, 8, 9, 10]
    assert path.read_bytes() == rows_of(folder.with_name("at once"))[0].read_bytes()
    assert files_in(folder) == PARTS


# --- two at once ------------------------------------------------------------------------------------------


def test_who_waits_is_told(folder, capsys):
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        release = threading.Timer(0.2, fcntl.flock, (other, fcntl.LOCK_UN))
        release.start()
        assert rows_of(folder)[3] == list(range(11))
        release.join()
    assert f"waiting for another process that writes {folder}" in capsys.readouterr().out


def test_who_has_stopped_is_not_waited_for(folder, monkeypatch):
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(files, "STILL_SECONDS", 0.5)
    (folder / "rows").mkdir(parents=True)
    with open(folder / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writes = [threading.Timer(seconds, (folder / "rows" / f"{seconds}").touch) for seconds in (0.3, 0.6)]
        for write in writes:
            write.start()
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=rf"`fuser {folder / '.lock'}` names it"):
            rows_of(folder)
        assert time.monotonic() - started > 0.6
        shutil.rmtree(folder / "rows")
    assert rows_of(folder)[3] == list(range(11))


# --- damage -----------------------------------------------------------------------------------------------


DAMAGES = {
    "flipped byte": _spoil("rows.npy", _flip_a_byte),
    "truncated": _spoil("rows.npy", lambda path: os.truncate(path, 200)),
    "empty": _spoil("rows.npy", lambda path: os.truncate(path, 0)),
    "no record": _spoil("built.json", lambda path: path.unlink()),
    "empty record": _spoil("built.json", lambda path: path.write_text("")),
    "foreign record": _spoil("built.json", lambda path: path.write_text("[]")),
    "record without digest": _spoil("built.json", lambda path: path.write_text("{}")),
    "problems edited": _spoil(
        "built.json", lambda path: path.write_text(path.read_text().replace('"clip 3"', '"clip 3", 5'))
    ),
    "problem's words": _spoil(
        "built.json", lambda path: path.write_text(path.read_text().replace("clip left out", "clip kept"))
    ),
    "problems cut": _spoil("built.json", lambda path: _edit(path, problems=5)),
    "problems of another version": _spoil("built.json", lambda path: _edit(path, problems=[5])),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_named_and_built_again(folder, damage, capsys):
    first = rows_of(folder, compute=except_for(3))
    whole = first[0].read_bytes()
    assert "damaged" not in capsys.readouterr().out
    damage(folder)
    assert rows_of(folder, compute=except_for(3)) == first
    assert f"{first[0]} is damaged: it is made again\n" in capsys.readouterr().out
    assert first[0].read_bytes() == whole
    assert files_in(folder) == PARTS


def _edit(path, **given):
    path.write_text(json.dumps(json.loads(path.read_text()) | given))


def test_a_cache_is_checked_once_a_process_unless_it_changes(folder, monkeypatch):
    path, *_ = rows_of(folder)
    checked = []
    monkeypatch.setattr(cache, "file_digest", lambda path: checked.append(path) or file_digest(path))
    for _ in range(3):
        rows_of(folder, compute=pytest.fail)
    assert checked == [path]
    _flip_a_byte(path)
    assert rows_of(folder)[3] == list(range(11))


def test_a_record_without_problems_is_not_believed(folder):
    first = rows_of(folder, compute=except_for(3))
    (folder / "built.json").write_text(json.dumps({"digest": first[1]}))
    assert rows_of(folder, compute=except_for(3)) == first


def test_rows_that_were_deleted_are_computed_again(folder, capsys):
    first = rows_of(folder, compute=except_for(3))
    first[0].unlink()
    assert rows_of(folder, compute=except_for(3)) == first
    assert "damaged" not in capsys.readouterr().out


# --- disks ------------------------------------------------------------------------------------------------


def test_without_space_nothing_is_computed(folder, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=329))
    with pytest.raises(OSError, match=rf"no space left for the cache {folder}, .* 3.3e-07 GB.*HSTA_DATA"):
        rows_of(folder, compute=lambda n: pytest.fail(f"row {n}"))
    monkeypatch.undo()
    assert rows_of(folder)[3] == list(range(11))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_keeps_the_rows_done(folder, monkeypatch, number):
    monkeypatch.setattr(cache, "n_cores", lambda: 1)
    write, written = cache._write, []

    def until_full(place, content):
        written.append(place)
        return failing(number)() if len(written) > 4 else write(place, content)

    monkeypatch.setattr(cache, "_write", until_full)
    with pytest.raises(OSError, match=r"no space left .* rows that were done are kept"):
        rows_of(folder)
    monkeypatch.setattr(cache, "_write", write)
    computed = []
    assert rows_of(folder, compute=recorded(computed))[3] == list(range(11))
    assert computed == [4, 5, 6, 7, 8, 9, 10]


ON_A_FULL_DISK = """
import os, sys
import numpy as np
from hsta_lib.data.cache import cached_rows
from pathlib import Path

items = [(str(n), n) for n in range(7)]
large = lambda n: np.full((1 << 20,), n, np.uint8)
disk = Path(sys.argv[1])
(disk / "other").write_bytes(bytes(3 << 20))
try:
    cached_rows(disk / "cache", items, large, shape=(1 << 20,), dtype=np.uint8, desc="testing")
except OSError as error:
    print("REFUSED", error)
(disk / "other").unlink()
path, *_ = cached_rows(disk / "cache", items, large, shape=(1 << 20,), dtype=np.uint8, desc="testing")
print("THEN", np.load(path)[:, 0].tolist())
"""


def test_a_disk_that_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    shell = 'mount -t tmpfs -o size=8m none "$1" || exit 77; shift; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell, "sh", disk]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", ON_A_FULL_DISK, disk], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no command unshare to give a test a small disk of its own")
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert f"no space left for the cache {disk}/cache, which takes 0.00734 GB" in done.stdout
    assert "THEN [0, 1, 2, 3, 4, 5, 6]" in done.stdout


def unprivileged(function, *arguments):
    """Result of a function in a process that is not root, or the error it raised."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(_without_rights, function, arguments).result(timeout=60)


def _without_rights(function, arguments):
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        return function(*arguments)
    except OSError as error:
        return error


@pytest.fixture
def open_dir():
    """A folder that others can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_folder_that_may_not_be_written(open_dir):
    locked = open_dir / "locked"
    locked.mkdir(mode=0o555)
    error = unprivileged(rows_of, locked / "cache")
    assert isinstance(error, PermissionError)
    assert f"the cache {locked}/cache cannot be written (Permission denied)" in str(error)
    assert "HSTA_DATA" in str(error)


def test_a_finished_cache_can_be_opened_without_the_right_to_write(open_dir):
    built = rows_of(open_dir / "cache")
    for path in (*built[0].parent.iterdir(), built[0].parent):
        path.chmod(0o555)
    assert unprivileged(rows_of, open_dir / "cache") == built
    (open_dir / "cache").chmod(0o755)


def test_errors_of_the_rows_are_not_taken_for_the_cache_s(folder):
    with pytest.raises(PermissionError) as raised:
        rows_of(folder, compute=failing(errno.EACCES))
    assert "cache" not in str(raised.value)
