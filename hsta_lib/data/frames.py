"""Which frames of a clip are used, and their pixels: decoded once into a memory-mapped uint8 array."""

import functools
import io
import os
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hsta_lib.data.cache import Unreadable, cache_key, cached_rows
from hsta_lib.data.faces import align, alignment, find_face
from hsta_lib.data.flow import PICTURED_SIZE, flow_pictures
from hsta_lib.data.tracks import track_picture

SUFFIXES = (".jpg", ".jpeg", ".bmp", ".png")
_NUMBER = re.compile(rf"(\d+)(?:{'|'.join(map(re.escape, SUFFIXES))})\Z", re.IGNORECASE)
_LARGE = 512  # px
_ALIGNED = ("face", "boxes")  # crops that a transform makes
_SCALES = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Part of every cache's name: raise it when the same files and settings come to give other pixels.
_PIXELS_VERSION = 2


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
        Empty if there is no such folder, it cannot be listed, or ``folder`` is no path (None, NaN).
    """
    try:
        with _scanned(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_frame(entry))
    except OSError:
        return {}
    numbers = {}
    for name in names:
        numbers.setdefault(int(_NUMBER.search(name).group(1)), name)
    folder = Path(folder)
    return {number: folder / name for number, name in numbers.items()}


def _scanned(folder):
    if not isinstance(folder, (str, os.PathLike)) or not str(folder):
        raise FileNotFoundError(f"folder = {folder!r} is no path")
    return os.scandir(folder)


def _why_empty(folder):
    """Why `index_folder` finds nothing."""
    try:
        _scanned(folder).close()
    except FileNotFoundError:
        return "folder missing"
    except OSError as error:
        return f"folder cannot be listed ({error.strerror})"
    return "folder without frames"


def _is_frame(entry):
    try:
        return not entry.name.startswith(".") and bool(_NUMBER.search(entry.name)) and entry.is_file()
    except OSError:  # a link to itself
        return False


def read_image(path):
    """Read one frame at its full size.

    Returns
    -------
    ndarray, uint8, shape (height, width, 3)
        RGB. Grey images get three equal channels; of 16 bits the upper 8 are kept.

    Raises
    ------
    Unreadable
        If the file is truncated, no image, or may not be read. Damage inside a JPEG that its decoder bridges
        is not seen.
    """
    return _read(path)[0]


def _read(path, wanted=None):
    """A frame, and its size on disk as (width, height); a large JPEG may come smaller, see `_reduction`."""
    try:
        data = Path(path).read_bytes()
    except PermissionError as error:
        raise Unreadable(path, f"not readable ({error.strerror})") from error
    size, scale = _reduction(data, wanted) if wanted else (None, 1)
    image = _decoded(data, _SCALES[scale])
    if image is None:
        raise Unreadable(path, f"truncated or no image ({len(data)} bytes)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), size or image.shape[1::-1]


def _decoded(data, flag):
    is_jpeg = data[:2] == b"\xff\xd8"
    # OpenCV fills the missing part of a truncated JPEG with grey: look for its end-of-image marker.
    if not data or (is_jpeg and b"\xff\xd9" not in data[-64:]):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # of an impossible size
        return None


def _reduction(data, wanted):
    """Size of a JPEG and how many times smaller to decode it, or (None, 1): small images stay as they are.

    Decoding 1280 x 720 px at half size and shrinking that to 224 takes half the time. Of smooth pictures it
    changed no pixel by more than 2 of 255.
    """
    if data[:2] != b"\xff\xd8":
        return None, 1
    try:
        size = Image.open(io.BytesIO(data), formats=["JPEG"]).size  # reads the header alone
    except (OSError, Image.DecompressionBombError):
        return None, 1
    if min(size) <= _LARGE:
        return None, 1
    # A side that the scale does not divide is rounded up, which would stretch the frame.
    fits = [s for s in _SCALES if min(size) >= 1.5 * wanted * s and size[0] % s == size[1] % s == 0]
    return size, max(fits, default=1)


def resize(image, image_size, crop):
    """Bring a frame to the size the network sees.

    Parameters
    ----------
    image : ndarray, uint8, shape (height, width, 3)
    image_size : int
        px, square.
    crop : {"none", "center_square"}
        The whole frame resized, its aspect lost (as the released code does), or its central square.

    Returns
    -------
    ndarray, uint8, shape (image_size, image_size, 3)
        Shrunk by area averaging, enlarged by linear interpolation.
    """
    if crop == "center_square":
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        image = image[top : top + side, left : left + side]
    shrinks = image_size < min(image.shape[:2])
    size = (image_size, image_size)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def cache_frames(clips, settings, folder):
    """Decode the frames of a clip table once; later calls open what is there.

    A chosen frame that has no file is replaced by the nearest one within onset..offset that has, the earlier
    of two, if at least half of the frames onset..offset have files. Where faces are not aligned, JPEGs more
    than 512 px high and wide are decoded at a half, a quarter or an eighth of their size, if that is a whole
    number of pixels and one and a half times the size wanted or more.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``folder``, ``onset``, ``apex``, ``offset``; for ``crop = "boxes"`` also ``face``, a
        `hsta_lib.data.faces.Face` or None.
    settings : hsta_lib.config.Frames
        With ``crop = "face"`` the face is found on the onset frame, and one similarity transform brings all
        frames of the clip to the same place; a clip without a face that can be found is left out.
    folder : Path
        Of the caches; this one's name is a hash of the frame files' names, sizes and times and of the
        settings, so a changed source or setting makes a new cache.

    Returns
    -------
    path : Path
        Of a ``.npy`` file: uint8, shape ``(n_kept, n_stored + 2, image_size, image_size, 3)``, one row per
        clip that could be read, in the order of ``clips``; the last two are onset and apex, or pictures of
        the tracks or the flow between onset, apex and offset. Frames to be drawn from are all of the clip, at
        most 51; the last fills the rest.
    digest : str
        SHA-256 of that file.
    left_out : list of tuple
        ``(where, clip_id, problem, action)`` of every clip that is not in the array.
    noted : list of tuple
        The same of clips that are in it although chosen frames were missing.

    Raises
    ------
    OSError
        If the cache cannot be written, see `hsta_lib.data.cache.cached_rows`, or a disk fails.
    """
    chosen, left_out, noted = _choose_files(clips, settings)
    faces = dict(zip(clips["clip_id"], clips["face"], strict=True)) if settings.crop == "boxes" else {}
    items = [(clip_id, (paths, faces.get(clip_id))) for clip_id, paths in chosen]
    described = [[clip_id, [str(path) for path in paths], repr(face)] for clip_id, (paths, face) in items]
    key = cache_key(
        [_PIXELS_VERSION, settings.model_dump(exclude_defaults=True), described],
        [path for _, paths in chosen for path in paths],
    )
    size = settings.image_size
    path, digest, unreadable = cached_rows(
        Path(folder) / key, items, functools.partial(_decode_clip, settings=settings),
        shape=(settings.n_stored + 2, size, size, 3), dtype=np.uint8, desc="decoding",
    )  # fmt: skip
    lost = {clip_id for _, clip_id, *_ in unreadable}
    return path, digest, left_out + unreadable, [row for row in noted if row[1] not in lost]


def _choose_files(clips, settings):
    """Files to decode per clip, as ``(clip_id, [paths])``; clips left out; clips with frames replaced."""
    chosen, left_out, noted = [], [], []
    # Many clips share a folder, and come together in a table sorted by their ids. All the names of CAS(ME)^3
    # at once would take a gigabyte.
    index = functools.lru_cache(maxsize=32)(index_folder)
    for clip in clips.itertuples():
        numbers = [*_video_frames(clip, settings), clip.onset, clip.apex, clip.offset]
        paths, problem = _files_of(clip, numbers, index(clip.folder))
        if paths:
            chosen.append((clip.clip_id, paths))
        if problem:
            where = str(clip.folder) if isinstance(clip.folder, (str, os.PathLike)) else "annotation sheet"
            action = "nearest frames used" if paths else "clip left out"
            (noted if paths else left_out).append((where, clip.clip_id, problem, action))
    return chosen, left_out, noted


def _video_frames(clip, settings):
    if settings.drawing != "uniform":
        last = min(clip.offset, clip.onset + settings.n_stored - 1)
        numbers = list(range(clip.onset, last + 1))
        return numbers + [last] * (settings.n_stored - len(numbers))
    return choose_frames(
        clip.onset, clip.offset, settings.n_frames, apex=clip.apex, keep_apex=settings.keep_apex
    ).tolist()


def _files_of(clip, numbers, files):
    """Files of the frames numbered, or of the nearest; none if too many are missing. And what is wrong."""
    if not files:
        return [], _why_empty(clip.folder)
    if files.keys() >= set(numbers):
        return [files[number] for number in numbers], ""
    there = sorted(number for number in files if clip.onset <= number <= clip.offset)
    n_frames = clip.offset - clip.onset + 1
    problem = f"{n_frames - len(there)} of {n_frames} frames missing"
    if 2 * len(there) < n_frames:
        return [], problem
    # Of two that are as near, min takes the first, which is the earlier.
    return [files[min(there, key=lambda other, n=n: abs(other - n))] for n in numbers], problem


def _decode_clip(source, settings):
    """Video frames of a clip, in the order of its files, and its two special frames or pictures."""
    (*video, onset, apex, offset), face = source
    size, place = settings.image_size, _placing(onset, face, settings.crop)
    frames = _placed([*video, onset, apex], place, size, settings.crop)
    if settings.special == "tracks":
        whole = dict(_read_alike([onset, apex, offset], None))
        pairs = (onset, apex), (apex, offset)
        frames[-2:] = [place(track_picture(whole[a], whole[b]), size) for a, b in pairs]
    if settings.special == "flow":
        larger = _placed([onset, apex, offset], place, max(size, PICTURED_SIZE), settings.crop)
        frames[-2:] = flow_pictures(*larger, size)
    return np.stack(frames)


def _placed(paths, place, size, crop):
    """Frames brought to their size; a file that is there twice is decoded once."""
    # A transform is in px of the whole frame; for others a large JPEG may come smaller.
    wanted = None if crop in _ALIGNED else size
    frames = {path: place(image, size) for path, image in _read_alike(dict.fromkeys(paths), wanted)}
    return [frames[path] for path in paths]


def _read_alike(paths, wanted):
    """Paths and their images, one after the other; refused if they differ in size."""
    first = None
    for path in paths:
        image, size = _read(path, wanted)
        first = first or (path.name, size)
        if size != first[1]:
            sizes = "{} x {} px, but {} is {} x {} px".format(*size, first[0], *first[1])
            raise Unreadable(path, sizes)
        yield path, image


def _placing(onset_path, face, crop):
    """Function of a frame and a size in px that brings all frames of a clip to that size alike."""
    if crop not in _ALIGNED:
        return functools.partial(resize, crop=crop)
    image = read_image(onset_path)
    if crop == "face":
        face = find_face(image)
    if face is None:
        reason = {"face": "without a face that can be found", "boxes": "without a box in face_boxes.csv"}
        raise Unreadable(onset_path, reason[crop])
    (x, y, w, h), (height, width) = face.box, image.shape[:2]
    if not (0 <= x + w / 2 < width and 0 <= y + h / 2 < height):
        raise Unreadable(
            onset_path, f"{width} x {height} px, its face box {x:g} {y:g} {w:g} {h:g} lies outside"
        )
    return lambda image, size: align(image, alignment(face, size), size)
