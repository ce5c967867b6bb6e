"""What shortcuts are worth: leaks planted where their effect is known exactly; scores by hand; chance."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import changes, result_of, save, tiny_dataset, tiny_settings, tiny_trials

from hsta_lib.audit import plots, shortcuts
from hsta_lib.audit.shortcuts import HONEST, PROTOCOLS, Data
from hsta_lib.data.splits import make_folds
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.evaluation.metrics import METRICS, confusion, per_fold_means, scores
from hsta_lib.study.comparison import best_epochs
from hsta_lib.study.study import Study, start
from hsta_lib.training import store

pytestmark = pytest.mark.usefixtures("no_environment", "results")

# Percentages worked out by hand, here computed from sums of small integers: float64 rounding only.
EXACT = {"rel": 0, "abs": 1e-9}
BEST, SEEN, OVER_CLIPS = (
    "best epoch on the test fold", "clips of the test subject in training", "folds over clips",
)  # fmt: skip
ZERO, SKIPPED = "mean over folds, absent classes 0", "mean over folds, absent classes skipped"
OVER_CLIPS_BEST = "folds over clips, best epoch, absent skipped"
FACES = "honest, faces kept"
OF_OTHERS, OF_ALL = "macro clips of training subjects", "macro clips of test subjects too"

BASES = {HONEST, FACES, OF_OTHERS}  # what others are compared with


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The folder of results."""
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def keep(results, trial, test, y_pred, **more):
    """Store what a trial predicts of its test clips."""
    columns = {
        "clip_id": test["clip_id"].tolist(),
        "subject_id": test["subject_id"].tolist(),
        "y_true": test["label"].tolist(),
        "y_pred": [int(label) for label in y_pred],
        "scores": [[0.0, 0.0, 0.0]] * len(test),
    }
    save(trial, result_of(**columns, more=more), results)


def opened(clips, classes=("a", "b", "c")):
    """What of a dataset is used here."""
    return SimpleNamespace(classes=classes, clips=clips, tested=clips[clips["expression_type"] != "macro"])


def table_of(data):
    return shortcuts.worth({"planted": data}).set_index("protocol")


# --- leaks whose worth is known ---------------------------------------------------------------------------


def subjects_tell(n_subjects=39, n_clips=2, kind="micro"):
    """A subject's clips all have one class; so many subjects that no draw of them lacks a class."""
    subject = np.repeat(np.arange(n_subjects), n_clips)
    names = [f"s{number:02d}" for number in subject]
    clip_ids = [f"{name}/{kind}{i % n_clips}" for i, name in enumerate(names)]
    return pd.DataFrame(
        {"clip_id": clip_ids, "subject_id": names, "label": subject % 3, "expression_type": kind}
    )


def remember(train, test):
    """The class of the training clips of the same subject; of subjects that training lacks, the first."""
    of_subject = train.drop_duplicates("subject_id").set_index("subject_id")["label"]
    return test["subject_id"].map(of_subject).fillna(0).astype(int)


@pytest.fixture
def leaking(results):
    """A predictor that reads the subject alone, in every run; it learns nothing where subjects are apart."""
    micro = subjects_tell()
    both = pd.concat([micro, subjects_tell(n_clips=1, kind="macro")])
    both = both[both["subject_id"] != "s00"].reset_index(drop=True)  # no clip of it has a class of that set
    fields = {
        "subjects apart": {"store_epochs": True},
        "clips apart": {"split": "paper", "store_epochs": True},
        "subjects apart, faces kept": {"pixels": "imagenet"},
        "clips apart, faces kept": {"split": "paper", "pixels": "imagenet"},
        "subject seen": {"split": "subject_seen"},
        "frames drawn": {"drawing": "random_test"},
        "macro": {"macro_clips": "training_subjects"},
        "macro of all": {"macro_clips": "all"},
    }
    datasets, trials = {}, {}
    for name, chosen in fields.items():
        datasets[name] = opened(both if "macro_clips" in chosen else micro)
        trials[name] = _remembered(results, datasets[name].clips, chosen)
    return Data(datasets, trials)


def _remembered(results, clips, fields):
    folds = make_folds(clips, **tiny_settings(**fields).split.model_dump())
    trials = tiny_trials(seeds=(3, 5), n_folds=len(folds), **fields)
    for trial in trials:
        train, test = (clips.iloc[rows] for rows in folds[trial.fold])
        y_pred = [int(label) for label in remember(train, test)]
        keep(results, trial, test, y_pred, epoch_predictions=[y_pred])
    return trials


def test_a_predictor_that_knows_subjects_gains_exactly_two_thirds_of_uar_where_subjects_are_seen(leaking):
    table = table_of(leaking)
    # Apart, all clips are said to be of the first class: recall 1, 0, 0. Half of a subject's two clips is in
    # training in turn, or its macro clip: recall 1, 1, 1. No draw of subjects changes either.
    for name, against in ((SEEN, HONEST), (OF_ALL, OF_OTHERS)):
        assert table.loc[against, "uar"] == pytest.approx(100 / 3, **EXACT)
        row = table.loc[name, ["uar", "uar_inflation", "uar_inflation_low", "uar_inflation_high"]]
        assert row.tolist() == pytest.approx([100, 200 / 3, 200 / 3, 200 / 3], **EXACT)
        assert table.loc[name, "against"] == against
        assert table.loc[name, "uf1_inflation_low"] > 0
    # 26 clips are rightly said to be of the first class, 52 wrongly: F1 = 52 / (52 + 52), and two zeros.
    assert table.loc[HONEST, "uf1"] == pytest.approx(100 / 6, **EXACT)


def test_random_folds_leak_for_clips_whose_other_clip_is_in_training(leaking):
    table, clips = table_of(leaking), subjects_tell()
    folds = make_folds(clips, split="paper", n_folds=3, stratify=False, split_seed=0)
    met = np.zeros(len(clips), dtype=bool)
    for train, test in folds:
        met[test] = np.isin(clips["subject_id"].iloc[test], clips["subject_id"].iloc[train])
    assert 0.4 < met.mean() < 0.9
    by_hand = 100 * np.mean([1, *(met[clips["label"] == label].mean() for label in (1, 2))])
    assert table.loc[OVER_CLIPS, "uar"] == pytest.approx(by_hand, **EXACT)
    assert table.loc[OVER_CLIPS, "uar_inflation_low"] > 0


def test_what_leaks_nothing_is_worth_exactly_nothing(leaking):
    rows = table_of(leaking).loc[["random frames at test", HONEST, OF_OTHERS]]
    inflation = rows[[f"{metric}_inflation{end}" for metric in METRICS for end in ("", "_low", "_high")]]
    assert (inflation == 0).all(axis=None)


def test_what_is_said_follows_from_where_zero_lies(leaking):
    table = shortcuts.worth({"strength 1": leaking})
    line, strength, _ = shortcuts.answer(table).data.splitlines()
    assert line.startswith("- **Shortcuts, strength 1**: ")
    assert f"{SEEN} (UAR +66.7 [+66.7, +66.7], UF1 +83.3 [" in line
    assert re.search(
        re.escape(OF_ALL) + r" \(UAR [^;]*, against \*macro clips of training subjects\*\)", line
    )
    assert "random frames" not in line
    assert strength.startswith("- Strength 0: ")
    assert "Not fitted" not in shortcuts.answer(table.assign(fit="fitted")).data
    assert "left out: all." in shortcuts.answer(table.assign(fit="not fitted")).data
    others = table.assign(fit=np.where(table["protocol"] == SEEN, "fitted", "not fitted"))
    assert f"left out: all but {SEEN}." in shortcuts.answer(others).data
    one = table.assign(fit=np.where(table["protocol"] == SEEN, "not fitted", "fitted"))
    assert f"left out: {SEEN}." in shortcuts.answer(one).data
    assert f"{SEEN} (" not in shortcuts.answer(one).data
    around = table.assign(**{f"{metric}_inflation_low": -5.0 for metric in METRICS})
    around = around.assign(**{f"{metric}_inflation_high": 9.0 for metric in METRICS})
    n_others = len(PROTOCOLS) - len(BASES)
    assert f" of 0 of {n_others}." in shortcuts.answer(around).data
    lower = around.assign(uar_inflation_high=-1.0)
    assert f" of {n_others} of {n_others}, in points: " in shortcuts.answer(lower).data


def test_draws_of_frames_are_told():
    draws = pd.DataFrame({"ties": "strength 1", "draw": [0, 1, 2], "uf1": [10.0, 13.0, 16.0]})
    assert shortcuts.conclude_draws(draws).data == (
        "- strength 1, 3 draws: UF1 10.0 to 16.0, standard deviation 3.00; keeping the best draw adds 3.0 "
        "points."
    )


def test_table_and_figure_show_every_shortcut_and_no_inflation_of_what_others_are_compared_with(leaking):
    table = shortcuts.worth({"strength 0": leaking, "strength 1": leaking})
    shown = shortcuts.show(table).data
    assert shown[("", "protocol")].tolist() == 2 * list(PROTOCOLS)
    inflation = shown[("UAR, %", "inflation, points")]
    assert inflation[shown[("", "protocol")] == SEEN].tolist() == 2 * ["+66.7 [+66.7, +66.7]"]
    assert set(shown.loc[inflation == "–", ("", "protocol")]) == BASES
    figure = plots.inflation(table)
    uar = figure.axes[0]
    names = [label.get_text() for label in uar.get_yticklabels()]
    assert names == [name for name in PROTOCOLS if name not in BASES]
    dots = [line for line in uar.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[names.index(SEEN)] for line in dots] == pytest.approx([200 / 3] * 2)
    places = [line.get_ydata()[names.index(SEEN)] for line in dots]
    assert places == pytest.approx([names.index(SEEN) - 0.1, names.index(SEEN) + 0.1])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["strength 0", "strength 1"]
    one = plots.inflation(table[table["ties"] == "strength 1"])
    assert one.legends == []  # of a real dataset there is one, and its ties are what they are


# --- scores by hand ---------------------------------------------------------------------------------------


@pytest.fixture
def by_hand(results):
    """Five clips of four subjects in two folds, of classes 0, 1, 1 and 2, 0; two epochs."""
    rows = [("s1", 0), ("s2", 1), ("s2", 1), ("s3", 2), ("s4", 0)]
    clips = pd.DataFrame(rows, columns=["subject_id", "label"]).assign(expression_type="micro")
    clips["clip_id"] = [f"c{i}" for i in range(5)]
    first = {0: [0, 1, 1], 1: [0, 1]}  # all right, none right
    last = {0: [0, 1, 0], 1: [2, 1]}  # two of three right, one of two
    trials = tiny_trials(seeds=(3, 5), n_folds=2, store_epochs=True)
    for trial in trials:
        test = clips.iloc[[0, 1, 2] if trial.fold == 0 else [3, 4]]
        epochs = [first[trial.fold], last[trial.fold]]
        keep(results, trial, test, epochs[-1], epoch_predictions=epochs)
    runs = [name for name in RUNS if "macro" not in name]
    return Data(dict.fromkeys(runs, opened(clips)), dict.fromkeys(runs, trials))


def test_scores_of_every_protocol_by_hand(by_hand):
    table = table_of(by_hand)
    assert list(table.index) == list(PROTOCOLS)[:-2]
    # Pooled: recall 1/2, 1/2, 1; F1 2/4, 2/4, 1 (one wrong 0, one wrong 1).
    assert table.loc[HONEST, ["acc", "uar", "uf1"]].tolist() == pytest.approx([60, 200 / 3, 200 / 3], **EXACT)
    # Folds: recall 1, 1/2 and 0, -, 1 of the classes 0, 1 and 0, 2; F1 2/3, 2/3 and 0, 0, 1.
    fold_1, fold_2 = np.array([2 / 3, 3 / 2 / 3, 4 / 3 / 3]), np.array([1 / 2, 1 / 3, 1 / 3])
    zero = table.loc[ZERO, ["acc", "uar", "uf1"]].tolist()
    assert zero == pytest.approx((50 * (fold_1 + fold_2)).tolist(), **EXACT)
    skipped = table.loc[SKIPPED, ["acc", "uar", "uf1"]].tolist()
    two_of_three = np.array([1, 3 / 2, 3 / 2])
    assert skipped == pytest.approx((50 * two_of_three * (fold_1 + fold_2)).tolist(), **EXACT)
    # Best: the first epoch of the first fold, the second of the second; one 0 of five is wrong, said to be 1.
    best = table.loc[BEST, ["acc", "uar", "uf1"]].tolist()
    assert best == pytest.approx([80, 250 / 3, 100 * (2 / 3 + 4 / 5 + 1) / 3], **EXACT)
    assert table.loc[BEST, "acc_inflation"] == pytest.approx(20, **EXACT)
    # Of that, fold by fold, absent skipped: 1, and 1/2 and F1 0, 0, 1 over the two classes that occur.
    over_clips = table.loc[OVER_CLIPS_BEST, ["acc", "uar", "uf1"]].tolist()
    assert over_clips == pytest.approx([75, 75, 75], **EXACT)


def test_the_best_epoch_is_that_of_the_fold_and_of_equal_ones_the_first(results):
    trial = tiny_trials(seeds=(7,), n_folds=1, store_epochs=True)[0]
    test = pd.DataFrame({"clip_id": list("ab"), "subject_id": ["s", "t"], "label": [0, 1]})
    epochs = [[2, 2], [0, 2], [2, 1], [2, 2]]
    keep(results, trial, test, epochs[-1], epoch_predictions=epochs)
    chosen = best_epochs([trial], 3)
    assert chosen["y_pred"].tolist() == [0, 2]
    assert chosen["clip_id"].tolist() == ["a", "b"]
    assert chosen[["fold", "seed"]].drop_duplicates().to_numpy().tolist() == [[0, 7]]


def test_seeds_are_scored_apart_and_their_mean_is_taken(results, by_hand):
    trials = by_hand.trials["subjects apart"]
    clips = by_hand.datasets["subjects apart"].clips
    for trial in trials[2:]:  # those of the second seed: all right
        test = clips.iloc[[0, 1, 2] if trial.fold == 0 else [3, 4]]
        keep(results, trial, test, test["label"], epoch_predictions=[[0] * len(test)])
    row = table_of(by_hand).loc[HONEST]
    assert row["acc"] == pytest.approx((60 + 100) / 2, **EXACT)
    assert row["acc_low"] < 60


@pytest.mark.parametrize("scoring", ["pooled", "zero", "skipped"])
def test_scores_without_a_subject_are_those_of_the_other_subjects_clips(scoring):
    rng = np.random.default_rng(0)
    n, n_seeds, n_folds, n_subjects = 101, 2, 3, 7
    seed, fold, y_true, y_pred = (rng.integers(high, size=n) for high in (n_seeds, n_folds, 3, 3))
    subject = rng.integers(n_subjects, size=n)
    whole, without = shortcuts._scores(confusion(y_true, y_pred, 3, by=[seed, fold, subject]), scoring)
    assert whole.shape == (1, n_seeds, 3)
    assert without.shape == (1, n_seeds, n_subjects, 3)
    for one in range(n_seeds):
        for left_out in (None, *range(n_subjects)):
            mine = (seed == one) & (subject != left_out)
            matrices = confusion(y_true[mine], y_pred[mine], 3, by=[fold[mine]])
            pooled = scores(matrices.sum(axis=0))
            expected = pooled if scoring == "pooled" else per_fold_means(matrices, scoring)
            found = whole[0, one] if left_out is None else without[0, one, left_out]
            assert found == pytest.approx(expected)


def test_intervals_of_pooled_scores_are_those_of_every_table_without_imagined_clips(by_hand):
    known = shortcuts._subjects(by_hand)
    counts = shortcuts._count(by_hand, PROTOCOLS[HONEST], known)
    found = score_interval(counts.sum(axis=1)[None])
    row = table_of(by_hand).loc[HONEST]
    for i, metric in enumerate(METRICS):
        assert row[metric] == pytest.approx(100 * found.estimate[0, i])
        low, high = row[f"{metric}_low"], row[f"{metric}_high"]
        assert 100 * found.low[0, i] - 1e-9 <= low < row[metric] < high <= 100 * found.high[0, i] + 1e-9


def test_a_subject_that_a_label_set_leaves_out_keeps_its_place(leaking):
    subjects = shortcuts._subjects(leaking)
    assert subjects.tolist() == [f"s{number:02d}" for number in range(39)]
    some, others = (opened(subjects_tell().query(f"subject_id != '{name}'")) for name in ("s00", "s38"))
    assert shortcuts._subjects(Data({"one": some, "other": others}, {})).tolist() == subjects.tolist()
    clips_of = {
        name: shortcuts._count(leaking, PROTOCOLS[name], subjects).sum(axis=(1, 3, 4))
        for name in (HONEST, OF_OTHERS)
    }
    assert clips_of[HONEST].tolist() == [[2] * 39] * 2
    assert clips_of[OF_OTHERS].tolist() == [[0] + [2] * 38] * 2


def test_untrained_protocols_are_refused(by_hand):
    by_hand.trials["subjects apart"].append(tiny_trials(seeds=(9,), n_folds=1)[0])
    with pytest.raises(ValueError, match=r"\(fold 0, seed 9\) has no result"):
        table_of(by_hand)


def test_draws_of_frames_are_pooled_over_folds_and_means_over_seeds(results, monkeypatch):
    monkeypatch.setattr(shortcuts, "N_DRAWS", 2)
    trials = tiny_trials(seeds=(3, 5), n_folds=2, drawing="random_test", store_draws=2)
    right = {(3, 0): [0, 1], (3, 1): [2], (5, 0): [0, 1], (5, 1): [2]}
    second = {(3, 0): [1, 1], (3, 1): [2], (5, 0): [0, 1], (5, 1): [1]}
    for trial in trials:
        test = pd.DataFrame({"clip_id": list("ab"), "subject_id": ["s", "t"], "label": [0, 1]})
        test = (
            test if trial.fold == 0 else pd.DataFrame({"clip_id": ["c"], "subject_id": ["u"], "label": [2]})
        )
        draws = [kind[trial.seed, trial.fold] for kind in (right, second)]
        keep(results, trial, test, draws[0], draw_predictions=draws)
    data = Data({"frames drawn": opened(subjects_tell())}, {"frames drawn": trials})
    table = shortcuts.frame_draws({"strength 1": data})
    assert table["ties"].tolist() == ["strength 1"] * 2
    assert table["draw"].tolist() == [0, 1]
    assert table["uar"].tolist() == pytest.approx([100, 200 / 3], **EXACT)
    # Seed 3 takes the 0 for 1: F1 0, 2/3, 1; seed 5 the 2 for 1: F1 1, 2/3, 0.
    assert table["uf1"].tolist() == pytest.approx([100, 500 / 9], **EXACT)


# --- what is trained --------------------------------------------------------------------------------------


@pytest.fixture
def tiny_data(tmp_path, monkeypatch):
    """Studies open a few random clips, with as many frames as their settings want and macro clips if any."""

    def open_dataset(study):
        frames, has_macro = study.settings.frames, study.settings.split.macro_clips != "none"
        kind = f"{frames.drawing}-{has_macro}-{study.preset.synthetic.tied_labels}"
        (tmp_path / kind).mkdir(exist_ok=True)
        size = {"size": frames.image_size, "n_frames": frames.n_stored}
        dataset = tiny_dataset(tmp_path / kind, n_clips=23 + 12 * has_macro, **size)
        clips = dataset.clips.assign(expression_type=["micro"] * 23 + ["macro"] * 12 * has_macro)
        return dataclasses.replace(dataset, clips=clips, fingerprint=kind)

    monkeypatch.setattr(Study, "open_dataset", open_dataset)


def _study(**parameters):
    return start("audit", {"preset": "smoke", "workers": 0, **parameters})


RUNS = list(shortcuts._RUNS)


@pytest.mark.usefixtures("tiny_data")
def test_runs_differ_from_the_honest_one_in_what_they_are_named_after_alone():
    prepared = shortcuts.prepare(_study(seeds=[3, 5]), [0, 0.5])
    assert list(prepared) == ["strength 0", "strength 0.5"]
    data = prepared["strength 0.5"]
    assert list(data.trials) == list(data.datasets) == RUNS
    settings = {}
    for name, trials in data.trials.items():
        (settings[name],) = {trial.settings for trial in trials}
        assert {trial.seed for trial in trials} == {3, 5}
        assert {trial.fingerprint for trial in trials} == {data.datasets[name].fingerprint}
        assert data.datasets[name].fingerprint.endswith("0.5")
    n_folds = {name: len(trials) / 2 for name, trials in data.trials.items()}
    assert n_folds == dict.fromkeys(RUNS, 2) | {"subject seen": 4}
    honest = settings["subjects apart"]
    assert (honest.split.split, honest.split.macro_clips) == ("subject", "none")
    assert honest.frames.drawing == "uniform"
    changed = {name: changes(honest, one) for name, one in settings.items()}
    del changed["subjects apart"]
    epochs = {"store_epochs": False}
    assert changed == {
        "clips apart": {"split": "paper"},
        "subjects apart, faces kept": {"pixels": "imagenet"} | epochs,
        "clips apart, faces kept": {"split": "paper", "pixels": "imagenet"} | epochs,
        "subject seen": {"split": "subject_seen"} | epochs,
        "frames drawn": {"drawing": "random_test", "store_draws": shortcuts.N_DRAWS} | epochs,
        "macro": {"labels": "objective7", "macro_clips": "training_subjects"} | epochs,
        "macro of all": {"labels": "objective7", "macro_clips": "all"} | epochs,
    }


@pytest.mark.usefixtures("tiny_data")
@pytest.mark.parametrize("chosen", [{"split": "paper"}, {"macro_clips": "all"}, {"recipe": "released"}])
def test_the_honest_run_is_honest_whatever_the_study_s_own_parameters(chosen):
    (data,) = shortcuts.prepare(_study().variant(**chosen), [0]).values()
    settings = data.trials["subjects apart"][0].settings
    assert (settings.split.split, settings.split.macro_clips) == ("subject", "none")
    assert settings.frames.drawing == "uniform"
    assert data.trials["clips apart"][0].settings.split.split == "paper"


@pytest.mark.usefixtures("tiny_data")
def test_a_dataset_without_macro_clips_goes_without_those_runs(results):
    prepared = shortcuts.prepare(_study(dataset="own", data_root="/somewhere"), [0, 1])
    assert list(prepared) == ["own"]
    assert list(prepared["own"].trials) == RUNS[:-2]
    with_macro = shortcuts.prepare(_study(dataset="casme3", data_root="/somewhere"))
    assert list(with_macro["casme3"].trials) == RUNS


@pytest.mark.usefixtures("tiny_data")
def test_a_study_without_a_grid_is_refused():
    study = dataclasses.replace(_study(), grid={})
    with pytest.raises(ValueError, match="audit"):
        shortcuts.prepare(study)


@pytest.mark.usefixtures("tiny_data")
def test_trained_from_end_to_end(results):
    study = _study()
    prepared = shortcuts.prepare(study, [1])
    trials = shortcuts.train(study, prepared)
    assert store.missing(trials, results) == []
    assert len(trials) == 2 * 8 + 2
    table = shortcuts.worth(prepared).set_index("protocol")
    assert list(table.index) == list(PROTOCOLS)
    draws = shortcuts.frame_draws(prepared)
    assert len(draws) == shortcuts.N_DRAWS
    # What is scored is the first draw.
    first = draws.loc[0, list(METRICS)].tolist()
    assert table.loc["random frames at test", list(METRICS)].tolist() == pytest.approx(first)
    # The presets' one epoch is the best epoch.
    assert table.loc[BEST, "uf1_inflation"] == 0


def test_recordings_seen_in_training_are_scored_apart(leaking):
    clips = leaking.datasets["clips apart"].clips
    leaking.datasets["clips apart"] = opened(clips.assign(recording_id=clips["subject_id"]))
    table = shortcuts.by_recording({"planted": leaking}).set_index("test clips")
    # The predictor knows the class of every subject it has met, and says the first of the others.
    assert table.loc["recording in training", "uar"] == pytest.approx(100)
    assert table.loc["recording not in training", "uar"] == pytest.approx(100 / 3)
    assert table["clips"].sum() == len(clips)


# --- chance -----------------------------------------------------------------------------------------------


def test_one_epoch_of_chance_scores_a_third_and_more_epochs_score_more():
    table = shortcuts.chance_by_best_epoch(n_epochs=(1, 2, 5, 31), n_draws=97)
    assert table["n_epochs"].tolist() == [1, 2, 5, 31]
    one = table.iloc[0]
    assert one["uar_low"] < 100 / 3 < one["uar_high"]
    assert one["acc"] == pytest.approx(100 / 3, abs=1)  # 97 x 442 guesses: their s.d. is 0.23 points
    for metric in METRICS:
        assert (table[metric].diff().dropna() > 3).all()
        assert (table[f"{metric}_low"] <= table[metric]).all()
        assert (table[metric] <= table[f"{metric}_high"]).all()


@pytest.mark.parametrize("n_epochs", [1, 2, 3])
def test_a_single_clip_is_hit_in_one_of_the_epochs(n_epochs):
    matrices = shortcuts._best_guess(np.array([0, 1, 0]), n_epochs, 20011, np.random.default_rng(0))
    assert matrices.sum(axis=(0, 2)).tolist() == [0, 20011, 0]  # rows are the true class
    # 20011 draws: the s.d. of the share is below 0.0036.
    assert matrices[:, 1, 1].mean() == pytest.approx(1 - (2 / 3) ** n_epochs, abs=0.015)


def test_of_two_clips_the_better_epoch_is_kept():
    matrices = shortcuts._best_guess(np.array([1, 0, 1]), 2, 20011, np.random.default_rng(0))
    hits = np.trace(matrices, axis1=1, axis2=2)
    # One epoch: 0, 1, 2 hits with probability 4/9, 4/9, 1/9; the larger of two.
    shares = [np.mean(hits == n) for n in (0, 1, 2)]
    assert shares == pytest.approx([16 / 81, 64 / 81 - 16 / 81, 1 - 64 / 81], abs=0.015)


def test_chance_is_drawn_as_it_is_in_the_table():
    table = shortcuts.chance_by_best_epoch(n_epochs=(1, 3), n_draws=11)
    figure = plots.chance_by_best_epoch(table)
    uar, uf1 = figure.axes[0].lines
    assert uar.get_xdata().tolist() == [1, 3]
    assert uar.get_ydata().tolist() == table["uar"].tolist()
    assert uf1.get_ydata().tolist() == table["uf1"].tolist()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "3"]
