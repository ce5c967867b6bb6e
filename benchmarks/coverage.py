"""How often 95 % intervals contain the truth, and how often comparisons are wrong or find what is there.

``python benchmarks/coverage.py [studies per design]`` simulates 2,000 studies of each design for
intervals; for families of comparisons 1,000 without a difference and 250 with one. That takes an hour on one
core. Designs whose rows are there are passed over, so that it can be stopped and started again. Rows on
intervals are kept in ``benchmarks/coverage.csv``, those on comparisons in ``benchmarks/comparisons.csv``.

Subjects are drawn with replacement from the real ones, each with its clips per class; of 7 classes only
CAS(ME)^3's are, at every number of subjects. Predictions come from a choice among the classes by the largest
of logits plus Gumbel noise. The logit of the true class is raised by ``skill`` and by effects with the
standard deviations of `EFFECTS`: of the subject (its ability, which correlates with its number of clips, and
its leaning to each class), of the clip, and of the network, which is one training run (its leaning to each
class, its ability with each subject). The truth is the score pooled over endlessly many subjects: with one
seed of that network, with several the mean over networks. Comparisons have a network for each of five folds,
or one, as in the synthetic reports, whose test subjects are held out.
"""

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from hsta_lib import ROOT
from hsta_lib.evaluation.comparisons import compare, detectable, pair
from hsta_lib.evaluation.intervals import (
    RULE,
    interval,
    jackknife,
    score_interval,
)
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper_check.findings import SUBJECTS

RECORD = ROOT / "benchmarks" / "coverage.csv"
COMPARISONS = ROOT / "benchmarks" / "comparisons.csv"
EFFECTS = {"ability": 0.8, "leaning": 0.5, "clip": 1.0, "network": 0.4, "network with subject": 0.3}  # logits
SIZE_CORRELATION = 0.3  # of ability with the rank of a subject's number of clips
N_NETWORKS, N_ABILITIES, N_BOOT = 199, 2999, 499
_CELLS = 2_000_000  # logits at a time, for memory
ROWS = [  # dataset, subjects
    ("SMIC", 16), ("CASME II", 24), ("SAMM", 28), ("MEGC2019", 68), ("CAS(ME)^3, 3 classes", 88),
    *(("CAS(ME)^3, 7 classes", n) for n in (16, 24, 30, 68, 94)),
]  # fmt: skip
SKILLS = (1, 2.5, 3.5, 4.5)  # UAR from .36 to .95
SEEDS = (1, 3, 5)
N_SETTINGS, N_FOLDS = 10, 5
# The networks' leanings of this size make seeds of the synthetic controls scatter as the committed ones do:
# by 3.2, 2.8 and 2.7 points in ACC, UAR and UF1, the subjects' share of it included.
LEANING = 1.0
# The same for the synthetic reports of preset study, Table 4: 2.9, 2.9 and 3.0 points, one network per seed.
HELD_OUT, HELD_OUT_LEANING = "CAS(ME)^3, 7 classes, held out", 0.7
FAMILIES = [  # dataset, subjects, skill
    ("SMIC", 16, 2.5), ("SAMM", 28, 2.5), ("SAMM", 28, 4.5), ("MEGC2019", 68, 3.5),
    ("CAS(ME)^3, 7 classes", 40, 0), ("CAS(ME)^3, 7 classes", 94, 0), (HELD_OUT, 119, 2.1),
]  # fmt: skip
GAINS = (0.6, 1.2)  # of skill, for power


class Population(NamedTuple):
    """``counts``: clips per class of real subjects; ``networks``: their leanings; ``truth``: their scores."""

    counts: np.ndarray
    skill: float
    networks: np.ndarray
    truth: np.ndarray


@cache
def real_subjects():
    """Clips of each class by subject, dataset to an array of shape (n_subjects, n_classes)."""
    table = pd.read_csv(ROOT / "hsta_lib" / "paper" / "subjects.csv", comment="#")
    read = {
        name: np.array([list(map(int, clips.split("/"))) for clips in rows])
        for name, rows in table.groupby("dataset")["clips"]
    }
    three = {
        "SMIC": np.array(SUBJECTS["SMIC"]),
        "CASME II": np.array(SUBJECTS["CASME II"]),
        "SAMM": read["SAMM"],
    }
    _, disgust, surprise, fear, anger, sad, happy = read["CAS(ME)^3"].T
    merged = np.stack([disgust + fear + anger + sad, happy, surprise], axis=1)
    return {
        **three,
        "MEGC2019": np.concatenate(list(three.values())),
        "CAS(ME)^3, 3 classes": merged[merged.sum(axis=1) > 0],
        "CAS(ME)^3, 7 classes": read["CAS(ME)^3"],
        HELD_OUT: read["CAS(ME)^3"],
    }


@cache
def make_population(name, skill, network=EFFECTS["network"], seed=0):
    """A population of subjects like those of a dataset, and of networks; their true scores by simulation."""
    counts, rng = real_subjects()[name], np.random.default_rng(seed)
    n_classes = counts.shape[1]
    networks = rng.normal(0, network, (N_NETWORKS, n_classes))
    drawn = np.arange(N_ABILITIES) % len(counts)
    truth = []
    for leaning in networks:
        logits = np.repeat(_leanings(counts, N_ABILITIES, rng)[:, None] + leaning, n_classes, axis=1)
        raised = skill + _abilities(counts, drawn, rng)[:, None] + rng.normal(
            0, np.hypot(EFFECTS["clip"], EFFECTS["network with subject"]), (N_ABILITIES, n_classes)
        )  # fmt: skip
        logits[:, range(n_classes), range(n_classes)] += raised
        chosen = np.exp(logits)
        chosen /= chosen.sum(axis=2, keepdims=True)
        truth.append(scores((chosen * counts[drawn, :, None]).sum(axis=0)))
    return Population(counts, skill, networks, np.array(truth))


def studies(population, n_subjects, n_networks, n_draws, rng, n_folds=1, gains=0):
    """Confusion matrices of simulated studies, and the numbers of their networks.

    ``gains`` raise the skill of each network. With folds every network is one for each fold.

    Yields
    ------
    matrices : ndarray, shape (n_networks, n_subjects, n_classes, n_classes)
    networks : ndarray of int, shape (n_networks,)
    """
    cells = n_subjects * population.counts.sum() / len(population.counts) * population.counts.shape[1]
    size = int(max(1, min(100, _CELLS // (cells * n_networks))))
    while n_draws > 0:
        yield from zip(
            *_studies(population, n_subjects, n_networks, min(size, n_draws), rng, n_folds, gains),
            strict=True,
        )
        n_draws -= size


def _studies(population, n_subjects, n_networks, n_draws, rng, n_folds, gains):
    """Some studies at once, as all of their clips in one list."""
    shape, n_classes = (n_draws, n_subjects), population.counts.shape[1]
    subjects = rng.integers(len(population.counts), size=shape)
    networks = rng.integers(N_NETWORKS, size=(n_draws, n_networks, n_folds))
    lean = population.networks[networks]
    fold = rng.permuted(np.broadcast_to(np.arange(n_subjects) % n_folds, shape), axis=1)
    counts = population.counts[subjects]
    draw, subject, y_true = (np.repeat(i.ravel(), counts.ravel()) for i in np.indices(counts.shape))
    clip = draw * n_subjects + subject
    ability = _abilities(population.counts, subjects.ravel(), rng)
    raised = population.skill + ability[clip] + rng.normal(0, EFFECTS["clip"], len(clip))
    leaning = _leanings(population.counts, subjects.size, rng)[clip]
    matrices = np.empty((n_networks, subjects.size * n_classes**2))
    for network, gain in enumerate(np.broadcast_to(gains, n_networks)):
        with_subject = rng.normal(gain, EFFECTS["network with subject"], subjects.size)
        logits = leaning + lean[draw, network, fold[draw, subject]]
        logits[range(len(clip)), y_true] += raised + with_subject[clip]
        y_pred = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        places = (clip * n_classes + y_true) * n_classes + y_pred
        matrices[network] = np.bincount(places, minlength=matrices.shape[1])
    shaped = matrices.reshape(n_networks, *shape, n_classes, n_classes)
    return np.moveaxis(shaped, 0, 1), networks[:, :, 0]


def _abilities(counts, drawn, rng):
    rank = counts.sum(axis=1).argsort().argsort()[drawn] / (len(counts) - 1) - 0.5
    own = np.sqrt(1 - SIZE_CORRELATION**2) * rng.normal(size=len(drawn))
    return EFFECTS["ability"] * (SIZE_CORRELATION * np.sqrt(12) * rank + own)


def _leanings(counts, n_subjects, rng):
    """Larger classes are named more often."""
    share = np.log(counts.sum(axis=0) / counts.sum(axis=0).mean()) / 2
    return share + rng.normal(0, EFFECTS["leaning"], (n_subjects, counts.shape[1]))


# --- intervals --------------------------------------------------------------------------------------------


def intervals(matrices, rng):
    """Intervals of the three scores by each method; matrices of shape (n_seeds, n_subjects, ...)."""
    pooled = matrices.sum(axis=1)
    left_out = scores(pooled[:, None] - matrices)[None]
    plain = jackknife([(scores(pooled)[None], left_out)], matrices[0].sum(axis=(1, 2)))
    draws, studentised, error = _bootstrap(matrices, rng)
    low, high = interval(studentised)
    estimate = plain.estimate[0]
    ways = {
        RULE: [part[0] for part in score_interval(matrices[None])[1:]],
        "jackknife-t": [part[0].clip(0, 1) for part in plain[1:]],
        "logit": _logit_interval(plain),
        "bootstrap-t": [(estimate - high * error).clip(0, 1), (estimate - low * error).clip(0, 1)],
        "percentile": interval(draws),
    }
    if len(matrices) == 1:
        ways["clips"] = clip_interval(matrices, rng)
    return ways


def _logit_interval(plain):
    """The jackknife's interval on a logit scale; of a score of 0 or 1, that score."""
    score, reach = plain.estimate[0], (plain.high - plain.estimate)[0]
    room = score * (1 - score)
    far = np.divide(reach, room, out=np.zeros_like(reach), where=room > 0)
    return expit(logit(score) - far), expit(logit(score) + far)


def clip_interval(matrices, rng, n_boot=N_BOOT):
    """What not to do: percentile bootstrap of the clips of one seed as if they were independent."""
    pooled = matrices.sum(axis=(0, 1))
    drawn = rng.multinomial(int(pooled.sum()), pooled.ravel() / pooled.sum(), size=n_boot)
    return interval(scores(drawn.reshape(-1, *pooled.shape)))


def _bootstrap(matrices, rng):
    """Scores of draws of subjects and seeds as in `bootstrap_scores`, all at once; the same studentised."""
    n_seeds, n_subjects = matrices.shape[:2]
    times = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=N_BOOT)
    share = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=N_BOOT) / n_seeds
    whole = np.ones((1, n_subjects)), np.full((1, n_seeds), 1 / n_seeds)
    (estimate, error), (draws, errors) = (_estimate(matrices, *drawn) for drawn in (whole, (times, share)))
    studentised = (draws - estimate) / np.maximum(np.maximum(errors, error / 10), 1e-9)
    return draws, studentised, error[0]


def _estimate(matrices, times, share):
    """Scores of weighted subjects and seeds, and their standard errors by the infinitesimal jackknife."""
    hits, total, weights = _ratios(matrices)
    pooled_hits, pooled = (np.einsum("bn,snk->bsk", times, part, optimize=True) for part in (hits, total))
    inverse = np.divide(1, pooled, out=np.zeros(pooled.shape), where=pooled > 0)
    ratio = pooled_hits * inverse
    of_seeds = ratio @ weights
    slope = (share[:, :, None] * inverse)[..., None] * weights
    influence = np.einsum("snk,bskm->bnm", hits, slope, optimize=True)
    influence -= np.einsum("snk,bskm->bnm", total, ratio[..., None] * slope, optimize=True)
    mean = (share[:, :, None] * of_seeds).sum(axis=1)
    n_seeds, n_subjects = matrices.shape[:2]
    variance = (times[:, :, None] * influence**2).sum(axis=1) * n_subjects / (n_subjects - 1)
    of_networks = (share[:, :, None] * (of_seeds - mean[:, None]) ** 2).sum(axis=1) / max(n_seeds - 1, 1)
    return mean, np.sqrt(variance + of_networks)


def _ratios(matrices):
    """The scores as weighted sums of ratios: numerators, denominators, weights of shape (n_ratios, 3)."""
    n_classes = matrices.shape[-1]
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    reference, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    numerators = np.concatenate([hits.sum(axis=-1, keepdims=True), hits, 2 * hits], axis=-1)
    denominators = [reference.sum(axis=-1, keepdims=True), reference, reference + predicted]
    weights = np.zeros((1 + 2 * n_classes, 3))
    weights[0, 0], weights[1 : 1 + n_classes, 1], weights[1 + n_classes :, 2] = (
        1,
        1 / n_classes,
        1 / n_classes,
    )
    return numerators, np.concatenate(denominators, axis=-1), weights


def coverage(name, n_subjects, n_seeds, skill, n_draws, seed=1):
    """Percent of studies whose intervals contain the truth, and mean widths in points: by method, by score.

    Returns
    -------
    dict of str to ndarray, shape (2, 3)
    """
    population, rng, found = make_population(name, skill), np.random.default_rng(seed), {}
    for matrices, networks in studies(population, n_subjects, n_seeds, n_draws, rng):
        truth = population.truth[networks[0]] if n_seeds == 1 else population.truth.mean(axis=0)
        for way, (low, high) in intervals(matrices, rng).items():
            covered = (low <= truth + 1e-12) & (truth <= high + 1e-12)
            found.setdefault(way, []).append((covered, high - low))
    return {way: 100 * np.mean(values, axis=0) for way, values in found.items()}


def coverage_rows(name, n_subjects, n_seeds, skill, n_draws):
    """The rows of ``coverage.csv`` for one design."""
    uar = make_population(name, skill).truth.mean(axis=0)[1]
    about = {"dataset": name, "subjects": n_subjects, "seeds": n_seeds, "skill": skill, "true_uar": 100 * uar}
    widths = [f"{metric}_width" for metric in METRICS]
    return [
        about | {"interval": way, **dict(zip((*METRICS, *widths), values.ravel(), strict=True))}
        for way, values in coverage(name, n_subjects, n_seeds, skill, n_draws).items()
    ]


# --- comparisons ------------------------------------------------------------------------------------------


def comparisons(name, n_subjects, n_seeds, skill, n_draws, gain=0, network=LEANING, n_settings=N_SETTINGS):
    """Settings against the first, of which the second is better by ``gain`` of skill, the others by nothing.

    Returns
    -------
    dict of str to ndarray, shape (3,)
        In percent: ``wrong``, studies in which a setting that is as good as the first is called another;
        ``found``, those in which the second is called better; ``alone``, in which its own p is to 0.05. In
        points: ``difference`` of the second, its mean; ``detectable``, what is called so, the median.
    """
    population = make_population(name, skill, network)
    rng, family = np.random.default_rng(5), [pair(0, other) for other in range(1, n_settings)]
    gains = np.repeat([0, gain, *[0] * (n_settings - 2)], n_seeds)
    n_folds = 1 if name == HELD_OUT else N_FOLDS
    found = []
    for matrices, _ in studies(population, n_subjects, len(gains), n_draws, rng, n_folds, gains):
        of_settings = matrices.reshape(n_settings, n_seeds, *matrices.shape[1:])
        result = compare(of_settings, family)
        sure = result.p_adjusted < 0.05
        wrong = sure[1 if gain else 0 :].any(axis=0)
        right = sure[0] & (result.estimate[0] > 0)
        least = detectable(of_settings, family)[0]
        found.append([wrong, right, result.p[0] < 0.05, result.estimate[0], least])
    means = dict(zip(("wrong", "found", "alone", "difference"), 100 * np.mean(found, axis=0), strict=False))
    return means | {"detectable": 100 * np.median(np.array(found)[:, 4], axis=0)}


def comparison_rows(name, n_subjects, n_seeds, skill, gain, n_draws):
    """The row of ``comparisons.csv`` for one design."""
    about = {"dataset": name, "subjects": n_subjects, "seeds": n_seeds, "skill": skill, "gain": gain}
    leaning = HELD_OUT_LEANING if name == HELD_OUT else LEANING
    network = leaning if n_seeds > 1 else 0  # with one, comparisons are about the networks that were trained
    found = comparisons(name, n_subjects, n_seeds, skill, n_draws, gain, network)
    named = {f"{metric}_{what}": found[what][i] for what in found for i, metric in enumerate(METRICS)}
    return [about | named]


def fill(path, make, designs, keys):
    """Add the rows of designs that a file lacks, one after the other; drop those of other designs."""
    wanted = pd.DataFrame(designs, columns=keys)
    kept = pd.read_csv(path).merge(wanted) if path.exists() else wanted.iloc[:0]
    done = set(kept[keys].itertuples(index=False, name=None))
    for design in designs:
        if design not in done:
            rows = pd.DataFrame(make(*design)).assign(**dict(zip(keys, design, strict=True))).round(2)
            kept = rows if kept.empty else pd.concat([kept, rows], ignore_index=True)
            kept.to_csv(path, index=False)
            print(f"\n{path.name}\n{rows.to_string(index=False)}", flush=True)


def main():
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    keys = ["dataset", "subjects", "seeds", "skill"]
    covered = [(*row, n_seeds, skill, n_draws) for row in ROWS for n_seeds in SEEDS for skill in SKILLS]
    fill(RECORD, coverage_rows, covered, [*keys, "draws"])
    tested = [
        (name, n_subjects, n_seeds, skill, gain, n_draws // 8 if gain else n_draws // 2)
        for name, n_subjects, skill in FAMILIES
        for n_seeds in SEEDS
        for gain in ((0, *GAINS) if n_seeds > 1 else (0,))
    ]
    fill(COMPARISONS, comparison_rows, tested, [*keys, "gain", "draws"])


if __name__ == "__main__":
    main()
