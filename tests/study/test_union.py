"""Table 5: the generated union, its folds, its scores by dataset, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.config import Frames, Parameters, Preset, Synthetic
from hsta_lib.data.dataset import open_dataset, read_dataset
from hsta_lib.data.splits import Fold, check_folds, make_folds, sources
from hsta_lib.data.synthetic import build, layouts
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.evaluation.references import linear, true_motion
from hsta_lib.study import union as composite
from hsta_lib.study.study import start

pytestmark = pytest.mark.usefixtures("no_environment")

SPEC = Synthetic(generator_seed=2, n_subjects=6, n_micro=31, frame_size=32)
PRESET = Preset(synthetic=SPEC, frames=Frames(n_frames=3, image_size=16))
KIND = {"n_folds": 2, "stratify": False, "split_seed": 0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def opened(data_dir):
    return open_dataset(Parameters(variant="megc2019", labels="emotion3"), PRESET, data_dir)


@pytest.fixture
def clips():
    """Clips of 3, 5 and 2 subjects of three datasets, in no order."""
    names = [f"casme2/sub0{s}" for s in range(3)] + [f"smic/s0{s}" for s in range(5)]
    names += [f"samm/00{s}" for s in range(2)]
    rows = [(f"{name}/c{number}", name) for name in names for number in range(len(name) % 4 + 2)]
    table = pd.DataFrame(rows, columns=["clip_id", "subject_id"])
    return table.assign(label=np.arange(len(table)) % 3).sample(frac=1, random_state=0, ignore_index=True)


def study_of(name="table5", **parameters):
    return start(name, {"preset": "smoke", "split": "", **parameters})


# --- generated data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "labels", "classes"),
    [
        ("megc2019", "emotion3", ("negative", "positive", "surprise")),
        ("casme2", "emotion5", ("others", "disgust", "happy", "repression", "surprise")),
        ("smic", "emotion3", ("negative", "positive", "surprise")),
        ("samm", "emotion5", ("others", "anger", "happy", "contempt", "surprise")),
    ],
)
def test_a_variant_is_read_by_the_reader_of_its_layout(data_dir, variant, labels, classes):
    dataset = open_dataset(Parameters(variant=variant, labels=labels), PRESET, data_dir)
    assert dataset.classes == classes
    expected = set(layouts.LAYOUTS) if variant == "megc2019" else {variant}
    assert set(sources(dataset.clips)) == expected
    assert dataset.clips["dataset"].unique().tolist() == [variant]


def test_the_union_is_not_compared_with_the_official_list(opened):
    assert set(opened.problems["problem"]) == {"no apex given"}
    assert not opened.counts["expected"].any()


def test_the_folder_is_made_once_and_again_where_a_file_is_damaged(tmp_path):
    root = build.ensure("smic", SPEC, tmp_path)
    frames = sorted(root.rglob("*.bmp"))
    before, made = frames[5].read_bytes(), frames[0].stat().st_mtime_ns
    assert build.ensure("smic", SPEC, tmp_path) == root
    assert frames[0].stat().st_mtime_ns == made
    frames[5].write_bytes(b"torn")
    assert build.ensure("smic", SPEC, tmp_path) == root
    assert frames[5].read_bytes() == before
    assert [path.name for path in root.parent.iterdir()] == ["smic"]  # nothing unfinished is left


def test_other_settings_are_other_folders(data_dir, opened):
    with_other_seed = SPEC.model_copy(update={"generator_seed": 3})
    assert build._fingerprint(with_other_seed) != build._fingerprint(SPEC)
    assert build.ensure("megc2019", SPEC, data_dir) == build.ensure("samm", SPEC, data_dir).parent


def test_the_generator_knows_every_clip_of_the_union(opened):
    drawn = build.drawn_from("megc2019", SPEC, opened.clips["clip_id"])
    of = dict(zip(opened.clips["clip_id"], drawn, strict=True))
    assert len(set(drawn)) == len(opened.clips)
    for layout in layouts.LAYOUTS:
        table = layouts.layout_clips(layout, layouts.part(layout, SPEC)).set_index("drawn_from")
        chosen = {clip_id: pair for clip_id, pair in of.items() if clip_id.startswith(f"{layout}/")}
        for clip_id, (spec, name) in chosen.items():
            assert spec == layouts.drawn_spec(layout, layouts.part(layout, SPEC))
            subject, clip = clip_id.split("/")[1:]
            assert table.loc[name, "clip"] == clip
            assert table.loc[name, "subject"] in (subject, subject.replace("s0", "s"))  # SMIC's is s1 on disk
    assert build.drawn_from("", SPEC, ["a"]) == [(SPEC, "a")]


def test_the_true_motion_of_the_union_is_classified(opened, monkeypatch):
    shown = []
    flow = lambda spec, clip_id, **_: shown.append(clip_id) or np.zeros((16, 16, 2))  # noqa: E731
    monkeypatch.setattr(synthetic, "true_flow", flow)
    folds = make_folds(opened.clips, split="subject", **KIND)
    rows = linear(opened.clips, folds, true_motion(opened, SPEC, "megc2019"))
    assert sorted(rows["clip_id"]) == sorted(opened.clips["clip_id"])
    assert len(shown) == len(opened.clips)


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"variant = 'HS': synthetic is written in the layouts casme2, smic"):
        Parameters(variant="HS")
    with pytest.raises(ValueError, match=r"variant = 'HS' is no layout of generated data; choose one of"):
        build.ensure("HS", SPEC, tmp_path)
    assert Parameters(dataset="smic", variant="HS").layout == "smic"


def test_layouts_without_macro_expressions_have_none(tmp_path):
    parameters = Parameters(variant="smic", labels="emotion3", macro_clips="all")
    with pytest.raises(ValueError, match="macro_clips = 'all': smic has no macro-expressions"):
        read_dataset(parameters, PRESET, tmp_path)


# --- folds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "n_folds"), [("subject", 6), ("loso", 10)])
def test_trained_on_its_own_each_dataset_has_its_own_folds(clips, split, n_folds):
    folds = make_folds(clips, split=split, train_on="own", **KIND)
    check_folds(clips, folds, split=split, train_on="own")
    assert len(folds) == n_folds
    for train, test in folds:
        (dataset,) = set(sources(clips.iloc[test]))
        of_dataset = np.flatnonzero(sources(clips) == dataset)
        assert sorted([*train, *test]) == of_dataset.tolist()


@pytest.mark.parametrize("split", ["subject", "loso"])
def test_folds_of_the_union_share_no_subject_and_train_on_the_other_datasets(clips, split):
    folds = make_folds(clips, split=split, **KIND)
    check_folds(clips, folds, split=split)
    for train, test in folds:
        assert not set(clips["subject_id"].iloc[train]) & set(clips["subject_id"].iloc[test])
        assert set(sources(clips.iloc[train])) == {"casme2", "smic", "samm"}


def test_folds_do_not_depend_on_the_order_of_rows(clips):
    shuffled = clips.sample(frac=1, random_state=3)
    ids = [
        [frozenset(table["clip_id"].iloc[test]) for _, test in make_folds(table, split="subject",
                                                                          train_on="own", **KIND)]
        for table in (clips, shuffled)
    ]  # fmt: skip
    assert ids[0] == ids[1]


def test_a_planted_clip_of_another_dataset_is_found(clips):
    folds = make_folds(clips, split="loso", train_on="own", **KIND)
    train, test = folds[4]  # a subject of SAMM
    foreign = np.flatnonzero(sources(clips) == "smic")[0]
    folds[4] = Fold(np.append(train, foreign), test)
    check_folds(clips, folds, split="loso")  # no leak of a subject
    with pytest.raises(ValueError, match="fold 4: clips of samm and smic, with train_on = 'own'"):
        check_folds(clips, folds, split="loso", train_on="own")


# --- the study ----------------------------------------------------------------------------------------------


def test_the_study_is_of_the_union_and_says_that_it_is_synthetic():
    study = composite.union(study_of())
    assert (study.parameters.dataset, study.parameters.variant) == ("synthetic", "megc2019")
    assert study.settings.labels == "emotion3"
    assert study.is_synthetic
    assert study.data_name == "synthetic faces (easy, in the layout of megc2019)"
    assert "positive control" in study._repr_markdown_()


def test_the_real_union_is_taken_as_it_is():
    study = composite.union(study_of(dataset="megc2019", data_root="/somewhere"))
    assert not study.is_synthetic
    assert (study.parameters.variant, study.settings.labels) == ("", "emotion3")


@pytest.mark.parametrize(
    ("preset", "sizes", "split"),
    [("smoke", (60, 6), "subject"), ("quick", (300, 100), "holdout"), ("full", (576, 68), "loso")],
)
def test_presets_choose_the_split_and_the_number_of_clips(preset, sizes, split):
    study = composite.union(study_of(preset=preset))
    assert (study.preset.synthetic.n_micro, study.preset.synthetic.n_subjects) == sizes
    assert study.settings.split.split == split


def test_a_split_that_is_named_is_taken():
    assert composite.union(study_of(split="loso")).settings.split.split == "loso"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "casme3", "data_root": "/x"}, "dataset = 'casme3'.*Table 5 is about the union"),
        ({"variant": "smic"}, "variant = 'smic'.*choose megc2019"),
        ({"variant": "megc2019", "labels": "emotion7"}, "labels = 'emotion7' does not exist for megc2019"),
        ({"dataset": "own", "data_root": "/x"}, "dataset = 'own'.*Table 5 is about the union"),
    ],
)
def test_what_is_not_the_union_in_three_classes_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        composite.union(study_of(**given))


# --- scores -------------------------------------------------------------------------------------------------


def predictions_of(rows):
    """Predictions from ``(clip_id, y_true, y_pred)``; the subject is the id's first two parts."""
    table = pd.DataFrame(rows, columns=["clip_id", "y_true", "y_pred"])
    subject = table["clip_id"].str.rsplit("/", n=1).str[0]
    return table.assign(subject_id=subject, fold=0, seed=0)


CELLS = pd.DataFrame({"system": ["HSTA", "HSTA"], "train_on": ["own", "composite"]})
TRUTH = [
    *((f"smic/s01/{i}", i % 3) for i in range(6)),
    *((f"smic/s02/{i}", i % 3) for i in range(3)),
    *((f"samm/006/{i}", i % 2) for i in range(4)),
    *((f"samm/007/{i}", 2 * (i % 2)) for i in range(2)),
    *((f"casme2/sub01/{i}", i % 3) for i in range(3)),
    *((f"casme2/sub02/{i}", i % 3) for i in range(3)),
]


@pytest.fixture
def scored():
    """Alone: right on SMIC, always negative elsewhere. On the union: right everywhere but on SMIC."""
    alone = [(clip, y, y if clip.startswith("smic") else 0) for clip, y in TRUTH]
    union = [(clip, y, 0 if clip.startswith("smic") else y) for clip, y in TRUTH]
    both = pd.concat([predictions_of(alone).assign(cell=0), predictions_of(union).assign(cell=1)])
    return composite.score(CELLS, both, 3)


def test_each_dataset_is_scored_on_its_own_clips_over_all_classes(scored):
    table, matrices = scored
    uar = table.set_index(["dataset", "train_on"])["uar"]
    assert uar["SMIC", "own"] == 100
    assert uar["SMIC", "composite"] == pytest.approx(100 / 3)  # 3 of 3 negative, none of the others
    assert uar["SAMM", "own"] == pytest.approx(100 / 3)
    assert uar["CASME II", "composite"] == 100
    # Together: negative always right; positive and surprise only on SMIC's 6 of 12 and 6 of 12.
    truth = np.array([y for _, y in TRUTH])
    positive, surprise = (3 / np.sum(truth == k) for k in (1, 2))
    assert uar["all three", "own"] == pytest.approx(100 * (1 + positive + surprise) / 3)
    assert [matrices[name].shape[2] for name in ("SMIC", "SAMM", "CASME II", "all three")] == [2, 2, 2, 6]
    assert table["system"].unique().tolist() == ["HSTA"]


def test_the_means_over_subjects_treat_absent_classes_both_ways(scored):
    samm = scored[0].set_index(["dataset", "train_on"]).loc[("SAMM", "composite")]
    assert samm["uar"] == 100
    assert samm["uar_skipped"] == 100  # both subjects lack a class
    assert samm["uar_zero"] == pytest.approx(200 / 3)


def test_differences_are_union_less_own_on_the_same_clips(scored):
    table = composite.differences(CELLS, scored[1]).set_index("dataset")
    assert table.loc["SMIC", "uar"] == pytest.approx(-200 / 3)
    assert table.loc["SAMM", "uar"] == pytest.approx(200 / 3)
    assert (table["uar_low"] <= table["uar"]).all()
    swapped = composite.differences(CELLS[::-1], {name: m[::-1] for name, m in scored[1].items()})
    assert swapped.set_index("dataset")["uf1"].tolist() == pytest.approx(table["uf1"].tolist())


def test_no_column_of_a_record_holds_scores_and_differences(scored):
    table, differences = scored[0], composite.differences(CELLS, scored[1])
    recorded = composite.with_differences(table, differences)
    pd.testing.assert_frame_equal(recorded[table.columns], table)
    of_union = recorded[recorded["train_on"] == "composite"]
    for end in ("", "_low", "_high"):
        assert of_union[f"uf1_less_own{end}"].tolist() == differences[f"uf1{end}"].tolist()
    assert recorded.loc[recorded["train_on"] == "own", "acc_less_own"].isna().all()


def test_systems_that_are_trained_one_way_have_no_difference(scored):
    other = pd.DataFrame({"system": ["HSTA", "another"], "train_on": ["own", "composite"]})
    assert composite.differences(other, scored[1]).empty


def test_the_conclusion_counts_what_could_be_chance():
    table = pd.DataFrame({"dataset": ["SMIC", "SAMM", "CASME II"]})
    for metric in ("uf1", "uar"):
        table = table.assign(**{f"{metric}_low": [1.0, -2.0, -9.0], f"{metric}_high": [3.0, 2.0, -1.0]})
    text = composite.conclude_differences(table).data
    assert text.count("higher on SMIC, lower on CASME II; 1 of 3 differences could be chance") == 2


def test_an_unknown_dataset_is_refused():
    with pytest.raises(ValueError, match="dataset = 'MMEW' is not part of the union; choose one of SMIC"):
        composite.of_source(predictions_of([("smic/s01/0", 0, 0)]), "MMEW")
