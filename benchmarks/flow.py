"""Error and cost of optical flow on the synthetic benchmark: ``python benchmarks/flow.py``.

Clips are drawn at 256 px and shrunk to the size at which frames are read, as the reader of a dataset does,
and the flow from onset to apex is compared with the true one, the drift of the head included. Errors are
mean end-point errors in px: over the whole head, and where the expression moves the skin by more than 30 %
of its peak. Beside each stands the error of a field of zeros. ``wall`` is the mean length of the flow behind
the head, where nothing moves. The generator seed is not the one the methods were tuned on.
"""

import importlib.util
import time
from itertools import product

import cv2
import numpy as np
import pandas as pd

from hsta_lib.config import Synthetic
from hsta_lib.data.flow import METHODS, optical_flow
from hsta_lib.data.synthetic.clips import clip_frames, true_flow
from hsta_lib.data.synthetic.population import sample_clips

SEED, CLIPS, SIZES, DIFFICULTIES = 2, 6, (64, 128, 224), ("easy", "micro")


def pairs(difficulty):
    """Specification, id, onset and apex frame of a few clips of different people."""
    spec = Synthetic(generator_seed=SEED, n_subjects=20, n_micro=60, difficulty=difficulty)
    for clip in sample_clips(spec).drop_duplicates("subject_id").head(CLIPS).itertuples():
        yield spec, clip.clip_id, clip_frames(spec, clip.clip_id)[[0, clip.apex - clip.onset]]


def errors(flow, spec, clip_id, size):
    """End-point errors over the head, over the skin that the expression moves and over the wall."""
    truth = true_flow(spec, clip_id, size, with_drift=True)
    expression = np.linalg.norm(true_flow(spec, clip_id, size), axis=2)
    error = np.linalg.norm(flow - truth, axis=2)
    head = truth.any(axis=2)  # behind the head nothing moves
    return error[head].mean(), error[expression > 0.3 * expression.max()].mean(), error[~head].mean()


def measure(method, size, spec, clip_id, frames):
    onset, apex = (cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames)
    started = time.perf_counter()
    flow = optical_flow(onset, apex, method)
    milliseconds = 1000 * (time.perf_counter() - started)
    ours, zero = (errors(field, spec, clip_id, size) for field in (flow, np.zeros_like(flow)))
    return {"head": ours[0], "head, zeros": zero[0], "moving": ours[1], "moving, zeros": zero[1],
            "wall": ours[2], "ms": milliseconds}  # fmt: skip


def main():
    methods = METHODS
    if importlib.util.find_spec("skimage") is None:
        methods = ("dis",)
        print("tvl1 left out: scikit-image is not installed")
    rows = [
        {"difficulty": difficulty, "px": size, "method": method, **measure(method, size, *pair)}
        for difficulty in DIFFICULTIES
        for pair in pairs(difficulty)
        for size, method in product(SIZES, methods)
    ]
    table = pd.DataFrame(rows).groupby(["difficulty", "px", "method"], sort=False).mean()
    print(f"mean of {CLIPS} clips, generator seed {SEED}; errors in px")
    print(table.round({"ms": 1}).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
