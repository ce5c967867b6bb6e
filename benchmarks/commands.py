"""How long the two commands of the README take, once ``.venv`` stands: ``python benchmarks/commands.py``.

Data and results are made anew in a folder that is removed again.
"""

import os
import subprocess
import tempfile
import time

import measure

from hsta_lib import ROOT

COMMANDS = "make table4", "make test"


def minutes(command, folder):
    """Of a command, data and results in a folder."""
    folders = {"HSTA_DATA": f"{folder}/data", "HSTA_RESULTS": f"{folder}/results"}
    started = time.perf_counter()
    subprocess.run(command.split(), cwd=ROOT, env=os.environ | folders, check=True)
    return (time.perf_counter() - started) / 60


if __name__ == "__main__":
    arguments = measure.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = [measure.row(command, [minutes(command, name)], "minutes") for command in COMMANDS]
    measure.finish(__file__, found, arguments.record)
