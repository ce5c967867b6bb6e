"""What a notebook compares: settings, data, folds and the trials they make; `start` opens a study."""

from hsta_lib.study.study import start

__all__ = ["start"]
