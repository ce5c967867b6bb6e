"""What the benchmarks share: peak memory of a process, and ``results.csv``, which docs/benchmarks.md shows.

A script's ``--record`` replaces its own rows there.
"""

import argparse
import platform
import re
import resource
import statistics
from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch

from hsta_lib.commands.docs import rounded
from hsta_lib.config import n_cores

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
    if torch.cuda.is_available():
        processor = torch.cuda.get_device_name()
    else:
        processor = _linux_says("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor()
    return f"{processor}, {n_cores()} cores, torch {torch.__version__}"


def _linux_says(path, pattern):
    """What follows a name in a line of a file of Linux; None elsewhere."""
    with suppress(OSError):
        found = re.search(f"^{pattern}$", Path(path).read_text(), re.MULTILINE)
        return found and found.group(1)


def most_resident():
    """Peak memory of this process, bytes.

    What the system counts for a new process begins with its parent's; Linux also tells its own.
    """
    found = _linux_says("/proc/self/status", r"VmHWM:\s*(\d+) kB")
    return 1024 * int(found or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
