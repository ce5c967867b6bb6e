"""What evaluation shortcuts are worth: one network and its data, scored from honest to fully leaking."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.data.dataset import Dataset, with_macro
from hsta_lib.data.splits import is_subject_dependent, make_folds
from hsta_lib.evaluation import fitted
from hsta_lib.evaluation.intervals import Interval, interval, jackknife
from hsta_lib.evaluation.metrics import METRICS, confusion, per_fold_means, scores
from hsta_lib.paper_check import findings
from hsta_lib.reporting import tables
from hsta_lib.reporting.tables import HEADINGS, from_to, in_full, with_span
from hsta_lib.study.comparison import best_epochs
from hsta_lib.training import store

N_DRAWS = 20  # of the test clips' frames
HONEST = "honest"
_FACES = "honest, faces kept"  # pixels normalised as ImageNet's: the still face stays in sight
_OF_OTHERS = "macro clips of training subjects"

# Of every training but where `_RUNS` says otherwise, whatever the study's own: nothing leaks.
_PARAMETERS = {"split": "subject", "macro_clips": "none"}
_FIELDS = {"drawing": "uniform"}

# Trainings: parameters of the study and fields of its settings that differ from these.
_RUNS = {
    "subjects apart": ({}, {"store_epochs": True}),
    "clips apart": ({"split": "paper"}, {"store_epochs": True}),
    "subjects apart, faces kept": ({}, {"pixels": "imagenet"}),
    "clips apart, faces kept": ({"split": "paper"}, {"pixels": "imagenet"}),
    "subject seen": ({"split": "subject_seen"}, {}),
    # Of clips of 51 frames or fewer, the networks are those of "subjects apart".
    "frames drawn": ({}, {"drawing": "random_test", "store_draws": N_DRAWS}),
    "macro": ({"labels": "objective7", "macro_clips": "training_subjects"}, {}),
    "macro of all": ({"labels": "objective7", "macro_clips": "all"}, {}),
}


class Protocol(NamedTuple):
    """How a training is turned into a score, and which protocol it is compared with.

    ``scoring``: pooled over folds, or the mean over folds with absent classes counted ``zero`` or
    ``skipped``. ``best_epoch``: of each fold, the epoch with the highest UF1 on the test fold itself.
    """

    run: str
    scoring: str = "pooled"
    best_epoch: bool = False
    against: str = HONEST


PROTOCOLS = {
    HONEST: Protocol("subjects apart"),
    "mean over folds, absent classes 0": Protocol("subjects apart", "zero"),
    "mean over folds, absent classes skipped": Protocol("subjects apart", "skipped"),
    "best epoch on the test fold": Protocol("subjects apart", best_epoch=True),
    "random frames at test": Protocol("frames drawn"),
    "clips of the test subject in training": Protocol("subject seen"),
    "folds over clips": Protocol("clips apart"),
    "folds over clips, best epoch, absent skipped": Protocol("clips apart", "skipped", best_epoch=True),
    _FACES: Protocol("subjects apart, faces kept", against=_FACES),
    "folds over clips, faces kept": Protocol("clips apart, faces kept", against=_FACES),
    _OF_OTHERS: Protocol("macro", against=_OF_OTHERS),
    "macro clips of test subjects too": Protocol("macro of all", against=_OF_OTHERS),
}


class Data(NamedTuple):
    """The trainings of one strength of the ties: by the name of the run, its dataset and trials."""

    datasets: dict[str, Dataset]
    trials: dict[str, list]


def prepare(study, strengths=(0, 1)):
    """Datasets and trials for every protocol, by the strength of the labels' tie to film and recording.

    Runs with macro clips are left out where the dataset has none that are read.

    Parameters
    ----------
    study : hsta_lib.study.study.Study
        The first cell of its grid is trained, on folds that share no subject but where a protocol says so.
    strengths : sequence of float
        Of a synthetic benchmark; a real dataset is as it is.

    Raises
    ------
    ValueError
        If the study has no grid.
    """
    if not study.is_synthetic:
        return {study.parameters.dataset: _prepare(study)}
    return {
        f"strength {strength:g}": _prepare(study.variant(synthetic={"tied_labels": strength}))
        for strength in strengths
    }


def _prepare(study):
    has_macro = study.parameters.dataset in with_macro()
    studies = {
        name: study.variant(**(_PARAMETERS | parameters), fields=_FIELDS | fields)
        for name, (parameters, fields) in _RUNS.items()
        if has_macro or "macro_clips" not in parameters
    }
    datasets = {name: run.open_dataset() for name, run in studies.items()}
    trials = {name: run.trials(datasets[name], run.cells().iloc[:1])[0] for name, run in studies.items()}
    return Data(datasets, trials)


def train(study, prepared):
    """Train what has no result yet, all of it in one run; returns all trials, in one list."""
    trials = [trial for data in prepared.values() for runs in data.trials.values() for trial in runs]
    study.run(trials, *(dataset for data in prepared.values() for dataset in data.datasets.values()))
    return trials


def worth(prepared):
    """Scores of every protocol, and what each adds to the one it is compared with.

    Columns: ``ties, protocol, against``, ``subjects`` (those of test clips are ``apart`` from training, or
    ``shared``), ``fit``, see `hsta_lib.evaluation.fitted.by_cell`, and, for each metric, ``<metric>`` and
    ``<metric>_inflation``, each with ``_low`` and ``_high``, in percent and points. Intervals are over
    subjects and seeds, of a difference over those of both sides together. A best epoch stays what it is when
    a subject is left out. ``prepared``: from `prepare`, trained.
    """
    parts = [_worth(data).assign(ties=ties) for ties, data in prepared.items()]
    return pd.concat(parts, ignore_index=True)


def _worth(data):
    chosen = {name: protocol for name, protocol in PROTOCOLS.items() if protocol.run in data.trials}
    known = _subjects(data)
    counts = {name: _count(data, protocol, known) for name, protocol in chosen.items()}
    scored = {name: _scores(counts[name], protocol.scoring) for name, protocol in chosen.items()}
    rows = []
    for name, protocol in chosen.items():
        split = data.trials[protocol.run][0].settings.split
        shared = is_subject_dependent(split.split, split.macro_clips)
        row = {"protocol": name, "against": protocol.against, "subjects": "shared" if shared else "apart"}
        row["fit"] = _fit(data.trials[protocol.run])
        sizes = counts[name].sum(axis=(0, 1, 3, 4))
        inflation = [
            ours - theirs for ours, theirs in zip(scored[name], scored[protocol.against], strict=True)
        ]
        for suffix, values, least in (("", scored[name], 0), ("_inflation", inflation, -1)):
            left_out = values[1][:, :, sizes > 0]
            found = jackknife([(values[0], left_out)], sizes[sizes > 0], possible=(least, 1))
            row |= tables.in_points(found, suffix)
        rows.append(row)
    return pd.DataFrame(rows)


def _fit(trials):
    """Whether the networks of a protocol fitted; empty where that was not stored."""
    found = fitted.by_cell(store.predictions(trials, config.results_dir()).assign(cell=0))
    return found["fit"].iloc[0] if "fit" in found else ""


def _subjects(data):
    """Subjects of all runs in one order: a label set may leave out all clips of one."""
    return np.unique(np.concatenate([dataset.tested["subject_id"] for dataset in data.datasets.values()]))


def _count(data, protocol, subjects):
    """Confusion matrices, shape (n_seeds, n_folds, n_subjects, n_classes, n_classes)."""
    trials, n_classes = data.trials[protocol.run], len(data.datasets[protocol.run].classes)
    if protocol.best_epoch:
        predictions = best_epochs(trials, n_classes)
    else:
        predictions = store.predictions(trials, config.results_dir())
    seeds = pd.factorize(predictions["seed"], sort=True)[0]
    groups = [seeds, predictions["fold"], np.searchsorted(subjects, predictions["subject_id"])]
    matrices = confusion(predictions["y_true"], predictions["y_pred"], n_classes, by=groups)
    return np.pad(matrices, [(0, 0), (0, 0), (0, len(subjects) - matrices.shape[2]), (0, 0), (0, 0)])


def _scores(counts, scoring):
    """Scores of each seed, shape (1, n_seeds, 3), and without each subject, (1, n_seeds, n_subjects, 3)."""
    counts = np.moveaxis(counts, 2, 1)  # folds after subjects
    everybody = counts.sum(axis=1, keepdims=True)
    parts = [everybody, everybody - counts]
    if scoring == "pooled":
        whole, without = (scores(part.sum(axis=2)) for part in parts)
    else:
        whole, without = (per_fold_means(part, scoring) for part in parts)
    return whole[None, :, 0], without[None]


def show(table):
    """The table of `worth` for reading."""
    shown = {("", name): table[name] for name in ("ties", "protocol", "subjects", "fit")}
    for metric in ("uar", "uf1"):
        heading = f"{HEADINGS[metric]}, %"
        shown[heading, "score"] = [f"{value:.1f}" for value in table[metric]]
        shown[heading, "inflation, points"] = [_inflation(row, metric) for row in table.to_dict("records")]
    return in_full(pd.DataFrame(shown))


def _inflation(row, metric):
    return "–" if row["protocol"] == row["against"] else with_span(row, f"{metric}_inflation", "+")


def answer(table):
    """Which shortcuts change a score, by intervals without zero, for each strength of the labels' ties.

    Only networks that fitted are compared. ``table``: from `worth`.
    """
    lines = []
    for ties, rows in table.groupby("ties", sort=False):
        fits = rows[["protocol", "against"]].isin(
            rows.loc[rows["fit"] != fitted.NOT_FITTED, "protocol"].tolist()
        )
        compared = rows[fits.all(axis=1) & (rows["protocol"] != rows["against"])]
        shown = [said for row in compared.to_dict("records") if (said := _said(row))]
        changed = f", in points: {'; '.join(shown)}" if shown else ""
        lines.append(
            f"- **Shortcuts, {ties}**: zero lies outside an interval, of UAR or UF1, of {len(shown)} of "
            f"{len(compared)}{changed}.{_told_unfit(rows)}"
        )
    if table["ties"].str.startswith("strength").any():
        lines.append("- Strength 0: labels follow neither film nor recording; 1: as in the authors' lists.")
    lines.append("- Not corrected: of shortcuts that are worth nothing, one interval in twenty misses zero.")
    return Markdown("\n".join(lines))


def _told_unfit(rows):
    """Which networks have not fitted, in a sentence."""
    is_unfit = rows["fit"] == fitted.NOT_FITTED
    if not is_unfit.any():
        return ""
    unfit, others = ("; ".join(rows.loc[kind, "protocol"]) for kind in (is_unfit, ~is_unfit))
    all_but = f"all but {others}" if others else "all"
    which = all_but if is_unfit.mean() > 0.5 else unfit
    return f" **Not fitted** and left out: {which}."


def _said(row):
    """A shortcut and what it adds, where its interval misses zero."""
    told = tables.told_off_zero(row, "inflation")
    than = "" if row["against"] == HONEST else f", against *{row['against']}*"
    return told and f"{row['protocol']} ({told}{than})"


def conclude_draws(draws):
    """How far scores of the same networks move with the frames that are drawn of the test clips."""
    lines = [
        f"- {ties}, {len(values)} draws: UF1 {from_to(values.min(), values.max())}, standard deviation "
        f"{values.std():.2f}; keeping the best draw adds {values.max() - values.mean():.1f} points."
        for ties, values in draws.groupby("ties", sort=False)["uf1"]
    ]
    return Markdown("\n".join(lines))


def by_recording(prepared):
    """Under folds over clips: scores as of `tables.by_recording`, with ``ties`` and ``test clips``."""
    parts = []
    for ties, data in prepared.items():
        dataset, trials = data.datasets["clips apart"], data.trials["clips apart"]
        folds = make_folds(dataset.clips, **trials[0].settings.split.model_dump())
        predictions = store.predictions(trials, config.results_dir())
        rows = tables.by_recording(predictions, dataset.clips, folds, len(dataset.classes))
        parts.append(rows.rename_axis("test clips").reset_index().assign(ties=ties))
    return pd.concat(parts, ignore_index=True)


def frame_draws(prepared):
    """Scores of the same trained networks over draws of the test clips' frames.

    One row per ``ties`` and ``draw``: the three metrics, in percent, pooled over folds, means over seeds.
    """
    rows = []
    for ties, data in prepared.items():
        trials, n_classes = data.trials["frames drawn"], len(data.datasets["frames drawn"].classes)
        records = [store.load(trial, config.results_dir()) for trial in trials]
        seeds = pd.factorize(np.array([trial.seed for trial in trials]))[0]
        for draw in range(N_DRAWS):
            matrices = np.zeros((max(seeds) + 1, n_classes, n_classes))
            for seed, record in zip(seeds, records, strict=True):
                matrices[seed] += confusion(
                    record["predictions"]["y_true"], record["draw_predictions"][draw], n_classes
                )
            values = 100 * scores(matrices).mean(axis=0)
            rows.append({"ties": ties, "draw": draw, **dict(zip(METRICS, values, strict=True))})
    return pd.DataFrame(rows)


def chance_by_best_epoch(n_epochs=(1, 2, 5, 10, 30, 100), n_draws=200, seed=0):
    """Pooled scores of pure chance when each left-out subject keeps its best epoch.

    The subjects are those of MEGC2019's composite, 68 with 442 clips of three classes. An epoch is a guess of
    every clip, independent of all other guesses; of a subject's epochs the most accurate is kept. Columns:
    ``n_epochs`` and, for each metric, its mean and the range of 95 % of the studies, in percent.

    Parameters
    ----------
    n_epochs : sequence of int
        Independent epochs to choose from; those of a real training resemble each other and count as fewer.
    n_draws : int
        Simulated studies.
    """
    rng = np.random.default_rng(seed)
    subjects = np.array(
        [subject for name in ("CASME II", "SMIC", "SAMM") for subject in findings.SUBJECTS[name]]
    )
    rows = []
    for n in n_epochs:
        values = scores(sum(_best_guess(subject, n, n_draws, rng) for subject in subjects))
        found = Interval(*(part[None] for part in (values.mean(axis=0), *interval(values))))
        rows.append({"n_epochs": n, **tables.in_points(found)})
    return pd.DataFrame(rows)


def _best_guess(counts, n_epochs, n_draws, rng):
    """Confusion matrices of the most accurate of some guesses of one subject's clips, one per draw."""
    n_classes = len(counts)
    guesses = rng.multinomial(counts, np.full(n_classes, 1 / n_classes), size=(n_draws, n_epochs, n_classes))
    hits = np.trace(guesses, axis1=2, axis2=3)
    return guesses[np.arange(n_draws), hits.argmax(axis=1)]
