"""Change of depth from onset to apex, from the depth maps that CAS(ME)^3 has beside its frames.

A depth map has one channel of 8 or 16 bits, larger values farther from the camera; 0 is an outlier of the
sensor, which says nothing. Change of depth is float32, shape (h, w), without unit, positive away from the
camera.
"""

import functools
import os
from pathlib import Path

import cv2
import numpy as np

from hsta_lib.data.cache import Unreadable, cache_key, cached_rows
from hsta_lib.data.frames import index_folder

# Part of every cache's name: raise it when the same maps come to give another change.
_DEPTH_VERSION = 1
_NO_WEIGHT = 1e-6  # below any share of a pixel that one valid pixel of a map can have


def read_depth(path):
    """A depth map as stored, uint8 or uint16, ``(h, w)``, 0 where the sensor failed; else `Unreadable`."""
    try:
        data = Path(path).read_bytes()
    except PermissionError as error:
        raise Unreadable(path, f"not readable ({error.strerror})") from error
    try:
        depth = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of no bytes, or of an impossible size
        depth = None
    if depth is None:
        raise Unreadable(path, f"truncated or no image ({len(data)} bytes)")
    if depth.ndim != 2 or depth.dtype not in (np.uint8, np.uint16):
        raise Unreadable(path, f"no depth map: {depth.dtype} {depth.shape}, not one channel of 8 or 16 bits")
    if not depth.any():
        raise Unreadable(path, "without a valid depth: every pixel is 0")
    return depth


def depth_change(onset, apex, size):
    """How much farther each point is at the apex, in median depths of the onset; 0 where not valid."""
    valid = (onset > 0) & (apex > 0)
    change = np.where(valid, apex.astype(float) - onset, 0) / np.median(onset[onset > 0])
    shrinks = size <= min(onset.shape)
    total, weight = (
        cv2.resize(channel, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        for channel in (change, valid.astype(float))
    )
    return np.where(weight > _NO_WEIGHT, total / np.maximum(weight, _NO_WEIGHT), 0).astype(np.float32)


def cache_depth(clips, size, folder):
    """Change of depth of every clip, computed once; later calls open what is there.

    Parameters
    ----------
    clips : DataFrame
        With ``dataset``, ``clip_id``, ``folder``, ``depth_folder``, ``onset`` and ``apex``. Maps are numbered
        as the frames, and none is replaced by another.
    size : int
        px, square. Maps are used whole, as frames are with ``crop = "none"``.
    folder : Path
        Of the caches; this one's name is a hash of the maps' names, sizes and times and of the size.

    Returns
    -------
    path, digest, problems
        See `hsta_lib.data.cache.cached_rows`, also for errors. The file is float32, ``(n_kept, size, size)``,
        one row per clip whose two maps could be read, in the order of ``clips``; see `depth_change`.

    Raises
    ------
    ValueError
        If no clip has a folder of depth maps: the dataset has none.
    """
    if not any(map(_is_path, clips["depth_folder"])):
        raise ValueError(
            f"dataset = {', '.join(sorted(set(clips['dataset'])))}: no clip has a depth_folder; CAS(ME)^3 "
            f"(casme3) has depth maps, and the synthetic benchmark in its layout with depth = True"
        )
    # Clips of a video share a folder, and come together in a table sorted by their ids.
    index = functools.lru_cache(maxsize=32)(index_folder)
    found = [(clip, *_maps_of(clip, index(clip.depth_folder))) for clip in clips.itertuples()]
    chosen = [(clip.clip_id, paths) for clip, paths, problem in found if not problem]
    left_out = [
        (str(clip.depth_folder if _is_path(clip.depth_folder) else clip.folder), clip.clip_id, problem)
        for clip, _, problem in found
        if problem
    ]
    described = [[clip_id, [str(path) for path in paths]] for clip_id, paths in chosen]
    key = cache_key(
        ["depth", _DEPTH_VERSION, size, described], [path for _, paths in chosen for path in paths]
    )
    path, digest, unreadable = cached_rows(
        Path(folder) / key, chosen, functools.partial(_read_change, size=size),
        shape=(size, size), dtype=np.float32, desc="change of depth",
    )  # fmt: skip
    return path, digest, [(*problem, "clip left out") for problem in left_out] + unreadable


def _is_path(folder):
    return isinstance(folder, (str, os.PathLike)) and bool(str(folder))


def _maps_of(clip, files):
    """Maps of a clip's onset and apex; or none, and what is missing."""
    if not _is_path(clip.depth_folder):
        return [], "no folder of depth maps"
    if not files:
        return [], "folder of depth maps missing, empty or not to be listed"
    missing = [f"{name} {n}" for name, n in (("onset", clip.onset), ("apex", clip.apex)) if n not in files]
    if missing:
        return [], f"no depth map of {' and '.join(missing)}"
    return [files[clip.onset], files[clip.apex]], ""


def _read_change(paths, size):
    onset, apex = map(read_depth, paths)
    if onset.shape != apex.shape:
        sizes = "{1} x {0} px, but {name} is {3} x {2} px".format(
            *apex.shape, *onset.shape, name=paths[0].name
        )
        raise Unreadable(paths[1], sizes)
    return depth_change(onset, apex, size)
