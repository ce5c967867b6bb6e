"""A clip of one's own, a video file or a folder of frames, cut and decoded as a dataset's clips are."""

import dataclasses
import tempfile
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hsta_lib.data.apex import with_apex
from hsta_lib.data.frames import (
    cache_frames,
    choose_frames,
    frames_between,
    index_folder,
    read_image,
    why_no_frames,
)
from hsta_lib.data.readers.find import nearest_folder
from hsta_lib.reporting.tables import counted

_NO_VIDEO = "cannot be decoded as a video; give another format or a folder of frames"
_LONGEST = 1000  # frames of a video; a micro-expression lasts half a second


@contextmanager
def own_clip(choice, frames, dataset, tell=print):
    """A dataset of this one clip, label -1, while the context lasts; then nothing of it is left on the disk.

    Parameters
    ----------
    choice : hsta_lib.attention.weights.Choice
        ``clip`` is a video file, whose frames are counted from 1, or a folder of frames, numbered by the last
        integer of their names. Without ``onset`` its first frame is taken, without ``offset`` the last, and
        without ``apex`` the frame most unlike the onset, see `hsta_lib.data.apex.with_apex`.
    frames : hsta_lib.config.Frames
        Which frames, what size and what crop.
    dataset : hsta_lib.data.dataset.Dataset
        Of which the classes are taken.
    tell : callable
        Given a line for each thing that was taken or found.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it cannot be decoded or holds no frames, the frame numbers lie outside it, or its crop needs a face
        that cannot be found.
    """
    with _opened(choice, frames, tell) as (clips, path):
        yield dataclasses.replace(dataset, clips=clips, frames_path=path)


def check(choice, frames):
    """Refuse, before anything is trained, what `own_clip` would refuse."""
    with _opened(choice, frames, lambda _: None):
        pass


@contextmanager
def _opened(choice, frames, tell):
    if frames.crop == "boxes":
        raise ValueError(
            f"clip = {choice.clip!r}: crop = 'boxes' needs the box of its face; use a preset with crop: face"
        )
    with tempfile.TemporaryDirectory() as folder:
        yield _decoded(choice, frames, Path(folder), tell)


def _place(choice):
    where, path = f"clip = {choice.clip!r}", Path(choice.clip).expanduser()
    if path.exists():
        return where, path
    there = nearest_folder(path.absolute())
    raise FileNotFoundError(f"{where}: no such file or folder; the nearest folder is {there}")


def _decoded(choice, frames, workshop, tell):
    """Clip table of a clip of one's own, and the file of its frames."""
    where, path = _place(choice)
    is_folder = path.is_dir()
    folder = path if is_folder else workshop / "frames"
    there = sorted(index_folder(path)) if is_folder else _extracted(path, where, choice, folder, tell)
    numbers = _numbers(choice, where, there, path)
    row = {
        "clip_id": f"own/{path.name}", "subject_id": "own", "folder": folder, **numbers,
        "label": -1, "expression_type": "micro",
    }  # fmt: skip
    clips = pd.DataFrame([row]).astype(dict.fromkeys(numbers, "Int64"))
    clips, estimated = with_apex(clips, "difference", workshop / "cache")
    cached, _, left_out, noted = cache_frames(clips, frames, workshop / "cache")
    if left_out:
        place, _, problem, _ = left_out[0]
        raise ValueError(f"{where} cannot be used: {Path(place).name}: {problem}")
    notes = [f"{problem}: {action}" for _, _, problem, action in estimated + noted]
    for line in [*_told(clips.iloc[0], frames, index_folder(folder)), *notes]:
        tell(line)
    return clips, cached


def _told(clip, frames, files):
    """What was taken of a clip, and what its reader should know of it, in lines."""
    onset, apex, offset = clip["onset"], clip["apex"], clip["offset"]
    yield f"onset {onset}, apex {apex}, offset {offset}"
    if frames.drawing == "uniform":
        taken = choose_frames(onset, offset, frames.n_frames, apex=apex, keep_apex=frames.keep_apex)
        yield f"the video branch sees the frames {', '.join(map(str, taken))}"
    there = frames_between(files, onset, offset)
    missing = [str(number) for number in range(onset, offset + 1) if number not in there]
    if missing:
        yield (
            f"missing or cannot be decoded: {counted(len(missing), 'frame')}, {', '.join(missing)}; behind a "
            "damaged place of a video, numbers may be too low"
        )
    if apex == onset:
        yield "the apex is the onset: nothing moves, and what class is given means nothing"
    height, width, _ = read_image(next(iter(there.values()))).shape
    if height != width and frames.crop == "none":
        yield f"{width} x {height} px are squashed to a square, as crop = 'none' does with every frame"


def _numbers(choice, where, there, path):
    if not there:
        raise ValueError(f"{where}: {why_no_frames(path)}")
    onset = there[0] if choice.onset is None else choice.onset
    offset = there[-1] if choice.offset is None else choice.offset
    between = onset if choice.apex is None else choice.apex
    if not there[0] <= onset <= between <= offset <= there[-1]:
        raise ValueError(
            f"{where}: onset = {onset}, apex = {choice.apex}, offset = {offset}, but its frames are "
            f"{there[0]} to {there[-1]}, and onset <= apex <= offset is needed"
        )
    if onset == offset:
        raise ValueError(f"{where}: one frame, {onset}, in which nothing can move; two are needed")
    return {"onset": onset, "apex": choice.apex, "offset": offset}


def _extracted(path, where, choice, folder, tell):
    """Write a video's frames from onset to offset; their numbers. A place that fails is not its end."""
    video = cv2.VideoCapture(str(path))
    # Its header tells how many frames it has; that of MPEG-PS does not, and OpenCV then estimates.
    stated = video.get(cv2.CAP_PROP_FRAME_COUNT)
    first, last, number = max(choice.onset or 1, 1), choice.offset or np.inf, 0
    folder.mkdir()
    try:
        while number < last and ((is_there := video.grab()) or 0 < number < stated):
            number += 1
            is_read, image = video.retrieve() if is_there and number >= first else (False, None)
            if is_read:
                cv2.imwrite(str(folder / f"{number}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if number - first >= _LONGEST:
                raise ValueError(f"{where}: more than {_LONGEST} frames; give onset and offset")
    finally:
        video.release()
    if not number:
        raise ValueError(f"{where} {_NO_VIDEO}")
    if number > stated:
        tell(
            f"{number} frames are read, where decoding ends; the file does not state how many it has: those "
            "lost in a damaged place are not named, and numbers behind it are too low"
        )
    if not any(folder.iterdir()):
        raise ValueError(f"{where}: onset = {first}, but only {number} frames can be decoded")
    return range(first, number + 1)
