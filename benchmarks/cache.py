"""The frame cache against decoding anew every epoch: ``python benchmarks/cache.py``.

The released loader decodes and resizes every frame of a clip, at most 51, whenever the clip is drawn, and
chooses among them afterwards. That is imitated with PIL in one process. Against it stand building our cache,
6 frames with onset and apex per clip, on one core and on two, and reading a batch from it. What a process
takes once, to check the digest of a cache, is compared with building it on two cores. The runs alternate
and the ratios are taken run by run, so that a machine whose speed drifts does not decide them.
"""

import contextlib
import io
import os
import tempfile
import time
from pathlib import Path

import cv2
import measure
import numpy as np
import pandas as pd
from PIL import Image

from hsta_lib.config import Frames
from hsta_lib.data.frames import cache_frames
from hsta_lib.files import file_digest

RUNS = 3
# Frames of the clips of one batch: from 5 to 51, as the released loader cuts CAS(ME)^3's, 20 on average.
LENGTHS = np.rint(np.geomspace(5, 51, 32)).astype(int)
HEIGHT, WIDTH = 720, 1280  # px
SETTINGS = Frames(n_frames=6, image_size=224)


def picture(number):
    """A textured gradient, without noise, that moves by a pixel per frame."""
    x, y = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    channels = [np.sin((x + number) / (7 + 3 * c)) * np.cos(y / (11 + 2 * c)) for c in range(3)]
    return np.uint8(100 + 50 * np.stack(channels, -1) + 60 * (x / WIDTH)[:, None])


def write_clips(root):
    """Table of clips whose frames are 1 up to their length."""
    jpegs = [
        cv2.imencode(".jpg", picture(number), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        for number in range(LENGTHS.max())
    ]
    rows = []
    for length in LENGTHS:
        folder = root / f"clip{len(rows):02d}"
        folder.mkdir()
        for number in range(1, length + 1):
            (folder / f"{number}.jpg").write_bytes(jpegs[number - 1])
        rows.append((folder.name, folder, 1, (1 + length) // 2, length))
    return pd.DataFrame(rows, columns=["clip_id", "folder", "onset", "apex", "offset"])


def decode_all(clips):
    """What the released loader does with a batch, up to choosing frames."""
    for clip in clips.itertuples():
        frames = []
        for number in range(clip.onset, clip.offset + 1):
            with Image.open(clip.folder / f"{number}.jpg") as image:
                frames.append(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)))
        np.stack(frames)


def build(clips, n_cores, cores):
    """Build the cache on some of the cores of this process; its path."""
    os.sched_setaffinity(0, sorted(cores)[:n_cores])  # threads started from here on inherit it
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            cache_frames(clips, SETTINGS, Path(folder))
    finally:
        os.sched_setaffinity(0, cores)


def read_batch(path):
    rows = np.random.default_rng(0).permutation(len(LENGTHS))
    np.load(path, mmap_mode="c")[rows]


def seconds(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def main():
    options = measure.parser(__doc__).parse_args()
    cores = os.sched_getaffinity(0)
    cv2.setNumThreads(1)
    ratios = {"cache built on one core": [], "cache built on two cores": [], "batch read from the cache": []}
    checks = []
    with tempfile.TemporaryDirectory() as root:
        clips = write_clips(Path(root))
        path, *_ = cache_frames(clips, SETTINGS, Path(root))
        for _ in range(RUNS):
            released = seconds(decode_all, clips)
            ours = [
                seconds(build, clips, 1, cores), seconds(build, clips, 2, cores), seconds(read_batch, path),
            ]  # fmt: skip
            for name, taken in zip(ratios, ours, strict=True):
                ratios[name].append(released / taken)
            checks.append(100 * seconds(file_digest, path) / ours[1])
            print(
                f"{released:.2f} s as released; " + ", ".join(f"{taken:.3f} s" for taken in ours), flush=True
            )
    rows = [
        measure.row(f"{name}, speed over the released loader's", values) for name, values in ratios.items()
    ]
    rows.append(measure.row("check of a cache over building it on two cores", checks, "%"))
    measure.finish(__file__, rows, options.record)


if __name__ == "__main__":
    main()
