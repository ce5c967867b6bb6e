"""Which frames of a clip are used, and their pixels: decoded once into a memory-mapped uint8 array."""

import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from hsta_lib.files import file_digest

SUFFIXES = (".jpg", ".jpeg", ".bmp", ".png")


class Unreadable(ValueError):
    """A frame that cannot be decoded: its ``path`` and the ``reason``."""

    def __init__(self, path, reason):
        super().__init__(f"{path} is {reason}")
        self.path, self.reason = path, reason


def choose_frames(onset, offset, n_frames, *, apex=None, keep_apex=False):
    """Frame numbers of a clip, uniform over onset to offset (section 4.1).

    Parameters
    ----------
    onset, offset : int
        First and last frame of the expression, inclusive; both are always among the frames chosen
        unless the apex takes the place of one of them.
    n_frames : int
        At least 2. A clip shorter than this repeats frames.
    apex : int, optional
        Needed with ``keep_apex``.
    keep_apex : bool
        Replace the chosen frame nearest to the apex by the apex.

    Returns
    -------
    ndarray of int, shape (n_frames,)
        Ascending. Halves round to the even number, as in ``numpy.rint``.

    Raises
    ------
    ValueError
        If ``offset < onset``, ``n_frames < 2``, or the apex to keep lies outside the clip.

    Examples
    --------
    >>> choose_frames(10, 20, 6).tolist(), choose_frames(10, 20, 6, apex=15, keep_apex=True).tolist()
    ([10, 12, 14, 16, 18, 20], [10, 12, 15, 16, 18, 20])
    """
    if offset < onset or n_frames < 2:
        raise ValueError(f"cannot choose {n_frames} frames (2 or more) from {onset}..{offset}")
    numbers = np.rint(np.linspace(onset, offset, n_frames)).astype(int)
    if keep_apex:
        if apex is None or not onset <= apex <= offset:
            raise ValueError(f"the apex {apex} lies outside {onset}..{offset}")
        numbers[np.argmin(np.abs(numbers - apex))] = apex
    return numbers


def index_folder(folder):
    """Frame files of a folder by the last integer of their names; of two with one number, the first by name.

    Returns
    -------
    dict of int to Path
        Empty if the folder does not exist.
    """
    files = {}
    for name in sorted(os.listdir(folder)) if Path(folder).is_dir() else ():
        stem, suffix = os.path.splitext(name)
        number = re.search(r"(\d+)$", stem)
        if number and suffix.lower() in SUFFIXES and not name.startswith("."):
            files.setdefault(int(number.group(1)), Path(folder) / name)
    return files


def decode(path, image_size, crop):
    """Read one frame.

    Parameters
    ----------
    path : Path
    image_size : int
        px, square.
    crop : {"none", "center_square"}
        The whole frame resized, its aspect lost (as the released code does), or its central square.

    Returns
    -------
    ndarray, uint8, shape (image_size, image_size, 3)
        RGB; grey images get three equal channels. Shrunk by area averaging.

    Raises
    ------
    Unreadable
        If the file is truncated or no image. Damage inside a JPEG that its decoder bridges is not seen.
    """
    data = Path(path).read_bytes()
    is_jpeg = data[:2] == b"\xff\xd8"
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    # OpenCV fills the missing part of a truncated JPEG with grey: look for its end-of-image marker.
    if image is None or (is_jpeg and b"\xff\xd9" not in data[-64:]):
        raise Unreadable(path, f"truncated or no image ({len(data)} bytes)")
    if crop == "center_square":
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        image = image[top : top + side, left : left + side]
    shrinks = image_size < min(image.shape[:2])
    size = (image_size, image_size)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cache_frames(clips, settings, folder):
    """Decode the frames of a clip table once; later calls open what is there.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``folder``, ``onset``, ``apex``, ``offset``.
    settings : hsta_lib.config.Frames
    folder : Path
        Of the caches; this one's name is a hash of the frame files' names, sizes and times and of the
        settings, so a changed source or setting makes a new cache.

    Returns
    -------
    path : Path
        Of a ``.npy`` file: uint8, shape ``(n_kept, n_frames + 2, image_size, image_size, 3)``, one row per
        clip that could be read, in the order of ``clips``; the last two frames are onset and apex.
    digest : str
        SHA-256 of that file.
    problems : list of tuple
        ``(where, clip_id, problem, action)`` of every clip left out.
    """
    chosen, problems = _choose_files(clips, settings)
    path = Path(folder) / _cache_key(chosen, settings) / "frames.npy"
    built = _intact(path) or _build(path, chosen, settings)
    return path, built["digest"], problems + [tuple(row) for row in built["unreadable"]]


def _choose_files(clips, settings):
    """Files to decode per clip: a list of ``(clip_id, [paths])``, and the clips that lack one."""
    chosen, problems, indexed = [], [], {}
    for clip in clips.itertuples():
        if clip.folder not in indexed:
            indexed[clip.folder] = index_folder(clip.folder)
        files = indexed[clip.folder]
        video = choose_frames(
            clip.onset, clip.offset, settings.n_frames, apex=clip.apex, keep_apex=settings.keep_apex
        )
        numbers = [*video.tolist(), clip.onset, clip.apex]
        missing = sorted(set(numbers) - set(files))
        if missing:
            what = f"frame {missing[0]} missing" if files else "folder missing or without frames"
            problems.append((str(clip.folder), clip.clip_id, what, "clip left out"))
        else:
            chosen.append((clip.clip_id, [files[number] for number in numbers]))
    return chosen, problems


def _cache_key(chosen, settings):
    # Per file, not per frame drawn: a file that several frames share is looked at once.
    stats = {path: path.stat() for _, paths in chosen for path in paths}
    files = [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()]
    described = [[clip_id, [str(path) for path in paths]] for clip_id, paths in chosen]
    text = json.dumps([settings.model_dump(), described, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _intact(path):
    """What `_build` noted of a cache, if the cache is there and as it was built; else None."""
    try:
        built = json.loads(path.with_name("built.json").read_text())
        return built if built["digest"] == file_digest(path) else None
    except (OSError, ValueError, KeyError):
        return None


def _build(path, chosen, settings):
    """Write the cache beside its place and rename it: half a cache is never read."""
    partial = path.parent.with_name(f".{path.parent.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        unreadable = _decode_all(partial / "frames.npy", chosen, settings)
        built = {"digest": file_digest(partial / "frames.npy"), "unreadable": unreadable}
        (partial / "built.json").write_text(json.dumps(built))
        if path.parent.exists() and not _intact(path):
            shutil.rmtree(path.parent)
        partial.rename(path.parent)
    except OSError:
        if not _intact(path):  # else another process has built the same cache meanwhile
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _intact(path)


def _decode_all(path, chosen, settings):
    size = settings.image_size
    frames = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(len(chosen), settings.n_frames + 2, size, size, 3)
    )
    kept, unreadable = 0, []
    with ThreadPoolExecutor() as pool:  # OpenCV decodes outside the interpreter lock
        clips = pool.map(lambda item: _decode_clip(item, settings), chosen)
        for (clip_id, _), clip in tqdm(
            zip(chosen, clips, strict=True), total=len(chosen), desc="decoding", unit="clip",
            file=sys.stdout, ascii=True, mininterval=5,
        ):  # fmt: skip
            if isinstance(clip, Unreadable):
                unreadable.append((str(clip.path), clip_id, clip.reason, "clip left out"))
            else:
                frames[kept] = clip
                kept += 1
    frames.flush()
    del frames
    if unreadable:
        _drop_rows_from(path, kept)
    return unreadable


def _decode_clip(item, settings):
    try:
        return np.stack([decode(path, settings.image_size, settings.crop) for path in item[1]])
    except Unreadable as error:
        return error


def _drop_rows_from(path, n):
    kept = np.array(np.load(path, mmap_mode="r")[:n])
    np.save(path, kept)
