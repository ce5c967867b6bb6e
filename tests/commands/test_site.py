"""The site: whole, offline, readable on a phone and by a screen reader, and its numbers are the records'."""

import base64
import functools
import itertools
import json
import re

import cv2
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from hsta_lib import ROOT
from hsta_lib.commands import summary
from hsta_lib.commands.site import index, pages
from hsta_lib.commands.site.__main__ import main
from hsta_lib.files import PROGRESS

REPORTS = ROOT / "reports"
GUIDES = {path.stem for path in (ROOT / "docs").glob("*.md")}
PNG = base64.b64encode(cv2.imencode(".png", np.zeros((5, 7, 3), np.uint8))[1]).decode()
TABLE = '<style scoped>th {color: red}</style><table border="1"><tr><th>&nbsp;</th><th>a</th></tr></table>'
STYLED = (
    '<style type="text/css">#T_1 td {font-weight: bold}</style><table id="T_1"><tr><td>2</td></tr></table>'
)


def _code(source, *outputs, count=1, tags=()):
    cell = v4.new_code_cell(source, outputs=list(outputs), execution_count=count)
    cell.metadata.tags = list(tags)
    return cell


def _shown(**data):
    return v4.new_output("display_data", {form.replace("_", "/"): value for form, value in data.items()})


def _stream(text):
    return v4.new_output("stream", name="stdout", text=text)


def _notebook():
    """A report with everything that occurs in ours, and headings in disorder."""
    start = "## Tiny: preset `smoke`, synthetic faces (easy)\n\n> **A warning.**\n\n**Stressed.**"
    cells = [
        v4.new_markdown_cell(
            "# Tiny: *how* small?\n\n**All synthetic.**\n\n"
            "It shows [Eq. 17](https://example.org) of `code`. A second sentence."
        ),
        _code("seed = 0  # which", tags=["parameters"]),
        _code("start", _shown(text_markdown=start)),
        v4.new_markdown_cell("#### Pictures\n\n![](dot.png)"),
        _code("plot", _shown(image_png=PNG, text_plain="<Figure>"), _shown(image_png=PNG)),
        v4.new_markdown_cell("# Tables\n\n## Pictures"),
        _code("table", _shown(text_html=TABLE), _shown(text_html=STYLED)),
        _code("run", _stream("7 trials, 7 to train\n"), _shown(text_plain="100 %|#########")),
        _code("script", v4.new_output("display_data", {"application/javascript": "fetch('x')"})),
        v4.new_code_cell(""),
    ]
    made = {"end_time": "2026-11-21T11:51:31+00:00", "parameters": {"preset": "study"}}
    return v4.new_notebook(cells=cells, metadata={"papermill": made})


@pytest.fixture
def tiny(tmp_path):
    """A folder with one report, a picture its text shows, and its predictions."""
    folder = tmp_path / "reports"
    folder.mkdir()
    nbformat.write(_notebook(), folder / "tiny.ipynb")
    (folder / "dot.png").write_bytes(base64.b64decode(PNG))
    (folder / "tiny-study-predictions.csv").write_text("clip_id,y_pred\n")
    return folder


@pytest.fixture(params=["tiny", "committed_site"])
def site(request, tmp_path):
    if request.param == "committed_site":
        return request.getfixturevalue("committed_site")
    index.build(request.getfixturevalue("tiny"), tmp_path / "site")
    return tmp_path / "site"


@functools.cache
def _soups(site):
    """Its pages, which no test changes."""
    return {path.name: BeautifulSoup(path.read_text(), "html.parser") for path in sorted(site.glob("*.html"))}


def _tiny_page(tiny, tmp_path, name="tiny"):
    index.build(tiny, tmp_path / "site")
    return BeautifulSoup((tmp_path / "site" / f"{name}.html").read_text(), "html.parser")


def test_every_report_has_a_page_and_its_notebook_beside_it(committed_site):
    names = {path.stem for path in REPORTS.glob("*.ipynb") if ".partial" not in path.name}
    expected = {f"{name}.html" for name in names | GUIDES | {"index"}}
    assert {path.name for path in committed_site.glob("*.html")} == expected
    assert {path.stem for path in committed_site.glob("*.ipynb")} == names
    assert all(path.stat().st_size < 2_000_000 for path in committed_site.glob("*.html"))


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "'quick'"),
        ({"preset": "quick"}, "'quick'"),
        ({"preset": "study", "seeds": [0]}, r"'seeds': \[0\]"),
        ({"preset": "study", "recipe": "released"}, "'released'"),
    ],
)
def test_a_report_of_one_run_is_not_shown_with_the_numbers_of_another(tiny, tmp_path, parameters, named):
    notebook = _notebook()
    notebook.metadata.papermill.parameters = parameters
    nbformat.write(notebook, tiny / "tiny.ipynb")
    made = {"preset": "study", "seeds": [], "recipe": "equations"}
    (tiny / "tiny-study-synthetic-subject.json").write_text(json.dumps({"parameters": made}))
    with pytest.raises(ValueError, match=rf"reports/tiny\.ipynb was made with .*{named}.* git checkout"):
        index.build(tiny, tmp_path / "site")


@pytest.mark.parametrize("form", ["text/html", "text/markdown"])
def test_what_could_act_is_shown_as_text(tiny, tmp_path, form):
    bad = "<b>fine</b> <img src=x onerror=alert(1)><script>alert(2)</script><b onclick=alert(3)>s1</b>"
    bad += '<a href=" Java\nScript:alert(4)">s2</a><svg><a xlink:href="\x01javascript:alert(5)">s3</a></svg>'
    bad += "<!--><img src=x onerror=alert(6)>--><![CDATA[><img src=x onerror=alert(7)>]]>"
    notebook = _notebook()
    notebook.cells.append(_code("clips", v4.new_output("display_data", {form: bad})))
    nbformat.write(notebook, tiny / "tiny.ipynb")
    page = _tiny_page(tiny, tmp_path)
    assert not page.find_all("script")
    assert not [tag for tag in page.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert "<img src=x" not in str(page)
    assert not page.find_all(["a", "xlink:href"], string=["s2", "s3"])
    told = ("fine", "<script>", 'onerror="alert(1)"', 'onclick="alert(3)"', *map("alert({})".format, "245"))
    for text in told:
        assert text in page.get_text()


def test_links_lead_to_files_of_the_site_and_to_anchors_that_exist(site):
    soups = _soups(site)
    anchors = {name: {tag["id"] for tag in soup.find_all(id=True)} for name, soup in soups.items()}
    for name, soup in soups.items():
        for link in soup.find_all("a"):
            file, _, anchor = link["href"].partition("#")
            if file.startswith("https://"):
                continue
            assert (site / (file or name)).resolve().exists(), link
            assert not anchor or anchor in anchors[file or name], link


def test_nothing_is_loaded_from_elsewhere(site):
    for name, soup in _soups(site).items():
        assert not soup.find_all(["iframe", "object", "embed", "base"])
        assert len(soup.find_all("script")) == 2 * (name == "index.html")  # the search, and what it searches
        loaded = [tag["src"] for tag in soup.find_all(src=True)]
        loaded += [tag["href"] for tag in soup.find_all("link")]
        assert all(address.startswith("data:") for address in loaded)
        styles = "".join(tag.get_text() for tag in soup.find_all("style"))
        assert not re.search(r"url\(|@import|@font-face", styles)
        code = re.sub(r"base64,[A-Za-z0-9+/=]+", "", str(soup))
        assert not re.search(r"mathjax|require\.js|cdn", code, re.I)


def test_a_page_has_what_a_reader_of_any_kind_needs(site):
    titles = set()
    for name, soup in _soups(site).items():
        assert soup.html["lang"] == "en"
        assert "width=device-width" in soup.find("meta", attrs={"name": "viewport"})["content"]
        assert str(soup).startswith("<!DOCTYPE html>") or str(soup).startswith("<!doctype html>")
        assert soup.body.find("a")["href"] == "#content"  # the skip link comes first
        assert soup.main["id"] == "content"
        assert name == "index.html" or soup.nav.a["href"] == "index.html"
        titles.add(soup.title.get_text())
        ids = [tag["id"] for tag in soup.find_all(id=True)]
        assert len(set(ids)) == len(ids)
    assert len(titles) == len(list(site.glob("*.html")))


def test_details_are_folded_and_progress_is_left_out(tiny, tmp_path):
    notebook = _notebook()
    bar = v4.new_output("display_data", {"text/plain": "decoding: 100%"}, metadata=PROGRESS)
    notebook.cells[5:5] = [
        v4.new_markdown_cell("## Details: the rest\n\nMore."),
        _code("x", bar, _stream("deep")),
    ]
    nbformat.write(notebook, tiny / "tiny.ipynb")
    page = _tiny_page(tiny, tmp_path)
    (rest,) = page.select("details.rest")
    assert not rest.has_attr("open")
    assert rest.summary.h2.get_text() == "Details: the rest"
    assert "deep" in rest.get_text()
    assert rest.find("table") is not None
    assert rest.find("img") is None
    assert "decoding" not in page.get_text()


def test_headings_are_in_order_below_a_single_first_one(site):
    for soup in _soups(site).values():
        levels = [int(tag.name[1]) for tag in soup.find_all(re.compile("^h[1-6]$"))]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_image_is_described_and_every_table_scrolls_alone(site):
    for soup in _soups(site).values():
        descriptions = [image["alt"] for image in soup.find_all("img")]
        assert all(re.match(r"Figure( \d+)?: \w", text) for text in descriptions)
        assert len(set(descriptions)) == len(descriptions)
        for box in soup.select(".figure"):
            assert (box["aria-label"], box["tabindex"]) == (box.img["alt"], "0")
        for table in soup.find_all("table"):
            assert table.parent["class"][0] == "scroll"
            assert table.parent["aria-label"].startswith("Table: ")
            assert table.parent["tabindex"] == "0"
            assert all(cell.get_text(strip=True) for cell in table("th"))


def test_headings_in_disorder_are_put_in_order(tiny, tmp_path):
    found = [
        (tag.name, tag.get_text()) for tag in _tiny_page(tiny, tmp_path).find_all(re.compile("^h[1-6]$"))
    ]
    assert found == [
        ("h1", "Tiny: how small?"),
        ("h2", "Tiny: preset smoke, synthetic faces (easy)"),
        ("h3", "Pictures"),
        ("h2", "Tables"),
        ("h2", "Pictures"),
    ]


def test_images_are_named_after_their_section_and_keep_the_notebooks_description(tiny, tmp_path):
    notebook = _notebook()
    notebook.cells[4].outputs[0].metadata = {"image/png": {"alt": 'A "black" dot'}}
    nbformat.write(notebook, tiny / "tiny.ipynb")
    found = [image["alt"] for image in _tiny_page(tiny, tmp_path).find_all("img")]
    assert found == ["Figure: Pictures", 'Figure 2: Pictures. A "black" dot', "Figure 3: Pictures"]


def test_code_is_folded_and_what_it_printed_is_shown(tiny, tmp_path):
    page = _tiny_page(tiny, tmp_path)
    summaries = [tag.summary.get_text().strip() for tag in page.main.find_all("details")]
    assert summaries[:2] == ["Parameters and their defaults", "Code"]
    assert "seed = 0  # which" in page.main.find("details").get_text()
    (printed,) = page.select(".output_stream")
    assert printed.get_text().strip() == "7 trials, 7 to train"
    assert "100 %|#########" in page.main.get_text()
    assert "fetch" not in str(page)


def test_styles_of_single_tables_move_to_the_head(tiny, tmp_path):
    page = _tiny_page(tiny, tmp_path)
    assert not page.body.find_all("style")
    assert "#T_1 td {font-weight: bold}" in page.head.style.get_text()
    assert "color: red" not in page.head.style.get_text()


def test_the_index_leads_to_a_report_and_its_page_to_the_files_beside_it(tiny, tmp_path):
    soup = _tiny_page(tiny, tmp_path, "index")
    (item,) = soup.select(".reports li")
    assert (item.a["href"], item.a.get_text(), item.get_text()) == ("tiny.html", "Tiny", "Tiny: how small?")
    footer = BeautifulSoup((tmp_path / "site" / "tiny.html").read_text(), "html.parser").footer
    assert {link["href"]: link.get_text() for link in footer.find_all("a")} == {
        "tiny.ipynb": "notebook",
        "tiny-study-predictions.csv": "predictions",
    }


def test_the_index_shows_the_first_sentence_of_an_answer(tiny, tmp_path):
    notebook = _notebook()
    text = "## Answer\n\nmore\n\n- UAR: **1 of 3** rows [4.0, 5.0] differ.\n- More.\n"
    notebook.cells[1].outputs = [v4.new_output("display_data", {"text/markdown": text})]
    nbformat.write(notebook, tiny / "tiny.ipynb")
    soup = _tiny_page(tiny, tmp_path, "index")
    assert soup.select_one(".reports li .note").get_text() == "UAR: 1 of 3 rows [4.0, 5.0] differ."


def test_the_index_leads_to_every_page_of_docs_and_pages_to_each_other_and_to_code(committed_site):
    soups = _soups(committed_site)
    assert {link["href"] for link in soups["index.html"].select(".guides a")} == {
        f"{name}.html" for name in GUIDES
    }
    page = soups["parameters.html"]
    links = {link.get_text(): link["href"] for link in page.main("a")}
    assert links["Datasets"] in ("datasets.html", "datasets.html#the-synthetic-benchmark")
    assert (committed_site / links["hsta_lib/config.py"]).resolve() == ROOT / "hsta_lib" / "config.py"
    assert soups["results.html"].find("a", string="table4")["href"] == "table4.html"


def _rows(tag):
    rows = [[" ".join(cell.get_text().split()) for cell in row.find_all(["th", "td"])] for row in tag("tr")]
    return {row[0]: row[1:] for row in rows}


def _table(soup, label):
    (box,) = soup.find_all(attrs={"aria-label": label})
    return box.table


def _shown_score(scores, metric):
    return f"{scores[metric]:.1f} {scores[f'{metric}_low']:.1f} to {scores[f'{metric}_high']:.1f}"


def test_the_index_shows_the_numbers_of_the_records(committed_site):
    soup = BeautifulSoup((committed_site / "index.html").read_text(), "html.parser")
    real, body = _table(soup, "Table: Results")("tbody")
    record = summary.record_of("table4")
    assert [part.find("a")["href"] for part in (real, body)] == ["real-table4.html", "table4.html"]
    assert "442 clips, 68 subjects" in real.get_text()
    assert f"{record['n_clips']} clips, {record['n_subjects']} subjects" in body.get_text()
    rows = dict(list(_rows(body).items())[1:])  # the first names report and data
    expected = {}
    for name, scores in record["summary"].items():
        papers = [f"{scores[f'{metric}_paper']:.1f}" for metric in ("uar", "uf1")]
        expected[name] = [papers[0], _shown_score(scores, "uar"), papers[1], _shown_score(scores, "uf1")]
    for name in ("majority class", "labels shuffled"):
        scores = record["references"][name]
        expected[name] = ["–", _shown_score(scores, "uar"), "–", _shown_score(scores, "uf1")]
    assert len(expected) == 4
    assert rows == expected


def test_the_index_names_the_reports_that_have_not_fitted(committed_site):
    lead = BeautifulSoup((committed_site / "index.html").read_text(), "html.parser").find(class_="lead")
    records = [(json.loads(path.read_text()), path.name) for path in REPORTS.glob("*-study-*.json")]
    unfit = {
        ("real-" if name.startswith("real-") else "") + record["report"] + ".html"
        for record, name in records
        if "not fitted" in {row.get("fit") for row in record["cells"]}
    }
    assert {link["href"] for link in lead("a")[1:]} == unfit
    assert ("Not all networks have fitted" in lead.get_text()) == bool(unfit)


def test_the_index_shows_what_the_lists_give_away(committed_site):
    soup = BeautifulSoup((committed_site / "index.html").read_text(), "html.parser")
    rows = _rows(_table(soup, "Table: What the authors’ lists give away"))
    for row in json.loads((REPORTS / "audit-lists.json").read_text())["rows"]:
        shown = rows[f"{row['protocol']}; {row['predictor']} known"]
        assert shown[0] == f"{row['uar_paper']:.1f}"
        assert shown[3] == _shown_score(row, "uf1")


def _record(**changed):
    scores = {"uar": 20.0, "uar_low": 10.0, "uar_high": 30.0, "uf1": 17.04}
    record = {
        "report": "table4",
        "preset": "study",
        "data": "synthetic faces",
        "n_clips": 23,
        "n_subjects": 5,
        "parameters": {"split": "subject"},
        "summary": {"named": {**scores, "uar_paper": 38.0, "uf1_paper": None}},
        "references": {"chance": scores, "labels shuffled": scores},
    }
    return record | changed


def test_a_missing_score_is_a_dash_and_a_missing_report_is_not_linked():
    (block,) = index.headline([_record()], {})
    assert (block["title"], block["page"]) == ("table4", "")
    assert [(cell["score"], cell["interval"]) for cell in block["rows"][0]["cells"]] == [
        ("38.0", ""),
        ("20.0", "10.0 to 30.0"),
        ("–", ""),
        ("17.0", ""),
    ]


def test_only_table_4_is_shown_and_of_its_reference_rows_the_chosen_ones():
    records = [_record(report="table7"), _record(), _record(data="real faces", references={})]
    first, second = index.headline(records, {"table4": "Table 4: more?"})
    assert (first["title"], first["question"], first["page"]) == ("Table 4", "more?", "table4.html")
    assert [(row["name"], "reference" in row) for row in first["rows"]] == [
        ("named", False),
        ("labels shuffled", True),
    ]
    assert second["data"] == "real faces, 23 clips, 5 subjects; split subject"
    assert [row["name"] for row in second["rows"]] == ["named"]


def test_reports_are_named_by_the_data_they_were_made_from():
    records = [_record(), _record(report="table7"), _record(report="table6", n_clips=29)]
    used = index.data_used(records, {"table7": "Table 7: flow"})
    assert {data: [(one["title"], one["page"]) for one in named] for data, named in used.items()} == {
        "synthetic faces, 23 clips, 5 subjects": [("table4", ""), ("Table 7", "table7.html")],
        "synthetic faces, 29 clips, 5 subjects": [("table6", "")],
    }


def _claim(scope, verdict, basis="quoted"):
    return {"id": "a", "scope": scope, "basis": basis, "verdict": verdict}


CLAIMS = [
    _claim("paper", "supported", "our reading"),
    _claim("paper", "supported"),
    _claim("synthetic", "pattern seen on the synthetic benchmark"),
    _claim("paper", "undecided"),
    _claim("paper", "undecided: why"),
    _claim("real:own", "supported"),
]


def test_claims_are_counted_by_scope(tiny, tmp_path):
    (tiny / "claims.json").write_text(json.dumps(CLAIMS))
    nbformat.write(_notebook(), tiny / "claims.ipynb")
    soup = _tiny_page(tiny, tmp_path, "index")
    section = soup.find(id="claims").parent
    found = {term.get_text(): term.find_next("dd").get_text() for term in section("dt")}
    assert list(found.items()) == [
        ("By the printed numbers, quoted", "undecided 2 · supported 1"),
        ("By the printed numbers, our reading", "supported 1"),
        ("As patterns on synthetic faces, quoted", "pattern seen 1"),
        ("real:own, quoted", "supported 1"),
    ]
    assert section.a["href"] == "claims.html"


def test_without_claims_and_records_their_sections_are_left_out(tiny, tmp_path):
    soup = _tiny_page(tiny, tmp_path, "index")
    assert [tag.get_text() for tag in soup.find_all("h2")] == ["Data and networks"]


def _break(folder, change):
    notebook = _notebook()
    change(notebook)
    nbformat.write(notebook, folder / "broken.ipynb")


def _add_error(notebook):
    notebook.cells[4].outputs.append(v4.new_output("error", ename="KeyError", evalue="'m'", traceback=[]))


def _forget_to_run(notebook):
    notebook.cells[2].execution_count = None


def _drop_heading(notebook):
    notebook.cells[0].source = "## Second level"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add_error, r"reports/broken\.ipynb: cell 5 ended in KeyError: 'm'"),
        (_forget_to_run, r"reports/broken\.ipynb: cell 3 was not executed"),
        (_drop_heading, r"reports/broken\.ipynb: the first cell does not begin with a heading"),
    ],
)
def test_a_broken_report_is_named_and_nothing_is_written(tiny, tmp_path, change, message):
    _break(tiny, change)
    with pytest.raises(ValueError, match=message):
        index.build(tiny, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_an_earlier_site_is_replaced_whole(tiny, tmp_path):
    nbformat.write(_notebook(), tiny / "gone.ipynb")
    nbformat.write(v4.new_notebook(), tiny / "tiny.partial.ipynb")  # a run that failed: no report
    index.build(tiny, tmp_path / "site")
    (tiny / "gone.ipynb").unlink()
    index.build(tiny, tmp_path / "site")
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        "index.html",
        "tiny.html",
        "tiny.ipynb",
        "tiny-study-predictions.csv",
    }


def test_incomplete_records_claims_and_folders_are_named(tiny, tmp_path):
    claim = tiny / "claims.json"
    claim.write_text(json.dumps([{"id": "x7"}]))
    with pytest.raises(ValueError, match=r"claims\.json: claim x7 lacks \['basis', 'scope', 'verdict'\]"):
        index.build(tiny, tmp_path / "site")
    claim.unlink()
    (tiny / "tiny-study-own.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tiny-study-own\.json: \['data', .*is missing"):
        index.build(tiny, tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty holds no report"):
        index.build(empty, tmp_path / "site")


def test_a_folder_of_other_things_is_not_touched(tmp_path, capsys):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SystemExit, match="holds something else than a site"):
        main(["--output", str(tmp_path)])
    assert capsys.readouterr().err == "Writing the reports and docs as web pages\n"
    assert (tmp_path / "index.html").read_text() == "mine"


def test_no_score_is_typed_into_the_templates():
    for path in pages.TEMPLATES.glob("*.j2"):
        assert not re.search(r"\d+\.\d+", path.read_text().replace("2405.03202", "")), path


def _colours():
    """The two sets of named colours, light and dark."""
    blocks = re.findall(r":root \{(.*?)\}", pages.STYLE.read_text(), re.S)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block)) for block in blocks]


def _luminance(colour):
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


def _contrast(one, other):
    dark, light = sorted([_luminance(one), _luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out_in_both_colour_schemes():
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # just too little
    assert len(_colours()) == 2
    for colours in _colours():
        grounds = {"background", "surface"}
        assert set(colours) > grounds
        for ink in set(colours) - grounds - {"border"}:
            for ground in grounds:
                assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_the_style_sheet_uses_only_the_named_colours():
    rules = re.sub(r":root \{.*?\}", "", pages.STYLE.read_text(), flags=re.S)
    used = re.findall(r"(?:^|[\s;{])(?:background|color): ([^;]+);", rules)
    # Figures are drawn for white paper.
    assert {value for value in used if not value.startswith("var(--")} == {"#ffffff"}
