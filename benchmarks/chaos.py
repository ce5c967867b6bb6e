"""Misfortunes of runs, one at a time: ``nice python benchmarks/chaos.py --events 20``.

Table 4 or Table 5, preset smoke, is made from nothing. At a random moment a random process of the run is
killed, stopped or interrupted, or the disk of its results fills up or becomes read-only. What a user would do
follows: a run that hangs because it was stopped itself is ended, and the same command is given again. Then
every trial must be stored once with the predictions of an undisturbed run, and nothing else may be left: no
process, no half-written file. A line per event is added to chaos.csv; a campaign that is broken off goes on.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

RECORD = Path(__file__).with_name("chaos.csv")
COLUMNS = ("event", "command", "what", "whom", "after", "ended", "recovery", "fault")
SIGNALS = ("SIGKILL", "SIGSEGV", "SIGTERM", "SIGINT", "SIGSTOP", "SIGSTOP, SIGCONT after 20 s")
DISKS = ("disk full", "disk read-only")
ROLES = {"kernel": "ipykernel_launcher", "worker": "spawn_main"}
HANGS = 600  # s, after which a run counts as waiting for ever
PATIENCE = 30  # s that processes of an ended run have to end


class Place:
    """Where a command runs: its results, on a disk of their own where one may be mounted."""

    def __init__(self, folder, commands, environment=()):
        self.results, self.commands = folder / "results", commands
        self.environment = os.environ | {"HSTA_RESULTS": str(self.results)} | dict(environment)
        self.results.mkdir(parents=True, exist_ok=True)
        self.has_disk = self._mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(self.results))

    def start(self, name):
        """The command, in a session of its own."""
        return subprocess.Popen(
            self.commands[name], env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def remount(self, *options):
        return self._mount("-o", ",".join(("remount", *options)), str(self.results))

    def clear(self):
        for path in self.results.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self):
        if self.has_disk:
            subprocess.run(["umount", str(self.results)], check=False)

    def digests(self):
        """Of every result what it predicts, and the names of files that are no results."""
        found, others = {}, []
        for path in sorted(self.results.iterdir()):
            if path.suffix == ".json" and not path.name.startswith("."):
                record = json.loads(path.read_text())
                told = json.dumps([record["predictions"], record["losses"]])
                found[path.stem] = hashlib.sha256(told.encode()).hexdigest()
            else:
                others.append(path.name)
        return found, others

    @staticmethod
    def _mount(*options):
        return shutil.which("mount") is not None and not subprocess.run(
            ["mount", *options], capture_output=True
        ).returncode  # fmt: skip


def family(process):
    """The process and its descendants, which have sessions of their own, by role."""
    roles = {"command": [psutil.Process(process.pid)]}
    for child in roles["command"][0].children(recursive=True):
        with suppress(psutil.Error):
            line = " ".join(child.cmdline())
            for role in (role for role, word in ROLES.items() if word in line):
                roles.setdefault(role, []).append(child)
    return roles


def strike(what, process, place, rng):
    """Have something happen; returns whom it hit, and what undoes it."""
    if what in DISKS:
        full = what == "disk full"
        used = shutil.disk_usage(place.results).used
        place.remount(f"size={max(used, 4096)}" if full else "ro")
        return "results", lambda: place.remount("size=64m" if full else "rw")
    roles = family(process)
    role = rng.choice(sorted(roles))
    victim = rng.choice(roles[role])
    number, *then = what.split(", ")
    with suppress(psutil.Error):
        victim.send_signal(getattr(signal, number))
    if then:
        return role, lambda: _continue(victim)
    # A stopped worker is the run's business; a run that was stopped itself is ended by its user.
    ends = number == "SIGSTOP" and role != "worker"
    return role, (lambda: end(process, victim)) if ends else lambda: None


def _continue(victim):
    time.sleep(20)
    with suppress(psutil.Error):
        victim.send_signal(signal.SIGCONT)


def end(process, *stopped):
    """Kill a command and what was stopped of it; what else it has started must end by itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in stopped:
        with suppress(psutil.Error):
            one.kill()


def event(number, place, expected, lasts, seed):
    """One misfortune and what follows, as a line of the record."""
    rng = random.Random(f"{seed}/{number}")
    name = rng.choice(sorted(place.commands))
    place.clear()
    after = rng.uniform(0, lasts[name])
    what = rng.choice(SIGNALS + DISKS * place.has_disk)
    process = place.start(name)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    whom, began, members, fault = "", time.monotonic(), set(), ""
    if process.poll() is None:
        members = set(psutil.Process(process.pid).children(recursive=True))
        whom, undo = strike(what, process, place, rng)
        undo() if what not in DISKS else None
        fault = _waited(process)
        undo() if what in DISKS else None
    ended = process.returncode
    left = psutil.wait_procs(members, timeout=PATIENCE)[1]
    fault = fault or (f"{len(left)} processes left" if left else "")
    for one in left:
        with suppress(psutil.Error):
            one.kill()
    if ended:
        again = place.start(name)
        fault = fault or _waited(again) or ("the same command failed" if again.returncode else "")
    found, others = place.digests()
    fault = fault or ("predictions differ" if found != expected[name] else "")
    fault = fault or (f"left: {', '.join(others)}" if others else "")
    recovery = time.monotonic() - began
    line = number, name, what, whom, f"{after:.1f}", ended, f"{recovery:.0f}", fault
    return dict(zip(COLUMNS, line, strict=True))


def _waited(process):
    try:
        process.wait(HANGS)
    except subprocess.TimeoutExpired:
        end(process)
        process.wait()
        return "it waited for ever"
    return ""


def undisturbed(place):
    """What every command stores when nothing happens, and how long it takes."""
    expected, lasts = {}, {}
    for name in place.commands:
        place.clear()
        started = time.monotonic()
        process = place.start(name)
        if _waited(process) or process.returncode:
            raise RuntimeError(f"{name} fails without any misfortune: {' '.join(place.commands[name])}")
        lasts[name] = time.monotonic() - started
        expected[name], _ = place.digests()
    return expected, lasts


def campaign(place, events, record, seed=0):
    """Go on to so many events; returns the lines of all of them."""
    lines = list(csv.DictReader(record.read_text().splitlines())) if record.exists() else []
    expected, lasts = undisturbed(place) if len(lines) < events else ({}, {})
    for number in range(len(lines), events):
        lines.append(event(number, place, expected, lasts, seed))
        with record.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if number == 0:
                writer.writeheader()
            writer.writerow(lines[-1])
        print(", ".join(f"{value}" for value in lines[-1].values()), flush=True)
    return lines


def tables(folder):
    """Commands that make Tables 4 and 5, preset smoke."""
    papermill = [str(Path(sys.executable).with_name("papermill")), "--no-progress-bar"]
    return {
        name: [*papermill, f"notebooks/{name}.ipynb", str(folder / f"{name}.ipynb"), "-p", "preset", "smoke"]
        for name in ("table4", "table5")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20, help="in all, with those that are recorded")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"))
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    place = Place(folder, tables(folder))
    try:
        lines = campaign(place, chosen.events, RECORD)
    finally:
        place.close()
    faults = [line for line in lines if line["fault"]]
    longest = max(float(line["recovery"]) for line in lines)
    print(f"{len(lines)} events, {len(lines) - len(faults)} survived, longest recovery {longest:.0f} s")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
