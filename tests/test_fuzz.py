"""Whatever is in a file or a parameter, it is read or refused with a message of this library."""

import csv
import gzip
import io
import json
import shutil
from collections import Counter

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import result_of, save, tiny_trials

from hsta_lib import config
from hsta_lib.commands import score
from hsta_lib.data.readers import flow_images, own, rows, sheet, smic
from hsta_lib.data.table import clean_emotion, parse_action_units, subject_key
from hsta_lib.files import as_written, csv_of, read_csv
from hsta_lib.training import archive, store

# 2,000 examples each in `make slow`; forty in `make test`, so that the tests themselves stay whole.
EXAMPLES = [pytest.param(40, id="40"), pytest.param(2000, id="2000", marks=pytest.mark.slow)]

words = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "1", "-3", "7", "nan", "1e9", "=1+1", "../..", "/", "happy", "s1", "\x00", "\ufeff", '"']
    ),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


def cases(strategy, check, n):
    """Run a check on so many examples, the same in every run; some must be read and some refused."""
    outcomes = Counter()

    @settings(max_examples=n, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value):
        outcomes[check(value)] += 1

    run()
    assert outcomes["read"]
    assert outcomes["refused"]


def refused(error, *words):
    """A message has one of some words: it is one of ours."""
    assert any(word in str(error) for word in words)
    return "refused"


def text_of(rows):
    return "\n".join(",".join(row) for row in rows)


def tables_of(*names):
    """Text of CSV files, most of which have these columns."""
    columns = st.permutations(names).flatmap(
        lambda header: st.just(list(header)) | st.lists(words, max_size=9)
    )
    rows = st.lists(st.lists(words, min_size=len(names), max_size=len(names)), max_size=6)
    return st.tuples(columns, rows).map(lambda found: text_of([found[0], *found[1]]))


def numbered(names, *cells, least=1):
    """Text of CSV files with a first column of numbers; ``cells``: what the others may hold."""
    rows = st.lists(st.tuples(*map(st.sampled_from, cells)), min_size=least, max_size=9)
    return rows.map(lambda found: text_of([names, *((str(i), *row) for i, row in enumerate(found))]))


def bytes_of(content):
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("n", EXAMPLES)
def test_predictions(n, tmp_path):
    path = tmp_path / "predictions.csv"

    def check(content):
        path.write_bytes(bytes_of(content))
        try:
            table = read_csv(path)
            score.check(table)
            told = score.describe(table)
        except ValueError as error:
            return refused(error, path.name, "column", "class", "clip")
        assert told.startswith(f"{len(table)} clip")
        assert score.describe(table.sample(frac=1, random_state=0)) == told
        return "read"

    names = ["clip_id", "subject_id", "y_true", "y_pred"]
    whole = numbered(names, "abc", "xyz", "xy", least=5)
    cases(st.binary(max_size=60) | tables_of(*names) | whole, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_clip_tables(n, tmp_path):
    (tmp_path / "f").mkdir()

    def check(content):
        (tmp_path / own.TABLE).write_bytes(bytes_of(content))
        try:
            found = own.read(tmp_path)
        except ValueError as error:
            return refused(error, own.TABLE, "clip", "subject")
        left_out = (found.problems["action"] == "clip left out").sum()
        assert len(found.clips) + left_out == sum(found.listed.values())
        for folder in found.clips["folder"].dropna():
            assert folder.resolve().is_relative_to(tmp_path.resolve())
        return "read" if len(found.clips) else "without a clip"

    columns = ["clip", "subject", "folder", "onset", "apex", "offset", "emotion"]
    whole = numbered(columns, "ab", "f", "12", ["2", ""], "23", ["happy", "sad"])
    cases(st.binary(max_size=60) | tables_of(*own._NEEDED) | whole, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_sheet_rows(n, tmp_path, monkeypatch):
    names = ["Subject", "Filename", "Onset", "Apex", "Offset"]
    cells = words | st.integers().map(str) | st.floats().map(str)
    grids = st.tuples(st.permutations(names), st.lists(st.lists(cells, min_size=5, max_size=5), max_size=5))
    whatever = st.integers(0, 6).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), max_size=6)
    )

    def check(grid):
        monkeypatch.setattr(sheet, "_sheets", lambda _: {"a": grid})
        try:
            found = sheet.read_sheet(tmp_path / "a.xlsx", names)
        except ValueError as error:
            return refused(error, "a.xlsx")
        listed = [_row(tmp_path, *row) for row in found.itertuples(index=False)]
        for rule in rows.RULES:
            clips = rows.listing(listed, "own", rule=rule, version="", expected={}).clips
            assert (clips["onset"] <= clips["offset"]).all()
            assert clips["clip_id"].is_unique
        return "read" if len(clips) else "without a clip"

    clips = st.tuples(st.sampled_from("ab"), words, *map(st.sampled_from, ("12", ["2", "/"], "23")))
    whole = st.tuples(st.just(names), st.lists(clips, max_size=5))
    cases((grids | whole).map(lambda found: [list(found[0]), *map(list, found[1])]) | whatever, check, n)


def _row(folder, subject, name, onset, apex, offset):
    numbers = {
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "folder": folder,
        "emotion": clean_emotion(name),
    }
    return rows.clip_row("own", subject=subject, recording=subject, clip=f"{subject}/{name}", **numbers)


@pytest.mark.parametrize("n", EXAMPLES)
def test_clip_names(n, tmp_path):
    def check(name):
        clip, image, units = smic.parse_name(name), flow_images.clip_of(name), parse_action_units(name)
        assert clip is None or smic.parse_name(clip.name) == clip
        assert image is None or flow_images.clip_of(image.split("/", 1)[1].replace("/", "_", 1)) == image
        assert parse_action_units("+".join(map(str, units))) == units
        for parse in (subject_key, rows.frame_number):
            assert parse(parse(name)) == parse(name)
        rows.one_person(pd.Series([name, name.upper(), f" {name}"]))
        if rows.is_folder_name(name):
            assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        written = csv_of(pd.DataFrame({"clip_id": [name], "n": [-1]}))
        (_, (found, number)) = csv.reader(io.StringIO(written, newline=""))
        assert (as_written(found), number) == (name, "-1")
        return "read" if clip or image else "refused"

    whole = st.sampled_from(["s1_ne_01", " S01_PO_7", "s3_s03_sur_2", "sub01_EP02_01f", "006_006_1_2"])
    names = st.text(max_size=20) | st.lists(words | whole, max_size=4).map("_".join) | words | whole
    cases(names, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_parameters(n):
    names = st.sampled_from([*config.Parameters.model_fields, "unknown"])

    def check(given):
        try:
            made = config.validated(config.Parameters, given, "parameters")
        except ValueError as error:
            return refused(error, "parameters: ")
        assert given.keys() <= config.Parameters.model_fields.keys()
        assert config.validated(config.Parameters, made.model_dump(), "parameters") == made
        return "read" if given else "nothing given"

    allowed = {
        "seeds": st.lists(st.integers(), max_size=3) | st.sampled_from(["[0, 1]", "[]"]),
        "workers": st.none() | st.integers(0, 9),
        "device": st.sampled_from(["cpu", "cuda:1"]),
        "grid": st.dictionaries(words, st.lists(values, max_size=3), max_size=3) | st.just("{m: [1, 4]}"),
        "data_root": words,
        "export": st.booleans(),
    }
    whole = st.fixed_dictionaries({}, optional=allowed)
    cases(st.dictionaries(names, values, max_size=4) | values | whole, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_stored_results(n, tmp_path):
    trial = tiny_trials()[0]
    path = tmp_path / f"{trial.id}.json"
    record = store.record_of(trial, result_of())
    names, scores = list(record["predictions"]), st.floats(allow_nan=False, allow_infinity=False)
    columns = st.dictionaries(st.sampled_from(names), values)
    clips = st.tuples(words, words, st.integers(), st.integers(), st.tuples(scores, scores))
    whole = st.lists(clips, max_size=3).map(
        lambda rows: {name: [row[i] for row in rows] for i, name in enumerate(names)}
    )

    def check(content):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        store._read_once.cache_clear()  # what is written within one tick of the clock looks alike
        try:
            found = store.load(trial, tmp_path)
        except store.DamagedResult as error:
            assert store.missing([trial], tmp_path) == [trial]
            return refused(error, path.name)
        assert found["id"] == trial.id
        (n_rows,) = {len(column) for column in found["predictions"].values()}
        assert len(store.predictions([trial], tmp_path)) == n_rows
        return "read"

    parts = st.fixed_dictionaries({"predictions": columns | values | whole})
    records = parts.map(lambda part: record | part)
    cases(st.binary(max_size=40) | (values | records).map(lambda made: json.dumps(made).encode()), check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_archives(n, tmp_path):
    path = tmp_path / f"a{archive.ENDING}"
    header = st.fixed_dictionaries(
        {
            "format": st.just(archive._FORMAT) | values,
            "clips": st.integers(0, 2) | values,
            "trials": st.integers(0, 2),
        }
    )
    lines = st.tuples(header | values, st.lists(values, max_size=3))

    for trial in tiny_trials():
        save(trial, result_of(), tmp_path / "stored")
    archive.pack(tiny_trials(), tmp_path / "stored", path)
    packed = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    del packed[0]["check"]  # it would refuse every change
    names = ["id", "seed", "predictions", "seconds", "absent_classes", "losses", "clips", "code"]
    names = st.sampled_from(names)
    changes = st.dictionaries(names, values, min_size=1, max_size=2)
    changed = st.tuples(st.sampled_from(range(len(packed))), changes | values).map(
        lambda found: _with_line(packed, *found)
    )
    texts = (lines.map(lambda found: [found[0], *found[1]]) | changed).map(
        lambda found: "\n".join(map(json.dumps, found)).encode()
    )
    folder = tmp_path / "results"

    def check(content):
        shutil.rmtree(folder, ignore_errors=True)
        path.write_bytes(content)
        try:
            found = archive.unpack(path, folder)
        except ValueError as error:
            assert not folder.exists()
            return refused(error, path.name)
        finally:
            assert {one.parent for one in tmp_path.rglob("*.json")} <= {tmp_path / "stored", folder}
        assert found.trials == found.new == len(list(folder.glob("*.json")))
        assert archive.unpack(path, folder) == found._replace(new=0)
        return "read" if found.trials else "without a trial"

    cases(st.binary(max_size=60) | texts.map(gzip.compress), check, n)


def _with_line(lines, number, change):
    """Lines of which one has other values under some names, or is another value."""
    lines = list(lines)
    lines[number] = lines[number] | change if isinstance(change, dict) else change
    return lines
