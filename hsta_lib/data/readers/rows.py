"""What every reader does with the rows of its sheet: numbers, index repair, checks, the clip table."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hsta_lib.data.table import COLUMNS, class_names, clean_emotion, problems_table, subject_key

RULES = ("repaired", "published", "released", "drop")
_REPAIRS = Path(__file__).with_name("repairs.csv")
_INDICES = ("onset", "apex", "offset")
_NO_APEX = r"[/\\.\u2010-\u2015\u2212-]*|#?n/?a|nan|none|null"  # "/" and its like
_NOT_MICRO = "no micro-expression by the dataset's own definition"


class Listing(NamedTuple):
    """What the ``read`` of a dataset returns, and what every ``read`` takes.

    ``root`` (str or Path) is, or holds anywhere below, the folder of frames that ``variant`` names; where
    that is empty, the first kind that is there. Annotation sheets lie below the root or above it. ``dataset``
    is put in front of subject, recording and clip ids. ``repair``: what becomes of index errors, see
    `listing`.

    Attributes
    ----------
    clips : DataFrame
        Columns of `hsta_lib.data.table.COLUMNS`, one row per clip that can be used.
    problems : DataFrame
        What was wrong with the others or was repaired.
    version : str
        Which release and sheet was found.
    expected, listed : dict of str to int
        Clips per emotion that this version should list, empty if it is unknown; and those in the sheet.

    Raises
    ------
    FileNotFoundError
        If the root, the folder of frames or a sheet is not there.
    ValueError
        If ``variant`` is unknown or there twice, or a sheet cannot be read, lacks a needed column or has it
        twice.
    """

    clips: pd.DataFrame
    problems: pd.DataFrame
    version: str
    expected: dict
    listed: dict


def listing(rows, dataset, *, rule, version, expected, micro_rule=None, problems=()):
    """Turn a sheet's rows into a clip table.

    Parameters
    ----------
    rows : list of dict
        Keys of `COLUMNS`; ``onset``, ``apex`` and ``offset`` as the cells have them. An empty apex stays
        missing, so that it can be estimated; `RULES` decide about the rest. Where ``folder`` is None,
        ``missing`` may say what was looked for.
    dataset : str
        Of the corrections that apply.
    rule : {"repaired", "published", "released", "drop"}
        What becomes of index errors; another is a ValueError. ``repaired``: known errors are corrected as
        ``repairs.csv`` says, clip by clip, each with its source. ``published``: the sheet as it is.
        ``released``: the three rules of the authors' loader (``my_utils.py``). ``drop``: clips with a known
        error are left out. Whatever is contradictory after that is left out, never guessed.
    version, expected
        See `Listing`.
    micro_rule : callable, optional
        ``micro_rule(onset, apex, offset)``, false for a clip that is no micro-expression by the dataset's own
        definition; such a clip is reported, and left out by ``drop``.
    problems : iterable of tuple
        What the reader has found before, to stand first in the table.
    """
    if rule not in RULES:
        raise ValueError(f"repair = {rule!r} is unknown; choose one of {', '.join(RULES)}")
    known = _known_repairs(dataset)
    clips, problems, seen = [], list(problems), set()
    for row in rows:
        numbers, notes = _indices(row, rule, known)
        clip = {**row, **dict(zip(_INDICES, numbers, strict=True))}
        reason = _problem(clip, row["apex"], seen)
        is_checked = micro_rule and clip["expression_type"] == "micro" and not reason and None not in numbers
        if is_checked and not micro_rule(*numbers):
            notes.append((_NOT_MICRO, "kept"))
        if rule == "drop" and notes:
            reason, notes = reason or notes[0][0], []
        notes += [(reason, "clip left out")] if reason else []
        problems += [("annotation sheet", clip["clip_id"], *note) for note in notes]
        if not reason:
            seen.add(clip["clip_id"])
            clips.append(clip)
    table = pd.DataFrame(clips, columns=list(COLUMNS)).astype(dict.fromkeys(_INDICES, "Int64"))
    listed = pd.Series([row["emotion"] for row in rows], dtype=object).value_counts().to_dict()
    return Listing(table, problems_table(problems), version, expected, listed)


def clip_row(dataset, *, subject, recording, clip, **cells):
    """One of the rows that `listing` takes: of a micro-expression without depth, unless the cells say so.

    ``dataset`` is put in front of the ids, whose other parts are like ``s01``, ``s01/a`` and ``s01/a/12``.
    ``cells`` are other columns of `COLUMNS`; those not given are empty.
    """
    ids = {"subject_id": subject, "recording_id": recording, "clip_id": clip}
    empty = {**dict.fromkeys(COLUMNS, ""), "depth_folder": None, "expression_type": "micro"}
    return empty | {"dataset": dataset} | {name: f"{dataset}/{part}" for name, part in ids.items()} | cells


def coded_row(row, dataset, subject, recording, folders):
    """`clip_row` of CASME II's and SAMM's sheets, whose columns are called alike but for spaces.

    ``folders``: of each subject those of the clips, see `hsta_lib.data.readers.find.folders_in_subjects`; a
    path in a cell finds none.
    """
    cells = {name.replace(" ", ""): cell for name, cell in row.items()}
    name = cells["Filename"]
    return clip_row(
        dataset,
        subject=subject,
        recording=recording,
        clip=f"{subject}/{name}",
        folder=folders.get(subject_key(subject), {}).get(name.lower()),
        onset=cells["OnsetFrame"],
        apex=cells["ApexFrame"],
        offset=cells["OffsetFrame"],
        emotion=clean_emotion(cells["EstimatedEmotion"]),
        objective_class=objective_number(cells["ObjectiveClasses"]),
        action_units=cells["ActionUnits"].strip(),
    )


def padded(cell, width):
    """A subject's number of so many digits, be it text or a number: 1 and 01 as 01; other text as it is."""
    number = frame_number(cell)
    return cell.strip() if number is None else f"{number:0{width}d}"


def frame_number(text):
    """A cell's whole number, also of text such as ``12`` or ``12.0``; None if it is no such number."""
    match = re.fullmatch(r"\s*(-?\d{1,18})(\.0*)?\s*", str(text))  # what 64 bits hold
    return int(match[1]) if match else None


def one_spelling(names, key=str.lower):
    """Names that a key holds for the same, by default whatever their case, all as the first of them in order.

    spNO.1 and spno.1 are one person: under two ids she could be in training and in test.
    """
    names = names.str.strip()
    return names.groupby(names.map(key)).transform("min")


def one_person(subjects, where="annotation sheet"):
    """Ids of subjects (list of str), each person's in one spelling, see `hsta_lib.data.table.subject_key`.

    Beside them ``(where, clip_id, problem, action)`` of each person who has several spellings.
    """
    subjects = pd.Series(subjects, dtype=object)
    merged = one_spelling(subjects, subject_key)
    spellings = subjects.str.strip().groupby(merged).unique()
    return merged, [
        (where, "", f"subjects {', '.join(map(repr, sorted(found)))}", f"taken as one, {name!r}")
        for name, found in spellings.items()
        if len(found) > 1
    ]


def objective_number(cell):
    """Objective class of a sheet that numbers them: 1 to 7 as I to VII, anything else as it is."""
    number = frame_number(cell)
    return class_names("objective7")[number - 1] if number in range(1, 8) else cell.strip().upper()


def is_folder_name(text):
    """Whether a cell names a folder of its own: no path, nothing that climbs out of the dataset."""
    return bool(re.fullmatch(r"[\w()-][\w .()-]*", text)) and ".." not in text


def compare_counts(reading):
    """Clips per emotion of a sheet beside those its version should have, none of an unknown version.

    ``emotion``, ``expected``, ``listed``, ``difference``; users own different copies, so a difference is
    shown, not refused.
    """
    emotions = sorted({*reading.expected, *reading.listed})
    counts = pd.DataFrame({"emotion": emotions})
    counts["expected"] = counts["emotion"].map(reading.expected).fillna(0).astype(int)
    counts["listed"] = counts["emotion"].map(reading.listed).fillna(0).astype(int)
    counts["difference"] = counts["listed"] - counts["expected"]
    return counts


def _known_repairs(dataset):
    """Corrections of a dataset: a clip's name, in lower case, to its rows of ``repairs.csv``."""
    table = pd.read_csv(_REPAIRS, dtype=str, comment="#")
    rows = table[table["dataset"] == dataset]
    return {clip: list(group.itertuples()) for clip, group in rows.groupby(rows["clip"].str.lower())}


def _indices(row, rule, known):
    """Onset, apex and offset under a rule, None where a cell is no number, and what was done."""
    shipped = {name: frame_number(row[name]) for name in _INDICES}
    numbers = list(shipped.values())
    if rule == "released":
        return _as_released(numbers)
    corrections = known.get(row["clip_id"].split("/", 1)[1].lower(), [])
    if rule == "published" or not corrections or not all(_fits(fix, shipped) for fix in corrections):
        return numbers, []
    sources = "; ".join(dict.fromkeys(fix.source for fix in corrections))
    repaired = list({**shipped, **{fix.column: int(fix.repaired) for fix in corrections}}.values())
    note = f"onset, apex, offset {_words(numbers)}: a known error", f"taken as {_words(repaired)} ({sources})"
    return numbers if rule == "drop" else repaired, [note]


def _fits(fix, shipped):
    """Whether a sheet has the number a correction was made for."""
    number = shipped[fix.column]
    if fix.shipped == "-":
        return number is None
    return fix.shipped == "any" or number == (
        shipped["offset"] if fix.shipped == "offset" else int(fix.shipped)
    )


def _words(numbers):
    return " ".join("-" if number is None else str(number) for number in numbers)


def _as_released(numbers):
    """The authors' rules in their order (my_utils.py): they throw a true apex away."""
    if None in numbers:
        return numbers, []
    onset, apex, offset = numbers
    apex = max(apex, onset)
    offset = max(offset, onset)
    if apex > offset:
        apex = (onset + offset) // 2
    if [onset, apex, offset] == numbers:
        return numbers, []
    repaired = [onset, apex, offset]
    return repaired, [
        (f"onset, apex, offset {_words(numbers)}", f"taken as {_words(repaired)} (the authors' rules)")
    ]


def _problem(clip, apex_cell, seen):
    """Why a row cannot be used, or an empty text."""
    onset, apex, offset = (clip[name] for name in _INDICES)
    if clip["subject_id"].endswith("/"):
        return "no subject given"
    if (
        onset is None
        or offset is None
        or (apex is None and not re.fullmatch(_NO_APEX, apex_cell.strip(), re.I))
    ):
        return f"onset, apex, offset {[onset, apex, offset]}: not all are numbers"
    if not onset <= offset:
        return f"offset {offset} before onset {onset}"
    if apex is not None and not onset <= apex <= offset:
        return f"apex {apex} outside onset..offset {onset}..{offset}"
    if clip["clip_id"] in seen:
        return "listed twice"
    if clip["folder"] is None:
        return clip.get("missing", "folder missing")
    return ""
