"""What a run shows in a terminal: its sections, and a bar."""

import os
import sys
import time

_EVERY = 30  # seconds between the lines of a bar where nothing can be overwritten


def print_to_pipe(text):
    """Print; silent where the reader has enough, as in ``hsta-score ... | head``."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nothing more is to be written when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminal:
    """Lines of a run: its sections, and below them a bar that is overwritten.

    ``stream``: a terminal; or a file or pipe, which gets a bar's line every thirty seconds.
    """

    def __init__(self, stream=sys.stderr):
        self._stream, self._bar, self._last = stream, "", -_EVERY

    def section(self, text):
        """The heading of what runs next."""
        self.end_bar()
        print(text, file=self._stream, flush=True)

    def bar(self, text):
        """The present state of a bar."""
        if self._stream.isatty():
            print(f"\r  {text.ljust(len(self._bar))}", end="", file=self._stream, flush=True)
            self._bar = text
        elif time.monotonic() - self._last >= _EVERY:
            print(f"  {text}", file=self._stream, flush=True)
            self._last = time.monotonic()

    def end_bar(self):
        """Leave a bar as it is and go to the next line."""
        if self._bar:
            print(file=self._stream)
        self._bar, self._last = "", -_EVERY
