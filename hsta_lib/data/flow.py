"""Dense optical flow between two frames of a clip, its strain, and pictures of it.

A flow is float32, shape (h, w, 2): how far each point of the first frame moves, in px, x right and y down.
"""

import cv2
import numpy as np

from hsta_lib.data.cache import cache_key, cached_rows

METHODS = ("dis", "tvl1")
# Part of every cache's name: raise it when the same frames come to give another flow, and with it
# _PIXELS_VERSION of frames.py, whose caches may hold `flow_pictures`.
_FLOW_VERSION = 1
_SMALLEST = 12  # px; OpenCV's DIS refuses less
# px of the frames that `flow_pictures` are made from. On the synthetic benchmark, generator seed 1, the flow
# where the expression moves, shrunk to 32 or 64 px, comes nearer to the true one the larger the frames are,
# even if they are enlarged. From about this size on it gains little, and the noise before the wall grows on.
PICTURED_SIZE = 224


def optical_flow(first, second, method):
    """Where each point of the first frame is in the second.

    Before a plain wall there is nothing to match but noise, and the flow there is noise too, its strain more
    so: cut frames to the face first.

    Parameters
    ----------
    first, second : ndarray, uint8, shape (h, w, 3)
        RGB, at least 12 px each way.
    method : {"dis", "tvl1"}
        Dense inverse search with variational refinement (Kroeger et al., ECCV 2016) from OpenCV, or TV-L1
        (Zach, Pock and Bischof, DAGM 2007) from scikit-image: slower, and the one most papers of the field
        name.

    Returns
    -------
    ndarray, float32, shape (h, w, 2)
        Displacement in px, x right and y down.

    Raises
    ------
    ValueError
        If the method is unknown or the frames are of different size, too small or no RGB uint8.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is unknown; known methods: {', '.join(METHODS)}")
    _check_frames(first, second)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return _dis(*grey) if method == "dis" else _tvl1(*grey)


def _check_frames(first, second):
    for name, frame in (("first", first), ("second", second)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"{name} must be RGB uint8 of shape (h, w, 3), found {frame.dtype} {frame.shape}"
            )
    if first.shape != second.shape:
        raise ValueError(f"frames of different size: first is {first.shape}, second is {second.shape}")
    if min(first.shape[:2]) < _SMALLEST:
        raise ValueError(f"frames of shape {first.shape} are too small, {_SMALLEST} px each way are needed")


def _dis(first, second):
    # Departures from the preset, tuned on the synthetic benchmark, generator seed 1. It stops above full
    # resolution, which loses movement below a pixel; it smooths small mouths away; and it trusts grey
    # values, which a drifting light changes: with delta 0 its refinement goes by their gradients alone.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setVariationalRefinementAlpha(14)
    search.setVariationalRefinementDelta(0)
    return search.calc(first, second, None)


def _tvl1(first, second):
    from skimage.registration import optical_flow_tvl1

    # Its weights, left as they are, are meant for grey values in 0..1. Rows (down) come first.
    first, second = (frame.astype(np.float32) / 255 for frame in (first, second))
    down, right = optical_flow_tvl1(first, second)
    return np.stack([right, down], axis=2).astype(np.float32)


def strain(flow):
    """Optical strain ``(h, w)``: how much the skin is stretched, squeezed or sheared at each point.

    The magnitude of the symmetric part of the flow's gradient, as in Shreve et al. (FG 2011) for spotting
    and in the third input channel of STSTNet (Liong et al., FG 2019)::

        e_xx = du/dx    e_yy = dv/dy    e_xy = (du/dy + dv/dx) / 2
        strain = sqrt(e_xx^2 + e_yy^2 + 2 e_xy^2)

    A shift of the head has no strain, a turn none to first order, so what is left is the expression. It has
    no unit. The flow, ``(h, w, 2)`` in px, has at least 2 px each way. Differences are central, one-sided at
    the border.
    """
    du_dy, du_dx = np.gradient(flow[..., 0])
    dv_dy, dv_dx = np.gradient(flow[..., 1])
    shear = (du_dy + dv_dx) / 2
    return np.sqrt(du_dx**2 + dv_dy**2 + 2 * shear**2).astype(np.float32)


def flow_strain(flow, size):
    """u and v in px of a picture of that side, and the strain of the flow before resizing, which blurs it."""
    height, width = flow.shape[:2]
    stack = np.dstack([flow, strain(flow)])
    interpolation = cv2.INTER_AREA if size < min(height, width) else cv2.INTER_LINEAR
    resized = cv2.resize(stack, (size, size), interpolation=interpolation)
    return resized * np.array([size / width, size / height, 1], np.float32)


def flow_pictures(onset, apex, offset, size):
    """Two pictures of a clip's dense flow (DIS), from onset to apex and from apex to offset.

    The scales are the clip's own and common to both pictures, so directions and proportions are kept, and how
    the way back compares with the way there; how far anything moved in px is lost. What moves most sets them,
    whatever it is: where next to nothing moves, or before a plain wall, that is noise.

    Parameters
    ----------
    onset, apex, offset : ndarray, uint8, shape (h, w, 3)
        RGB, at least 12 px each way; `PICTURED_SIZE` px are a good size, whatever ``size`` is.
    size : int
        Side of the pictures, px.

    Returns
    -------
    ndarray, uint8, shape (2, size, size, 3)
        Channels u, v and strain of `flow_strain`. Zero is 128, so a clip in which nothing moves is grey:
        128 + 127 u / longest, v alike, with the longest vector of both pictures, and
        128 + 127 strain / largest.
    """
    pairs = (onset, apex), (apex, offset)
    fields = np.stack([flow_strain(optical_flow(*pair, "dis"), size) for pair in pairs])
    longest = np.linalg.norm(fields[..., :2], axis=3).max()
    scales = np.array([longest, longest, fields[..., 2].max()])
    return np.rint(128 + 127 * fields / np.where(scales > 0, scales, 1)).astype(np.uint8)


def cache_flow(frames_path, clip_ids, *, method, size):
    """File of flow and strain of every clip, from onset to apex; computed once, later calls find it.

    It is float32, ``(n_clips, size, size, 3)``, see `flow_strain`, by a method of `optical_flow`.
    ``frames_path`` (Path): of cached frames, see `hsta_lib.data.frames.cache_frames`. The flow is that of its
    pictures, with their crop and at their size, and is kept beside them.
    """
    fields = np.load(_cache_fields(frames_path, clip_ids, method), mmap_mode="r")
    folder = frames_path.parent.parent / cache_key(["flow", _FLOW_VERSION, method, size], [frames_path])
    path, *_ = cached_rows(
        folder, _numbered(clip_ids), lambda row: flow_strain(fields[row], size),
        shape=(size, size, 3), dtype=np.float32, desc="",
    )  # fmt: skip
    return path


def _cache_fields(frames_path, clip_ids, method):
    """File of the flow at the size of the frames, float32, ``(n_clips, h, w, 2)``: of it any size is made."""
    frames = np.load(frames_path, mmap_mode="r")
    folder = frames_path.parent.parent / cache_key(["flow", _FLOW_VERSION, method], [frames_path])
    path, *_ = cached_rows(
        folder, _numbered(clip_ids), lambda row: optical_flow(*frames[row, -2:], method),
        shape=(*frames.shape[2:4], 2), dtype=np.float32, desc="optical flow",
    )  # fmt: skip
    return path


def _numbered(clip_ids):
    return [(clip_id, row) for row, clip_id in enumerate(clip_ids)]


def flow_colours(flow, longest=None):
    """Picture of a flow for contact sheets, RGB uint8 ``(h, w, 3)``: direction as hue, length as saturation.

    Stationary points are white. Movement to the right is red, down yellow-green, left cyan, up violet.

    ``longest`` (float, optional): length in px that is shown in full colour; longer ones look the same. The
    longest of this flow if not given: pictures that are compared need one value. A ValueError if it is not
    above 0.
    """
    if longest is not None and not longest > 0:
        raise ValueError(f"longest = {longest} must be a length in px above 0")
    length, degrees = cv2.cartToPolar(*np.float32(np.moveaxis(flow, 2, 0)), angleInDegrees=True)
    longest = longest or length.max() or 1  # a field at rest stays white
    hsv = np.dstack([degrees % 360, np.minimum(length / longest, 1), np.ones_like(length)])
    return np.rint(255 * cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)).astype(np.uint8)
