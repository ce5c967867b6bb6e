"""Where the frames and sheets of an unpacked dataset lie: one search for every layout.

Copies differ in case, in marks between words, in how often a folder lies in one of its own name, and in where
the sheet is. Frames are known by what is in a folder (``sub01``, ``s1/micro``), and which frames they are by
the names of the folders around them.
"""

import difflib
import os
import re
from pathlib import Path

from hsta_lib.data.table import subject_key

_DEPTH, _MOST = 6, 5000  # levels below the root, and folders in all, that are looked in
_ABOVE = 4  # levels above the root, where sheets are looked for
_DATASETS = "casme|smic|samm|parta"  # beginnings of the name of a dataset's own folder, or of its part
_SHOWN = 8  # names in a message
_NO_PART = ("__macosx",)  # copies of the names alone
# Folders of a subject or a clip: nothing is looked for in them, they are many.
_INNER = r"(sub|s|spno)[\W_]*\d+([ _-].*)?|\d{1,3}(_\d+_\d+)?|ep\d+.*"


def folders_of(root):
    """Folders in a folder by their lower-case names; empty if it cannot be listed or is None.

    Sheets and disk differ in case. Of two that differ in case alone the first by name.
    """
    found = {}
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name) if root else []
    except OSError:
        return found
    for entry in entries:
        if not entry.name.startswith(".") and _is_folder(entry):
            found.setdefault(entry.name.lower(), root / entry.name)
    return found


def folders_by_subject(root):
    """Folders in a folder by `hsta_lib.data.table.subject_key` of their names."""
    return {subject_key(name): folder for name, folder in folders_of(root).items()}


def folders_in_subjects(root):
    """Folders of each subject's folder by their lower-case names; subjects as in `folders_by_subject`."""
    return {subject: folders_of(folder) for subject, folder in folders_by_subject(root).items()}


def nearest_folder(path):
    """The folder that is written like a path, as far as there is one: its case, accents and marks apart."""
    place = Path(path.anchor)
    for part in re.split(r"[\\/]+", str(path)[len(path.anchor) :]):
        there = place / part
        if not there.is_dir():
            names = folders_by_subject(place)
            close = difflib.get_close_matches(subject_key(part), names, n=1)
            if not close:
                break
            there = names[close[0]]
        place = there
    return place


def not_there(path):
    """Where a folder was looked for that is not there, and the nearest, in words."""
    there = nearest_folder(Path(str(path).replace("\\", "/")).absolute())
    return f"no such folder {path.absolute()}; the nearest is {there}"


def dataset_folder(path):
    """A folder, or the nearest around it that is no subject's or clip's and holds more than sheets.

    A FileNotFoundError if it is not there says where it was looked for and what is nearest.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"data_root: {not_there(path)}")
    while _is_inner(path.absolute().name.lower()) or (_workbooks(path) and not folders_of(path)):
        path = path.absolute().parent
    return path


def find_frames(root, subject, inner="", *, choices=(), usual):
    """The folder of the subjects' folders, and of each choice the kind of its frames.

    Parameters
    ----------
    root : Path
        Any folder around it, or itself.
    subject, inner : str
        Regular expressions of the name, in lower case, of a subject's folder, and of a folder within it.
    choices : sequence of (dict of str to str, str)
        Kinds of frames and which is wanted; if none is named, the first that is there. A kind has a regular
        expression that is found in the name, marks left out, of a folder around its frames; the nearest such
        name tells. Frames whose kind no name tells are taken for what is wanted, else for the last kind.
    usual : str
        Names of the folders, for the message.

    Raises
    ------
    FileNotFoundError
        If there is none; the message says where it was looked for and what is there.
    ValueError
        If a kind is unknown, or there are several such folders.
    """
    unknown = [(kinds, wanted) for kinds, wanted in choices if wanted not in ("", *kinds)]
    for kinds, wanted in unknown:
        raise ValueError(f"variant = {wanted!r} is unknown; choose one of {', '.join(kinds)}, or none")
    found, chosen = find_all(root, subject, inner), []
    needs = f"data_root must be, or hold, {usual}"
    if not found:
        raise FileNotFoundError(f"{_looked(root)}: no folder holds subjects' folders of frames; {needs}")
    for kinds, wanted in choices:
        kind_of = {folder: _kind(folder, root, kinds) for folder in found}
        kind = next((name for name in ([wanted] if wanted else kinds) if name in kind_of.values()), "")
        if kind not in kind_of.values():
            there = ", ".join(f"{name} frames in {folder}" for folder, name in kind_of.items())
            raise FileNotFoundError(f"{root}: no {wanted} frames; there are {there}; {needs}")
        found = [folder for folder in found if kind_of[folder] == kind]
        chosen.append(kind or wanted or list(kinds)[-1])
    if len(found) > 1:
        raise ValueError(f"{root}: frames are in {' and in '.join(map(str, found))}; choose one as data_root")
    return found[0], chosen


def find_all(root, subject, inner=""):
    """All folders that hold one of a name, and in it one of another, see `find_frames`."""
    return [folder for folder in _walked(root) if _holds(folder, subject, inner)]


def _holds(folder, subject, inner):
    subjects = [place for name, place in folders_of(folder).items() if re.fullmatch(subject, name)]
    return any(
        not inner or any(re.fullmatch(inner, name) for name in folders_of(place)) for place in subjects
    )


def _kind(folder, root, kinds):
    """Which kind the names of folders tell, from the innermost to the root's."""
    folder, root = folder.absolute(), root.absolute()
    for place in [folder, *folder.parents][: len(folder.parts) - len(root.parts) + 1]:
        for kind, pattern in kinds.items():
            if re.search(pattern, _bare(place.name)):
                return kind
    return ""


def _bare(name):
    return re.sub(r"[\W_]", "", name.lower())


def _walked(root):
    """A folder and those below it, level by level, none of them in a subject's or a clip's."""
    level, walked, seen = [root], [], set()
    for _ in range(_DEPTH):
        new = [
            folder
            for folder in level
            if (real := os.path.realpath(folder)) not in seen and not seen.add(real)
        ]
        walked += new
        if len(walked) > _MOST:
            break
        level = [place for folder in new for name, place in folders_of(folder).items() if not _is_inner(name)]
    return walked[:_MOST]


def _is_inner(name):
    return name in _NO_PART or bool(re.fullmatch(_INNER, name))


def find_sheet(root, names, frames):
    """Path of an annotation sheet: below a folder, else in the dataset's own, else above it; or None.

    Of several the last by name, which is the latest version.

    Parameters
    ----------
    names : str
        Regular expression that is found in the file's name: case, marks between words and ending left out.
    frames : Path
        Of `find_frames`: where the root is no more than these, the sheet may lie in a folder beside it.
    """
    for folders in _places_of_sheets(root, frames):
        found = {}
        for path in (path for folder in folders for path in _workbooks(folder)):
            match = re.search(names, _bare(path.stem))
            if match:
                found[match[0], path.name.lower()] = path
        if found:
            return found[max(found)]
    return None


def _places_of_sheets(root, frames):
    yield _walked(root)
    above = root.absolute().parents[:_ABOVE]
    named = [folder for folder in above if re.match(_DATASETS, _bare(folder.name))]
    if named or _bare(root.absolute().name) == _bare(frames.absolute().name):
        yield _walked([*above[:1], *named][-1])
    yield from ([folder] for folder in above)


def needed_sheet(root, names, usual, frames):
    """As `find_sheet`; if there is none, a FileNotFoundError says where it was looked for.

    ``usual``: what the sheet is called, for the message.
    """
    sheet = find_sheet(root, names, frames)
    if sheet is None:
        books = [
            path.name
            for folders in _places_of_sheets(root, frames)
            for f in folders
            for path in _workbooks(f)
        ]
        there = f"other workbooks: {', '.join(books[:_SHOWN])}" if books else "there is no workbook"
        raise FileNotFoundError(f"{_looked(root)} and above it: no annotation sheet {usual!r}; {there}")
    return sheet


def _workbooks(folder):
    try:
        paths = [folder / entry.name for entry in os.scandir(folder) if entry.name[0] not in ".~"]
    except OSError:
        return []
    return [path for path in paths if path.suffix.lower() in (".xls", ".xlsx")]


def _looked(root):
    below = [str(folder.relative_to(root)) for folder in _walked(root)[1:]]
    shown = f" ({', '.join(below[:_SHOWN])}{', ...' * (len(below) > _SHOWN)})" if below else ""
    return f"{root}: looked there and in {len(below)} folders below{shown}"


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
