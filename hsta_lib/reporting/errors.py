"""In a notebook an error of this library and an interrupt are a line each; others keep their traceback."""

from pathlib import Path
from traceback import walk_tb

from IPython import get_ipython

from hsta_lib import PACKAGE, STOPPED


def show_messages_alone():
    """From now on, show errors of this library in this notebook as one line each; nothing elsewhere."""
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((Exception, KeyboardInterrupt), _show)


def _show(shell, kind, error, trace, tb_offset=None):
    """What IPython calls instead of showing an error's traceback."""
    if isinstance(error, KeyboardInterrupt):
        shell._showtraceback(kind, error, [str(error) or STOPPED])
    elif _raised_here(trace):
        shell._showtraceback(kind, error, [f"{kind.__name__}: {error}"])
    else:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _raised_here(trace):
    """Whether the statement that raised lies in this library."""
    *_, (frame, _) = walk_tb(trace)
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)
