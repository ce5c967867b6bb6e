"""The synthetic benchmark laid out as CASME II, SMIC and SAMM: one tree each, of other faces.

The movements are those of the CAS(ME)^3 layout, by the same generator; the names of the emotions, their
shares, folders, frame numbers and sheets are each dataset's own. So every reader can be run, and a union of
the three has the classes, the subjects per dataset and the class shares of the MEGC2019 composite.
"""

import hashlib
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.data.synthetic import render
from hsta_lib.data.synthetic.population import FILMS, sample_clips, stream
from hsta_lib.data.synthetic.sheets import casme2_workbook, samm_workbook
from hsta_lib.data.table import LABELS, clean_emotion
from hsta_lib.files import write_whole

# What each dataset calls an expression, the generator's emotion whose action units it shows, and the clips it
# has. In the three classes of MEGC2019 that is the composite: 88/32/25, 70/51/43 and 92/26/15 clips. The
# generator has neither repression nor contempt; each takes over a negative emotion's action units, so that
# what is negative moves as in CAS(ME)^3. SMIC's negative clips are of four emotions, shared as there.
LAYOUTS = {
    "casme2": [
        ("disgust", "disgust", 61),
        ("repression", "anger", 27),
        ("happiness", "happy", 32),
        ("surprise", "surprise", 25),
        ("sadness", "sad", 7),
        ("fear", "fear", 2),
        ("others", "others", 99),
    ],
    "smic": [
        ("negative", "disgust", 38),
        ("negative", "fear", 13),
        ("negative", "anger", 10),
        ("negative", "sad", 9),
        ("positive", "happy", 51),
        ("surprise", "surprise", 43),
    ],
    "samm": [
        ("Anger", "anger", 57),
        ("Contempt", "disgust", 12),
        ("Disgust", "disgust", 9),
        ("Fear", "fear", 8),
        ("Sadness", "sad", 6),
        ("Happiness", "happy", 26),
        ("Surprise", "surprise", 15),
        ("Other", "others", 26),
    ],
}
_SUBJECTS = {"casme2": 24, "smic": 16, "samm": 28}  # of the MEGC2019 composite
_SEED_STEP = 1_000_000  # between the seeds of two layouts, so that no face is in two of them
_SPARE = 8  # clips sampled per clip written: the rarest emotion for its use, SAMM's anger, needs 4.9
# CASME II has the films 1 to 19, SAMM 1 to 7. These are others, so that no clip has the name of a real one,
# which lists of corrections or of left-out clips could mean.
_FIRST_FILM = {"casme2": 20, "samm": 8}

_PATHS = {
    "casme2": "Cropped/{subject}/{clip}/reg_img{frame}.jpg",
    "smic": "SMIC_all_cropped/HS/{subject}/{kind}/{clip}/reg_image{frame:06d}.bmp",
    "samm": "SAMM/{subject}/{clip}/{subject}_{frame:0{digits}d}.jpg",
}
CASME2_SHEET = "CASME2-coding-20190701.xlsx"
SAMM_SHEET = "SAMM_Micro_FACS_Codes_v2.xlsx"


def part(layout, spec):
    """A layout's share of the clips and subjects of a benchmark: what `write` takes.

    It has at least 10 clips of 2 subjects, and no macro-expressions. ``spec`` has the sizes of the three
    layouts together. With 576 clips of 68 subjects the three-class clips of the parts are those of the
    MEGC2019 composite; other sizes are shared out in these proportions.
    """
    position = _position(layout)
    clips = _shared_out([sum(n for *_, n in rows) for rows in LAYOUTS.values()], spec.n_micro)
    subjects = _shared_out(list(_SUBJECTS.values()), spec.n_subjects)
    sizes = {"n_micro": max(10, clips[position]), "n_subjects": max(2, subjects[position]), "n_macro": 0}
    return spec.model_copy(update=sizes)


def drawn_spec(layout, spec):
    """The benchmark a layout's clips are taken from, by ``drawn_from`` of `layout_clips`.

    Its seed is that of ``spec`` plus 1, 2 or 3 million (CASME II, SMIC, SAMM), so the layouts have no face in
    common, and none with the CAS(ME)^3 layout. It has more clips than are written: those of the wanted
    emotions are chosen from it, which leaves what moves, and how well it tells the emotion, as it is.
    """
    seed = spec.generator_seed + _SEED_STEP * (1 + _position(layout))
    return spec.model_copy(update={"generator_seed": seed, "n_micro": _SPARE * spec.n_micro, "n_macro": 0})


def layout_clips(layout, spec):
    """The micro-expressions of a layout, as its reader should find them.

    ``spec``: ``n_micro`` clips of ``n_subjects`` subjects; macro-expressions are not drawn.

    Returns
    -------
    DataFrame
        Sorted by ``subject`` and ``clip`` (names as on disk). ``onset``, ``apex``, ``offset`` (frame numbers
        in the files, inclusive; the true apex also for SMIC, which gives none), ``label`` (as the dataset
        spells it), ``emotion`` (the spelling of the clip table), ``action_units`` (those shown),
        ``objective_class`` (I to VII), ``film`` (letter), ``number`` (of the subject),
        ``drawn_from`` (the generator's clip id, see `drawn_spec`).
    """
    clips = _all_clips(layout, spec)
    columns = ["subject", "clip", "onset", "apex", "offset", "label", "emotion", "action_units"]
    columns += ["objective_class", "film", "number", "drawn_from"]
    return clips.loc[~clips["neutral"], columns].reset_index(drop=True)


def write(layout, spec, root):
    """Draw a layout's clips and write them with its sheet; an unknown layout is a ValueError.

    Nothing is written beside the place or renamed: whoever wants a folder that is complete as soon as it has
    its name calls this on another name. What is in the folder stays. ``spec``: of this layout alone, see
    `part`.

    Returns
    -------
    dict of str to str
        SHA-256 of every file by its path in the root. Equal arguments give equal files.
    """
    _position(layout)
    work = partial(_write_subject, layout, spec, Path(root))
    digests = synthetic.draw(work, _all_clips(layout, spec), f"drawing clips ({layout})")
    for name, content in _workbooks(layout, layout_clips(layout, spec)).items():
        write_whole(Path(root) / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return dict(sorted(digests.items()))


def _position(layout):
    if layout not in LAYOUTS:
        raise ValueError(f"layout = {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    return list(LAYOUTS).index(layout)


def _shared_out(weights, total):
    """Whole numbers in proportion to the weights, none off by more than one, that add up to the total."""
    edges = np.cumsum([0, *weights])
    return np.diff(np.rint(edges * total / edges[-1]).astype(int)).tolist()


# --- who shows what -----------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _all_clips(layout, spec):
    """Rows of `layout_clips` and of the neutral clips, with what names their files; not to be changed."""
    source = drawn_spec(layout, spec)
    clips = _choose(layout, spec, sample_clips(source), stream(source, f"clips of {layout}"))
    clips["number"] = clips["subject"].str.removeprefix("spNO.").astype(int)
    clips = clips.sort_values(["number", "film", "onset"], ignore_index=True)
    clips = clips.rename(columns={"clip_id": "drawn_from"}).assign(kind="", digits=0)
    _NAMED[layout](clips, stream(source, f"names of {layout}"))
    return clips.sort_values(["subject", "clip"], ignore_index=True)


def _choose(layout, spec, clips, rng):
    """The wanted number of clips of each emotion; one neutral clip per subject where the layout has such."""
    clips = clips.iloc[rng.permutation(len(clips))]
    label_of = _label_clips(layout, clips, _labels(layout, spec.n_micro, rng))
    clips = clips.assign(label=clips["clip_id"].map(label_of), neutral=~clips["clip_id"].isin(label_of))
    rest = clips[clips["neutral"]].drop_duplicates("subject") if layout == "smic" else clips[:0]
    clips = pd.concat([clips[~clips["neutral"]], rest]).fillna({"label": ""})
    return clips.assign(emotion=clips["label"].map(clean_emotion))


def _label_clips(layout, clips, labels):
    """Give the labels to clips of their emotion: clip to label."""
    three_classes = LABELS["emotion3"][1][layout][1]
    chosen, seen = {}, set()
    for first_of_subject in (True, False):  # one of the three classes to every subject, then the rest
        for clip in clips[["clip_id", "subject", "emotion"]].itertuples(index=False):
            left = labels.get(clip.emotion)
            if not left or clip.clip_id in chosen:
                continue
            if first_of_subject and (clip.subject in seen or clean_emotion(left[-1]) not in three_classes):
                continue
            chosen[clip.clip_id] = left.pop()
            seen.add(clip.subject)
    return chosen


def _labels(layout, n_clips, rng):
    """Labels to give to the clips of each of the generator's emotions, in random order."""
    labels = {}
    counts = _shared_out([n for *_, n in LAYOUTS[layout]], n_clips)
    for (label, emotion, _), count in zip(LAYOUTS[layout], counts, strict=True):
        labels.setdefault(emotion, []).extend([label] * count)
    return {emotion: [all_[i] for i in rng.permutation(len(all_))] for emotion, all_ in labels.items()}


def _move(clips, onsets):
    """Number a clip's frames from another onset."""
    shift = np.asarray(onsets) - clips["onset"]
    for name in ("onset", "apex", "offset"):
        clips[name] += shift


def _film_numbers(layout, clips):
    return clips["film"].map(FILMS.index) + _FIRST_FILM[layout]


def _name_casme2(clips, rng):
    """``sub01/EP20_01f``: the film, the clip in it. Frames count from the first of the raw clip.

    A few neutral frames come before the onset, so most clips cross from img9 to img10.
    """
    clips["subject"] = clips["number"].map("sub{:02d}".format)
    in_film = clips.groupby(["number", "film"]).cumcount() + 1
    ending = np.where(rng.random(len(clips)) < 0.28, "f", "")
    clips["clip"] = [
        f"EP{film}_{count:02d}{end}"
        for film, count, end in zip(_film_numbers("casme2", clips), in_film, ending, strict=True)
    ]
    _move(clips, rng.integers(4, 11, len(clips)))


def _name_smic(clips, rng):
    """``s1/micro/negative/s1_ne_01``: the label, the clip of it. Frames count on from clip to clip.

    The camera's counter has 6, 8, 5 (padded to 6) or 7 digits, by subject.
    """
    clips["subject"] = clips["number"].map("s{}".format)
    clips["kind"] = np.where(clips["neutral"], "non_micro", "micro/" + clips["label"])
    short = clips["label"].map({"negative": "ne", "positive": "po", "surprise": "sur", "": "non"})
    count = clips.groupby(["number", "label"]).cumcount() + 1
    clips["clip"] = clips["subject"] + "_" + short + "_" + count.map("{:02d}".format)
    starts = {
        number: int(rng.uniform(1, 8) * 10 ** (5, 7, 4, 6)[number % 4 - 1])
        for number in sorted(clips["number"].unique())
    }
    step = clips["offset"] - clips["onset"] + rng.integers(20, 300, len(clips))
    before = step.groupby(clips["number"]).cumsum() - step
    _move(clips, clips["number"].map(starts) + before)


def _name_samm(clips, _rng):
    """``006/006_8_1``: the film (13, where SAMM has 7), the clip in it. Frames count through the long video.

    Names have 4 or 5 digits by video: every fourth video, and any of 10000 frames, has 5.
    """
    clips["subject"] = (clips["number"] + 5).map("{:03d}".format)
    videos = clips.groupby(["number", "film"], sort=False)
    count = videos.cumcount() + 1
    clips["clip"] = (
        clips["subject"] + "_" + _film_numbers("samm", clips).astype(str) + "_" + count.astype(str)
    )
    is_long = (videos.ngroup() % 4 == 1) | (videos["offset"].transform("max") > 9999)
    clips["digits"] = np.where(is_long, 5, 4)


_NAMED = {"casme2": _name_casme2, "smic": _name_smic, "samm": _name_samm}


# --- files --------------------------------------------------------------------------------------------------


def _write_subject(layout, spec, root, subject):
    clips, digests = _all_clips(layout, spec), {}
    for clip in clips[clips["subject"] == subject].to_dict("records"):
        frames = synthetic.clip_frames(drawn_spec(layout, spec), clip["drawn_from"], clip["neutral"])
        for number, frame in enumerate(frames, start=clip["onset"]):
            name = _PATHS[layout].format(**clip, frame=number)
            content = _encode(layout, frame)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
            digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def _encode(layout, frame):
    """A frame as the bytes of the dataset's kind of file: JPEG, BMP or grey JPEG."""
    if layout == "casme2":
        return render.jpeg(frame)
    if layout == "smic":
        return cv2.imencode(".bmp", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _workbooks(layout, clips):
    """Annotation sheets by their file names; SMIC has none."""
    if layout == "casme2":
        return {CASME2_SHEET: casme2_workbook(clips)}
    return {SAMM_SHEET: samm_workbook(clips)} if layout == "samm" else {}
