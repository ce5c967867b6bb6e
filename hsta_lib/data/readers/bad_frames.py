"""The lists of bad frames in the repository of CAS(ME)^3: files that do not open, frames of bad quality."""

import re
from collections import defaultdict

import pandas as pd

from hsta_lib.data.readers import clones
from hsta_lib.data.table import problems_table, subject_key

_LISTS = ("image_with_bad_quality_partA.txt", "error_info_damaged_image_partA.txt")
# .../spNO.1/a/color/7.jpg; or spNO.1 A 7.jpg and a remark
_LINE = re.compile(r"(?:.*/)?(spNO\.\d+)[/ ]([a-z])(?:/color/| )(\d+)\.jpg(?: .*)?", re.IGNORECASE)


def without(reading, clone, rule):
    """A reading (Listing) of CAS(ME)^3 in which the frames on the lists count as missing.

    If a clip has such frames, its clips have the column ``bad_frames``: tuples of frame numbers. Its problems
    name each of these clips, and count the frames on the lists that lie in no clip. ``clone`` (Path): folder
    of a clone of the dataset's repository. ``rule``: ``drop`` leaves out the clips that have such frames.

    Raises
    ------
    FileNotFoundError, ValueError
        If a list is not there, or a line of it is of no known form.
    """
    listed = _listed(clone)
    clips = reading.clips.assign(bad_frames=[_in_clip(listed, clip) for clip in reading.clips.itertuples()])
    touched = clips["bad_frames"].map(len) > 0
    action = "clip left out" if rule == "drop" else "taken as missing"
    notes = [
        (clip.clip_id, f"{len(clip.bad_frames)} of {clip.offset - clip.onset + 1} frames are bad", action)
        for clip in clips[touched].itertuples()
    ]
    n_listed = sum(map(len, listed.values()))
    used = {(clip.recording_id, number) for clip in clips.itertuples() for number in clip.bad_frames}
    notes += [("", f"{n_listed - len(used)} of {n_listed} frames are in no clip of the table", "ignored")]
    notes = problems_table(("lists of bad frames", *note) for note in notes)
    problems = pd.concat([reading.problems, notes], ignore_index=True)
    if rule == "drop":
        clips = clips[~touched].reset_index(drop=True)
    if rule == "drop" or not touched.any():
        clips = clips.drop(columns="bad_frames")
    return reading._replace(clips=clips, problems=problems)


def _listed(clone):
    """Numbers of the frames on the lists, by subject and video."""
    listed = defaultdict(set)
    for name in _LISTS:
        path = clones.find(clone, "CAS-ME-3", f"exception/{name}")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines or [""], start=1):
            match = _LINE.fullmatch(line.strip())
            if not match:
                repair = clones.repair(clone, "CAS-ME-3")
                raise ValueError(f"{path}, line {number}: {line!r} names no frame of a video: {repair}")
            listed[subject_key(match[1]), match[2].lower()].add(int(match[3]))
    return listed


def _in_clip(listed, clip):
    _, subject, video = clip.recording_id.split("/")
    numbers = listed.get((subject_key(subject), video), ())
    return tuple(n for n in sorted(numbers) if clip.onset <= n <= clip.offset)
