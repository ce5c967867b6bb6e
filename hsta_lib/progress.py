"""How far long work has come: a line of plain text, of which a report keeps the last state alone."""

import sys

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm

MARK = {"progress": True}  # metadata of such an output


def bar(**options):
    """A bar of tqdm: in a notebook an output that is replaced as it grows, elsewhere a line of stdout.

    Parameters
    ----------
    **options
        Of `tqdm.tqdm`.

    Returns
    -------
    tqdm.tqdm
    """
    is_notebook = hasattr(get_ipython(), "kernel")
    return tqdm(file=_Output() if is_notebook else sys.stdout, ascii=True, **options)


class _Output:
    """A file whose line stands in one output of a notebook, marked as a progress bar by its metadata."""

    def __init__(self):
        self._handle = None

    def write(self, text):
        line = {"text/plain": text.strip()}
        if not line["text/plain"]:
            return
        if self._handle is None:
            self._handle = display(line, raw=True, metadata=MARK, display_id=True)
        else:
            self._handle.update(line, raw=True, metadata=MARK)
