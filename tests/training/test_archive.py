"""Archives of results: what goes in comes out, nothing stored is replaced, damage is refused by name."""

import gzip
import json
import tracemalloc

import pytest
from tiny import result_of, save, tiny_settings, tiny_trials

from hsta_lib import config
from hsta_lib.training import archive, store
from hsta_lib.training.trials import Trial

CLIPS = {"clip_id": ["a/1", "b/1"], "subject_id": ["a", "b"], "y_true": [1, 0]}


def id_of_record(record):
    """The id that belongs to what a record describes."""
    return archive.id_of({name: record[name] for name in archive._DESCRIPTION})


def result(y_pred):
    columns = {**CLIPS, "y_pred": y_pred, "scores": [[0.1, 0.9], [0.7, 0.3]]}
    more = {"losses": [0.5, 0.30000000000000004], "absent_classes": ["fear"]}
    more |= {"epoch_predictions": [[0, 0], y_pred], "draw_predictions": [[1, 1]]}
    return result_of(**columns, more=more)


@pytest.fixture
def packed(tmp_path):
    """Three trials, their folder of results and their archive."""
    trials = tiny_trials()
    for number, trial in enumerate(trials):
        save(trial, result([number % 2, 1]), tmp_path / "results")
    path = tmp_path / "reports" / f"some{archive.ENDING}"
    archive.pack(trials, tmp_path / "results", path)
    return trials, tmp_path / "results", path


def rewrite(path, change):
    """Change the lines of an archive without a check, as values: ``change`` gives new ones or None."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    del lines[0]["check"]
    changed = change(lines)
    text = "".join(json.dumps(line) + "\n" for line in (lines if changed is None else changed))
    path.write_bytes(gzip.compress(text.encode()))


def test_all_but_the_scores_comes_back(packed, tmp_path):
    trials, stored, path = packed
    assert archive.unpack(path, tmp_path / "new") == (3, 3, 0, 0)
    assert len(list((tmp_path / "new").iterdir())) == 3
    for trial in trials:
        expected = store.load(trial, stored)
        expected["predictions"].pop("scores")
        assert store.load(trial, tmp_path / "new") == expected
    assert store.missing(trials, tmp_path / "new") == []


def test_predictions_need_no_scores(packed, tmp_path):
    trials, stored, path = packed
    archive.unpack(path, tmp_path / "new")
    expected = store.predictions(trials, stored)
    assert store.predictions(trials, tmp_path / "new").equals(expected)


def test_the_bytes_depend_on_the_results_alone(packed, tmp_path):
    trials, stored, path = packed
    other = tmp_path / "other.gz"
    archive.pack([*reversed(trials), trials[0]], stored, other)
    assert other.read_bytes() == path.read_bytes()
    archive.unpack(path, tmp_path / "new")
    archive.pack(trials, tmp_path / "new", other)
    assert other.read_bytes() == path.read_bytes()
    assert path.read_bytes()[4:8] == bytes(4)  # gzip's time


def test_the_tested_clips_are_written_once(packed):
    text = gzip.decompress(packed[2].read_bytes()).decode()
    assert text.count("b/1") == 1
    ids = [json.loads(line)["id"] for line in text.splitlines()[2:]]
    assert ids == sorted(trial.id for trial in packed[0])


def test_a_trial_takes_little_room(tmp_path):
    trials = tiny_trials(seeds=range(20))
    clips = {
        "clip_id": [f"synthetic/spNO.{i % 7}/c/{37 * i}" for i in range(80)],
        "subject_id": [f"synthetic/spNO.{i % 7}" for i in range(80)],
        "y_true": [i % 3 for i in range(80)],
    }
    for number, trial in enumerate(trials):
        y_pred = [(i * i + number * i) % 7 for i in range(80)]
        predictions = {**clips, "y_pred": y_pred, "scores": [[0.1]] * 80}
        save(trial, result(y_pred) | {"predictions": predictions}, tmp_path)
    archive.pack(trials, tmp_path, tmp_path / "a.gz")
    assert (tmp_path / "a.gz").stat().st_size / len(trials) < 1000


def test_what_is_stored_is_not_replaced(packed, tmp_path):
    trials, _, path = packed
    mine = tmp_path / "new" / f"{trials[1].id}.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert archive.unpack(path, tmp_path / "new") == (3, 2, 0, 0)
    assert mine.read_text() == "mine"
    assert archive.unpack(path, tmp_path / "new").new == 0


def test_an_untrained_trial_cannot_be_packed(packed, tmp_path):
    trials, stored, _ = packed
    with pytest.raises(ValueError, match=r"seed 5\) has no result"):
        archive.pack([*trials, *tiny_trials(seeds=[5])], stored, tmp_path / "none.gz")
    assert not (tmp_path / "none.gz").exists()


def _other_protocol(lines):
    lines[2]["protocol"] = 1
    lines[2]["id"] = id_of_record(lines[2])


def _unknown_field(lines):
    lines[3]["settings"]["model"]["gone"] = 1
    lines[3]["id"] = id_of_record(lines[3])


def _other_default(lines):
    lines[4]["settings"]["model"]["l_v"] = config.Model().l_v  # today left out of an id
    lines[4]["id"] = id_of_record(lines[4])


@pytest.mark.parametrize("change", [_other_protocol, _unknown_field, _other_default])
def test_results_nothing_asks_for_any_more_are_counted(packed, tmp_path, change):
    rewrite(packed[2], change)
    assert archive.unpack(packed[2], tmp_path / "new") == (3, 3, 1, 0)
    assert len(store.missing(packed[0], tmp_path / "new")) == 1


DAMAGED = {
    "a trial lost": lambda lines: lines[:-1],
    "another format": lambda lines: lines[0].update(format="other"),
    "no header": lambda lines: lines[1:],
    "nothing": lambda lines: [],
    "a list for a record": lambda lines: [*lines[:-1], [1]],
    "a name that leads elsewhere": lambda lines: lines[2].update(id="../../elsewhere"),
    "another fold under the name": lambda lines: lines[2].update(fold=7),
    "clips that are not there": lambda lines: lines[2]["predictions"].update(clips=3),
    "a short column": lambda lines: lines[2]["predictions"].update(y_pred=[0]),
    "no classes": lambda lines: lines[2].__delitem__("absent_classes"),
    "a version of nothing": lambda lines: lines[2]["versions"].update(evil="1"),
    "edited by hand": lambda lines: lines[2]["predictions"].update(y_pred=["1", "1"]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_changed_archive_is_refused_by_name_and_nothing_is_stored(packed, tmp_path, name):
    rewrite(packed[2], DAMAGED[name])
    with pytest.raises(ValueError, match=r"some\.trials\.jsonl\.gz is damaged or no archive"):
        archive.unpack(packed[2], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-9],
        lambda b: b"",
        lambda b: b"text",
        lambda b: b[:40] + b[41:],
        lambda b: b[:90] + bytes([b[90] ^ 1]) + b[91:],
        lambda b: gzip.compress(b"[" * 100_000),
        lambda b: gzip.compress(gzip.decompress(b).replace(b'"y_pred":[1,1]', b'"y_pred":[1,0]')),
    ],
)
def test_broken_bytes_are_refused_by_name(packed, tmp_path, change):
    packed[2].write_bytes(change(packed[2].read_bytes()))
    with pytest.raises(ValueError, match=r"some\.trials"):
        archive.unpack(packed[2], tmp_path / "new")


def test_an_archive_that_unpacks_to_far_more_is_refused_before_it_is(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MOST_BYTES", 3 << 20)
    packed[2].write_bytes(gzip.compress(bytes(60 << 20), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"some\.trials\S+ is damaged .*unpacked it has more than 3 MB"):
        archive.unpack(packed[2], tmp_path / "new")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_ids_are_those_of_trials():
    trial = Trial(tiny_settings(m=3, store_epochs=True), 2, 11, "data")
    assert archive.id_of(trial.description()) == trial.id
    assert tuple(trial.description()) == archive._DESCRIPTION


def test_the_command_unpacks_what_lies_beside_the_reports(packed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archive, "ROOT", tmp_path)
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "new"))
    assert archive.main() == 0
    assert capsys.readouterr().out == "some.trials.jsonl.gz: 3 trials, 3 new\n"
    rewrite(packed[2], _other_protocol)
    (tmp_path / "reports" / f"broken{archive.ENDING}").write_bytes(b"text")
    assert archive.main() == 1
    said = capsys.readouterr()
    assert said.out == "some.trials.jsonl.gz: 3 trials, 1 new, 1 of older settings\n"
    assert said.err.startswith("broken.trials.jsonl.gz is damaged")
