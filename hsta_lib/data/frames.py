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

SUFFIXES = (".jpg", ".jpeg", ".bmp", ".png", ".tif", ".tiff", ".webp")
_NUMBER = re.compile(r"\d+(?=\D*\Z)")
_COPY = re.compile(r"\s*\(\d+\)\Z")  # img7(1).jpg
_LARGE = 512  # px
_ALIGNED = ("face", "boxes")  # crops that a transform makes
_ANY = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
_SCALES = {
    1: _ANY,
    2: _ANY | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _ANY | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _ANY | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_BITS = (8, 10, 12, 14, 16)  # that a camera may use of 16
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"(?=\xff[^\x00\xff\xd0-\xd7])")
# Part of every cache's name: raise it when the same files and settings come to give other pixels.
_PIXELS_VERSION = 3


def choose_frames(onset, offset, n_frames, *, apex=None, keep_apex=False):
    """Frame numbers of a clip, uniform over onset to offset (section 4.1).

    They ascend; halves round to the even number, as in ``numpy.rint``.

    Parameters
    ----------
    onset, offset : int
        First and last frame of the expression, inclusive; both are always among the frames chosen
        unless the apex takes the place of one of them.
    n_frames : int
        At least 2. A clip shorter than this repeats frames.
    keep_apex : bool
        Replace the chosen frame nearest to ``apex`` by it.

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
    """Frame files of a folder by the last integer of their names; a copy's mark, as in img7(1), is none.

    Empty if there is no such folder, it cannot be listed, ``folder`` is no path (None, NaN), or two files
    have one number; `why_no_frames` says which.
    """
    return {number: Path(path) for number, path in _paths_by_number(folder).items()}


def _paths_by_number(folder):
    """`index_folder` with paths as text: to make a `Path` of each frame takes longer than to list them."""
    try:
        numbers = _names_by_number(folder)
    except OSError:
        return {}
    if any(len(names) > 1 for names in numbers.values()):
        return {}
    start = os.path.join(Path(folder), "")
    return {number: start + name for number, (name,) in numbers.items()}


def holds_frames(folder):
    """Whether a folder has numbered frames, be it that `index_folder` finds none as two have one number."""
    try:
        return bool(_names_by_number(folder))
    except OSError:
        return False


def why_no_frames(folder):
    """Why `index_folder` finds nothing."""
    try:
        with _scanned(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        twice = [(number, *names) for number, names in _names_by_number(folder).items() if len(names) > 1]
    except FileNotFoundError:
        return "folder missing"
    except OSError as error:
        return f"folder cannot be listed ({error.strerror})"
    if twice:
        number, one, other, *_ = twice[0]
        return (
            f"{one} and {other} both have the number {number}, the last of their names: rename them, or give "
            "each series of frames its own folder"
        )
    if not names:
        return "folder without frames: it is empty"
    endings = ", ".join(SUFFIXES)
    return f"folder without frames: it holds {names[0]}; frames have a number and end in {endings}"


def frames_between(files, onset, offset, bad=()):
    """Those of `index_folder` from onset to offset, ascending; bad ones and files of no bytes are missing."""
    numbers = [n for n in sorted(files) if onset <= n <= offset and n not in bad]
    return {n: files[n] for n in numbers if _has_bytes(files[n])}


def frames_of(clip, files):
    """`frames_between` of a row of a clip table; ``bad_frames``, if the table has them, are its bad ones."""
    return frames_between(files, clip.onset, clip.offset, getattr(clip, "bad_frames", ()))


def _has_bytes(path):
    try:
        return os.stat(path).st_size > 0
    except OSError:  # whoever reads it finds out why
        return True


def _names_by_number(folder):
    """Names of frame files by their numbers, sorted."""
    with _scanned(folder) as entries:
        names = sorted(entry.name for entry in entries if _may_be_frame(entry))
    stems = [name.rpartition(".")[0] for name in names]
    bare = [_COPY.sub("", stem) for stem in stems]
    # Of "film3 (1)", "film3 (2)" the brackets hold the number.
    is_series = len(set(bare)) == 1
    numbers = {}
    for name, stem, shorter in zip(names, stems, bare, strict=True):
        found = (not is_series and _NUMBER.search(shorter)) or _NUMBER.search(stem)
        if found:
            numbers.setdefault(int(found[0]), []).append(name)
    return numbers


def _scanned(folder):
    if not isinstance(folder, (str, os.PathLike)) or not str(folder):
        raise FileNotFoundError(f"folder = {folder!r} is no path")
    return os.scandir(folder)


def _may_be_frame(entry):
    name = entry.name.lower()
    try:
        return name.endswith(SUFFIXES) and not name.startswith(".") and entry.is_file()
    except OSError:  # a link to itself
        return False


def read_image(path):
    """Read one frame at its full size, uint8 ``(height, width, 3)``, RGB, turned as its EXIF data say.

    Grey images get three equal channels. Of 16 bits the upper 8 of those used are kept: 10, 12, 14 or 16,
    whichever hold the largest value. Damage inside a JPEG that its decoder bridges is not seen.

    Raises
    ------
    Unreadable
        If the file is truncated, no image, not of 8 or 16 bits, or may not be read.
    """
    return _read(path)[0]


def _read(path, wanted=None):
    """A frame, and its form on disk in words; a large JPEG may come smaller, see `_reduction`."""
    try:
        data = Path(path).read_bytes()
    except PermissionError as error:
        raise Unreadable(path, f"not readable ({error.strerror})") from error
    scale = _reduction(data, wanted) if wanted else 1
    image = _decoded(data, _SCALES[scale])
    if image is None:
        raise Unreadable(path, f"truncated or no image ({len(data)} bytes)")
    if image.dtype not in (np.uint8, np.uint16):
        raise Unreadable(path, f"of {image.dtype} pixels, not of 8 or 16 bits")
    height, width = (scale * length for length in image.shape[:2])
    bits = next(bits for bits in _BITS if image.dtype == np.uint8 or image.max() < 1 << bits)
    image = (image >> (bits - 8)).astype(np.uint8, copy=False)
    form = f"{width} x {height} px{f', {bits} bits' * (bits > 8)}{', grey' * (image.ndim == 2)}"
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB), form


def _decoded(data, flag):
    # OpenCV fills the missing part of a truncated JPEG with grey: look for its end-of-image marker.
    if not data or (data.startswith(_JPEG) and not (data.endswith(_JPEG_END) or _has_end(data))):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # of an impossible size
        return None


def _has_end(data):
    """Whether a JPEG's markers, from one to the next, lead to that of its end, whatever follows it."""
    place = len(_JPEG)
    while marker := _JPEG_MARKER.match(data, place):
        if marker[0].endswith(_JPEG_END[1:]):
            return True
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if marker[1] == b"\xda":  # a scan
            after = _AFTER_SCAN.search(data, place)
            place = after.start() if after else len(data)
    return False


def _reduction(data, wanted):
    """How many times smaller to decode a JPEG; small images stay as they are.

    Decoding 1280 x 720 px at half size and shrinking that to 224 takes half the time. Of smooth pictures it
    changed no pixel by more than 2 of 255.
    """
    if not data.startswith(_JPEG):
        return 1
    try:
        size = Image.open(io.BytesIO(data), formats=["JPEG"]).size  # reads the header alone
    except (OSError, Image.DecompressionBombError):
        return 1
    if min(size) <= _LARGE:
        return 1
    # A side that the scale does not divide is rounded up, which would stretch the frame.
    fits = [s for s in _SCALES if min(size) >= 1.5 * wanted * s and size[0] % s == size[1] % s == 0]
    return max(fits, default=1)


def resize(image, image_size, crop):
    """Bring a frame, uint8, to the size the network sees: ``(image_size, image_size, 3)``.

    Shrunk by area averaging, enlarged by linear interpolation. ``crop``: ``center_square`` takes the central
    square; else it is the whole frame, its aspect lost, as the released code does.
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
    than 512 px high and wide are decoded at a half, a quarter or an eighth of their size. That must be a
    whole number of pixels and one and a half times the size wanted or more.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``folder``, ``onset``, ``apex``, ``offset``; for ``crop = "boxes"`` also ``face``, a
        `hsta_lib.data.faces.Face` or None. Frames in ``bad_frames``, where it is there, count as missing.
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
    left_out, noted : list of tuple
        ``(where, clip_id, problem, action)`` of every clip that is not in the array; and of clips that are in
        it although chosen frames were missing.

    Raises
    ------
    OSError
        If the cache cannot be written, see `hsta_lib.data.cache.cached_rows`, or a disk fails.
    """
    chosen, left_out, noted = _choose_files(clips, settings)
    faces = dict(zip(clips["clip_id"], clips["face"], strict=True)) if settings.crop == "boxes" else {}
    items = [(clip_id, (paths, faces.get(clip_id))) for clip_id, paths in chosen]
    described = [[clip_id, paths, repr(face)] for clip_id, (paths, face) in items]
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
    index = functools.lru_cache(maxsize=32)(_paths_by_number)
    for clip in clips.itertuples():
        numbers = [*_video_frames(clip, settings), clip.onset, clip.apex, clip.offset]
        paths, problem = _files_of(clip, numbers, index(clip.folder))
        where = str(clip.folder) if isinstance(clip.folder, (str, os.PathLike)) else "annotation sheet"
        if not paths:
            left_out.append((where, clip.clip_id, problem, "clip left out"))
            continue
        chosen.append((clip.clip_id, paths))
        told = {"nearest frames used": problem, "taken as one": _several_series(paths)}
        noted += [(where, clip.clip_id, what, action) for action, what in told.items() if what]
    return chosen, left_out, noted


def _several_series(paths):
    """Words for frames whose names differ in more than their numbers and endings; none if they do not."""
    first_of = {}
    for name in map(os.path.basename, paths):
        first_of.setdefault(_series(os.path.splitext(name)[0].lower()), name)
    return f"frames of {len(first_of)} series, {' and '.join(first_of.values())}" if len(first_of) > 1 else ""


def _series(stem):
    """What a frame's name is without its number and a copy's mark."""
    return _NUMBER.sub("", _COPY.sub("", stem))


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
        return [], why_no_frames(clip.folder)
    bad = getattr(clip, "bad_frames", ())
    if all(number in files and number not in bad and _has_bytes(files[number]) for number in numbers):
        return [files[number] for number in numbers], ""
    there = frames_of(clip, files)
    n_frames = clip.offset - clip.onset + 1
    problem = f"{n_frames - len(there)} of {n_frames} frames missing"
    if 2 * len(there) < n_frames:
        return [], problem
    # Of two that are as near, min takes the first, which is the earlier.
    return [there[min(there, key=lambda other, n=n: abs(other - n))] for n in numbers], problem


def _decode_clip(source, settings):
    """Video frames of a clip, in the order of its files, and its two special frames or pictures."""
    paths, face = source
    *video, onset, apex, offset = map(Path, paths)
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
    """Paths and their images, one after the other; refused if they differ in size, bits or colour."""
    first = None
    for path in paths:
        image, form = _read(path, wanted)
        first = first or (path.name, form)
        if form != first[1]:
            raise Unreadable(path, f"{form}, but {first[0]} is {first[1]}")
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
