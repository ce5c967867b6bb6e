"""Files written whole or not at all, their digests, tables in CSV files, and bars of progress."""

import csv
import hashlib
import math
import os
import platform
import re
import shutil
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path

import pandas as pd
import psutil
from filelock import Timeout
from IPython import get_ipython
from IPython.display import display
from pandas.api.types import is_numeric_dtype
from tqdm import tqdm

_CHECKED = "checked"  # in a folder that was read whole: how its files look
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how text begins that spreadsheet programs compute
_HOST = re.sub(r"\W", "-", platform.node())
with suppress(OSError):  # of a container with processes of its own
    _HOST += f"-{os.stat('/proc/self/ns/pid').st_ino}"
_REDRAWN_SECONDS = 2
PROGRESS = {"progress": True}  # metadata of a bar's output in a notebook
STILL_SECONDS = 600  # that the holder of a lock may write nothing
LOOK_SECONDS = 5
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def write_whole(path, content):
    """Write a file that appears under its name only when it is complete; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(own_name(path.name))
    try:
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def text_digest(text):
    """16 hex digits of SHA-256: a name of what they are of, or a check of it, kept with it, against edits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def csv_of(table, index=False):
    """A table as text of a CSV file in which no cell is a formula to spreadsheet programs.

    Text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return has an apostrophe put in
    front, which `as_written` takes off. Numbers stay as they are, also those that are text. ``index``:
    whether its row names are written.
    """
    cells = table.apply(lambda column: column if is_numeric_dtype(column) else column.map(_marked))
    cells = cells.rename(index=_marked, columns=_marked)
    text = cells.to_csv(index=index, lineterminator="\n")
    # Python puts a carriage return in quotes only where lines end in one.
    return cells.to_csv(index=index, lineterminator="\r\n") if "\r" in text else text


def _marked(cell):
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell) else cell


def _is_number(text):
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def as_written(cell):
    """A cell's text as it was before `csv_of` wrote it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def own_name(name):
    """A hidden name for a file or folder of this process that is not to stay, see `remove_abandoned`."""
    return f".{name}.{uuid.uuid4().hex[:8]}.{os.getpid()}.{_HOST}.partial"


def remove_abandoned(folder):
    """Remove what killed processes of this machine left half-written in a folder."""
    for path in folder.glob(f".*.{_HOST}.partial"):
        if not _is_running(int(path.name.split(".")[-3]), path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_running(pid, path):
    """Whether the process is there that has begun a file, and not one that was given its number later."""
    try:
        return psutil.Process(pid).create_time() < path.stat().st_mtime + 60  # the clock may be set
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def acquired(lock, hint=""):
    """A lock in a folder, waited for as long as its holder writes something there; ``hint`` is told.

    TimeoutError, which names the lock, if nothing was written for ten minutes.
    """
    folder, looked, since = Path(lock.lock_file).parent, None, time.monotonic()
    while True:
        try:
            lock.acquire(timeout=LOOK_SECONDS if looked else 0)
            return lock
        except Timeout:
            if not looked:
                print(f"waiting for another process that writes {folder}{hint}", flush=True)
            looked, before = _written(folder), looked
        since = since if looked == before else time.monotonic()
        if time.monotonic() - since > STILL_SECONDS:
            raise TimeoutError(
                f"another process holds {lock.lock_file} and has written nothing for "
                f"{STILL_SECONDS / 60:.0f} minutes, as one that is stopped: let it go on or end it "
                f"(`fuser {lock.lock_file}` names it){hint}"
            )


def _written(folder):
    """When which files and folders within were written last."""
    times = {}
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            times[entry.name] = entry.stat().st_mtime_ns
    return times


def still_whole(root, is_whole):
    """Whether a folder of `built_beside` is whole; looked into only if its files are not as they were then.

    ``is_whole`` (callable): reads it all. What it finds whole is noted in the folder: names, sizes and times
    of the files.
    """
    looks = _looks(root, root.name)
    with suppress(OSError):
        if (root / _CHECKED).read_text() == looks:
            return True
    if not is_whole():
        return False
    with suppress(OSError):  # may not be written
        write_whole(root / _CHECKED, looks)
    return True


def _looks(root, name):
    """Digest of names, sizes and times of the files in a folder of this name."""
    digest, folders = hashlib.sha256(name.encode()), [root]
    for folder in folders:
        digest.update(os.path.relpath(folder, root).encode())
        with suppress(OSError):
            for entry in sorted(os.scandir(folder), key=attrgetter("name")):
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name != _CHECKED:
                    stat = entry.stat()
                    digest.update(f"/{entry.name}/{stat.st_size}/{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


@contextmanager
def built_beside(root, is_whole):
    """A folder that appears under its name only when it is complete; of two that are built one stays.

    Yields where to write it. ``is_whole`` (callable): whether a whole one is at ``root``; what is there and
    not whole is replaced.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root.parent)
    unfinished, ruin = (root.with_name(own_name(root.name)) for _ in range(2))
    try:
        yield unfinished
        write_whole(unfinished / _CHECKED, _looks(unfinished, root.name))
        if not is_whole():
            with suppress(FileNotFoundError):
                root.rename(ruin)
        try:
            unfinished.rename(root)
        except OSError:
            if not is_whole():  # else another process was faster: its copy is as good
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(ruin, ignore_errors=True)


def file_digest(path):
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_csv(path, needed=()):
    """A table in a CSV file, as spreadsheets, libraries and people write it.

    Cells are stripped of spaces, and of the apostrophes of `csv_of`; empty lines are left out; each row's
    index is its line in the file.

    Parameters
    ----------
    path : str or Path
        In UTF-8, with or without a byte-order mark; commas, semicolons or tabs divide cells. Its first line
        names the columns.
    needed : iterable of str
        Columns that must be there, in any case; they come under these names.

    Raises
    ------
    ValueError
        If the file is empty or no CSV, or a line has more or fewer cells than the first. If a column is
        missing or there twice. The message names the file.
    """
    header, flat, numbers = [], [], []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            separator = max(_SEPARATORS, key=file.readline().count)
            file.seek(0)
            lines = csv.reader(file, delimiter=separator, skipinitialspace=True)
            for line in lines:
                if not "".join(line).strip():
                    continue
                header = header or line
                if len(line) != len(header):
                    raise ValueError(
                        f"{path}, line {lines.line_num} has {len(line)} cell{'s' * (len(line) != 1)}, the "
                        f"first line {len(header)}; a {_SEPARATORS[separator]} divides them"
                    )
                flat += line
                numbers.append(lines.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8 ({error}); save it as one") from error
    cells, n = [as_written(cell) if cell[:1] == "'" else cell for cell in map(str.strip, flat)], len(header)
    known = {name.lower(): name for name in needed}
    names = [known.get(name.lower(), name) for name in cells[:n]]
    if not names:
        raise ValueError(f"{path} is empty; its first line must name the columns")
    if len(set(names)) < n:
        raise ValueError(f"{path}: a column is there twice; {_told(names, separator)}")
    if missing := [name for name in needed if name not in names]:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; {_told(names, separator)}")
    columns = {name: cells[n + i :: n] for i, name in enumerate(names)}
    return pd.DataFrame(columns, index=numbers[1:], dtype=object)


def _told(names, separator):
    return f"divided by a {_SEPARATORS[separator]}, its first line names {', '.join(names)}"


def progress_bar(**options):
    """A bar of tqdm: in a notebook an output that is replaced as it grows, elsewhere a line of stdout."""
    is_notebook = hasattr(get_ipython(), "kernel")
    return tqdm(file=_Output() if is_notebook else sys.stdout, ascii=True, **options)


@contextmanager
def trial_bar(n_trials, total):
    """A bar of trials, redrawn also while nothing ends: how many, their rate, and the time left, by costs.

    Yields two functions: that all is ready; that a trial ended, with its cost and a function of its seconds.
    ``total``: the costs of all.
    """
    bar = progress_bar(
        total=total, desc=f"0/{n_trials} trials, starting", smoothing=0, mininterval=1, miniters=1,
        bar_format="{desc}|{bar:30}| {percentage:3.0f} % [{elapsed} gone, {remaining} left]",
    )  # fmt: skip
    done, is_over = 0, threading.Event()

    def begin():
        bar.reset()
        bar.set_description(f"0/{n_trials} trials, training")

    def advance(cost, seconds):
        nonlocal done
        done += 1
        if done == 1:  # what its worker needed to load says nothing of the others
            bar.start_t = bar.last_print_t = max(bar.start_t, time.time() - seconds())
        rate = 3600 * done / max(bar.format_dict["elapsed"], 1e-9)
        told = f"{rate / 60:.0f} a minute" if rate >= 60 else f"{rate:.0f} an hour"
        bar.set_description(f"{done}/{n_trials} trials, {told}", refresh=False)
        bar.update(cost)

    def redraw():
        while not is_over.wait(_REDRAWN_SECONDS):
            bar.refresh()

    thread = threading.Thread(target=redraw, daemon=True)
    with bar:
        thread.start()
        try:
            yield begin, advance
        finally:
            is_over.set()
            thread.join()


class _Output:
    """A file whose line stands in one output of a notebook, marked as a progress bar by its metadata."""

    def __init__(self):
        self._handle = None

    def write(self, text):
        line = {"text/plain": text.strip()}
        if not line["text/plain"]:
            return
        if self._handle is None:
            self._handle = display(line, raw=True, metadata=PROGRESS, display_id=True)
        else:
            self._handle.update(line, raw=True, metadata=PROGRESS)
