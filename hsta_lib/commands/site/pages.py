"""A report as one HTML file, which loads nothing from elsewhere and fits a phone."""

import copy
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import nbformat
from bs4 import BeautifulSoup
from bs4.element import PreformattedString
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbformat import v4

from hsta_lib.files import PROGRESS

TEMPLATES = Path(__file__).parent / "templates"
STYLE = TEMPLATES / "site.css"
# The forms of an output that a browser shows without scripts.
_SHOWN = {"text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"}
_MANY_COLUMNS, _MANY_ROWS = 9, 30
_ACTING = ("script", "iframe", "object", "embed", "base", "link", "meta", "form")
_ACTING_VALUES = ("javascript:", "vbscript:", "data:text/html")
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class Links(NamedTuple):
    """What links lead to: the folder of the site, and the names that files have there."""

    output: Path
    names: dict[Path, str]


def read_report(path):
    """A report's notebook, executed, after checking that it ran whole.

    Raises
    ------
    ValueError
        If a cell ended in an error or was not executed, the first cell has no heading of level one, or the
        numbers beside the report are of another run, see `check_preset`.
    """
    notebook = nbformat.read(path, as_version=4)
    name = f"{path.parent.name}/{path.name}"
    again = "make the report again"
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                raise ValueError(f"{name}: cell {number} ended in {output.ename}: {output.evalue}; {again}.")
        if not cell.execution_count:
            raise ValueError(f"{name}: cell {number} was not executed; {again}.")
    if not re.match(r"# \S", notebook.cells[0].source if notebook.cells else ""):
        raise ValueError(f"{name}: the first cell does not begin with a heading ('# ...'); give it one.")
    check_preset(notebook, path)
    first = notebook.cells[0]
    if path.stem.startswith("real-") and not first.source.startswith("# Real motion"):
        first.source = (
            f"# Real motion, {first.source[2].lower()}{first.source[3:]}"  # another report's otherwise
        )
    return notebook


def check_preset(notebook, path):
    """Refuse a report whose numbers, the records of preset ``study`` beside it, are of other parameters.

    Raises
    ------
    ValueError
        If such records lie there and the report was made with another preset, or with what none of them has.
    """
    given = {"preset": "quick", **notebook["metadata"].get("papermill", {}).get("parameters", {})}
    records = [json.loads(one.read_text()) for one in path.parent.glob(f"{path.stem}-study-*.json")]
    known = [record.get("parameters", {"preset": "study"}) for record in records]
    asked = {key: value for key, value in given.items() if value not in ("", [], {})}
    if known and not any(all(of.get(key, value) == value for key, value in asked.items()) for of in known):
        name = f"{path.parent.name}/{path.name}"
        raise ValueError(
            f"{name} was made with {asked}, the numbers beside it with other parameters: they are not shown "
            f"as one. Move yours to {path.parent.name}/local/ and take the committed one: git checkout {name}"
        )


def read_guide(path):
    """A page in Markdown as a notebook of one cell, for `render_report`."""
    return v4.new_notebook(cells=[v4.new_markdown_cell(path.read_text())])


def heading(notebook):
    """The heading of a report, without marks."""
    return _plain(notebook.cells[0].source.splitlines()[0].removeprefix("# "))


def answer(notebook):
    """The first sentence of a report's answer, without marks; nothing if it gives none."""
    shown = [
        output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    said = next((text for text in shown if text.startswith("## Answer")), "")
    first = _plain(next((line[2:] for line in said.splitlines() if line.startswith("- ")), ""))
    return re.match(r".*?\.(?= [A-Z]|$)|.*", first)[0]


def _plain(markdown):
    """A line of Markdown without marks: of links their text, no emphasis, no code marks."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(markdown.split()))
    return re.sub(r"[*`]", "", text)


def render_report(notebook, folder, links, files=()):
    """The HTML page of a report, or of a page of ``docs/``.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        From `read_report` or `read_guide`.
    folder : Path
        Where it lies: pictures and links that its text names are relative to that.
    files : sequence of (str, str)
        Name and text of links to files beside the page.

    Returns
    -------
    text : str
    sections : list of (str, str, str)
        Anchor, heading and text of each section, for searching.
    """
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_anchor_links=True,
        embed_images=True,
    )
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    body, _ = exporter.from_notebook_node(_without_scripts(notebook), {"metadata": {"path": str(folder)}})
    soup = BeautifulSoup(body, features="html.parser")
    _show_scripts(soup)
    styles = _take_styles(soup)
    _order_headings(soup)
    _follow_links(soup, folder, links)
    _fold_details(soup)
    _name_images(soup)
    _contain_figures(soup)
    _contain_tables(soup)
    text = render_page(
        "report.html.j2",
        title=heading(notebook),
        styles=styles,
        body=str(soup),
        contents=[(tag["id"], tag.get_text()) for tag in soup.find_all("h2")],
        finished=notebook.metadata.get("papermill", {}).get("end_time", "")[:10],
        files=files,
    )
    return text, list(_sections(soup, heading(notebook)))


def _sections(soup, title):
    """Of every section its prose: paragraphs, items and captions, no code and no number of a table."""
    for tag in soup.find_all(_HEADINGS):
        text = []
        for after in tag.find_all_next([*_HEADINGS, "p", "li", "caption"]):
            if after.name in _HEADINGS:
                break
            text.append(after.get_text())
        name = tag.get_text()
        yield tag["id"], name if name == title else f"{title}: {name}", " ".join(" ".join(text).split())


def render_page(template, **values):
    """One of our templates, with our style sheet in it."""
    return _ENVIRONMENT.get_template(template).render(css=STYLE.read_text(), **values)


def named(name, titles):
    """A report as pages name it: ``title``, ``question`` and ``page``, '' if there is no such report.

    ``titles`` (dict of str to str): headings of the reports there are, by name.
    """
    title, _, question = titles.get(name, name).partition(": ")
    return {"title": title, "question": question, "page": f"{name}.html" if name in titles else ""}


def data_of(record):
    """What data a record was made from, in words; see `hsta_lib.reporting.records.write`."""
    return f"{record['data']}, {record['n_clips']} clips, {record['n_subjects']} subjects"


def score_cell(scores, column):
    """A score of a record for reading: ``score``, a dash if there is none, and ``interval``, or nothing."""
    score, low, high = (scores.get(f"{column}{end}") for end in ("", "_low", "_high"))
    return {
        "score": "–" if score is None else f"{score:.1f}",
        "interval": "" if low is None or high is None else f"{low:.1f} to {high:.1f}",
    }


def _without_scripts(notebook):
    """A copy of a report without forms of outputs that need scripts, and without progress bars."""
    kept = copy.deepcopy(notebook)
    for cell in kept.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                shown = {} if output.metadata == PROGRESS else output.data
                output.data = {form: value for form, value in shown.items() if form in _SHOWN}
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    return kept


def _show_scripts(soup):
    """What could act, as a clip's name may hold it, is text. Comments go: browsers end them earlier."""
    for comment in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        comment.extract()
    for tag in soup.find_all(True):
        # Browsers take no notice of white space and control characters there.
        values = (re.sub(r"[\0- ]", "", str(value)).lower() for value in tag.attrs.values())
        acts = any(name.startswith("on") for name in tag.attrs) or tag.name in _ACTING
        if acts or any(value.startswith(_ACTING_VALUES) for value in values):
            tag.replace_with(str(tag))


def _take_styles(soup):
    """Style sheets of single tables, for the head of the page; pandas' general one is not used."""
    tags = [tag.extract() for tag in soup.find_all("style")]
    return "\n".join(tag.get_text() for tag in tags if not tag.has_attr("scoped"))


def _order_headings(soup):
    """One heading of level one, no level left out, and an anchor that is unique."""
    level, anchors = 0, set()
    for tag in soup.find_all(_HEADINGS):
        level = min(max(int(tag.name[1]), 2), level + 1) if level else 1
        tag.name = f"h{level}"
        anchor = name = re.sub(r"[^\w\- ]", "", tag.get_text().lower()).replace(" ", "-")  # as GitHub's
        number = 1
        while anchor in anchors:
            number += 1
            anchor = f"{name}-{number}"
        tag["id"] = anchor
        anchors.add(anchor)


def _follow_links(soup, folder, links):
    """Links to reports and pages lead to those of the site, others to the files themselves."""
    for link in soup.find_all("a", href=re.compile(r"^[^#:]+(#.*)?$")):
        target, mark, anchor = link["href"].partition("#")
        path = (folder / target).resolve()
        link["href"] = links.names.get(path, os.path.relpath(path, links.output)) + mark + anchor


def _fold_details(soup):
    """What stands below a heading that begins with "Details", up to the end, is folded."""
    heading = soup.find("h2", string=re.compile("^Details"))
    cell = heading and heading.find_parent(class_="cell")
    if cell:
        folded = soup.new_tag("details", attrs={"class": "rest"})
        folded.extend([part.extract() for part in [cell, *cell.find_next_siblings()]])
        summary = soup.new_tag("summary")
        summary.append(heading.extract())
        folded.insert(0, summary)
        soup.append(folded)


def _section(tag):
    return tag.find_previous(_HEADINGS).get_text()


def _name_images(soup):
    """An image is named after the section it stands in, then by what its figure says of itself."""
    named = Counter()
    for image in soup.find_all("img"):
        section, told = _section(image), image.get("alt")
        named[section] += 1
        number = f" {named[section]}" if named[section] > 1 else ""
        image["alt"] = f"Figure{number}: {section}" + (f". {told}" if told else "")


def _scrolling(label):
    """Attributes of a box that scrolls sideways, by keyboard too."""
    return {"role": "group", "tabindex": "0", "aria-label": label}


def _contain_figures(soup):
    """The box of a figure scrolls; it is named as the figure is."""
    for box in soup.find_all("div", class_="figure"):
        box.attrs |= _scrolling(box.img["alt"])


def _contain_tables(soup):
    """Every table in a box of its own that scrolls, many columns in small type; its corner heads nothing."""
    for table in soup.find_all("table"):
        n_columns = max((len(row.find_all("td")) for row in table("tr")), default=0)
        shape = "scroll dense" if n_columns > _MANY_COLUMNS else "scroll"
        table.wrap(soup.new_tag("div", attrs={"class": shape, **_scrolling(f"Table: {_section(table)}")}))
        n_rows = len(table.select("tbody tr"))
        if n_rows > _MANY_ROWS:
            table.parent.insert_after(note := soup.new_tag("p", attrs={"class": "note"}))
            note.string = f"{n_rows} rows; the table scrolls."
        del table["border"]
        for cell in table.find_all("th"):
            if not cell.get_text(strip=True):
                cell.name = "td"
