"""What Figure 3, Table 7 and the controls compare: rows that differ in more than a grid of network sizes."""

import pandas as pd

from hsta_lib.training.trials import NAMED_CELL

# Figure 3 is printed as a picture; these are its counts.
_FIGURE3_FRAMES = (2, 4, 6, 8, 10, 12, 16)
_ONE_VIDEO_LAYER = {"m": 1, "l_v": 1, "l_s": 0, "csta": False}

# Rows of Table 7, in printed order (its third row ticks neither kind of special data; the network needs one),
# and their honest variants. `printed`: row of the paper's table, counted from 0.
_TABLE7 = [
    ("special frames", 0, "frames", "none", "emotion7"),
    ("optical flow, drawn as tracks (the paper's)", 1, "tracks", "none", "emotion7"),
    ("optical flow, dense", None, "flow", "none", "emotion7"),
    ("objective classes", 2, "frames", "none", "objective7"),
    ("objective classes, macro clips of training subjects", None, "frames", "training_subjects",
     "objective7"),
    ("objective classes, all macro clips (test subjects' too)", 4, "frames", "all", "objective7"),
    ("objective classes, all macro clips (test subjects' too), tracks", 3, "tracks", "all", "objective7"),
    ("objective classes, macro clips of training subjects, dense flow", None, "flow", "training_subjects",
     "objective7"),
    ("objective classes without VI", None, "frames", "none", "objective6"),
    ("objective classes without VI, macro clips of training subjects", None, "frames", "training_subjects",
     "objective6"),
]  # fmt: skip

# Changes to the named setting, one at a time; the first row is the setting as it is.
AS_IS = "as it is"
_CONTROLS = {
    AS_IS: {},
    "video frames shuffled": {"video": "shuffled"},
    "video: the apex frame repeated": {"video": "apex"},
    "video: onset and apex alone": {"video": "onset_apex"},
    "no positions": {"positions": "none"},
    "branches concatenated instead of CSTA": {"csta": False},
    "branches added instead of CSTA": {"csta": False, "head": "sum_linear"},
    "apex: frame most unlike the onset": {"apex": "estimated", "estimated_apex": "difference"},
    "apex: middle of onset and offset": {"apex": "estimated", "estimated_apex": "middle"},
    "half of the training subjects": {"training_subjects": 0.5},
    "a quarter of the training subjects": {"training_subjects": 0.25},
}
ASKED = ("video frames shuffled", "branches concatenated instead of CSTA")  # what the answer opens with
_AS_IS = {
    "video": "frames", "positions": "sincos", "csta": True, "head": "linear", "apex": "annotated",
    "estimated_apex": "middle", "training_subjects": 1.0,
}  # fmt: skip


def figure3():
    """One USTA layer on the video branch, by the number of frames."""
    return pd.DataFrame([{"n_frames": n, **_ONE_VIDEO_LAYER} for n in _FIGURE3_FRAMES])


def table7():
    """Special data, macro clips and classes of the named setting, as printed and in honest variants."""
    columns = ["row", "printed", "special", "macro_clips", "labels"]
    return pd.DataFrame(_TABLE7, columns=columns).astype({"printed": "Int64"}).assign(**NAMED_CELL)


def controls():
    """The named setting and changes to it that tell what its temporal modelling and its parts are worth."""
    return pd.DataFrame([{"row": row, **_AS_IS, **NAMED_CELL, **change} for row, change in _CONTROLS.items()])


DESIGNS = {"figure3": figure3, "table7": table7, "controls": controls}
