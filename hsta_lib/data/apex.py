"""The apex of clips whose sheet gives none (SMIC): estimated, and said so."""

import functools

import cv2
import numpy as np

from hsta_lib.data.cache import Unreadable, cache_key, cached_rows
from hsta_lib.data.frames import frames_of, index_folder, read_image

_SIZE = 64  # px; noise averages out, the expression stays
_FEW = 10  # clips that are listed one by one
_ACTIONS = {"middle": "the middle of onset and offset", "difference": "the frame most unlike the onset"}


def with_apex(clips, method, folder, problem="no apex given"):
    """Fill in missing apex frames; onset, apex and offset become integers.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``folder``, ``onset``, ``apex`` (missing where the sheet gives none), ``offset``.
    method : {"middle", "difference"}
        The middle of onset and offset, rounded down; or the frame that differs most from the onset, in mean
        absolute grey value at 64 px.
    folder : Path
        Where ``difference`` keeps its results.
    problem : str
        Why a clip has none.

    Returns
    -------
    clips : DataFrame
    notes : list of tuple
        ``(where, clip_id, problem, action)``; one row for all if many clips lack an apex.
    """
    missing = clips["apex"].isna()
    clips = clips.assign(apex=clips["apex"].fillna((clips["onset"] + clips["offset"]) // 2))
    clips = clips.astype(dict.fromkeys(["onset", "apex", "offset"], int))
    names, unread = clips.loc[missing, "clip_id"], []
    if method == "difference" and missing.any():
        found, unread = _most_different(clips[missing], folder)
        clips["apex"] = clips["clip_id"].map(found).fillna(clips["apex"]).astype(int)
        names = names[names.isin(found)]
    names = [f"{len(names)} clips"] if len(names) > _FEW else names
    notes = [("annotation sheet", name, problem, _ACTIONS[method]) for name in names]
    return clips, notes + [
        (where, clip_id, f"{problem}; {reason}", _ACTIONS["middle"]) for where, clip_id, reason, _ in unread
    ]


def _most_different(clips, folder):
    """Clip to the number of its frame that differs most from the onset; and the clips that cannot be read."""
    index = functools.cache(index_folder)  # many clips may share a folder
    items = [(clip.clip_id, frames_of(clip, index(clip.folder))) for clip in clips.itertuples()]
    files = [path for _, frames in items for path in frames.values()]
    described = ["apex", _SIZE, [[clip_id, list(frames)] for clip_id, frames in items]]
    path, _, left_out = cached_rows(
        folder / cache_key(described, files),
        items,
        _apex,
        shape=(),
        dtype=np.int64,
        desc="estimating the apex",
    )
    unread = {clip_id for _, clip_id, _, _ in left_out}
    found = [clip_id for clip_id, _ in items if clip_id not in unread]
    return dict(zip(found, np.load(path).tolist(), strict=True)), left_out


def _apex(frames):
    if not frames:
        raise Unreadable("the folder", "without a frame from onset to offset")
    grey = [_small_grey(path) for path in frames.values()]
    differences = [np.abs(image - grey[0]).mean() for image in grey]
    return np.int64(list(frames)[int(np.argmax(differences))])


def _small_grey(path):
    image = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return cv2.resize(image, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
