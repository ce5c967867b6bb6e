"""How ``make`` executes notebooks: papermill's engine, with a terminal that shows what runs and what failed.

Chosen by ``papermill --engine hsta``, a name that pyproject.toml gives it; the report is the same. papermill
loads this module while it is loaded itself: import papermill, not this.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError

from hsta_lib import CHECKPOINT_SECONDS, STOPPED
from hsta_lib.commands.terminal import Terminal
from hsta_lib.files import PROGRESS

# The kernel runs on this machine as papermill's child: that its messages are not encrypted is no news. An
# idle kernel is interrupted before it is ended, which it calls an error. What a cell raises is no log entry.
_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]


class _Client(PapermillNotebookClient):
    """papermill's client: it tells the terminal of headings and bars, and the kernel of an interrupt."""

    terminal = Terminal()
    is_executing = False

    def papermill_execute_cells(self):
        with _handed_on(self):
            super().papermill_execute_cells()
        self.terminal.end_bar()

    def execute_cell(self, cell, cell_index, *arguments, **options):
        heading = re.match(r"#+ (.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            self.terminal.section(heading[1])
        self.is_executing = True
        try:
            return super().execute_cell(cell, cell_index, *arguments, **options)
        finally:
            self.is_executing = False

    def process_message(self, message, *arguments, **options):
        content = message["content"]
        if content.get("metadata") == PROGRESS:
            self.terminal.bar(content["data"]["text/plain"])
        return super().process_message(message, *arguments, **options)


@contextmanager
def _handed_on(client):
    """Hand signals on to the kernel: its cell ends an interrupt with what it has to say; idle, it has none.

    SIGTERM ends the kernel first, which then has time for checkpoints.
    """

    def interrupt(number, frame):
        if not client.is_executing:
            signal.default_int_handler(number, frame)
        client.km.provisioner.process.send_signal(number)

    def end(number, frame):
        signal.signal(number, signal.SIG_IGN)  # who is asked as a group is asked more than once
        client.km.provisioner.process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            client.km.provisioner.process.wait(CHECKPOINT_SECONDS)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Engine(NBClientEngine):
    """papermill's engine; where a cell fails, its message alone is printed at the end."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, log_output=False, start_timeout=60, **options):
        """Execute a notebook; see `papermill.engines.Engine`."""
        sys.excepthook = _print_message
        started = {"kernel_name": kernel_name, "startup_timeout": start_timeout, "extra_arguments": _KERNEL}
        _Client(nb_man, timeout=None, **started).execute()


def _print_message(kind, error, trace):
    """What Python calls with an error that ends papermill's command."""
    if isinstance(error, PapermillExecutionError) and error.ename == "KeyboardInterrupt":
        print(STOPPED, file=sys.stderr)  # outside of a run, which tells what is stored
    elif isinstance(error, PapermillExecutionError):
        print(error.traceback[0] if len(error.traceback) == 1 else error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
