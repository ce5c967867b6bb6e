"""Misfortunes of runs, one at a time: ``nice python benchmarks/chaos.py --events 200``.

Table 4 or 5, preset smoke, is made from nothing, on workers of its own or on those of a Dask scheduler. At a
random moment a process is killed, stopped or interrupted, a disk fills up or becomes read-only, the clock is
set back or the machine is busy. What a user would do follows: a run that hangs because it was stopped itself
is ended, and the same command is given again. Then every trial must be stored once with the predictions of an
undisturbed run, the report must say what that run's does, and nothing else may be left: no process, no
half-written file. Cells that differ among undisturbed runs are not compared: they tell times and what was to
train. A line per event is added to chaos.csv; a campaign that is broken off goes on.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from hsta_lib.training.cluster import VERSIONS

RECORD = Path(__file__).with_name("chaos.csv")
COLUMNS = ("event", "command", "what", "whom", "after", "ended", "recovery", "fault")
_CONTINUED = "SIGSTOP, SIGCONT after a minute"
SIGNALS = ("SIGKILL", "SIGSEGV", "SIGTERM", "SIGINT", "SIGSTOP", _CONTINUED)
ROLES = {
    "kernel": "ipykernel_launcher", "worker": "spawn_main",
    "scheduler": "-m dask scheduler", "nanny": "-m dask worker",
}  # fmt: skip
# Disks, and when in a run something is written there: caches, results, reports with archives.
DISKS = {"data": (0, 0.5), "results": (0, 1), "reports": (0.5, 1)}
_SIZE = "size=256m"
_WHOLE = (0, 1)
_CELL = " cell "
_TRIES = 5  # of a misfortune that comes too late
HANGS = 600  # s, after which a run counts as waiting for ever
PATIENCE = 30  # s that processes of an ended run have to end
# Seen by every Python process of a run: its clock goes back an hour when a file appears.
CLOCK = """
import os, time
real = time.time
time.time = lambda: real() - 3600 * os.path.exists({file!r})
"""


class Place:
    """Where commands run: each folder that they write in is a disk of its own where one may be mounted.

    ``commands`` are argument lists by name; those that name ``scheduler.json`` run on a scheduler's workers.
    """

    def __init__(self, folder, commands, environment=()):
        self.folder, self.commands = folder, commands
        self.disks = {name: folder / name for name in DISKS}
        for disk in self.disks.values():
            disk.mkdir(parents=True, exist_ok=True)
        mounted = [
            self._mount("-t", "tmpfs", "-o", _SIZE, "tmpfs", str(disk)) for disk in self.disks.values()
        ]
        self.has_disks, self.file = all(mounted), folder / "scheduler.json"
        self.set_back = folder / "set-back"
        (folder / "clock").mkdir(exist_ok=True)
        (folder / "clock" / "sitecustomize.py").write_text(CLOCK.format(file=str(self.set_back)))
        given = os.environ | dict(environment)
        paths = [str(folder / "clock"), *filter(None, [given.get("PYTHONPATH")])]
        own = {"HSTA_RESULTS": self.disks["results"], "HSTA_DATA": self.disks["data"]}
        self.environment = given | {name: str(disk) for name, disk in own.items()}
        self.environment["PYTHONPATH"] = os.pathsep.join(paths)

    def has_scheduler(self, name):
        return str(self.file) in self.commands[name]

    def kinds(self):
        """Everything that can happen: a command, what, and to whom."""
        for name, command in self.commands.items():
            roles = ["command", "worker"] + ["kernel"] * ("papermill" in command[0])
            roles += ["scheduler", "nanny"] * self.has_scheduler(name)
            yield from ((name, what, role) for what in SIGNALS for role in roles)
            for disk in self.disks if self.has_disks else ():
                yield from ((name, what, disk) for what in ("disk full", "disk read-only"))
            yield from ((name, "clock set back", "all"), (name, "load of 15", "machine"))

    def start(self, *command):
        """A process in a session of its own."""
        return subprocess.Popen(
            command, env=self.environment, start_new_session=True, cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def cluster(self, name):
        """A scheduler with two workers, if a command needs it."""
        self.file.unlink(missing_ok=True)
        if not self.has_scheduler(name):
            yield []
            return
        dask, file = (sys.executable, "-m", "dask"), ("--scheduler-file", str(self.file), "--no-dashboard")
        only = ("--nthreads", "1", "--memory-limit", "0")
        started = [self.start(*dask, "scheduler", *file, "--host", "127.0.0.1", "--port", "0")]
        try:
            while not self.file.exists():  # a command would not wait for it
                time.sleep(0.1)
            started += [self.start(*dask, "worker", *file, *only) for _ in range(2)]
            yield started
        finally:
            for one in [child for process in started for child in _with_children(process.pid)]:
                with suppress(psutil.Error):
                    one.kill()
            for process in started:
                process.wait()

    def remount(self, disk, *options):
        return self._mount("-o", ",".join(("remount", *options)), str(self.disks[disk]))

    def clear(self, *names):
        self.set_back.unlink(missing_ok=True)
        for path in [path for name in names for path in self.disks[name].iterdir()]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self):
        for disk in self.disks.values() if self.has_disks else ():
            subprocess.run(["umount", str(disk)], check=False)

    def stored(self):
        """Digests of what results and tables of predictions tell, and what only a broken run leaves."""
        results, data, reports = (self.disks[name] for name in ("results", "data", "reports"))
        hidden = [path for disk in (reports, data) for path in disk.rglob(".*")]
        found, left = {}, [path.name for path in hidden if path.name != ".lock" or _is_held(path)]
        left += [f"{path.parent.name}/rows" for path in data.glob("*/*/rows")]
        for path in sorted(path for path in results.rglob("*") if path.is_file()):
            if path.suffix == ".json" and not path.name.startswith("."):
                record = json.loads(path.read_text())
                found[path.name] = _digest(json.dumps([record["predictions"], record.get("losses")]))
            else:
                left.append(path.name)
        found |= {path.name: _digest(path.read_text()) for path in reports.glob("*.csv")}
        return found | {name: told for path in reports.glob("*.ipynb") for name, told in _told(path)}, left

    @staticmethod
    def _mount(*options):
        return shutil.which("mount") is not None and not subprocess.run(
            ["mount", *options], capture_output=True
        ).returncode  # fmt: skip


def _is_held(path):
    """Whether a process has a lock; the file itself stays behind."""
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _told(path):
    """Digests of what the cells of a report show but for pictures, by names that have a `_CELL` in them."""
    for cell in json.loads(path.read_text())["cells"]:
        # On a busy machine what a cell prints may come in several outputs.
        shown = "".join("".join(output.get("text") or _texts(output)) for output in cell.get("outputs", []))
        yield f"{path.name}{_CELL}{cell['id']}", _digest(re.sub("T_[0-9a-f]{5}", "", shown))


def _texts(output):
    data = output.get("data", {})
    return json.dumps({kind: text for kind, text in data.items() if kind.startswith("text/")})


def _same_in_all(runs):
    """What several undisturbed runs store and say alike; they may differ in cells alone."""
    files = [{name: told for name, told in run.items() if _CELL not in name} for run in runs]
    if any(other != files[0] for other in files):
        raise RuntimeError("undisturbed runs store different predictions")
    same = {name: told for name, told in runs[0].items() if all(run.get(name) == told for run in runs)}
    if len(files[0]) < len(runs[0]) and not any(_CELL in name for name in same):
        raise RuntimeError("no cell of the report is the same in undisturbed runs")
    return same


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _with_children(pid):
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []


def victims(role, process, cluster):
    """Processes of a role: of the command and its descendants, which have sessions of their own."""
    if role == "command":
        return _with_children(process.pid)[:1]
    found = []
    for one in [one for part in (process, *cluster) for one in _with_children(part.pid)]:
        with suppress(psutil.Error):
            found += [one] * (ROLES[role] in " ".join(one.cmdline()))
    return found


@contextmanager
def misfortune(what, whom, process, place, cluster, rng):
    """Have something happen and, when the command has ended, undo it; gives whether it did happen."""
    if whom in DISKS:
        used = max(shutil.disk_usage(place.disks[whom]).used, 4096)
        yield place.remount(whom, f"size={used}" if what == "disk full" else "ro")
        place.remount(whom, _SIZE if what == "disk full" else "rw")
    elif what == "clock set back":
        place.set_back.touch()
        yield True
    elif what == "load of 15":
        busy = [place.start(sys.executable, "-c", "while True: pass") for _ in range(15)]
        try:
            yield True
        finally:
            for one in busy:
                one.kill()
                one.wait()
    else:
        while not (found := victims(whom, process, cluster)) and process.poll() is None:
            time.sleep(0.2)  # it is yet to be started
        if found:
            _signal(rng.choice(found), what, whom, process)
        yield bool(found)


def _signal(victim, what, whom, process):
    with suppress(psutil.Error):
        victim.send_signal(getattr(signal, what.partition(",")[0]))
    if what == _CONTINUED:
        time.sleep(60)
        with suppress(psutil.Error):
            victim.send_signal(signal.SIGCONT)
    elif what == "SIGSTOP" and whom in ("command", "kernel"):
        # What else is stopped is the run's business; a run that was stopped itself is ended by its user.
        end(process, victim)


def end(process, *stopped):
    """Kill a command and what was stopped of it; what else it has started must end by itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in stopped:
        with suppress(psutil.Error):
            one.kill()


def event(number, place, expected, lasts, seed):
    """One misfortune and what follows, as a line of the record; one that comes too late is tried again."""
    kinds, rng = list(place.kinds()), random.Random(f"{seed}/{number}")
    random.Random(f"{seed}/{number // len(kinds)}").shuffle(kinds)  # each once before any comes again
    name, what, whom = kinds[number % len(kinds)]
    for _ in range(_TRIES):
        place.clear("results", "reports", *["data"] * (whom == "data"))
        after = lasts[name] * rng.uniform(*DISKS.get(whom, _WHOLE))
        with place.cluster(name) as cluster:
            started, process = time.monotonic(), place.start(*place.commands[name])
            hit, fault = False, ""
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            began, members = time.monotonic(), _with_children(process.pid)[1:]
            if process.poll() is None:
                with misfortune(what, whom, process, place, cluster, rng) as hit:
                    fault = _waited(process)
            fault = fault or _left(members)
        if hit or fault:
            break
        if process.returncode:
            fault = "it failed by itself"
            break
        lasts[name] = time.monotonic() - started  # shorter than when it was measured
    ended = process.returncode
    if ended:
        with place.cluster(name):
            again = place.start(*place.commands[name])
            fault = fault or _waited(again) or ("the same command failed" if again.returncode else "")
    found, left = place.stored()
    compared = {what: told for what, told in found.items() if _CELL not in what or what in expected[name]}
    differing = {what for what, _ in compared.items() ^ expected[name].items()}
    fault = fault or ("predictions differ" if any(_CELL not in what for what in differing) else "")
    fault = fault or (f"differ: {', '.join(sorted(differing))}" if differing else "")
    fault = fault or (f"left: {', '.join(left)}" if left else "")
    recovery = time.monotonic() - began
    line = number, name, what, whom if hit else "", f"{after:.1f}", ended, f"{recovery:.0f}", fault
    return dict(zip(COLUMNS, line, strict=True))


def _left(members):
    """Processes of a command that do not end with it, in words; they are killed."""
    left = psutil.wait_procs(members, timeout=PATIENCE)[1]
    for one in left:
        with suppress(psutil.Error):
            one.kill()
    return f"{len(left)} processes left" if left else ""


def _waited(process):
    try:
        process.wait(HANGS)
    except subprocess.TimeoutExpired:
        end(process, *_with_children(process.pid))
        process.wait()
        return "it waited for ever"
    return ""


def undisturbed(place):
    """What every command stores when nothing happens, and how long it takes; kept until the code changes."""
    kept = place.folder / "undisturbed.json"
    code = [place.commands, VERSIONS]
    if kept.exists() and (known := json.loads(kept.read_text()))["code"] == code:
        return known["expected"], known["lasts"]
    expected, lasts = {}, {}
    for name, command in place.commands.items():
        runs = []
        for cleared in (DISKS, ("results", "reports"), ()):  # from nothing, from data alone, with all stored
            place.clear(*cleared)
            started = time.monotonic()
            with place.cluster(name):
                process = place.start(*command)
                if _waited(process) or process.returncode:
                    raise RuntimeError(f"{name} fails without any misfortune: {' '.join(command)}")
            lasts.setdefault(name, time.monotonic() - started)
            runs.append(place.stored()[0])
            if not any(_CELL in what for what in runs[0]):
                break
        expected[name] = _same_in_all(runs)
    kept.write_text(json.dumps({"code": code, "expected": expected, "lasts": lasts}))
    return expected, lasts


def campaign(place, numbers, record, seed=0):
    """Have those of the events that are not recorded yet; returns the lines of all that are."""
    lines = list(csv.DictReader(record.read_text().splitlines())) if record.exists() else []
    known = {line["event"] for line in lines}
    todo = [number for number in numbers if str(number) not in known]
    expected, lasts = undisturbed(place) if todo else ({}, {})
    for number in todo:
        lines.append(event(number, place, expected, lasts, seed))
        with record.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(lines[-1])
        print(", ".join(f"{value}" for value in lines[-1].values()), flush=True)
    return lines


def tables(folder):
    """Commands that make Tables 4 and 5, preset smoke, on workers of their own and on a scheduler's."""
    papermill = [str(Path(sys.executable).with_name("papermill")), "--no-progress-bar"]
    ways = {"": [], " on a scheduler": ["-p", "scheduler", str(folder / "scheduler.json")]}
    return {
        f"{name}{way}": [
            *papermill, f"notebooks/{name}.ipynb", str(folder / "reports" / f"{name}.ipynb"),
            "-p", "preset", "smoke", *given,
        ]
        for name in ("table4", "table5")
        for way, given in ways.items()
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20, help="in all, with those that are recorded")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to share them out")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"))
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    place = Place(folder, tables(folder))
    try:
        lines = campaign(place, range(chosen.first, chosen.events), RECORD)
    finally:
        place.close()
    faults = [line for line in lines if line["fault"]]
    longest = max(float(line["recovery"]) for line in lines)
    print(f"{len(lines)} events, {len(lines) - len(faults)} survived, longest recovery {longest:.0f} s")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
