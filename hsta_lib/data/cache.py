"""Arrays of one row per clip, computed once and kept on disk: resumed after a kill, never read half made."""

import errno
import functools
import json
import os
import shutil
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from math import prod

import numpy as np
from filelock import FileLock, SoftFileLock

from hsta_lib.config import n_cores
from hsta_lib.files import acquired, file_digest, progress_bar, text_digest

# In the folder of a cache. The last two are there only while it is built, or after a kill.
_ROWS, _BUILT, _LOCK = "rows.npy", "built.json", ".lock"
_MARK = ".locked"  # is there while a process writes, where the disk has no locks, as some on a network
_PARTIAL, _ONE_BY_ONE = "rows.partial.npy", "rows"
_PROBLEM = ".json"  # ending of the file that stands for a row which cannot be computed
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Unreadable(ValueError):
    """A source file that cannot be used: its ``path`` and the ``reason``."""

    def __init__(self, path, reason):
        super().__init__(f"{path} is {reason}")
        self.path, self.reason = path, reason


def cache_key(described, files):
    """Name of a cache, 16 hex digits: a hash of what it is made with and of the files it is made from.

    ``described`` is anything JSON can hold: settings, clip ids, which file is used where. Of the ``files``
    (of Path) names, sizes, times and whether they can be read count, not their content.
    """
    seen = [[str(path), *_looks(path)] for path in dict.fromkeys(files)]
    return text_digest(json.dumps([described, seen], sort_keys=True))


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
    shape, dtype
        Of one row.
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
        dtype = np.dtype(dtype)
        with _locked(folder, len(items) * prod(shape) * dtype.itemsize):
            built = _intact(path) or _build(path, items, compute, shape, dtype, desc)
    return path, built["digest"], [tuple(problem) for problem in built["problems"]]


def _intact(path):
    """What `_finish` noted of a cache, if the cache is there and as it was built; else None."""
    try:
        built = json.loads(path.with_name(_BUILT).read_text())
        are_whole = all(len(problem) == 4 for problem in built["problems"])
        stat = path.stat()
        is_same = built["digest"] == _digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        noted = built.get("check")  # older ones have none
        is_same &= noted in (None, text_digest(json.dumps(built["problems"])))
        return built if are_whole and is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache
def _digest(path, *_looks):
    """Taken once a process: a small network trains in less time than that of a whole dataset takes."""
    return file_digest(path)


@contextmanager
def _locked(folder, size):
    with _explained(folder, size):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = acquired(FileLock(folder / _LOCK, fallback_to_soft=False), "")
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            mark = folder / _MARK
            lock = acquired(SoftFileLock(mark), f"; if there is none any more, remove {mark}")
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
    """Each row in a file of its own, which a later try finds; when all are there, in one."""
    rows = path.with_name(_ONE_BY_ONE)
    size = prod(shape) * dtype.itemsize
    with _explained(path.parent, len(items) * size):
        rows.mkdir(exist_ok=True)
        if path.exists():
            print(f"{path} is damaged: it is made again", flush=True)
            path.unlink()  # its space is needed
        todo = [number for number in range(len(items)) if not _is_done(rows / str(number), size)]
        if shutil.disk_usage(rows).free < len(todo) * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    make = functools.partial(_make_row, compute=compute, shape=shape, dtype=dtype, n_rows=len(items))
    jobs = [(rows / str(number), items[number][1]) for number in todo]
    hidden = {} if desc else {"disable": True}  # given as False it would overrule the reader's TQDM_DISABLE
    bar = progress_bar(
        total=len(items), initial=len(items) - len(jobs), desc=desc, unit="clip", mininterval=5, **hidden
    )
    with closing(_in_threads(make, jobs)) as made, bar:
        for _ in made:
            bar.update()
    with _explained(path.parent, len(items) * size):
        return _finish(path, rows, [clip_id for clip_id, _ in items], shape, dtype)


def _is_done(place, size):
    """Whether there is a row or a problem, as written: a power failure may leave less, or other bytes."""
    told = place.with_suffix(_PROBLEM)
    if told.exists():
        return _checked(told.read_bytes()) is not None
    row = _checked(place.read_bytes()) if place.exists() else None
    return row is not None and len(row) == size


def _checked(content):
    """What `_write` was given; None if the file holds something else."""
    content, check = content[:-4], content[-4:]
    return content if check == zlib.crc32(content).to_bytes(4) else None


def _write(place, content):
    """Write a file that appears under its name only when it is complete; without waiting for the disk."""
    partial = place.with_suffix(".partial")
    partial.write_bytes(content + zlib.crc32(content).to_bytes(4))
    partial.replace(place)


def _make_row(place, argument, *, compute, shape, dtype, n_rows):
    """Write a row's bytes, or where the problem is and what."""
    try:
        value = compute(argument)
    except Unreadable as error:
        place, content = place.with_suffix(_PROBLEM), json.dumps([str(error.path), error.reason]).encode()
    else:
        if (value.shape, value.dtype) != (shape, dtype):
            raise ValueError(
                f"a row of shape {value.shape} and dtype {value.dtype} was computed for a cache of {shape} "
                f"and {dtype}"
            )
        content = value.tobytes()
    with _explained(place.parent.parent, n_rows * prod(shape) * dtype.itemsize):
        _write(place, content)


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


def _finish(path, rows, clip_ids, shape, dtype):
    """Give the array its name, under which it is complete. Rows take no place twice: a kill loses some."""
    problems, partial = [], path.with_name(_PARTIAL)
    places = [rows / str(number) for number in range(len(clip_ids))]
    for clip_id, place in zip(clip_ids, places, strict=True):
        if place.with_suffix(_PROBLEM).exists():
            where, what = json.loads(_checked(place.with_suffix(_PROBLEM).read_bytes()))
            problems.append((where, clip_id, what, "clip left out"))
    kept = (len(clip_ids) - len(problems), *shape)
    with open(partial, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype.str, "fortran_order": False, "shape": kept}
        )
        for place in places:
            if not place.with_suffix(_PROBLEM).exists():
                row = _checked(place.read_bytes())
                place.unlink()
                file.write(row)
        file.flush()
        os.fsync(file.fileno())
    built = {"problems": problems, "check": text_digest(json.dumps(problems)), "digest": file_digest(partial)}
    path.with_name(_BUILT).write_text(json.dumps(built))
    partial.replace(path)
    shutil.rmtree(rows)
    return built
