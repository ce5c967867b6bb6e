"""How often 95 % intervals contain the truth: ``python benchmarks/coverage.py [data sets per row]``.

It takes eight minutes on one core. The rows on intervals are kept in ``benchmarks/coverage.csv``.

Subjects are drawn with replacement from the real ones, each with its clips per class; of 7 classes only
CAS(ME)^3's are, at every number of subjects. Predictions come from a choice among the classes by the largest
of logits plus Gumbel noise. The logit of the true class is raised by ``skill`` and by effects with the
standard deviations of `EFFECTS`: of the subject (its ability, which correlates with its number of clips, and
its leaning to each class), of the clip, and of the network, which is one training run (its leaning to each
class, its ability with each subject). The truth is the score pooled over endlessly many subjects: with one
seed of that network, with several the mean over networks.
"""

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from hsta_lib import ROOT
from hsta_lib.evaluation.comparisons import compare, detectable, pair
from hsta_lib.evaluation.intervals import interval, score_interval
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper_check.findings import SUBJECTS

RECORD = ROOT / "benchmarks" / "coverage.csv"
EFFECTS = {"ability": 0.8, "leaning": 0.5, "clip": 1.0, "network": 0.4, "network with subject": 0.3}  # logits
SIZE_CORRELATION = 0.3  # of ability with the rank of a subject's number of clips
N_NETWORKS, N_ABILITIES, N_BOOT = 199, 2999, 499
ROWS = [  # dataset, subjects
    ("SMIC", 16), ("CASME II", 24), ("SAMM", 28), ("MEGC2019", 68), ("CAS(ME)^3, 3 classes", 88),
    *(("CAS(ME)^3, 7 classes", n) for n in (16, 24, 30, 68, 94)),
]  # fmt: skip


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
    }


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


def draw(population, n_subjects, n_networks, rng):
    """Confusion matrices of some networks on some subjects, and the networks' numbers.

    Returns
    -------
    matrices : ndarray, shape (n_networks, n_subjects, n_classes, n_classes)
    networks : ndarray of int, shape (n_networks,)
    """
    subjects = rng.integers(len(population.counts), size=n_subjects)
    networks = rng.choice(N_NETWORKS, n_networks, replace=False)
    counts = population.counts[subjects]
    subject, y_true = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    ability = _abilities(population.counts, subjects, rng)
    with_subject = rng.normal(0, EFFECTS["network with subject"], (n_networks, n_subjects))
    raised = population.skill + ability[subject] + rng.normal(0, EFFECTS["clip"], len(subject))
    leaning = _leanings(population.counts, n_subjects, rng)[subject]
    logits = leaning + population.networks[networks][:, None]
    logits[:, range(len(subject)), y_true] += raised + with_subject[:, subject]
    y_pred = (logits + rng.gumbel(size=logits.shape)).argmax(axis=2)
    matrices = np.zeros((n_networks, *counts.shape, counts.shape[1]))
    np.add.at(matrices, (np.arange(n_networks)[:, None], subject, y_true, y_pred), 1)
    return matrices, networks


def _abilities(counts, drawn, rng):
    rank = counts.sum(axis=1).argsort().argsort()[drawn] / (len(counts) - 1) - 0.5
    own = np.sqrt(1 - SIZE_CORRELATION**2) * rng.normal(size=len(drawn))
    return EFFECTS["ability"] * (SIZE_CORRELATION * np.sqrt(12) * rank + own)


def _leanings(counts, n_subjects, rng):
    """Larger classes are named more often."""
    share = np.log(counts.sum(axis=0) / counts.sum(axis=0).mean()) / 2
    return share + rng.normal(0, EFFECTS["leaning"], (n_subjects, counts.shape[1]))


def intervals(matrices, rng):
    """Low and high of the three scores by each method; matrices of shape (n_seeds, n_subjects, ...)."""
    found = score_interval(matrices[None])
    draws, studentised, error = _bootstrap(matrices, rng)
    low, high = interval(studentised)
    ways = {
        "jackknife-t": (found.low[0], found.high[0]),
        "bootstrap-t": (found.estimate[0] - high * error, found.estimate[0] - low * error),
        "percentile": interval(draws),
    }
    if len(matrices) == 1:
        ways["clips"] = clip_interval(matrices, rng)
    return ways


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
    return draws, (draws - estimate) / np.maximum(errors, error / 10), error[0]


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
    """Percent of data sets whose intervals contain the truth: method to the three scores."""
    population, rng, covered = make_population(name, skill), np.random.default_rng(seed), []
    for _ in range(n_draws):
        matrices, networks = draw(population, n_subjects, n_seeds, rng)
        truth = population.truth[networks[0]] if n_seeds == 1 else population.truth.mean(axis=0)
        ways = intervals(matrices, rng)
        covered.append({way: (low <= truth) & (truth <= high) for way, (low, high) in ways.items()})
    return {way: 100 * np.mean([one[way] for one in covered], axis=0) for way in covered[0]}


def differences(name, n_subjects, n_seeds, network, n_draws, skill=1, seed=2):
    """Two equally good settings: percent of intervals of the difference with 0, of p values below 0.05."""
    population, rng = make_population(name, skill, network), np.random.default_rng(seed)
    found = []
    for _ in range(n_draws):
        matrices, _ = draw(population, n_subjects, 2 * n_seeds, rng)
        family = [pair(0, 1)]
        result = compare(matrices.reshape(2, n_seeds, *matrices.shape[1:]), family, rng, n_swaps=399)
        found.append([(result.low[0] <= 0) & (result.high[0] >= 0), result.p[0] <= 0.05])
    return 100 * np.mean(found, axis=0)


def found_if_detectable(name, n_subjects, n_draws, skill=1, seed=3):
    """Percent of data sets in which a difference of the size called detectable is found, by score.

    The size is the median of what is called detectable between equal settings; the second setting's skill
    is raised until its true score is higher by so much.
    """
    rng, sizes = np.random.default_rng(seed), []
    population = make_population(name, skill, network=0)
    for _ in range(29):
        matrices, _ = draw(population, n_subjects, 2, rng)
        sizes.append(detectable(matrices[:, None], [pair(0, 1)], rng, n_swaps=399)[0])
    skills = skill + np.arange(0, 2.6, 0.5)
    truths = [make_population(name, value, network=0).truth.mean(axis=0) for value in skills]
    gains = np.array(truths) - population.truth.mean(axis=0)
    shares = []
    for score, size in enumerate(np.median(sizes, axis=0)):
        gain = np.interp(size, gains[:, score], skills - skill)
        p = [_p_of_gain(population, n_subjects, gain, rng)[score] for _ in range(n_draws)]
        shares.append(100 * np.mean(np.array(p) <= 0.05))
    return np.median(sizes, axis=0), shares


def _p_of_gain(population, n_subjects, gain, rng):
    """p values of a setting against one whose skill is higher, on the same subjects and clips."""
    state = rng.bit_generator.state
    first, _ = draw(population, n_subjects, 2, rng)
    rng.bit_generator.state = state
    second, _ = draw(population._replace(skill=population.skill + gain), n_subjects, 2, rng)
    return compare(np.stack([first[:1], second[1:]]), [pair(0, 1)], rng, n_swaps=399).p[0]


def main():
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"percent of {n_draws} 95 % intervals that contain the truth; {', '.join(METRICS)}")
    print("dataset, subjects, seeds, skill, true UAR: jackknife-t; bootstrap-t; percentile; clips")
    rows = []
    for name, n_subjects in ROWS:
        for n_seeds, skill in ((1, 1), (1, 2.5), (3, 1), (3, 2.5)):
            found = coverage(name, n_subjects, n_seeds, skill, n_draws)
            about = {"dataset": name, "subjects": n_subjects, "seeds": n_seeds, "skill": skill}
            for way, values in found.items():
                rows.append(about | {"interval": way} | dict(zip(METRICS, values, strict=True)))
            uar = make_population(name, skill).truth.mean(axis=0)[1]
            cells = "; ".join(" ".join(f"{value:.1f}" for value in way) for way in found.values())
            print(f"{name}, {n_subjects}, {n_seeds}, {skill}, {uar:.2f}: {cells}", flush=True)
    pd.DataFrame(rows).assign(draws=n_draws).round(1).to_csv(RECORD, index=False)
    print("two equally good settings: intervals of the difference with 0; p values to 0.05")
    for name, n_subjects in (ROWS[0], ROWS[2], ROWS[3], ROWS[-1]):
        for network, n_seeds in ((0, 1), (EFFECTS["network"], 1), (EFFECTS["network"], 3)):
            found = differences(name, n_subjects, n_seeds, network, n_draws)
            cells = "; ".join(" ".join(f"{value:.1f}" for value in row) for row in found)
            print(f"{name}, {n_subjects}, {n_seeds} seeds, s.d. of networks {network}: {cells}", flush=True)
    print("difference called detectable with a power of 0.8; percent found")
    for name, n_subjects in (ROWS[0], ROWS[2], ROWS[3], ROWS[-1]):
        sizes, shares = found_if_detectable(name, n_subjects, n_draws)
        cells = "; ".join(" ".join(f"{value:.3g}" for value in row) for row in (sizes, shares))
        print(f"{name}, {n_subjects}: {cells}", flush=True)


if __name__ == "__main__":
    main()
