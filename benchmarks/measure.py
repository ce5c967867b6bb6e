"""What the benchmarks share: peak memory of a process, and ``results.csv``, which docs/benchmarks.md shows.

A script's ``--record`` replaces its own rows there.
"""

import argparse
import re
import resource
import statistics
from contextlib import suppress
from pathlib import Path

import pandas as pd

from hsta_lib.commands.docs import rounded
from hsta_lib.config import n_cores
from hsta_lib.training.calibration import describe_machine

RESULTS = Path(__file__).with_name("results.csv")


def parser(doc, file=RESULTS):
    """Arguments of a benchmark with this docstring, which keeps its results in this file."""
    made = argparse.ArgumentParser(description=doc.partition("\n")[0])
    made.add_argument("--record", action="store_true", help=f"write the results to {file.name}")
    return made


def row(what, values, unit="times"):
    """A result: what was measured, of repeated values the median, least and largest, and their unit."""
    return {
        "what": what, "median": statistics.median(values), "least": min(values), "largest": max(values),
        "unit": unit,
    }  # fmt: skip


def finish(script, rows, record):
    """Print results and, if asked for, keep them.

    Parameters
    ----------
    script : str
        Path of the script.
    rows : list of dict
        From `row`.
    record : bool
        Rows of this script and machine replace those that are there.
    """
    found = pd.DataFrame(rows)
    for one in found.itertuples():
        ends = f"{rounded(one.least)} to {rounded(one.largest)}"
        print(f"{one.what}: {rounded(one.median)} {one.unit} ({ends})")
    if not record:
        return
    found.insert(0, "script", Path(script).name)
    found["machine"] = machine()
    if RESULTS.exists():
        others = pd.read_csv(RESULTS)
        same = (others["script"] == Path(script).name) & (others["machine"] == machine())
        found = pd.concat([others[~same], found]).sort_values("script", kind="stable")
    found.to_csv(RESULTS, index=False, float_format="%.4g")


def machine():
    """Processor, cores used and version of torch, in words."""
    described = describe_machine(0, "")
    return f"{described['processor']}, {n_cores()} cores, torch {described['torch']}"


def most_resident():
    """Peak memory of this process, bytes.

    What the system counts for a new process begins with its parent's; Linux also tells its own.
    """
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return 1024 * int(found.group(1))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
