"""papermill with the engine of `engine`, for ``make``: an interrupt is one line from the first moment."""

import sys

from hsta_lib import STOPPED

_OPTIONS = ["--engine", "hsta", "--log-level", "ERROR", "--no-progress-bar"]

if __name__ == "__main__":
    try:
        print(f"{' '.join(sys.argv[1:2])}: loading libraries", file=sys.stderr, flush=True)
        from papermill.cli import papermill  # for seconds
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    papermill([*_OPTIONS, *sys.argv[1:]], prog_name="papermill")
