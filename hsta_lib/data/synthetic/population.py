"""Who shows what, when: the clips of the synthetic benchmark before any pixel is drawn.

Subjects, films, emotions, action units and clip lengths follow the published CAS(ME)^3 lists. The model
that made them is written down here, so the best score any predictor can expect is known.
"""

import zlib
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import pandas as pd

from hsta_lib.data.table import class_names, objective_class, parse_action_units

EMOTIONS = class_names("emotion7")
FILMS = "abcdefghijklm"

# Clips per emotion in CAS(ME)^3 (860 micro-expressions).
_EMOTION_COUNTS = dict(zip(EMOTIONS, (161, 250, 187, 86, 64, 57, 55), strict=True))

# Percent of an emotion's clips that show exactly these action units.
EMOTION_ACTION_UNITS = {
    "disgust": {"4": 33, "4+7": 27, "4+6+7": 6, "4+9": 5, "9": 5, "10": 5, "4+10": 7, "9+10": 5, "4+14": 7},
    "surprise": {"1+2": 48, "1+2+25": 10, "5": 8, "25": 6, "25+26": 7, "2": 11, "1+2+5": 10},
    "others": {"14": 32, "17": 27, "14+17": 16, "18": 11, "16+25": 9, "4": 5},
    "fear": {"5+25": 24, "5+20": 24, "20+25": 18, "1+2+4+5": 21, "5+24": 8, "1+2+4": 3, "20": 2},
    "anger": {"17+24": 30, "4+5+7": 27, "23": 19, "4+38": 10, "4+24": 14},
    "sad": {"15": 24, "1": 16, "1+4": 22, "15+17": 10, "1+15": 16, "4+15": 12},
    "happy": {"12": 12, "6+12": 14, "12+25": 30, "6+12+25": 28, "10+12": 16},
}
LABEL_NOISE = 0.2  # share of clips whose action units are those of a clip picked whatever its emotion
_ONE_SIDED = {2, 10, 12, 14, 15}

# Share of an emotion's clips in the films that elicit it, as in the CAS(ME)^3 list; the rest is spread.
_FILMS_OF_EMOTION = {
    "disgust": {"a": 0.20, "c": 0.17},
    "surprise": {"b": 0.22, "e": 0.17},
    "fear": {"d": 0.45, "f": 0.40},
    "anger": {"m": 0.38, "i": 0.35},
    "sad": {"g": 0.33, "h": 0.33, "l": 0.32},
    "happy": {"j": 0.46, "k": 0.45},
}
# Power of the film shares, and spread over subjects and over recordings of the log-odds of an emotion, where
# `tied_labels` is 1. Set so that votes by film, subject and recording score as on the real list.
_FILM_TIE, _SUBJECT_TIE, _RECORDING_TIE = 1.8, 2.0, 2.2


def stream(spec, purpose, *key):
    """Random generator for one purpose: to change one thing leaves every other draw as it was."""
    key = (zlib.crc32(purpose.encode()), *key)
    seed = np.random.SeedSequence(spec.generator_seed, spawn_key=key)
    return np.random.default_rng(seed)


def sample_clips(spec):
    """The clips of a benchmark, without pixels, one row per clip, in the order of the sheet.

    Returns
    -------
    DataFrame
        ``clip_id``, ``recording_id``, ``subject_id``, ``subject`` (``spNO.1``), ``film`` (letter), ``onset``,
        ``apex``, ``offset`` (frame numbers, inclusive), ``emotion``, ``action_units`` (``4+R14``),
        ``objective_class``, ``expression_type``, ``key`` (number of the clip among those of its type: what
        its random draws hang on).
    """
    return clip_rows(spec).copy()


@lru_cache(maxsize=8)
def clip_rows(spec):
    """The rows of `sample_clips`, kept in memory: not to be changed."""
    parts = []
    for kind, n_clips in (("micro", spec.n_micro), ("macro", spec.n_macro)):
        if n_clips:
            clips = _draw_places(spec, kind, n_clips)
            clips["emotion"] = _draw_emotions(spec, kind, clips)
            clips["action_units"] = _draw_action_units(spec, kind, clips["emotion"])
            parts.append(clips.join(_draw_lengths(spec, kind, n_clips)))
    clips = _place_in_time(spec, pd.concat(parts, ignore_index=True))
    sets = clips["action_units"].map(parse_action_units)
    clips["objective_class"] = sets.map(objective_class)
    number = clips.pop("number")
    clips["subject"] = "spNO." + number.astype(str)
    clips["subject_id"] = "synthetic/" + clips["subject"]
    clips["recording_id"] = clips["subject_id"] + "/" + clips["film"]
    clips["clip_id"] = clips["recording_id"] + "/" + clips["onset"].astype(str)
    return clips


def _draw_places(spec, kind, n_clips):
    """Subject (number) and film of each clip: unequal subjects, clips in bursts on a few films."""
    counts = _clips_per_subject(stream(spec, "population"), n_clips, spec.n_subjects)
    rows = []
    for number, count in enumerate(counts, start=1):
        share = stream(spec, "films", number).dirichlet(np.full(len(FILMS), 3.0))
        films = stream(spec, f"{kind} films", number).choice(list(FILMS), size=count, p=share)
        rows += [(kind, number, str(film)) for film in films]
    clips = pd.DataFrame(rows, columns=["expression_type", "number", "film"])
    return clips.assign(key=np.arange(n_clips))


def _clips_per_subject(rng, n_clips, n_subjects):
    quantiles = (np.arange(n_subjects) + 0.5) / n_subjects
    weights = np.exp([1.0 * NormalDist().inv_cdf(q) for q in quantiles])
    for _ in range(20):
        weights = np.minimum(weights / weights.sum(), max(0.12, 1.2 / n_subjects))
    n_spare = max(n_clips - n_subjects, 0)
    counts = _whole_numbers(weights, n_spare) + (np.arange(n_subjects)[::-1] < n_clips)
    return rng.permutation(counts)


def _whole_numbers(weights, total):
    """Counts proportional to the weights that add up to the total (largest remainders)."""
    exact = np.asarray(weights) / np.sum(weights) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _draw_emotions(spec, kind, clips):
    """Emotion of each clip. The class counts are fixed, so ties to film or subject never change them."""
    counts = _whole_numbers(list(_EMOTION_COUNTS.values()), len(clips))
    rng = stream(spec, f"{kind} emotions")
    odds = _tied_odds(spec, clips)
    for _ in range(100):
        emotions = np.empty(len(clips), dtype=int)
        left = counts.copy()
        for clip in rng.permutation(len(clips)):
            weights = np.cumsum(left * odds[clip])
            emotions[clip] = np.searchsorted(weights, rng.random() * weights[-1], side="right")
            left[emotions[clip]] -= 1
        subjects = clips["number"].groupby(emotions).nunique()
        if (subjects >= np.minimum(counts[subjects.index], min(3, spec.n_subjects))).all():
            break  # no class is one subject's alone
    return [EMOTIONS[emotion] for emotion in emotions]


def _tied_odds(spec, clips):
    """Odds of each emotion in each clip, from film, subject and recording; their logs scale with the tie."""
    strength = spec.tied_labels
    films = pd.DataFrame({emotion: _film_shares(emotion) for emotion in EMOTIONS}, index=list(FILMS))
    odds = films.loc[clips["film"]].to_numpy() ** (strength * _FILM_TIE)
    for (number, film), rows in clips.groupby(["number", "film"]).indices.items():
        subject = stream(spec, "tie", number).standard_normal(len(EMOTIONS))
        recording = stream(spec, "tie", number, FILMS.index(film)).standard_normal(len(EMOTIONS))
        odds[rows] *= np.exp(strength * (_SUBJECT_TIE * subject + _RECORDING_TIE * recording))
    return odds


def _film_shares(emotion):
    own = _FILMS_OF_EMOTION.get(emotion, {})
    rest = (1 - sum(own.values())) / (len(FILMS) - len(own))
    return [own.get(film, rest) for film in FILMS]


def _draw_action_units(spec, kind, emotions):
    """Action units of each clip, as text; some are of one side only, macro-expressions have more."""
    rng = stream(spec, f"{kind} action units")
    pool = np.repeat(EMOTIONS, list(_EMOTION_COUNTS.values()))
    texts = []
    for emotion in emotions:
        shown = str(rng.choice(pool)) if rng.random() < LABEL_NOISE else emotion
        units = _draw_set(rng, shown)
        if kind == "macro" and rng.random() < 0.4:
            units = sorted({*units, *_draw_set(rng, shown)}, key=int)
        if rng.random() < 0.2 and int(units[-1]) in _ONE_SIDED and "1" not in units:
            units[-1] = str(rng.choice(["L", "R"])) + units[-1]
        texts.append("+".join(units))
    return texts


def _draw_set(rng, emotion):
    sets = EMOTION_ACTION_UNITS[emotion]
    share = np.cumsum(list(sets.values()))
    return list(sets)[np.searchsorted(share, rng.random() * share[-1], side="right")].split("+")


def _draw_lengths(spec, kind, n_clips):
    """Frames from onset to apex and from apex to offset, whatever the label.

    Micro: the dataset's rule is apex - onset <= 8 or offset - onset <= 15; macro: neither.
    """
    rng = stream(spec, f"{kind} timing")
    rise, fall = ((3, 9), (4, 13)) if kind == "micro" else ((9, 26), (15, 35))
    return pd.DataFrame(
        {
            "rise": rng.integers(*rise, n_clips),
            "fall": rng.integers(*fall, n_clips),
            "gap": rng.integers(5, 500, n_clips),
        }
    )


def _place_in_time(spec, clips):
    """Number the frames: the clips of a video follow one another in random order, with gaps."""
    order = stream(spec, "order").permutation(len(clips))
    clips = clips.iloc[order].sort_values(["number", "film"], kind="stable", ignore_index=True)
    length = clips["rise"] + clips["fall"]
    step = clips["gap"] + length
    end = step.groupby([clips["number"], clips["film"]]).cumsum()
    clips["onset"] = end - length
    clips["apex"] = clips["onset"] + clips["rise"]
    clips["offset"] = clips["onset"] + length
    return clips.drop(columns=["rise", "fall", "gap"])


def _action_units_given_emotion():
    """P(action units | emotion), label noise included: emotions in rows, sets of units in columns."""
    own = (
        pd.DataFrame({emotion: pd.Series(sets) for emotion, sets in EMOTION_ACTION_UNITS.items()}).fillna(0).T
    )
    own = own.div(own.sum(axis=1), axis=0).loc[list(EMOTIONS)]
    share = pd.Series(_EMOTION_COUNTS) / sum(_EMOTION_COUNTS.values())
    pooled = own.mul(share, axis=0).sum()
    noisy = (1 - LABEL_NOISE) * own + LABEL_NOISE * pooled
    return noisy.set_axis([parse_action_units(text) for text in noisy], axis=1)


def balanced_bayes(spec):
    """Best prediction of each micro-expression's emotion, by ``clip_id``, from its true action units.

    The emotion under which the units are most probable: of all rules this has the highest expected
    unweighted average recall.
    """
    best = _action_units_given_emotion().idxmax()
    truth = true_action_units(spec)
    micro = truth[truth["expression_type"] == "micro"]
    return (
        micro.set_index("clip_id")["action_units"]
        .map(dict(zip(best.index, best, strict=True)))
        .rename("emotion")
    )


def expected_ceiling():
    """Expected unweighted average recall of `balanced_bayes`, as a fraction: no model can expect more."""
    return float(_action_units_given_emotion().max().sum() / len(EMOTIONS))


def true_action_units(spec):
    """``clip_id``, ``expression_type``, ``emotion`` and ``action_units`` (frozenset of int) of each clip."""
    clips = sample_clips(spec)[["clip_id", "expression_type", "emotion", "action_units"]]
    return clips.assign(action_units=clips["action_units"].map(parse_action_units))
