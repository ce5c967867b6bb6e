"""Whatever is in a file or a parameter, it is read or refused with a message of this library."""

import csv
import gzip
import io
import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_trials

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
    """Run a check on so many examples; they are the same in every run."""

    @settings(max_examples=n, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value):
        check(value)

    run()


def says(error, *words):
    """Whether a message has one of some words: it is one of ours."""
    assert any(word in str(error) for word in words)


def text_of(rows):
    return "\n".join(",".join(row) for row in rows)


def tables_of(*names):
    """Text of CSV files, most of which have these columns."""
    columns = st.permutations(names).flatmap(
        lambda header: st.just(list(header)) | st.lists(words, max_size=9)
    )
    rows = st.lists(st.lists(words, min_size=len(names), max_size=len(names)), max_size=6)
    return st.tuples(columns, rows).map(lambda found: text_of([found[0], *found[1]]))


@pytest.mark.parametrize("n", EXAMPLES)
def test_predictions(n, tmp_path):
    path = tmp_path / "predictions.csv"

    def check(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        try:
            table = read_csv(path)
            score.check(table)
            score.describe(table)
        except ValueError as error:
            says(error, path.name, "column", "class", "clip")

    cases(st.binary(max_size=60) | tables_of("clip_id", "subject_id", "y_true", "y_pred"), check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_clip_tables(n, tmp_path):
    def check(content):
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        (tmp_path / own.TABLE).write_bytes(data)
        try:
            found = own.read(tmp_path)
        except ValueError as error:
            says(error, own.TABLE, "clip", "subject")
        else:
            for folder in found.clips["folder"].dropna():
                assert folder.resolve().is_relative_to(tmp_path.resolve())

    cases(st.binary(max_size=60) | tables_of(*own._NEEDED), check, n)


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
            says(error, "a.xlsx")
            return
        listed = [_row(tmp_path, *row) for row in found.itertuples(index=False)]
        for rule in rows.RULES:
            clips = rows.listing(listed, "own", rule=rule, version="", expected={}).clips
            assert (clips["onset"] <= clips["offset"]).all()
            assert clips["clip_id"].is_unique

    cases(grids.map(lambda found: [list(found[0]), *found[1]]) | whatever, check, n)


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
        for parse in (
            smic.parse_name,
            flow_images.clip_of,
            subject_key,
            parse_action_units,
            rows.frame_number,
        ):
            parse(name)
        rows.one_person(pd.Series([name, name.upper(), f" {name}"]))
        if rows.is_folder_name(name):
            assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        written = csv_of(pd.DataFrame({"clip_id": [name], "n": [-1]}))
        (_, (found, number)) = csv.reader(io.StringIO(written, newline=""))
        assert (as_written(found), number) == (name, "-1")

    names = st.text(max_size=20) | st.lists(words, max_size=4).map("_".join) | words
    cases(names, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_parameters(n):
    names = st.sampled_from([*config.Parameters.model_fields, "unknown"])

    def check(given):
        try:
            config.validated(config.Parameters, given, "parameters")
        except ValueError as error:
            says(error, "parameters: ")

    cases(st.dictionaries(names, values, max_size=4) | values, check, n)


@pytest.mark.parametrize("n", EXAMPLES)
def test_stored_results(n, tmp_path):
    trial = tiny_trials()[0]
    path = tmp_path / f"{trial.id}.json"
    whole = {"id": trial.id, **trial.description(), "absent_classes": []}
    columns = st.dictionaries(
        st.sampled_from(["clip_id", "subject_id", "y_true", "y_pred", "scores"]), values
    )

    def check(content):
        path.write_bytes(content)
        try:
            store.load(trial, tmp_path)
        except store.DamagedResult as error:
            says(error, path.name)

    records = st.fixed_dictionaries({"predictions": columns | values}).map(lambda part: whole | part)
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
    texts = lines.map(lambda found: "\n".join(map(json.dumps, [found[0], *found[1]])).encode())

    def check(content):
        path.write_bytes(content)
        try:
            archive.unpack(path, tmp_path / "results")
        except ValueError as error:
            says(error, path.name)
        assert {one.parent for one in tmp_path.rglob("*.json")} <= {tmp_path / "results"}

    cases(st.binary(max_size=60) | texts.map(gzip.compress), check, n)
