"""Read the optical-flow images of the MEGC2019 clips that STSTNet and HTNet are trained on."""

import re
from collections import defaultdict
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hsta_lib.data.cache import Unreadable, cache_key, cached_rows
from hsta_lib.data.flow import strain
from hsta_lib.data.frames import SUFFIXES, read_image, resize
from hsta_lib.data.readers import clones
from hsta_lib.data.readers.find import folders_of
from hsta_lib.data.readers.rows import one_person
from hsta_lib.data.readers.smic import parse_name
from hsta_lib.data.table import COLUMNS, class_names, problems_table
from hsta_lib.files import read_csv

SIZE = 28  # px
FRAMES = {"n_frames": 2, "image_size": SIZE}  # fields of `hsta_lib.config.Frames` that such a dataset has
VARIANTS = {"htnet": "HTNet", "causalnet": "CausalNet"}  # extractions of the same flow, and their clones
BOTH = "both"  # each clip twice, for a notebook that compares them
_LABELS = ("0", "1", "2")
_CSV_COLUMNS = ("sub", "filename_o", "label")
_NUMBERS = ("onset", "apex", "offset")
_LEFT_OUT = "clip left out"
_IN_CLONE = Path("datasets/three_norm_u_v_os")
_SEQUENCES = "datasets/STSNet_whole_norm_u_v_os"
_PICTURES = ("", "_1", "_2", "_3")  # what CausalNet adds to a clip's name
_COLOURS = ("red", "green", "blue")
_RATIOS = (0.25, 0.5, 1, 2, 4)
_FACES = "combined_datasets_whole"


class FlowImages(NamedTuple):
    """A clip table without folders and frame numbers; uint8 RGB, ``(n_clips, n_pictures, 28, 28, 3)``.

    One picture, onset to apex; or CausalNet's four: onset to apex, apex to offset, the directions of both.
    """

    clips: pd.DataFrame
    images: np.ndarray
    problems: pd.DataFrame


def read(root, variant="htnet"):
    """Clips and flow images, each clip once, sorted by clip id.

    ``recording_id`` is the subject. The channels are the files' red, green and blue; `channel_orders`
    measures which of u, v and strain each holds.

    Parameters
    ----------
    root : str or Path
        A clone of the variant's repository, whose labels are compared with its list. Or, of ``htnet``, a
        folder per subject, ``<subject>/u_test/<label>/<file>.png``, whose ``u_train`` folders are not read,
        only compared by name; or one folder of images, the root or a folder in it, and a .csv file in the
        root with the columns ``sub``, ``filename_o``, ``label``. Labels are 0, 1, 2: negative, positive,
        surprise. Files are named as `clip_of` describes.
    variant : {"htnet", "causalnet"}

    Raises
    ------
    FileNotFoundError
        If there are no such images, several folders of them, or no such .csv file.
    ValueError
        If most images are not of the size of such images, or the folder is HTNet's pictures of faces; or the
        clone is CausalNet's and the variant is not.
    """
    root = Path(root)
    if _FACES in root.parts:
        raise ValueError(
            f"{root} holds pictures of faces, which are bound by agreements and not read; give the clone's "
            "root or its datasets/three_norm_u_v_os"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not there: {clones.repair(root, VARIANTS[variant])}")
    if variant == "causalnet":
        return _collected(root, *_from_sequences(root), _PICTURES)
    if (root / _IN_CLONE.parent).is_dir():
        return _read_clone(root)
    subjects = [folder for folder in folders_of(root).values() if "u_test" in folders_of(folder)]
    found, problems = _from_folds(subjects) if subjects else _from_one_folder(root)
    return _collected(root, found, problems, _PICTURES[:1])


def _collected(root, found, problems, endings):
    """Each clip once, with the pictures whose names end so."""
    rows, images, taken, resized = [], [], {}, 0
    problems += one_person([path.stem.partition("_")[0] for path, *_ in found], "names of images")[1]
    for path, clip_id, label in sorted(found, key=lambda item: (item[1], item[0])):
        shown = (None, f"also in {taken[clip_id]}", path) if clip_id in taken else _pictures(path, endings)
        pictures, problem, where = shown
        if problem:
            action = _LEFT_OUT if pictures is None else f"resized to {SIZE} x {SIZE} px"
            problems.append((str(where), clip_id, problem, action))
        if pictures is not None:
            taken[clip_id] = path
            resized += bool(problem)
            rows.append(_row(clip_id, label))
            images.append(pictures)
    clips = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(_NUMBERS, "Int64"))
    if 2 * resized > len(images):
        raise ValueError(
            f"{root}: {resized} of {len(images)} images are not {SIZE} x {SIZE} px: no pictures of flow; "
            "those of HTNet are in datasets/three_norm_u_v_os of its repository"
        )
    stacked = np.array(images, np.uint8).reshape(-1, len(endings), SIZE, SIZE, 3)
    return FlowImages(clips, stacked, problems_table(problems).map(lambda cell: cell.replace(f"{root}/", "")))


def _pictures(path, endings):
    """Pictures of a clip or None; what is wrong with the worst of them, and its file."""
    paths = [_with_ending(path, ending) for ending in endings]
    images, problems = zip(*map(_image, paths), strict=True)
    wrong = [row for row in range(len(paths)) if problems[row]]
    whole = None if any(image is None for image in images) else np.stack(images)
    worst = min(wrong, key=lambda row: images[row] is not None, default=0)
    return whole, problems[worst], paths[worst]


def _with_ending(path, ending):
    """``006_006_1_2 .png`` as ``006_006_1_2_1 .png``: the space stays last."""
    name = path.stem.rstrip()
    return path.with_name(f"{name}{ending}{path.stem[len(name) :]}{path.suffix}")


def _read_clone(root):
    """The pictures of HTNet's clone, and where they depart from its list."""
    if "CausalNet" in root.name:
        raise ValueError(f"{root}: its {_IN_CLONE} is HTNet's; its own pictures: variant = 'causalnet'")
    found = read(clones.find(root, "HTNet", str(_IN_CLONE)))
    path, labels = _read_labels(root)
    problems = found.problems.to_numpy().tolist()
    own = dict(zip(found.clips["clip_id"], found.clips["emotion"], strict=True))
    classes = class_names("emotion3", "megc2019")
    for clip_id in sorted({*labels, *own}):
        listed = classes[int(labels[clip_id])] if labels.get(clip_id) in _LABELS else "no label"
        if clip_id not in own:
            problems.append((path.name, clip_id, f"no picture; {clones.repair(root, 'HTNet')}", _LEFT_OUT))
        elif own[clip_id] != listed:
            problems.append(
                (path.name, clip_id, f"{listed}, its folder says {own[clip_id]}", "folder's kept")
            )
    return found._replace(problems=problems_table(problems))


def _from_sequences(root):
    """First picture of each clip of CausalNet's list, which tells endings from ids such as 011_6_1."""
    files = _files(clones.find(root, "CausalNet", _SEQUENCES))
    path, labels = _read_labels(root)
    listed = [(file, labels[clip_of(file.stem)]) for file in files if clip_of(file.stem) in labels]
    found, problems = _sorted_out(listed, lambda *_: "")
    known = {_with_ending(file, ending) for file, _ in listed for ending in _PICTURES}
    problems += [
        (str(file), "", f"of no clip of {path.name}", _LEFT_OUT) for file in files if file not in known
    ]
    lacking = sorted(labels.keys() - {clip_of(file.stem) for file, _ in listed})
    what = f"no picture; {clones.repair(root, 'CausalNet')}"
    return found, problems + [(path.name, clip_id, what, _LEFT_OUT) for clip_id in lacking]


def channel_orders(images):
    """Which colour of RGB images holds which channel, measured: the strain of two colours against the third.

    Each channel was stretched by its own range, so how u compares with v is lost: of five ratios the one is
    taken that agrees best, for each clip and order alike. ``images``: uint8 ``(n_clips, 28, 28, 3)``.

    Returns
    -------
    DataFrame
        One row per order: the colours taken as ``u``, ``v``, ``strain``; ``correlation``, the median over
        clips; ``best for``, of how many clips it is the best of the six.
    """
    orders = list(permutations(range(3)))
    found = np.array([[_strain_agrees(image[..., order]) for order in orders] for image in images])
    table = pd.DataFrame([[_COLOURS[i] for i in order] for order in orders], columns=["u", "v", "strain"])
    best = np.bincount(found.argmax(axis=1), minlength=len(orders))
    return table.assign(correlation=np.median(found, axis=0), **{"best for": best})


def _strain_agrees(channels):
    """Correlation of the strain of u and v with the third channel, at the best ratio of u to v; 0 if flat."""
    u, v, shown = np.moveaxis(channels.astype(np.float32), 2, 0)
    strains = [strain(np.dstack([ratio * u, v])) for ratio in _RATIOS]
    return max(correlation(each, shown) for each in strains)


def correlation(first, second):
    """Pearson's correlation of two pictures, 0 where one is flat."""
    first, second = (each - each.mean(dtype=float) for each in (first, second))
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / size) if size else 0.0


def read_both(folder):
    """The pictures from onset to apex of both variants, as one table: each clip twice.

    The column ``extraction`` says of which variant it is. ``folder``: holds a clone of each variant. Errors
    are those of `read`; also a ValueError if the variants do not have the same clips.
    """
    parts = {name: read(folder / clone, name) for name, clone in VARIANTS.items()}
    first, second = (set(part.clips["clip_id"]) for part in parts.values())
    if first != second:
        lacking = sorted(first ^ second)
        commands = "; ".join(clones.repair(folder / clone, clone) for clone in VARIANTS.values())
        raise ValueError(
            f"{folder}: {len(lacking)} clips are in one clone alone, as {lacking[0]}: {commands}"
        )
    return FlowImages(
        pd.concat([part.clips.assign(extraction=name) for name, part in parts.items()], ignore_index=True),
        np.concatenate([part.images[:, :1] for part in parts.values()]),
        pd.concat([part.problems for part in parts.values()], ignore_index=True),
    )


def numbered(clips):
    """Clips under running numbers, which reports may show; what they are called stays in ``source_name``.

    ``casme2/sub01/EP02_01f`` is ``casme2/p00/c000``: subjects and clips are counted in the order of ids. Of
    both variants it is ``casme2/p00/c000/htnet`` and ``casme2/p00/c000/causalnet``.
    """
    subjects, clip_ids = clips["subject_id"], clips["clip_id"]
    numbers = pd.factorize(subjects, sort=True)[0]
    named = [f"{name.split('/')[0]}/p{number:02}" for name, number in zip(subjects, numbers, strict=True)]
    order = pd.factorize(clip_ids, sort=True)[0]
    ids = [f"{subject}/c{number:03}" for subject, number in zip(named, order, strict=True)]
    ids = (
        ids
        if "extraction" not in clips
        else [f"{a}/{b}" for a, b in zip(ids, clips["extraction"], strict=True)]
    )
    return clips.assign(clip_id=ids, subject_id=named, recording_id=named, source_name=clip_ids)


def cache_resized(frames_path, clip_ids, size):
    """File of such images at another size in px: float32, 0..255, ``(n_clips, size, size, 3)``.

    ``frames_path`` (Path): of `hsta_lib.data.dataset.Dataset`, whose frames show such images.
    """
    images = np.load(frames_path, mmap_mode="r")[:, 0]
    path, *_ = cached_rows(
        frames_path.parent.parent / cache_key(["flow images", size], [frames_path]),
        list(zip(clip_ids, range(len(images)), strict=True)),
        lambda row: resize(images[row], size, "none").astype(np.float32),
        shape=(size, size, 3), dtype=np.float32, desc="",
    )  # fmt: skip
    return path


def clip_of(stem):
    """Id of a clip by its image's name, or None; no ending: sub01_EP02_01f, s01_s1_ne_01, 006_006_1_2."""
    subject, _, name = stem.strip().partition("_")
    number, clip = _unpadded(subject), parse_name(name)
    if re.fullmatch(r"sub\d+", number) and re.match("EP", name, re.IGNORECASE):
        return f"casme2/sub{number[3:]:0>2}/{name}"
    if clip and number == _unpadded(clip.subject):
        return f"smic/{clip.subject}/{clip.name}"
    if re.fullmatch(r"\d+", number) and re.fullmatch(rf"0*{number}_\d+_\d+", name):
        return f"samm/{number:0>3}/{name}"
    return None


def _unpadded(subject):
    """s01 as s1, 006 as 6."""
    return re.sub(r"^(\D*)0*", r"\1", subject.strip().lower())


def _image(path):
    """An image of the right size, or None; and what is wrong."""
    if not path.is_file():
        return None, "not there"
    try:
        image = read_image(path)
    except Unreadable as error:
        return None, error.reason
    height, width = image.shape[:2]
    problem = "" if height == width == SIZE else f"{width} x {height} px"
    return resize(image, SIZE, "none") if problem else image, problem


def _row(clip_id, label):
    subject = clip_id.rpartition("/")[0]
    return {
        **dict.fromkeys(COLUMNS, ""),
        **dict.fromkeys(("folder", "depth_folder", *_NUMBERS)),
        "dataset": "megc2019_flow",
        "subject_id": subject,
        "recording_id": subject,
        "clip_id": clip_id,
        "emotion": class_names("emotion3", "megc2019")[int(label)],
        "expression_type": "micro",
    }


def _files(folder):
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(path for path in files if not path.name.startswith("."))


def _sorted_out(images, reason_of):
    """``(path, clip id, label)`` of images that can be used, and the problems of the others."""
    found, problems = [], []
    for path, label in images:
        clip_id = clip_of(path.stem)
        reason = reason_of(path, clip_id) if clip_id else "no name of a clip such as sub01_EP02_01f"
        reason = reason or ("" if label in _LABELS else f"label {label!r} is none of 0, 1, 2")
        if reason:
            problems.append((str(path), clip_id or "", reason, _LEFT_OUT))
        else:
            found.append((path, clip_id, label))
    return found, problems


def _from_folds(subjects):
    tested, trained = [], {}
    for folder in subjects:
        parts = folders_of(folder)
        tested += _labelled(parts["u_test"])
        if "u_train" in parts:
            images = _labelled(parts["u_train"])
            trained[folder.name] = {(clip_of(path.stem) or path.stem, label) for path, label in images}
    found, problems = _sorted_out(tested, _in_wrong_folder)
    return found, problems + list(_compare(found, trained))


def _labelled(root):
    return [(path, label) for label, folder in folders_of(root).items() for path in _files(folder)]


def _in_wrong_folder(path, clip_id):
    subject = path.parents[2].name
    is_own = _unpadded(subject) == _unpadded(clip_id.split("/")[1])
    return "" if is_own else f"in the folder of subject {subject}"


def _compare(found, trained):
    """Clips whose training sets depart from the test sets of all other subjects."""
    own = {clip_id: (path.parents[2].name, label) for path, clip_id, label in reversed(found)}
    subjects_of = defaultdict(lambda: defaultdict(set))  # clip -> label -> subjects
    for subject, clips in trained.items():
        for clip_id, label in clips:
            subjects_of[clip_id][label].add(subject)
    for clip_id in sorted({*own, *subjects_of}):
        subject, label = own.get(clip_id, ("", ""))
        among = set().union(*subjects_of[clip_id].values())
        lacking = trained.keys() - among - {subject}
        if clip_id not in own:
            yield "u_train", clip_id, f"for {len(among)} subjects, in no u_test", _LEFT_OUT
            continue
        if subject in among:
            yield "u_train", clip_id, "also for its own subject", "kept"
        if lacking:
            yield "u_train", clip_id, f"missing for {len(lacking)} other subjects", "kept"
        for other in sorted(subjects_of[clip_id].keys() - {label}):
            what = f"label {other} for {len(subjects_of[clip_id][other])} subjects, {label} in u_test"
            yield "u_train", clip_id, what, f"label {label} kept"


def _from_one_folder(root):
    folders = [folder for folder in (root, *folders_of(root).values()) if folder.is_dir() and _files(folder)]
    if len(folders) != 1:
        several = f"images in {', '.join(folder.name for folder in folders)}" if folders else "no images"
        raise FileNotFoundError(
            f"{root}: {several}; it must hold <subject>/u_test (HTNet's "
            "datasets/three_norm_u_v_os) or one folder of images"
        )
    path, labels = _read_labels(root)
    images = [(image, labels.get(clip_of(image.stem))) for image in _files(folders[0])]
    found, problems = _sorted_out(images, lambda _, name: "" if name in labels else f"not in {path.name}")
    lacking = labels.keys() - {clip_of(image.stem) for image, _ in images}
    return found, problems + [(path.name, clip_id, "no image", _LEFT_OUT) for clip_id in sorted(lacking)]


def _read_labels(root):
    """The list in a folder, and its label of each clip."""
    for path in sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv"):
        table = read_csv(path)
        if set(_CSV_COLUMNS) <= set(table.columns):
            names = table["sub"] + "_" + table["filename_o"]
            table = table.assign(clip=[clip_of(name) or name for name in names])
            twice = table.groupby("clip")["label"].nunique()
            if (twice > 1).any():
                raise ValueError(f"{path}: clip {twice.idxmax()} is there with {twice.max()} labels")
            return path, dict(zip(table["clip"], table["label"], strict=True))
    raise FileNotFoundError(f"{root}: no .csv file with the columns {', '.join(_CSV_COLUMNS)} there")
