"""README and docs: generated parts are current, links lead somewhere, commands exist, README is one page."""

import json
import re
import shutil

import pytest

from hsta_lib import ROOT
from hsta_lib.commands import docs, summary
from hsta_lib.evaluation.fitted import BOUND

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REPORTS = ROOT / "reports"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} | set(
    re.findall(r"^(\w+):", MAKEFILE, re.M)
)
OF_OTHERS = ["CUDA_VISIBLE_DEVICES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"]
PARAMETERS = {"TFLOPS", "PYTHON", *OF_OTHERS} | set(
    re.findall(r"[A-Z_]{4,}", "\n".join(re.findall(r"^(?:TEXTS|VALUES) :=(?:.*\\\n)*.*", MAKEFILE, re.M)))
)
MADE = ("params/mine.yaml", "reports/local/")  # by readers and commands of these pages


def name_of(page):
    return str(page.relative_to(ROOT))


def without_generated(text):
    return re.sub(r"<!-- (\w+): made by `make readme` -->.*?<!-- end of \1 -->", "", text, flags=re.S)


def code_of(text):
    """Everything that is set as code: fenced, indented or within a line."""
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return "\n".join([*fenced, *re.findall(r"^    .*$", text, re.M), *re.findall(r"`([^`\n]+)`", text)])


def anchors_of(text):
    """Names that headings get, as on GitHub."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page, text):
    """Links of a page to files or headings that are not there."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        leads_to = (page.parent / path).resolve() if path else page
        if not leads_to.exists() or (anchor and anchor not in anchors_of(leads_to.read_text())):
            dead.append(target)
    return dead


def unknown_commands(text):
    """Targets, parameters, modules and files in the code of a page that are not there."""
    code = code_of(text)
    unknown = [f"make {name}" for name in re.findall(r"make (\w+)", code) if name not in TARGETS]
    unknown += [name for name in re.findall(r"\b([A-Z_]{4,})=", code) if name not in PARAMETERS]
    modules = [name.replace(".", "/") for name in re.findall(r"-m (hsta_lib[.\w]*)", code)]
    unknown += [name for name in modules if not any((ROOT / f"{name}{end}").exists() for end in (".py", "/"))]
    folders = "hsta_lib|notebooks|benchmarks|params|reports|tests"
    paths = re.findall(rf"(?<![\w/])(?:{folders})/[\w./-]++(?!\*)", code)
    # NAME is what a reader chooses: the folder must be there.
    paths = [
        path.rpartition("/")[0] if path.rpartition("/")[2].startswith("NAME.") else path for path in paths
    ]
    return unknown + [path for path in paths if not (ROOT / path).exists() and not path.startswith(MADE)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert dead_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_files_in_code_exist(page):
    assert unknown_commands(page.read_text()) == []


def test_a_dead_link_and_an_unknown_command_are_seen():
    assert dead_links(PAGES[0], "[a](none.md) [b](LICENSE) [c](#none) [d](docs/none.md#x)") == [
        "none.md",
        "#none",
        "docs/none.md#x",
    ]
    text = "`make tea` and `make table4 PRESETS=x`\n\n    python -m hsta_lib.none notebooks/none.ipynb\n"
    assert unknown_commands(text) == ["make tea", "PRESETS", "hsta_lib/none", "notebooks/none.ipynb"]
    assert anchors_of("# A dataset of your own: (1)") == {"a-dataset-of-your-own-1"}


@pytest.mark.parametrize("page", docs.SECTIONS)
def test_generated_tables_are_current(page):
    text = (ROOT / page).read_text()
    assert docs.render(page, text) == text, "run `make readme`"


def test_missing_markers_are_named():
    with pytest.raises(ValueError, match=r"README\.md: the markers of section 'fit' are missing"):
        docs.render("README.md", "no markers")


def test_a_line_says_which_page_is_at_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.md").write_text("<!-- x: made by `make readme` -->\nold\n<!-- end of x -->\n")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "SECTIONS", {"a.md": {"x": lambda: "new"}})
    monkeypatch.setattr(docs.summary, "PATH", tmp_path / "a.svg")
    docs.main()
    assert capsys.readouterr().err == "a.md: x\n"
    assert "\nnew\n" in (tmp_path / "a.md").read_text()


def test_no_marker_is_without_a_table():
    marked = {name_of(page): set(re.findall(r"<!-- (\w+): made by", page.read_text())) for page in PAGES}
    assert {page: names for page, names in marked.items() if names} == {
        page: set(tables) for page, tables in docs.SECTIONS.items()
    }


def test_readme_is_one_page_with_one_figure():
    text = (ROOT / "README.md").read_text()
    assert len(without_generated(text).split()) <= 900
    rows = sum(len(make().splitlines()) - 2 for make in docs.SECTIONS["README.md"].values())
    assert rows <= 25
    assert re.findall(r"!\[[^]]+\]\(([^)]*)\)", text) == ["reports/summary.svg"]


def test_readme_says_what_synthetic_reports_are_worth():
    text = " ".join((ROOT / "README.md").read_text().replace("> ", "").split())
    assert "**Synthetic faces are a positive control, never evidence about real faces.**" in text
    records = [
        summary.record_of(path.stem) for path in (ROOT / "notebooks").glob("*") if summary.paths_of(path.stem)
    ]
    are_unfit = [any(row.get("fit") == "not fitted" for row in record["cells"]) for record in records]
    assert ("**Not all networks have fitted**" in text) == any(are_unfit)


def test_the_page_on_fit_has_the_bound_of_the_code():
    text = " ".join((ROOT / "docs" / "statistics.md").read_text().split())
    assert f"mean over seeds, is at most {100 * BOUND:.0f} % of a constant prediction's" in text


def test_readme_tells_fitted_reports_from_others(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "_REPORTS", tmp_path / "reports")
    (tmp_path / "reports").mkdir()
    found = {
        "table1": ["fitted", "reads no pixels"],
        "table2": ["fitted", "not fitted"],
        "table4": ["fitted", ""],
    }
    for name, kinds in found.items():
        cells = [{"fit": kind} for kind in kinds]
        path = tmp_path / "reports" / f"{name}-study-synthetic-holdout.json"
        path.write_text(json.dumps({"cells": cells}))
    (tmp_path / "reports" / "table3-study-synthetic-subject.json").write_text('{"cells": [{}]}')
    fitted, some, unknown = docs.fit_note().split("\n>\n")
    titles = {kind: re.findall(r"\[(Table \d)\]", kind) for kind in (fitted, some, unknown)}
    assert list(titles.values()) == [["Table 1"], ["Table 2"], ["Table 3", "Table 4"]]  # by what was stored
    assert "(1 of 2 rows)" in some


def test_no_score_is_typed_into_prose():
    for page in PAGES:
        text = without_generated(page.read_text())
        assert not re.search(r"(?:UF1|UAR|ACC)[^.\n|]* \d+\.\d", text), page


def test_every_page_is_reached_from_readme():
    text = "".join(page.read_text() for page in PAGES)
    assert all(f"{page.name})" in text or f"{page.name}#" in text for page in PAGES[1:])


def test_the_figure_is_that_of_the_committed_records():
    assert summary.PATH.read_text() == summary.draw(), "run `make readme`"


def test_the_figure_shows_every_list_and_the_ceiling():
    text = summary.draw()
    for row in json.loads(summary.lists.RECORD.read_text())["rows"]:
        assert f">{row['uar']:.1f}<" in text
    assert "ceiling, true action units known" in text
    fitted = summary.has_fitted(summary.record_of("table4"))
    assert ("have fitted" in text, "have not fitted" in text) == (fitted, not fitted)
    assert ("trained anew on these pictures are not there yet" in text) == (
        not list(REPORTS.glob("real-honest-*"))
    )


def test_the_figure_leads_from_a_published_score_to_ours_only_where_it_is_reached(tmp_path, monkeypatch):
    for path in (*REPORTS.glob("table4-study-*.json"), *REPORTS.glob("real-[rt]*.json")):
        shutil.copy(path, tmp_path)
    ours = {"uf1": 51.7, "uf1_low": 43.0, "uf1_high": 61.0}
    scores = [("A", 60.9, True), ("B", 61.1, True), ("C", 67.0, False), ("HSTA", None, False)]
    cells = [
        {"system": name, **choice, "uf1_published": published, "as_published": is_best == keeps_best}
        for name, published, keeps_best in scores
        for is_best, choice in enumerate([ours, {"uf1": 57.3, "uf1_low": 47.0, "uf1_high": 67.0}])
    ]
    (tmp_path / "real-honest-study-both-loso.json").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(summary, "_REPORTS", tmp_path)
    # B keeps the best epoch there as here: 61.1 is within the interval of that choice.
    assert [row.arrow for row in summary._published_and_ours()] == [True, True, False, False]
    text = summary.draw()
    assert all(f">{name}<" in text for name, *_ in scores)
    assert "best epoch of each test subject" in text
    assert "are not there yet" not in text


def test_the_figure_changes_with_a_score(tmp_path, monkeypatch):
    record = json.loads(summary.lists.RECORD.read_text())
    record["rows"][0]["uar"] = 12.3
    (tmp_path / "lists.json").write_text(json.dumps(record))
    monkeypatch.setattr(summary.lists, "RECORD", tmp_path / "lists.json")
    assert ">12.3<" in summary.draw()
