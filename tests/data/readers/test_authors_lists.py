"""The authors' lists, on invented ones of the same form."""

import re
import shutil

import pandas as pd
import pytest

from hsta_lib.data.readers.authors_lists import match, read, with_folds
from hsta_lib.data.splits import check_folds, make_folds
from hsta_lib.data.table import COLUMNS, labelled

LABELS = "washed_data/washed_data/new_labels"
EMOTION = "Subject,Filename,Onset,Apex,Offset,AU,Objective class,emotion"
OBJECTIVE = "Subject,Filename,Onset,Apex,Offset,AU,Expression type,Objective class"
EMOTIONS = ["disgust", "surprise", "others", "fear", "anger", "sad", "happy"]
N_CLIPS = 31


def rows(kind):
    """Lines of 31 invented clips of eleven subjects; kind: emotion, Micro or Macro."""
    lines = []
    for i in range(N_CLIPS):
        onset = 100 * i + (7 if kind == "Macro" else 1)
        last = f"III,{EMOTIONS[i % 7]}" if kind == "emotion" else f"{kind}-expression,III"
        lines.append(f"spNO.{301 + i % 11},{'abcde'[i % 5]},{onset},{onset + 4},{onset + 9},4+R7,{last}")
    return lines


def write(root, folder, name, header, lines):
    path = root / LABELS / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Lists of 31 micro-expressions in five folds, and of 31 macro-expressions."""
    root = tmp_path_factory.mktemp("clone")
    emotion, micro, macro = rows("emotion"), rows("Micro"), rows("Macro")
    for k in range(1, 6):
        test, train = emotion[k - 1 :: 5], [line for i, line in enumerate(emotion) if i % 5 != k - 1]
        write(root, "emothion_as_label", f"test_fold_{k}.csv", EMOTION, test[::-1])
        write(root, "emothion_as_label", f"train_fold_{k}.csv", EMOTION, train)
        test, train = micro[6 * k - 6 : 6 * k + (k == 5)], micro[: 6 * k - 6] + micro[6 * k + (k == 5) :]
        folder = "Objective_class_as_label"
        write(root, folder, f"test_fold_{k}.csv", OBJECTIVE, test)
        write(root, folder, f"no_macro_exp_train_fold_{k}.csv", OBJECTIVE, train)
        write(root, folder, f"use_macro_exp_train_fold_{k}.csv", OBJECTIVE, macro + train)
    return root


@pytest.fixture
def clone(original, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(original, tmp_path / "clone")


def file_of(clone, name, folder="emothion_as_label"):
    return clone / LABELS / folder / name


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def replace_everywhere(clone, old, new):
    for path in clone.rglob("*.csv"):
        path.write_text(path.read_text().replace(old, new))


def ids(clips, rows):
    return clips["clip_id"].iloc[rows].tolist()


def row_of(lists, clip_id):
    return lists.clips.set_index("clip_id").loc[clip_id]


# --- what is read -----------------------------------------------------------------------------------------


def test_a_line_becomes_a_clip(original):
    lists = read(original)
    assert list(lists.clips.columns) == list(COLUMNS)
    values = [
        "casme3", "casme3/spNO.303", "casme3/spNO.303/c", "", "", 201, 205, 210, "others", "III", "4+R7",
        "micro",
    ]  # fmt: skip
    columns = [name for name in COLUMNS if name != "clip_id"]
    expected = dict(zip(columns, values, strict=True))
    assert row_of(lists, "casme3/spNO.303/c/201").to_dict() == expected
    assert lists.problems.empty


def test_folds_are_those_of_the_files(original):
    clips, folds = read(original).clips, read(original).folds
    assert [len(test) for _, test in folds] == [7, 6, 6, 6, 6]
    onsets = sorted(clips["onset"].iloc[folds[1].test])
    assert onsets == [101, 601, 1101, 1601, 2101, 2601]  # every fifth from the second
    check_folds(clips, folds, split="paper")
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(N_CLIPS))


def test_objective_folds_are_a_division_of_their_own(original):
    lists = read(original, labels="objective")
    assert sorted(lists.clips["onset"].iloc[lists.folds[1].test]) == [601, 701, 801, 901, 1001, 1101]
    assert lists.clips["emotion"].eq("").all()
    assert lists.clips["objective_class"].eq("III").all()


def test_macro_clips_are_in_training_alone(original):
    lists = read(original, labels="objective", macro=True)
    is_macro = lists.clips["expression_type"] == "macro"
    assert [is_macro.sum(), (~is_macro).sum()] == [N_CLIPS, N_CLIPS]
    assert [(len(train), len(test)) for train, test in lists.folds] == [(56, 6)] * 4 + [(55, 7)]
    for train, test in lists.folds:
        assert is_macro.iloc[train].sum() == N_CLIPS
        assert not is_macro.iloc[test].any()


@pytest.mark.parametrize("options", [{}, {"labels": "objective"}, {"labels": "objective", "macro": True}])
def test_all_are_marked_as_subject_dependent(original, options):
    lists = read(original, **options)
    assert "subject-dependent" in lists.protocol
    assert ("macro" in lists.protocol) == options.get("macro", False)
    with pytest.raises(ValueError, match=r"subject_id .* is in training and in test"):
        check_folds(lists.clips, lists.folds, split="subject")


def test_ids_begin_with_the_name_of_the_dataset(original):
    clips = read(original, dataset="mine").clips
    assert clips["clip_id"].str.startswith("mine/spNO.3").all()
    assert clips["dataset"].eq("mine").all()


def test_films_and_emotions_have_one_spelling(clone):
    replace_everywhere(clone, "spNO.303,c,201,", "spNO.303,C,201,")
    replace_everywhere(clone, "others", "Others")
    lists = read(clone)
    assert row_of(lists, "casme3/spNO.303/c/201")["emotion"] == "others"
    assert set(lists.clips["emotion"]) == set(EMOTIONS)


def test_a_mark_at_the_start_of_a_file_does_not_matter(clone):
    path = file_of(clone, "train_fold_1.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read(clone).clips) == N_CLIPS


def test_known_index_errors_are_repaired_and_reported_and_the_id_keeps_the_listed_onset(clone):
    replace_everywhere(clone, "spNO.303,c,201,205,210,", "spNO.216,d,3647,2668,2694,")
    lists = read(clone)
    clip_id = "casme3/spNO.216/d/3647"
    assert row_of(lists, clip_id)[["onset", "apex", "offset"]].tolist() == [2647, 2668, 2694]
    assert lists.problems[["where", "clip_id"]].to_numpy().tolist() == [["the authors' lists", clip_id]]
    published = read(clone, repair="published")
    assert clip_id not in set(published.clips["clip_id"])
    assert published.problems["action"].tolist() == ["clip left out"]
    assert all(max(*train, *test) < N_CLIPS - 1 for train, test in published.folds)


# --- refusals ---------------------------------------------------------------------------------------------


def test_a_wrong_clone_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder washed_data.*a clone of OceanSummerDay/HSTA_MER"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder washed_data"):
        read(tmp_path / "nowhere")


def test_a_missing_list_is_named(clone):
    file_of(clone, "test_fold_4.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"emothion_as_label/test_fold_4\.csv: no such list"):
        read(clone)


def test_lists_that_do_not_exist_are_refused(original):
    for options in ({"labels": "valence"}, {"labels": "emotion", "macro": True}):
        with pytest.raises(
            ValueError, match="there are: labels = 'emotion', macro = False; labels = 'objective'"
        ):
            read(original, **options)


LINE = "spNO.303,c,201,205,210,4+R7,III,others"  # the third line of training, the first fold


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (LINE.replace("spNO.303", "303"), "Subject = '303' is not of the known form"),
        (LINE.replace("spNO.303", "../spNO.303"), "Subject = '../spNO.303' is not"),
        (LINE.replace(",c,", ",cc,"), "Filename = 'cc' is not"),
        (LINE.replace("201", "-1"), "Onset = '-1' is not"),
        (LINE.replace("205", ""), "Apex = '' is not"),
        (LINE.replace("210", "210.5"), "Offset = '210.5' is not"),
        (LINE.replace("4+R7", "4+X7"), r"AU = '4\+X7' is not"),
        (LINE.replace("III", "VIII"), "Objective class = 'VIII' is not"),
        (LINE.replace("others", "bored"), "emotion = 'bored' is not"),
        (LINE.rpartition(",")[0], "has 7 cells, the first line 8"),
    ],
)
def test_a_row_of_unknown_form_is_refused_by_file_and_line(clone, bad, message):
    path = file_of(clone, "train_fold_1.csv")
    replace(path, LINE, bad)
    with pytest.raises(ValueError, match=rf"train_fold_1\.csv, line 3:? {message}"):
        read(clone)


def test_an_unknown_kind_of_expression_is_refused(clone):
    folder = "Objective_class_as_label"
    replace(
        file_of(clone, "use_macro_exp_train_fold_1.csv", folder),
        "107,111,116,4+R7,Macro-",
        "107,111,116,4+R7,Mega-",
    )
    with pytest.raises(ValueError, match=r"line 3: Expression type = 'Mega-expression' is not"):
        read(clone, labels="objective", macro=True)
    assert len(read(clone, labels="objective").clips) == N_CLIPS


TWICE = f"{LINE}\n{LINE.replace(',c,', ',C,')}"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("test_fold_2", "Onset,Apex", "Apex,Onset", "_2.csv, line 1: columns ['Subject', 'Filename', 'Apex'"),
        ("train_fold_1", LINE, TWICE, "line 4: clip casme3/spNO.303/c/201 is listed twice, first in line 3"),
        ("test_fold_3", LINE, LINE.replace("others", "fear"), "303/c/201 has other cells than in "),
        ("train_fold_3", "\n", f"\n{LINE}\n", "casme3/spNO.303/c/201 is in training and in test of fold 3"),
        ("test_fold_5", "\n", f"\n{LINE}\n", "clip casme3/spNO.303/c/201 is tested in fold 3 and in fold 5"),
    ],
)
def test_lists_that_contradict_themselves_or_each_other_are_refused(clone, name, old, new, message):
    path = file_of(clone, f"{name}.csv")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        read(clone)


# --- another clip table -----------------------------------------------------------------------------------


def test_folds_are_those_of_the_ids_whatever_the_order_of_the_table(original):
    lists = read(original)
    table = labelled(lists.clips, "emotion7").sample(frac=1, random_state=0)
    matched = match(lists, table)
    assert matched.problems.empty
    assert matched.clips["clip_id"].tolist() == table["clip_id"].tolist()
    assert matched.clips["label"].tolist() == table["label"].tolist()
    for ours, theirs in zip(matched.folds, lists.folds, strict=True):
        for side, listed in zip(ours, theirs, strict=True):
            assert set(ids(matched.clips, side)) == set(ids(lists.clips, listed))
            assert sorted(side) == side.tolist()
    check_folds(matched.clips, matched.folds, split="paper")


def test_what_only_one_side_has_is_reported(original):
    lists = read(original)
    table = pd.concat(
        [lists.clips.iloc[3:], lists.clips.iloc[[5]].assign(clip_id="casme3/spNO.999/a/5", onset=-5)]
    )
    matched = match(lists, table)
    assert matched.clips["clip_id"].tolist() == lists.clips["clip_id"].iloc[3:].tolist()
    assert matched.problems.to_numpy().tolist() == [
        ["the authors' lists", clip_id, "not in the clip table", "left out of the folds"]
        for clip_id in ids(lists.clips, [0, 1, 2])
    ] + [["clip table", "casme3/spNO.999/a/5", "in none of the authors' lists", "left out of the clips"]]
    check_folds(matched.clips, matched.folds, split="paper")
    assert sum(len(test) for _, test in matched.folds) == N_CLIPS - 3


def test_a_clip_whose_onset_was_corrected_in_one_list_is_found(clone):
    replace_everywhere(
        clone / LABELS / "emothion_as_label", "spNO.303,c,201,205,210,", "spNO.216,d,3647,2668,2694,"
    )
    replace_everywhere(
        clone / LABELS / "Objective_class_as_label", "spNO.303,c,201,205,210,", "spNO.216,d,2647,2668,2694,"
    )
    table, lists = read(clone).clips, read(clone, labels="objective")
    assert "casme3/spNO.216/d/2647" in set(lists.clips["clip_id"])
    matched = match(lists, table)
    assert matched.problems.empty
    assert "casme3/spNO.216/d/3647" in ids(matched.clips, matched.folds[0].test)


def test_a_label_that_differs_is_reported(original):
    lists = read(original)
    table = lists.clips.copy()
    was = table.loc[4, "emotion"]
    table.loc[4, "emotion"] = "bored"
    problems = match(lists, table).problems
    assert problems["clip_id"].tolist() == ids(table, [4])
    assert problems["problem"].tolist() == [f"emotion {was!r}, in the clip table 'bored'"]


def test_tables_that_share_nothing_are_refused(original):
    lists = read(original)
    with pytest.raises(
        ValueError, match=r"none of the 31 listed clips, such as casme3/.*, is in the clip table"
    ):
        match(lists, read(original, dataset="synthetic").clips)


def test_two_listed_clips_of_one_row_are_refused(original):
    lists = read(original)
    clips = lists.clips.copy()
    extra = clips.iloc[[0]].assign(clip_id="casme3/spNO.301/a/0")
    doubled = lists._replace(clips=pd.concat([clips, extra], ignore_index=True))
    with pytest.raises(
        ValueError, match=f"two listed clips are clip {clips['clip_id'][0]} of the clip table"
    ):
        match(doubled, clips)


@pytest.mark.parametrize(("labels", "kind"), [("emotion7", "emotion"), ("objective7", "objective")])
def test_the_split_authors_is_made_of_the_lists(original, labels, kind):
    lists = read(original, labels=kind)
    table, problems = with_folds(labelled(lists.clips, labels), original, labels)
    assert problems.empty
    folds = make_folds(table, split="authors", n_folds=2, stratify=False, split_seed=9)
    check_folds(table, folds, split="authors")
    for ours, theirs in zip(folds, lists.folds, strict=True):
        for side, listed in zip(ours, theirs, strict=True):
            assert set(ids(table, side)) == set(ids(lists.clips, listed))


def test_the_split_authors_needs_the_lists(original):
    table = labelled(read(original).clips, "emotion7")
    with pytest.raises(ValueError, match=r"split = 'authors' needs the authors' lists: -p lists_root"):
        make_folds(table, split="authors", n_folds=5, stratify=False, split_seed=0)


def test_folds_that_do_not_train_on_all_others_are_refused(clone):
    path = file_of(clone, "train_fold_2.csv")
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    table = labelled(read(clone).clips, "emotion7")
    with pytest.raises(ValueError, match="fold 2 does not train on all clips that it does not test"):
        with_folds(table, clone, "emotion7")
