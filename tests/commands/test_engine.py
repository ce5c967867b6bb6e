"""What a terminal shows while ``make`` runs a notebook, and at its end."""

import io
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from hsta_lib import ROOT, STOPPED
from hsta_lib.commands.terminal import Terminal

PAPERMILL = [sys.executable, "-m", "papermill", "--engine", "hsta", "--log-level", "ERROR",
             "--no-progress-bar"]  # fmt: skip
OURS = "from hsta_lib import config; config.load_preset('smok')"
START = "from hsta_lib.reporting.errors import show_messages_alone\nshow_messages_alone()"


def _command(tmp_path, *cells):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = [new_markdown_cell(text) if text.startswith("#") else new_code_cell(text) for text in cells]
    nbformat.write(new_notebook(cells=made, metadata=metadata), tmp_path / "in.ipynb")
    return [*PAPERMILL, str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]


def _run(tmp_path, *cells):
    return subprocess.run(_command(tmp_path, *cells), cwd=ROOT, capture_output=True, text=True, check=False)


def test_sections_are_told_and_nothing_else(tmp_path):
    done = _run(tmp_path, "# Seven\n\nand more", "print(7)", "## The data", "7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Seven\nThe data\n")
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[1].outputs[0].text == "7\n"


def test_an_error_of_this_library_is_its_message_in_terminal_and_report(tmp_path):
    done = _run(tmp_path, START, OURS)
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"ValueError: preset = 'smok' is unknown; known in params/: .*", line)
    assert done.returncode == 1
    outputs = [
        output
        for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert [output.traceback for output in outputs] == [[line]]


def test_an_error_of_another_library_keeps_its_traceback(tmp_path):
    done = _run(tmp_path, START, "import json\njson.loads('{')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "raw_decode" in done.stderr


def test_an_interrupt_reaches_the_kernel_and_leaves_one_line(tmp_path):
    mark = tmp_path / "mark"
    cell = f"""import time
from hsta_lib.training.run import Stopped
open({str(mark)!r}, "w").close()
try:
    time.sleep(60)
except KeyboardInterrupt:
    raise Stopped("stopped: 2 of 5") from None"""
    process, told = _signalled(tmp_path, cell, mark, signal.SIGINT)
    assert process.returncode == 1
    assert told.rstrip().endswith("stopped: 2 of 5")


def test_sigterm_ends_the_kernel_first(tmp_path):
    mark, kept = tmp_path / "mark", tmp_path / "checkpoint"
    cell = f"""import os, signal, time
def keep(*_):
    time.sleep(1)
    open({str(kept)!r}, "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, keep)
open({str(mark)!r}, "w").close()
time.sleep(60)"""
    process, _ = _signalled(tmp_path, cell, mark, signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM
    assert kept.exists()


def _signalled(tmp_path, cell, mark, number):
    """A process of papermill that got a signal while its cell ran, when it has ended; and what it told."""
    command = _command(tmp_path, "# Run", START, cell)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    return process, told


@pytest.mark.parametrize("seconds", [0.3, 1.5, 3, 5])  # Python, papermill, a kernel and the library start
def test_an_interrupt_is_one_line_from_the_first_moment(tmp_path, seconds):
    command = _command(tmp_path, START, "from hsta_lib.study import start")
    command[1 : len(PAPERMILL)] = ["-m", "hsta_lib.commands.execute"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    lines = told.removeprefix(f"{tmp_path / 'in.ipynb'}: loading libraries\n")
    assert lines != told or seconds < 3  # Python itself may take that long on a busy machine
    assert lines.strip() in (STOPPED, "Aborted!", ""), "nothing, if it had ended"


_AS_JUPYTERLAB = """
import sys, threading, time
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from jupyter_client import KernelManager

def interrupt():
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
    time.sleep(0.2)
    client.km.interrupt_kernel()

notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, kernel_manager_class=KernelManager, allow_errors=True)
threading.Thread(target=interrupt, daemon=True).start()
client.execute()
print([output.traceback for output in notebook.cells[1].outputs])
"""


def test_an_interrupt_of_a_kernel_as_jupyterlab_sends_it_is_one_line(tmp_path):
    mark = tmp_path / "mark"
    _command(tmp_path, START, f"import time\nopen({str(mark)!r}, 'w').close()\ntime.sleep(60)")
    command = [sys.executable, "-c", _AS_JUPYTERLAB, str(tmp_path / "in.ipynb"), str(mark)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told == "[['stopped: what was made is kept; run the notebook again to continue']]\n"


class _Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_overwritten_on_a_screen_and_leaves_its_last_state():
    screen = _Screen()
    terminal = Terminal(screen)
    terminal.section("Training")
    for state in ("1/3 trials: long", "3/3"):
        terminal.bar(state)
    terminal.section("Scores")
    assert screen.getvalue() == "Training\n\r  1/3 trials: long\r  3/3             \nScores\n"


@pytest.mark.parametrize(("passed", "lines"), [(29, ["  1/3"]), (31, ["  1/3", "  2/3"])])
def test_a_bar_in_a_file_is_a_line_now_and_then(monkeypatch, passed, lines):
    now = iter([100, 100, 100 + passed, 100 + passed])
    monkeypatch.setattr("hsta_lib.commands.terminal.time.monotonic", lambda: next(now))
    file = io.StringIO()
    terminal = Terminal(file)
    terminal.bar("1/3")
    terminal.bar("2/3")
    assert file.getvalue().splitlines() == lines
