"""Model, data and metric code of the HSTA reproducibility study.

The notebooks in ``notebooks/`` turn this library into reports. `ROOT` holds ``data/``, ``results/``,
``reports/`` and a user's ``params/``: the repository, or, of an installed wheel, the working folder.
`SHIPPED` holds what comes with the library: the repository, or a folder of the installed package.
"""

from pathlib import Path

__version__ = "0.3.0"

PACKAGE = Path(__file__).resolve().parent
_IS_REPOSITORY = (PACKAGE.parent / "pyproject.toml").is_file()
ROOT = PACKAGE.parent if _IS_REPOSITORY else Path.cwd()
SHIPPED = ROOT if _IS_REPOSITORY else PACKAGE / "shipped"
STOPPED = "stopped: what was made is kept; run the notebook again to continue"
CHECKPOINT_SECONDS = 600  # that SIGTERM waits for the epoch a training is in
