"""Arrays of one row per clip, computed once and kept on disk: resumed after a kill, never read half made."""

import errno
import hashlib
import json
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from math import prod

import numpy as np
from filelock import FileLock, Timeout

from hsta_lib.config import n_cores
from hsta_lib.files import file_digest, progress_bar

# In the folder of a cache. The last three are there only while it is built, or after a kill.
_ROWS, _BUILT, _LOCK = "rows.npy", "built.json", ".lock"
_PARTIAL, _DONE = "rows.partial.npy", "done.jsonl"
_SECONDS_BETWEEN_NOTES = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Unreadable(ValueError):
    """A source file that cannot be used: its ``path`` and the ``reason``."""

    def __init__(self, path, reason):
        super().__init__(f"{path} is {reason}")
        self.path, self.reason = path, reason


def cache_key(described, files):
    """Name of a cache: a hash of what it is made with and of the files it is made from.

    Parameters
    ----------
    described : object
        Anything JSON can hold: settings, clip ids, which file is used where.
    files : iterable of Path
        Their names, sizes, times and whether they can be read count, not their content.

    Returns
    -------
    str
        16 hex digits.
    """
    seen = [[str(path), *_looks(path)] for path in dict.fromkeys(files)]
    text = json.dumps([described, seen], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _looks(path):
    try:
        stat = os.stat(path)
    except OSError:  # whoever computes the row finds out why
        return None, None, False
    # A permission given later changes neither size nor time, but a row could be computed then.
    return stat.st_size, stat.st_mtime_ns, os.access(path, os.R_OK)


def cached_rows(folder, items, compute, *, shape, dtype, desc):
    """Compute one array row per clip, unless an earlier call has; later calls open what is there.

    A call that is killed or fails keeps the rows it has done, and the next one goes on from them. Of two
    processes that need one cache the second waits for the first.

    Parameters
    ----------
    folder : Path
        Of this cache alone; its name must change with everything that changes a row, see `cache_key`.
    items : list of tuple
        ``(clip_id, argument)``.
    compute : callable
        From an argument to an array of the shape and dtype below, or raises `Unreadable`. Called from one
        thread per core; at most that many rows are in memory at a time.
    shape : tuple of int
        Of one row.
    dtype : dtype
    desc : str
        Beside the progress bar; empty: none is shown.

    Returns
    -------
    path : Path
        Of a ``.npy`` file, shape ``(n_kept, *shape)``, one row per item that could be computed, in order.
    digest : str
        SHA-256 of that file.
    problems : list of tuple
        ``(where, clip_id, problem, action)`` of every other item.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; the message says what to do.
    ValueError
        If a row has another shape or dtype.
    """
    path = folder / _ROWS
    built = _intact(path)
    if built is None:
        shape, dtype = (len(items), *shape), np.dtype(dtype)
        with _locked(folder, prod(shape) * dtype.itemsize):
            built = _intact(path) or _build(path, items, compute, shape, dtype, desc)
    return path, built["digest"], [tuple(problem) for problem in built["problems"]]


def _intact(path):
    """What `_finish` noted of a cache, if the cache is there and as it was built; else None."""
    try:
        built = json.loads(path.with_name(_BUILT).read_text())
        return built if built["digest"] == file_digest(path) and "problems" in built else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _locked(folder, size):
    lock = FileLock(folder / _LOCK)
    with _explained(folder, size):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for another process that writes {folder}", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _explained(folder, size):
    """Say of a full disk, or of a folder that cannot be written, what can be done."""
    elsewhere = "set HSTA_DATA to a folder on another disk"
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            text = (
                f"no space left for the cache {folder}, which takes {size / 1e9:.3g} GB: free as much or "
                f"{elsewhere}; rows that were done are kept for the next try"
            )
        elif error.errno in _FORBIDDEN:
            text = f"the cache {folder} cannot be written ({error.strerror}): allow it or {elsewhere}"
        else:
            raise
        raise OSError(error.errno, text) from error


def _build(path, items, compute, shape, dtype, desc):
    rows, done = _earlier(path, shape, dtype) or (_reserved(path, shape, dtype), {})
    _fill(path, rows, done, [argument for _, argument in items], compute, desc)
    return _finish(path, rows, done, [clip_id for clip_id, _ in items])


def _earlier(path, shape, dtype):
    """The array of a build that was stopped, and its rows that are done; or None."""
    done = {}
    try:
        for line in path.with_name(_DONE).read_text().splitlines():
            done |= _parsed(line)
        size = path.with_name(_PARTIAL).stat().st_size
        rows = np.load(path.with_name(_PARTIAL), mmap_mode="r+")  # fills up a file that is too short
    except (OSError, ValueError, EOFError):
        return None
    fits = (rows.shape, rows.dtype, rows.offset + rows.nbytes) == (shape, dtype, size)
    return (rows, done) if done and fits else None


def _parsed(line):
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):  # empty, or cut short by a kill
        return {}


def _reserved(path, shape, dtype):
    """A new array that has its disk space: a map of a sparse file kills the process when the disk is full."""
    partial = path.with_name(_PARTIAL)
    with _explained(path.parent, prod(shape) * dtype.itemsize):
        path.with_name(_DONE).unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # damaged, if it is there: its space is needed
        try:
            rows = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
            _take_space(partial, rows.offset)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    return rows


def _take_space(path, start):
    end = path.stat().st_size
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, end)
        except (AttributeError, OSError) as error:  # not every system and file system can
            if getattr(error, "errno", None) in _FULL:
                raise
            file.seek(start)
            for at in range(start, end, 1 << 24):
                file.write(bytes(min(1 << 24, end - at)))
            file.flush()
            os.fsync(file.fileno())


def _fill(path, rows, done, arguments, compute, desc):
    """Compute the rows that are not done in threads, and note them in batches: also when one fails."""
    todo = [row for row in range(len(rows)) if row not in done]
    jobs = [(rows, row, compute, arguments[row]) for row in todo]
    new, noted = {}, time.monotonic()
    hidden = {} if desc else {"disable": True}  # given as False it would overrule the reader's TQDM_DISABLE
    with (
        closing(_in_threads(_set_row, jobs)) as problems,
        progress_bar(
            total=len(rows), initial=len(done), desc=desc, unit="clip", mininterval=5, **hidden
        ) as bar,
    ):
        try:
            for row, problem in zip(todo, problems, strict=True):
                new[row] = problem
                bar.update()
                if time.monotonic() - noted >= _SECONDS_BETWEEN_NOTES:
                    _note(path, rows, new)
                    done.update(new)
                    new, noted = {}, time.monotonic()
        finally:  # an error or interrupt keeps what is done
            _note(path, rows, new)
            done.update(new)


def _in_threads(function, jobs):
    """Results in order. Only a few jobs are started ahead of the result that is read: an error ends soon."""
    n_threads, started = n_cores(), deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for job in jobs:
                started.append(pool.submit(function, *job))
                if len(started) > 4 * n_threads:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            for future in started:
                future.cancel()


def _set_row(rows, row, compute, argument):
    """Compute a row into the array: None, or where the problem is and what."""
    try:
        value = compute(argument)
    except Unreadable as error:
        return [str(error.path), error.reason]
    if (value.shape, value.dtype) != (rows.shape[1:], rows.dtype):
        raise ValueError(
            f"a row of shape {value.shape} and dtype {value.dtype} was computed for a cache of "
            f"{rows.shape[1:]} and {rows.dtype}"
        )
    rows[row] = value
    return None


def _note(path, rows, new):
    """Note rows as done once they are on the disk, so that a note is true even after a power failure."""
    if not new:
        return
    with _explained(path.parent, rows.nbytes):
        rows.flush()
        with open(path.with_name(_DONE), "a") as file:
            file.write("\n" + json.dumps(list(new.items())))  # a line that a kill cut short ends here
            file.flush()
            os.fsync(file.fileno())


def _finish(path, rows, done, clip_ids):
    """Give the array its name, under which it is complete."""
    problems = [(clip_id, done[row]) for row, clip_id in enumerate(clip_ids) if done[row]]
    built = {"problems": [(where, clip_id, what, "clip left out") for clip_id, (where, what) in problems]}
    partial, notes = path.with_name(_PARTIAL), path.with_name(_DONE)
    with _explained(path.parent, rows.nbytes):
        if problems:
            notes.unlink()  # they are wrong from the first row that moves
            _close_gaps(partial, rows, [row for row in range(len(clip_ids)) if not done[row]])
        built["digest"] = file_digest(partial)
        path.with_name(_BUILT).write_text(json.dumps(built))
        partial.replace(path)
        notes.unlink(missing_ok=True)
    return built


def _close_gaps(path, rows, kept):
    """Move the rows kept to the front and cut the file behind them."""
    for new, old in enumerate(kept):
        rows[new] = rows[old]
    rows.flush()
    shape = (len(kept), *rows.shape[1:])
    with open(path, "r+b") as file:
        # As long as the header before: numpy leaves room in it for a first axis of any length.
        np.lib.format.write_array_header_1_0(
            file, {"descr": rows.dtype.str, "fortran_order": False, "shape": shape}
        )
        assert file.tell() == rows.offset
        file.truncate(rows.offset + prod(shape) * rows.itemsize)
