"""A clip of one's own, a video file or a folder of frames, cut and decoded as a dataset's clips are."""

import dataclasses
import tempfile
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hsta_lib.data.apex import with_apex
from hsta_lib.data.frames import cache_frames, index_folder

_LONGEST = 1000  # frames of a video; a micro-expression lasts half a second


@contextmanager
def own_clip(choice, frames, dataset):
    """A dataset of this one clip, as long as the context lasts; then nothing of it is left on the disk.

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

    Yields
    ------
    hsta_lib.data.dataset.Dataset
        Its clip has the label -1.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it cannot be decoded or holds no frames, the frame numbers lie outside it, or its crop needs a face
        that cannot be found.
    """
    if frames.crop == "boxes":
        raise ValueError(
            f"clip = {choice.clip!r}: crop = 'boxes' needs the box of its face; use a preset with crop: face"
        )
    with tempfile.TemporaryDirectory() as folder:
        clips, path = _decoded(choice, frames, Path(folder))
        yield dataclasses.replace(dataset, clips=clips, frames_path=path)


def _decoded(choice, frames, workshop):
    """Clip table of a clip of one's own, and the file of its frames."""
    where, path = f"clip = {choice.clip!r}", Path(choice.clip).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{where}: no such file or folder")
    folder = path if path.is_dir() else _extracted(path, where, choice, workshop / "frames")
    numbers = _numbers(choice, where, sorted(index_folder(folder)))
    row = {
        "clip_id": f"own/{path.name}", "subject_id": "own", "folder": folder, **numbers,
        "label": -1, "expression_type": "micro",
    }  # fmt: skip
    clips = pd.DataFrame([row]).astype(dict.fromkeys(numbers, "Int64"))
    clips, estimated = with_apex(clips, "difference", workshop / "cache")
    cached, _, left_out, noted = cache_frames(clips, frames, workshop / "cache")
    if left_out:
        raise ValueError(f"{where} cannot be used: {left_out[0][2]}")
    print("onset {onset}, apex {apex}, offset {offset}".format(**clips.iloc[0]))
    for _, _, problem, action in estimated + noted:
        print(f"{problem}: {action}")
    return clips, cached


def _numbers(choice, where, there):
    if not there:
        raise ValueError(f"{where}: the folder holds no numbered frames (.jpg, .jpeg, .bmp, .png)")
    onset = there[0] if choice.onset is None else choice.onset
    offset = there[-1] if choice.offset is None else choice.offset
    between = onset if choice.apex is None else choice.apex
    if not there[0] <= onset <= between <= offset <= there[-1]:
        raise ValueError(
            f"{where}: onset = {onset}, apex = {choice.apex}, offset = {offset}, but its frames are "
            f"{there[0]} to {there[-1]}, and onset <= apex <= offset is needed"
        )
    return {"onset": onset, "apex": choice.apex, "offset": offset}


def _extracted(path, where, choice, folder):
    """Frames of a video as files, from onset to offset."""
    video = cv2.VideoCapture(str(path))
    first, last, number = choice.onset or 1, choice.offset or np.inf, 0
    folder.mkdir()
    try:
        while number < last and video.grab():
            number += 1
            is_read, image = video.retrieve() if number >= first else (False, None)
            if is_read:
                cv2.imwrite(str(folder / f"{number}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if number - first >= _LONGEST:
                raise ValueError(f"{where}: more than {_LONGEST} frames; give onset and offset")
    finally:
        video.release()
    if not number:
        raise ValueError(f"{where} cannot be decoded as a video; give another format or a folder of frames")
    if not any(folder.iterdir()):
        raise ValueError(f"{where}: onset = {first}, but only {number} frames can be decoded")
    return folder
