"""Read the composite of MEGC2019: 442 clips of CASME II, SMIC-HS and SAMM in three classes."""

import csv
import re
from collections import Counter

import pandas as pd

from hsta_lib.data.readers import casme2, samm, smic
from hsta_lib.data.readers.find import dataset_folder, folders_of
from hsta_lib.data.readers.rows import Listing
from hsta_lib.data.table import COLUMNS, class_names, labelled, problems_table, without_class
from hsta_lib.paper import load_subjects

OFFICIAL_LIST = "combined_3class_gt.csv"
_CLASSES = class_names("emotion3", "megc2019")
# How a dataset is read, and what its folder is called.
_READERS = {
    "casme2": (casme2.read, r"casme[\W_]*(2|ii)\b.*"),
    "smic": (smic.read, r"smic(?![\W_]*(all|e)).*"),
    "samm": (samm.read, "samm.*"),
}
# Clips of the three classes by some version of CASME II's sheet, but not in the official list: one without
# apex, one whose apex is its onset, one that only the sheet of 256 rows has, and three that the sheet of 2019
# calls surprise, that of 2014 sadness.
_NOT_PART = [
    "casme2/sub04/EP12_01f", "casme2/sub05/EP09_05f", "casme2/sub24/EP02_07",
    "casme2/sub24/EP07_01", "casme2/sub24/EP07_04f", "casme2/sub24/EP10_03",
]  # fmt: skip


def read(root, *, dataset="megc2019", repair="repaired", official=True):
    """Clip table of the composite: of each dataset as its own reader reads it by default. See `rows.Listing`.

    The root holds, anywhere below, what these readers need; it may be links. If each has a folder of its own,
    ``CASME II``, ``smic`` and ``SAMM``, only that is searched for it. If the root also holds the organisers'
    ``combined_3class_gt.csv``, the clips are compared with it; that changes no clip.

    Ids begin with the dataset the clip is from; ``dataset`` is for the column alone. ``emotion`` is negative,
    positive or surprise. ``expected`` and ``listed`` count clips by dataset and class; subjects whose counts
    are not those of the official list are in ``problems``.

    ``official`` (bool): compare the clips with the official list's; not for generated data, whose subjects
    are others. A ValueError also if a dataset has no clip of the three classes.
    """
    root = dataset_folder(root)
    parts = {
        name: _read_one(name, reader, _folder(root, names), repair)
        for name, (reader, names) in _READERS.items()
    }
    chosen = [_three_classes(name, part) for name, part in parts.items()]
    clips = pd.concat([clips for clips, _ in chosen], ignore_index=True).assign(dataset=dataset)
    counts = _counts_of(clips)
    problems = [problem for _, problems in chosen for problem in problems]
    if official:
        problems += [*_departures(counts), *_against_list(root, clips)]
    versions = [f"{name}: {part.version}" for name, part in parts.items()]
    return Listing(
        clips=clips,
        problems=pd.concat(
            [*(part.problems for part in parts.values()), problems_table(problems)], ignore_index=True
        ),
        version=f"{len(clips)} of 442 clips, {len(counts)} of 68 subjects; {'; '.join(versions)}",
        expected=_totals(_official_counts()) if official else {},
        listed=_totals(counts),
    )


def _folder(root, names):
    """The one folder of a dataset, else the root."""
    found = [folder for name, folder in folders_of(root).items() if re.fullmatch(names, name)]
    return found[0] if len(found) == 1 else root


def _read_one(name, reader, root, repair):
    try:
        return reader(root, dataset=name, repair=repair)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"megc2019 needs casme2, smic and samm; of {name}: {error}") from error


def _three_classes(dataset, part):
    """Clips of one dataset that are in the composite, ``emotion`` being their class; and problems."""
    if part.clips.empty:
        first = part.problems.iloc[0].to_dict() if len(part.problems) else "it lists none"
        raise ValueError(f"{dataset}: no clip can be used; the first problem: {first}")
    clips = labelled(part.clips, "emotion3")
    clips = clips.assign(emotion=clips["label"].map(dict(enumerate(_CLASSES))))[list(COLUMNS)]
    is_part = ~clips["clip_id"].str.lower().isin([clip_id.lower() for clip_id in _NOT_PART])
    outside = clips.loc[~is_part, "clip_id"]
    problems = [("annotation sheet", clip_id, "not part of MEGC2019", "clip left out") for clip_id in outside]
    return clips[is_part], without_class(part.clips, "emotion3")[1] + problems


def _official_counts():
    """Subject id to its clips of each class."""
    return {subject: clips for rows in load_subjects().values() for subject, clips in rows if subject}


def _counts_of(clips):
    counts = Counter(zip(clips["subject_id"], clips["emotion"], strict=True))
    return {subject: tuple(counts[subject, name] for name in _CLASSES) for subject, _ in counts}


def _totals(counts):
    """Clips of each class of each dataset, such as ``casme2 negative``."""
    totals = Counter()
    for subject, numbers in counts.items():
        for name, number in zip(_CLASSES, numbers, strict=True):
            totals[f"{subject.split('/')[0]} {name}"] += number
    return dict(totals)


def _departures(counts):
    official, none = _official_counts(), (0, 0, 0)
    for subject in sorted({*official, *counts}):
        found, expected = ("/".join(map(str, table.get(subject, none))) for table in (counts, official))
        if found != expected:
            what = f"{found} clips that are {'/'.join(_CLASSES)}, {expected} in the official list"
            yield subject, "", what, "kept"


def _against_list(root, clips):
    """Differences from the organisers' list, if it is there."""
    path = next((path for path in sorted(root.iterdir()) if path.name.lower() == OFFICIAL_LIST), None)
    if path is None:
        return
    rows = _rows_of_list(path)
    official = {_id(*row[:3]): dict(zip("012", _CLASSES, strict=True)).get(row[3], row[3]) for row in rows}
    ours = {
        clip_id.lower(): (clip_id, name)
        for clip_id, name in zip(clips["clip_id"], clips["emotion"], strict=True)
    }
    for key in sorted({*official, *ours}):
        clip_id, emotion = ours.get(key, (key, ""))
        if key not in ours:
            yield path.name, clip_id, "listed, but not found", "clip missing"
        elif key not in official:
            yield path.name, clip_id, "not listed", "kept"
        elif emotion != official[key]:
            yield path.name, clip_id, f"{official[key]} in the list", f"{emotion} kept"


def _rows_of_list(path):
    try:
        lines = [*csv.reader(path.read_text(encoding="utf-8-sig").splitlines())]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: it is not UTF-8 ({error.reason}); save it as a CSV in UTF-8") from error
    for number, line in enumerate(lines, 1):
        if any(line) and len(line) != 4:
            raise ValueError(f"{path}: line {number} must be database, subject, clip, class, found {line}")
    return [[cell.strip() for cell in line] for line in lines if any(line)]


def _id(database, subject, clip):
    """Clip id, in lower case, of a row of the list: s01_ne_01 is s1_ne_01, SAMM's subjects have no zeros."""
    named = smic.parse_name(clip) if database.lower() == "smic" else None
    if named:
        return f"smic/{named.subject}/{named.name}"
    subject = subject.zfill(3) if database.lower() == "samm" else subject
    return f"{database}/{subject}/{clip}".lower()
