"""Model, data and metric code of the HSTA reproducibility study.

The notebooks in ``notebooks/`` turn this library into reports; `ROOT` is where they find the rest of
the project from whatever folder a kernel was started in.
"""

from pathlib import Path

__version__ = "0.2.0"

ROOT = Path(__file__).resolve().parent.parent
