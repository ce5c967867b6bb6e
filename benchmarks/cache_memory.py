"""Memory of a large frame cache while it is built: ``python benchmarks/cache_memory.py``.

As many clips as CAS(ME)^3 has micro- and macro-expressions, in the order of their ids, out of 98 x 13 videos
of 2,500 frames. The videos are links to one folder, its frames to one tiny JPEG. The cache, 6 frames with
onset and apex at 224 px, takes 5 GB of disk in the folder for temporary files. Anonymous memory (RssAnon of
Linux) is what the process holds itself, without the pages of the cache, which the system can drop. Less than
1 GB is wanted. Frames of full size would add those of one clip per core.
"""

import os
import re
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hsta_lib.config import Frames
from hsta_lib.data.frames import cache_frames

N_CLIPS, N_SUBJECTS, FILMS, N_FRAMES = 4206, 98, "abcdefghijklm", 2500
SETTINGS = Frames(n_frames=6, image_size=224)


def write_videos(root):
    """Folders of the videos; all are one."""
    video = root / "video"
    video.mkdir()
    picture = cv2.imencode(".jpg", np.full((32, 32, 3), 128, np.uint8))[1].tobytes()
    (video / "1.jpg").write_bytes(picture)
    for number in range(2, N_FRAMES + 1):
        os.link(video / "1.jpg", video / f"{number}.jpg")
    folders = [root / f"spNO.{number}" / film for number in range(1, N_SUBJECTS + 1) for film in FILMS]
    for folder in folders:
        folder.parent.mkdir(exist_ok=True)
        folder.symlink_to(video)
    return folders


def make_clips(folders):
    """Table of clips of 3 to 99 frames, about as many in every video."""
    rng = np.random.default_rng(0)
    onset = rng.integers(1, N_FRAMES - 99, N_CLIPS)
    clips = pd.DataFrame({"folder": np.resize(np.array(folders, dtype=object), N_CLIPS), "onset": onset})
    clips["apex"] = onset + rng.integers(1, 50, N_CLIPS)
    clips["offset"] = clips["apex"] + rng.integers(1, 50, N_CLIPS)
    clips["clip_id"] = [
        f"{folder.parent.name}/{folder.name}/{number}" for number, folder in enumerate(clips["folder"])
    ]
    return clips.sort_values("clip_id", ignore_index=True)


def anonymous_memory():
    """RssAnon in bytes."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak_memory(function, *arguments):
    """What a call returns, and the most anonymous memory in bytes while it ran."""
    sampled, done = [anonymous_memory()], threading.Event()

    def sample():
        while not done.wait(0.02):
            sampled.append(anonymous_memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        return function(*arguments), max(sampled)
    finally:
        done.set()
        thread.join()


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = make_clips(write_videos(root))
        before, started = anonymous_memory(), time.perf_counter()
        (path, _, left_out, _), most = peak_memory(cache_frames, clips, SETTINGS, root / "cache")
        seconds, shape = time.perf_counter() - started, np.load(path, mmap_mode="r").shape
        print(
            f"anonymous memory: {before / 1e6:.0f} MB before, at most {most / 1e6:.0f} MB; "
            f"{shape[0]} clips, {len(left_out)} left out, {path.stat().st_size / 1e9:.2f} GB, {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()
